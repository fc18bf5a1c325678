//! What no client sends by accident: nothing may end in a 5xx, and nothing may leak.

use crate::cloud::{Cloud, by_id};
use serde_json::{Value, json};

#[tokio::test]
async fn odd_bodies_and_paths_are_clean_errors() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let values = [
        json!(null),
        json!(7),
        json!("x"),
        json!([]),
        json!([[[[[]]]]]),
        json!({}),
        json!({"name": null}),
        json!({"name": ["x"]}),
        json!({"name": {"$ne": 1}}),
        json!({"name": "a\u{0}b", "description": 7}),
        json!({"name": "x", "domain_id": {"id": 1}}),
        json!({"name": "x", "options": []}),
        json!({"name": "x", "options": {"immutable": "yes"}}),
        json!({"name": "x", "tags": "red"}),
        json!({"id": "' OR 1=1 --", "name": "' OR 1=1 --", "type": 1, "url": 1}),
    ];
    let nouns = [
        "user", "group", "project", "domain", "role", "service", "endpoint", "region",
    ];
    for noun in nouns {
        for value in &values {
            for (method, path) in [
                ("POST", format!("/v3/{noun}s")),
                ("PATCH", format!("/v3/{noun}s/nothing")),
            ] {
                let answer = cloud
                    .call(&admin, method, &path, json!({noun: value}))
                    .await;
                assert!(
                    answer.status < 500,
                    "{method} {path} {value}: {}",
                    answer.body
                );
            }
        }
        for id in [
            "%00",
            "%27%20OR%201%3D1",
            "..%2F..%2Fetc",
            "x".repeat(4000).as_str(),
        ] {
            let answer = cloud.get(&admin, &format!("/v3/{noun}s/{id}")).await;
            assert!(
                matches!(answer.status, 400 | 404),
                "{noun} {id}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    for query in [
        "name=%27%3B--",
        "limit=-1",
        "limit=99999999999999999999",
        "marker=%00",
        "enabled=perhaps",
        "name__regex=.*",
        "sort_key=password_hash",
    ] {
        let answer = cloud.get(&admin, &format!("/v3/users?{query}")).await;
        assert!(answer.status < 500, "{query}: {}", answer.body);
        assert!(!answer.body.to_string().contains("$2b$"), "{query}");
    }
}

/// Who somebody is, only a token says.
#[tokio::test]
async fn ossa_2026_001_forged_identity_headers_gain_nothing() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let project = cloud.project(&admin, "p", "default").await;
    let place = format!("projects/{project}");
    cloud
        .grant(&admin, &place, &format!("users/{ann}"), "member")
        .await;
    let scope = json!({"project": {"id": project}});
    let token = cloud.auth(by_id(&ann, "pw"), scope).await.token();
    let admin_id = cloud.ids.admin_user_id.as_str();
    let forged = [
        ("x-domain-id", "default"),
        ("x-identity-status", "Confirmed"),
        ("x-is-admin", "true"),
        ("x-is-admin-project", "True"),
        ("x-project-id", cloud.ids.admin_project_id.as_str()),
        ("x-role", "admin"),
        ("x-roles", "admin,service"),
        ("x-service-identity-status", "Confirmed"),
        ("x-service-roles", "admin,service"),
        ("x-system-scope", "all"),
        ("x-tenant-id", cloud.ids.admin_project_id.as_str()),
        ("x-user", "admin"),
        ("x-user-id", admin_id),
        ("remote_user", "admin"),
        ("openstack-system-scope", "all"),
    ];
    let with = [&[("x-auth-token", token.as_str())], &forged[..]].concat();
    let own = format!("/v3/users/{ann}");
    for (method, path, status) in [
        ("GET", "/v3/users", 403),
        ("GET", "/v3/credentials", 200),
        ("GET", &format!("/v3/users/{admin_id}"), 403),
        ("DELETE", &own, 403),
        ("POST", "/v3/ec2tokens", 403),
    ] {
        cloud.send(method, path, &forged, None).await.expect(401);
        let asked = cloud.send(method, path, &with, None).await;
        assert_eq!(asked.status, status, "{method} {path}: {}", asked.body);
    }
    let with = [&with[..], &[("x-subject-token", token.as_str())]].concat();
    let told = cloud.send("GET", "/v3/auth/tokens", &with, None).await;
    let told = told.expect(200).body["token"].clone();
    assert_eq!(told["user"]["id"], ann);
    assert_eq!(told["project"]["id"], project);
    cloud.get(&admin, &own).await.expect(200);
}

#[tokio::test]
async fn forged_tokens_gain_nothing() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let mut flipped = admin.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    cloud
        .check(&String::from_utf8(flipped).unwrap())
        .await
        .expect(401);
    cloud.check(&"g".repeat(100_000)).await.expect(401);
    let no_subject = cloud.get(&admin, "/v3/auth/tokens").await;
    assert_eq!(no_subject.status, 400, "{}", no_subject.body);
    cloud
        .call(&admin, "PUT", "/v3/users", Value::Null)
        .await
        .expect(405);
}

/// As deep as a stack, as long as a mebibyte, or of a million parts: refused at the door, before and after the login.
#[tokio::test]
async fn deep_and_huge_bodies_are_refused() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    const DEEP: usize = 200_000;
    let lists = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let objects = format!("{}1{}", "{\"user\":".repeat(DEEP / 2), "}".repeat(DEEP / 2));
    let inside = format!("{{\"user\": {{\"name\": \"x\", \"extra\": {lists}}}}}");
    let login = format!("{{\"auth\": {{\"identity\": {{\"methods\": {lists}}}}}}}");
    let open = "[".repeat(DEEP);
    let many = format!(
        "{{\"auth\": {{\"identity\": {{\"methods\": [{}\"x\"]}}}}}}",
        "\"token\",".repeat(100_000)
    );
    let huge = format!("{{\"user\": {{\"name\": \"{}\"}}}}", "x".repeat(1 << 20));
    let json = ("content-type", "application/json");
    for (method, path) in [
        ("POST", "/v3/auth/tokens"),
        ("POST", "/v3/users"),
        ("PATCH", "/v3/users/nothing"),
        ("POST", "/v3/credentials"),
        ("POST", "/v3/OS-OAUTH2/token"),
    ] {
        for (body, name) in [
            (&lists, "lists"),
            (&objects, "objects"),
            (&inside, "inside"),
            (&login, "login"),
            (&open, "open"),
            (&many, "many"),
            (&huge, "huge"),
        ] {
            let headers = [json, ("x-auth-token", admin.as_str())];
            let body = Some(body.clone().into_bytes());
            let answer = cloud.send(method, path, &headers, body).await;
            let fine = match name {
                "huge" => answer.status == 413,
                _ => (400..500).contains(&answer.status),
            };
            assert!(fine, "{method} {path} {name}: {}", answer.status);
        }
    }
    // JSON inside JSON, and a password that is longer than anybody's.
    let blob = json!({"credential": {"type": "ec2", "blob": lists, "user_id": cloud.ids.admin_user_id,
        "project_id": cloud.ids.admin_project_id}});
    cloud
        .call(&admin, "POST", "/v3/credentials", blob)
        .await
        .expect(400);
    let long = cloud
        .login("admin", &"x".repeat(900_000), Value::Null)
        .await;
    long.expect(401);

    // What is taken can be shown again.
    let mut deep = json!("end");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let body = json!({"name": "deep", "domain_id": "default", "extra": deep});
    let id = cloud.make(&admin, "/v3/users", "user", body).await;
    let shown = cloud.get(&admin, &format!("/v3/users/{id}")).await;
    assert_eq!(shown.expect(200).body["user"]["extra"], deep);
    cloud.get(&admin, "/v3/users").await.expect(200);
}
