//! Aggregates, zones, services and hypervisors: what administrators see of hosts.

use crate::harness::Cloud;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn an_aggregate_makes_a_zone() {
    let cloud = Cloud::new().await;
    let body = json!({"aggregate": {"name": "rack1", "availability_zone": "az1"}});
    let made = cloud
        .post("admin", "2.41", "/v2.1/os-aggregates", body.clone())
        .await;
    assert!(made["aggregate"].get("hosts").is_none() && made["aggregate"]["uuid"].is_string());
    assert_eq!(
        cloud
            .refused("admin", "2.41", "POST", "/v2.1/os-aggregates", Some(body))
            .await
            .0,
        409
    );
    let action = "/v2.1/os-aggregates/1/action";
    let (status, words) = cloud
        .refused(
            "admin",
            "2.1",
            "POST",
            action,
            Some(json!({"add_host": {"host": "nowhere"}})),
        )
        .await;
    assert_eq!(
        (status, words.as_str()),
        (404, "Compute host nowhere could not be found.")
    );
    let with = cloud
        .post(
            "admin",
            "2.1",
            action,
            json!({"add_host": {"host": "host1"}}),
        )
        .await;
    assert_eq!(with["aggregate"]["hosts"], json!(["host1"]));
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.1",
                "POST",
                action,
                Some(json!({"add_host": {"host": "host1"}}))
            )
            .await
            .0,
        409
    );

    let zones = cloud
        .get("alice", "2.1", "/v2.1/os-availability-zone")
        .await;
    assert_eq!(zones["availabilityZoneInfo"][0]["zoneName"], "az1");
    let detail = cloud
        .get("admin", "2.1", "/v2.1/os-availability-zone/detail")
        .await;
    let az1 = detail["availabilityZoneInfo"]
        .as_array()
        .unwrap()
        .iter()
        .find(|z| z["zoneName"] == "az1")
        .unwrap();
    assert_eq!(az1["hosts"]["host1"]["nova-compute"]["available"], true);
    assert_eq!(
        cloud
            .refused(
                "alice",
                "2.1",
                "GET",
                "/v2.1/os-availability-zone/detail",
                None
            )
            .await
            .0,
        403
    );

    // A host is in one zone only.
    cloud
        .post(
            "admin",
            "2.1",
            "/v2.1/os-aggregates",
            json!({"aggregate": {"name": "rack2", "availability_zone": "az2"}}),
        )
        .await;
    let taken = Some(json!({"add_host": {"host": "host1"}}));
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.1",
                "POST",
                "/v2.1/os-aggregates/2/action",
                taken
            )
            .await
            .0,
        409
    );
    // With guests on it, it keeps its zone.
    cloud.server(|_| {}).await;
    let move_zone = Some(json!({"set_metadata": {"metadata": {"availability_zone": "az3"}}}));
    assert_eq!(
        cloud
            .refused("admin", "2.1", "POST", action, move_zone)
            .await
            .0,
        400
    );
    let metadata = cloud
        .post(
            "admin",
            "2.1",
            action,
            json!({"set_metadata": {"metadata": {"ssd": "true"}}}),
        )
        .await;
    assert_eq!(
        metadata["aggregate"]["metadata"],
        json!({"availability_zone": "az1", "ssd": "true"})
    );

    assert_eq!(
        cloud
            .refused("admin", "2.1", "DELETE", "/v2.1/os-aggregates/1", None)
            .await
            .0,
        400
    );
    cloud
        .post(
            "admin",
            "2.1",
            action,
            json!({"remove_host": {"host": "host1"}}),
        )
        .await;
    assert_eq!(
        cloud
            .ask("admin", "2.1", "DELETE", "/v2.1/os-aggregates/1", None)
            .await
            .0,
        200
    );
    assert_eq!(
        cloud
            .refused("admin", "2.1", "GET", "/v2.1/os-aggregates/1", None)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn services_go_up_down_and_away() {
    let cloud = Cloud::new().await;
    let path = "/v2.1/os-services?binary=nova-compute";
    let service = cloud.get("admin", "2.53", path).await["services"][0].clone();
    assert_eq!(
        (&service["state"], &service["status"], &service["zone"]),
        (&json!("up"), &json!("enabled"), &json!("nova"))
    );
    let one = format!("/v2.1/os-services/{}", service["id"].as_str().unwrap());
    let reason = json!({"disabled_reason": "repair"});
    assert_eq!(
        cloud
            .refused("admin", "2.53", "PUT", &one, Some(reason))
            .await
            .0,
        400
    );
    assert_eq!(
        cloud
            .refused("admin", "2.53", "PUT", &one, Some(json!({})))
            .await
            .0,
        400
    );
    let off = json!({"status": "disabled", "disabled_reason": "repair"});
    let (status, changed) = cloud.ask("admin", "2.53", "PUT", &one, Some(off)).await;
    assert_eq!(
        (status, &changed["service"]["disabled_reason"]),
        (200, &json!("repair"))
    );
    let old = json!({"host": "host1", "binary": "nova-compute"});
    let (status, enabled) = cloud
        .ask(
            "admin",
            "2.1",
            "PUT",
            "/v2.1/os-services/enable",
            Some(old.clone()),
        )
        .await;
    assert_eq!(
        (status, enabled),
        (
            200,
            json!({"service": {"host": "host1", "binary": "nova-compute", "status": "enabled"}})
        )
    );
    assert_eq!(
        cloud
            .refused("admin", "2.1", "PUT", "/v2.1/os-services/dance", Some(old))
            .await
            .0,
        404
    );
    let lost = json!({"host": "host9", "binary": "nova-compute"});
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.1",
                "PUT",
                "/v2.1/os-services/disable",
                Some(lost)
            )
            .await
            .0,
        404
    );

    cloud.clock.advance(Duration::from_secs(61));
    assert_eq!(
        cloud.get("admin", "2.53", path).await["services"][0]["state"],
        "down"
    );
    let server = cloud.server(|_| {}).await;
    assert_eq!(
        cloud.refused("admin", "2.53", "DELETE", &one, None).await.0,
        409
    );
    cloud
        .nova
        .db
        .write(move |tx| {
            tx.delete::<nova::db::instances::InstanceRow>(oslo_db::eq("id", &server.id))
        })
        .await
        .unwrap();
    assert_eq!(
        cloud.ask("admin", "2.53", "DELETE", &one, None).await.0,
        204
    );
    assert_eq!(
        cloud.get("admin", "2.53", path).await,
        json!({"services": []})
    );
}

#[tokio::test]
async fn hypervisors_in_three_ages() {
    let cloud = Cloud::new().await;
    let server = cloud.server(|_| {}).await;
    let old = cloud.get("admin", "2.1", "/v2.1/os-hypervisors/1").await["hypervisor"].clone();
    assert!(old["cpu_info"].is_string());
    assert_eq!(
        (
            &old["vcpus_used"],
            &old["memory_mb_used"],
            &old["local_gb_used"]
        ),
        (&json!(2), &json!(512), &json!(3))
    );
    let list = cloud
        .get(
            "admin",
            "2.53",
            "/v2.1/os-hypervisors/detail?with_servers=true",
        )
        .await["hypervisors"][0]
        .clone();
    assert!(list["cpu_info"].is_object());
    assert_eq!(list["servers"], json!([{"uuid": server.id, "name": "web"}]));
    let one = format!("/v2.1/os-hypervisors/{}", list["id"].as_str().unwrap());
    let new = cloud.get("admin", "2.88", &one).await["hypervisor"].clone();
    assert!(new.get("vcpus").is_none());
    assert!(
        new["uptime"].as_str().unwrap().contains("up 1 days,  1:01"),
        "{new}"
    );
    assert_eq!(
        cloud
            .get("admin", "2.1", "/v2.1/os-hypervisors/statistics")
            .await["hypervisor_statistics"]["running_vms"],
        1
    );
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.88",
                "GET",
                "/v2.1/os-hypervisors/statistics",
                None
            )
            .await
            .0,
        404
    );
    assert_eq!(
        cloud
            .get("admin", "2.1", "/v2.1/os-hypervisors/host/search")
            .await["hypervisors"][0]["id"],
        1
    );
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.1",
                "GET",
                "/v2.1/os-hypervisors/moon/servers",
                None
            )
            .await
            .0,
        404
    );
    assert_eq!(
        cloud
            .refused("admin", "2.53", "GET", "/v2.1/os-hypervisors/1", None)
            .await
            .0,
        400
    );
    assert_eq!(
        cloud
            .refused("alice", "2.53", "GET", "/v2.1/os-hypervisors", None)
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn numbers_are_not_given_twice() {
    let cloud = Cloud::new().await;
    cloud.heartbeat("host2").await;
    let list = cloud.get("admin", "2.1", "/v2.1/os-services").await;
    let first = list["services"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["host"] == "host1")
        .unwrap();
    let path = format!("/v2.1/os-services/{}", first["id"]);
    assert_eq!(
        cloud.ask("admin", "2.1", "DELETE", &path, None).await.0,
        204
    );
    cloud.heartbeat("host3").await;
    for path in ["/v2.1/os-services", "/v2.1/os-hypervisors"] {
        let list = cloud.get("admin", "2.1", path).await;
        let rows = list
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_array()
            .unwrap()
            .clone();
        let mut ids: Vec<i64> = rows.iter().map(|r| r["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rows.len(), "{path}: {rows:?}");
    }
}
