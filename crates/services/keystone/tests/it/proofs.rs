//! Proofs at their edges: names of many bytes, and receipts that outlive what they are for.

use crate::cloud::{Story, by_id, by_token};
use serde_json::{Value, json};
use std::time::Duration;

/// Lengths are counted in characters, where a name is made and where it is used.
#[tokio::test]
async fn long_names_of_any_script_log_in() {
    let Story { cloud, admin, .. } = Story::of("member").await;
    for name in ["\u{732b}".repeat(255), "\u{1f408}".repeat(200)] {
        let user = cloud.user(&admin, &name, "default").await;
        let short: String = name.chars().take(64).collect();
        let project = cloud.project(&admin, &short, "default").await;
        let (place, actor) = (format!("projects/{project}"), format!("users/{user}"));
        cloud.grant(&admin, &place, &actor, "member").await;
        let scope = json!({"project": {"name": short, "domain": {"id": "default"}}});
        let login = cloud.login(&name, "pw", scope).await.expect(201);
        assert_eq!(login.body["token"]["user"]["name"], name);
    }
    let long = "\u{732b}".repeat(256);
    cloud.login(&long, "pw", Value::Null).await.expect(400);
}

/// A password that was stolen and then changed proves nothing any more, not even what it proved a minute ago.
#[tokio::test]
async fn a_receipt_ends_with_its_password() {
    let story = Story::of("member").await;
    let Story {
        cloud, admin, ann, ..
    } = &story;
    let proof = story.app_cred(json!({"name": "a"})).await;
    let user = format!("/v3/users/{ann}");
    let set = async |change: Value| {
        let body = json!({"user": change});
        cloud.call(admin, "PATCH", &user, body).await.expect(200);
    };
    // A token that is the second proof, made while one was enough.
    let token = async || {
        set(json!({"options": {"multi_factor_auth_enabled": false}})).await;
        let token = cloud.auth(proof.clone(), Value::Null).await.token();
        set(json!({"options": {"multi_factor_auth_enabled": true}})).await;
        token
    };
    let receipt = async |password: &str| {
        let first = cloud.auth(by_id(ann, password), Value::Null).await;
        let receipt = &first.expect(401).headers["openstack-auth-receipt"];
        receipt.to_str().unwrap().to_string()
    };
    let second = async |receipt: &str, token: &str| {
        let body = json!({"auth": {"identity": by_token(token)}});
        let headers = [
            ("content-type", "application/json"),
            ("openstack-auth-receipt", receipt),
        ];
        let body = Some(body.to_string().into_bytes());
        cloud.send("POST", "/v3/auth/tokens", &headers, body).await
    };
    set(json!({"options": {"multi_factor_auth_rules": [["password", "token"]]}})).await;
    let old = token().await;
    let first = receipt("pw").await;
    second("", &old).await.expect(401);
    second(&first, &old).await.expect(201);
    cloud.clock.advance(Duration::from_secs(1));
    set(json!({"password": "new"})).await;
    cloud.clock.advance(Duration::from_millis(100));
    let new = token().await;
    second(&first, &new).await.expect(401);
    // Made in the same second, but after.
    second(&receipt("new").await, &new).await.expect(201);
}

/// Passcodes are few enough to be guessed, so they prove nothing where no operator said that they do.
#[tokio::test]
async fn passcodes_alone_are_off() {
    let Story {
        cloud, admin, ann, ..
    } = Story::of("member").await;
    let totp = json!({"methods": ["totp"], "totp": {"user": {"id": ann, "passcode": "000000"}}});
    let refused = cloud.auth(totp, Value::Null).await.expect(401);
    assert!(refused.message().contains("unsupported method"));
    // Nobody is locked out by what is off.
    let rules = json!({"user": {"options": {"multi_factor_auth_rules": [["password", "totp"]]}}});
    let user = format!("/v3/users/{ann}");
    cloud.call(&admin, "PATCH", &user, rules).await.expect(200);
    let login = cloud.auth(by_id(&ann, "pw"), Value::Null).await;
    login.expect(201);
    let twice = json!({"user": {"options": {"multi_factor_auth_rules": [["password", "token"]]}}});
    cloud.call(&admin, "PATCH", &user, twice).await.expect(200);
    let login = cloud.auth(by_id(&ann, "pw"), Value::Null).await;
    login.expect(401);
}
