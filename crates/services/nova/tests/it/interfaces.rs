//! Network cards of living servers.

use crate::harness::Cloud;
use crate::neighbours::NETWORK;
use base::Cell;
use nova::instance::status::VmState;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_card_comes_and_goes() {
    let cloud = Cloud::new().await;
    cloud.neighbours.wire();
    let server = cloud
        .server(|s| s.network_info = base::Json(Vec::new()))
        .await;
    let path = format!("/v2.1/servers/{}/os-interface", server.id);
    let body = json!({"interfaceAttachment": {"net_id": NETWORK, "tag": "front"}});
    let made = cloud.post("alice", "2.70", &path, body).await;
    let port = made["interfaceAttachment"]["port_id"].as_str().unwrap();
    assert_eq!(made["interfaceAttachment"]["tag"], "front");
    assert_eq!(cloud.neighbours.ports_of(&server.id).len(), 1);

    let one = format!("{path}/{port}");
    let (status, _) = cloud.ask("alice", "2.70", "DELETE", &one, None).await;
    assert_eq!(status, 202);
    let none = |page: &serde_json::Value| {
        let left = page["interfaceAttachments"].as_array()?;
        left.is_empty().then_some(())
    };
    cloud.wait("alice", &path, none).await;
    assert!(
        cloud.neighbours.ports_of(&server.id).is_empty(),
        "nova made it, nova deletes it"
    );

    let actions = format!("/v2.1/servers/{}/os-instance-actions", server.id);
    let ended = |log: &serde_json::Value| {
        let all = log["instanceActions"].as_array()?;
        let named = |n: &str| {
            all.iter()
                .any(|a| a["action"] == n && a["message"].is_null())
        };
        (named("attach_interface") && named("detach_interface")).then_some(())
    };
    cloud.wait("admin", &actions, ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_ones_own_is_kept() {
    let cloud = Cloud::new().await;
    cloud.neighbours.wire();
    let server = cloud
        .server(|s| s.network_info = base::Json(Vec::new()))
        .await;
    let port = cloud.neighbours.port("");
    let path = format!("/v2.1/servers/{}/os-interface", server.id);
    let body = json!({"interfaceAttachment": {"port_id": port}});
    cloud.post("alice", "2.70", &path, body).await;
    let one = format!("{path}/{port}");
    let (status, _) = cloud.ask("alice", "2.70", "DELETE", &one, None).await;
    assert_eq!(status, 202);
    let none = |page: &serde_json::Value| {
        let left = page["interfaceAttachments"].as_array()?;
        left.is_empty().then_some(())
    };
    cloud.wait("alice", &path, none).await;
    let free = cloud.neighbours.ports_of("");
    assert_eq!(free[0]["id"], port);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_wrong_state_gets_no_card_and_leaves_no_port() {
    let cloud = Cloud::new().await;
    cloud.neighbours.wire();
    let server = cloud.server(|s| s.vm_state = VmState::Suspended).await;
    let path = format!("/v2.1/servers/{}/os-interface", server.id);
    let body = json!({"interfaceAttachment": {"net_id": NETWORK}});
    let (status, words) = cloud
        .refused("alice", "2.70", "POST", &path, Some(body.clone()))
        .await;
    let expected = format!(
        "Cannot 'attach_interface' instance {} while it is in vm_state suspended",
        server.id
    );
    assert_eq!((status, words), (409, expected));
    assert!(cloud.neighbours.ports_of(&server.id).is_empty());

    let id = server.id.clone();
    let locked = [
        ("vm_state", VmState::Active.to_cell()),
        ("locked", true.to_cell()),
    ];
    cloud
        .nova
        .db
        .write(move |tx| nova::db::instances::update(tx, &id, &locked))
        .await
        .unwrap();
    let (status, _) = cloud
        .refused("alice", "2.70", "POST", &path, Some(body))
        .await;
    assert_eq!(status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_attach_left_is_carried_through_and_goes_with_its_server() {
    let cloud = Cloud::new().await;
    cloud.neighbours.wire();
    let server = cloud
        .server(|s| s.network_info = base::Json(Vec::new()))
        .await;
    let port = cloud.neighbours.port(&server.id);
    let path = "/v2.1/os-server-external-events";
    let event = json!({"name": "network-changed", "server_uuid": server.id});
    cloud
        .post("admin", "2.1", path, json!({"events": [event]}))
        .await;
    let one = format!("/v2.1/servers/{}", server.id);
    let shown = |s: &serde_json::Value| s["server"]["addresses"].get("private").map(drop);
    cloud.wait("alice", &one, shown).await;
    let bound = || cloud.neighbours.ports_of(&server.id)[0]["binding:host_id"] == "host1";
    for _ in 0..3000 {
        if bound() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(bound(), "the attach ran");

    let (status, _) = cloud.ask("alice", "2.1", "DELETE", &one, None).await;
    assert_eq!(status, 204);
    let gone = |list: &serde_json::Value| list["servers"].as_array()?.is_empty().then_some(());
    cloud.wait("alice", "/v2.1/servers", gone).await;
    let left = cloud.neighbours.ports_of("");
    assert!(left.iter().all(|p| p["id"] != port), "{left:?}");
    assert!(cloud.neighbours.ports_of(&server.id).is_empty());
}

#[tokio::test]
async fn a_security_group_in_the_words_of_old() {
    let cloud = Cloud::new().await;
    cloud.neighbours.wire();
    let body = json!({"security_group": {"name": " web servers ", "description": "all of them"}});
    let path = "/v2.1/os-security-groups";
    let made = cloud.post("alice", "2.35", path, body).await;
    let group = &made["security_group"];
    assert_eq!(
        (&group["name"], &group["tenant_id"]),
        (&json!(" web servers "), &json!("p1"))
    );
    let rule = json!({"id": "in", "parent_group_id": "", "ip_protocol": "tcp", "from_port": 1, "to_port": 65535,
        "group": {}, "ip_range": {"cidr": "::/0"}});
    assert_eq!(group["rules"], json!([rule]));
}
