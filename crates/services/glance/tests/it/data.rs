//! Bytes up and down, broken and hostile.

use crate::cloud::Cloud;
use base::Timestamp;
use glance::db::{ImageRow, LocationRow};
use glance::periodic::uploads::Uploads;
use oslo_db::{eq, set};
use oslo_http::{Body, Bytes};
use oslo_service::Reconciler;
use serde_json::json;
use sha2::{Digest, Sha512};
use std::time::Duration;

fn file(id: &str) -> String {
    format!("/v2/images/{id}/file")
}

#[tokio::test]
async fn sixty_four_mebibytes_stream_through() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let piece = |i: u8| Bytes::from(vec![i; 1 << 20]);
    let stream = futures::stream::iter((0..64).map(move |i| Ok(piece(i))));
    let answer = cloud.upload("p1", &id, Body::stream(stream, None)).await;
    assert_eq!(answer.status, 204, "{:?}", answer.json());
    let image = cloud
        .ok("p1", "GET", &format!("/v2/images/{id}"), None)
        .await;
    let mut hash = Sha512::new();
    (0..64).for_each(|i| hash.update(piece(i)));
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        (
            &image["status"],
            &image["size"],
            &image["os_hash_value"],
            &image["os_hash_algo"]
        ),
        (
            &json!("active"),
            &json!(64 << 20),
            &json!(hex),
            &json!("sha512")
        )
    );
    assert_eq!(image["virtual_size"], json!(64 << 20));
    let all = cloud.send("p1", "GET", &file(&id), &[], Body::Empty).await;
    assert_eq!((all.status, all.bytes.len()), (200, 64 << 20));
    assert_eq!(
        all.headers["content-md5"].to_str().unwrap(),
        image["checksum"]
    );
    let range = [("range", "bytes=1048575-1048576")];
    let part = cloud
        .send("p1", "GET", &file(&id), &range, Body::Empty)
        .await;
    assert_eq!((part.status, part.bytes), (206, vec![0, 1]));
    assert_eq!(
        part.headers["content-range"],
        "bytes 1048575-1048576/67108864"
    );
    let beyond = [("range", "bytes=67108864-")];
    assert_eq!(
        cloud
            .send("p1", "GET", &file(&id), &beyond, Body::Empty)
            .await
            .status,
        416
    );
    // Data is uploaded once.
    assert_eq!(
        cloud.upload("p1", &id, "again".to_string()).await.status,
        409
    );
    cloud
        .ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
        .await;
    assert_eq!(cloud.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let pieces = vec![Ok(Bytes::from("half")), Err(std::io::Error::other("gone"))];
    let answer = cloud
        .upload("p1", &id, Body::stream(futures::stream::iter(pieces), None))
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(cloud.status(&id).await, "queued");
    assert_eq!(cloud.files(), Vec::<String>::new());
    assert_eq!(
        cloud.upload("p1", &id, "whole".to_string()).await.status,
        204
    );
    assert_eq!(cloud.status(&id).await, "active");
}

#[tokio::test]
async fn a_caller_who_vanishes_mid_request_is_cleaned_up_after() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let endless = futures::stream::once(async { Ok(Bytes::from("some")) });
    let endless = futures::StreamExt::chain(endless, futures::stream::pending());
    // The request is polled until it waits for more data, then dropped, as the server does when the socket closes.
    let upload = cloud.upload("p1", &id, Body::stream(endless, None));
    tokio::select! {
        _ = upload => panic!("an endless upload ended"),
        () = saving(&cloud, &id) => {}
    }
    oslo_service::wait_until(
        Duration::from_secs(10),
        Duration::from_millis(5),
        async || {
            let done = cloud.status(&id).await == "queued" && cloud.files().is_empty();
            Ok(done.then_some(()))
        },
    )
    .await
    .unwrap();
}

async fn saving(cloud: &Cloud, id: &str) {
    while cloud.status(id).await != "saving" || cloud.files().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_upload_of_a_dead_process_ends_with_its_lease() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let upload = format!("{id}.dead");
    std::fs::write(cloud.folder.join(format!("{upload}.part")), "half").unwrap();
    let until = cloud.clock.now().plus(Duration::from_secs(60));
    let row = id.clone();
    cloud
        .db
        .write(move |tx| {
            let values = [
                set("status", "saving"),
                set("upload", &upload),
                set("upload_owner", "another process"),
                set("upload_lease", until),
            ];
            tx.update::<ImageRow>(eq("id", &row), &values)
        })
        .await
        .unwrap();
    let reconciler = Uploads::new(&cloud.state);
    reconciler.run().await.unwrap();
    assert_eq!(cloud.status(&id).await, "saving", "the lease still runs");
    cloud.clock.advance(Duration::from_secs(61));
    assert_eq!(reconciler.run().await.unwrap().changed, 1);
    assert_eq!(cloud.status(&id).await, "queued");
    assert_eq!(cloud.files(), Vec::<String>::new());
}

#[tokio::test]
async fn files_of_deleted_images_go_even_after_a_crash() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    cloud.upload("p1", &id, "data".to_string()).await;
    // As after a crash between the commit of a delete and the removal of the file.
    let row = id.clone();
    let now = Timestamp::now();
    cloud
        .db
        .write(move |tx| {
            let values = [set("status", "pending_delete"), set("deleted_at", now)];
            tx.update::<ImageRow>(eq("id", &row), &values)?;
            let values = [set("status", "pending_delete")];
            tx.update::<LocationRow>(eq("image", &row), &values)
        })
        .await
        .unwrap();
    assert_eq!(cloud.files().len(), 1);
    cloud.search_files().await;
    assert_eq!(cloud.files(), Vec::<String>::new());
    let gone = cloud
        .db
        .read(move |tx| tx.find::<ImageRow>(eq("id", &id)))
        .await
        .unwrap();
    assert_eq!(gone.unwrap().status.as_str(), "deleted");
}

pub fn qcow2(backing: &[u8]) -> Vec<u8> {
    let mut head = vec![0u8; 4096];
    head[..8].copy_from_slice(&[b'Q', b'F', b'I', 0xfb, 0, 0, 0, 2]);
    if !backing.is_empty() {
        head[8..16].copy_from_slice(&1024u64.to_be_bytes());
        head[16..20].copy_from_slice(&(backing.len() as u32).to_be_bytes());
        head[1024..1024 + backing.len()].copy_from_slice(backing);
    }
    head[20..24].copy_from_slice(&16u32.to_be_bytes());
    head[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
    head
}

/// The content is refused, and nothing is left of it.
async fn refused(cases: Vec<(&str, Vec<u8>, u16)>) {
    let cloud = Cloud::new().await;
    for (format, content, status) in cases {
        let id = cloud.image("p1", json!({"disk_format": format})).await;
        let answer = cloud.upload("p1", &id, content).await;
        assert_eq!(answer.status, status, "{format}: {:?}", answer.json());
        assert_eq!(cloud.status(&id).await, "queued");
    }
    assert_eq!(cloud.files(), Vec::<String>::new());
}

#[tokio::test]
async fn ossa_2015_014_qcow2_backing_file() {
    refused(vec![
        ("qcow2", qcow2(b"/etc/shadow"), 415),
        ("raw", qcow2(b"/etc/shadow"), 415),
    ])
    .await;
}

/// Version 3 with the bit that says that the data is elsewhere, and with one that nobody knows.
#[tokio::test]
async fn ossa_2024_001_qcow2_external_data_file() {
    let with = |bit: u32| {
        let mut image = qcow2(b"");
        image[7] = 3;
        image[72..80].copy_from_slice(&(1u64 << bit).to_be_bytes());
        image[100..104].copy_from_slice(&104u32.to_be_bytes());
        image
    };
    refused(vec![
        ("qcow2", with(2), 415),
        ("raw", with(2), 415),
        ("qcow2", with(40), 415),
    ])
    .await;
}

#[tokio::test]
async fn ossa_2024_002_raw_that_is_something_else() {
    let mut vdi = vec![0u8; 4096];
    vdi[64..68].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
    let mut vmdk = b"KDMV\x01\0\0\0".to_vec();
    vmdk.resize(4096, 0);
    let mut vhdx = b"vhdxfile".to_vec();
    vhdx.resize(4096, 0);
    let mut vhd = vec![0u8; 4096];
    vhd[3584..3592].copy_from_slice(b"conectix");
    let mut ploop = b"WithoutFreeSpace".to_vec();
    ploop.resize(4096, 0);
    let mut luks = b"LUKS\xba\xbe\0\x01".to_vec();
    luks.resize(4096, 0);
    let raw = |content| ("raw", content, 415);
    let all = [qcow2(b""), vdi, vmdk, vhdx, vhd, ploop, luks];
    let mut cases: Vec<_> = all.into_iter().map(raw).collect();
    // And what is raw does not become anything else by being called so.
    for format in ["qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso", "ploop"] {
        cases.push((format, vec![0u8; 4096], 415));
    }
    refused(cases).await;
}

#[tokio::test]
async fn ossa_2023_002_vmdk_descriptor_that_names_a_file() {
    let text = b"# Disk DescriptorFile\nRW 100 FLAT \"/etc/passwd\" 0\n".to_vec();
    refused(vec![("vmdk", text.clone(), 415), ("raw", text, 415)]).await;
}

/// Tables that qemu-img would fill the memory with.
#[tokio::test]
async fn ossa_2016_012_qemu_img_resource_bomb() {
    let mut tables = qcow2(b"");
    tables[56..60].copy_from_slice(&u32::MAX.to_be_bytes());
    refused(vec![("qcow2", tables, 415)]).await;
}

/// Four kibibytes that say they are a disk of 4 TiB, more than image_size_cap.
#[tokio::test]
async fn ossa_2013_012_unchecked_virtual_size() {
    let mut bomb = qcow2(b"");
    bomb[24..32].copy_from_slice(&(4u64 << 40).to_be_bytes());
    refused(vec![("qcow2", bomb, 413)]).await;
}

#[tokio::test]
async fn honest_disks_are_taken_and_measured() {
    let cloud = Cloud::new().await;
    let mut iso = vec![0u8; 40_000];
    iso[32769..32774].copy_from_slice(b"CD001");
    let mut ploop = b"WithouFreSpacExt".to_vec();
    ploop.resize(4096, 0);
    ploop[16..20].copy_from_slice(&2u32.to_le_bytes());
    ploop[36..44].copy_from_slice(&2048u64.to_le_bytes());
    let cases = [
        ("qcow2", qcow2(b""), 1u64 << 30),
        ("iso", iso, 40_000),
        ("ploop", ploop, 1 << 20),
        ("ami", vec![0; 4096], 4096),
        ("aki", vec![0; 4096], 4096),
        ("ari", vec![0; 4096], 4096),
    ];
    for (format, content, size) in cases {
        let id = cloud.image("p1", json!({"disk_format": format})).await;
        let answer = cloud.upload("p1", &id, content).await;
        assert_eq!(answer.status, 204, "{format}: {:?}", answer.json());
        assert_eq!(
            cloud.show(&id).await["virtual_size"],
            json!(size),
            "{format}"
        );
    }
}

#[tokio::test]
async fn size_caps_and_missing_formats() {
    let conf = glance::Conf {
        image_size_cap: 10,
        ..Default::default()
    };
    let cloud = Cloud::with(conf).await;
    let id = cloud.image("p1", json!({})).await;
    assert_eq!(
        cloud
            .upload("p1", &id, "12345678901".to_string())
            .await
            .status,
        413
    );
    let pieces = vec![Ok(Bytes::from("123456")), Ok(Bytes::from("78901"))];
    let unknown = Body::stream(futures::stream::iter(pieces), None);
    assert_eq!(cloud.upload("p1", &id, unknown).await.status, 413);
    assert_eq!(
        (cloud.status(&id).await, cloud.files().len()),
        (json!("queued"), 0)
    );
    let bare = cloud.ok("p1", "POST", "/v2/images", Some(json!({}))).await;
    let bare = bare["id"].as_str().unwrap();
    assert_eq!(cloud.upload("p1", bare, "x".to_string()).await.status, 400);
    let empty = cloud.send("p1", "GET", &file(&id), &[], Body::Empty).await;
    assert_eq!(empty.status, 204);
}

#[tokio::test]
async fn an_image_deleted_while_it_arrives_stays_deleted() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let upload = cloud.upload("p1", &id, Body::stream(receiver, None));
    let delete = async {
        sender.unbounded_send(Ok(Bytes::from("some"))).unwrap();
        saving(&cloud, &id).await;
        cloud
            .ok("p1", "DELETE", &format!("/v2/images/{id}"), None)
            .await;
        drop(sender);
    };
    let (answer, ()) = futures::join!(upload, delete);
    assert_eq!(answer.status, 410);
    assert_eq!(cloud.files(), Vec::<String>::new());
}

/// Two controllers over one database and one folder: neither takes the other one's upload for a dead one.
#[tokio::test]
async fn controllers_leave_each_others_uploads_alone() {
    let one = Cloud::new().await;
    let two = one.again().await;
    let id = one.image("p1", json!({})).await;
    let (pieces, taken) = tokio::sync::mpsc::unbounded_channel::<std::io::Result<Bytes>>();
    let body = futures::stream::unfold(taken, |mut taken| async {
        let piece = taken.recv().await?;
        Some((piece, taken))
    });
    let upload = one.upload("p1", &id, Body::stream(body, None));
    let other = async {
        pieces.send(Ok(Bytes::from(vec![1; 1 << 20]))).unwrap();
        while two.status(&id).await != "saving" || two.files().is_empty() {
            tokio::task::yield_now().await;
        }
        Uploads::new(&two.state).run().await.unwrap();
        // A part that has not grown for hours, of an upload that lives.
        let part = two.folder.join(&two.files()[0]);
        let old = std::time::SystemTime::now() - Duration::from_secs(7200);
        std::fs::File::open(&part)
            .unwrap()
            .set_modified(old)
            .unwrap();
        two.search_files().await;
        assert_eq!(
            (two.status(&id).await, two.files().len()),
            (json!("saving"), 1)
        );
        // Both receive data of the same image: one has begun.
        assert_eq!(two.upload("p1", &id, "mine".to_string()).await.status, 409);
        pieces.send(Ok(Bytes::from(vec![2; 1 << 20]))).unwrap();
        drop(pieces);
    };
    let (answer, ()) = tokio::join!(upload, other);
    assert_eq!(answer.status, 204, "{:?}", answer.json());
    let all = two.send("p1", "GET", &file(&id), &[], Body::Empty).await;
    assert_eq!((all.status, all.bytes.len()), (200, 2 << 20));

    // A controller whose folder is another one says what is wrong, and breaks nothing.
    let name = one.files().remove(0);
    let elsewhere = one.folder.with_extension("elsewhere");
    std::fs::rename(one.folder.join(&name), &elsewhere).unwrap();
    let missing = two.send("p1", "GET", &file(&id), &[], Body::Empty).await;
    assert_eq!(missing.status, 503);
    std::fs::rename(&elsewhere, one.folder.join(&name)).unwrap();

    // What one has, the other one deletes.
    let path = format!("/v2/images/{id}");
    two.ok("p1", "DELETE", &path, None).await;
    assert_eq!(one.files(), Vec::<String>::new());
    assert_eq!(one.ask("p1", "GET", &path, None).await.0, 404);
}

/// A tar archive with one member.
fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(data);
    header.resize(header.len().next_multiple_of(512) + 1024, 0);
    header
}

#[tokio::test]
async fn containers_are_what_they_are_called_and_wrap_nothing_hostile() {
    let cloud = Cloud::new().await;
    let gzip = b"\x1f\x8b\x08\0 and so on".to_vec();
    for (container, disk, data, expected) in [
        ("ova", "vmdk", tar("machine.ovf", b"<Envelope/>"), 204),
        ("ova", "vmdk", tar("manifest.json", b"[]"), 415),
        ("ova", "vmdk", b"no archive".to_vec(), 415),
        ("docker", "raw", tar("manifest.json", b"[]"), 204),
        ("docker", "raw", b"no archive".to_vec(), 415),
        ("compressed", "qcow2", gzip.clone(), 204),
        ("compressed", "qcow2", b"not packed".to_vec(), 415),
        ("ovf", "vmdk", b"whatever".to_vec(), 204),
        ("aki", "aki", b"a kernel".to_vec(), 204),
        // Others go by the disk format alone, and would open it.
        ("ovf", "qcow2", qcow2(b"/etc/shadow"), 415),
        ("aki", "aki", qcow2(b"/etc/shadow"), 415),
        ("ovf", "qcow2", qcow2(b""), 204),
    ] {
        let formats = json!({"container_format": container, "disk_format": disk});
        let id = cloud.image("p1", formats).await;
        let answer = cloud.upload("p1", &id, data).await;
        let words = answer.json();
        assert_eq!(answer.status, expected, "{container} {disk}: {words}");
        assert_eq!(
            cloud.show(&id).await["virtual_size"],
            serde_json::Value::Null
        );
    }
}

#[tokio::test]
async fn the_search_for_strays_goes_in_turns_and_finds_all() {
    let cloud = Cloud::new().await;
    let kept = cloud.image("p1", json!({})).await;
    cloud.upload("p1", &kept, "data".to_string()).await;
    let kept = cloud.files();
    let old = std::time::SystemTime::now() - Duration::from_secs(7200);
    let age = |name: &str| {
        let file = std::fs::File::create(cloud.folder.join(name)).unwrap();
        file.set_modified(old).unwrap();
    };
    let digits = "0123456789abcdefABCDEF";
    for digit in digits.chars() {
        let id = base::new_id();
        age(&format!("{digit}{}.{}.part", &id[1..], base::new_hex_id()));
    }
    age("not-ours");
    let files = glance::periodic::files::Files::new(&cloud.state);
    let first = files.run().await.unwrap();
    assert!(
        (1..=4).contains(&first.examined),
        "a part of them: {first:?}"
    );
    assert!(cloud.files().len() > digits.len() / 2);
    cloud.search_files().await;
    let mut left = cloud.files();
    left.sort();
    let mut wanted = vec!["not-ours".to_string(), kept[0].clone()];
    wanted.sort();
    assert_eq!(left, wanted);
}
