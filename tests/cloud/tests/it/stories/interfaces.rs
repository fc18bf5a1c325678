//! A second card for a server that runs.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use crate::project::addresses;
use crate::wait::wait_for;
use serde_json::json;

pub async fn a_card_is_put_in_and_taken_out(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let server = text(&p.member.boot(&seed, "web").await, "id");
    let (network, _) = p.member.network("second", "10.2.0.0/24").await;

    let path = format!("/v2.1/servers/{server}/os-interface");
    let body = json!({"interfaceAttachment": {"net_id": network}});
    let card = p
        .member
        .post("compute", &path, body)
        .await
        .expect(200)
        .key("interfaceAttachment");
    let (port, ip) = (
        text(&card, "port_id"),
        text(&card["fixed_ips"][0], "ip_address"),
    );
    assert!(ip.starts_with("10.2.0."));
    let (member, id) = (&p.member, &port);
    wait_for("the port to be ACTIVE", || async move {
        let port = member
            .get("network", &format!("/v2.0/ports/{id}"))
            .await
            .expect(200)
            .key("port");
        (port["status"] == "ACTIVE").then_some(())
    })
    .await;
    let server_now = p.member.server(&server).await;
    assert!(
        addresses(&server_now).contains(&(ip, "fixed".into())),
        "{server_now}"
    );
    assert_eq!(
        p.member
            .get("compute", &path)
            .await
            .list("interfaceAttachments")
            .len(),
        2
    );

    p.member
        .delete("compute", &format!("{path}/{port}"))
        .await
        .expect(202);
    wait_for("the port to be gone", || async move {
        (member
            .get("network", &format!("/v2.0/ports/{id}"))
            .await
            .status
            == 404)
            .then_some(())
    })
    .await;
    let server = &server;
    wait_for("one address to be left", || async move {
        (addresses(&member.server(server).await).len() == 1).then_some(())
    })
    .await;
}

pub async fn a_port_of_the_users_own_outlives_the_server(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let body = json!({"port": {"network_id": seed.network, "name": "mine"}});
    let port = p
        .member
        .post("network", "/v2.0/ports", body)
        .await
        .expect(201)
        .id("port");
    let networks = json!({"networks": [{"port": port}]});
    let server = p
        .member
        .create_server(&seed, "web", networks.clone())
        .await
        .expect(202)
        .id("server");
    p.member.wait_server(&server, "ACTIVE").await;
    let again = p.member.create_server(&seed, "thief", networks).await;
    assert!(matches!(again.status, 400 | 409), "{}", again.body);
    p.member.delete_server(&server).await;
    let kept = p
        .member
        .get("network", &format!("/v2.0/ports/{port}"))
        .await
        .expect(200)
        .key("port");
    assert_eq!(
        (&kept["device_id"], &kept["device_owner"]),
        (&json!(""), &json!(""))
    );
}
