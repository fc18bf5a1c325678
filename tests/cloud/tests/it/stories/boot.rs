//! A server comes, takes what it needs of every service, and leaves nothing behind.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use crate::project::addresses;
use crate::wait::wait_for;
use serde_json::{Value, json};

pub async fn a_server_boots_and_leaves_without_a_trace(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;

    let created = p
        .member
        .create_server(&seed, "web", json!({}))
        .await
        .expect(202);
    assert!(created.header("location").contains("/v2.1/servers/"));
    let id = created.id("server");
    let server = p.member.wait_server(&id, "ACTIVE").await;
    assert_eq!(server["OS-EXT-STS:vm_state"], "active");
    assert_eq!(server["OS-EXT-STS:power_state"], 1);

    let [port] = &p.member.ports_of(&id).await[..] else {
        panic!("one port")
    };
    assert_eq!(
        (&port["status"], &port["device_id"]),
        (&json!("ACTIVE"), &json!(id))
    );
    assert!(text(port, "device_owner").starts_with("compute:"));
    assert_eq!(port["project_id"], p.id);
    let fixed = text(&port["fixed_ips"][0], "ip_address");
    assert_eq!(addresses(&server), [(fixed, "fixed".to_string())]);
    assert_eq!(
        cloud.allocation(&id).await,
        json!({"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1})
    );
    assert_eq!(cloud.guests(), std::slice::from_ref(&id));
    // The host's name is the administrator's to see.
    assert!(server.get("OS-EXT-SRV-ATTR:host").is_none());
    assert_eq!(
        cloud.admin.server(&id).await["OS-EXT-SRV-ATTR:host"],
        "host1"
    );

    p.member.delete_server(&id).await;
    assert_eq!(cloud.allocation(&id).await, Value::Null);
    assert!(p.member.ports_of(&id).await.is_empty());
    assert!(cloud.guests().is_empty());
    let usage = p
        .member
        .get("compute", "/v2.1/limits")
        .await
        .expect(200)
        .key("limits");
    assert_eq!(
        (
            &usage["absolute"]["totalInstancesUsed"],
            &usage["absolute"]["totalRAMUsed"]
        ),
        (&json!(0), &json!(0))
    );
}

pub async fn a_boot_with_nowhere_to_go_says_why(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let mut seed = cloud.seed(&p).await;

    let id = p
        .member
        .create_server(&seed, "web", json!({"availability_zone": "mars"}))
        .await;
    if id.status == 202 {
        let server = p.member.wait_server(&id.id("server"), "ERROR").await;
        let words = text(&server["fault"], "message");
        assert!(words.starts_with("No valid host was found."), "{words}");
        assert!(words.contains("AvailabilityZoneFilter"), "{words}");
        p.member.delete_server(&text(&server, "id")).await;
    } else {
        assert_eq!(id.status, 400, "{}", id.body);
    }

    seed.flavor = cloud.flavor("huge", 1, 1 << 30).await;
    let body = json!({"quota_set": {"ram": -1}});
    cloud
        .admin
        .put("compute", &format!("/v2.1/os-quota-sets/{}", p.id), body)
        .await
        .expect(200);
    let id = p
        .member
        .create_server(&seed, "big", json!({}))
        .await
        .expect(202)
        .id("server");
    let server = p.member.wait_server(&id, "ERROR").await;
    let words = text(&server["fault"], "message");
    assert!(
        words.starts_with("No valid host was found. Of 1 hosts placement removed 1"),
        "{words}"
    );
    assert!(p.member.ports_of(&id).await.is_empty());
    p.member.delete_server(&id).await;
}

pub async fn several_servers_come_of_one_request(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let extra = json!({"min_count": 3, "max_count": 3, "return_reservation_id": true});
    let reservation = text(
        &p.member
            .create_server(&seed, "web", extra)
            .await
            .expect(202)
            .body,
        "reservation_id",
    );
    let path = format!("/v2.1/servers/detail?reservation_id={reservation}");
    let (member, path) = (&p.member, &path);
    let servers = wait_for("three servers", || async move {
        let servers = member.get("compute", path).await.list("servers");
        assert_eq!(servers.len(), 3);
        servers
            .iter()
            .all(|s| s["status"] == "ACTIVE")
            .then_some(servers)
    })
    .await;
    let mut names: Vec<String> = servers.iter().map(|s| text(s, "name")).collect();
    names.sort();
    assert_eq!(names, ["web-1", "web-2", "web-3"]);
    let mut all: Vec<_> = servers.iter().flat_map(addresses).collect();
    all.dedup();
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(cloud.guests().len(), 3);
}

pub async fn a_delete_overtakes_a_boot(place: Place) {
    let cloud = TestCloud::with(place, |conf| conf.set("nova_compute", "fake_delay_ms", 100)).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    for n in 0..5 {
        let id = p
            .member
            .create_server(&seed, "brief", json!({}))
            .await
            .expect(202)
            .id("server");
        // Into another step of the boot each time.
        let (member, path) = (&p.member, &format!("/v2.1/servers/{id}"));
        wait_for("the boot to come so far", || async move {
            let task = member.get("compute", path).await["server"]["OS-EXT-STS:task_state"].clone();
            (n % 2 == 0 || task == "spawning" || task.is_null()).then_some(())
        })
        .await;
        p.member.delete_server(&id).await;
        assert!(p.member.ports_of(&id).await.is_empty());
        assert_eq!(cloud.allocation(&id).await, Value::Null);
    }
    let cloud = &cloud;
    wait_for("no guest to be left", || async move {
        cloud.guests().is_empty().then_some(())
    })
    .await;
}
