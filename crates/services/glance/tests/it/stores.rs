//! What every store must do, done by each: folders, and S3 and Swift as upstream's own Swift server speaks them
//! (`tests/compat/object_store.py`). Keystone is played here where Swift's third version of logging in is wanted; the token
//! that it gives is Swift's.

use crate::cloud::Cloud;
use crate::imports::{bytes, table};
use base::{Kind, Timestamp};
use futures::StreamExt;
use glance::periodic::uploads::Uploads;
use glance::stores::{Incoming, Store, Stores, copy};
use glance::{Conf, StoreConf};
use oslo_http::{Body, Bytes};
use oslo_service::Reconciler;
use oslo_testing::upstream::Upstream;
use sdk::Outside;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const MIB: usize = 1 << 20;

/// Upstream's Swift over a folder of its own.
struct Swift {
    _server: Upstream,
    url: String,
    folder: PathBuf,
}

impl Drop for Swift {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Swift {
    async fn start() -> Swift {
        let folder = std::env::temp_dir().join(format!("glance-swift-{}", base::new_id()));
        std::fs::create_dir_all(&folder).unwrap();
        let script = "object_store.py";
        let mut server = Upstream::run("swift", script, &[folder.to_str().unwrap()]).unwrap();
        let told = server.line().await.unwrap();
        Swift {
            _server: server,
            url: told["url"].as_str().unwrap().to_string(),
            folder,
        }
    }

    fn s3(&self) -> StoreConf {
        StoreConf {
            s3_store_host: self.url.clone(),
            s3_store_access_key: "glance:image".into(),
            s3_store_secret_key: "secret".into(),
            s3_store_bucket: "images".to_string(),
            s3_store_create_bucket_on_put: true,
            s3_store_large_object_chunk_size: 5,
            ..StoreConf::default()
        }
    }

    /// Segments of a mebibyte, and one object up to two.
    fn swift(&self) -> StoreConf {
        StoreConf {
            swift_store_auth_version: "1".to_string(),
            swift_store_auth_address: format!("{}/auth/v1.0", self.url),
            swift_store_user: "glance:image".to_string(),
            swift_store_key: "secret".into(),
            swift_store_create_container_on_put: true,
            swift_store_large_object_size: 2,
            swift_store_large_object_chunk_size: 1,
            ..StoreConf::default()
        }
    }

    /// What is in a container, by Swift's own list.
    async fn objects(&self, container: &str) -> Vec<String> {
        let outside = Outside::new(None, false).unwrap();
        let login = http::Request::get(format!("{}/auth/v1.0", self.url))
            .header("x-auth-user", "glance:image")
            .header("x-auth-key", "secret");
        let login = outside
            .send(login.body(Body::Empty).unwrap())
            .await
            .unwrap();
        let header = |name: &str| login.headers[name].to_str().unwrap().to_string();
        let list = http::Request::get(format!("{}/{container}", header("x-storage-url")))
            .header("x-auth-token", header("x-auth-token"));
        let list = outside.send(list.body(Body::Empty).unwrap()).await.unwrap();
        if list.status.as_u16() == 404 {
            return Vec::new();
        }
        let names = list.body.collect(MIB).await.unwrap();
        let names = String::from_utf8(names.to_vec()).unwrap();
        names.lines().map(str::to_string).collect()
    }
}

/// As much of keystone as a login asks for; it knows one user, and gives the token that Swift gave.
async fn keystone(swift: &Swift) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v3", listener.local_addr().unwrap());
    let outside = Outside::new(None, false).unwrap();
    let url = swift.url.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"}") {
                let mut some = [0; 4096];
                match socket.read(&mut some).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => asked.extend_from_slice(&some[..n]),
                }
            }
            let asked = String::from_utf8(asked).unwrap();
            let body = asked.split_once("\r\n\r\n").unwrap_or_default().1;
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let user = &body["auth"]["identity"]["password"]["user"];
            let scope = &body["auth"]["scope"]["project"];
            let wanted =
                json!({"name": "image", "domain": {"id": "default"}, "password": "secret"});
            let project = json!({"name": "glance", "domain": {"name": "Default"}});
            let known =
                asked.starts_with("POST /v3/auth/tokens ") && *user == wanted && *scope == project;
            let login = http::Request::get(format!("{url}/auth/v1.0"))
                .header("x-auth-user", "glance:image")
                .header("x-auth-key", "secret");
            let login = outside
                .send(login.body(Body::Empty).unwrap())
                .await
                .unwrap();
            let header = |name: &str| login.headers[name].to_str().unwrap().to_string();
            let endpoint = |interface: &str, url: String| json!({"interface": interface, "region_id": "RegionOne", "url": url});
            let said = json!({"token": {"expires_at": "2999-01-01T00:00:00.000000Z", "catalog": [
                {"type": "image", "endpoints": [endpoint("public", "http://127.0.0.1:1".to_string())]},
                {"type": "object-store", "endpoints": [
                    endpoint("internal", "http://127.0.0.1:1".to_string()),
                    endpoint("public", header("x-storage-url")),
                ]},
            ]}});
            let (status, said) = match known {
                true => ("201 Created", said.to_string()),
                false => ("401 Unauthorized", "{}".to_string()),
            };
            let reply = format!(
                "HTTP/1.1 {status}\r\nX-Subject-Token: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
                header("x-auth-token"),
                said.len()
            );
            let _ = socket.write_all(reply.as_bytes()).await;
        }
    });
    address
}

/// A store of this kind; beside it a folder.
fn open(kind: &str, conf: StoreConf) -> (Arc<dyn Store>, Stores, PathBuf) {
    let folder = std::env::temp_dir().join(format!("glance-stores-{}", base::new_id()));
    let stores = Stores::open(&Conf {
        filesystem_store_datadir: folder.join("images"),
        enabled_backends: table(&[("file", "file"), ("it", kind)]),
        stores: [("it".to_string(), conf)].into(),
        ..Conf::default()
    })
    .unwrap();
    let it = Arc::clone(stores.chosen("it").unwrap().writable().unwrap());
    (it, stores, folder)
}

fn name() -> String {
    format!("{}.{}", base::new_id(), base::new_hex_id())
}

/// Bytes that are nowhere the same for long; made quickly also without optimisation.
fn data(size: usize) -> Bytes {
    let block: Vec<u8> = (0..4096u32)
        .map(|i| (i.wrapping_mul(i) >> 3) as u8)
        .collect();
    let mut data = Vec::with_capacity(size + block.len());
    while data.len() < size {
        data.extend_from_slice(&(data.len() ^ size).to_be_bytes());
        data.extend_from_slice(&block);
    }
    data.truncate(size);
    data.into()
}

async fn write(incoming: &mut dyn Incoming, data: &Bytes) {
    // Pieces that fit nothing.
    for at in (0..data.len()).step_by(700_001) {
        let piece = data.slice(at..data.len().min(at + 700_001));
        incoming.write(piece).await.unwrap();
    }
}

async fn put(store: &dyn Store, name: &str, data: &Bytes, known: bool) {
    let size = known.then_some(data.len() as u64);
    let mut incoming = store.begin(name, size).await.unwrap();
    write(&mut *incoming, data).await;
    incoming.end().await.unwrap();
    incoming.keep(None).await.unwrap();
}

async fn read(store: &dyn Store, name: &str, from: u64, length: u64) -> Vec<u8> {
    let body = store.read(name, from, length).await.unwrap();
    assert!(body.length().is_none_or(|n| n == length));
    body.collect(64 * MIB).await.unwrap().to_vec()
}

async fn names(store: &dyn Store) -> Vec<String> {
    let mut names: Vec<String> = store
        .names("")
        .await
        .unwrap()
        .into_iter()
        .map(|n| n.0)
        .collect();
    names.sort();
    names
}

/// The suite.
async fn conforms(store: &dyn Store) {
    // Whole, in parts, and exactly at their borders; what is read is what was written, from anywhere.
    for (size, known) in [
        (0, true),
        (0, false),
        (1, true),
        (1, false),
        (5 * MIB, false),
        (5 * MIB + 1, true),
        (11 * MIB + 3, false),
    ] {
        let (name, data) = (name(), data(size));
        put(store, &name, &data, known).await;
        assert!(
            read(store, &name, 0, size as u64).await == data,
            "{size} {known}"
        );
        for (from, length) in [
            (0, 1),
            (MIB - 1, 2),
            (5 * MIB - 1, 3),
            (size.saturating_sub(2), 2),
        ] {
            if from + length <= size {
                let part = read(store, &name, from as u64, length as u64).await;
                assert_eq!(part, data[from..from + length], "{size}: {from}+{length}");
            }
        }
        let others = if name.starts_with('a') { "b" } else { "a" };
        assert_eq!(store.names(others).await.unwrap(), []);
        let listed = store.names(&name[..1]).await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].0, name);
        let hour = Duration::from_secs(3600);
        assert!(
            listed[0].1 > Timestamp::now().minus(hour) && listed[0].1 < Timestamp::now().plus(hour)
        );
        store.remove(&name).await.unwrap();
        // Twice is fine.
        store.remove(&name).await.unwrap();
        assert_eq!(names(store).await, Vec::<String>::new(), "{size} {known}");
    }

    // What is missing is not the caller's fault.
    let missing = store.read(&name(), 0, 5).await.err().unwrap();
    assert_eq!(missing.kind(), Kind::Unavailable);

    // What breaks off, with or without a word, leaves nothing that its removal does not find.
    for size in [3, 6 * MIB] {
        for known in [None, Some(20 * MIB as u64)] {
            let (forgotten, dropped) = (name(), name());
            let mut incoming = store.begin(&forgotten, known).await.unwrap();
            write(&mut *incoming, &data(size)).await;
            incoming.forget().await;
            store.remove(&forgotten).await.unwrap();
            let mut incoming = store.begin(&dropped, known).await.unwrap();
            write(&mut *incoming, &data(size)).await;
            drop(incoming);
            settled(store, &dropped).await;
        }
    }

    // Neighbours stay.
    let (one, two) = (name(), name());
    put(store, &one, &data(6 * MIB), true).await;
    put(store, &two, &data(6 * MIB), false).await;
    store.remove(&one).await.unwrap();
    assert_eq!(names(store).await, vec![two.clone()]);
    assert!(read(store, &two, 0, 6 * MIB as u64).await == data(6 * MIB));
    store.remove(&two).await.unwrap();
}

/// What was on its way when its sender vanished may arrive yet: it is removed as the reconciler does it, until it is gone.
async fn settled(store: &dyn Store, name: &str) {
    let gone = async || {
        store.remove(name).await?;
        Ok(names(store).await.is_empty().then_some(()))
    };
    let (patience, pause) = (Duration::from_secs(60), Duration::from_millis(50));
    oslo_service::wait_until(patience, pause, gone)
        .await
        .unwrap();
}

/// Between stores, both ways.
async fn copies(store: &Arc<dyn Store>, stores: &Stores) {
    let folder = stores.default().writable().unwrap();
    let (name, data) = (name(), data(7 * MIB));
    put(&**folder, &name, &data, true).await;
    let size = data.len() as u64;
    copy(&**folder, &name, &**store, &name, size, None)
        .await
        .unwrap();
    folder.remove(&name).await.unwrap();
    copy(&**store, &name, &**folder, &name, size, None)
        .await
        .unwrap();
    assert!(read(&**folder, &name, 0, size).await == data);
    // A source that is shorter than it should be is no copy.
    let short = copy(&**folder, &name, &**store, &name, size + 1, None).await;
    assert_eq!(short.unwrap_err().kind(), Kind::Unavailable);
    store.remove(&name).await.unwrap();
    assert_eq!(names(&**store).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_conforms() {
    let (store, stores, folder) = open("file", StoreConf::default());
    conforms(&*store).await;
    copies(&store, &stores).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn s3_conforms() {
    let swift = Swift::start().await;
    let (store, stores, folder) = open("s3", swift.s3());
    conforms(&*store).await;
    copies(&store, &stores).await;
    assert_eq!(swift.objects("images").await, Vec::<String>::new());
    // No part of an upload is left either.
    assert_eq!(swift.objects("images+segments").await, Vec::<String>::new());
    let url = store.url("x");
    assert!(
        url.starts_with("s3://127.0.0.1:") && url.ends_with("/images/x"),
        "{url}"
    );
    // Another key is refused, and nobody is told which.
    let wrong = StoreConf {
        s3_store_secret_key: "wr0ng".into(),
        s3_store_create_bucket_on_put: false,
        ..swift.s3()
    };
    let (store, _, other) = open("s3", wrong);
    let refused = store.read(&name(), 0, 1).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::Internal);
    assert!(!format!("{refused:?}").contains("wr0ng"));
    for folder in [folder, other] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn swift_conforms() {
    let swift = Swift::start().await;
    let (store, stores, folder) = open("swift", swift.swift());
    conforms(&*store).await;
    copies(&store, &stores).await;
    assert_eq!(swift.objects("glance").await, Vec::<String>::new());
    assert_eq!(store.url("x"), "swift+config://it/glance/x");
    // What the server has is compared with what was sent.
    let mut incoming = store.begin(&name(), Some(5)).await.unwrap();
    incoming.write(Bytes::from_static(b"hello")).await.unwrap();
    incoming.end().await.unwrap();
    let wrong = incoming
        .keep(Some("00000000000000000000000000000000"))
        .await;
    assert_eq!(wrong.unwrap_err().kind(), Kind::Unavailable);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn swift_is_found_in_keystones_catalog() {
    let swift = Swift::start().await;
    let third = StoreConf {
        swift_store_auth_version: "3".to_string(),
        swift_store_auth_address: keystone(&swift).await,
        swift_store_project_domain_name: "Default".to_string(),
        swift_store_region: "RegionOne".to_string(),
        ..swift.swift()
    };
    let (store, _, folder) = open("swift", third.clone());
    let (name, data) = (name(), data(3 * MIB));
    put(&*store, &name, &data, true).await;
    assert!(read(&*store, &name, 0, 3 * MIB as u64).await == data);
    assert_eq!(
        swift.objects("glance").await.len(),
        4,
        "three segments and their list"
    );
    let (store, _, other) = open(
        "swift",
        StoreConf {
            swift_store_key: "wr0ng".into(),
            ..third
        },
    );
    let refused = store.read(&name, 0, 1).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::Internal);
    assert!(!format!("{refused:?}").contains("wr0ng"));
    for folder in [folder, other] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn mistakes_are_told_to_the_operator() {
    let told = |kind: &str, conf: StoreConf| {
        let conf = Conf {
            filesystem_store_datadir: std::env::temp_dir().join("glance-stores-none/images"),
            enabled_backends: table(&[("file", "file"), ("it", kind)]),
            stores: [("it".to_string(), conf)].into(),
            ..Conf::default()
        };
        Stores::open(&conf).err().unwrap().message().to_string()
    };
    let none = StoreConf::default;
    assert_eq!(
        told("s3", none()),
        "[glance.stores.it] s3_store_host is missing"
    );
    assert_eq!(
        told("swift", none()),
        "[glance.stores.it] swift_store_auth_address is missing"
    );
    assert!(told("ftp", none()).contains("there are file, http, s3, swift"));
    let _ = std::fs::remove_dir_all(std::env::temp_dir().join("glance-stores-none"));
}

/// Two object stores beside a folder, the first of them the default.
fn both(swift: &Swift) -> Conf {
    Conf {
        enabled_backends: table(&[("file", "file"), ("s3", "s3"), ("swift", "swift")]),
        default_backend: "s3".to_string(),
        store_weights: table(&[("swift", "7")]),
        stores: [
            ("s3".to_string(), swift.s3()),
            ("swift".to_string(), swift.swift()),
        ]
        .into(),
        ..Conf::default()
    }
}

#[tokio::test]
async fn an_image_lives_in_object_stores() {
    let swift = Swift::start().await;
    let cloud = Cloud::with(both(&swift)).await;
    let id = cloud.image("p1", json!({})).await;
    let data = data(8 * MIB + 5);
    let pieces = data.chunks(333_333).map(Bytes::copy_from_slice);
    let pieces: Vec<_> = pieces.map(Ok).collect();
    let body = Body::stream(futures::stream::iter(pieces), None);
    let answer = cloud.upload("p1", &id, body).await;
    assert_eq!(answer.status, 204, "{}", answer.json());
    assert!(bytes(&cloud, &id).await == data);
    let path = format!("/v2/images/{id}/file");
    let range = [("range", "bytes=5242879-5242881")];
    let part = cloud.send("p1", "GET", &path, &range, Body::Empty).await;
    assert_eq!(
        (part.status, &part.bytes[..]),
        (206, &data[5_242_879..=5_242_881])
    );

    // Copied into the other stores, it is read where the weight is; the first copy can go.
    let body = json!({"method": {"name": "copy-image"}, "stores": ["swift", "file"]});
    cloud
        .ok(
            "admin",
            "POST",
            &format!("/v2/images/{id}/import"),
            Some(body),
        )
        .await;
    cloud.imported().await;
    let image = cloud.show(&id).await;
    assert_eq!(image["os_glance_failed_import"], "", "{image}");
    let mut stores: Vec<&str> = image["stores"].as_str().unwrap().split(',').collect();
    stores.sort();
    assert_eq!(stores, ["file", "s3", "swift"]);
    let listed = cloud
        .ok("admin", "GET", &format!("/v2/images/{id}/locations"), None)
        .await;
    let listed = listed.to_string();
    assert!(listed.contains("s3://") && listed.contains("swift+config://swift/glance/"));
    assert!(!listed.contains("secret"), "{listed}");
    cloud
        .ok("admin", "DELETE", &format!("/v2/stores/s3/{id}"), None)
        .await;
    assert_eq!(swift.objects("images").await, Vec::<String>::new());
    assert!(bytes(&cloud, &id).await == data);
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
        .await;
    assert_eq!(swift.objects("glance").await, Vec::<String>::new());
    assert_eq!(cloud.files_of("file"), Vec::<String>::new());

    // Administrators see what kind of stores there are; nobody sees keys.
    let detail = cloud
        .ok("admin", "GET", "/v2/info/stores/detail", None)
        .await;
    let stores = detail["stores"].as_array().unwrap();
    let of = |id: &str| stores.iter().find(|s| s["id"] == id).unwrap();
    assert_eq!(
        (
            &of("s3")["type"],
            &of("s3")["default"],
            &of("swift")["weight"]
        ),
        (&json!("s3"), &json!("true"), &json!(7))
    );
    assert_eq!(
        of("swift")["properties"],
        json!({"container": "glance", "large_object_size": 2, "large_object_chunk_size": 1})
    );
    assert!(!detail.to_string().contains("secret"), "{detail}");
}

#[tokio::test]
async fn what_breaks_on_its_way_to_an_object_store_leaves_nothing() {
    let swift = Swift::start().await;
    let cloud = Cloud::with(both(&swift)).await;
    let nothing = async || {
        let mut all = swift.objects("images").await;
        all.extend(swift.objects("images+segments").await);
        all.extend(swift.objects("glance").await);
        all
    };
    let path = |id: &str| format!("/v2/images/{id}/file");
    for store in ["s3", "swift"] {
        let headers = [
            ("content-type", "application/octet-stream"),
            ("accept", "application/json"),
            ("x-image-meta-store", store),
        ];
        let id = cloud.image("p1", json!({})).await;
        // The sender breaks off after what fills a part.
        let half = vec![
            Ok(data(6 * MIB)),
            Err(std::io::Error::other("the line is cut")),
        ];
        let body = Body::stream(futures::stream::iter(half), None);
        let answer = cloud.send("p1", "PUT", &path(&id), &headers, body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(nothing().await, Vec::<String>::new(), "{store}");
        // Less than was promised.
        let body = Body::stream(futures::stream::iter([Ok(data(MIB))]), Some(6 * MIB as u64));
        let answer = cloud.send("p1", "PUT", &path(&id), &headers, body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(nothing().await, Vec::<String>::new(), "{store}");
        // Not what it is said to be, which is known at the end.
        let mut lie = crate::data::qcow2(b"");
        lie.resize(6 * MIB, 0);
        let answer = cloud
            .send("p1", "PUT", &path(&id), &headers, Body::from(lie))
            .await;
        assert_eq!(answer.status, 415);
        assert_eq!(nothing().await, Vec::<String>::new(), "{store}");
        assert_eq!(cloud.status(&id).await, "queued");
        // The caller vanishes with the request.
        let endless = futures::stream::iter([Ok(data(6 * MIB))]).chain(futures::stream::pending());
        let endless = Body::stream(endless, None);
        let to = path(&id);
        let saving = async {
            while cloud.status(&id).await != "saving" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = cloud.send("p1", "PUT", &to, &headers, endless) => panic!("it ended"),
            () = saving => {}
        }
        let (patience, pause) = (Duration::from_secs(60), Duration::from_millis(50));
        let gone = async || {
            Uploads::new(&cloud.state).run().await?;
            Ok((cloud.status(&id).await == "queued").then_some(()))
        };
        oslo_service::wait_until(patience, pause, gone)
            .await
            .unwrap();
        let answer = cloud
            .send(
                "p1",
                "PUT",
                &path(&id),
                &headers,
                Body::from("whole".to_string()),
            )
            .await;
        assert_eq!(answer.status, 204);
        cloud
            .ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
            .await;
    }
    // Young strays are left to those who may still speak of them; others' objects are nobody's business.
    cloud.search_files().await;
}

#[tokio::test]
async fn a_store_that_is_down_is_told_and_others_go_on() {
    // Nobody listens there.
    let port = oslo_testing::port::free().unwrap();
    let down = StoreConf {
        s3_store_host: format!("http://127.0.0.1:{port}"),
        s3_store_access_key: "a".into(),
        s3_store_secret_key: "s3cr3t".into(),
        s3_store_bucket: "images".to_string(),
        ..StoreConf::default()
    };
    let cloud = Cloud::with(Conf {
        enabled_backends: table(&[("file", "file"), ("s3", "s3")]),
        stores: [("s3".to_string(), down)].into(),
        ..Conf::default()
    })
    .await;
    let id = cloud.image("p1", json!({})).await;
    let headers = [
        ("content-type", "application/octet-stream"),
        ("accept", "application/json"),
        ("x-image-meta-store", "s3"),
    ];
    let path = format!("/v2/images/{id}/file");
    let answer = cloud
        .send(
            "p1",
            "PUT",
            &path,
            &headers,
            Body::from("hello".to_string()),
        )
        .await;
    assert_eq!(answer.status, 503, "{}", answer.json());
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("s3cr3t"));
    assert_eq!(cloud.status(&id).await, "queued");
    assert_eq!(
        cloud.upload("p1", &id, "hello".to_string()).await.status,
        204
    );
    assert_eq!(bytes(&cloud, &id).await, b"hello");
}
