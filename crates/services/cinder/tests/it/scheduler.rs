//! Which backend gets a volume, as the user, the type, the backend and the operator want it.

use crate::cloud::{Cloud, SERVER, ToyAgent};
use base::Error;
use cinder_types::{BackendReport, PoolReport, SchedulerClient, VolumeClient};
use oslo_context::RequestContext;
use oslo_messaging::ServerHandle;
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A cloud with two more backends beside `h1@toy`, whose agent is the same; with these filters and weighers beyond the usual ones.
async fn cloud(filters: &[&str], weighers: &[&str]) -> (Cloud, Vec<ServerHandle>) {
    let mut conf = cinder::Conf {
        quota_volumes: -1,
        ..cinder::Conf::default()
    };
    let own = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    conf.scheduler_default_filters.extend(own(filters));
    if !weighers.is_empty() {
        conf.scheduler_default_weighers = own(weighers);
    }
    let cloud = Cloud::with(conf).await;
    let mut servers = Vec::new();
    for host in ["h2@toy", "h3@toy"] {
        let agent = cloud.agent.clone();
        servers.push(VolumeClient::serve(&cloud.bus, host, agent).await.unwrap());
        cloud.report(host, 100.0).await;
    }
    (cloud, servers)
}

async fn report(cloud: &Cloud, report: BackendReport) {
    let report = BackendReport {
        availability_zone: "nova".into(),
        ..report
    };
    let ctx = RequestContext::internal();
    let scheduler = SchedulerClient::new(&cloud.bus);
    scheduler.report_backend(&ctx, report).await.unwrap();
}

fn backend(host: &str, total: f64, capabilities: Value) -> BackendReport {
    BackendReport {
        host: host.into(),
        pool: "toy".into(),
        total_capacity_gb: total,
        free_capacity_gb: total,
        capabilities: object(capabilities),
        ..BackendReport::default()
    }
}

/// The volume's id, and the pool that it got; `error` if none.
async fn create(cloud: &Cloud, volume: Value, hints: Value) -> (String, String) {
    let body = json!({"volume": volume, "OS-SCH-HNT:scheduler_hints": hints});
    let made = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202);
    cloud.idle().await;
    let id = made["volume"]["id"].as_str().unwrap().to_string();
    let shown = cloud
        .get("admin", &format!("/v3/ops/volumes/{id}"))
        .await
        .expect(200);
    let host = match shown["volume"]["status"].as_str().unwrap() {
        "available" => shown["volume"]["os-vol-host-attr:host"].as_str().unwrap(),
        other => other,
    };
    (id, host.to_string())
}

async fn home(cloud: &Cloud, volume: Value, hints: Value) -> String {
    create(cloud, volume, hints).await.1
}

#[tokio::test]
async fn hints_keep_volumes_together_or_apart() {
    let filters = ["SameBackendFilter", "DifferentBackendFilter", "JsonFilter"];
    let (cloud, _servers) = cloud(&filters, &[]).await;
    let one = json!({"size": 1});
    let (first, host) = create(&cloud, one.clone(), json!({})).await;
    assert_eq!(host, "h1@toy#toy", "it has the most room");
    let apart = json!({"different_host": [first]});
    let (second, host) = create(&cloud, one.clone(), apart).await;
    assert_eq!(host, "h2@toy#toy");
    let third = json!({"different_host": [first, second]});
    assert_eq!(home(&cloud, one.clone(), third).await, "h3@toy#toy");
    let with = json!({"same_host": second});
    assert_eq!(home(&cloud, one.clone(), with).await, "h2@toy#toy");
    for wrong in [
        json!({"same_host": "h2"}),
        json!({"different_host": ["h2"]}),
        json!({"same_host": base::new_id()}),
    ] {
        assert_eq!(home(&cloud, one.clone(), wrong).await, "error");
    }
    // Of others' volumes nobody learns where they are.
    let theirs =
        json!({"volume": {"size": 1}, "OS-SCH-HNT:scheduler_hints": {"same_host": second}});
    let made = cloud
        .post("bob", "/v3/p2/volumes", theirs)
        .await
        .expect(202);
    cloud.idle().await;
    let path = format!("/v3/p2/volumes/{}", made["volume"]["id"].as_str().unwrap());
    let shown = cloud.get("bob", &path).await.expect(200);
    assert_eq!(shown["volume"]["status"], "error");

    let query = |text: &str| json!({"query": text});
    let exact = query(r#"["=", "$backend_id", "h3@toy#toy"]"#);
    assert_eq!(home(&cloud, one.clone(), exact).await, "h3@toy#toy");
    let both =
        query(r#"["and", ["<", "$total_capacity_gb", 500], ["not", ["=", "$pool_name", "x"]]]"#);
    assert_ne!(home(&cloud, one.clone(), both).await, "h1@toy#toy");
    for none in [r#"["=", "$backend_id", "moon"]"#, "[", r#"["run", 1]"#, "5"] {
        assert_eq!(
            home(&cloud, one.clone(), query(none)).await,
            "error",
            "{none}"
        );
    }
}

#[tokio::test]
async fn backends_speak_for_themselves() {
    let (cloud, _servers) = cloud(&["DriverFilter"], &["GoodnessWeigher"]).await;
    let says = |host: &str, filter: &str, goodness: &str| {
        let colour = if host == "h2@toy" { "red" } else { "blue" };
        let can =
            json!({"filter_function": filter, "goodness_function": goodness, "colour": colour});
        report(&cloud, backend(host, 100.0, can))
    };
    says("h1@toy", "volume.size <= 2", "(volume.size < 2) ? 100 : 10").await;
    says("h2@toy", "volume.size > 1 and extra.colour == 'red'", "100").await;
    says("h3@toy", "volume.size < 5", "50").await;
    let red = json!({"volume_type": {"name": "red", "extra_specs": {"colour": "red"}}});
    cloud.post("admin", "/v3/ops/types", red).await.expect(200);
    let size = |size: i64| json!({"size": size});
    assert_eq!(home(&cloud, size(1), json!({})).await, "h1@toy#toy");
    assert_eq!(home(&cloud, size(2), json!({})).await, "h3@toy#toy");
    let red = json!({"size": 3, "volume_type": "red"});
    assert_eq!(home(&cloud, red, json!({})).await, "h2@toy#toy");
    // What makes no sense (nothing is said of a colour) says no.
    assert_eq!(home(&cloud, size(5), json!({})).await, "error");
    let message = cloud.get("ann", "/v3/p1/messages").await.expect(200);
    let words = message["messages"][0]["user_message"].as_str().unwrap();
    assert!(
        words.ends_with("3 backends that say no to it by their own rule (DriverFilter)."),
        "{words}"
    );
}

#[tokio::test]
async fn pools_thin_and_thick_with_what_is_reserved() {
    let (cloud, _servers) = cloud(&[], &[]).await;
    let pool = |name: &str, total: f64, free: f64, thin: bool, can: Value| PoolReport {
        name: name.into(),
        total_capacity_gb: total,
        free_capacity_gb: free,
        reserved_percentage: 10,
        thin,
        capabilities: object(can),
    };
    let pools = vec![
        pool(
            "thin",
            100.0,
            40.0,
            true,
            json!({"max_over_subscription_ratio": "2.0"}),
        ),
        pool("thick", 50.0, 50.0, false, json!({"colour": "red"})),
    ];
    let mut both = backend("h2@toy", 0.0, json!({"kind": "double", "size": 7}));
    both.pools = pools;
    report(&cloud, both).await;
    for (name, specs) in [
        ("double", json!({"kind": "double"})),
        (
            "thick",
            json!({"kind": "double", "provisioning:type": "thick"}),
        ),
        (
            "red",
            json!({"kind": "<or> single <or> double", "colour": "s== red", "size": ">= 5"}),
        ),
        ("blue", json!({"colour": "blue"})),
    ] {
        let body = json!({"volume_type": {"name": name, "extra_specs": specs}});
        cloud.post("admin", "/v3/ops/types", body).await.expect(200);
    }
    let volume = |size: i64, kind: &str| json!({"size": size, "volume_type": kind});
    let none = || json!({});
    // 90 GiB of the thin pool may be promised twice, less what is promised.
    assert_eq!(
        home(&cloud, volume(170, "double"), none()).await,
        "h2@toy#thin"
    );
    assert_eq!(home(&cloud, volume(50, "double"), none()).await, "error");
    assert_eq!(
        home(&cloud, volume(5, "double"), none()).await,
        "h2@toy#thick"
    );
    assert_eq!(home(&cloud, volume(5, "red"), none()).await, "h2@toy#thick");
    assert_eq!(home(&cloud, volume(5, "blue"), none()).await, "error");
    // Thick: what is free counts, in the thin pool too: 40 less 10, and 50 less 5.
    assert_eq!(home(&cloud, volume(46, "thick"), none()).await, "error");
    assert_eq!(
        home(&cloud, volume(44, "thick"), none()).await,
        "h2@toy#thick"
    );

    let path = "/v3/ops/scheduler-stats/get_pools?detail=true";
    let pools = cloud.get("admin", path).await.expect(200);
    let all = pools["pools"].as_array().unwrap();
    assert_eq!(all.len(), 4);
    let thin = all.iter().find(|p| p["name"] == "h2@toy#thin").unwrap();
    let can = &thin["capabilities"];
    assert_eq!(
        (
            &can["allocated_capacity_gb"],
            &can["kind"],
            &can["thin_provisioning_support"]
        ),
        (&json!(170), &json!("double"), &json!(true))
    );
}

#[tokio::test]
async fn weighers_spread_or_fill() {
    for (weigher, first, second) in [
        ("VolumeNumberWeigher", "h1@toy#toy", "h2@toy#toy"),
        ("AllocatedCapacityWeigher", "h1@toy#toy", "h2@toy#toy"),
        ("CapacityWeigher", "h1@toy#toy", "h1@toy#toy"),
    ] {
        let (cloud, _servers) = cloud(&[], &[weigher]).await;
        let one = json!({"size": 1});
        assert_eq!(
            home(&cloud, one.clone(), json!({})).await,
            first,
            "{weigher}"
        );
        assert_eq!(home(&cloud, one, json!({})).await, second, "{weigher}");
    }
    let (cloud, _servers) = cloud(&[], &["ChanceWeigher"]).await;
    let mut homes = std::collections::BTreeSet::new();
    for _ in 0..9 {
        homes.insert(home(&cloud, json!({"size": 1}), json!({})).await);
    }
    // Nine in one place happen once in 6,561 runs.
    assert!(homes.len() > 1, "{homes:?}");
}

#[tokio::test]
async fn a_backend_that_fails_is_not_the_last_word() {
    let (cloud, mut servers) = cloud(&["RetryFilter"], &[]).await;
    *cloud.agent.fail.lock().unwrap() = Some(Error::conflict("the disk is full"));
    let good = Arc::new(ToyAgent::new());
    servers.remove(0);
    let server = VolumeClient::serve(&cloud.bus, "h2@toy", good.clone()).await;
    servers.push(server.unwrap());
    let (id, host) = create(&cloud, json!({"size": 1}), json!({})).await;
    assert_eq!(host, "h2@toy#toy");
    assert!(good.volumes.lock().unwrap().contains_key(&id));
    assert_eq!(*good.creates.lock().unwrap(), 1);
    assert!(cloud.agent.volumes.lock().unwrap().is_empty());
    // When all fail, it ends, with what the last one said left to the log.
    *good.fail.lock().unwrap() = Some(Error::conflict("no"));
    assert_eq!(home(&cloud, json!({"size": 1}), json!({})).await, "error");
}

#[tokio::test]
async fn a_volume_beside_its_server() {
    let (cloud, _servers) = cloud(&["InstanceLocalityFilter"], &[]).await;
    *cloud.neighbours.server_host.lock().unwrap() = Some("h3".to_string());
    let near = json!({"local_to_instance": SERVER});
    assert_eq!(
        home(&cloud, json!({"size": 1}), near.clone()).await,
        "h3@toy#toy"
    );
    *cloud.neighbours.server_host.lock().unwrap() = Some("h9".to_string());
    assert_eq!(home(&cloud, json!({"size": 1}), near).await, "error");
    let body =
        json!({"volume": {"size": 1}, "OS-SCH-HNT:scheduler_hints": {"local_to_instance": "web"}});
    cloud
        .post("ann", "/v3/p1/volumes", body)
        .await
        .fault(400, "badRequest");
}
