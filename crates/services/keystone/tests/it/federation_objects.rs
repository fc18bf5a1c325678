//! What federation consists of: identity providers, protocols, mappings and service providers; and OAuth's consumers.

use crate::cloud::{Cloud, conf};
use serde_json::{Value, json};

const FED: &str = "/v3/OS-FEDERATION";

fn rules() -> Value {
    json!([{
        "local": [{"user": {"name": "{0}"}}, {"group": {"id": "0cd5e9"}}],
        "remote": [{"type": "UserName"}, {"type": "orgPersonType", "not_any_of": ["Contractor", "Guest"]}],
    }])
}

#[tokio::test]
async fn an_identity_provider_has_a_domain_names_and_protocols() {
    let (cloud, admin) = Cloud::begin(conf()).await;
    let path = format!("{FED}/identity_providers/ACME");
    let body = json!({"identity_provider": {"description": "Stores ACME identities.", "remote_ids": ["acme_2", "acme_1"], "enabled": true}});
    let made = cloud
        .put(&admin, &path, body.clone())
        .await
        .expect(201)
        .body;
    let idp = &made["identity_provider"];
    assert_eq!(idp["id"], "ACME");
    assert_eq!(idp["remote_ids"], json!(["acme_1", "acme_2"]));
    assert_eq!(idp["authorization_ttl"], Value::Null);
    let base = "http://keystone.test/v3/OS-FEDERATION/identity_providers/ACME";
    assert_eq!(idp["links"]["self"], base);
    assert_eq!(idp["links"]["protocols"], format!("{base}/protocols"));
    // A domain was made for its users.
    let domain = format!("/v3/domains/{}", idp["domain_id"].as_str().unwrap());
    let domain = cloud.get(&admin, &domain).await.expect(200).body;
    assert!(
        domain["domain"]["description"]
            .as_str()
            .unwrap()
            .ends_with("ACME")
    );
    assert_eq!(cloud.get(&admin, &path).await.expect(200).body, made);

    // Its name is taken, and so is what it calls itself; no domain is left of the attempts.
    let domains = cloud.get(&admin, "/v3/domains").await.body["domains"]
        .as_array()
        .unwrap()
        .len();
    cloud.put(&admin, &path, body.clone()).await.expect(409);
    let other = format!("{FED}/identity_providers/other");
    let said = cloud.put(&admin, &other, body).await.expect(409);
    assert!(
        said.message().contains("Duplicate remote ID: acme_1"),
        "{}",
        said.message()
    );
    let now = cloud.get(&admin, "/v3/domains").await.body["domains"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(domains, now);

    let change = json!({"identity_provider": {"remote_ids": ["beta"], "enabled": false, "authorization_ttl": 10}});
    let changed = cloud
        .call(&admin, "PATCH", &path, change)
        .await
        .expect(200)
        .body;
    assert_eq!(changed["identity_provider"]["remote_ids"], json!(["beta"]));
    assert_eq!(
        changed["identity_provider"]["description"],
        "Stores ACME identities."
    );
    // Filters.
    cloud
        .put(
            &admin,
            &other,
            json!({"identity_provider": {"domain_id": "default", "enabled": true}}),
        )
        .await
        .expect(201);
    for (query, wanted) in [
        ("", vec!["ACME", "other"]),
        ("?enabled=true", vec!["other"]),
        ("?id=ACME", vec!["ACME"]),
    ] {
        let found = cloud
            .get(&admin, &format!("{FED}/identity_providers{query}"))
            .await
            .expect(200);
        assert_eq!(found.column("identity_providers", "id"), wanted, "{query}");
    }

    // Protocols need a mapping that is there.
    let protocol = format!("{path}/protocols/saml2");
    let body = json!({"protocol": {"mapping_id": "rules"}});
    let said = cloud.put(&admin, &protocol, body.clone()).await.expect(400);
    assert_eq!(said.message(), "Invalid mapping id: rules");
    let mapping = json!({"mapping": {"rules": rules()}});
    cloud
        .put(&admin, &format!("{FED}/mappings/rules"), mapping)
        .await
        .expect(201);
    let made = cloud
        .put(&admin, &protocol, body.clone())
        .await
        .expect(201)
        .body;
    assert_eq!(made["protocol"]["links"]["identity_provider"], base);
    cloud.put(&admin, &protocol, body.clone()).await.expect(409);
    let nowhere = format!("{FED}/identity_providers/none/protocols/saml2");
    cloud.put(&admin, &nowhere, body).await.expect(404);
    let change = json!({"protocol": {"mapping_id": "rules", "remote_id_attribute": "MELLON_IDP"}});
    cloud
        .call(&admin, "PATCH", &protocol, change)
        .await
        .expect(200);
    let list = cloud
        .get(&admin, &format!("{path}/protocols"))
        .await
        .expect(200)
        .body;
    assert_eq!(list["protocols"][0]["remote_id_attribute"], "MELLON_IDP");
    assert_eq!(list["protocols"][0]["idp_id"], "ACME");

    // With the provider go its protocols.
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    let said = cloud.get(&admin, &protocol).await.expect(404);
    assert_eq!(
        said.message(),
        "Could not find federated protocol saml2 for Identity Provider: ACME."
    );
    assert_eq!(
        cloud.get(&admin, &path).await.expect(404).message(),
        "Could not find Identity Provider: ACME."
    );
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(404);
    cloud
        .get(&admin, &format!("{FED}/mappings/rules"))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_provider_goes_with_its_domain() {
    let (cloud, admin) = Cloud::begin(conf()).await;
    let domain = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "d"}))
        .await;
    let path = format!("{FED}/identity_providers/ACME");
    let body = json!({"identity_provider": {"domain_id": domain, "remote_ids": ["a"]}});
    cloud.put(&admin, &path, body).await.expect(201);
    let domain = format!("/v3/domains/{domain}");
    cloud
        .call(
            &admin,
            "PATCH",
            &domain,
            json!({"domain": {"enabled": false}}),
        )
        .await
        .expect(200);
    cloud
        .call(&admin, "DELETE", &domain, Value::Null)
        .await
        .expect(204);
    cloud.get(&admin, &path).await.expect(404);
    // Its name for itself is free again.
    cloud
        .put(
            &admin,
            &path,
            json!({"identity_provider": {"remote_ids": ["a"]}}),
        )
        .await
        .expect(201);
}

#[tokio::test]
async fn mappings_are_read_before_they_are_kept() {
    let (cloud, admin) = Cloud::begin(conf()).await;
    let path = format!("{FED}/mappings/ACME");
    let made = cloud
        .put(&admin, &path, json!({"mapping": {"rules": rules()}}))
        .await
        .expect(201)
        .body;
    assert_eq!(made["mapping"]["rules"], rules());
    assert_eq!(made["mapping"]["schema_version"], "1.0");
    assert_eq!(cloud.get(&admin, &path).await.expect(200).body, made);
    cloud
        .put(&admin, &path, json!({"mapping": {"rules": rules()}}))
        .await
        .expect(409);
    let newer = json!({"mapping": {"rules": rules(), "schema_version": "2.0"}});
    let changed = cloud
        .call(&admin, "PATCH", &path, newer)
        .await
        .expect(200)
        .body;
    assert_eq!(changed["mapping"]["schema_version"], "2.0");
    let list = cloud
        .get(&admin, &format!("{FED}/mappings"))
        .await
        .expect(200);
    assert_eq!(list.column("mappings", "id"), ["ACME"]);

    let pattern = |p: &str| json!([{"local": [], "remote": [{"type": "a", "any_one_of": [p], "regex": true}]}]);
    for (bad, words) in [
        (json!({}), "'rules' is a required property"),
        (json!({"rules": []}), "should be non-empty"),
        (
            json!({"rules": [{"local": [], "remote": []}]}),
            "rules/0/remote",
        ),
        (
            json!({"rules": pattern("(")}),
            "is not a regular expression",
        ),
        (
            json!({"rules": pattern("((a{900}){900}){900}")}),
            "is not a regular expression",
        ),
        (
            json!({"rules": rules(), "schema_version": "9"}),
            "schema_version",
        ),
        (
            json!({"rules": [{"local": [{"user": {"name": "x".repeat(70_000)}}], "remote": [{"type": "a"}]}]}),
            "longer than",
        ),
        (json!([]), "mapping"),
    ] {
        let body = json!({"mapping": bad});
        for (method, path) in [
            ("PUT", format!("{FED}/mappings/bad")),
            ("PATCH", path.clone()),
        ] {
            let said = cloud
                .call(&admin, method, &path, body.clone())
                .await
                .expect(400);
            assert!(said.message().contains(words), "{}", said.message());
        }
    }
    assert_eq!(cloud.get(&admin, &path).await.expect(200).body, changed);
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    assert_eq!(
        cloud.get(&admin, &path).await.expect(404).message(),
        "Could not find mapping: ACME."
    );
    let patch = json!({"mapping": {"rules": rules()}});
    cloud.call(&admin, "PATCH", &path, patch).await.expect(404);
}

#[tokio::test]
async fn service_providers_that_are_on_are_in_tokens() {
    let (cloud, admin) = Cloud::begin(conf()).await;
    let path = format!("{FED}/service_providers/BETA");
    let (auth, sp) = (
        "https://beta/v3/OS-FEDERATION/identity_providers/a/protocols/b/auth",
        "https://beta/ECP",
    );
    let body = json!({"service_provider": {"auth_url": auth, "sp_url": sp}});
    let made = cloud
        .put(&admin, &path, body.clone())
        .await
        .expect(201)
        .body;
    assert_eq!(made["service_provider"]["enabled"], false);
    assert_eq!(made["service_provider"]["relay_state_prefix"], "ss:mem:");
    cloud.put(&admin, &path, body).await.expect(409);
    assert_eq!(
        cloud.check(&admin).await.expect(200).body["token"]["service_providers"],
        Value::Null
    );
    let change = json!({"service_provider": {"enabled": true, "relay_state_prefix": "ss:x:"}});
    cloud.call(&admin, "PATCH", &path, change).await.expect(200);
    let shown = cloud.check(&admin).await.expect(200).body;
    assert_eq!(
        shown["token"]["service_providers"],
        json!([{"auth_url": auth, "id": "BETA", "sp_url": sp}])
    );
    for bad in [
        json!({"auth_url": "x", "sp_url": sp}),
        json!({"sp_url": sp}),
        json!({"auth_url": auth, "sp_url": sp, "more": 1}),
    ] {
        let path = format!("{FED}/service_providers/bad");
        cloud
            .put(&admin, &path, json!({"service_provider": bad}))
            .await
            .expect(400);
    }
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    assert_eq!(
        cloud.get(&admin, &path).await.expect(404).message(),
        "Could not find Service Provider: BETA."
    );
    assert_eq!(
        cloud.check(&admin).await.expect(200).body["token"]["service_providers"],
        Value::Null
    );
}

#[tokio::test]
async fn consumers_are_told_their_secret_once() {
    let (cloud, admin) = Cloud::begin(conf()).await;
    let root = "/v3/OS-OAUTH1/consumers";
    let sent =
        json!({"consumer": {"description": "My consumer", "secret": "mine", "colour": "red"}});
    let made = cloud
        .call(&admin, "POST", root, sent)
        .await
        .expect(201)
        .body;
    let consumer = &made["consumer"];
    assert_eq!(consumer["secret"].as_str().unwrap().len(), 32);
    assert_eq!(
        (&consumer["description"], &consumer["colour"]),
        (&json!("My consumer"), &json!("red"))
    );
    let path = format!("{root}/{}", consumer["id"].as_str().unwrap());
    assert_eq!(
        consumer["links"]["self"],
        format!("http://keystone.test{path}")
    );
    let shown = cloud.get(&admin, &path).await.expect(200).body;
    assert_eq!(shown["consumer"]["secret"], Value::Null);
    let list = cloud.get(&admin, root).await.expect(200).body;
    assert_eq!(list["consumers"], json!([shown["consumer"]]));
    let change = |body: Value| cloud.call(&admin, "PATCH", &path, json!({"consumer": body}));
    let changed = change(json!({"description": null})).await.expect(200).body;
    assert_eq!(changed["consumer"]["description"], Value::Null);
    for bad in [
        json!({}),
        json!({"secret": "x"}),
        json!({"id": "x"}),
        json!({"description": 1}),
        json!(1),
    ] {
        change(bad).await.expect(400);
    }
    cloud
        .call(
            &admin,
            "POST",
            root,
            json!({"consumer": {"description": 1}}),
        )
        .await
        .expect(400);
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    assert_eq!(
        cloud.get(&admin, &path).await.expect(404).message(),
        "Consumer not found"
    );
    cloud
        .call(&admin, "DELETE", &path, Value::Null)
        .await
        .expect(404);
}

#[tokio::test]
async fn only_administrators_touch_it() {
    let (cloud, admin) = Cloud::begin(conf()).await;
    let user = cloud.user(&admin, "u", "default").await;
    let place = format!("projects/{}", cloud.ids.admin_project_id);
    cloud
        .grant(&admin, &place, &format!("users/{user}"), "member")
        .await;
    let token = cloud
        .login("u", "pw", cloud.admin_project())
        .await
        .expect(201)
        .token();
    let sp = json!({"service_provider": {"auth_url": "https://a/b", "sp_url": "https://a/c"}});
    for (method, path, body) in [
        ("GET", "identity_providers", Value::Null),
        (
            "PUT",
            "identity_providers/x",
            json!({"identity_provider": {}}),
        ),
        ("GET", "identity_providers/x", Value::Null),
        (
            "PATCH",
            "identity_providers/x",
            json!({"identity_provider": {"enabled": true}}),
        ),
        ("DELETE", "identity_providers/x", Value::Null),
        ("GET", "identity_providers/x/protocols", Value::Null),
        (
            "PUT",
            "identity_providers/x/protocols/y",
            json!({"protocol": {"mapping_id": "m"}}),
        ),
        ("GET", "identity_providers/x/protocols/y", Value::Null),
        (
            "PATCH",
            "identity_providers/x/protocols/y",
            json!({"protocol": {"mapping_id": "m"}}),
        ),
        ("DELETE", "identity_providers/x/protocols/y", Value::Null),
        ("GET", "mappings", Value::Null),
        ("PUT", "mappings/x", json!({"mapping": {"rules": rules()}})),
        ("GET", "mappings/x", Value::Null),
        (
            "PATCH",
            "mappings/x",
            json!({"mapping": {"rules": rules()}}),
        ),
        ("DELETE", "mappings/x", Value::Null),
        ("GET", "service_providers", Value::Null),
        ("PUT", "service_providers/x", sp.clone()),
        ("GET", "service_providers/x", Value::Null),
        (
            "PATCH",
            "service_providers/x",
            json!({"service_provider": {"enabled": true}}),
        ),
        ("DELETE", "service_providers/x", Value::Null),
        ("GET", "../OS-OAUTH1/consumers", Value::Null),
        ("POST", "../OS-OAUTH1/consumers", json!({"consumer": {}})),
        ("GET", "../OS-OAUTH1/consumers/x", Value::Null),
        (
            "PATCH",
            "../OS-OAUTH1/consumers/x",
            json!({"consumer": {"description": "x"}}),
        ),
        ("DELETE", "../OS-OAUTH1/consumers/x", Value::Null),
    ] {
        let path = format!("{FED}/{path}").replace("OS-FEDERATION/../", "");
        cloud
            .call(&token, method, &path, body.clone())
            .await
            .expect(403);
        cloud.call("", method, &path, body).await.expect(401);
    }
    let long = format!("{FED}/service_providers/{}", "x".repeat(65));
    cloud.put(&admin, &long, sp).await.expect(400);
}
