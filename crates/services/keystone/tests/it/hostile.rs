//! What no client sends by accident: nothing may end in a 5xx, and nothing may leak.

use crate::cloud::Cloud;
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

#[tokio::test]
async fn forged_headers_and_tokens_gain_nothing() {
    let cloud = Cloud::new().await;
    let forged = [
        ("x-roles", "admin"),
        ("x-user-id", "admin"),
        ("x-is-admin", "true"),
        ("x-identity-status", "Confirmed"),
    ];
    cloud
        .send("GET", "/v3/users", &forged, None)
        .await
        .expect(401);
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
