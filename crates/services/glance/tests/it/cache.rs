//! The image cache, through its management API and through downloads.

use crate::cloud::Cloud;
use crate::imports::{bytes, table};
use crate::web::Web;
use glance::Conf;
use glance::periodic::cache::Caching;
use oslo_http::{Body, Bytes};
use oslo_service::Reconciler;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn conf() -> Conf {
    Conf {
        image_cache_dir: Some(
            std::env::temp_dir().join(format!("glance-cache-{}", base::new_id())),
        ),
        worker_self_reference_url: Some("http://one:9292".to_string()),
        ..Conf::default()
    }
}

struct Cached {
    cloud: Cloud,
    folder: PathBuf,
}

impl Drop for Cached {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Cached {
    async fn with(conf: Conf) -> Cached {
        let folder = conf.image_cache_dir.clone().unwrap();
        let cloud = Cloud::with(conf).await;
        Cached { cloud, folder }
    }

    async fn image(&self, data: &str) -> String {
        let id = self.cloud.image("p1", json!({})).await;
        let answer = self.cloud.upload("p1", &id, data.to_string()).await;
        assert_eq!(answer.status, 204);
        id
    }

    async fn list(&self) -> Value {
        self.cloud.ok("admin", "GET", "/v2/cache", None).await
    }

    async fn ids(&self) -> Vec<String> {
        let list = self.list().await;
        let cached = list["cached_images"].as_array().unwrap().clone();
        let id = |image: Value| image["image_id"].as_str().unwrap().to_string();
        cached.into_iter().map(id).collect()
    }

    /// Waits until just these are cached, and none is queued.
    async fn holds(&self, ids: &[&String]) {
        let mut wanted: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
        wanted.sort();
        let same = async || {
            let list = self.list().await;
            let mut have = self.ids().await;
            have.sort();
            // A file goes a moment after its row.
            let same = have == wanted && self.files().len() == wanted.len();
            Ok((same && list["queued_images"] == json!([])).then_some(()))
        };
        let (patience, pause) = (Duration::from_secs(30), Duration::from_millis(10));
        oslo_service::wait_until(patience, pause, same)
            .await
            .unwrap();
    }

    fn files(&self) -> Vec<String> {
        files(&self.folder)
    }
}

/// The files of images in a cache's folder.
fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "node").collect()
}

#[tokio::test]
async fn without_a_folder_there_is_no_cache() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    for (method, path) in [
        ("GET", "/v2/cache".to_string()),
        ("DELETE", "/v2/cache".to_string()),
        ("PUT", format!("/v2/cache/{id}")),
        ("DELETE", format!("/v2/cache/{id}")),
        ("POST", "/v2/cache/clean".to_string()),
        ("POST", "/v2/cache/prune".to_string()),
        ("GET", format!("/v2/cache/nodes/{id}")),
    ] {
        assert_eq!(
            cloud.ask("admin", method, &path, None).await.0,
            404,
            "{method} {path}"
        );
        assert_eq!(
            cloud.ask("p1", method, &path, None).await.0,
            403,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_queued_image_is_cached_at_once_and_read_from_there() {
    let cached = Cached::with(conf()).await;
    let cloud = &cached.cloud;
    let (one, two) = (cached.image("one").await, cached.image("two").await);
    assert_eq!(
        cached.list().await,
        json!({"cached_images": [], "queued_images": []})
    );
    assert_eq!(
        cloud
            .ask("admin", "PUT", &format!("/v2/cache/{one}"), None)
            .await
            .0,
        202
    );
    cached.holds(&[&one]).await;
    let held = &cached.list().await["cached_images"][0];
    assert_eq!((&held["size"], &held["hits"]), (&json!(3), &json!(0)));
    assert!(held["last_accessed"].as_f64().unwrap() > 1.7e9 && held["last_modified"].is_f64());
    // Nothing but the cache has it now.
    for file in cloud.files() {
        std::fs::write(cloud.folder.join(file), "???").unwrap();
    }
    assert_eq!(bytes(cloud, &one).await, b"one");
    let path = format!("/v2/images/{one}/file");
    let part = cloud
        .send("p1", "GET", &path, &[("range", "bytes=1-2")], Body::Empty)
        .await;
    assert_eq!((part.status, part.bytes), (206, b"ne".to_vec()));
    assert_eq!(cached.list().await["cached_images"][0]["hits"], json!(2));
    let nodes = |id: &str| format!("/v2/cache/nodes/{id}");
    assert_eq!(
        cloud.ok("admin", "GET", &nodes(&one), None).await,
        json!(["http://one:9292"])
    );
    assert_eq!(
        cloud.ok("admin", "GET", &nodes(&two), None).await,
        json!([])
    );
    // Data that is not what it was is not kept: the second image's file was changed above.
    let answer = cloud
        .ask("admin", "PUT", &format!("/v2/cache/{two}"), None)
        .await;
    assert_eq!(answer.0, 202);
    cached.holds(&[&one]).await;
    assert_eq!(cached.files().len(), 1);
    // With the image goes its copy.
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{one}"), None)
        .await;
    cached.holds(&[]).await;
    assert_eq!(cached.files(), Vec::<String>::new());
}

#[tokio::test]
async fn only_what_is_there_is_queued_and_only_administrators_ask() {
    let cached = Cached::with(conf()).await;
    let cloud = &cached.cloud;
    let empty = cloud.image("p1", json!({})).await;
    let none = base::new_id();
    let path = |id: &str| format!("/v2/cache/{id}");
    let status =
        async |token: &str, method: &str, path: &str| cloud.ask(token, method, path, None).await.0;
    assert_eq!(status("admin", "PUT", &path(&empty)).await, 400);
    assert_eq!(status("admin", "PUT", &path(&none)).await, 404);
    assert_eq!(status("admin", "PUT", &path("no-id")).await, 404);
    assert_eq!(status("admin", "DELETE", &path(&none)).await, 404);
    assert_eq!(
        status("admin", "GET", &format!("/v2/cache/nodes/{none}")).await,
        404
    );
    assert_eq!(status("p1", "PUT", &path(&empty)).await, 403);
    assert_eq!(status("p1", "GET", "/v2/cache").await, 403);
    assert_eq!(status("p1", "DELETE", "/v2/cache").await, 403);
    let target = [("x-image-cache-clear-target", "both")];
    let answer = cloud
        .send("admin", "DELETE", "/v2/cache", &target, Body::Empty)
        .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_download_leaves_a_copy_and_clearing_takes_it() {
    let cached = Cached::with(conf()).await;
    let cloud = &cached.cloud;
    let (one, two) = (cached.image("one").await, cached.image("two").await);
    // A part is no copy.
    let path = format!("/v2/images/{one}/file");
    let range = [("range", "bytes=0-1")];
    cloud.send("p1", "GET", &path, &range, Body::Empty).await;
    assert_eq!(bytes(cloud, &two).await, b"two");
    cached.holds(&[&two]).await;
    assert_eq!(bytes(cloud, &one).await, b"one");
    cached.holds(&[&one, &two]).await;
    let clear = async |target: &str| {
        let target = [("x-image-cache-clear-target", target)];
        let answer = cloud.send("admin", "DELETE", "/v2/cache", &target, Body::Empty);
        assert_eq!(answer.await.status, 204);
    };
    clear("queue").await;
    cached.holds(&[&one, &two]).await;
    assert_eq!(
        cloud
            .ask("admin", "DELETE", &format!("/v2/cache/{one}"), None)
            .await
            .0,
        204
    );
    cached.holds(&[&two]).await;
    clear("cache").await;
    cached.holds(&[]).await;
    assert_eq!(cached.files(), Vec::<String>::new());
    // The images themselves are as they were.
    assert_eq!(bytes(cloud, &one).await, b"one");
    cached.holds(&[&one]).await;
    clear("").await;
    cached.holds(&[]).await;
}

#[tokio::test]
async fn what_does_not_fit_goes_the_least_recently_used_first() {
    let cached = Cached::with(Conf {
        image_cache_max_size: 10,
        ..conf()
    })
    .await;
    let cloud = &cached.cloud;
    let step = || cloud.clock.advance(Duration::from_secs(1));
    let (one, two) = (cached.image("1111").await, cached.image("2222").await);
    let (three, large) = (
        cached.image("3333").await,
        cached.image("larger than all").await,
    );
    bytes(cloud, &one).await;
    cached.holds(&[&one]).await;
    step();
    bytes(cloud, &two).await;
    cached.holds(&[&one, &two]).await;
    step();
    // Used again, the first is younger than the second.
    bytes(cloud, &one).await;
    step();
    bytes(cloud, &three).await;
    cached.holds(&[&one, &three]).await;
    assert_eq!(cached.files().len(), 2);
    // What never fits drives nobody out.
    bytes(cloud, &large).await;
    assert_eq!(
        cloud
            .ask("admin", "PUT", &format!("/v2/cache/{large}"), None)
            .await
            .0,
        202
    );
    cached.holds(&[&one, &three]).await;
    let pruned = cloud.ok("admin", "POST", "/v2/cache/prune", None).await;
    assert_eq!(
        pruned,
        json!({"total_files_pruned": 0, "total_bytes_pruned": 0})
    );
    // A smaller cache on the same folder makes room when it is told to.
    let mut smaller = conf();
    smaller.image_cache_dir = Some(cached.folder.clone());
    smaller.image_cache_max_size = 5;
    let other = cloud.again_with(smaller).await;
    cached.holds(&[&three]).await;
    let pruned = other.ok("admin", "POST", "/v2/cache/prune", None).await;
    assert_eq!(pruned["total_files_pruned"], 0, "it did at its start");
}

#[tokio::test]
async fn what_a_crash_left_is_cleaned() {
    let cached = Cached::with(Conf {
        image_cache_stall_time: 0,
        ..conf()
    })
    .await;
    let cloud = &cached.cloud;
    let (one, two) = (cached.image("one").await, cached.image("two").await);
    for id in [&one, &two] {
        bytes(cloud, id).await;
    }
    cached.holds(&[&one, &two]).await;
    // A half-made copy, a whole one that no row tells of, and a row whose file is gone.
    let half = format!("{one}.{}.part", base::new_hex_id());
    std::fs::write(cached.folder.join(half), "on").unwrap();
    std::fs::write(
        cached.folder.join(format!("{one}.{}", base::new_hex_id())),
        "one",
    )
    .unwrap();
    let of_two = cached
        .files()
        .into_iter()
        .find(|f| f.starts_with(&two))
        .unwrap();
    std::fs::remove_file(cached.folder.join(of_two)).unwrap();
    assert_eq!(
        cloud.ask("admin", "POST", "/v2/cache/clean", None).await.0,
        200
    );
    assert_eq!(cached.ids().await, vec![one.clone()]);
    assert_eq!(cached.files().len(), 1);
    assert_eq!(bytes(cloud, &two).await, b"two");
}

#[tokio::test]
async fn a_download_that_breaks_off_leaves_no_copy() {
    let data = vec![7; 3 << 20];
    let web = Web::start(data.clone()).await;
    let cached = Cached::with(Conf {
        enabled_backends: table(&[("file", "file"), ("web", "http")]),
        allowed_hosts: vec!["127.0.0.1".to_string()],
        allowed_ports: vec![web.port.to_string()],
        ..conf()
    })
    .await;
    let cloud = &cached.cloud;
    let id = cloud.image("p1", json!({})).await;
    let body = json!({"url": web.uri("/image")});
    let path = format!("/v2/images/{id}/locations");
    assert_eq!(cloud.ask("p1", "POST", &path, Some(body)).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.status(&id).await, "active");
    // A reader who leaves after the first piece.
    let request = http::Request::get(format!("/v2/images/{id}/file"))
        .header("host", "glance")
        .header("x-auth-token", "p1");
    let reply = cloud
        .endpoint
        .call(request.body(Body::Empty).unwrap())
        .await;
    let mut pieces = reply.body.into_stream();
    let first: Bytes = futures::StreamExt::next(&mut pieces)
        .await
        .unwrap()
        .unwrap();
    assert!(!first.is_empty() && first.len() < data.len());
    drop(pieces);
    let gone = async || Ok(cached.files().is_empty().then_some(()));
    let (patience, pause) = (Duration::from_secs(30), Duration::from_millis(10));
    oslo_service::wait_until(patience, pause, gone)
        .await
        .unwrap();
    cached.holds(&[]).await;
    // One who stays leaves a copy, which the next one gets.
    assert!(bytes(cloud, &id).await == data);
    cached.holds(&[&id]).await;
    assert!(bytes(cloud, &id).await == data);
    assert_eq!(cached.list().await["cached_images"][0]["hits"], json!(1));
    // A queue that a dead process left is taken up.
    Caching::new(&cloud.state).run().await.unwrap();
    cached.holds(&[&id]).await;
}
