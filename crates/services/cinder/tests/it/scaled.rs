//! Cinder as several processes: APIs without an engine, schedulers beside each other, storage hosts that come and go.

use crate::cloud::Cloud;
use cinder::Parts;
use cinder::db::ServiceRow;
use cinder_types::VolumeClient;
use futures::future::join_all;
use http::Method;
use oslo_db::{Db, eq, set};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ALL: Parts = Parts {
    api: true,
    scheduler: true,
};
const API: Parts = Parts {
    api: true,
    scheduler: false,
};

async fn until(cloud: &Cloud, id: &str, status: &str) {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let now = cloud.status(id).await;
        if now == status {
            return;
        }
        assert!(Instant::now() < limit, "{id} is {now}, not {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn create(cloud: &Cloud) -> String {
    let body = json!({"volume": {"size": 1}});
    let created = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202);
    created["volume"]["id"].as_str().unwrap().to_string()
}

#[tokio::test]
async fn an_api_without_an_engine_wakes_a_scheduler() {
    let cloud = Cloud::new().await;
    let api = cloud.beside(cloud.db.clone(), "a1", API).await;
    let mut took = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        let id = create(&api).await;
        until(&api, &id, "available").await;
        took.push(begun.elapsed());
    }
    // A scheduler that nobody woke would find each but the first, which begin when it has just looked, at the end of its
    // second; a slow machine is not slow all the time.
    let shortest = took[1..].iter().min();
    assert!(shortest < Some(&Duration::from_millis(800)), "{took:?}");
    let services = cloud
        .get("admin", "/v3/ops/os-services?binary=cinder-scheduler")
        .await;
    let hosts: Vec<Value> = services.expect(200)["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["host"].clone())
        .collect();
    assert_eq!(hosts, ["localhost"], "an API is no scheduler");
}

#[tokio::test]
async fn two_processes_on_one_mariadb() {
    let server = oslo_testing::db::MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let one = Cloud::on(&url, cinder::Conf::default()).await;
    let two = one.beside(Db::open(&url).await.unwrap(), "h2", ALL).await;
    let both = [&one, &two];

    // A crowd at both doors gets what the quota allows, and each volume is made once.
    let body = json!({"volume": {"size": 1}});
    let asked = (0..40).map(|i| both[i % 2].post("ann", "/v3/p1/volumes", body.clone()));
    let answers = join_all(asked).await;
    let made: Vec<String> = answers
        .into_iter()
        .filter(|a| a.status == 202)
        .map(|a| a.body["volume"]["id"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(made.len(), 10);
    for id in &made {
        until(&two, id, "available").await;
    }
    assert_eq!(*one.agent.creates.lock().unwrap(), 10);

    // Of those who claim the same volume at the same time, one has it.
    let claim = || {
        let server = base::new_id();
        json!({"attachment": {"volume_uuid": made[0], "instance_uuid": server}})
    };
    let claims = (0..8).map(|i| both[i % 2].post("ann", "/v3/p1/attachments", claim()));
    let won: Vec<u16> = join_all(claims).await.iter().map(|a| a.status).collect();
    assert_eq!(won.iter().filter(|s| **s == 200).count(), 1, "{won:?}");
    assert_eq!(won.iter().filter(|s| **s == 400).count(), 7, "{won:?}");

    // Of those who delete it, one does.
    let path = format!("/v3/p1/volumes/{}", made[1]);
    let gone: Vec<u16> = join_all((0..6).map(|i| both[i % 2].delete("ann", &path)))
        .await
        .iter()
        .map(|a| a.status)
        .collect();
    assert_eq!(gone.iter().filter(|s| **s == 202).count(), 1, "{gone:?}");
    one.idle().await;
    two.idle().await;

    // One process dies in the middle of its work; the other one finishes it.
    one.agent.gate.forget_permits(1000);
    while one.agent.waiting.try_acquire().is_ok_and(|p| {
        p.forget();
        true
    }) {}
    let id = create(&one).await;
    one.agent.waiting.acquire().await.unwrap().forget();
    let agent = one.agent.clone();
    let _agent_goes_on = one.kill().await;
    agent.gate.add_permits(1000);
    until(&two, &id, "available").await;
    let limits = two.get("ann", "/v3/p1/limits").await.expect(200);
    assert_eq!(limits["limits"]["absolute"]["totalVolumesUsed"], 10);
}

/// The status of a volume that is extended while its server gives it back follows from its attachments in the end.
#[tokio::test]
async fn an_extension_and_a_detachment_at_once() {
    let server = oslo_testing::db::MariaDb::start().await.unwrap();
    let cloud = Cloud::on(&server.database().await.unwrap(), cinder::Conf::default()).await;
    let volumes = join_all((0..8).map(|_| cloud.volume(json!({"size": 1})))).await;
    let race = async |volume: &str, size: i64| {
        let claim = json!({"attachment": {"volume_uuid": volume, "instance_uuid": base::new_id(),
            "connector": {"host": "c1"}}});
        let claimed = cloud.post("ann", "/v3/p1/attachments", claim).await;
        let id = claimed.expect(200)["attachment"]["id"].clone();
        let path = format!("/v3/p1/attachments/{}", id.as_str().unwrap());
        let act = format!("{path}/action");
        let done = json!({"os-complete": {}});
        assert_eq!(cloud.post("ann", &act, done).await.status, 204);
        until(&cloud, volume, "in-use").await;
        let grow = json!({"os-extend": {"new_size": size}});
        assert_eq!(cloud.act("ann", volume, grow).await.status, 202);
        cloud.delete("ann+service", &path).await.expect(200);
        until(&cloud, volume, "available").await;
    };
    for size in 2..12 {
        join_all(volumes.iter().map(|v| race(v, size))).await;
    }
}

/// Every service's state, status, reason and whether it is frozen, by host.
async fn services(cloud: &Cloud) -> BTreeMap<String, Value> {
    let list = cloud
        .get("admin", "/v3/ops/os-services?binary=cinder-volume")
        .await
        .expect(200);
    let view = |s: &Value| {
        let host = s["host"].as_str().unwrap().to_string();
        (
            host,
            json!([s["state"], s["status"], s["disabled_reason"], s["frozen"]]),
        )
    };
    list["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(view)
        .collect()
}

/// The backend that a new volume gets.
async fn chosen(cloud: &Cloud) -> String {
    let id = cloud.volume(json!({"size": 1})).await;
    let shown = cloud
        .get("admin", &format!("/v3/ops/volumes/{id}"))
        .await
        .expect(200);
    shown["volume"]["os-vol-host-attr:host"]
        .as_str()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn backends_that_are_silent_frozen_or_disabled_are_not_chosen() {
    let cloud = Cloud::new().await;
    let second = VolumeClient::serve(&cloud.bus, "h2@toy", cloud.agent.clone())
        .await
        .unwrap();
    cloud.report("h2@toy", 100.0).await;
    assert_eq!(chosen(&cloud).await, "h1@toy#toy", "it has more room");

    let path = |verb: &str| format!("/v3/ops/os-services/{verb}");
    let h1 = json!({"host": "h1@toy"});
    let put = |verb: &str, body: Value| {
        let path = path(verb);
        let cloud = &cloud;
        async move {
            cloud
                .call("admin", "3.71", Method::PUT, &path, Some(body))
                .await
        }
    };
    assert_eq!(put("freeze", h1.clone()).await.status, 200);
    let frozen = services(&cloud).await;
    assert_eq!(frozen["h1@toy"], json!(["up", "disabled", "frozen", true]));
    assert_eq!(frozen["h2@toy"], json!(["up", "enabled", null, false]));
    assert_eq!(chosen(&cloud).await, "h2@toy#toy");
    // A sign of life thaws nothing.
    cloud.report("h1@toy", 1000.0).await;
    assert_eq!(chosen(&cloud).await, "h2@toy#toy");
    assert_eq!(put("thaw", h1).await.status, 200);
    assert_eq!(
        services(&cloud).await["h1@toy"],
        json!(["up", "enabled", null, false])
    );
    assert_eq!(chosen(&cloud).await, "h1@toy#toy");
    assert_eq!(put("freeze", json!({"host": "moon"})).await.status, 400);
    let user = cloud.put(
        "ann",
        "/v3/p1/os-services/freeze",
        json!({"host": "h1@toy"}),
    );
    user.await.fault(403, "forbidden");

    let off = json!({"host": "h1@toy", "binary": "cinder-volume", "disabled_reason": "new disks"});
    put("disable-log-reason", off).await.expect(200);
    assert_eq!(
        services(&cloud).await["h1@toy"],
        json!(["up", "disabled", "new disks", false])
    );
    assert_eq!(chosen(&cloud).await, "h2@toy#toy");
    let on = json!({"host": "h1@toy", "binary": "cinder-volume"});
    put("enable", on).await.expect(200);
    assert_eq!(chosen(&cloud).await, "h1@toy#toy");

    // A host that is not heard of for longer than service_down_time.
    let silent = |tx: &mut oslo_db::Tx| {
        let old = base::Timestamp(base::Timestamp::now().0 - 61_000_000);
        tx.update::<ServiceRow>(eq("host", "h1@toy"), &[set("seen_at", old)])
    };
    cloud.db.write(silent).await.unwrap();
    assert_eq!(
        services(&cloud).await["h1@toy"],
        json!(["down", "enabled", null, false])
    );
    assert_eq!(chosen(&cloud).await, "h2@toy#toy");
    let pools = cloud
        .get("admin", "/v3/ops/scheduler-stats/get_pools")
        .await
        .expect(200);
    assert_eq!(pools, json!({"pools": [{"name": "h2@toy#toy"}]}));
    cloud.report("h1@toy", 1000.0).await;
    assert_eq!(
        services(&cloud).await["h1@toy"],
        json!(["up", "enabled", null, false])
    );
    assert_eq!(chosen(&cloud).await, "h1@toy#toy");
    drop(second);
}
