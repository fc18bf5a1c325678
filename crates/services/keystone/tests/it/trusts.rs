//! Users who let others act for them, for as long as they may themselves.

use crate::cloud::{Answer, Cloud, by_id, by_token};
use serde_json::{Value, json};
use std::time::Duration;

const TRUSTS: &str = "/v3/OS-TRUST/trusts";

/// Ann, a member of a project, trusts Bob, who has nothing.
struct Story {
    cloud: Cloud,
    admin: String,
    ann: String,
    bob: String,
    project: String,
    ann_token: String,
    bob_token: String,
}

async fn story() -> Story {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let bob = cloud.user(&admin, "bob", "default").await;
    let project = cloud.project(&admin, "p", "default").await;
    let (place, actor) = (format!("projects/{project}"), format!("users/{ann}"));
    cloud.grant(&admin, &place, &actor, "member").await;
    let scope = json!({"project": {"id": project}});
    let ann_token = cloud.auth(by_id(&ann, "pw"), scope).await.token();
    let bob_token = cloud
        .auth(by_id(&bob, "pw"), json!("unscoped"))
        .await
        .token();
    Story {
        cloud,
        admin,
        ann,
        bob,
        project,
        ann_token,
        bob_token,
    }
}

impl Story {
    /// Ann's trust in Bob, changed by `extra`.
    fn trust(&self, extra: Value) -> Value {
        let mut trust = json!({
            "trustor_user_id": self.ann, "trustee_user_id": self.bob, "project_id": self.project,
            "impersonation": true, "roles": [{"name": "member"}],
        });
        for (name, value) in extra.as_object().unwrap() {
            trust[name] = value.clone();
        }
        json!({"trust": trust})
    }

    async fn create(&self, extra: Value) -> Answer {
        let body = self.trust(extra);
        self.cloud.call(&self.ann_token, "POST", TRUSTS, body).await
    }

    async fn used(&self, trust_id: &str) -> Answer {
        let scope = json!({"OS-TRUST:trust": {"id": trust_id}});
        self.cloud.auth(by_id(&self.bob, "pw"), scope).await
    }
}

#[tokio::test]
async fn the_trustee_acts_for_the_trustor() {
    let story = story().await;
    let Story { cloud, .. } = &story;
    let made = story.create(json!({})).await.expect(201);
    let trust = &made.body["trust"];
    assert_eq!(trust["expires_at"], Value::Null);
    assert_eq!(trust["remaining_uses"], Value::Null);
    assert_eq!(trust["redelegation_count"], 0);
    assert_eq!(trust["roles"][0]["name"], "member");
    let id = made.id("trust");
    let link = format!("http://keystone.test{TRUSTS}/{id}");
    assert_eq!(trust["links"]["self"], link);
    assert_eq!(trust["roles_links"]["self"], format!("{link}/roles"));

    let login = story.used(&id).await.expect(201);
    let token = &login.body["token"];
    assert_eq!(token["user"]["id"], story.ann, "impersonation");
    assert_eq!(token["project"]["id"], story.project);
    assert_eq!(
        token["OS-TRUST:trust"],
        json!({"id": id, "impersonation": true, "trustor_user": {"id": story.ann}, "trustee_user": {"id": story.bob}})
    );
    let names: Vec<&Value> = token["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["member", "reader"]);
    let told = cloud.check(&login.token()).await.expect(200);
    assert_eq!(told.body, login.body);
    // By a token as well, without impersonation as himself.
    let plain = story
        .create(json!({"impersonation": false}))
        .await
        .expect(201);
    let scope = json!({"OS-TRUST:trust": {"id": plain.id("trust")}});
    let login = cloud.auth(by_token(&story.bob_token), scope.clone()).await;
    let token = &login.expect(201).body["token"];
    assert_eq!(token["user"]["id"], story.bob);

    // Nobody else, and no other token from it.
    cloud.auth(by_id(&story.ann, "pw"), scope).await.expect(403);
    let token = story.used(&id).await.token();
    for scope in [
        json!("unscoped"),
        Value::Null,
        json!({"project": {"id": story.project}}),
        json!({"OS-TRUST:trust": {"id": id}}),
    ] {
        cloud.auth(by_token(&token), scope).await.expect(403);
    }
    // Nor anything that would outlive it.
    let path = format!("/v3/users/{}/application_credentials", story.ann);
    let body = json!({"application_credential": {"name": "mine now"}});
    cloud.call(&token, "POST", &path, body).await.expect(403);
    let trust = story.trust(json!({}));
    cloud.call(&token, "POST", TRUSTS, trust).await.expect(403);
}

#[tokio::test]
async fn who_sees_and_ends_them() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let id = story.create(json!({})).await.expect(201).id("trust");
    let carol = cloud.user(admin, "carol", "default").await;
    let carol = cloud
        .auth(by_id(&carol, "pw"), json!("unscoped"))
        .await
        .token();
    let path = format!("{TRUSTS}/{id}");
    for (token, status) in [
        (&story.ann_token, 200),
        (&story.bob_token, 200),
        (admin, 200),
        (&carol, 403),
    ] {
        cloud.get(token, &path).await.expect(status);
        cloud
            .get(token, &format!("{path}/roles"))
            .await
            .expect(status);
    }
    for (token, query, status, found) in [
        (
            &story.ann_token,
            format!("?trustor_user_id={}", story.ann),
            200,
            1,
        ),
        (
            &story.bob_token,
            format!("?trustee_user_id={}", story.bob),
            200,
            1,
        ),
        (
            &story.bob_token,
            format!("?trustor_user_id={}", story.ann),
            403,
            0,
        ),
        (&story.ann_token, String::new(), 403, 0),
        (admin, String::new(), 200, 1),
        (admin, format!("?trustee_user_id={}", story.ann), 200, 0),
    ] {
        let list = cloud
            .get(token, &format!("{TRUSTS}{query}"))
            .await
            .expect(status);
        if status == 200 {
            let trusts = list.body["trusts"].as_array().unwrap();
            assert_eq!(trusts.len(), found, "{query}");
            assert!(trusts.iter().all(|t| t.get("roles").is_none()));
        }
    }
    let member = cloud.role(admin, "member").await;
    let reader = cloud.role(admin, "reader").await;
    let role = cloud
        .get(&story.bob_token, &format!("{path}/roles/{member}"))
        .await;
    assert_eq!(role.expect(200).body["role"]["name"], "member");
    cloud
        .get(&story.bob_token, &format!("{path}/roles/{reader}"))
        .await
        .expect(404);
    cloud
        .get(&carol, &format!("{TRUSTS}/nothing"))
        .await
        .expect(404);

    cloud
        .call(&story.bob_token, "DELETE", &path, Value::Null)
        .await
        .expect(403);
    let token = story.used(&id).await.token();
    cloud
        .call(&story.ann_token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.check(&token).await.expect(401);
    story.used(&id).await.expect(401);
    let gone = cloud.get(&story.ann_token, &path).await.expect(404);
    assert_eq!(gone.message(), format!("Could not find trust: {id}."));
}

#[tokio::test]
async fn what_cannot_be_trusted_with() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let unknown = json!([{"name": "nothing"}]);
    for (extra, status) in [
        (json!({"roles": []}), 403),
        (json!({"roles": [{"name": "admin"}]}), 404),
        (json!({"roles": unknown}), 404),
        (json!({"trustee_user_id": "nobody"}), 404),
        (json!({"project_id": "nowhere"}), 404),
        (json!({"trustor_user_id": story.bob}), 403),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), 400),
        (json!({"expires_at": "later"}), 400),
        (json!({"remaining_uses": 0}), 400),
        (json!({"remaining_uses": -1}), 400),
        (json!({"impersonation": "yes"}), 400),
        (json!({"roles": "member"}), 400),
        (
            json!({"allow_redelegation": true, "remaining_uses": 3}),
            400,
        ),
        (
            json!({"allow_redelegation": true, "redelegation_count": 4}),
            403,
        ),
    ] {
        let made = story.create(extra.clone()).await;
        assert_eq!(made.status, status, "{extra}: {}", made.body);
    }
    // Not for another, whoever one is.
    let body = story.trust(json!({}));
    cloud.call(admin, "POST", TRUSTS, body).await.expect(403);
    let same = json!({"expires_at": "2026-02-02T00:00:00.000000Z"});
    story.create(same.clone()).await.expect(201);
    story.create(same).await.expect(409);
}

#[tokio::test]
async fn uses_are_counted_and_time_runs_out() {
    let story = story().await;
    let Story { cloud, .. } = &story;
    let id = story
        .create(json!({"remaining_uses": 2}))
        .await
        .expect(201)
        .id("trust");
    let first = story.used(&id).await.expect(201).token();
    let shown = cloud.get(&story.ann_token, &format!("{TRUSTS}/{id}")).await;
    assert_eq!(shown.expect(200).body["trust"]["remaining_uses"], 1);
    let second = story.used(&id).await.expect(201).token();
    story.used(&id).await.expect(401);
    cloud
        .get(&story.ann_token, &format!("{TRUSTS}/{id}"))
        .await
        .expect(404);
    for token in [first, second] {
        cloud.check(&token).await.expect(200);
    }
    let end = json!({"expires_at": "2026-01-02T03:14:05Z"});
    let id = story.create(end).await.expect(201).id("trust");
    let login = story.used(&id).await.expect(201);
    assert_eq!(
        login.body["token"]["expires_at"],
        "2026-01-02T03:14:05.000000Z"
    );
    cloud.clock.advance(Duration::from_secs(601));
    cloud.check(&login.token()).await.expect(401);
    story.used(&id).await.expect(401);
}

/// Two logins at once and one use: one of them gets it.
#[tokio::test]
async fn the_last_use_is_one() {
    let story = story().await;
    let id = story
        .create(json!({"remaining_uses": 1}))
        .await
        .expect(201)
        .id("trust");
    let logins = (0..4).map(|_| story.used(&id));
    let statuses: Vec<u16> = futures::future::join_all(logins)
        .await
        .into_iter()
        .map(|a| a.status)
        .collect();
    assert_eq!(
        statuses.iter().filter(|s| **s == 201).count(),
        1,
        "{statuses:?}"
    );
}

#[tokio::test]
async fn ends_with_what_it_was_made_of() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let id = story.create(json!({})).await.expect(201).id("trust");
    let member = cloud.role(admin, "member").await;
    let grant = format!(
        "/v3/projects/{}/users/{}/roles/{member}",
        story.project, story.ann
    );
    let token = story.used(&id).await.token();
    cloud
        .call(admin, "DELETE", &grant, Value::Null)
        .await
        .expect(204);
    cloud.check(&token).await.expect(401);
    let no = story.used(&id).await.expect(403);
    assert_eq!(no.message(), "Trustee has no delegated roles.");
    cloud
        .call(admin, "PUT", &grant, Value::Null)
        .await
        .expect(204);
    for user in [&story.ann, &story.bob] {
        let token = story.used(&id).await.expect(201).token();
        let path = format!("/v3/users/{user}");
        for enabled in [false, true] {
            let body = json!({"user": {"enabled": enabled}});
            cloud.call(admin, "PATCH", &path, body).await.expect(200);
            cloud.check(&token).await.expect(401);
        }
        cloud.clock.advance(Duration::from_secs(1));
    }
    // A new password of the trustor ends it too.
    let token = story.used(&id).await.expect(201).token();
    let path = format!("/v3/users/{}", story.ann);
    let body = json!({"user": {"password": "new"}});
    cloud.call(admin, "PATCH", &path, body).await.expect(200);
    cloud.check(&token).await.expect(401);
    let list = format!("{TRUSTS}?trustor_user_id={}", story.ann);
    let left = async || {
        cloud.get(admin, &list).await.body["trusts"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(left().await, 1);
    cloud
        .call(admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    assert_eq!(left().await, 0);
}

#[tokio::test]
async fn handed_on_no_further_and_no_more_than_allowed() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let carol = cloud.user(admin, "carol", "default").await;
    let given = json!({"allow_redelegation": true, "redelegation_count": 2, "expires_at": "2026-01-03T00:00:00Z"});
    let first = story.create(given).await.expect(201);
    assert_eq!(first.body["trust"]["redelegation_count"], 2);
    let by_bob = story.used(&first.id("trust")).await.expect(201).token();
    // Bob impersonates Ann, so it is in her name that he hands it on.
    let on = |extra: Value| {
        let mut all = json!({"trustee_user_id": carol});
        all.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        story.trust(all)
    };
    for (extra, status) in [
        (
            json!({"redelegation_count": 2, "allow_redelegation": true}),
            403,
        ),
        (json!({"remaining_uses": 1}), 403),
        (json!({"expires_at": "2026-01-04T00:00:00Z"}), 403),
        (json!({"roles": [{"name": "reader"}]}), 403),
    ] {
        let made = cloud.call(&by_bob, "POST", TRUSTS, on(extra.clone())).await;
        assert_eq!(made.status, status, "{extra}: {}", made.body);
    }
    let second = cloud
        .call(
            &by_bob,
            "POST",
            TRUSTS,
            on(json!({"allow_redelegation": true})),
        )
        .await
        .expect(201);
    let trust = &second.body["trust"];
    assert_eq!(trust["redelegated_trust_id"], first.body["trust"]["id"]);
    assert_eq!(trust["redelegation_count"], 1);
    assert_eq!(trust["expires_at"], "2026-01-03T00:00:00.000000Z");
    let scope = json!({"OS-TRUST:trust": {"id": second.id("trust")}});
    let login = cloud
        .auth(by_id(&carol, "pw"), scope.clone())
        .await
        .expect(201);
    assert_eq!(login.body["token"]["user"]["id"], story.ann);
    let by_carol = login.token();
    let dave = cloud.user(admin, "dave", "default").await;
    let last = on(json!({"trustee_user_id": dave}));
    let third = cloud.call(&by_carol, "POST", TRUSTS, last).await;
    let third = third.expect(201);
    assert_eq!(third.body["trust"]["redelegation_count"], 0);

    // Whoever stands between is part of it.
    let bob = format!("/v3/users/{}", story.bob);
    for (enabled, status) in [(false, 401), (true, 200)] {
        let body = json!({"user": {"enabled": enabled}});
        cloud.call(admin, "PATCH", &bob, body).await.expect(200);
        cloud.check(&by_carol).await.expect(status);
    }
    let path = format!("{TRUSTS}/{}", first.id("trust"));
    cloud
        .call(&story.ann_token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.check(&by_carol).await.expect(401);
    let list = cloud.get(admin, TRUSTS).await.expect(200);
    assert_eq!(list.body["trusts"], json!([]));
}
