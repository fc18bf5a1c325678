//! Imports, their tasks, and several stores.

use crate::cloud::{Answer, Cloud};
use crate::data::qcow2;
use crate::web::Web;
use glance::Conf;
use glance::periodic::{tasks::Tasks, uploads::Uploads};
use oslo_http::Body;
use oslo_service::Reconciler;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

pub fn table(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    owned.collect()
}

/// Three folders, of which `fast` is read first, and the web server's port.
fn conf(port: u16) -> Conf {
    Conf {
        enabled_backends: table(&[
            ("file", "file"),
            ("fast", "file"),
            ("slow", "file"),
            ("web", "http"),
        ]),
        store_weights: table(&[("fast", "10")]),
        store_descriptions: table(&[("fast", "quick")]),
        allowed_hosts: vec!["127.0.0.1".to_string()],
        allowed_ports: vec![port.to_string()],
        ..Conf::default()
    }
}

pub async fn stage(cloud: &Cloud, token: &str, id: &str, body: impl Into<Body>) -> Answer {
    let headers = [
        ("content-type", "application/octet-stream"),
        ("accept", "application/json"),
    ];
    let path = format!("/v2/images/{id}/stage");
    cloud.send(token, "PUT", &path, &headers, body.into()).await
}

pub async fn import(cloud: &Cloud, token: &str, id: &str, body: Value) -> (u16, Value) {
    let path = format!("/v2/images/{id}/import");
    cloud.ask(token, "POST", &path, Some(body)).await
}

pub fn direct() -> Value {
    json!({"method": {"name": "glance-direct"}})
}

pub fn download(uri: &str) -> Value {
    json!({"method": {"name": "web-download", "uri": uri}})
}

pub async fn bytes(cloud: &Cloud, id: &str) -> Vec<u8> {
    let path = format!("/v2/images/{id}/file");
    let answer = cloud.send("p1", "GET", &path, &[], Body::Empty).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    answer.bytes
}

pub async fn tasks(cloud: &Cloud, id: &str) -> Vec<Value> {
    let path = format!("/v2/images/{id}/tasks");
    let tasks = cloud.ok("p1", "GET", &path, None).await;
    tasks["tasks"].as_array().unwrap().clone()
}

#[tokio::test]
async fn staged_data_is_imported_copied_and_thinned_out() {
    let cloud = Cloud::with(conf(1)).await;
    let stores = cloud.ok("p1", "GET", "/v2/info/stores", None).await;
    let ids = stores["stores"].as_array().unwrap().iter();
    assert_eq!(
        ids.map(|s| s["id"].clone()).collect::<Vec<_>>(),
        ["fast", "file", "slow", "web"]
    );
    assert_eq!(stores["stores"][3]["read-only"], "true");
    let detail = "/v2/info/stores/detail";
    assert_eq!(cloud.ask("p1", "GET", detail, None).await.0, 403);
    let detail = cloud.ok("admin", "GET", detail, None).await;
    let fast = &detail["stores"][0];
    assert_eq!(
        (&fast["weight"], &fast["type"]),
        (&json!(10), &json!("file"))
    );

    let id = cloud.image("p1", json!({})).await;
    assert_eq!(
        import(&cloud, "p1", &id, direct()).await.0,
        409,
        "nothing was staged"
    );
    assert_eq!(
        stage(&cloud, "p1", &id, "data".to_string()).await.status,
        204
    );
    assert_eq!(cloud.status(&id).await, "uploading");
    assert_eq!(
        stage(&cloud, "p1", &id, "more".to_string()).await.status,
        409
    );
    assert_eq!(
        cloud.upload("p1", &id, "more".to_string()).await.status,
        409
    );
    assert_eq!(cloud.files_of("staging").len(), 1);
    Uploads::new(&cloud.state).run().await.unwrap();
    assert_eq!(
        cloud.status(&id).await,
        "uploading",
        "what waits for its import is no dead upload"
    );

    assert_eq!(import(&cloud, "p2", &id, direct()).await.0, 404);
    let two = json!({"method": {"name": "glance-direct"}, "stores": ["file", "slow"]});
    assert_eq!(import(&cloud, "p1", &id, two).await.0, 202);
    cloud.imported().await;
    let image = cloud.show(&id).await;
    assert_eq!(
        (&image["status"], &image["size"]),
        (&json!("active"), &json!(4))
    );
    assert_eq!(image["checksum"], "8d777f385d3dfec8815d20f7496026dc");
    assert_eq!(image["stores"], "file,slow");
    assert_eq!(
        (
            &image["os_glance_importing_to_stores"],
            &image["os_glance_failed_import"]
        ),
        (&json!(""), &json!(""))
    );
    assert_eq!(bytes(&cloud, &id).await, b"data");
    assert_eq!(
        (
            cloud.files().len(),
            cloud.files_of("slow").len(),
            cloud.files_of("fast").len()
        ),
        (1, 1, 0)
    );
    assert_eq!(cloud.files_of("staging"), Vec::<String>::new());
    let done = tasks(&cloud, &id).await;
    assert_eq!(
        (&done[0]["status"], &done[0]["type"]),
        (&json!("success"), &json!("api_image_import"))
    );
    assert_eq!(done[0]["input"]["backend"], json!(["file", "slow"]));

    // Copies are for administrators.
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["fast"]});
    assert_eq!(import(&cloud, "p1", &id, copy.clone()).await.0, 403);
    assert_eq!(import(&cloud, "admin", &id, copy.clone()).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.show(&id).await["stores"], "fast,file,slow");
    assert_eq!(
        import(&cloud, "admin", &id, copy).await.0,
        400,
        "it is there already"
    );
    let all = json!({"method": {"name": "copy-image"}, "all_stores": true});
    assert_eq!(import(&cloud, "admin", &id, all).await.0, 202);
    assert_eq!(tasks(&cloud, &id).await.len(), 2, "nothing is left to copy");

    let locations = format!("/v2/images/{id}/locations");
    assert_eq!(cloud.ask("p1", "GET", &locations, None).await.0, 403);
    let locations = cloud.ok("admin", "GET", &locations, None).await;
    assert_eq!(locations.as_array().unwrap().len(), 3);
    assert!(
        locations[0]["url"]
            .as_str()
            .unwrap()
            .starts_with("file:///")
    );

    // Where the copies are does not matter to readers; the last one stays.
    let drop = |store: &str| format!("/v2/stores/{store}/{id}");
    assert_eq!(cloud.ask("p1", "DELETE", &drop("fast"), None).await.0, 403);
    assert_eq!(
        cloud.ask("admin", "DELETE", &drop("none"), None).await.0,
        404
    );
    for store in ["fast", "file"] {
        cloud.ok("admin", "DELETE", &drop(store), None).await;
    }
    assert_eq!(
        cloud.ask("admin", "DELETE", &drop("fast"), None).await.0,
        404
    );
    assert_eq!(
        cloud.ask("admin", "DELETE", &drop("slow"), None).await.0,
        403
    );
    assert_eq!(
        (
            cloud.files().len(),
            cloud.files_of("slow").len(),
            cloud.files_of("fast").len()
        ),
        (0, 1, 0)
    );
    assert_eq!(cloud.show(&id).await["stores"], "slow");
    assert_eq!(bytes(&cloud, &id).await, b"data");
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
        .await;
    assert_eq!(cloud.files_of("slow"), Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_goes_into_the_store_it_names() {
    let cloud = Cloud::with(conf(1)).await;
    for (store, status) in [("slow", 204), ("none", 400), ("web", 400)] {
        let id = cloud.image("p1", json!({})).await;
        let headers = [
            ("content-type", "application/octet-stream"),
            ("x-image-meta-store", store),
        ];
        let path = format!("/v2/images/{id}/file");
        let body = Body::from("data".to_string());
        let answer = cloud.send("p1", "PUT", &path, &headers, body).await;
        assert_eq!(answer.status, status, "{store}");
    }
    assert_eq!((cloud.files().len(), cloud.files_of("slow").len()), (0, 1));
}

#[tokio::test]
async fn a_copy_to_the_only_store_ends_at_once() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    assert_eq!(
        cloud.upload("p1", &id, "bytes".to_string()).await.status,
        204
    );
    let all = json!({"method": {"name": "copy-image"}, "all_stores": true});
    assert_eq!(import(&cloud, "admin", &id, all).await.0, 202);
    let image = cloud.show(&id).await;
    assert_eq!(image["os_glance_importing_to_stores"], "");
    assert_eq!(image["os_glance_failed_import"], "");
    assert_eq!(image["status"], "active");
}

#[tokio::test]
async fn images_come_from_the_web() {
    let web = Web::start(b"from the web".to_vec()).await;
    let cloud = Cloud::with(conf(web.port)).await;
    for path in ["/image", &format!("/to?{}", web.uri("/image"))] {
        let id = cloud.image("p1", json!({})).await;
        let (status, fault) = import(&cloud, "p1", &id, download(&web.uri(path))).await;
        assert_eq!(status, 202, "{fault}");
        cloud.imported().await;
        let image = cloud.show(&id).await;
        assert_eq!(
            (&image["status"], &image["size"]),
            (&json!("active"), &json!(12)),
            "{image}"
        );
        assert_eq!(bytes(&cloud, &id).await, b"from the web");
    }
    // What does not work leaves a queued image that says so, and can be tried again.
    for (path, word) in [("/missing", "404"), ("/short", "broke off")] {
        let id = cloud.image("p1", json!({})).await;
        assert_eq!(
            import(&cloud, "p1", &id, download(&web.uri(path))).await.0,
            202
        );
        cloud.imported().await;
        let image = cloud.show(&id).await;
        assert_eq!(
            (&image["status"], &image["os_glance_failed_import"]),
            (&json!("queued"), &json!("file"))
        );
        let task = &tasks(&cloud, &id).await[0];
        assert_eq!(task["status"], "failure");
        assert!(task["message"].as_str().unwrap().contains(word), "{task}");
        assert_eq!(
            import(&cloud, "p1", &id, download(&web.uri("/image")))
                .await
                .0,
            202
        );
        cloud.imported().await;
        assert_eq!(cloud.status(&id).await, "active");
    }
    assert_eq!(
        (cloud.files().len(), cloud.files_of("staging").len()),
        (4, 0)
    );

    // The old way, for administrators.
    let input = json!({
        "import_from": web.uri("/image"), "import_from_format": "raw",
        "image_properties": {"name": "old", "disk_format": "raw", "container_format": "bare"},
    });
    let body = json!({"type": "import", "input": input});
    assert_eq!(
        cloud
            .ask("p1", "POST", "/v2/tasks", Some(body.clone()))
            .await
            .0,
        403
    );
    let made = cloud.ok("admin", "POST", "/v2/tasks", Some(body)).await;
    assert_eq!(
        (&made["status"], &made["input"]),
        (&json!("pending"), &input)
    );
    cloud.imported().await;
    let path = made["self"].as_str().unwrap();
    let task = cloud.ok("admin", "GET", path, None).await;
    assert_eq!(task["status"], "success", "{task}");
    let made = task["result"]["image_id"].as_str().unwrap();
    assert_eq!(cloud.show(made).await["name"], "old");
    assert_eq!(cloud.ask("p1", "GET", path, None).await.0, 403);
    assert_eq!(cloud.ask("admin", "DELETE", path, None).await.0, 405);
    let failed = cloud
        .ok("admin", "GET", "/v2/tasks?status=failure", None)
        .await;
    assert_eq!(failed["tasks"].as_array().unwrap().len(), 2);
    for body in [
        json!({"type": "export", "input": input}),
        json!({"type": "import", "input": {"import_from": "x"}}),
    ] {
        assert_eq!(
            cloud.ask("admin", "POST", "/v2/tasks", Some(body)).await.0,
            400
        );
    }
    cloud.clock.advance(Duration::from_secs(49 * 3600));
    assert_eq!(
        cloud.ask("admin", "GET", path, None).await.0,
        404,
        "it has expired"
    );
    assert!(Tasks::new(&cloud.state).run().await.unwrap().changed > 4);
}

#[tokio::test]
async fn ossa_2026_004_imports_do_not_lead_inside() {
    let web = Web::start(b"x".to_vec()).await;
    let cloud = Cloud::with(conf(web.port)).await;
    for uri in [
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "file:///etc/passwd",
        "filesystem:///etc/passwd",
    ] {
        let id = cloud.image("p1", json!({})).await;
        let (status, fault) = import(&cloud, "p1", &id, download(uri)).await;
        assert_eq!(status, 400, "{uri}: {fault}");
    }
    // What looks harmless and then leads elsewhere.
    for target in [
        "http://169.254.169.254/",
        "http://127.0.0.2/",
        "file:///etc/passwd",
        &web.uri("/to?/image"),
    ] {
        let id = cloud.image("p1", json!({})).await;
        let uri = web.uri(&format!("/to?{target}"));
        assert_eq!(import(&cloud, "p1", &id, download(&uri)).await.0, 202);
        cloud.imported().await;
        let expected = match target.contains("/image") {
            true => "active",
            false => "queued",
        };
        assert_eq!(cloud.status(&id).await, expected, "{target}");
    }
}

#[tokio::test]
async fn requests_that_cannot_be() {
    let cloud = Cloud::with(conf(80)).await;
    let id = cloud.image("p1", json!({})).await;
    let named = |name: &str| json!({"method": {"name": name}});
    for (body, expected) in [
        (json!({}), 400),
        (json!([]), 400),
        (json!({"method": {}}), 400),
        (named("teleport"), 400),
        (named("web-download"), 400),
        (
            json!({"method": {"name": "glance-direct", "uri": "http://x/"}}),
            400,
        ),
        (
            json!({"method": {"name": "glance-direct"}, "stores": ["none"]}),
            400,
        ),
        (
            json!({"method": {"name": "glance-direct"}, "stores": ["web"]}),
            400,
        ),
        (
            json!({"method": {"name": "glance-direct"}, "stores": ["file"], "all_stores": true}),
            400,
        ),
        (named("glance-direct"), 409),
    ] {
        let (status, fault) = import(&cloud, "p1", &id, body.clone()).await;
        assert_eq!(status, expected, "{body}: {fault}");
    }
    assert_eq!(
        import(&cloud, "admin", &id, named("copy-image")).await.0,
        409
    );
    let bare = cloud.ok("p1", "POST", "/v2/images", Some(json!({}))).await;
    let bare = bare["id"].as_str().unwrap();
    stage(&cloud, "p1", bare, "x".to_string()).await;
    let (status, fault) = import(&cloud, "p1", bare, direct()).await;
    assert_eq!(status, 409, "{fault}");
    // Names that glance keeps for itself.
    let body = json!({"name": "i", "os_glance_import_task": "x"});
    assert_eq!(
        cloud.ask("p1", "POST", "/v2/images", Some(body)).await.0,
        403
    );
    for op in ["add", "replace", "remove"] {
        let change = json!([{"op": op, "path": "/os_glance_failed_import", "value": "x"}]);
        assert_eq!(cloud.patch("p1", &id, change).await.0, 403, "{op}");
    }
}

#[tokio::test]
async fn hostile_content_does_not_come_by_way_of_an_import() {
    let web = Web::start(qcow2(b"/etc/shadow")).await;
    let cloud = Cloud::with(conf(web.port)).await;
    for format in ["qcow2", "raw"] {
        let id = cloud.image("p1", json!({"disk_format": format})).await;
        stage(&cloud, "p1", &id, qcow2(b"/etc/shadow")).await;
        import(&cloud, "p1", &id, direct()).await;
        let other = cloud.image("p1", json!({"disk_format": format})).await;
        import(&cloud, "p1", &other, download(&web.uri("/image"))).await;
        cloud.imported().await;
        for id in [id, other] {
            assert_eq!(cloud.status(&id).await, "queued");
            let task = &tasks(&cloud, &id).await[0];
            let message = task["message"].as_str().unwrap();
            assert!(message.contains("not safe"), "{task}");
        }
    }
    assert_eq!(
        (cloud.files().len(), cloud.files_of("staging").len()),
        (0, 0)
    );
}

#[tokio::test]
async fn an_image_deleted_during_its_import_stays_deleted() {
    let web = Web::start(vec![7; 1 << 20]).await;
    let cloud = Cloud::with(conf(web.port)).await;
    let id = cloud.image("p1", json!({})).await;
    import(&cloud, "p1", &id, download(&web.uri("/slow"))).await;
    arriving(&cloud).await;
    assert_eq!(
        import(&cloud, "p1", &id, download(&web.uri("/image")))
            .await
            .0,
        409
    );
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
        .await;
    web.go.notify_one();
    cloud.imported().await;
    assert_eq!(
        cloud
            .ask("admin", "GET", &format!("/v2/images/{id}"), None)
            .await
            .0,
        404
    );
    cloud.search_files().await;
    assert_eq!(
        (cloud.files().len(), cloud.files_of("staging").len()),
        (0, 0)
    );
}

pub async fn arriving(cloud: &Cloud) {
    while cloud.files_of("staging").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_import_cut_by_a_crash_goes_on_elsewhere() {
    let web = Web::start(vec![7; 1 << 20]).await;
    let one = Cloud::with(conf(web.port)).await;
    let id = one.image("p1", json!({})).await;
    import(&one, "p1", &id, download(&web.uri("/slow"))).await;
    arriving(&one).await;
    one.state.engine.kill().await;
    assert_eq!(one.status(&id).await, "importing");
    let two = one.again().await;
    // The half that is there is nobody's stray.
    two.search_files().await;
    web.go.notify_one();
    web.go.notify_one();
    let ended = oslo_service::wait_until(
        Duration::from_secs(60),
        Duration::from_millis(50),
        async || {
            web.go.notify_one();
            Ok((two.status(&id).await == "active").then_some(()))
        },
    );
    ended.await.unwrap();
    assert_eq!(bytes(&two, &id).await, vec![7; 1 << 20]);
    assert_eq!(two.files_of("staging"), Vec::<String>::new());
    assert_eq!(tasks(&two, &id).await[0]["status"], "success");
}

/// Data that stays on the web, and is what it was said to be.
#[tokio::test]
async fn locations_are_looked_at_before_they_are_believed() {
    let web = Web::start(b"from the web".to_vec()).await;
    let cloud = Cloud::with(conf(web.port)).await;
    let sha256 = "5f0bb2dd61f41e1f9c05bd4d83ad24d2".repeat(2);
    let add = async |id: &str, url: &str, claim: Value| {
        let path = format!("/v2/images/{id}/locations");
        let body = json!({"url": url, "validation_data": claim});
        cloud.ask("p1", "POST", &path, Some(body)).await
    };
    let id = cloud.image("p1", json!({})).await;
    let here = web.uri("/image");
    for (url, claim) in [
        (
            &here,
            json!({"os_hash_algo": "sha512", "os_hash_value": sha256}),
        ),
        (&here, json!({"os_hash_value": sha256})),
        (
            &here,
            json!({"os_hash_algo": "sha123", "os_hash_value": sha256}),
        ),
        (&"ftp://127.0.0.1/x".to_string(), json!({})),
        (&"http://169.254.169.254/".to_string(), json!({})),
    ] {
        let (status, fault) = add(&id, url, claim.clone()).await;
        assert_eq!(status, 400, "{url} {claim}: {fault}");
    }
    // A wrong hash: the image is queued again, and still knows where it was said to be.
    let wrong = json!({"os_hash_algo": "sha256", "os_hash_value": sha256});
    assert_eq!(add(&id, &here, wrong).await.0, 202);
    cloud.imported().await;
    let image = cloud.show(&id).await;
    assert_eq!(
        (&image["status"], &image["stores"]),
        (&json!("queued"), &json!("web"))
    );
    assert_eq!(
        (&image["checksum"], &image["os_hash_value"]),
        (&Value::Null, &Value::Null)
    );
    let task = &tasks(&cloud, &id).await[0];
    assert_eq!(
        (&task["status"], &task["type"]),
        (&json!("failure"), &json!("location_import"))
    );

    let true_hash = sha2_hex(b"from the web");
    let claim = json!({"os_hash_algo": "sha256", "os_hash_value": true_hash});
    assert_eq!(add(&id, &here, claim).await.0, 202);
    cloud.imported().await;
    let image = cloud.show(&id).await;
    assert_eq!(
        (&image["status"], &image["os_hash_algo"]),
        (&json!("active"), &json!("sha256")),
        "{image}"
    );
    assert_eq!(
        (&image["os_hash_value"], &image["stores"]),
        (&json!(true_hash), &json!("web"))
    );
    assert_eq!(bytes(&cloud, &id).await, b"from the web");
    let path = format!("/v2/images/{id}/file");
    let range = [("range", "bytes=5-7")];
    let part = cloud.send("p1", "GET", &path, &range, Body::Empty).await;
    assert_eq!((part.status, part.bytes), (206, b"the".to_vec()));
    assert_eq!(add(&id, &here, json!({})).await.0, 409, "it is not queued");
    let listed = format!("/v2/images/{id}/locations");
    let listed = cloud.ok("admin", "GET", &listed, None).await;
    assert_eq!(listed, json!([{"url": here, "metadata": {"store": "web"}}]));
    assert_eq!(
        (cloud.files().len(), cloud.files_of("staging").len()),
        (0, 0)
    );

    // Without a claim glance finds out by itself; hostile content is refused here too.
    let id = cloud.image("p1", json!({})).await;
    assert_eq!(add(&id, &here, json!({})).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.show(&id).await["os_hash_algo"], "sha512");
    let other = cloud.image("p1", json!({"disk_format": "qcow2"})).await;
    assert_eq!(add(&other, &here, json!({})).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.status(&other).await, "queued");
    // Data that is uploaded then is the only data there is.
    cloud.upload("p1", &other, qcow2(b"")).await;
    assert_eq!(cloud.show(&other).await["stores"], "file");
    assert_eq!(bytes(&cloud, &other).await, qcow2(b""));
}

fn sha2_hex(data: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(data);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test]
async fn ossa_2015_002_a_location_is_no_file_of_the_server() {
    let cloud = Cloud::with(conf(80)).await;
    let id = cloud.image("p1", json!({})).await;
    let path = format!("/v2/images/{id}/locations");
    for url in [
        "filesystem:///etc/passwd",
        "file:///etc/passwd",
        "swift+config://x/y",
        "/etc/passwd",
    ] {
        for token in ["p1", "admin"] {
            let body = json!({"url": url});
            assert_eq!(
                cloud.ask(token, "POST", &path, Some(body)).await.0,
                400,
                "{url}"
            );
        }
        let change =
            json!([{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]);
        let (status, _) = cloud.patch("p1", &id, change).await;
        assert!(matches!(status, 400 | 403), "{url}: {status}");
    }
    assert_eq!(cloud.status(&id).await, "queued");
}

#[tokio::test]
async fn what_is_off_answers_as_upstream_does() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    for (method, path) in [
        ("GET", "/v2/cache".to_string()),
        ("DELETE", "/v2/cache".to_string()),
        ("PUT", format!("/v2/cache/{id}")),
        ("DELETE", format!("/v2/cache/{id}")),
        ("POST", "/v2/cache/clean".to_string()),
        ("POST", "/v2/cache/prune".to_string()),
    ] {
        let (status, fault) = cloud.ask("admin", method, &path, None).await;
        assert_eq!(status, 404, "{method} {path}");
        assert!(
            fault.to_string().contains("not supported at this site"),
            "{fault}"
        );
    }
    // No key manager holds the certificate: signed data is refused, not believed.
    let signed = json!({
        "img_signature": "c2ln", "img_signature_hash_method": "SHA-256",
        "img_signature_key_type": "RSA-PSS",
        "img_signature_certificate_uuid": "11111111-1111-1111-1111-111111111111",
    });
    let id = cloud.image("p1", signed).await;
    let answer = cloud.upload("p1", &id, "data".to_string()).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .json()
            .to_string()
            .contains("Signature verification failed")
    );
    stage(&cloud, "p1", &id, "data".to_string()).await;
    assert_eq!(import(&cloud, "p1", &id, direct()).await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_servers_of_one_project_do_not_hold_up_others() {
    let everywhere = Conf {
        allowed_ports: vec![],
        ..conf(1)
    };
    let cloud = Cloud::with(everywhere).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let web = Web::start(vec![7; 1 << 20]).await;
        let id = cloud.image("p1", json!({})).await;
        import(&cloud, "p1", &id, download(&web.uri("/slow"))).await;
        slow.push((web, id));
    }
    while cloud.files_of("staging").len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fast = Web::start(vec![7; 1 << 20]).await;
    for _ in 0..3 {
        let id = cloud.image("p2", json!({})).await;
        import(&cloud, "p2", &id, download(&fast.uri("/image"))).await;
        while cloud.status(&id).await != "active" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let staged = cloud.files_of("staging").into_iter();
    let theirs = staged.filter(|file| slow.iter().any(|(_, id)| file.starts_with(id)));
    assert_eq!(theirs.count(), 4, "one project's share");
    // The slow ones come too, each in its turn.
    let hurry = async {
        loop {
            slow.iter().for_each(|(web, _)| web.go.notify_waiters());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = cloud.imported() => {}
        () = hurry => {}
    }
    for (_, id) in &slow {
        assert_eq!(cloud.status(id).await, "active");
    }
}
