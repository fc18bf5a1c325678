//! An address from outside leads to a server, and the server says so.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use crate::project::addresses;
use crate::wait::wait_for;
use serde_json::{Value, json};

pub async fn a_floating_address_shows_in_the_servers_addresses(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let public = cloud.external().await;
    let body = json!({"router": {"name": "r", "external_gateway_info": {"network_id": public}}});
    let router = p
        .member
        .post("network", "/v2.0/routers", body)
        .await
        .expect(201)
        .id("router");
    let path = format!("/v2.0/routers/{router}/add_router_interface");
    p.member
        .put("network", &path, json!({"subnet_id": seed.subnet}))
        .await
        .expect(200);

    let server = text(&p.member.boot(&seed, "web").await, "id");
    let port = text(&p.member.ports_of(&server).await[0], "id");
    let body = json!({"floatingip": {"floating_network_id": public, "port_id": port}});
    let floating = p
        .member
        .post("network", "/v2.0/floatingips", body)
        .await
        .expect(201)
        .key("floatingip");
    let (id, address) = (
        text(&floating, "id"),
        text(&floating, "floating_ip_address"),
    );
    assert!(address.starts_with("172.24.4."));
    let expected = (address, "floating".to_string());
    let (member, server, expected) = (&p.member, &server, &expected);
    wait_for("the server to show the address", || async move {
        addresses(&member.server(server).await)
            .contains(expected)
            .then_some(())
    })
    .await;
    let id = &id;
    wait_for("the address to be ACTIVE", || async move {
        let shown = member
            .get("network", &format!("/v2.0/floatingips/{id}"))
            .await
            .expect(200);
        (shown["floatingip"]["status"] == "ACTIVE").then_some(())
    })
    .await;

    let body = json!({"floatingip": {"port_id": Value::Null}});
    p.member
        .put("network", &format!("/v2.0/floatingips/{id}"), body)
        .await
        .expect(200);
    wait_for("the server to forget the address", || async move {
        (addresses(&member.server(server).await).len() == 1).then_some(())
    })
    .await;

    // A router that serves a floating address keeps its interface.
    let body = json!({"floatingip": {"port_id": port}});
    p.member
        .put("network", &format!("/v2.0/floatingips/{id}"), body)
        .await
        .expect(200);
    let path = format!("/v2.0/routers/{router}/remove_router_interface");
    assert_eq!(
        p.member
            .put("network", &path, json!({"subnet_id": seed.subnet}))
            .await
            .status,
        409
    );
    p.member.delete_server(server).await;
    let left = p
        .member
        .get("network", &format!("/v2.0/floatingips/{id}"))
        .await
        .expect(200);
    assert_eq!(left["floatingip"]["port_id"], Value::Null);
}
