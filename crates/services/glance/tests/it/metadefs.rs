//! Metadata definitions.

use crate::cloud::Cloud;
use oslo_http::Body;
use serde_json::{Value, json};

const ROOT: &str = "/v2/metadefs/namespaces";

fn at(path: &str) -> String {
    format!("{ROOT}/{path}")
}

#[tokio::test]
async fn the_catalog_is_there_and_stays_as_it_was_left() {
    let cloud = Cloud::new().await;
    let all = cloud
        .ok("p1", "GET", &format!("{ROOT}?limit=100"), None)
        .await;
    let names = all["namespaces"].as_array().unwrap();
    assert_eq!(names.len(), 33);
    let quota = at("OS::Compute::Quota");
    let shown = cloud.ok("p1", "GET", &quota, None).await;
    assert_eq!(shown["owner"], "admin");
    assert_eq!(
        shown["resource_type_associations"][0]["name"],
        "OS::Nova::Flavor"
    );
    let limits = &shown["objects"][0];
    assert_eq!(limits["name"], "CPU Limits");
    assert_eq!(limits["properties"]["quota:cpu_period"]["minimum"], 1000);
    assert_eq!(limits["self"], format!("{quota}/objects/CPU Limits"));
    // Names as they stand on an image.
    let libvirt = at("OS::Compute::LibvirtImage?resource_type=OS::Glance::Image");
    let bare = cloud.ok("p1", "GET", &libvirt, None).await;
    assert!(bare["properties"]["hw_disk_bus"].is_object(), "{bare}");

    // An administrator's change outlives the next start, of a second controller too.
    let gone = cloud.ask("admin", "DELETE", &quota, None).await;
    assert_eq!(gone.0, 403);
    let body = json!({"namespace": "OS::Compute::Quota", "visibility": "public"});
    cloud.ok("admin", "PUT", &quota, Some(body)).await;
    cloud.ok("admin", "DELETE", &quota, None).await;
    let again = cloud.again().await;
    assert_eq!(again.ask("p1", "GET", &quota, None).await.0, 404);
    let all = again
        .ok("p1", "GET", &format!("{ROOT}?limit=100"), None)
        .await;
    assert_eq!(all["namespaces"].as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn pages_and_filters_of_namespaces() {
    let cloud = Cloud::new().await;
    let mut path = format!("{ROOT}?limit=10&sort_key=namespace&sort_dir=asc");
    let mut seen = Vec::new();
    loop {
        let page = cloud.ok("p1", "GET", &path, None).await;
        let names = page["namespaces"].as_array().unwrap().iter();
        seen.extend(names.map(|n| n["namespace"].as_str().unwrap().to_string()));
        match page["next"].as_str() {
            Some(next) => path = next.to_string(),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (33, &sorted));
    let flavors = format!("{ROOT}?resource_types=OS::Nova::Flavor,none&limit=100");
    let flavors = cloud.ok("p1", "GET", &flavors, None).await;
    let flavors = flavors["namespaces"].as_array().unwrap();
    let about = |n: &Value| {
        n["resource_type_associations"]
            .to_string()
            .contains("OS::Nova::Flavor")
    };
    assert!((1..33).contains(&flavors.len()) && flavors.iter().all(about));
    let unknown = cloud
        .ask("p1", "GET", &format!("{ROOT}?marker=nobody"), None)
        .await;
    assert_eq!(unknown.0, 404);
    let types = cloud
        .ok("p1", "GET", "/v2/metadefs/resource_types", None)
        .await;
    assert!(types.to_string().contains("OS::Cinder::Volume"));
}

#[tokio::test]
async fn a_namespace_with_everything_in_it() {
    let cloud = Cloud::new().await;
    let colour = json!({"title": "Colour", "type": "string", "enum": ["red", "green"]});
    let body = json!({
        "namespace": "Paint", "display_name": "Paint", "description": "d", "visibility": "public",
        "protected": true, "owner": "p1",
        "properties": {"colour": colour},
        "objects": [{"name": "pot", "required": ["size"], "properties": {"size": {"title": "s", "type": "integer"}}}],
        "tags": [{"name": "wet"}],
        "resource_type_associations": [{"name": "OS::My::Wall", "prefix": "wall_"}],
    });
    assert_eq!(
        cloud.ask("p1", "POST", ROOT, Some(body.clone())).await.0,
        403
    );
    let headers = [("content-type", "application/json")];
    let made = cloud
        .send(
            "admin",
            "POST",
            ROOT,
            &headers,
            Body::from(body.to_string()),
        )
        .await;
    assert_eq!(made.status, 201, "{:?}", made.json());
    assert_eq!(
        made.headers["location"],
        "http://glance/v2/metadefs/namespaces/Paint"
    );
    let (made, paint) = (made.json(), at("Paint"));
    assert_eq!(made["self"], paint);
    assert_eq!(made["properties"], json!({"colour": colour}));
    assert_eq!(made["tags"], json!([{"name": "wet"}]));
    assert_eq!(made["objects"][0]["required"], json!(["size"]));
    let (status, fault) = cloud.ask("admin", "POST", ROOT, Some(body)).await;
    assert_eq!(status, 409, "{fault}");

    let wall = "?resource_type=OS::My::Wall";
    let on_wall = cloud.ok("p2", "GET", &format!("{paint}{wall}"), None).await;
    assert!(on_wall["properties"]["wall_colour"].is_object());
    assert_eq!(on_wall["objects"][0]["required"], json!(["wall_size"]));
    let one = format!("{paint}/properties/wall_colour{wall}");
    let one = cloud.ok("p2", "GET", &one, None).await;
    assert_eq!(
        (&one["name"], &one["type"]),
        (&json!("wall_colour"), &json!("string"))
    );
    let bare = format!("{paint}/properties/colour{wall}");
    assert_eq!(cloud.ask("p2", "GET", &bare, None).await.0, 404);

    // Nothing of a protected namespace is deleted.
    for inside in [
        "",
        "/objects",
        "/objects/pot",
        "/properties",
        "/properties/colour",
        "/tags",
        "/tags/wet",
        "/resource_types/OS::My::Wall",
    ] {
        let path = format!("{paint}{inside}");
        assert_eq!(
            cloud.ask("admin", "DELETE", &path, None).await.0,
            403,
            "{inside}"
        );
        let (status, _) = cloud.ask("p1", "DELETE", &path, None).await;
        assert_eq!(status, 403, "{inside}");
    }

    // Private again: others do not know of it, its project does.
    let body = json!({"namespace": "Paints", "owner": "p1"});
    let renamed = cloud.ok("admin", "PUT", &paint, Some(body)).await;
    assert_eq!(
        (&renamed["visibility"], &renamed["protected"]),
        (&json!("private"), &json!(false))
    );
    let paints = at("Paints");
    for (token, path, status) in [
        ("p1", &paint, 404),
        ("p1", &paints, 200),
        ("p2", &paints, 404),
        ("admin", &paints, 200),
    ] {
        assert_eq!(
            cloud.ask(token, "GET", path, None).await.0,
            status,
            "{token} {path}"
        );
    }
    let inside = format!("{paints}/tags");
    assert_eq!(cloud.ask("p2", "GET", &inside, None).await.0, 404);
    cloud.ok("admin", "DELETE", &paints, None).await;
    assert_eq!(cloud.ask("admin", "GET", &inside, None).await.0, 404);
    // What is in it is gone with it: a namespace of the same name begins empty.
    let body = json!({"namespace": "Paints"});
    cloud.ok("admin", "POST", ROOT, Some(body)).await;
    let empty = cloud.ok("admin", "GET", &paints, None).await;
    assert!(empty.get("tags").is_none() && empty.get("properties").is_none());
    assert_eq!(empty["visibility"], "private");
}

#[tokio::test]
async fn what_is_inside_comes_and_goes_one_by_one() {
    let cloud = Cloud::new().await;
    let body = json!({"namespace": "N", "visibility": "public"});
    cloud.ok("admin", "POST", ROOT, Some(body)).await;
    let plain = |name: &str| json!({"name": name});
    let property = |name: &str| json!({"name": name, "title": "t", "type": "string"});
    let kinds: [(&str, &dyn Fn(&str) -> Value); 2] =
        [("objects", &plain), ("properties", &property)];
    for (kind, body) in kinds {
        let list = at(&format!("N/{kind}"));
        let one = |name: &str| format!("{list}/{name}");
        assert_eq!(cloud.ask("p1", "POST", &list, Some(body("a"))).await.0, 403);
        for name in ["a", "b"] {
            cloud.ok("admin", "POST", &list, Some(body(name))).await;
        }
        assert_eq!(
            cloud.ask("admin", "POST", &list, Some(body("a"))).await.0,
            409
        );
        assert_eq!(
            cloud
                .ask("admin", "PUT", &one("a"), Some(body("b")))
                .await
                .0,
            409
        );
        let renamed = cloud.ok("admin", "PUT", &one("a"), Some(body("c"))).await;
        assert_eq!(renamed["name"], "c");
        assert_eq!(cloud.ask("p1", "GET", &one("a"), None).await.0, 404);
        assert_eq!(cloud.ok("p1", "GET", &one("c"), None).await["name"], "c");
        cloud.ok("admin", "DELETE", &one("c"), None).await;
        assert_eq!(cloud.ask("admin", "DELETE", &one("c"), None).await.0, 404);
        let left = cloud.ok("p1", "GET", &list, None).await;
        assert!(left.to_string().contains("\"b\""), "{left}");
        cloud.ok("admin", "DELETE", &list, None).await;
        let left = cloud.ok("p1", "GET", &list, None).await;
        assert!(!left.to_string().contains("\"b\""), "{left}");
    }

    let tags = at("N/tags");
    let three = json!({"tags": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
    let made = cloud.ok("admin", "POST", &tags, Some(three.clone())).await;
    assert_eq!(made, three);
    let twice = json!({"tags": [{"name": "a"}, {"name": "a"}]});
    assert_eq!(cloud.ask("admin", "POST", &tags, Some(twice)).await.0, 409);
    let one = json!({"tags": [{"name": "d"}]});
    let headers = [
        ("content-type", "application/json"),
        ("x-openstack-append", "true"),
    ];
    let added = cloud
        .send(
            "admin",
            "POST",
            &tags,
            &headers,
            Body::from(one.to_string()),
        )
        .await;
    assert_eq!(
        (added.status, added.json()["tags"].as_array().unwrap().len()),
        (201, 4)
    );
    let page = format!("{tags}?limit=2&sort_key=name&sort_dir=asc&marker=b");
    let page = cloud.ok("p1", "GET", &page, None).await;
    assert_eq!(page["tags"], json!([{"name": "c"}, {"name": "d"}]));
    cloud.ok("admin", "POST", &tags, Some(one.clone())).await;
    assert_eq!(
        cloud.ok("p1", "GET", &tags, None).await["tags"],
        one["tags"]
    );
    let e = at("N/tags/e");
    let made = cloud.ok("admin", "POST", &e, None).await;
    assert!(made["created_at"].is_string());
    assert_eq!(cloud.ask("admin", "POST", &e, None).await.0, 409);
    assert_eq!(
        cloud
            .ask("admin", "PUT", &e, Some(json!({"name": "d"})))
            .await
            .0,
        409
    );
    cloud
        .ok("admin", "PUT", &e, Some(json!({"name": "f"})))
        .await;
    assert_eq!(cloud.ask("p1", "GET", &e, None).await.0, 404);
    cloud.ok("admin", "DELETE", &at("N/tags/f"), None).await;
    cloud.ok("admin", "DELETE", &tags, None).await;
    assert_eq!(cloud.ok("p1", "GET", &tags, None).await["tags"], json!([]));

    let types = at("N/resource_types");
    let body = json!({"name": "OS::Cinder::Volume", "prefix": "hw_", "properties_target": "image"});
    let made = cloud.ok("admin", "POST", &types, Some(body.clone())).await;
    assert_eq!(made["properties_target"], "image");
    assert_eq!(cloud.ask("admin", "POST", &types, Some(body)).await.0, 409);
    let list = cloud.ok("p1", "GET", &types, None).await;
    assert_eq!(list["resource_type_associations"][0]["prefix"], "hw_");
    let one = at("N/resource_types/OS::Cinder::Volume");
    cloud.ok("admin", "DELETE", &one, None).await;
    assert_eq!(cloud.ask("admin", "DELETE", &one, None).await.0, 404);
}

#[tokio::test]
async fn bodies_that_do_not_match_their_schema() {
    let cloud = Cloud::new().await;
    cloud
        .ok("admin", "POST", ROOT, Some(json!({"namespace": "N"})))
        .await;
    let long = "x".repeat(81);
    let cases = [
        ("POST", "", json!({}), 400),
        ("POST", "", json!([]), 400),
        ("POST", "", json!({"namespace": long}), 400),
        (
            "POST",
            "",
            json!({"namespace": "a", "visibility": "shared"}),
            400,
        ),
        ("POST", "", json!({"namespace": "a", "unknown": 1}), 400),
        (
            "POST",
            "",
            json!({"namespace": "a", "properties": {"p": {"type": "string"}}}),
            400,
        ),
        ("POST", "", json!({"namespace": "a", "self": "/x"}), 403),
        (
            "POST",
            "",
            json!({"namespace": "a", "created_at": "now"}),
            403,
        ),
        ("POST", "N/objects", json!({"description": "no name"}), 400),
        (
            "POST",
            "N/objects",
            json!({"name": "o", "required": "x"}),
            400,
        ),
        (
            "POST",
            "N/properties",
            json!({"name": "p", "type": "string"}),
            400,
        ),
        (
            "POST",
            "N/properties",
            json!({"name": "p", "title": "t", "type": "colour"}),
            400,
        ),
        ("POST", "N/tags", json!({"tags": [{"name": long}]}), 400),
        ("POST", "N/resource_types", json!({"prefix": "x"}), 400),
        ("PUT", "N", json!({"visibility": "public"}), 400),
    ];
    // What comes with a namespace is measured like what comes alone.
    let with = |what: &str, item: Value| {
        let mut body = json!({"namespace": "whole"});
        body[what] = item;
        ("POST", "", body, 400)
    };
    let property = json!({"title": "t", "type": "string"});
    let within = [
        with("objects", json!([{"name": long}])),
        with("tags", json!([{"name": long}])),
        with("properties", json!({&long: property})),
        with("resource_type_associations", json!([{"name": long}])),
        with(
            "resource_type_associations",
            json!([{"name": "a", "prefix": long}]),
        ),
        with(
            "resource_type_associations",
            json!([{"name": "a", "properties_target": long}]),
        ),
    ];
    for (method, path, body, expected) in cases.into_iter().chain(within) {
        let path = at(path).trim_end_matches('/').to_string();
        let (status, fault) = cloud.ask("admin", method, &path, Some(body.clone())).await;
        assert_eq!(status, expected, "{method} {path} {body}: {fault}");
    }
    for name in ["namespace", "objects", "property", "resource_types", "tag"] {
        let path = format!("/v2/schemas/metadefs/{name}");
        assert!(cloud.ok("p1", "GET", &path, None).await["properties"].is_object());
    }
    assert_eq!(
        cloud
            .ask("p1", "GET", "/v2/schemas/metadefs/x", None)
            .await
            .0,
        404
    );
}
