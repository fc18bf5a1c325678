//! What a crash leaves behind is finished, or ends in error.

use crate::cloud::Cloud;
use cinder::db::VolumeRow;
use cinder::volume::status::VolumeStatus;
use oslo_db::{eq, set};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test]
async fn a_create_is_resumed() {
    let cloud = Cloud::new().await;
    cloud.agent.gate.forget_permits(1000);
    let body = json!({"volume": {"size": 1}});
    let created = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202);
    let id = created["volume"]["id"].as_str().unwrap().to_string();
    cloud.agent.waiting.acquire().await.unwrap().forget();
    let cloud = cloud.crash().await;
    assert_eq!(cloud.status(&id).await, "creating");
    // The next life asks the agent again, while the first request is still under way.
    cloud.agent.waiting.acquire().await.unwrap().forget();
    cloud.agent.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "available");
    assert_eq!(*cloud.agent.creates.lock().unwrap(), 2);
}

#[tokio::test]
async fn what_nobody_works_on_ends_in_error() {
    let cloud = Cloud::new().await;
    let ids = [
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Creating,
            "error",
        ),
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Deleting,
            "error_deleting",
        ),
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Extending,
            "error_extending",
        ),
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Reserved,
            "reserved",
        ),
    ];
    for (id, status, _) in ids.clone() {
        let change = move |tx: &mut oslo_db::Tx| {
            tx.update::<VolumeRow>(eq("id", &id), &[set("status", status)])
        };
        cloud.db.write(change).await.unwrap();
    }
    // A process that starts looks at once.
    let cloud = cloud.crash().await;
    let settled = async {
        for (id, _, wanted) in &ids {
            while cloud.status(id).await != *wanted {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_volume_reserved_too_early_breaks_with_its_create() {
    let cloud = Cloud::new().await;
    cloud.agent.gate.forget_permits(1000);
    let body = json!({"volume": {"size": 3, "imageRef": crate::cloud::IMAGE}});
    let created = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202);
    let id = created["volume"]["id"].as_str().unwrap().to_string();
    cloud.agent.waiting.acquire().await.unwrap().forget();
    assert_eq!(cloud.status(&id).await, "downloading");
    let claim = json!({"attachment": {"volume_uuid": id, "instance_uuid": crate::cloud::SERVER}});
    cloud
        .post("ann", "/v3/p1/attachments", claim)
        .await
        .expect(200);
    assert_eq!(cloud.status(&id).await, "reserved");
    // The process dies, and in its next life the backend has failed.
    let failed = base::Error::conflict("no space");
    *cloud.agent.fail.lock().unwrap() = Some(failed);
    let cloud = cloud.crash().await;
    cloud.agent.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "error");
}

/// Numbers that look like chance and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides.max(1)
    }

    fn one(&mut self, of: &[Value]) -> Value {
        match of.len() {
            0 => json!({"id": base::new_id()}),
            n => of[self.roll(n)].clone(),
        }
    }
}

async fn all(cloud: &Cloud, what: &str) -> Vec<Value> {
    let path = format!("/v3/{what}/detail?all_tenants=1");
    let mut found = cloud.get("admin", &path).await.expect(200);
    found[what].as_array_mut().unwrap().drain(..).collect()
}

/// One request, whatever its answer.
async fn anything(cloud: &Cloud, dice: &mut Dice, round: usize) {
    let volume = dice.one(&all(cloud, "volumes").await)["id"].clone();
    let snapshot = dice.one(&all(cloud, "snapshots").await)["id"].clone();
    let volumes = "/v3/volumes".to_string();
    let id = |value: &Value| value.as_str().unwrap().to_string();
    let one = format!("{volumes}/{}", id(&volume));
    let of_snapshot = format!("/v3/snapshots/{}", id(&snapshot));
    let answer = match dice.roll(9) {
        0 | 1 => {
            let body = json!({"snapshot": {"volume_id": volume}});
            cloud.post("admin", "/v3/snapshots", body).await
        }
        2 => {
            let body = json!({"volume": {"snapshot_id": snapshot}});
            cloud.post("admin", &volumes, body).await
        }
        3 => {
            let body = json!({"volume": {"source_volid": volume}});
            cloud.post("admin", &volumes, body).await
        }
        4 => cloud.delete("admin", &of_snapshot).await,
        5 => cloud.delete("admin", &format!("{one}?cascade=true")).await,
        6 => {
            let found = all(cloud, "snapshots").await;
            let latest = found.iter().find(|s| s["volume_id"] == volume);
            let latest = latest.map_or(Value::Null, |s| s["id"].clone());
            let body = json!({"revert": {"snapshot_id": latest}});
            cloud.act("admin", volume.as_str().unwrap(), body).await
        }
        7 => {
            let name = format!("stray-{round}");
            cloud.agent.strays.lock().unwrap().insert(name.clone(), 1);
            let body = json!({"volume": {"host": "h1@toy", "ref": {"source-name": name}}});
            cloud.post("admin", "/v3/manageable_volumes", body).await
        }
        _ => {
            let body = json!({"os-unmanage": {}});
            cloud.act("admin", volume.as_str().unwrap(), body).await
        }
    };
    assert!(answer.status < 500, "{}", answer.body);
}

/// Rows whose work is over; the ids of those that are whole.
async fn settled(cloud: &Cloud, what: &str, seed: u64) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut known, mut whole) = (BTreeSet::new(), BTreeSet::new());
    for row in all(cloud, what).await {
        let (id, status) = (row["id"].as_str().unwrap(), row["status"].as_str().unwrap());
        let over = ["available", "error", "error_managing"];
        assert!(
            over.contains(&status),
            "seed {seed}: {what} {id} is {status}"
        );
        known.insert(id.to_string());
        if status == "available" {
            whole.insert(id.to_string());
        }
    }
    (known, whole)
}

#[tokio::test]
async fn whenever_it_dies_nothing_is_stuck_or_lost() {
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let mut cloud = Cloud::new().await;
        let free = json!({"quota_set": {"volumes": -1, "snapshots": -1, "gigabytes": -1}});
        cloud
            .put("admin", "/v3/os-quota-sets/ops", free)
            .await
            .expect(200);
        for _ in 0..2 {
            let body = json!({"volume": {"size": 1}});
            cloud.post("admin", "/v3/volumes", body).await.expect(202);
        }
        for round in 0..14 {
            anything(&cloud, &mut dice, round).await;
            for _ in 0..dice.roll(40) {
                tokio::task::yield_now().await;
            }
            match dice.roll(3) {
                0 => cloud = cloud.crash().await,
                1 => cloud.idle().await,
                _ => {}
            }
        }
        cloud.idle().await;
        let (known, whole) = settled(&cloud, "volumes", seed).await;
        let held: BTreeSet<String> = cloud
            .agent
            .volumes
            .lock()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert!(
            held.is_subset(&known),
            "seed {seed}: the backend keeps what nobody has"
        );
        assert!(whole.is_subset(&held), "seed {seed}: a volume has no bytes");
        let (known, whole) = settled(&cloud, "snapshots", seed).await;
        let held: BTreeSet<String> = cloud
            .agent
            .snapshots
            .lock()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert!(
            held.is_subset(&known),
            "seed {seed}: the backend keeps what nobody has"
        );
        assert!(
            whole.is_subset(&held),
            "seed {seed}: a snapshot has no bytes"
        );
    }
}
