//! Whether answers look as upstream's schemas say (`answers.json`): in every story, of every row that has one.

use crate::cloud::Cloud;
use oslo_testing::answers::{Answers, NotSo, fill};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static ANSWERS: LazyLock<Answers> =
    LazyLock::new(|| Answers::load(include_str!("../answers.json"), NOT_SO));

/// Where upstream's own answers do not meet these schemas.
const NOT_SO: NotSo = &[
    (
        "GET /v2/images/{image_id}/tasks",
        "Additional properties are not allowed ('deleted_at', 'deleted' were unexpected)",
        "the rows are shown whole",
    ),
    (
        "GET /v2/info/stores",
        "\"true\" is not of type \"boolean\"",
        "it is a word",
    ),
    (
        "GET /v2/info/stores/detail",
        "\"true\" is not of type \"boolean\"",
        "it is a word",
    ),
    (
        "GET /v2/info/usage",
        "is not of type \"array\"",
        "an object by name of the limit",
    ),
    (
        "POST /v2/metadefs/namespaces/{namespace_name}/tags",
        "Additional properties are not allowed ('tags' was unexpected)",
        "the schema is that of one tag",
    ),
    (
        "POST /v2/metadefs/namespaces/{namespace_name}/tags",
        "\"name\" is a required property",
        "the schema is that of one tag",
    ),
];

/// Holds what a story was answered against upstream's schema, if there is one.
pub fn check(method: &str, path: &str, status: u16, body: &[u8]) {
    let json = (200..300).contains(&status) && body.starts_with(b"{") || body.starts_with(b"[");
    let Some(body) = json
        .then(|| serde_json::from_slice::<Value>(body).ok())
        .flatten()
    else {
        return;
    };
    ANSWERS
        .check(method, path, &body)
        .unwrap_or_else(|words| panic!("{words}"));
}

/// One of everything, and what changes it.
const STEPS: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/v2/images/{image_id}/members",
        r#"{"member": "p2"}"#,
    ),
    (
        "PUT",
        "/v2/images/{image_id}/members/{member_id}",
        r#"{"status": "accepted"}"#,
    ),
    (
        "POST",
        "/v2/metadefs/namespaces",
        r#"{"namespace": "OS::Moon", "description": "d", "display_name": "Moon"}"#,
    ),
    (
        "PUT",
        "/v2/metadefs/namespaces/{namespace}",
        r#"{"namespace": "OS::Moon", "visibility": "public", "protected": false}"#,
    ),
    (
        "POST",
        "/v2/metadefs/namespaces/{namespace}/objects",
        r#"{"name": "crater", "properties": {"depth": {"type": "integer", "title": "d"}}}"#,
    ),
    (
        "PUT",
        "/v2/metadefs/namespaces/{namespace}/objects/{object_name}",
        r#"{"name": "crater", "description": "deep", "properties": {"depth": {"type": "integer", "title": "d"}}}"#,
    ),
    (
        "POST",
        "/v2/metadefs/namespaces/{namespace}/properties",
        r#"{"name": "colour", "title": "c", "type": "string", "enum": ["grey", "red"]}"#,
    ),
    (
        "PUT",
        "/v2/metadefs/namespaces/{namespace}/properties/{property_name}",
        r#"{"name": "colour", "title": "colour", "type": "string"}"#,
    ),
    (
        "POST",
        "/v2/metadefs/namespaces/{namespace}/resource_types",
        r#"{"name": "OS::Glance::Image", "prefix": "moon_"}"#,
    ),
    (
        "POST",
        "/v2/metadefs/namespaces/{namespace}/tags",
        r#"{"tags": [{"name": "far"}]}"#,
    ),
    (
        "POST",
        "/v2/metadefs/namespaces/{namespace}/tags/{tag_name}",
        "",
    ),
    (
        "PUT",
        "/v2/metadefs/namespaces/{namespace}/tags/{tag_name}",
        r#"{"name": "round"}"#,
    ),
];

#[tokio::test]
async fn every_row_with_a_schema_meets_it_or_is_listed() {
    let cloud = Cloud::new().await;
    let image = cloud.image("admin", json!({"visibility": "shared"})).await;
    assert_eq!(
        cloud
            .upload("admin", &image, "bytes".to_string())
            .await
            .status,
        204
    );
    let change = json!([{"op": "add", "path": "/colour", "value": "grey"}]);
    assert_eq!(cloud.patch("admin", &image, change).await.0, 200);
    let empty = cloud.image("admin", json!({})).await;
    let text = |s: &str| s.to_string();
    let mut things = BTreeMap::from([
        ("image_id", image.clone()),
        ("member_id", text("p2")),
        ("namespace", text("OS::Moon")),
        ("object_name", text("crater")),
        ("property_name", text("colour")),
        ("tag_name", text("round")),
    ]);
    for (method, path, body) in STEPS {
        let body = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
        cloud.ok("admin", method, &fill(path, &things), body).await;
    }
    let task = json!({"type": "import", "input": {
        "import_from": "http://nowhere.invalid/x", "import_from_format": "raw",
        "image_properties": {"disk_format": "raw", "container_format": "bare"},
    }});
    let task = cloud.ok("admin", "POST", "/v2/tasks", Some(task)).await;
    things.insert("task_id", task["id"].as_str().unwrap().to_string());
    let rows = cloud.endpoint.routes();
    for row in rows.iter().filter(|row| row.method == "GET") {
        let path = fill(row.path, &things);
        if !path.contains('{') {
            cloud.ask("admin", "GET", &path, None).await;
        }
    }
    cloud
        .ask("admin", "GET", &format!("/v2/images/{empty}"), None)
        .await;
    // A DELETE answers with nothing.
    let asked = rows.iter().filter(|row| row.method != "DELETE");
    let coverage = ANSWERS.coverage(asked.map(|row| (row.method.as_str(), row.path)));
    let lists = (
        include_str!("answers/unmet.txt"),
        include_str!("answers/without_schema.txt"),
    );
    println!("{}", coverage.judge(lists.0, lists.1).unwrap());
}
