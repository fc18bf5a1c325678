//! Keys for services that speak Amazon's protocols: who signed, and whether it may still count.

use crate::cloud::{Answer, Story, by_id, conf};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;
use std::time::Duration;

async fn story() -> Story {
    Story::of("member").await
}

/// A request of version 2, signed now by `clock`.
fn signed(pair: &Value, time: Option<&str>) -> Value {
    let mut params = json!({
        "AWSAccessKeyId": pair["access"], "Action": "Test",
        "SignatureMethod": "HmacSHA256", "SignatureVersion": "2",
    });
    if let Some(time) = time {
        params["Timestamp"] = json!(time);
    }
    let escaped = |v: &str| v.replace(':', "%3A");
    let pairs: Vec<String> = params
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| format!("{k}={}", escaped(v.as_str().unwrap())))
        .collect();
    let text = format!("GET\nec2.test\n/\n{}", pairs.join("&"));
    let secret = pair["secret"].as_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    json!({"credentials": {
        "access": pair["access"], "signature": signature, "host": "ec2.test:8773", "verb": "GET",
        "path": "/", "params": params,
    }})
}

fn s3(pair: &Value) -> Value {
    let text = "GET\n\n\nFri, 02 Jan 2026 03:04:05 GMT\n/bucket";
    let secret = pair["secret"].as_str().unwrap();
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    json!({"credentials": {
        "access": pair["access"], "token": URL_SAFE.encode(text),
        "signature": STANDARD.encode(mac.finalize().into_bytes()),
    }})
}

impl Story {
    async fn pair(&self, token: &str) -> Answer {
        let path = format!("/v3/users/{}/credentials/OS-EC2", self.ann);
        let body = json!({"tenant_id": self.project});
        self.cloud.call(token, "POST", &path, body).await
    }

    /// What a service is told.
    async fn told(&self, path: &str, body: Value) -> Answer {
        let service = json!({"project": {"id": self.cloud.ids.service_project_id}});
        let nova = self.cloud.login("nova", "nova-secret", service).await;
        self.cloud.call(&nova.token(), "POST", path, body).await
    }
}

#[tokio::test]
async fn pairs_are_their_users_own() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let made = story.pair(&story.token).await.expect(201);
    let pair = &made.body["credential"];
    assert_eq!(pair["tenant_id"], story.project);
    assert_eq!(pair["user_id"], story.ann);
    assert_eq!(pair["trust_id"], Value::Null);
    let list = format!("/v3/users/{}/credentials/OS-EC2", story.ann);
    let path = format!("{list}/{}", pair["access"].as_str().unwrap());
    assert_eq!(pair["links"]["self"], format!("http://keystone.test{path}"));
    let shown = cloud.get(&story.token, &path).await.expect(200);
    assert_eq!(shown.body, made.body);
    let all = cloud.get(&story.token, &list).await.expect(200);
    assert_eq!(all.body["credentials"], json!([pair]));

    let bob = cloud.user(admin, "bob", "default").await;
    let (place, actor) = (
        format!("projects/{}", story.project),
        format!("users/{bob}"),
    );
    cloud.grant(admin, &place, &actor, "member").await;
    let scope = json!({"project": {"id": story.project}});
    let bob = cloud.auth(by_id(&bob, "pw"), scope).await.token();
    for (method, path) in [("GET", &list), ("GET", &path), ("DELETE", &path)] {
        cloud
            .call(&bob, method, path, Value::Null)
            .await
            .expect(403);
    }
    story.pair(&bob).await.expect(403);
    cloud
        .call(&story.token, "POST", &list, json!({"tenant_id": "nowhere"}))
        .await
        .expect(404);
    cloud
        .call(&story.token, "POST", &list, json!({"tenant_id": 7}))
        .await
        .expect(400);
    cloud
        .call(&story.token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    for token in [admin, &story.token] {
        cloud.get(token, &path).await.expect(404);
    }
    let none = cloud.get(&story.token, &list).await.expect(200);
    assert_eq!(none.body["credentials"], json!([]));
}

/// The rule is about whose a pair is, whoever's name is in the path.
#[tokio::test]
async fn a_pair_under_another_name_is_its_owners() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let pair = story.pair(&story.token).await.expect(201).body["credential"].clone();
    let access = pair["access"].as_str().unwrap();
    let bob = cloud.user(admin, "bob", "default").await;
    let actor = format!("users/{bob}");
    cloud
        .grant(
            admin,
            &format!("projects/{}", story.project),
            &actor,
            "member",
        )
        .await;
    cloud
        .grant(admin, "domains/default", &actor, "reader")
        .await;
    let path = |user: &str| format!("/v3/users/{user}/credentials/OS-EC2/{access}");
    let of_bob = path(&bob);
    for scope in [
        json!({"project": {"id": story.project}}),
        json!({"domain": {"id": "default"}}),
    ] {
        let token = cloud.auth(by_id(&bob, "pw"), scope).await.token();
        cloud.get(&token, &of_bob).await.expect(403);
        cloud
            .call(&token, "DELETE", &of_bob, Value::Null)
            .await
            .expect(403);
        let nothing = format!("/v3/users/{bob}/credentials/OS-EC2/nothing");
        cloud.get(&token, &nothing).await.expect(404);
    }
    let shown = cloud.get(&story.token, &of_bob).await.expect(200);
    assert_eq!(shown.body["credential"], pair, "Ann's, under her own name");
    cloud.get(admin, &path("nobody")).await.expect(404);
    cloud.get(admin, &of_bob).await.expect(200);
    cloud
        .call(admin, "DELETE", &of_bob, Value::Null)
        .await
        .expect(204);
    cloud.get(admin, &path(&story.ann)).await.expect(404);
}

#[tokio::test]
async fn a_signature_tells_who_signed() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let pair = story.pair(&story.token).await.expect(201).body["credential"].clone();
    let request = signed(&pair, Some("2026-01-02T03:00:00Z"));
    let told = story
        .told("/v3/ec2tokens", request.clone())
        .await
        .expect(200);
    let token = &told.body["token"];
    assert_eq!(token["user"]["id"], story.ann);
    assert_eq!(token["project"]["id"], story.project);
    assert_eq!(token["methods"], json!(["ec2credential"]));
    let same = cloud.check(&told.token()).await.expect(200);
    assert_eq!(same.body["token"]["user"]["id"], story.ann);
    let told = story.told("/v3/s3tokens", s3(&pair)).await.expect(200);
    assert_eq!(told.body["token"]["user"]["id"], story.ann);
    assert!(told.headers.get("x-subject-token").is_none());

    for path in ["/v3/ec2tokens", "/v3/s3tokens"] {
        for (bad, status) in [
            (json!({}), 400),
            (json!({"credentials": {}}), 401),
            (json!({"credentials": {"access": 7}}), 401),
            (
                json!({"credentials": {"access": "x"}}),
                if path.ends_with("ec2tokens") {
                    401
                } else {
                    404
                },
            ),
            (
                json!({"credentials": {"access": "x", "signature": "y"}}),
                404,
            ),
        ] {
            story.told(path, bad).await.expect(status);
        }
    }
    let mut forged = request.clone();
    forged["credentials"]["params"]["Action"] = json!("Other");
    story.told("/v3/ec2tokens", forged).await.expect(401);

    let timeless = signed(&pair, None);
    story
        .told("/v3/ec2tokens", timeless.clone())
        .await
        .expect(200);

    // Whoever lost the project, or is disabled, signs in vain.
    let member = cloud.role(admin, "member").await;
    let grant = format!(
        "/v3/projects/{}/users/{}/roles/{member}",
        story.project, story.ann
    );
    cloud
        .call(admin, "DELETE", &grant, Value::Null)
        .await
        .expect(204);
    story
        .told("/v3/ec2tokens", timeless.clone())
        .await
        .expect(401);
    cloud
        .call(admin, "PUT", &grant, Value::Null)
        .await
        .expect(204);
    story
        .told("/v3/ec2tokens", timeless.clone())
        .await
        .expect(200);
    let user = format!("/v3/users/{}", story.ann);
    let off = json!({"user": {"enabled": false}});
    cloud.call(admin, "PATCH", &user, off).await.expect(200);
    story.told("/v3/ec2tokens", timeless).await.expect(401);
}

/// Neither strangers nor users may turn a signature, which others see too, into somebody's token.
#[tokio::test]
async fn ossa_2025_002_only_services_ask_whose_a_signature_is() {
    let story = story().await;
    let Story { cloud, .. } = &story;
    let pair = story.pair(&story.token).await.expect(201).body["credential"].clone();
    let request = signed(&pair, Some("2026-01-02T03:00:00Z"));
    for (path, body) in [("/v3/ec2tokens", request), ("/v3/s3tokens", s3(&pair))] {
        for (token, status) in [("", 401), ("no token", 401), (&story.token, 403)] {
            let asked = cloud.call(token, "POST", path, body.clone()).await;
            let asked = asked.expect(status);
            assert!(!asked.headers.contains_key("x-subject-token"));
            assert!(!asked.body.to_string().contains(&story.ann), "{path}");
        }
        // The same, asked by a service, is good.
        story.told(path, body).await.expect(200);
    }
}

/// A signature that was overheard is soon worth nothing, whatever is put beside it.
#[tokio::test]
async fn ossa_2020_003_signatures_end() {
    let story = story().await;
    let Story { cloud, .. } = &story;
    let pair = story.pair(&story.token).await.expect(201).body["credential"].clone();
    let request = signed(&pair, Some("2026-01-02T03:00:00Z"));
    story
        .told("/v3/ec2tokens", request.clone())
        .await
        .expect(200);
    cloud.clock.advance(Duration::from_secs(11 * 60));
    story
        .told("/v3/ec2tokens", request.clone())
        .await
        .expect(401);
    // Where signatures of another version have their time, this one's says nothing: it is not signed.
    for headers in [
        json!({"X-Amz-Date": "20260102T031500Z"}),
        json!({"Authorization": "AWS4-HMAC-SHA256"}),
        json!({"Authorization": "AWS4-HMAC-SHA256", "X-Amz-Date": "20260102T031500Z"}),
    ] {
        let mut again = request.clone();
        again["credentials"]["headers"] = headers.clone();
        let told = story.told("/v3/ec2tokens", again).await;
        assert_eq!(told.status, 401, "{headers}: {}", told.body);
    }
    let future = signed(&pair, Some("2026-01-02T04:00:00Z"));
    story.told("/v3/ec2tokens", future).await.expect(401);
    let odd = signed(&pair, Some("yesterday"));
    story.told("/v3/ec2tokens", odd).await.expect(401);
}

/// What a pair opens is no more than the token had with which it was made.
#[tokio::test]
async fn ossa_2020_004_a_pair_of_a_delegation_is_no_more_than_that() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let bob = cloud.user(admin, "bob", "default").await;
    let trust = json!({"trust": {
        "trustor_user_id": story.ann, "trustee_user_id": bob, "impersonation": true,
        "project_id": story.project, "roles": [{"name": "member"}],
    }});
    let made = cloud
        .call(&story.token, "POST", "/v3/OS-TRUST/trusts", trust)
        .await;
    let trust = made.expect(201).id("trust");
    let scope = json!({"OS-TRUST:trust": {"id": trust}});
    let by_trust = cloud
        .auth(by_id(&bob, "pw"), scope)
        .await
        .expect(201)
        .token();
    let pair = story.pair(&by_trust).await.expect(201).body["credential"].clone();
    assert_eq!(pair["trust_id"], trust);
    let told = story
        .told("/v3/ec2tokens", signed(&pair, None))
        .await
        .expect(200);
    assert_eq!(told.body["token"]["OS-TRUST:trust"]["id"], trust);
    // Only for the project of the delegation, and nothing of other projects is shown.
    let list = format!("/v3/users/{}/credentials/OS-EC2", story.ann);
    let other = cloud.project(admin, "q", "default").await;
    let elsewhere = json!({"tenant_id": other});
    cloud
        .call(&by_trust, "POST", &list, elsewhere.clone())
        .await
        .expect(403);
    let made = cloud
        .call(&story.token, "POST", &list, elsewhere)
        .await
        .expect(201);
    let path = format!(
        "{list}/{}",
        made.body["credential"]["access"].as_str().unwrap()
    );
    cloud.get(&by_trust, &path).await.expect(403);
    let seen = cloud.get(&by_trust, &list).await.expect(200);
    assert_eq!(
        seen.column("credentials", "tenant_id"),
        [story.project.as_str()]
    );
    // It ends with the trust.
    let path = format!("/v3/OS-TRUST/trusts/{trust}");
    cloud
        .call(&story.token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    story
        .told("/v3/ec2tokens", signed(&pair, None))
        .await
        .expect(401);
}

/// Who is not seen for too long is disabled, and neither signs nor logs in.
#[tokio::test]
async fn who_is_not_seen_signs_in_vain() {
    let mut conf = conf();
    conf.token.expiration = 30 * 86_400;
    conf.security_compliance.disable_user_account_days_inactive = Some(5);
    let story = Story::with(conf, "member").await;
    let pair = story.pair(&story.token).await.expect(201).body["credential"].clone();
    let signed = signed(&pair, None);
    story
        .told("/v3/ec2tokens", signed.clone())
        .await
        .expect(200);
    story.cloud.clock.advance(Duration::from_secs(6 * 86_400));
    for (path, body) in [("/v3/ec2tokens", signed), ("/v3/s3tokens", s3(&pair))] {
        story.told(path, body).await.expect(401);
    }
}
