//! Every way in which a token ends before its time.

use crate::cloud::{Answer, Cloud, Story, by_id, by_token};
use serde_json::{Value, json};
use std::time::Duration;

async fn story() -> Story {
    Story::of("member").await
}

#[tokio::test]
async fn by_its_holder() {
    let Story {
        cloud,
        admin,
        token,
        ..
    } = story().await;
    let other = cloud
        .auth(by_token(&token), json!("unscoped"))
        .await
        .expect(201)
        .token();
    let headers = [
        ("x-auth-token", token.as_str()),
        ("x-subject-token", token.as_str()),
    ];
    cloud
        .send("DELETE", "/v3/auth/tokens", &headers, None)
        .await
        .expect(204);
    cloud.check(&token).await.expect(401);
    cloud.check_as(&admin, &token).await.expect(404);
    cloud.check(&other).await.expect(200);
    cloud.auth(by_token(&token), Value::Null).await.expect(404);
}

/// A token made of a token has an id of its own and the chain's, so it can be ended alone, and ends with all others.
#[tokio::test]
async fn ossa_2016_008_a_rescoped_token_escapes_no_revocation() {
    let story = story().await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let scope = json!({"project": {"id": story.project}});
    let login = by_id(&story.ann, "pw");
    let first = cloud.auth(login, json!("unscoped")).await.expect(201);
    let again = async |token: &str| {
        let made = cloud.auth(by_token(token), scope.clone()).await;
        made.expect(201)
    };
    let second = again(&first.token()).await;
    let third = again(&second.token()).await;
    let ids = |answer: &Answer| -> Vec<String> {
        let ids = answer.body["token"]["audit_ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().into()).collect()
    };
    let root = ids(&first);
    assert_eq!(root.len(), 1, "a first token's chain is itself");
    let mut own = root.clone();
    for made in [&second, &third] {
        let told = cloud.check(&made.token()).await.expect(200);
        assert_eq!(
            ids(&told),
            ids(made),
            "a token tells of itself what its maker said"
        );
        assert_eq!(ids(made)[1..], root);
        assert!(!own.contains(&ids(made)[0]), "an id of its own");
        own.push(ids(made)[0].clone());
    }

    cloud.revoke(&third.token()).await;
    cloud.check(&third.token()).await.expect(401);
    let made = cloud.auth(by_token(&third.token()), scope.clone()).await;
    made.expect(404);
    cloud.check(&second.token()).await.expect(200);
    let events = cloud.get(admin, "/v3/OS-REVOKE/events").await.expect(200);
    assert_eq!(events.column("events", "audit_id"), [own[2].clone()]);

    // What ends the user's tokens ends those that were made of them.
    let fourth = again(&second.token()).await;
    let path = format!("/v3/users/{}/password", story.ann);
    let change = json!({"user": {"original_password": "pw", "password": "new"}});
    cloud.call("", "POST", &path, change).await.expect(204);
    for token in [&first, &second, &fourth] {
        cloud.check(&token.token()).await.expect(401);
        let made = cloud.auth(by_token(&token.token()), scope.clone()).await;
        made.expect(404);
    }
}

#[tokio::test]
async fn by_a_new_password() {
    let Story {
        cloud, ann, token, ..
    } = story().await;
    let path = format!("/v3/users/{ann}/password");
    let wrong = json!({"user": {"original_password": "no", "password": "new"}});
    cloud.call("", "POST", &path, wrong).await.expect(401);
    cloud.check(&token).await.expect(200);
    let right = json!({"user": {"original_password": "pw", "password": "new"}});
    cloud.call("", "POST", &path, right).await.expect(204);
    cloud.check(&token).await.expect(401);
    cloud.auth(by_id(&ann, "pw"), Value::Null).await.expect(401);
    cloud.clock.advance(Duration::from_micros(1));
    let fresh = cloud
        .auth(by_id(&ann, "new"), Value::Null)
        .await
        .expect(201)
        .token();
    cloud.check(&fresh).await.expect(200);
    let nobody = json!({"user": {"original_password": "pw", "password": "new"}});
    cloud
        .call("", "POST", "/v3/users/nobody/password", nobody)
        .await
        .expect(401);
}

#[tokio::test]
async fn by_disabling_the_user_for_good() {
    let Story {
        cloud,
        admin,
        ann,
        token,
        ..
    } = story().await;
    let path = format!("/v3/users/{ann}");
    cloud
        .call(&admin, "PATCH", &path, json!({"user": {"enabled": false}}))
        .await
        .expect(200);
    cloud.check(&token).await.expect(401);
    cloud.auth(by_id(&ann, "pw"), Value::Null).await.expect(401);
    cloud
        .call(&admin, "PATCH", &path, json!({"user": {"enabled": true}}))
        .await
        .expect(200);
    cloud.check(&token).await.expect(401);
}

#[tokio::test]
async fn by_disabling_the_project_for_good() {
    let Story {
        cloud,
        admin,
        project,
        token,
        ..
    } = story().await;
    let path = format!("/v3/projects/{project}");
    cloud
        .call(
            &admin,
            "PATCH",
            &path,
            json!({"project": {"enabled": false}}),
        )
        .await
        .expect(200);
    cloud.check(&token).await.expect(401);
    cloud
        .call(
            &admin,
            "PATCH",
            &path,
            json!({"project": {"enabled": true}}),
        )
        .await
        .expect(200);
    cloud.check(&token).await.expect(401);
}

#[tokio::test]
async fn by_taking_the_last_role() {
    let Story {
        cloud,
        admin,
        ann,
        project,
        token,
    } = story().await;
    cloud
        .grant(
            &admin,
            &format!("projects/{project}"),
            &format!("users/{ann}"),
            "creator",
        )
        .await;
    let member = cloud.role(&admin, "member").await;
    let grant = format!("/v3/projects/{project}/users/{ann}/roles/{member}");
    cloud
        .call(&admin, "DELETE", &grant, Value::Null)
        .await
        .expect(204);
    let told = cloud.check(&token).await.expect(200);
    assert_eq!(
        told.body["token"]["roles"].as_array().unwrap().len(),
        1,
        "a role less, seen at once"
    );
    let no = cloud
        .call(&admin, "DELETE", &grant, Value::Null)
        .await
        .expect(404);
    assert_eq!(
        no.message(),
        format!(
            "Could not find role assignment with role: {member}, user or group: {ann}, project, domain, or system: {project}."
        )
    );
    let creator = cloud.role(&admin, "creator").await;
    let grant = format!("/v3/projects/{project}/users/{ann}/roles/{creator}");
    cloud
        .call(&admin, "DELETE", &grant, Value::Null)
        .await
        .expect(204);
    cloud.check(&token).await.expect(401);
}

#[tokio::test]
async fn what_a_token_says_follows_the_database() {
    let Story {
        cloud,
        admin,
        ann,
        project,
        token,
    } = story().await;
    let again = async || {
        let scope = json!({"project": {"id": project}});
        cloud.auth(by_token(&token), scope).await
    };
    again().await.expect(201);
    let place = format!("projects/{project}");
    let actor = format!("users/{ann}");
    cloud.grant(&admin, &place, &actor, "creator").await;
    for (path, body) in [
        (&actor, json!({"user": {"name": "anna"}})),
        (&place, json!({"project": {"name": "q"}})),
    ] {
        let path = format!("/v3/{path}");
        cloud.call(&admin, "PATCH", &path, body).await.expect(200);
    }
    let (old, new) = (cloud.check(&token).await, again().await.expect(201));
    for told in [&old, &new] {
        let token = &told.body["token"];
        assert_eq!(token["user"]["name"], "anna");
        assert_eq!(token["project"]["name"], "q");
        assert_eq!(token["roles"].as_array().unwrap().len(), 3, "{token}");
    }
    let other = cloud.admin_project();
    cloud.auth(by_token(&token), other).await.expect(401);
    for role in ["member", "creator"] {
        let role = cloud.role(&admin, role).await;
        let grant = format!("/v3/{place}/{actor}/roles/{role}");
        cloud
            .call(&admin, "DELETE", &grant, Value::Null)
            .await
            .expect(204);
    }
    again().await.expect(404);
    cloud.check(&new.token()).await.expect(401);
}

/// Two keystones on one database and one repository of keys.
struct Pair {
    one: Cloud,
    two: Cloud,
    root: std::path::PathBuf,
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

async fn pair() -> Pair {
    let db = crate::cloud::database().await;
    let root = std::env::temp_dir().join(format!("ferrostack-keys-{}", base::new_id()));
    let clock = base::Clock::manual(crate::cloud::START);
    let build = async || {
        let mut conf = crate::cloud::conf();
        conf.fernet_tokens.key_repository = Some(root.join("token-keys"));
        let deps = crate::cloud::deps(&db, &clock, conf);
        keystone::build(deps).await.unwrap()
    };
    let (one, two) = (build().await, build().await);
    let ids = keystone::bootstrap(&one.state, crate::cloud::spec())
        .await
        .unwrap();
    let [one, two] = [one, two].map(|built| Cloud {
        built,
        clock: clock.clone(),
        ids: ids.clone(),
    });
    Pair { one, two, root }
}

/// Waits until a process on the same database has learnt that a token ended.
async fn until_ended(cloud: &Cloud, token: &str) {
    let start = std::time::Instant::now();
    while cloud.check(token).await.status == 200 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the other process never learns"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cloud.check(token).await.expect(401);
}

#[tokio::test]
async fn by_another_process_on_the_same_database() {
    let pair = pair().await;
    let (one, two) = (&pair.one, &pair.two);
    let token = one.admin().await;
    two.check(&token).await.expect(200);
    let headers = [
        ("x-auth-token", token.as_str()),
        ("x-subject-token", token.as_str()),
    ];
    one.send("DELETE", "/v3/auth/tokens", &headers, None)
        .await
        .expect(204);
    until_ended(two, &token).await;
    let token = two.admin().await;
    one.check(&token).await.expect(200);
    one.clock.advance(Duration::from_secs(86_400));
    one.check(&token).await.expect(401);
    two.check(&token).await.expect(401);
}

/// A token that was remembered as good may be shown as good for a second more by another process, but nothing new is
/// made of it: that would outlive the revocation.
#[tokio::test]
async fn no_process_makes_a_token_on_old_knowledge() {
    let pair = pair().await;
    let (one, two) = (&pair.one, &pair.two);
    let admin = one.admin().await;
    let place = format!("projects/{}", one.ids.admin_project_id);
    let ends = [
        ("PATCH", "", json!({"user": {"enabled": false}})),
        ("PATCH", "", json!({"user": {"password": "new"}})),
        ("DELETE", "", Value::Null),
    ];
    for (at, (method, below, body)) in ends.into_iter().enumerate() {
        let user = one.user(&admin, &format!("u{at}"), "default").await;
        one.grant(&admin, &place, &format!("users/{user}"), "member")
            .await;
        let token = two.auth(by_id(&user, "pw"), two.admin_project()).await;
        let token = token.expect(201).token();
        two.check(&token).await.expect(200);
        one.clock.advance(Duration::from_secs(1));
        let path = format!("/v3/users/{user}{below}");
        let done = one.call(&admin, method, &path, body.clone()).await;
        assert!(done.status < 300, "{method} {body}: {}", done.body);
        two.auth(by_token(&token), two.admin_project())
            .await
            .expect(404);
        two.auth(by_token(&token), json!("unscoped"))
            .await
            .expect(404);
        two.auth(by_id(&user, "pw"), Value::Null).await.expect(401);
        until_ended(two, &token).await;
    }
}
