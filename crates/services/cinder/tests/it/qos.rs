//! QoS specifications, encryption of types, and default types.

use crate::cloud::{Cloud, SERVER};
use http::Method;
use serde_json::{Value, json};

async fn spec(cloud: &Cloud, body: Value) -> String {
    let made = cloud
        .post("admin", "/v3/ops/qos-specs", json!({"qos_specs": body}))
        .await
        .expect(200);
    made["qos_specs"]["id"].as_str().unwrap().to_string()
}

async fn new_type(cloud: &Cloud, name: &str) -> String {
    let body = json!({"volume_type": {"name": name}});
    let made = cloud.post("admin", "/v3/ops/types", body).await.expect(200);
    made["volume_type"]["id"].as_str().unwrap().to_string()
}

/// What nova is told of a volume's limits.
async fn told(cloud: &Cloud, volume: &str) -> Value {
    let body = json!({"attachment": {"volume_uuid": volume, "instance_uuid": SERVER,
        "connector": {"host": "c1"}}});
    let made = cloud
        .post("nova", "/v3/attachments", body)
        .await
        .expect(200);
    let info = &made["attachment"]["connection_info"];
    assert_eq!(info["encrypted"], false);
    let told = info["qos_specs"].clone();
    let path = format!(
        "/v3/attachments/{}",
        made["attachment"]["id"].as_str().unwrap()
    );
    cloud.delete("nova", &path).await.expect(200);
    told
}

#[tokio::test]
async fn limits_reach_whoever_attaches() {
    let cloud = Cloud::new().await;
    let gold = new_type(&cloud, "gold").await;
    let volume = cloud
        .volume(json!({"size": 3, "volume_type": "gold"}))
        .await;
    assert_eq!(told(&cloud, &volume).await, Value::Null);

    let body = json!({"name": " fast ", "consumer": "front-end", "total_iops_sec": "500"});
    let fast = spec(&cloud, body.clone()).await;
    let path = format!("/v3/ops/qos-specs/{fast}");
    let again = json!({"qos_specs": body});
    let words = cloud
        .post("admin", "/v3/ops/qos-specs", again)
        .await
        .fault(409, "conflictingRequest");
    assert_eq!(words, "QoS Specs fast already exists.");
    let shown = cloud.get("admin", &path).await.expect(200);
    assert_eq!(
        shown["qos_specs"],
        json!({"id": fast, "name": "fast", "consumer": "front-end", "specs": {"total_iops_sec": "500"}})
    );
    assert_eq!(
        shown["links"][0]["href"],
        format!("http://cloud:8776{path}")
    );

    let link = format!("{path}/associate?vol_type_id={gold}");
    for _ in 0..2 {
        cloud.get("admin", &link).await.expect(202);
    }
    let list = cloud
        .get("admin", &format!("{path}/associations"))
        .await
        .expect(200);
    assert_eq!(
        list["qos_associations"],
        json!([{"association_type": "volume_type", "name": "gold", "id": gold}])
    );
    let kind = cloud
        .get("admin", &format!("/v3/ops/types/{gold}"))
        .await
        .expect(200);
    assert_eq!(kind["volume_type"]["qos_specs_id"], json!(fast));
    assert_eq!(
        told(&cloud, &volume).await,
        json!({"total_iops_sec": "500"})
    );

    let change = json!({"qos_specs": {"read_iops_sec_per_gb": "10", "consumer": "both"}});
    let changed = cloud.put("admin", &path, change.clone()).await.expect(200);
    assert_eq!(changed, change);
    cloud
        .put(
            "admin",
            &format!("{path}/delete_keys"),
            json!({"keys": ["total_iops_sec"]}),
        )
        .await
        .expect(202);
    assert_eq!(told(&cloud, &volume).await, json!({"read_iops_sec": "30"}));
    // What is not there takes nothing else with it.
    let keys = json!({"keys": ["read_iops_sec_per_gb", "gone"]});
    let words = cloud
        .put("admin", &format!("{path}/delete_keys"), keys)
        .await
        .fault(404, "itemNotFound");
    assert_eq!(words, format!("QoS spec {fast} has no spec with key gone."));
    assert_eq!(told(&cloud, &volume).await, json!({"read_iops_sec": "30"}));
    let back = json!({"qos_specs": {"consumer": "back-end"}});
    cloud.put("admin", &path, back).await.expect(200);
    assert_eq!(told(&cloud, &volume).await, Value::Null);
}

#[tokio::test]
async fn specifications_are_listed_and_go_when_unused() {
    let cloud = Cloud::new().await;
    let a = spec(&cloud, json!({"name": "a", "consumer": "both"})).await;
    let b = spec(&cloud, json!({"name": "b"})).await;
    let names = async |query: &str| -> Vec<String> {
        let path = format!("/v3/ops/qos-specs{query}");
        let list = cloud.get("admin", &path).await.expect(200);
        let list = list["qos_specs"].as_array().unwrap().clone();
        list.iter()
            .map(|q| q["name"].as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(names("?sort=name:asc").await, ["a", "b"]);
    assert_eq!(names("?consumer=back-end").await, ["b"]);
    assert_eq!(names("?colour=red").await, [""; 0]);
    let page = cloud
        .get("admin", "/v3/ops/qos-specs?limit=1&sort=name:asc")
        .await
        .expect(200);
    let next = page["qos_specs_links"][0]["href"].as_str().unwrap();
    let next = next.strip_prefix("http://cloud:8776").unwrap();
    let rest = cloud.get("admin", next).await.expect(200);
    assert_eq!(rest["qos_specs"][0]["name"], "b");

    let (gold, silver) = (
        new_type(&cloud, "gold").await,
        new_type(&cloud, "silver").await,
    );
    let path = |id: &str, rest: &str| format!("/v3/ops/qos-specs/{id}{rest}");
    for kind in [&gold, &silver] {
        let link = path(&a, &format!("/associate?vol_type_id={kind}"));
        cloud.get("admin", &link).await.expect(202);
    }
    let words = cloud
        .get(
            "admin",
            &path(&b, &format!("/associate?vol_type_id={gold}")),
        )
        .await
        .fault(400, "badRequest");
    assert_eq!(
        words,
        format!(
            "Invalid volume type: Type {gold} is already associated with another qos specs: {a}"
        )
    );
    cloud
        .get("admin", &path(&a, "/associate"))
        .await
        .fault(400, "badRequest");
    cloud
        .get("admin", &path(&a, "/associate?vol_type_id=nobody"))
        .await
        .fault(404, "itemNotFound");
    let words = cloud
        .delete("admin", &path(&a, ""))
        .await
        .fault(400, "badRequest");
    assert_eq!(words, "Qos specs still in use.");
    cloud
        .get(
            "admin",
            &path(&a, &format!("/disassociate?vol_type_id={gold}")),
        )
        .await
        .expect(202);
    let left = cloud
        .get("admin", &path(&a, "/associations"))
        .await
        .expect(200);
    assert_eq!(left["qos_associations"][0]["name"], "silver");
    cloud
        .get("admin", &path(&a, "/disassociate_all"))
        .await
        .expect(202);
    cloud.delete("admin", &path(&a, "")).await.expect(202);
    cloud
        .get("admin", &path(&a, ""))
        .await
        .fault(404, "itemNotFound");
    let link = path(&b, &format!("/associate?vol_type_id={gold}"));
    cloud.get("admin", &link).await.expect(202);
    cloud
        .delete("admin", &path(&b, "?force=True"))
        .await
        .expect(202);
    let kind = cloud
        .get("admin", &format!("/v3/ops/types/{gold}"))
        .await
        .expect(200);
    assert_eq!(kind["volume_type"]["qos_specs_id"], Value::Null);

    for wrong in [
        json!({"name": "c", "consumer": "me"}),
        json!({"name": "c", "k": 5}),
        json!({"name": "c", "k": "x".repeat(256)}),
        json!({"name": "  "}),
        json!({"consumer": "both"}),
    ] {
        let body = json!({"qos_specs": wrong});
        cloud
            .post("admin", "/v3/ops/qos-specs", body)
            .await
            .fault(400, "badRequest");
    }
    for token in ["ann", "amy"] {
        cloud
            .get(token, "/v3/p1/qos-specs")
            .await
            .fault(403, "forbidden");
    }
}

#[tokio::test]
async fn volumes_of_an_encrypted_type_are_not_made_in_the_clear() {
    let cloud = Cloud::new().await;
    let secret = new_type(&cloud, "secret").await;
    let path = format!("/v3/ops/types/{secret}/encryption");
    assert_eq!(cloud.get("admin", &path).await.expect(200), json!({}));
    let body = json!({"encryption": {"key_size": "256", "provider": "luks", "control_location": "front-end",
        "cipher": "aes-xts-plain64"}});
    let made = cloud.post("admin", &path, body.clone()).await.expect(200)["encryption"].take();
    assert_eq!(
        (&made["key_size"], &made["volume_type_id"]),
        (&json!(256), &json!(secret))
    );
    let words = cloud
        .post("admin", &path, body)
        .await
        .fault(400, "badRequest");
    assert_eq!(
        words,
        format!("Volume type encryption for type {secret} already exists.")
    );
    let shown = cloud.get("admin", &path).await.expect(200);
    assert_eq!(
        (
            &shown["provider"],
            &shown["deleted"],
            &shown["encryption_id"]
        ),
        (&json!("luks"), &json!(false), &made["encryption_id"])
    );
    let id = made["encryption_id"].as_str().unwrap();
    let change = json!({"encryption": {"key_size": 512, "control_location": "back-end"}});
    let changed = cloud
        .put("admin", &format!("{path}/{id}"), change.clone())
        .await
        .expect(200);
    assert_eq!(changed, change);
    assert_eq!(
        cloud
            .get("admin", &format!("{path}/key_size"))
            .await
            .expect(200),
        json!({"key_size": 512})
    );
    cloud
        .get("admin", &format!("{path}/colour"))
        .await
        .fault(404, "itemNotFound");
    cloud.get("ann", &path).await.fault(403, "forbidden");

    let volume = json!({"volume": {"size": 1, "volume_type": "secret"}});
    let words = cloud
        .post("ann", "/v3/p1/volumes", volume.clone())
        .await
        .fault(400, "badRequest");
    assert!(words.starts_with("Key manager error"), "{words}");
    let none = cloud.get("ann", "/v3/p1/volumes").await.expect(200);
    assert_eq!(none, json!({"volumes": []}));
    cloud
        .delete("admin", &format!("{path}/{id}"))
        .await
        .expect(202);
    cloud
        .delete("admin", &format!("{path}/{id}"))
        .await
        .fault(404, "itemNotFound");
    let made = cloud
        .post("ann", "/v3/p1/volumes", volume)
        .await
        .expect(202);
    cloud.idle().await;
    let words = cloud
        .post(
            "admin",
            &path,
            json!({"encryption": {"provider": "luks", "control_location": "front-end"}}),
        )
        .await
        .fault(400, "badRequest");
    assert_eq!(words, "Cannot create encryption specs. Volume type in use.");
    let metadata = format!(
        "/v3/p1/volumes/{}/encryption",
        made["volume"]["id"].as_str().unwrap()
    );
    let shown = cloud.get("ann", &metadata).await.expect(200);
    assert_eq!(shown, json!({"encryption_key_id": null}));
    assert_eq!(
        cloud
            .get("ann", &format!("{metadata}/encryption_key_id"))
            .await
            .status,
        200
    );
    cloud.get("bob", &metadata).await.fault(400, "badRequest");
    cloud
        .get("bob", &metadata.replace("/p1/", "/p2/"))
        .await
        .fault(404, "itemNotFound");
}

#[tokio::test]
async fn a_project_has_a_default_type_of_its_own() {
    let cloud = Cloud::new().await;
    let gold = new_type(&cloud, "gold").await;
    let body = json!({"default_type": {"volume_type": "gold"}});
    for path in ["/v3/default-types/p1", "/v3/ops/default-types/p1"] {
        let set = cloud
            .call("admin", "3.62", Method::PUT, path, Some(body.clone()))
            .await
            .expect(200);
        assert_eq!(
            set["default_type"],
            json!({"project_id": "p1", "volume_type_id": gold})
        );
    }
    let asked = cloud.get("admin", "/v3/default-types").await.expect(200);
    assert_eq!(asked["default_types"].as_array().unwrap().len(), 1);
    cloud
        .put("admin", "/v3/default-types/nobody", body.clone())
        .await
        .fault(404, "itemNotFound");
    let wrong = json!({"default_type": {"volume_type": "lead"}});
    cloud
        .put("admin", "/v3/default-types/p1", wrong)
        .await
        .fault(400, "badRequest");
    cloud
        .put("ann", "/v3/default-types/p1", body)
        .await
        .fault(403, "forbidden");

    let volume = cloud.volume(json!({"size": 1})).await;
    assert_eq!(cloud.show(&volume).await["volume_type"], "gold");
    let default = cloud.get("ann", "/v3/p1/types/default").await.expect(200);
    assert_eq!(default["volume_type"]["name"], "gold");
    let others = cloud.get("bob", "/v3/p2/types/default").await.expect(200);
    assert_eq!(others["volume_type"]["name"], "__DEFAULT__");
    let words = cloud
        .delete("admin", &format!("/v3/ops/types/{gold}"))
        .await
        .fault(400, "badRequest");
    assert!(words.contains("is a default volume type"), "{words}");

    for _ in 0..2 {
        cloud
            .delete("admin", "/v3/default-types/p1")
            .await
            .expect(204);
    }
    let words = cloud
        .get("admin", "/v3/default-types/p1")
        .await
        .fault(404, "itemNotFound");
    assert_eq!(words, "Default type for project p1 not found.");
    let volume = cloud.volume(json!({"size": 1})).await;
    assert_eq!(cloud.show(&volume).await["volume_type"], "__DEFAULT__");
}

#[tokio::test]
async fn users_filter_by_what_the_operator_allows() {
    let cloud = Cloud::new().await;
    let all = cloud
        .get("ann", "/v3/p1/resource_filters")
        .await
        .expect(200);
    assert!(all["resource_filters"].as_array().unwrap().len() > 5);
    let one = cloud
        .get("ann", "/v3/p1/resource_filters?resource=backup")
        .await
        .expect(200);
    assert_eq!(
        one["resource_filters"],
        json!([{"resource": "backup", "filters": ["name", "status", "volume_id"]}])
    );
    let words = cloud
        .get("ann", "/v3/p1/volumes?user_id=x&name=y")
        .await
        .fault(400, "badRequest");
    assert_eq!(words, "Invalid filters user_id are found in query options.");
    cloud
        .get("admin", "/v3/ops/volumes?user_id=x")
        .await
        .expect(200);
    let early = "/v3/p1/volumes?user_id=x";
    cloud
        .call("ann", "3.30", Method::GET, early, None)
        .await
        .expect(200);

    let file = std::env::temp_dir().join(format!("cinder-filters-{}.json", base::new_id()));
    std::fs::write(&file, r#"{"volume": ["name~"]}"#).unwrap();
    let conf = cinder::Conf {
        resource_query_filters_file: Some(file.clone()),
        ..cinder::Conf::default()
    };
    let cloud = Cloud::with(conf).await;
    std::fs::remove_file(file).unwrap();
    cloud.volume(json!({"size": 1, "name": "one two"})).await;
    for (query, status) in [("name~=two", 200), ("name=one", 200), ("status=error", 400)] {
        let path = format!("/v3/p1/volumes?{query}");
        let answer = cloud.get("ann", &path).await;
        assert_eq!(answer.status, status, "{query}");
        let found = answer.body["volumes"].as_array().map_or(0, Vec::len);
        assert_eq!(found, usize::from(query == "name~=two"), "{query}");
    }
    let one = cloud
        .get("ann", "/v3/p1/extensions/qos-specs")
        .await
        .expect(200);
    assert_eq!(one["extension"]["alias"], "qos-specs");
    cloud
        .get("ann", "/v3/p1/extensions/colours")
        .await
        .fault(404, "itemNotFound");
}
