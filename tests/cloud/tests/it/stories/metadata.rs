//! What a guest is told of itself, and by whom it may be asked.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use hmac::{Hmac, Mac};
use oslo_http::Body;
use serde_json::json;

pub const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfr2Tz7aFn4NpXkKvZ1cfXhEJtbr1tdnJ0MBUzUcY8b me@home";

fn signature(secret: &str, instance: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any key fits");
    mac.update(instance.as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

pub async fn a_guest_reads_its_key_and_its_metadata(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let body = json!({"keypair": {"name": "home", "type": "ssh", "public_key": KEY}});
    p.member
        .post("compute", "/v2.1/os-keypairs", body)
        .await
        .expect(201);
    let extra = json!({"key_name": "home", "metadata": {"tier": "web"}});
    let server = p
        .member
        .create_server(&seed, "web", extra)
        .await
        .expect(202)
        .id("server");
    let shown = p.member.wait_server(&server, "ACTIVE").await;
    assert_eq!(
        (&shown["key_name"], &shown["metadata"]["tier"]),
        (&json!("home"), &json!("web"))
    );

    let path = format!("/v2.1/servers/{server}/metadata");
    p.member
        .post("compute", &path, json!({"metadata": {"stage": "test"}}))
        .await
        .expect(200);
    p.member
        .put(
            "compute",
            &format!("{path}/tier"),
            json!({"meta": {"tier": "db"}}),
        )
        .await
        .expect(200);
    p.member
        .put(
            "compute",
            &format!("{path}/gone"),
            json!({"meta": {"gone": "soon"}}),
        )
        .await
        .expect(200);
    p.member
        .delete("compute", &format!("{path}/gone"))
        .await
        .expect(204);
    let now = p
        .member
        .get("compute", &path)
        .await
        .expect(200)
        .key("metadata");
    assert_eq!(now, json!({"tier": "db", "stage": "test"}));

    let ask = async |secret: &str, path: &str| {
        let address = text(
            &p.member.ports_of(&server).await[0]["fixed_ips"][0],
            "ip_address",
        );
        let request = p.member.with_token("").request("metadata", "GET", path);
        let request = request
            .header("x-instance-id", &server)
            .header("x-tenant-id", &p.id);
        let request = request
            .header("x-forwarded-for", address)
            .header("x-instance-id-signature", signature(secret, &server));
        p.member
            .send("metadata", request.body(Body::Empty).expect("a request"))
            .await
    };
    let secret = cloud.metadata_secret();
    let told = ask(secret.expose(), "/openstack/latest/meta_data.json")
        .await
        .expect(200)
        .body;
    assert_eq!(
        (&told["uuid"], &told["name"]),
        (&json!(server), &json!("web"))
    );
    assert_eq!(told["meta"], json!({"tier": "db", "stage": "test"}));
    assert_eq!(text(&told["public_keys"], "home").trim(), KEY);
    assert_eq!(
        ask("a wrong secret", "/openstack/latest/meta_data.json")
            .await
            .status,
        403
    );
}
