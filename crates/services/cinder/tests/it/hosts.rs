//! Hosts, capabilities, clusters, cleaning up, failing over.

use crate::cloud::Cloud;
use cinder_types::{BackendReport, SchedulerClient};
use http::Method;
use oslo_context::RequestContext;
use serde_json::{Value, json};

async fn in_cluster(cloud: &Cloud, host: &str, cluster: &str) {
    let report = BackendReport {
        host: host.into(),
        pool: "toy".into(),
        cluster: cluster.into(),
        availability_zone: "nova".into(),
        total_capacity_gb: 10.0,
        free_capacity_gb: 10.0,
        capabilities:
            json!({"vendor_name": "Toys", "volume_backend_name": "toy", "driver_version": "1",
            "storage_protocol": "toy"})
            .as_object()
            .unwrap()
            .clone(),
        ..BackendReport::default()
    };
    let ctx = RequestContext::internal();
    let scheduler = SchedulerClient::new(&cloud.bus);
    scheduler.report_backend(&ctx, report).await.unwrap();
}

/// The host is not heard of any more.
async fn silence(cloud: &Cloud, host: &'static str) {
    let silent = move |tx: &mut oslo_db::Tx| {
        let old = base::Timestamp(base::Timestamp::now().0 - 61_000_000);
        tx.update::<cinder::db::ServiceRow>(
            oslo_db::eq("host", host),
            &[oslo_db::set("seen_at", old)],
        )
    };
    cloud.db.write(silent).await.unwrap();
}

#[tokio::test]
async fn hosts_are_listed_counted_and_switched() {
    let cloud = Cloud::new().await;
    cloud.volume(json!({"size": 3})).await;
    let second = cloud.volume(json!({"size": 4})).await;
    let snapshot = json!({"snapshot": {"volume_id": second}});
    cloud
        .post("ann", "/v3/p1/snapshots", snapshot)
        .await
        .expect(202);
    cloud.idle().await;
    let list = cloud.get("admin", "/v3/ops/os-hosts").await.expect(200);
    let hosts = list["hosts"].as_array().unwrap();
    let h1 = hosts.iter().find(|h| h["host_name"] == "h1@toy").unwrap();
    assert_eq!(
        (
            &h1["service"],
            &h1["service-status"],
            &h1["service-state"],
            &h1["zone"]
        ),
        (
            &json!("cinder-volume"),
            &json!("available"),
            &json!("enabled"),
            &json!("nova")
        )
    );
    let none = cloud.get("admin", "/v3/ops/os-hosts?zone=moon").await;
    assert_eq!(none.expect(200), json!({"hosts": []}));
    let path = "/v3/ops/os-hosts/h1@toy";
    let shown = cloud.get("admin", path).await.expect(200);
    let resource = |project: &str| {
        json!({"resource": {"host": "h1@toy", "project": project, "volume_count": "2",
            "total_volume_gb": "7", "snapshot_count": "1", "total_snapshot_gb": "4"}})
    };
    assert_eq!(shown["host"], json!([resource("(total)"), resource("p1")]));
    let words = cloud
        .get("admin", "/v3/ops/os-hosts/moon")
        .await
        .fault(404, "itemNotFound");
    assert_eq!(words, "Host moon could not be found.");
    let off = cloud
        .put("admin", path, json!({"status": "disable"}))
        .await
        .expect(200);
    assert_eq!(off, json!({"host": "h1@toy", "status": "disabled"}));
    let volume = json!({"volume": {"size": 1}});
    let refused = cloud
        .post("ann", "/v3/p1/volumes", volume)
        .await
        .expect(202);
    cloud.idle().await;
    let id = refused["volume"]["id"].as_str().unwrap();
    assert_eq!(cloud.status(id).await, "error");
    cloud
        .put("admin", path, json!({"status": "enable"}))
        .await
        .expect(200);
    cloud.volume(json!({"size": 1})).await;
    for wrong in [json!({"status": "burn"}), json!({"colour": "red"})] {
        cloud
            .put("admin", path, wrong)
            .await
            .fault(400, "badRequest");
    }
    cloud.get("ann", path).await.fault(403, "forbidden");
    cloud
        .get("ann", "/v3/p1/os-hosts")
        .await
        .fault(403, "forbidden");

    in_cluster(&cloud, "h2@toy", "").await;
    let can = cloud
        .get("admin", "/v3/ops/capabilities/h2@toy")
        .await
        .expect(200);
    assert_eq!(
        (&can["namespace"], &can["vendor_name"], &can["pool_name"]),
        (
            &json!("OS::Storage::Capabilities::h2@toy"),
            &json!("Toys"),
            &json!("toy")
        )
    );
    assert_eq!(can["properties"]["qos"]["type"], "boolean");
    let words = cloud
        .get("admin", "/v3/ops/capabilities/moon")
        .await
        .fault(404, "itemNotFound");
    assert_eq!(words, "Can't find service: moon");
}

#[tokio::test]
async fn clusters_are_what_their_hosts_say() {
    let cloud = Cloud::new().await;
    let none = cloud.get("admin", "/v3/ops/clusters").await.expect(200);
    assert_eq!(none, json!({"clusters": []}));
    in_cluster(&cloud, "h2@toy", "twins").await;
    in_cluster(&cloud, "h3@toy", "twins").await;
    let list = cloud.get("admin", "/v3/ops/clusters").await.expect(200);
    assert_eq!(
        list["clusters"],
        json!([{"name": "twins", "binary": "cinder-volume", "state": "up", "status": "enabled",
            "replication_status": "disabled"}])
    );
    silence(&cloud, "h3@toy").await;
    let path = "/v3/ops/clusters/twins";
    let shown = cloud.call("admin", "3.7", Method::GET, path, None).await;
    let shown = shown.expect(200)["cluster"].take();
    assert_eq!(
        (
            &shown["num_hosts"],
            &shown["num_down_hosts"],
            &shown["state"]
        ),
        (&json!(2), &json!(1), &json!("up"))
    );
    assert!(shown.get("replication_status").is_none());
    let count = async |query: &str| -> usize {
        let path = format!("/v3/ops/clusters/detail?{query}");
        let list = cloud.get("admin", &path).await.expect(200);
        list["clusters"].as_array().unwrap().len()
    };
    assert_eq!(count("num_down_hosts=1&is_up=true").await, 1);
    assert_eq!(count("disabled=true").await, 0);
    cloud
        .get("admin", "/v3/ops/clusters?colour=red")
        .await
        .fault(400, "badRequest");
    cloud
        .get("admin", "/v3/ops/clusters?is_up=perhaps")
        .await
        .fault(400, "badRequest");
    let services = cloud.get("admin", "/v3/ops/os-services?host=h2").await;
    assert_eq!(services.expect(200)["services"][0]["cluster"], "twins");

    // The hosts of a cluster that is off take no volumes.
    cloud
        .put(
            "admin",
            "/v3/ops/os-hosts/h1@toy",
            json!({"status": "disable"}),
        )
        .await
        .expect(200);
    let off = json!({"name": "twins", "disabled_reason": " moving "});
    let off = cloud
        .put("admin", "/v3/ops/clusters/disable", off)
        .await
        .expect(200);
    assert_eq!(
        (
            &off["cluster"]["status"],
            &off["cluster"]["disabled_reason"]
        ),
        (&json!("disabled"), &json!("moving"))
    );
    let pools = "/v3/ops/scheduler-stats/get_pools";
    let list = cloud.get("admin", pools).await.expect(200);
    assert_eq!(list, json!({"pools": []}));
    let on = json!({"name": "twins", "binary": "cinder-volume"});
    cloud
        .put("admin", "/v3/ops/clusters/enable", on)
        .await
        .expect(200);
    let list = cloud.get("admin", pools).await.expect(200);
    assert_eq!(list, json!({"pools": [{"name": "h2@toy#toy"}]}));
    let words = cloud
        .put("admin", "/v3/ops/clusters/enable", json!({"name": "moon"}))
        .await
        .fault(404, "itemNotFound");
    assert_eq!(words, "Cluster moon could not be found.");

    let freeze = |body: Value| cloud.put("admin", "/v3/ops/os-services/freeze", body);
    assert_eq!(freeze(json!({"cluster": "twins"})).await.status, 200);
    let list = cloud.get("admin", pools).await.expect(200);
    assert_eq!(list, json!({"pools": []}));
    let words = freeze(json!({"cluster": "twins", "host": "h1@toy"}))
        .await
        .fault(400, "badRequest");
    assert!(words.contains("One and only one of cluster and host must be set."));
    freeze(json!({})).await.fault(400, "badRequest");
}

#[tokio::test]
async fn nothing_replicates_and_the_dead_are_cleaned_up_after() {
    let cloud = Cloud::new().await;
    let failover = |body: Value| cloud.put("admin", "/v3/ops/os-services/failover_host", body);
    let words = failover(json!({"host": "h1@toy"}))
        .await
        .fault(400, "badRequest");
    assert!(words.contains("replication_status"), "{words}");
    failover(json!({"host": "moon"}))
        .await
        .fault(400, "badRequest");
    failover(json!({})).await.fault(400, "badRequest");

    // A volume on its way without anybody who works on it is seen to at once.
    let volume = cloud.volume(json!({"size": 1})).await;
    let lost = json!({"os-reset_status": {"status": "deleting"}});
    cloud.act("admin", &volume, lost).await.expect(202);
    in_cluster(&cloud, "h2@toy", "twins").await;
    silence(&cloud, "h2@toy").await;
    let clean = |body: Value| cloud.post("admin", "/v3/ops/workers/cleanup", body);
    let cleaned = clean(json!({"binary": "cinder-volume"})).await.expect(202);
    assert_eq!(
        (
            &cleaned["cleaning"][0]["host"],
            &cleaned["cleaning"][0]["cluster_name"]
        ),
        (&json!("h2@toy"), &json!("twins"))
    );
    assert_eq!(
        (
            cleaned["cleaning"].as_array().unwrap().len(),
            &cleaned["unavailable"]
        ),
        (1, &json!([]))
    );
    assert_eq!(cloud.status(&volume).await, "error_deleting");
    let up = clean(json!({"is_up": true, "host": "h1@toy"}))
        .await
        .expect(202);
    assert_eq!(up["cleaning"][0]["host"], "h1@toy");
    let words = clean(json!({"resource_type": "House"}))
        .await
        .fault(400, "badRequest");
    assert!(words.contains("House"), "{words}");
    let early = cloud
        .call(
            "admin",
            "3.23",
            Method::POST,
            "/v3/ops/workers/cleanup",
            Some(json!({})),
        )
        .await;
    assert_eq!(early.status, 404);
}
