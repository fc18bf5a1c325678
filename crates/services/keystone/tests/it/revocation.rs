//! Every way in which a token ends before its time.

use crate::cloud::{Cloud, by_id, by_token};
use serde_json::{Value, json};
use std::time::Duration;

struct Story {
    cloud: Cloud,
    admin: String,
    ann: String,
    project: String,
    token: String,
}

/// Ann is a member of a project and has a token for it.
async fn story() -> Story {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let project = cloud.project(&admin, "p", "default").await;
    cloud
        .grant(
            &admin,
            &format!("projects/{project}"),
            &format!("users/{ann}"),
            "member",
        )
        .await;
    let token = cloud
        .auth(by_id(&ann, "pw"), json!({"project": {"id": project}}))
        .await
        .expect(201)
        .token();
    cloud.check(&token).await.expect(200);
    Story {
        cloud,
        admin,
        ann,
        project,
        token,
    }
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
    cloud.auth(by_token(&token), Value::Null).await.expect(401);
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
async fn by_another_process_on_the_same_database() {
    let path = std::env::temp_dir().join(format!("ferrostack-keystone-{}.sqlite", base::new_id()));
    let db = oslo_db::Db::open(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    let root = std::env::temp_dir().join(format!("ferrostack-keys-{}", base::new_id()));
    let keys = root.join("token-keys");
    let build = async || {
        let mut conf = crate::cloud::conf();
        conf.fernet_tokens.key_repository = Some(keys.clone());
        let deps = keystone::Deps {
            db: db.clone(),
            conf,
            clock: base::Clock::real(),
            policy_file: None,
        };
        keystone::build(deps).await.unwrap()
    };
    let (one, two) = (build().await, build().await);
    let ids = keystone::bootstrap(&one.state, crate::cloud::spec())
        .await
        .unwrap();
    let clock = base::Clock::real();
    let one = Cloud {
        built: one,
        clock: clock.clone(),
        ids: ids.clone(),
    };
    let two = Cloud {
        built: two,
        clock,
        ids,
    };
    let token = one.admin().await;
    two.check(&token).await.expect(200);
    let headers = [
        ("x-auth-token", token.as_str()),
        ("x-subject-token", token.as_str()),
    ];
    one.send("DELETE", "/v3/auth/tokens", &headers, None)
        .await
        .expect(204);
    let start = std::time::Instant::now();
    while two.check(&token).await.status == 200 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the other process never learns"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_dir_all(root).unwrap();
}
