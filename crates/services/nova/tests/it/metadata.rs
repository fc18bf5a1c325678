//! What guests are told, and who may ask.

use crate::harness::{Cloud, SECRET};
use base64::Engine as _;
use hmac::{Hmac, Mac as _};
use oslo_http::{Body, Endpoint};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::Arc;

fn sign(id: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(id.as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

async fn ask(endpoint: &Arc<dyn Endpoint>, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = http::Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = endpoint.call(request.body(Body::Empty).unwrap()).await;
    let status = reply.status.as_u16();
    (
        status,
        String::from_utf8(reply.body.collect(1 << 20).await.unwrap().to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn guests_read_both_trees() {
    let cloud = Cloud::new().await;
    let server = cloud
        .server(|s| {
            s.key_name = Some("mine".into());
            s.key_data = Some("ssh-rsa AAAA".into());
            s.user_data = Some(base64::engine::general_purpose::STANDARD.encode("#!/bin/sh\n"));
            s.metadata.0.insert("role".into(), json!("db"));
        })
        .await;
    let endpoint = nova::metadata::endpoint(Arc::clone(&cloud.nova)).unwrap();
    let signature = sign(&server.id);
    let headers = [
        ("x-instance-id", server.id.as_str()),
        ("x-tenant-id", "p1"),
        ("x-instance-id-signature", &signature),
    ];
    let text = async |path: &str| {
        let (status, text) = ask(&endpoint, path, &headers).await;
        assert_eq!(status, 200, "{path}: {text}");
        text
    };
    assert!(text("/").await.ends_with("latest"));
    assert_eq!(text("/latest/").await, "meta-data/\nuser-data");
    assert_eq!(text("/latest/meta-data/hostname").await, "web.novalocal");
    assert_eq!(
        text("/latest/meta-data/instance-id").await,
        format!("i-{}", &server.id[..8])
    );
    assert_eq!(text("/2009-04-04/meta-data/local-ipv4").await, "10.0.0.5");
    assert_eq!(
        text("/2009-04-04/meta-data/public-ipv4").await,
        "203.0.113.9"
    );
    assert_eq!(text("/latest/meta-data/public-keys/").await, "0=mine");
    assert_eq!(
        text("/latest/meta-data/public-keys/0/openssh-key").await,
        "ssh-rsa AAAA"
    );
    assert_eq!(
        text("/latest/meta-data/placement/availability-zone").await,
        "nova"
    );
    assert_eq!(text("/latest/user-data").await, "#!/bin/sh\n");
    assert_eq!(text("/openstack/latest/user_data").await, "#!/bin/sh\n");
    assert!(text("/openstack").await.contains("2018-08-27"));
    assert!(
        !text("/openstack/2012-08-10/")
            .await
            .contains("network_data.json")
    );
    let data: Value =
        serde_json::from_str(&text("/openstack/latest/meta_data.json").await).unwrap();
    assert_eq!(
        (&data["uuid"], &data["project_id"], &data["meta"]["role"]),
        (&json!(server.id), &json!("p1"), &json!("db"))
    );
    assert_eq!(data["public_keys"], json!({"mine": "ssh-rsa AAAA"}));
    let network: Value =
        serde_json::from_str(&text("/openstack/latest/network_data.json").await).unwrap();
    assert_eq!(network["networks"][0]["type"], "ipv4_dhcp");
    for absent in [
        "/latest/meta-data/nothing",
        "/1999-01-01/meta-data",
        "/openstack/2012-08-10/network_data.json",
        "/openstack/latest/password",
    ] {
        assert_eq!(ask(&endpoint, absent, &headers).await.0, 404, "{absent}");
    }
}

#[tokio::test]
async fn only_signed_requests_for_ones_own_project() {
    let cloud = Cloud::new().await;
    let server = cloud.server(|_| {}).await;
    let endpoint = nova::metadata::endpoint(Arc::clone(&cloud.nova)).unwrap();
    let (good, other) = (sign(&server.id), sign("someone-else"));
    let path = "/latest/meta-data/";
    let id = ("x-instance-id", server.id.as_str());
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[], 400),
        (&[id], 400),
        (&[id, ("x-tenant-id", "p1")], 403),
        (
            &[
                id,
                ("x-tenant-id", "p1"),
                ("x-instance-id-signature", &other),
            ],
            403,
        ),
        (
            &[
                id,
                ("x-tenant-id", "p2"),
                ("x-instance-id-signature", &good),
            ],
            404,
        ),
        (
            &[
                id,
                ("x-tenant-id", "p1"),
                ("x-instance-id-signature", &good),
            ],
            200,
        ),
    ];
    for (headers, status) in cases {
        assert_eq!(
            ask(&endpoint, path, headers).await.0,
            *status,
            "{headers:?}"
        );
    }
}
