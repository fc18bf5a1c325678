//! Backups through the API, with an agent that remembers what it was asked.

use crate::cloud::{Cloud, IMAGE, PATIENCE, SERVER};
use async_trait::async_trait;
use base::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cinder::db::BackupRow;
use cinder_types::{
    BackendReport, BackupApi, BackupClient, BackupInfo, BackupRef, BackupSpec, SchedulerClient,
};
use http::Method;
use oslo_context::RequestContext;
use oslo_db::{eq, set};
use oslo_messaging::ServerHandle;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

const SERVICE: &str = "cinder.backup.drivers.posix.PosixBackupDriver";

struct Toy {
    /// What is kept, by prefix.
    kept: Mutex<BTreeMap<String, BackupSpec>>,
    /// The backups of a chain, and the volume.
    restored: Mutex<Vec<(Vec<String>, String)>>,
    fail: Mutex<Option<Error>>,
    gate: Semaphore,
    waiting: Semaphore,
}

impl Toy {
    async fn pass(&self) -> Result<()> {
        self.waiting.add_permits(1);
        drop(self.gate.acquire().await.unwrap());
        self.fail.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn asked(&self) {
        let asked = tokio::time::timeout(PATIENCE, self.waiting.acquire()).await;
        asked.unwrap().unwrap().forget();
    }
}

fn info(spec: &BackupSpec) -> BackupInfo {
    BackupInfo {
        container: spec.backup.container.clone().unwrap_or("toys".into()),
        object_count: 3,
        extra: spec.extra.clone(),
        parent_prefix: spec.parent.as_ref().map(|p| p.prefix.clone()),
        size: spec.size,
    }
}

#[async_trait]
impl BackupApi for Toy {
    async fn create_backup(&self, _: &RequestContext, spec: BackupSpec) -> Result<BackupInfo> {
        let kept = info(&spec);
        self.kept
            .lock()
            .unwrap()
            .insert(spec.backup.prefix.clone(), spec);
        self.pass().await?;
        Ok(kept)
    }

    async fn restore_backup(
        &self,
        _: &RequestContext,
        chain: Vec<BackupRef>,
        volume_id: String,
        _: i64,
    ) -> Result<()> {
        self.pass().await?;
        let ids = chain.into_iter().map(|b| b.id).collect();
        self.restored.lock().unwrap().push((ids, volume_id));
        Ok(())
    }

    async fn delete_backup(&self, _: &RequestContext, backup: BackupRef) -> Result<()> {
        self.kept.lock().unwrap().remove(&backup.prefix);
        Ok(())
    }

    async fn look_at_backup(&self, _: &RequestContext, backup: BackupRef) -> Result<BackupInfo> {
        let kept = self.kept.lock().unwrap();
        let found = kept.get(&backup.prefix).map(info);
        found.ok_or_else(|| Error::not_found("An object of the backup is missing."))
    }
}

struct Kept {
    cloud: Cloud,
    toy: Arc<Toy>,
    server: ServerHandle,
}

async fn report(cloud: &Cloud) {
    let report = BackendReport {
        host: "h1@toy".into(),
        pool: "toy".into(),
        availability_zone: "nova".into(),
        total_capacity_gb: 1000.0,
        free_capacity_gb: 1000.0,
        backup_service: Some(SERVICE.into()),
        ..BackendReport::default()
    };
    let scheduler = SchedulerClient::new(&cloud.bus);
    let ctx = RequestContext::internal();
    scheduler.report_backend(&ctx, report).await.unwrap();
}

async fn begin() -> Kept {
    let cloud = Cloud::new().await;
    let toy = Arc::new(Toy {
        kept: Mutex::default(),
        restored: Mutex::default(),
        fail: Mutex::default(),
        gate: Semaphore::new(1000),
        waiting: Semaphore::new(0),
    });
    let server = BackupClient::serve(&cloud.bus, "h1@toy", toy.clone())
        .await
        .unwrap();
    report(&cloud).await;
    Kept { cloud, toy, server }
}

impl Kept {
    async fn back_up(&self, body: Value) -> String {
        let answer = self
            .cloud
            .post("ann", "/v3/p1/backups", json!({"backup": body}));
        let made = answer.await.expect(202);
        made["backup"]["id"].as_str().unwrap().to_string()
    }

    async fn show(&self, id: &str) -> Value {
        let shown = self.cloud.get("admin", &format!("/v3/backups/{id}")).await;
        shown.expect(200)["backup"].take()
    }

    async fn status(&self, id: &str) -> Value {
        self.show(id).await["status"].take()
    }

    async fn crash(self) -> Kept {
        Kept {
            cloud: self.cloud.crash().await,
            ..self
        }
    }
}

#[tokio::test]
async fn a_backup_is_made_listed_added_to_restored_and_deleted() {
    let kept = begin().await;
    let cloud = &kept.cloud;
    let volume = cloud
        .volume(json!({"size": 3, "imageRef": IMAGE, "name": "v"}))
        .await;
    kept.toy.gate.forget_permits(1000);
    let body = json!({"volume_id": volume, "name": " first ", "description": "d",
        "metadata": {"a": "b"}, "availability_zone": "nova"});
    let first = kept.back_up(body).await;
    kept.toy.asked().await;
    assert_eq!(kept.status(&first).await, "creating");
    assert_eq!(cloud.status(&volume).await, "backing-up");
    let busy = cloud.delete("ann", &format!("/v3/volumes/{volume}")).await;
    busy.fault(400, "badRequest");
    let again = json!({"backup": {"volume_id": volume, "force": true}});
    cloud
        .post("ann", "/v3/backups", again)
        .await
        .fault(400, "badRequest");
    let early = cloud.delete("ann", &format!("/v3/backups/{first}")).await;
    let words = early.fault(400, "badRequest");
    assert_eq!(
        words,
        "Invalid backup: Backup status must be available or error"
    );
    kept.toy.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.status(&volume).await, "available");
    let shown = kept.show(&first).await;
    for (key, value) in [
        ("status", json!("available")),
        ("name", json!("first")),
        ("size", json!(3)),
        ("object_count", json!(3)),
        ("container", json!("toys")),
        ("availability_zone", json!("nova")),
        ("is_incremental", json!(false)),
        ("has_dependent_backups", json!(false)),
        ("metadata", json!({"a": "b"})),
        ("os-backup-project-attr:project_id", json!("p1")),
        ("user_id", json!("user-ann")),
        ("fail_reason", Value::Null),
    ] {
        assert_eq!(shown[key], value, "{key}: {shown}");
    }
    let own = format!("/v3/p1/backups/{first}");
    let old = cloud.call("ann", "3.0", Method::GET, &own, None);
    let old = old.await.expect(200);
    for key in ["metadata", "user_id", "os-backup-project-attr:project_id"] {
        assert!(old["backup"].get(key).is_none(), "{key}: {old}");
    }

    let second = kept
        .back_up(json!({"volume_id": volume, "incremental": true}))
        .await;
    cloud.idle().await;
    assert_eq!(kept.show(&second).await["is_incremental"], true);
    assert_eq!(kept.show(&first).await["has_dependent_backups"], true);
    let parent = cloud.delete("ann", &format!("/v3/backups/{first}")).await;
    let words = parent.fault(400, "badRequest");
    assert_eq!(
        words,
        "Invalid backup: Incremental backups exist for this backup."
    );

    let path = "/v3/backups/detail?with_count=true&sort=created_at:asc&limit=1";
    let page = cloud.get("ann", path).await.expect(200);
    assert_eq!(
        (&page["count"], &page["backups"][0]["id"]),
        (&json!(2), &json!(first))
    );
    assert_eq!(page["backups_links"][0]["rel"], "next");
    let found = cloud
        .get("ann", "/v3/backups?name=first&status=available")
        .await
        .expect(200);
    assert_eq!(found["backups"].as_array().unwrap().len(), 1);
    assert!(found["backups"][0].get("status").is_none());
    let odd = cloud.get("ann", "/v3/backups?colour=red").await;
    odd.fault(400, "badRequest");
    let none = cloud.get("bob", "/v3/backups").await.expect(200);
    assert_eq!(none["backups"], json!([]));
    let all = cloud
        .get("admin", "/v3/backups?all_tenants=1")
        .await
        .expect(200);
    assert_eq!(all["backups"].as_array().unwrap().len(), 2);

    let path = format!("/v3/p1/backups/{second}");
    let renamed = json!({"backup": {"name": "second", "metadata": {"c": "d"}}});
    cloud.put("ann", &path, renamed.clone()).await.expect(200);
    assert_eq!(kept.show(&second).await["name"], "second");
    let too_old = cloud
        .call("ann", "3.8", Method::PUT, &path, Some(renamed.clone()))
        .await;
    assert_eq!(too_old.status, 404);
    cloud
        .put("bob", &format!("/v3/backups/{second}"), renamed)
        .await
        .fault(404, "itemNotFound");

    kept.toy.gate.forget_permits(1000);
    while kept.toy.waiting.try_acquire().map(|p| p.forget()).is_ok() {}
    let restore = json!({"restore": {"name": "again"}});
    let path = format!("/v3/backups/{second}/restore");
    let answer = cloud.post("ann", &path, restore.clone()).await.expect(202);
    let restored = answer["restore"]["volume_id"].as_str().unwrap().to_string();
    assert_eq!(answer["restore"]["volume_name"], "again");
    kept.toy.asked().await;
    assert_eq!(kept.status(&second).await, "restoring");
    assert_eq!(cloud.status(&restored).await, "restoring-backup");
    let taken = cloud.post("ann", &path, restore).await;
    assert_eq!(
        taken.fault(400, "badRequest"),
        "Invalid backup: Backup status must be available"
    );
    kept.toy.gate.add_permits(1000);
    cloud.idle().await;
    let shown = cloud.show(&restored).await;
    assert_eq!(
        (&shown["status"], &shown["bootable"]),
        (&json!("available"), &json!("true"))
    );
    assert_eq!(shown["volume_image_metadata"]["image_name"], "cirros");
    assert_eq!(kept.status(&second).await, "available");
    let chain = vec![first.clone(), second.clone()];
    assert_eq!(
        kept.toy.restored.lock().unwrap().last().unwrap(),
        &(chain, restored.clone())
    );

    let small = cloud.volume(json!({"size": 1})).await;
    let into = |volume: &str| json!({"restore": {"volume_id": volume}});
    let path = format!("/v3/backups/{first}/restore");
    let refused = cloud
        .post("ann", &path, into(&small))
        .await
        .fault(400, "badRequest");
    let words = "Invalid volume: volume size 1 is too small to restore backup of size 3.";
    assert_eq!(refused, words);
    cloud
        .post("bob", &path, into(&restored))
        .await
        .fault(404, "itemNotFound");
    cloud.post("ann", &path, into(&restored)).await.expect(202);
    cloud.idle().await;
    assert_eq!(cloud.status(&restored).await, "available");
    // A new volume of any size that suffices.
    let grown = cloud.volume(json!({"size": 7, "backup_id": first})).await;
    assert_eq!(cloud.show(&grown).await["size"], 7);
    let less = json!({"volume": {"size": 2, "backup_id": first}});
    cloud
        .post("ann", "/v3/volumes", less)
        .await
        .fault(400, "badRequest");
    assert_eq!(kept.toy.restored.lock().unwrap().len(), 3);

    for id in [&second, &first] {
        cloud
            .delete("ann", &format!("/v3/p1/backups/{id}"))
            .await
            .expect(202);
        cloud.idle().await;
        let gone = cloud.get("ann", &format!("/v3/backups/{id}")).await;
        assert_eq!(
            gone.fault(404, "itemNotFound"),
            format!("Backup {id} could not be found.")
        );
    }
    assert!(kept.toy.kept.lock().unwrap().is_empty());
    let services = cloud
        .get("admin", "/v3/os-services?binary=cinder-backup")
        .await
        .expect(200);
    assert_eq!(services["services"][0]["state"], "up");
}

#[tokio::test]
async fn what_is_in_use_needs_force_and_comes_back_as_it_is_by_then() {
    let kept = begin().await;
    let cloud = &kept.cloud;
    let volume = cloud.volume(json!({"size": 1})).await;
    let claim = json!({"attachment": {"volume_uuid": volume, "instance_uuid": SERVER,
        "connector": {"host": "c1"}}});
    let claimed = cloud
        .post("nova", "/v3/attachments", claim)
        .await
        .expect(200);
    let attachment = claimed["attachment"]["id"].as_str().unwrap().to_string();
    let path = format!("/v3/attachments/{attachment}");
    let complete = json!({"os-complete": {}});
    cloud
        .post("nova", &format!("{path}/action"), complete)
        .await
        .expect(204);
    assert_eq!(cloud.status(&volume).await, "in-use");
    let body = json!({"backup": {"volume_id": volume}});
    let refused = cloud
        .post("ann", "/v3/backups", body)
        .await
        .fault(400, "badRequest");
    let words = "Invalid volume: Backing up an in-use volume must use the force flag.";
    assert_eq!(refused, words);
    let force = json!({"volume_id": volume, "force": true});
    kept.back_up(force.clone()).await;
    cloud.idle().await;
    assert_eq!(cloud.status(&volume).await, "in-use");
    assert!(
        kept.toy
            .kept
            .lock()
            .unwrap()
            .values()
            .all(|spec| spec.in_use)
    );

    kept.toy.gate.forget_permits(1000);
    while kept.toy.waiting.try_acquire().map(|p| p.forget()).is_ok() {}
    kept.back_up(force).await;
    kept.toy.asked().await;
    cloud.delete("nova+", &path).await.expect(200);
    assert_eq!(cloud.status(&volume).await, "backing-up");
    kept.toy.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.status(&volume).await, "available");
}

#[tokio::test]
async fn a_snapshot_is_backed_up_instead() {
    let kept = begin().await;
    let cloud = &kept.cloud;
    let volume = cloud.volume(json!({"size": 1})).await;
    let body = json!({"snapshot": {"volume_id": volume}});
    let made = cloud.post("ann", "/v3/snapshots", body).await.expect(202);
    let snapshot = made["snapshot"]["id"].as_str().unwrap().to_string();
    cloud.idle().await;
    let other = cloud.volume(json!({"size": 1})).await;
    let wrong = json!({"backup": {"volume_id": other, "snapshot_id": snapshot}});
    cloud
        .post("ann", "/v3/backups", wrong)
        .await
        .fault(400, "badRequest");
    kept.toy.gate.forget_permits(1000);
    let backup = kept
        .back_up(json!({"volume_id": volume, "snapshot_id": snapshot}))
        .await;
    kept.toy.asked().await;
    let path = format!("/v3/snapshots/{snapshot}");
    let shown = cloud.get("ann", &path).await.expect(200);
    assert_eq!(shown["snapshot"]["status"], "backing-up");
    assert_eq!(cloud.status(&volume).await, "available");
    kept.toy.gate.add_permits(1000);
    cloud.idle().await;
    let shown = cloud.get("ann", &path).await.expect(200);
    assert_eq!(shown["snapshot"]["status"], "available");
    let shown = kept.show(&backup).await;
    assert_eq!(shown["snapshot_id"], json!(snapshot));
}

#[tokio::test]
async fn backups_have_limits() {
    let kept = begin().await;
    let cloud = &kept.cloud;
    let volume = cloud.volume(json!({"size": 2})).await;
    let body = json!({"backup": {"volume_id": volume}});
    let limit = async |limits: Value| {
        let quota = json!({"quota_set": limits});
        cloud
            .put("admin", "/v3/os-quota-sets/p1", quota)
            .await
            .expect(200);
    };
    limit(json!({"backup_gigabytes": 1})).await;
    let refused = cloud
        .post("ann", "/v3/backups", body.clone())
        .await
        .fault(413, "overLimit");
    assert_eq!(
        refused,
        "VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. Requested \
         2G, quota is 1G and 0G has been consumed."
    );
    limit(json!({"backup_gigabytes": 10, "backups": 1})).await;
    let id = kept.back_up(json!({"volume_id": volume})).await;
    cloud.idle().await;
    let refused = cloud
        .post("ann", "/v3/backups", body.clone())
        .await
        .fault(413, "overLimit");
    assert_eq!(
        refused,
        "BackupLimitExceeded: Maximum number of backups allowed (1) exceeded"
    );
    assert_eq!(
        cloud.status(&volume).await,
        "available",
        "nothing has changed"
    );
    let used = cloud
        .get("ann", "/v3/os-quota-sets/p1?usage=true")
        .await
        .expect(200);
    assert_eq!(used["quota_set"]["backup_gigabytes"]["in_use"], 2);
    cloud
        .delete("ann", &format!("/v3/backups/{id}"))
        .await
        .expect(202);
    cloud.idle().await;
    kept.back_up(json!({"volume_id": volume})).await;
}

#[tokio::test]
async fn failures_end_in_words_and_leave_nothing() {
    let kept = begin().await;
    let cloud = &kept.cloud;
    let volume = cloud.volume(json!({"size": 1})).await;
    let none = json!({"backup": {"volume_id": volume, "incremental": true}});
    let refused = cloud
        .post("ann", "/v3/backups", none)
        .await
        .fault(400, "badRequest");
    let words = "Invalid backup: No backups available to do an incremental backup.";
    assert_eq!(refused, words);
    for container in ["../x", "/etc", "a//b", ".."] {
        let body = json!({"backup": {"volume_id": volume, "container": container}});
        cloud
            .post("ann", "/v3/backups", body)
            .await
            .fault(400, "badRequest");
    }
    let good = kept
        .back_up(json!({"volume_id": volume, "container": "mine"}))
        .await;
    cloud.idle().await;
    assert_eq!(kept.show(&good).await["container"], "mine");

    *kept.toy.fail.lock().unwrap() = Some(Error::conflict("the tape is torn"));
    let bad = kept.back_up(json!({"volume_id": volume})).await;
    cloud.idle().await;
    let shown = kept.show(&bad).await;
    assert_eq!(
        (&shown["status"], &shown["fail_reason"]),
        (&json!("error"), &json!("the tape is torn"))
    );
    assert_eq!(
        kept.toy.kept.lock().unwrap().len(),
        1,
        "what was half kept is gone"
    );
    assert_eq!(cloud.status(&volume).await, "available");
    let restore = json!({"restore": {"volume_id": volume}});
    let path = format!("/v3/backups/{good}/restore");
    cloud.post("ann", &path, restore).await.expect(202);
    cloud.idle().await;
    assert_eq!(cloud.status(&volume).await, "error_restoring");
    let shown = kept.show(&good).await;
    assert_eq!(
        (&shown["status"], &shown["fail_reason"]),
        (&json!("available"), &json!("the tape is torn"))
    );
    // A new volume that cannot even be made.
    *cloud.agent.fail.lock().unwrap() = Some(Error::conflict("no space"));
    let answer = cloud
        .post("ann", &path, json!({"restore": {}}))
        .await
        .expect(202);
    let restored = answer["restore"]["volume_id"].as_str().unwrap().to_string();
    assert_eq!(
        answer["restore"]["volume_name"],
        format!("restore_backup_{good}")
    );
    cloud.idle().await;
    assert_eq!(cloud.status(&restored).await, "error");
    assert_eq!(kept.status(&good).await, "available");
    cloud
        .delete("ann", &format!("/v3/backups/{bad}"))
        .await
        .expect(202);
    cloud.idle().await;

    let action = format!("/v3/backups/{good}/action");
    let reset = json!({"os-reset_status": {"status": "error"}});
    cloud
        .post("ann", &action, reset.clone())
        .await
        .fault(403, "forbidden");
    cloud.post("admin", &action, reset).await.expect(202);
    assert_eq!(kept.status(&good).await, "error");
    let force = json!({"os-force_delete": {}});
    cloud
        .post("ann", &action, force.clone())
        .await
        .fault(403, "forbidden");
    cloud.post("admin", &action, force).await.expect(202);
    cloud.idle().await;
    assert!(kept.toy.kept.lock().unwrap().is_empty());
}

#[tokio::test]
async fn records_go_out_and_come_in() {
    let kept = begin().await;
    let cloud = &kept.cloud;
    let volume = cloud.volume(json!({"size": 3, "imageRef": IMAGE})).await;
    let id = kept
        .back_up(json!({"volume_id": volume, "name": "n"}))
        .await;
    cloud.idle().await;
    let path = format!("/v3/backups/{id}/export_record");
    cloud.get("ann", &path).await.fault(403, "forbidden");
    let record = cloud.get("admin", &path).await.expect(200)["backup-record"].take();
    assert_eq!(record["backup_service"], SERVICE);
    let text = STANDARD
        .decode(record["backup_url"].as_str().unwrap())
        .unwrap();
    let text: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((&text["id"], &text["size"]), (&json!(id), &json!(3)));

    let import = async |service: &str, url: String| {
        let body = json!({"backup-record": {"backup_service": service, "backup_url": url}});
        cloud.post("admin", "/v3/backups/import_record", body).await
    };
    let with = |changes: Value| {
        let mut text = text.clone();
        for (key, value) in changes.as_object().unwrap() {
            text[key] = value.clone();
        }
        STANDARD.encode(text.to_string())
    };
    let same = import(SERVICE, with(json!({})))
        .await
        .fault(400, "badRequest");
    assert_eq!(same, "Invalid backup: Backup already exists in database.");
    let other = base::new_id();
    for bad in [
        "bm90IGpzb24=".to_string(),
        STANDARD.encode("{}"),
        with(json!({"id": "../../x"})),
        with(json!({"id": other, "size": -1})),
        with(json!({"id": other, "size": i64::MAX})),
        with(json!({"id": other, "service_metadata": "x".repeat(300)})),
    ] {
        import(SERVICE, bad).await.fault(400, "badRequest");
    }
    let unknown = import("cinder.backup.drivers.tape", with(json!({"id": other}))).await;
    assert_eq!(unknown.status, 503, "{}", unknown.body);
    let made = import(SERVICE, with(json!({"id": other})))
        .await
        .expect(201);
    assert_eq!(made["backup"]["id"], json!(other));
    cloud.idle().await;
    let shown = kept.show(&other).await;
    assert_eq!(
        (&shown["status"], &shown["name"]),
        (&json!("available"), &json!("n"))
    );
    let path = format!("/v3/backups/{other}/restore");
    let restore = cloud.post("admin", &path, json!({"restore": {}}));
    let restored = restore.await.expect(202)["restore"]["volume_id"]
        .as_str()
        .unwrap()
        .to_string();
    cloud.idle().await;
    let shown = cloud
        .get("admin", &format!("/v3/volumes/{restored}"))
        .await
        .expect(200);
    assert_eq!(
        (&shown["volume"]["status"], &shown["volume"]["bootable"]),
        (&json!("available"), &json!("true"))
    );

    // What names nothing, or not what it says, ends in error, and can be deleted.
    for changes in [
        json!({"service_metadata": "../../etc"}),
        json!({"size": 9}),
        json!({"parent_id": id}),
    ] {
        let mut changes = changes;
        let third = base::new_id();
        changes["id"] = json!(third);
        import(SERVICE, with(changes)).await.expect(201);
        cloud.idle().await;
        let shown = kept.show(&third).await;
        assert_eq!(shown["status"], "error", "{shown}");
        assert!(shown["fail_reason"].is_string());
    }
}

#[tokio::test]
async fn a_backup_outlives_its_process() {
    let kept = begin().await;
    let volume = kept.cloud.volume(json!({"size": 1})).await;
    kept.toy.gate.forget_permits(1000);
    let id = kept.back_up(json!({"volume_id": volume})).await;
    kept.toy.asked().await;
    let kept = kept.crash().await;
    assert_eq!(kept.status(&id).await, "creating");
    kept.toy.asked().await;
    kept.toy.gate.add_permits(1000);
    kept.cloud.idle().await;
    assert_eq!(kept.status(&id).await, "available");
    assert_eq!(kept.cloud.status(&volume).await, "available");

    kept.toy.gate.forget_permits(1000);
    while kept.toy.waiting.try_acquire().map(|p| p.forget()).is_ok() {}
    let path = format!("/v3/backups/{id}/restore");
    let answer = kept
        .cloud
        .post("ann", &path, json!({"restore": {}}))
        .await
        .expect(202);
    let restored = answer["restore"]["volume_id"].as_str().unwrap().to_string();
    kept.toy.asked().await;
    // In the next life the backend has failed.
    *kept.toy.fail.lock().unwrap() = Some(Error::conflict("torn"));
    let kept = kept.crash().await;
    kept.toy.gate.add_permits(1000);
    kept.cloud.idle().await;
    assert_eq!(kept.cloud.status(&restored).await, "error_restoring");
    assert_eq!(kept.status(&id).await, "available");
    drop(kept.server);
}

#[tokio::test]
async fn what_nobody_works_on_ends() {
    let kept = begin().await;
    let volume = kept.cloud.volume(json!({"size": 1})).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(kept.back_up(json!({"volume_id": volume})).await);
        kept.cloud.idle().await;
    }
    let lost = [
        ("creating", "error"),
        ("deleting", "error_deleting"),
        ("restoring", "available"),
    ];
    for (id, (status, _)) in ids.clone().into_iter().zip(lost) {
        let change = move |tx: &mut oslo_db::Tx| {
            tx.update::<BackupRow>(eq("id", &id), &[set("status", status.to_string())])
        };
        kept.cloud.db.write(change).await.unwrap();
    }
    let (id, lent) = (volume.clone(), "backing-up".to_string());
    let change = move |tx: &mut oslo_db::Tx| {
        let values = [
            set("status", lent.clone()),
            set("previous_status", Some("in-use".to_string())),
        ];
        tx.update::<cinder::db::VolumeRow>(eq("id", &id), &values)
    };
    kept.cloud.db.write(change).await.unwrap();
    let kept = kept.crash().await;
    let settled = async {
        for (id, (_, wanted)) in ids.iter().zip(lost) {
            while kept.status(id).await != wanted {
                tokio::task::yield_now().await;
            }
        }
        while kept.cloud.status(&volume).await != "in-use" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
}
