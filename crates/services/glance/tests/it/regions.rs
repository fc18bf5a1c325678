//! glance-download: one cloud with two regions, each with a glance of its own.

use crate::cloud::Cloud;
use crate::imports::{bytes, import, tasks};
use crate::web::Web;
use glance::Conf;
use glance::periodic::uploads::Uploads;
use oslo_http::{Endpoint, ServerOptions};
use oslo_service::Reconciler;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn conf() -> Conf {
    let methods = ["glance-direct", "glance-download"];
    Conf {
        enabled_import_methods: methods.map(str::to_string).to_vec(),
        ..Conf::default()
    }
}

fn download(region: &str, id: &str) -> Value {
    json!({"method": {"name": "glance-download", "glance_region": region, "glance_image_id": id}})
}

/// Lets a glance be reached over HTTP, as long as the guard lives.
async fn served(cloud: &Cloud) -> (String, impl Drop) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let endpoint: Arc<dyn Endpoint> = Arc::clone(&cloud.endpoint);
    tokio::spawn(oslo_http::serve(
        listener,
        endpoint,
        ServerOptions::default(),
        stop.clone(),
    ));
    (url, stop.drop_guard())
}

/// Waits until the image is what it shall be.
async fn becomes(cloud: &Cloud, id: &str, status: &str) {
    let patience = Duration::from_secs(60);
    let waited = oslo_service::wait_until(patience, Duration::from_millis(20), async || {
        let done = cloud.status(id).await == status;
        Ok(done.then_some(()))
    });
    waited.await.unwrap();
    cloud.imported().await;
}

async fn complaint(cloud: &Cloud, id: &str) -> String {
    let task = &tasks(cloud, id).await[0];
    assert_eq!(task["status"], "failure", "{task}");
    task["message"].as_str().unwrap().to_string()
}

#[tokio::test]
async fn an_image_comes_from_another_region() {
    let (here, there) = (Cloud::with(conf()).await, Cloud::new().await);
    let (url, _serving) = served(&there).await;
    // Catalogs have the version or not.
    *here.identity.regions.lock().unwrap() = vec![("RegionTwo".into(), format!("{url}/v2/"))];
    let extra =
        json!({"hw_disk_bus": "scsi", "os_distro": "debian", "secret": "s", "os_type": "linux"});
    let source = there.image("p1", extra).await;
    assert_eq!(
        there
            .upload("p1", &source, "far away".to_string())
            .await
            .status,
        204
    );

    let plain = json!({"disk_format": "qcow2", "hw_disk_bus": "ide"});
    let id = here.image("p1", plain).await;
    let (status, fault) = import(&here, "p1", &id, download("regiontwo", &source)).await;
    assert_eq!(status, 202, "{fault}");
    becomes(&here, &id, "active").await;
    let image = here.show(&id).await;
    // What the data are is theirs to say; other properties stay at home.
    assert_eq!(
        (
            &image["disk_format"],
            &image["container_format"],
            &image["size"]
        ),
        (&json!("raw"), &json!("bare"), &json!(8))
    );
    assert_eq!(
        (
            &image["hw_disk_bus"],
            &image["os_distro"],
            &image["os_type"],
            &image["secret"]
        ),
        (
            &json!("scsi"),
            &json!("debian"),
            &json!("linux"),
            &Value::Null
        )
    );
    assert_eq!(
        image["os_hash_value"],
        there.show(&source).await["os_hash_value"]
    );
    assert_eq!(image["os_glance_importing_to_stores"], "");
    assert_eq!(bytes(&here, &id).await, b"far away");
    assert_eq!(tasks(&here, &id).await[0]["status"], "success");
    assert_eq!(here.files_of("staging"), Vec::<String>::new());
    // The way there is found with the caller's own token.
    assert_eq!(*here.identity.asked.lock().unwrap(), ["p1"]);

    // Only what the caller may see there can be brought here.
    let private = there.image("p2", json!({"visibility": "private"})).await;
    there.upload("p2", &private, "not yours".to_string()).await;
    let queued = there.image("p1", json!({})).await;
    for (region, source, word) in [
        ("RegionTwo", &private, "No image found"),
        ("RegionTwo", &queued, "should be active instead of queued"),
        (
            "RegionThree",
            &source,
            "RegionThree glance endpoint not found",
        ),
        ("RegionOne", &source, "does not answer"),
    ] {
        let id = here.image("p1", json!({})).await;
        assert_eq!(
            import(&here, "p1", &id, download(region, source)).await.0,
            202
        );
        becomes(&here, &id, "queued").await;
        let words = complaint(&here, &id).await;
        assert!(words.contains(word), "{word}: {words}");
        assert_eq!(here.show(&id).await["os_glance_failed_import"], "file");
        // It can be tried again.
        let right = download("RegionTwo", &source.clone());
        let again = import(&here, "p1", &id, right).await;
        assert_eq!(again.0, 202, "{}", again.1);
        here.ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
            .await;
    }
}

#[tokio::test]
async fn requests_that_cannot_be() {
    let cloud = Cloud::with(conf()).await;
    let id = cloud.image("p1", json!({})).await;
    let named = |extra: Value| {
        let mut method = json!({"name": "glance-download"});
        for (name, value) in extra.as_object().unwrap() {
            method[name] = value.clone();
        }
        json!({"method": method})
    };
    let uuid = base::new_id();
    for body in [
        named(json!({})),
        named(json!({"glance_region": "r"})),
        named(json!({"glance_image_id": uuid})),
        named(json!({"glance_region": "r", "glance_image_id": "../secrets"})),
        named(json!({"glance_region": "r", "glance_image_id": uuid, "uri": "http://x/"})),
    ] {
        let (status, fault) = import(&cloud, "p1", &id, body.clone()).await;
        assert_eq!(status, 400, "{body}: {fault}");
    }
    let other = Cloud::new().await;
    let id = other.image("p1", json!({})).await;
    let (status, _) = import(&other, "p1", &id, download("r", &uuid)).await;
    assert_eq!(status, 400, "it is off unless switched on");
}

/// The token dies with the process that has it: nobody else can go on, and somebody says so.
#[tokio::test]
async fn a_fetch_whose_process_dies_ends() {
    let record = json!({"id": base::new_id(), "status": "active", "visibility": "private",
        "size": 10, "disk_format": "raw", "container_format": "bare"});
    let web = Web::start(record.to_string().into_bytes()).await;
    let cloud = Cloud::with(conf()).await;
    // A server that stops half way through every answer.
    let slow = vec![("RegionTwo".into(), web.uri("/slow?"))];
    *cloud.identity.regions.lock().unwrap() = slow;
    let id = cloud.image("p1", json!({})).await;
    let body = download("RegionTwo", &base::new_id());
    assert_eq!(import(&cloud, "p1", &id, body.clone()).await.0, 202);
    becomes(&cloud, &id, "importing").await;
    assert_eq!(import(&cloud, "p1", &id, body).await.0, 409);
    // Another process looks: the fetch is alive as long as its lease.
    let other = cloud.again().await;
    Uploads::new(&other.state).run().await.unwrap();
    assert_eq!(cloud.status(&id).await, "importing");
    cloud.clock.advance(Duration::from_secs(121));
    Uploads::new(&other.state).run().await.unwrap();
    assert_eq!(cloud.status(&id).await, "queued");
    let words = complaint(&cloud, &id).await;
    assert!(words.contains("ended before"), "{words}");
}
