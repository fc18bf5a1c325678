//! Options of single domains, and what is left of old ways.

use crate::cloud::{Cloud, by_id, conf};
use serde_json::{Value, json};

#[tokio::test]
async fn options_are_kept_and_secrets_not_shown() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let domain = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "d"}))
        .await;
    let path = format!("/v3/domains/{domain}/config");
    let none = cloud.get(&admin, &path).await.expect(404);
    assert_eq!(
        none.message(),
        format!("Could not find any options in domain configuration for domain {domain}.")
    );
    let config = json!({
        "identity": {"driver": "ldap"},
        "ldap": {"url": "ldap://here", "user_tree_dn": "ou=Users", "password": "hush"},
    });
    let public = json!({
        "identity": {"driver": "ldap"},
        "ldap": {"url": "ldap://here", "user_tree_dn": "ou=Users"},
    });
    let body = json!({"config": config});
    let made = cloud
        .call(&admin, "PUT", &path, body.clone())
        .await
        .expect(201);
    assert_eq!(made.body, json!({"config": public}));
    let again = cloud.call(&admin, "PUT", &path, body).await.expect(200);
    assert_eq!(again.body, made.body);
    let shown = cloud.get(&admin, &path).await.expect(200);
    assert_eq!(shown.body, made.body);
    let group = cloud.get(&admin, &format!("{path}/ldap")).await.expect(200);
    assert_eq!(group.body, json!({"config": {"ldap": public["ldap"]}}));
    let option = cloud
        .get(&admin, &format!("{path}/ldap/url"))
        .await
        .expect(200);
    assert_eq!(option.body, json!({"config": {"url": "ldap://here"}}));
    cloud
        .get(&admin, &format!("{path}/ldap/password"))
        .await
        .expect(404);
    cloud
        .get(&admin, &format!("{path}/ldap/suffix"))
        .await
        .expect(404);

    for (rest, body, status) in [
        ("", json!({"ldap": {"url": "ldap://there"}}), 200),
        ("/ldap", json!({"ldap": {"suffix": "dc=x"}}), 200),
        ("/ldap/url", json!({"url": "ldap://far"}), 200),
        ("/ldap", json!({"identity": {"driver": "sql"}}), 403),
        ("/ldap/url", json!({"suffix": "dc=x"}), 403),
        ("/identity/list_limit", json!({"list_limit": 5}), 404),
        ("", json!({}), 403),
        ("", json!({"ldap": {}}), 403),
        ("", json!({"ldap": "all"}), 403),
        ("", json!({"token": {"expiration": 1}}), 403),
        ("", json!({"ldap": {"color": "red"}}), 403),
    ] {
        let path = format!("{path}{rest}");
        let body = json!({"config": body});
        cloud
            .call(&admin, "PATCH", &path, body)
            .await
            .expect(status);
    }
    let shown = cloud.get(&admin, &format!("{path}/ldap")).await.expect(200);
    assert_eq!(
        shown.body["config"]["ldap"],
        json!({"url": "ldap://far", "user_tree_dn": "ou=Users", "suffix": "dc=x"})
    );

    let gone = async |path: &str| cloud.call(&admin, "DELETE", path, Value::Null).await.status;
    assert_eq!(gone(&format!("{path}/ldap/url")).await, 204);
    assert_eq!(gone(&format!("{path}/ldap/url")).await, 404);
    assert_eq!(gone(&format!("{path}/identity")).await, 204);
    assert_eq!(gone(&format!("{path}/other")).await, 403);
    cloud
        .get(&admin, &format!("{path}/identity"))
        .await
        .expect(404);
    assert_eq!(gone(&path).await, 204);
    cloud.get(&admin, &path).await.expect(404);
    cloud
        .get(&admin, "/v3/domains/nowhere/config")
        .await
        .expect(404);

    for (rest, expected) in [
        ("identity/driver/default", json!({"driver": "sql"})),
        ("ldap/page_size/default", json!({"page_size": 0})),
        (
            "identity/default",
            json!({"identity": {"driver": "sql", "list_limit": null}}),
        ),
    ] {
        let shown = cloud
            .get(&admin, &format!("/v3/domains/config/{rest}"))
            .await
            .expect(200);
        assert_eq!(shown.body["config"], expected);
    }
    let all = cloud
        .get(&admin, "/v3/domains/config/default")
        .await
        .expect(200);
    assert_eq!(all.body["config"]["ldap"]["url"], "ldap://localhost");
    let secret = "/v3/domains/config/ldap/password/default";
    cloud.get(&admin, secret).await.expect(403);

    let ann = cloud.user(&admin, "ann", "default").await;
    let ann = cloud
        .auth(by_id(&ann, "pw"), json!("unscoped"))
        .await
        .token();
    for (method, path) in [
        ("GET", path.as_str()),
        ("PUT", &path),
        ("DELETE", &path),
        ("GET", "/v3/domains/config/default"),
    ] {
        cloud
            .call(&ann, method, path, Value::Null)
            .await
            .expect(403);
    }
}

#[tokio::test]
async fn everybody_may_know_what_is_asked_of_passwords() {
    let mut conf = conf();
    conf.security_compliance.password_regex = Some(".{2,}".into());
    conf.security_compliance.password_regex_description = Some("two".into());
    let cloud = Cloud::with(conf).await;
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let ann = cloud
        .auth(by_id(&ann, "pw"), json!("unscoped"))
        .await
        .token();
    let path = "/v3/domains/default/config/security_compliance";
    let shown = cloud.get(&ann, path).await.expect(200);
    assert_eq!(
        shown.body["config"]["security_compliance"],
        json!({"password_regex": ".{2,}", "password_regex_description": "two"})
    );
    let shown = cloud
        .get(&ann, &format!("{path}/password_regex"))
        .await
        .expect(200);
    assert_eq!(shown.body, json!({"config": {"password_regex": ".{2,}"}}));
    cloud
        .get(&ann, &format!("{path}/lockout_duration"))
        .await
        .expect(403);
    let other = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "d"}))
        .await;
    let path = format!("/v3/domains/{other}/config/security_compliance");
    cloud.get(&ann, &path).await.expect(403);
}

#[tokio::test]
async fn revocations_are_listed_and_signed_tokens_gone() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let token = cloud
        .auth(by_id(&ann, "pw"), json!("unscoped"))
        .await
        .expect(201);
    cloud.revoke(&token.token()).await;
    let body = json!({"user": {"enabled": false}});
    let path = format!("/v3/users/{ann}");
    cloud.call(&admin, "PATCH", &path, body).await.expect(200);
    let events = cloud.get(&admin, "/v3/OS-REVOKE/events").await.expect(200);
    let events = events.body["events"].as_array().unwrap();
    let audit_id = &token.body["token"]["audit_ids"][0];
    assert!(events.iter().any(|e| e["audit_id"] == *audit_id));
    assert!(events.iter().any(|e| e["user_id"] == ann.as_str()));
    let later = "/v3/OS-REVOKE/events?since=2030-01-01T00:00:00Z";
    let none = cloud.get(&admin, later).await.expect(200);
    assert_eq!(none.body["events"], json!([]));
    cloud
        .get(&admin, "/v3/OS-REVOKE/events?since=then")
        .await
        .expect(400);
    let bob = cloud.user(&admin, "bob", "default").await;
    let bob = cloud
        .auth(by_id(&bob, "pw"), json!("unscoped"))
        .await
        .token();
    cloud.get(&bob, "/v3/OS-REVOKE/events").await.expect(403);
    cloud.get("", "/v3/OS-SIMPLE-CERT/ca").await.expect(410);
    cloud
        .get("", "/v3/OS-SIMPLE-CERT/certificates")
        .await
        .expect(410);
    cloud
        .get(&admin, "/v3/auth/tokens/OS-PKI/revoked")
        .await
        .expect(403);
}
