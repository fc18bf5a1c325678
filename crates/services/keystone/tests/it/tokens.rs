//! Logging in, every scope, rescoping, expiry, keys.

use crate::cloud::{Cloud, by_token, conf, spec};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn login_in_every_scope() {
    let cloud = Cloud::new().await;
    let scoped = cloud
        .login("admin", "secret", cloud.admin_project())
        .await
        .expect(201);
    let token = &scoped.body["token"];
    assert_eq!(token["methods"], json!(["password"]));
    assert_eq!(token["project"]["name"], "admin");
    assert_eq!(
        token["project"]["domain"],
        json!({"id": "default", "name": "Default"})
    );
    assert_eq!(token["is_domain"], false);
    assert_eq!(token["user"]["name"], "admin");
    assert_eq!(token["user"]["password_expires_at"], Value::Null);
    assert_eq!(token["expires_at"], "2026-01-03T03:04:05.000000Z");
    assert_eq!(token["issued_at"], "2026-01-02T03:04:05.000000Z");
    let roles: Vec<&str> = token["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        ["admin", "manager", "member", "reader"],
        "implied roles are in the token"
    );
    let swift = token["catalog"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["type"] == "object-store")
        .unwrap();
    assert_eq!(
        swift["endpoints"][0]["url"],
        format!("http://cloud/v1/AUTH_{}", cloud.ids.admin_project_id)
    );
    let told = cloud.check(&scoped.token()).await.expect(200);
    assert_eq!(told.body, scoped.body);

    let by_name = json!({"project": {"name": "admin", "domain": {"name": "Default"}}});
    cloud.login("admin", "secret", by_name).await.expect(201);
    let system = cloud
        .login("admin", "secret", json!({"system": {"all": true}}))
        .await
        .expect(201);
    assert_eq!(system.body["token"]["system"], json!({"all": true}));
    let unscoped = cloud
        .login("admin", "secret", json!("unscoped"))
        .await
        .expect(201);
    assert!(
        unscoped.body["token"].get("roles").is_none()
            && unscoped.body["token"].get("catalog").is_none()
    );
    cloud
        .login("admin", "secret", json!({"domain": {"id": "default"}}))
        .await
        .expect(401);

    let headers = [("content-type", "application/json")];
    let body = json!({"auth": {"identity": crate::cloud::by_password("admin", "secret"), "scope": cloud.admin_project()}});
    let bare = cloud
        .send(
            "POST",
            "/v3/auth/tokens?nocatalog",
            &headers,
            Some(body.to_string().into_bytes()),
        )
        .await;
    assert!(bare.expect(201).body["token"].get("catalog").is_none());
}

#[tokio::test]
async fn failures_say_one_thing() {
    let cloud = Cloud::new().await;
    for (user, password) in [("admin", "wrong"), ("nobody", "secret"), ("admin", "")] {
        let no = cloud.login(user, password, Value::Null).await.expect(401);
        assert_eq!(
            no.message(),
            "The request you have made requires authentication."
        );
        assert_eq!(no.body["error"]["title"], "Unauthorized");
        assert!(no.headers.contains_key("www-authenticate"));
    }
    cloud
        .login("admin", "secret", json!({"project": {"id": "nowhere"}}))
        .await
        .expect(401);
    let odd = json!({"methods": ["kerberos"], "kerberos": {}});
    let no = cloud.auth(odd, Value::Null).await.expect(401);
    assert_eq!(
        no.message(),
        "Attempted to authenticate with an unsupported method."
    );
    for body in [
        json!({}),
        json!({"auth": {}}),
        json!({"auth": {"identity": {"methods": "password"}}}),
        json!([]),
        json!({"auth": 7}),
    ] {
        cloud
            .call("", "POST", "/v3/auth/tokens", body)
            .await
            .expect(400);
    }
    for text in [
        "{",
        "\u{0}",
        "[[[[",
        "{\"auth\": {\"identity\": {\"methods\": [1e999]}}}",
    ] {
        let body = Some(text.as_bytes().to_vec());
        cloud
            .send(
                "POST",
                "/v3/auth/tokens",
                &[("content-type", "application/json")],
                body,
            )
            .await
            .expect(400);
    }
}

/// However often a token is changed for another one, the last ends with the first.
#[tokio::test]
async fn ossa_2012_019_a_chain_of_tokens_ends_with_its_first() {
    let cloud = Cloud::new().await;
    let first = cloud
        .login("admin", "secret", json!("unscoped"))
        .await
        .expect(201);
    cloud.clock.advance(Duration::from_secs(600));
    let second = cloud
        .auth(by_token(&first.token()), cloud.admin_project())
        .await
        .expect(201);
    let third = cloud
        .auth(by_token(&second.token()), json!({"system": {"all": true}}))
        .await
        .expect(201);
    let last = third.token();
    let (first, third) = (&first.body["token"], &third.body["token"]);
    assert_eq!(third["expires_at"], first["expires_at"]);
    assert_ne!(third["issued_at"], first["issued_at"]);
    assert_eq!(third["methods"], json!(["password", "token"]));
    assert_eq!(third["audit_ids"][1], first["audit_ids"][0]);
    assert_eq!(third["audit_ids"].as_array().unwrap().len(), 2);
    cloud.clock.advance(Duration::from_secs(86_399 - 600));
    cloud.check(&last).await.expect(200);
    cloud.clock.advance(Duration::from_secs(1));
    cloud.check(&last).await.expect(401);
    cloud.auth(by_token(&last), Value::Null).await.expect(404);
}

#[tokio::test]
async fn two_proofs_are_both_told() {
    let cloud = Cloud::new().await;
    let token = cloud.admin().await;
    cloud.clock.advance(Duration::from_secs(600));
    let mut both = by_token(&token);
    both["methods"] = json!(["password", "token"]);
    both["password"] = crate::cloud::by_password("admin", "secret")["password"].clone();
    let told = cloud.auth(both.clone(), json!("unscoped")).await;
    let told = told.expect(201);
    assert_eq!(told.body["token"]["methods"], json!(["password", "token"]));
    assert_eq!(
        told.body["token"]["expires_at"],
        "2026-01-03T03:04:05.000000Z"
    );
    both["password"]["user"]["password"] = json!("wrong");
    cloud.auth(both.clone(), Value::Null).await.expect(401);
    both["password"] = crate::cloud::by_password("nova", "nova-secret")["password"].clone();
    cloud.auth(both, Value::Null).await.expect(401);
}

#[tokio::test]
async fn tokens_end() {
    let cloud = Cloud::new().await;
    let token = cloud.admin().await;
    cloud.clock.advance(Duration::from_secs(86_399));
    cloud.check(&token).await.expect(200);
    cloud.clock.advance(Duration::from_secs(1));
    cloud.check(&token).await.expect(401);
    let fresh = cloud.admin().await;
    cloud.check_as(&fresh, &token).await.expect(404);
    let headers = [
        ("x-auth-token", fresh.as_str()),
        ("x-subject-token", token.as_str()),
    ];
    cloud
        .send("GET", "/v3/auth/tokens?allow_expired=1", &headers, None)
        .await
        .expect(200);
    cloud.clock.advance(Duration::from_secs(200_000));
    cloud
        .send("GET", "/v3/auth/tokens?allow_expired=1", &headers, None)
        .await
        .expect(401);
}

#[tokio::test]
async fn keys_rotate_without_ending_tokens() {
    let root = std::env::temp_dir().join(format!("ferrostack-keys-{}", base::new_id()));
    let directory = root.join("token-keys");
    let mut conf = conf();
    conf.fernet_tokens.key_repository = Some(directory.clone());
    let cloud = Cloud::with(conf).await;
    let token = cloud.admin().await;
    let files = || {
        let mut names: Vec<String> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files(), ["0", "1"]);
    let staged = std::fs::read_to_string(directory.join("0")).unwrap();
    cloud.built.state.rotate_keys().await.unwrap();
    assert_eq!(files(), ["0", "1", "2"]);
    assert_eq!(
        std::fs::read_to_string(directory.join("2")).unwrap(),
        staged,
        "the staged key is primary now"
    );
    let admin = cloud.admin().await;
    cloud.check(&token).await.expect(200);
    cloud.built.state.rotate_keys().await.unwrap();
    assert_eq!(files(), ["0", "2", "3"], "three keys are kept");
    cloud.check(&token).await.expect(401);
    cloud.check(&admin).await.expect(200);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn bootstrap_twice_changes_nothing() {
    let cloud = Cloud::new().await;
    let token = cloud.admin().await;
    let before = cloud.check(&token).await.expect(200).body;
    let ids = keystone::bootstrap(&cloud.built.state, spec())
        .await
        .unwrap();
    assert_eq!(ids.admin_project_id, cloud.ids.admin_project_id);
    assert_eq!(cloud.check(&token).await.expect(200).body, before);
    let nova = cloud
        .login(
            "nova",
            "nova-secret",
            json!({"project": {"id": ids.service_project_id}}),
        )
        .await
        .expect(201);
    let roles: Vec<&str> = nova.body["token"]["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert!(
        roles.contains(&"service") && roles.contains(&"admin"),
        "{roles:?}"
    );
    cloud.check_as(&nova.token(), &token).await.expect(200);
}

#[tokio::test]
async fn versions_without_token() {
    let cloud = Cloud::new().await;
    let all = cloud.get("", "/").await.expect(300);
    assert_eq!(all.body["versions"]["values"][0]["id"], "v3.14");
    let v3 = cloud.get("", "/v3/").await.expect(200);
    assert_eq!(
        v3.body["version"]["links"][0]["href"],
        "http://keystone.test/v3/"
    );
    cloud.get("", "/healthcheck").await.expect(200);
    cloud.get("", "/v3/nothing").await.expect(404);
}
