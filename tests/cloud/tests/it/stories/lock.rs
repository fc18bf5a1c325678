//! A locked server obeys administrators only.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use serde_json::{Value, json};

pub async fn a_locked_server_stays_as_it_is(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let server = text(&p.member.boot(&seed, "web").await, "id");
    let volume = p.member.volume(1).await;
    let path = format!("/v2.1/servers/{server}");

    p.member
        .act(&server, "lock", json!({"locked_reason": "hands off"}))
        .await
        .expect(202);
    let shown = p.member.server(&server).await;
    assert_eq!(
        (&shown["locked"], &shown["locked_reason"]),
        (&json!(true), &json!("hands off"))
    );
    for (action, arguments) in [
        ("os-stop", Value::Null),
        ("pause", Value::Null),
        ("reboot", json!({"type": "HARD"})),
    ] {
        let no = p.member.act(&server, action, arguments).await;
        assert_eq!(no.status, 409, "{action}: {}", no.body);
        assert!(no.message().contains("is locked"), "{}", no.body);
    }
    assert_eq!(p.member.delete("compute", &path).await.status, 409);
    assert_eq!(p.member.attach_volume(&server, &volume).await.status, 409);
    p.member.wait_volume(&volume, "available").await;
    let card = json!({"interfaceAttachment": {"net_id": seed.network}});
    assert_eq!(
        p.member
            .post("compute", &format!("{path}/os-interface"), card)
            .await
            .status,
        409
    );
    assert_eq!(p.member.ports_of(&server).await.len(), 1);

    // The administrator is not stopped; what an administrator locked, the owner cannot unlock.
    cloud
        .admin
        .act(&server, "os-stop", Value::Null)
        .await
        .expect(202);
    p.member.wait_server(&server, "SHUTOFF").await;
    cloud
        .admin
        .act(&server, "lock", Value::Null)
        .await
        .expect(202);
    assert_eq!(
        p.member.act(&server, "unlock", Value::Null).await.status,
        403
    );
    cloud
        .admin
        .act(&server, "unlock", Value::Null)
        .await
        .expect(202);
    p.member
        .act(&server, "os-start", Value::Null)
        .await
        .expect(202);
    p.member.wait_server(&server, "ACTIVE").await;
    p.member.delete_server(&server).await;
}
