//! Places that callers see and name: the old way, by PATCH.

use crate::cloud::Cloud;
use crate::imports::{bytes, table, tasks};
use crate::web::Web;
use glance::Conf;
use oslo_http::Body;
use serde_json::{Value, json};
use std::time::Duration;

fn conf(port: u16) -> Conf {
    Conf {
        enabled_backends: table(&[("file", "file"), ("web", "http")]),
        allowed_hosts: vec!["127.0.0.1".to_string()],
        allowed_ports: vec![port.to_string()],
        show_multiple_locations: true,
        show_image_direct_url: true,
        image_location_quota: 3,
        ..Conf::default()
    }
}

fn add(url: &str, extra: Value) -> Value {
    let mut place = json!({"url": url, "metadata": {}});
    for (name, value) in extra.as_object().unwrap() {
        place[name] = value.clone();
    }
    json!([{"op": "add", "path": "/locations/-", "value": place}])
}

#[tokio::test]
async fn an_image_is_where_it_is_said_to_be() {
    let web = Web::start(b"from the web".to_vec()).await;
    let cloud = Cloud::with(conf(web.port)).await;
    let id = cloud.image("p1", json!({})).await;
    let image = cloud.show(&id).await;
    assert_eq!(
        (&image["locations"], &image["direct_url"]),
        (&json!([]), &Value::Null)
    );
    // Nobody but its owner says so, and not of what is not there.
    let here = web.uri("/image");
    let place = add(&here, json!({"metadata": {"foo": "bar"}}));
    assert_eq!(cloud.patch("p2", &id, place.clone()).await.0, 404);
    assert_eq!(cloud.patch("reader-p1", &id, place.clone()).await.0, 403);
    for url in [
        web.uri("/missing"),
        "gopher://info.cern.ch".to_string(),
        "http://169.254.169.254/".to_string(),
        "file:///etc/passwd".to_string(),
    ] {
        let (status, fault) = cloud.patch("p1", &id, add(&url, json!({}))).await;
        assert_eq!(status, 400, "{url}: {fault}");
    }
    assert_eq!(cloud.status(&id).await, "queued");

    let (status, image) = cloud.patch("p1", &id, place).await;
    assert_eq!(status, 200, "{image}");
    let places = json!([{"url": here, "metadata": {"foo": "bar", "store": "web"}}]);
    assert_eq!(
        (&image["status"], &image["size"], &image["locations"]),
        (&json!("active"), &json!(12), &places)
    );
    assert_eq!(
        (&image["checksum"], &image["os_hash_value"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&image["direct_url"], &image["stores"]),
        (&json!(here), &json!("web"))
    );
    assert_eq!(bytes(&cloud, &id).await, b"from the web");

    // A second place; the same one is none.
    let second = format!("{here}#new");
    let (status, image) = cloud.patch("p1", &id, add(&second, json!({}))).await;
    assert_eq!(status, 200, "{image}");
    assert_eq!(image["locations"][1]["url"], json!(second));
    let (status, _) = cloud.patch("p1", &id, add(&second, json!({}))).await;
    assert_eq!(status, 400);
    let mut places = image["locations"].clone();
    let replace =
        |places: &Value| json!([{"op": "replace", "path": "/locations", "value": places}]);
    places[0]["metadata"]["date"] = json!("2015-10-15");
    let (status, image) = cloud.patch("p1", &id, replace(&places)).await;
    assert_eq!((status, &image["locations"]), (200, &places));
    for others in [
        json!([places[0]]),
        json!([places[0], {"url": format!("{here}#other"), "metadata": {}}]),
    ] {
        assert_eq!(cloud.patch("p1", &id, replace(&others)).await.0, 400);
    }
    assert_eq!(cloud.patch("p1", &id, replace(&json!([]))).await.0, 403);
    let third = add(&format!("{here}#3"), json!({}));
    assert_eq!(cloud.patch("p1", &id, third.clone()).await.0, 200);
    let (status, fault) = cloud
        .patch("p1", &id, add(&format!("{here}#4"), json!({})))
        .await;
    assert_eq!(status, 413, "{fault}");

    // Places go one by one, by administrators, and never the last one.
    let gone = |at: &str| json!([{"op": "remove", "path": format!("/locations/{at}")}]);
    assert_eq!(cloud.patch("p1", &id, gone("0")).await.0, 403);
    assert_eq!(cloud.patch("admin", &id, gone("3")).await.0, 400);
    assert_eq!(cloud.patch("admin", &id, gone("first")).await.0, 400);
    assert_eq!(cloud.patch("admin", &id, gone("0")).await.0, 200);
    let (status, image) = cloud.patch("admin", &id, gone("1")).await;
    assert_eq!(
        (status, image["locations"].as_array().unwrap().len()),
        (200, 1)
    );
    assert_eq!(image["locations"][0]["url"], json!(second));
    assert_eq!(cloud.patch("admin", &id, gone("0")).await.0, 403);
}

#[tokio::test]
async fn what_is_uploaded_is_seen_and_can_be_dropped() {
    let web = Web::start(b"data".to_vec()).await;
    let cloud = Cloud::with(conf(web.port)).await;
    let id = cloud.image("p1", json!({})).await;
    cloud.upload("p1", &id, "data".to_string()).await;
    let image = cloud.show(&id).await;
    let place = &image["locations"][0];
    let url = place["url"].as_str().unwrap();
    assert!(url.starts_with("file:///"), "{url}");
    assert_eq!(
        (&image["direct_url"], &place["metadata"]),
        (&json!(url), &json!({"store": "file"}))
    );
    assert_eq!(
        cloud
            .patch("p1", &id, add(&web.uri("/image"), json!({})))
            .await
            .0,
        200
    );
    let gone = json!([{"op": "remove", "path": "/locations/0"}]);
    assert_eq!(cloud.patch("admin", &id, gone).await.0, 200);
    assert_eq!(cloud.files(), Vec::<String>::new(), "its file went with it");
    assert_eq!(bytes(&cloud, &id).await, b"data");
}

#[tokio::test]
async fn what_is_claimed_of_the_data_stays_the_same() {
    let web = Web::start(b"data".to_vec()).await;
    let cloud = Cloud::with(conf(web.port)).await;
    let here = web.uri("/image");
    let claim = json!({"checksum": "1".repeat(32), "os_hash_algo": "sha512",
        "os_hash_value": "deadbeef".repeat(16)});
    let with = |claim: &Value| json!({"validation_data": claim});
    let id = cloud.image("p1", json!({})).await;
    for (name, value, expected) in [
        ("checksum", json!("xyz"), 409),
        ("os_hash_algo", json!("sha256"), 409),
        ("os_hash_value", json!("beef"), 409),
        ("os_hash_value", Value::Null, 400),
        ("other", json!("x"), 400),
    ] {
        let mut wrong = claim.clone();
        wrong[name] = value;
        let (status, fault) = cloud.patch("p1", &id, add(&here, with(&wrong))).await;
        assert_eq!(status, expected, "{name}: {fault}");
    }
    let (status, image) = cloud.patch("p1", &id, add(&here, with(&claim))).await;
    assert_eq!(
        (status, &image["status"]),
        (200, &json!("active")),
        "{image}"
    );
    assert_eq!(
        (&image["checksum"], &image["os_hash_value"]),
        (&claim["checksum"], &claim["os_hash_value"])
    );
    assert_eq!(
        image["locations"],
        json!([{"url": here, "metadata": {"store": "web"}}])
    );
    let second = format!("{here}#new");
    for (name, value) in [
        ("checksum", "2".repeat(32)),
        ("os_hash_value", "beefdead".repeat(16)),
        ("os_hash_algo", "sha256".to_string()),
    ] {
        let mut other = claim.clone();
        other[name] = json!(value);
        assert_eq!(
            cloud.patch("p1", &id, add(&second, with(&other))).await.0,
            409,
            "{name}"
        );
    }
    assert_eq!(
        cloud.patch("p1", &id, add(&second, with(&claim))).await.0,
        200
    );
    // Of data that is there nothing new is believed.
    let uploaded = cloud.image("p1", json!({})).await;
    assert_eq!(
        cloud.patch("p1", &uploaded, add(&here, json!({}))).await.0,
        200
    );
    assert_eq!(
        cloud
            .patch("p1", &uploaded, add(&second, with(&claim)))
            .await
            .0,
        409
    );
}

#[tokio::test]
async fn places_that_nobody_sees_are_nobodys_to_change() {
    let web = Web::start(b"data".to_vec()).await;
    let hidden = Conf {
        show_multiple_locations: false,
        show_image_direct_url: false,
        ..conf(web.port)
    };
    let cloud = Cloud::with(hidden).await;
    let id = cloud.image("p1", json!({})).await;
    cloud.upload("p1", &id, "data".to_string()).await;
    let image = cloud.show(&id).await;
    assert_eq!(
        (&image["locations"], &image["direct_url"]),
        (&Value::Null, &Value::Null)
    );
    for change in [
        add(&web.uri("/image"), json!({})),
        json!([{"op": "replace", "path": "/locations", "value": []}]),
        json!([{"op": "remove", "path": "/locations/0"}]),
    ] {
        let (status, fault) = cloud.patch("admin", &id, change.clone()).await;
        assert_eq!(status, 403, "{change}: {fault}");
        assert!(fault.to_string().contains("invisible"), "{fault}");
    }
}

/// The new way: without a claim nothing is waited for.
#[tokio::test]
async fn a_location_without_claims_is_usable_before_it_was_read() {
    let web = Web::start(vec![7; 1 << 20]).await;
    let cloud = Cloud::with(conf(web.port)).await;
    let id = cloud.image("p1", json!({})).await;
    let path = format!("/v2/images/{id}/locations");
    let body = json!({"url": web.uri("/slow")});
    assert_eq!(
        cloud.ask("p1", "POST", &path, Some(body.clone())).await.0,
        202
    );
    let patience = Duration::from_secs(60);
    let wait = async |done: &dyn Fn(&Value) -> bool| {
        let step = Duration::from_millis(20);
        let waited = oslo_service::wait_until(patience, step, async || {
            let image = cloud.show(&id).await;
            Ok(done(&image).then_some(image))
        });
        waited.await.unwrap()
    };
    let image = wait(&|image| image["status"] == "active").await;
    assert_eq!(
        (
            &image["os_hash_algo"],
            &image["os_hash_value"],
            &image["size"]
        ),
        (&json!("sha512"), &Value::Null, &json!(1 << 20))
    );
    assert_eq!(tasks(&cloud, &id).await[0]["status"], "processing");
    web.go.notify_one();
    let image = wait(&|image| image["os_hash_value"] != Value::Null).await;
    assert_eq!(image["status"], "active");
    cloud.imported().await;
    assert_eq!(tasks(&cloud, &id).await[0]["status"], "success");
    // Whoever deletes it meanwhile waits for nothing.
    let id = cloud.image("p1", json!({})).await;
    let path = format!("/v2/images/{id}/locations");
    assert_eq!(cloud.ask("p1", "POST", &path, Some(body)).await.0, 202);
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
        .await;
    web.go.notify_one();
    cloud.imported().await;
    assert_eq!(cloud.files_of("staging"), Vec::<String>::new());
}

#[tokio::test]
async fn hashes_are_believed_where_nobody_shall_compute_them() {
    let web = Web::start(b"data".to_vec()).await;
    let trusting = Conf {
        do_secure_hash: false,
        ..conf(web.port)
    };
    let cloud = Cloud::with(trusting).await;
    let claim = json!({"os_hash_algo": "sha256", "os_hash_value": "ab".repeat(32)});
    for (claim, value) in [
        (claim.clone(), claim["os_hash_value"].clone()),
        (Value::Null, Value::Null),
    ] {
        let id = cloud.image("p1", json!({})).await;
        let path = format!("/v2/images/{id}/locations");
        let body = json!({"url": web.uri("/image"), "validation_data": claim});
        assert_eq!(cloud.ask("p1", "POST", &path, Some(body)).await.0, 202);
        cloud.imported().await;
        let image = cloud.show(&id).await;
        assert_eq!(
            (
                &image["status"],
                &image["size"],
                &image["os_hash_value"],
                &image["checksum"]
            ),
            (&json!("active"), &json!(4), &value, &Value::Null)
        );
        let file = format!("/v2/images/{id}/file");
        let answer = cloud.send("p1", "GET", &file, &[], Body::Empty);
        assert_eq!(answer.await.bytes, b"data");
    }
}
