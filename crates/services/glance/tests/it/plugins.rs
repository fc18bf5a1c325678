//! Imports whose bytes are unpacked and converted, and whose images get properties.

use crate::cloud::Cloud;
use crate::imports::{bytes, direct, import, stage, tasks};
use glance::Conf;
use host_imagefmt::Format;
use host_privsep::Privsep;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::io::Write;

const MIB: u64 = 1 << 20;

fn conf(plugins: &[&str], output: &str) -> Conf {
    let words = plugins.iter().map(|p| p.to_string());
    Conf {
        image_import_plugins: words.collect(),
        image_conversion_output_format: output.to_string(),
        ..Conf::default()
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A disk of 3 MiB with something at its start, as `qemu-img` writes it.
async fn disk(cloud: &Cloud, format: Format) -> Vec<u8> {
    let folder = cloud.folder.with_extension("made");
    std::fs::create_dir_all(&folder).unwrap();
    let (raw, made) = (folder.join("raw"), folder.join("made"));
    let mut data = b"a disk".to_vec();
    data.resize(3 * MIB as usize, 0);
    std::fs::write(&raw, data).unwrap();
    let host = Privsep::new();
    host_imagefmt::convert(&host, &raw, &made, Format::Raw, format)
        .await
        .unwrap();
    std::fs::read(made).unwrap()
}

/// Stages and imports; the image as it is then.
async fn brought(cloud: &Cloud, attributes: Value, data: Vec<u8>) -> (String, Value) {
    let id = cloud.image("p1", attributes).await;
    assert_eq!(stage(cloud, "p1", &id, data).await.status, 204);
    assert_eq!(import(cloud, "p1", &id, direct()).await.0, 202);
    cloud.imported().await;
    assert_eq!(cloud.files_of("staging"), Vec::<String>::new());
    let image = cloud.show(&id).await;
    (id, image)
}

async fn complaint(cloud: &Cloud, id: &str) -> String {
    let task = &tasks(cloud, id).await[0];
    assert_eq!(task["status"], "failure", "{task}");
    task["message"].as_str().unwrap().to_string()
}

fn sha512(data: &[u8]) -> Value {
    let hash = Sha512::digest(data);
    json!(hash.iter().map(|b| format!("{b:02x}")).collect::<String>())
}

#[tokio::test]
async fn disks_become_what_this_cloud_wants() {
    let cloud = Cloud::with(conf(&["no_op", "image_conversion"], "raw")).await;
    for (format, word) in [
        (Format::Qcow2, "qcow2"),
        (Format::Vmdk, "vmdk"),
        (Format::Vdi, "vdi"),
        (Format::Vhdx, "vhdx"),
        (Format::Raw, "raw"),
    ] {
        let data = disk(&cloud, format).await;
        let (id, image) = brought(&cloud, json!({"disk_format": word}), data).await;
        assert_eq!(
            image["status"],
            "active",
            "{word}: {:?}",
            tasks(&cloud, &id).await
        );
        assert_eq!(
            (
                &image["disk_format"],
                &image["size"],
                &image["virtual_size"]
            ),
            (&json!("raw"), &json!(3 * MIB), &json!(3 * MIB)),
            "{word}"
        );
        let all = bytes(&cloud, &id).await;
        assert!(all.starts_with(b"a disk") && all.len() as u64 == 3 * MIB);
        assert_eq!(image["os_hash_value"], sha512(&all), "{word}");
    }
    // A CD stays a CD, and what is in another container is nobody's business.
    let mut iso = vec![0; 64 * 1024];
    iso[32769..32774].copy_from_slice(b"CD001");
    let (_, image) = brought(&cloud, json!({"disk_format": "iso"}), iso).await;
    assert_eq!(
        (&image["status"], &image["disk_format"]),
        (&json!("active"), &json!("iso"))
    );
    let ovf = json!({"disk_format": "vmdk", "container_format": "ovf"});
    let (_, image) = brought(&cloud, ovf, b"whatever".to_vec()).await;
    assert_eq!(
        (&image["status"], &image["disk_format"]),
        (&json!("active"), &json!("vmdk"))
    );
}

#[tokio::test]
async fn disks_can_become_smaller() {
    let cloud = Cloud::with(conf(&["image_conversion"], "qcow2")).await;
    let data = disk(&cloud, Format::Raw).await;
    let (_, image) = brought(&cloud, json!({"disk_format": "raw"}), data).await;
    assert_eq!(
        (&image["disk_format"], &image["virtual_size"]),
        (&json!("qcow2"), &json!(3 * MIB))
    );
    assert!(image["size"].as_u64().unwrap() < MIB);
}

/// OSSA 2015-014, 2024-001, 2024-002: what a conversion would open is looked at first, whatever the configuration says.
#[tokio::test]
async fn ossa_2015_014_conversion_opens_nothing_else() {
    let strict = conf(&["image_conversion"], "raw");
    let lax = Conf {
        require_image_format_match: false,
        ..strict.clone()
    };
    for conf in [strict, lax] {
        let cloud = Cloud::with(conf).await;
        let mut backed = disk(&cloud, Format::Qcow2).await;
        backed[8..16].copy_from_slice(&(104u64).to_be_bytes());
        backed[16..20].copy_from_slice(&(11u32).to_be_bytes());
        backed[104..115].copy_from_slice(b"/etc/passwd");
        let honest = disk(&cloud, Format::Qcow2).await;
        let mut huge = honest.clone();
        huge[24..32].copy_from_slice(&(1u64 << 50).to_be_bytes());
        for (said, data) in [("qcow2", backed), ("raw", honest), ("qcow2", huge)] {
            let (id, image) = brought(&cloud, json!({"disk_format": said}), data).await;
            assert_eq!(image["status"], "queued", "{said}");
            assert_eq!(image["disk_format"], said);
            complaint(&cloud, &id).await;
        }
        assert_eq!(cloud.files(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_conversion_that_fails_says_so() {
    let cloud = Cloud::with(conf(&["image_conversion"], "raw")).await;
    // Harmless to look at; but its table is where no table can be.
    let mut data = disk(&cloud, Format::Qcow2).await;
    data[40..48].copy_from_slice(&(7u64).to_be_bytes());
    let (id, image) = brought(&cloud, json!({"disk_format": "qcow2"}), data).await;
    assert_eq!(image["status"], "queued");
    let words = complaint(&cloud, &id).await;
    assert!(
        words.contains("could not be converted from qcow2 to raw"),
        "{words}"
    );
}

#[tokio::test]
async fn archives_are_unpacked_and_then_converted() {
    let cloud = Cloud::with(conf(&["image_decompression", "image_conversion"], "raw")).await;
    let qcow2 = disk(&cloud, Format::Qcow2).await;
    let (id, image) = brought(&cloud, json!({"disk_format": "qcow2"}), gzip(&qcow2)).await;
    assert_eq!(image["status"], "active", "{:?}", tasks(&cloud, &id).await);
    assert_eq!(
        (&image["disk_format"], &image["size"]),
        (&json!("raw"), &json!(3 * MIB))
    );
    // Who wants it compressed gets it compressed.
    let data = gzip(&qcow2);
    let packed = json!({"disk_format": "qcow2", "container_format": "compressed"});
    let (id, image) = brought(&cloud, packed, data.clone()).await;
    assert_eq!(
        (
            &image["container_format"],
            &image["disk_format"],
            &image["size"]
        ),
        (&json!("compressed"), &json!("qcow2"), &json!(data.len()))
    );
    assert_eq!(bytes(&cloud, &id).await, data);
    // What comes out is judged like what is uploaded.
    let (id, image) = brought(&cloud, json!({"disk_format": "vmdk"}), gzip(&qcow2)).await;
    assert_eq!(image["status"], "queued");
    assert!(complaint(&cloud, &id).await.contains("is qcow2"));
    let mut broken = gzip(&qcow2);
    broken.truncate(broken.len() / 2);
    let (id, image) = brought(&cloud, json!({"disk_format": "qcow2"}), broken).await;
    assert_eq!(image["status"], "queued");
    let words = complaint(&cloud, &id).await;
    assert!(words.contains("cannot be decompressed"), "{words}");
}

/// A few bytes that unfold to more than any image may have.
#[tokio::test]
async fn a_bomb_does_not_go_off() {
    let bounded = Conf {
        image_size_cap: 2 * MIB,
        ..conf(&["image_decompression"], "raw")
    };
    let cloud = Cloud::with(bounded).await;
    let bomb = gzip(&vec![0; 20 * MIB as usize]);
    assert!((bomb.len() as u64) < MIB);
    let (id, image) = brought(&cloud, json!({}), bomb).await;
    assert_eq!(image["status"], "queued");
    let words = complaint(&cloud, &id).await;
    assert!(words.contains("image_size_cap"), "{words}");
    assert_eq!(cloud.files(), Vec::<String>::new());
    let (id, image) = brought(&cloud, json!({}), gzip(&vec![0; MIB as usize])).await;
    assert_eq!(
        (&image["status"], &image["size"]),
        (&json!("active"), &json!(MIB))
    );
    assert_eq!(bytes(&cloud, &id).await.len() as u64, MIB);
}

#[tokio::test]
async fn properties_are_injected_but_for_some() {
    let conf = Conf {
        inject_metadata_properties: crate::imports::table(&[("origin", "imported"), ("k", "v")]),
        ..conf(&["inject_image_metadata"], "raw")
    };
    let cloud = Cloud::with(conf).await;
    let (_, image) = brought(&cloud, json!({"k": "mine", "other": "x"}), b"data".to_vec()).await;
    assert_eq!(
        (&image["origin"], &image["k"], &image["other"]),
        (&json!("imported"), &json!("v"), &json!("x"))
    );
    // Neither those who may do without, nor uploads, nor imports that fail.
    let id = cloud.image("admin", json!({})).await;
    stage(&cloud, "admin", &id, "data".to_string()).await;
    assert_eq!(import(&cloud, "admin", &id, direct()).await.0, 202);
    cloud.imported().await;
    let uploaded = cloud.image("p1", json!({})).await;
    cloud.upload("p1", &uploaded, "data".to_string()).await;
    let (failed, image) = brought(&cloud, json!({"disk_format": "qcow2"}), b"data".to_vec()).await;
    assert_eq!(image["status"], "queued");
    for id in [id, uploaded, failed] {
        assert_eq!(cloud.show(&id).await["origin"], Value::Null);
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused_at_the_start() {
    for (conf, word) in [
        (conf(&["image_teleport"], "raw"), "image_teleport"),
        (conf(&["image_conversion"], "iso"), "iso"),
        (
            Conf {
                inject_metadata_properties: crate::imports::table(&[("os_glance_x", "y")]),
                ..Conf::default()
            },
            "os_glance_x",
        ),
        (
            Conf {
                user_storage_quota: "lots".to_string(),
                ..Conf::default()
            },
            "lots",
        ),
    ] {
        let words = Cloud::refused(conf).await;
        assert!(words.contains(word), "{word}: {words}");
    }
}
