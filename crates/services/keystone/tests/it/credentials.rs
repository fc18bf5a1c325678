//! Secrets kept for users: theirs to see, sealed in the database, gone with their owner.

use crate::cloud::{Cloud, START, by_id, conf, database, deps, spec};
use base::{Clock, Timestamp};
use oslo_db::everything;
use serde_json::{Value, json};

oslo_db::table! {
    /// What the database holds.
    struct Stored in "identity_credentials" {
        pub id: String,
        pub user_id: String,
        pub project_id: Option<String>,
        pub r#type: String,
        pub encrypted_blob: String,
        pub created_at: Timestamp,
    }
}

async fn member(cloud: &Cloud, admin: &str, name: &str, project: &str) -> (String, String) {
    let id = cloud.user(admin, name, "default").await;
    cloud
        .grant(
            admin,
            &format!("projects/{project}"),
            &format!("users/{id}"),
            "member",
        )
        .await;
    let scope = json!({"project": {"id": project}});
    let login = cloud.auth(by_id(&id, "pw"), scope).await.expect(201);
    (id, login.token())
}

#[tokio::test]
async fn credentials_are_their_owners_alone() {
    let db = database().await;
    let clock = Clock::manual(START);
    let built = keystone::build(deps(&db, &clock, conf())).await.unwrap();
    let ids = keystone::bootstrap(&built.state, spec()).await.unwrap();
    let cloud = Cloud { built, clock, ids };
    let admin = cloud.admin().await;
    let project = cloud.project(&admin, "p", "default").await;
    let other_project = cloud.project(&admin, "q", "default").await;
    let (ann, ann_token) = member(&cloud, &admin, "ann", &project).await;
    let (bob, bob_token) = member(&cloud, &admin, "bob", &project).await;

    // An EC2 pair: its id is the hash of the access key, so there is one of each.
    let blob = r#"{"access": "abc", "secret": "hush"}"#;
    let body =
        json!({"credential": {"type": "ec2", "blob": blob, "user_id": ann, "project_id": project}});
    let made = cloud
        .call(&ann_token, "POST", "/v3/credentials", body.clone())
        .await
        .expect(201);
    let id = made.id("credential");
    assert_eq!(
        id,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let path = format!("/v3/credentials/{id}");
    let shown = cloud.get(&ann_token, &path).await.expect(200);
    assert_eq!(shown.body, made.body);
    let credential = &shown.body["credential"];
    assert_eq!(credential["blob"], blob);
    assert_eq!(credential["project_id"], project);
    assert_eq!(
        credential["links"]["self"],
        format!("http://keystone.test{path}")
    );
    cloud
        .call(&ann_token, "POST", "/v3/credentials", body.clone())
        .await
        .expect(409);
    for (name, value) in [("project_id", Value::Null), ("blob", json!("no object"))] {
        let mut bad = body.clone();
        bad["credential"][name] = value;
        cloud
            .call(&ann_token, "POST", "/v3/credentials", bad)
            .await
            .expect(400);
    }

    // Nobody makes, sees, changes or deletes another's.
    cloud
        .call(&bob_token, "POST", "/v3/credentials", body)
        .await
        .expect(403);
    let cert = json!({"type": "cert", "blob": "pem", "user_id": bob, "project_id": other_project});
    let bobs = cloud
        .make(&bob_token, "/v3/credentials", "credential", cert)
        .await;
    let change = json!({"credential": {"blob": r#"{"access": "abc", "secret": "new"}"#}});
    cloud.get(&bob_token, &path).await.expect(403);
    cloud
        .call(&bob_token, "PATCH", &path, change.clone())
        .await
        .expect(403);
    cloud
        .call(&bob_token, "DELETE", &path, Value::Null)
        .await
        .expect(403);
    cloud
        .get(&bob_token, "/v3/credentials/none")
        .await
        .expect(403);
    cloud.get(&admin, "/v3/credentials/none").await.expect(404);
    for (token, query, expected) in [
        (&bob_token, String::new(), vec![&bobs]),
        (&bob_token, format!("?user_id={ann}"), vec![]),
        (&ann_token, "?type=ec2".into(), vec![&id]),
        (&ann_token, "?type=cert".into(), vec![]),
        (&admin, format!("?user_id={bob}"), vec![&bobs]),
        (&admin, format!("?user_id={bob}&type=ec2"), vec![]),
    ] {
        let list = cloud
            .get(token, &format!("/v3/credentials{query}"))
            .await
            .expect(200);
        let found = list.column("credentials", "id");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }

    // Only the blob changes.
    let changed = cloud
        .call(&ann_token, "PATCH", &path, change.clone())
        .await
        .expect(200);
    assert_eq!(
        changed.body["credential"]["blob"],
        change["credential"]["blob"]
    );
    assert_eq!(changed.id("credential"), id);
    for bad in [
        json!({"user_id": bob}),
        json!({"type": "cert"}),
        json!({"project_id": other_project}),
        json!({"blob": r#"{"access": "abc", "trust_id": "t"}"#}),
    ] {
        cloud
            .call(&ann_token, "PATCH", &path, json!({"credential": bad}))
            .await
            .expect(400);
    }
    let shown = cloud.get(&ann_token, &path).await.expect(200);
    assert_eq!(shown.body, changed.body);

    // The database does not know the secrets.
    let stored = db
        .read(|tx| tx.select::<Stored>(everything()))
        .await
        .unwrap();
    assert_eq!(stored.len(), 2);
    for row in stored {
        assert!(row.encrypted_blob.starts_with("gAAAAA"));
    }

    cloud
        .call(&ann_token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.get(&admin, &path).await.expect(404);

    // They go with their project, and with their user.
    let gone = format!("/v3/projects/{other_project}");
    cloud
        .call(&admin, "DELETE", &gone, Value::Null)
        .await
        .expect(204);
    let cert = json!({"type": "cert", "blob": "pem", "user_id": bob});
    let left = cloud
        .make(&bob_token, "/v3/credentials", "credential", cert)
        .await;
    let list = cloud.get(&admin, "/v3/credentials").await.expect(200);
    assert_eq!(list.column("credentials", "id"), [left]);
    cloud
        .call(&admin, "DELETE", &format!("/v3/users/{bob}"), Value::Null)
        .await
        .expect(204);
    let list = cloud.get(&admin, "/v3/credentials").await.expect(200);
    assert_eq!(list.body["credentials"], json!([]));
}

/// However the list is asked for, nobody but an administrator is shown another's secrets.
#[tokio::test]
async fn ossa_2019_006_nobody_lists_the_credentials_of_others() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.project(&admin, "p", "default").await;
    let (ann, ann_token) = member(&cloud, &admin, "ann", &project).await;
    let (bob, _) = member(&cloud, &admin, "bob", &project).await;
    let actor = format!("users/{bob}");
    for (place, role) in [
        (format!("projects/{project}"), "manager"),
        ("domains/default".to_string(), "manager"),
    ] {
        cloud.grant(&admin, &place, &actor, role).await;
    }
    for kind in ["ec2", "totp", "cert"] {
        let blob = json!({"access": kind, "secret": "hush"}).to_string();
        let credential = json!({"type": kind, "blob": blob, "user_id": ann, "project_id": project});
        cloud
            .make(&ann_token, "/v3/credentials", "credential", credential)
            .await;
    }
    let all = cloud.get(&ann_token, "/v3/credentials").await.expect(200);
    assert_eq!(all.column("credentials", "id").len(), 3);
    for scope in [
        json!({"project": {"id": project}}),
        json!({"domain": {"id": "default"}}),
        json!("unscoped"),
    ] {
        let login = cloud.auth(by_id(&bob, "pw"), scope.clone()).await;
        let token = login.expect(201).token();
        for query in [
            String::new(),
            "?type=ec2".into(),
            "?type=totp".into(),
            "?user_id=".into(),
            format!("?user_id={ann}"),
            format!("?user_id={ann}&user_id={bob}"),
            format!("?user_id={ann}&type=ec2"),
        ] {
            let list = cloud.get(&token, &format!("/v3/credentials{query}")).await;
            assert!(matches!(list.status, 200 | 403), "{scope} {query}");
            assert!(
                !list.body.to_string().contains("hush"),
                "{scope} {query}: {}",
                list.body
            );
        }
    }
}

/// Whose an EC2 pair is, for which project, and what it was delegated by: none of it is changed, or claimed, by its user.
#[tokio::test]
async fn ossa_2020_004_a_pair_does_not_change_hands() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.project(&admin, "p", "default").await;
    let other = cloud.project(&admin, "q", "default").await;
    let (ann, token) = member(&cloud, &admin, "ann", &project).await;
    let (bob, _) = member(&cloud, &admin, "bob", &project).await;
    let blob = json!({"access": "a", "secret": "s"});
    let credential =
        json!({"type": "ec2", "blob": blob.to_string(), "user_id": ann, "project_id": project});
    let id = cloud
        .make(&token, "/v3/credentials", "credential", credential.clone())
        .await;
    let path = format!("/v3/credentials/{id}");
    let before = cloud.get(&token, &path).await.expect(200);
    for (name, value) in [
        ("user_id", &bob),
        ("project_id", &other),
        ("type", &"cert".to_string()),
        ("id", &base::new_hex_id()),
    ] {
        for by in [&token, &admin] {
            let change = json!({"credential": {name: value}});
            cloud.call(by, "PATCH", &path, change).await.expect(400);
        }
    }
    for origin in ["trust_id", "app_cred_id", "access_token_id", "access_id"] {
        let mut forged = blob.clone();
        forged[origin] = json!(base::new_hex_id());
        let change = json!({"credential": {"blob": forged.to_string()}});
        cloud.call(&token, "PATCH", &path, change).await.expect(400);
        forged["access"] = json!("b");
        let mut new = credential.clone();
        new["blob"] = json!(forged.to_string());
        let new = json!({"credential": new});
        cloud
            .call(&token, "POST", "/v3/credentials", new)
            .await
            .expect(400);
    }
    let after = cloud.get(&token, &path).await.expect(200);
    assert_eq!(after.body, before.body);
}
