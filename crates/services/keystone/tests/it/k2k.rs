//! This cloud as an identity provider of another: what it says is signed, and the other believes it.

use crate::cloud::{Answer, Cloud, conf};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

const SAML: &str = "/v3/auth/OS-FEDERATION/saml2";
const ECP: &str = "/v3/auth/OS-FEDERATION/saml2/ecp";
const METADATA: &str = "/v3/OS-FEDERATION/saml2/metadata";

fn key(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

async fn cloud() -> (Cloud, String) {
    let mut conf = conf();
    conf.saml.keyfile = Some(key("rsa.pem"));
    conf.saml.certfile = Some(key("rsa.crt.pem"));
    conf.saml.idp_entity_id = Some("https://idp/v3/OS-FEDERATION/saml2/idp".into());
    conf.saml.idp_sso_endpoint = Some("https://idp/v3/OS-FEDERATION/saml2/sso".into());
    let (cloud, admin) = Cloud::begin(conf).await;
    let sp = json!({"service_provider": {"auth_url": "https://beta/auth", "sp_url": "https://beta/ECP?a=1&b=2", "enabled": true}});
    let path = "/v3/OS-FEDERATION/service_providers/beta";
    cloud.put(&admin, path, sp).await.expect(201);
    (cloud, admin)
}

async fn ask(cloud: &Cloud, path: &str, token: &str, sp: &str) -> Answer {
    let identity = json!({"methods": ["token"], "token": {"id": token}});
    let body = json!({"auth": {"identity": identity, "scope": {"service_provider": {"id": sp}}}});
    cloud.call("", "POST", path, body).await
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after)
        .unwrap_or_else(|| panic!("no {after} in {text}"))
        .0
}

/// Checks an assertion as its reader does: the digest of all but the signature, the signature of the digest.
fn check(xml: &str) {
    let inner = between(xml, "<saml:Assertion ", "</saml:Assertion>");
    let assertion = format!("<saml:Assertion {inner}</saml:Assertion>");
    let signature = between(&assertion, "<xmldsig:Signature ", "</xmldsig:Signature>");
    let whole = format!("<xmldsig:Signature {signature}</xmldsig:Signature>");
    let rest = assertion.replace(&whole, "");
    let digest = between(&whole, "<xmldsig:DigestValue>", "</xmldsig:DigestValue>");
    assert_eq!(STANDARD.encode(Sha256::digest(rest)), digest);
    let id = between(&assertion, " ID=\"", "\"");
    assert!(whole.contains(&format!("URI=\"#{id}\"")));
    let info = between(&whole, "<xmldsig:SignedInfo>", "</xmldsig:SignedInfo>");
    let signed = format!(
        "<xmldsig:SignedInfo xmlns:xmldsig=\"http://www.w3.org/2000/09/xmldsig#\">{info}</xmldsig:SignedInfo>"
    );
    let value = between(
        &whole,
        "<xmldsig:SignatureValue>",
        "</xmldsig:SignatureValue>",
    );
    let public = std::fs::read_to_string(key("rsa.pub.pem")).unwrap();
    let lines: String = public.lines().filter(|l| !l.starts_with('-')).collect();
    // PKCS#1 is what stands behind the name of the algorithm.
    let der = STANDARD.decode(lines).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &der[24..]);
    public
        .verify(signed.as_bytes(), &STANDARD.decode(value).unwrap())
        .unwrap();
}

#[tokio::test]
async fn an_assertion_says_who_and_where_and_is_signed() {
    let (cloud, admin) = cloud().await;
    let user = cloud.user(&admin, "Zoë & <Ann>", "default").await;
    let group = cloud
        .make(&admin, "/v3/groups", "group", json!({"name": "staff"}))
        .await;
    cloud
        .call(
            &admin,
            "PUT",
            &format!("/v3/groups/{group}/users/{user}"),
            Value::Null,
        )
        .await
        .expect(204);
    cloud
        .grant(
            &admin,
            &format!("projects/{}", cloud.ids.admin_project_id),
            &format!("users/{user}"),
            "member",
        )
        .await;
    let token = cloud
        .login("Zoë & <Ann>", "pw", cloud.admin_project())
        .await
        .expect(201)
        .token();
    let said = ask(&cloud, SAML, &token, "beta").await.expect(200);
    assert_eq!(said.headers["content-type"], "text/xml");
    assert_eq!(said.headers["x-sp-url"], "https://beta/ECP?a=1&b=2");
    assert_eq!(said.headers["x-auth-url"], "https://beta/auth");
    check(&said.text);
    let values = |name: &str| {
        let attribute = between(
            &said.text,
            &format!("<saml:Attribute Name=\"{name}\""),
            "</saml:Attribute>",
        );
        let values = attribute.split("<saml:AttributeValue>").skip(1);
        values
            .map(|v| v.split('<').next().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(values("openstack_user"), ["Zoë &amp; &lt;Ann&gt;"]);
    assert_eq!(values("openstack_user_domain"), ["Default"]);
    assert_eq!(values("openstack_project"), ["admin"]);
    assert_eq!(values("openstack_project_domain"), ["Default"]);
    assert_eq!(values("openstack_roles"), ["member", "reader"]);
    assert_eq!(
        values("openstack_groups"),
        [r#"JSON:{"name":"staff","domain":{"name":"Default"}}"#]
    );
    assert!(
        said.text
            .contains(r#"Destination="https://beta/ECP?a=1&amp;b=2""#)
    );
    assert!(
        said.text.contains(r#"NotOnOrAfter="2026-01-02T04:04:05Z""#),
        "{}",
        said.text
    );

    let ecp = ask(&cloud, ECP, &token, "beta").await.expect(200);
    check(&ecp.text);
    assert!(between(&ecp.text, "<ns1:RelayState ", "</ns1:RelayState>").contains(">ss:mem:"));
    let metadata = cloud.send("GET", METADATA, &[], None).await.expect(200);
    let certificate = between(
        &said.text,
        "<xmldsig:X509Certificate>",
        "</xmldsig:X509Certificate>",
    );
    assert!(metadata.text.contains(certificate));
    assert!(
        metadata
            .text
            .contains(r#"entityID="https://idp/v3/OS-FEDERATION/saml2/idp""#)
    );
}

#[tokio::test]
async fn not_for_everybody_and_not_to_everybody() {
    let (cloud, admin) = cloud().await;
    assert_eq!(
        ask(&cloud, SAML, &admin, "none")
            .await
            .expect(404)
            .message(),
        "Could not find Service Provider: none."
    );
    ask(&cloud, SAML, "nonsense", "beta").await.expect(404);
    let unscoped = cloud
        .login("admin", "secret", json!("unscoped"))
        .await
        .expect(201)
        .token();
    assert!(
        ask(&cloud, SAML, &unscoped, "beta")
            .await
            .expect(403)
            .message()
            .contains("project scoped token")
    );
    // A credential that is good for few requests is not good for all of another cloud.
    let path = format!(
        "/v3/users/{}/application_credentials",
        cloud.ids.admin_user_id
    );
    let rules = json!([{"service": "identity", "path": "/v3/users", "method": "GET"}]);
    let made = cloud
        .call(
            &admin,
            "POST",
            &path,
            json!({"application_credential": {"name": "x", "access_rules": rules}}),
        )
        .await
        .expect(201)
        .body;
    let made = &made["application_credential"];
    let identity = json!({"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": made["secret"]}});
    let few = cloud.auth(identity, Value::Null).await.expect(201).token();
    ask(&cloud, ECP, &few, "beta").await.expect(403);
    for bad in [
        json!({}),
        json!({"auth": {}}),
        json!({"auth": {"identity": {"methods": ["password"]}, "scope": {"service_provider": {"id": "beta"}}}}),
        json!({"auth": {"identity": {"methods": ["token"], "token": {"id": 1}}, "scope": {"service_provider": {"id": "beta"}}}}),
        json!({"auth": {"identity": {"methods": ["token"], "token": {"id": admin}}, "scope": {"project": {"id": "x"}}}}),
    ] {
        cloud.call("", "POST", SAML, bad).await.expect(400);
    }
    let off = json!({"service_provider": {"enabled": false}});
    cloud
        .call(
            &admin,
            "PATCH",
            "/v3/OS-FEDERATION/service_providers/beta",
            off,
        )
        .await
        .expect(200);
    assert_eq!(
        ask(&cloud, SAML, &admin, "beta")
            .await
            .expect(403)
            .message(),
        "Service Provider beta is disabled"
    );
    cloud.get(&admin, SAML).await.expect(405);

    // Where it is not configured, it is not offered.
    let plain = Cloud::new().await;
    plain.send("GET", METADATA, &[], None).await.expect(501);
    let admin = plain.admin().await;
    let sp = json!({"service_provider": {"auth_url": "https://beta/auth", "sp_url": "https://beta/ECP", "enabled": true}});
    plain
        .call(
            &admin,
            "PUT",
            "/v3/OS-FEDERATION/service_providers/beta",
            sp,
        )
        .await
        .expect(201);
    ask(&plain, SAML, &admin, "beta").await.expect(501);
}
