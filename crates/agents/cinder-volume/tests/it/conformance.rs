//! What every driver does. One suite; a driver that keeps bytes is looked into too.

use base::{Kind, Result};
use cinder_types::{Noun, SourceRef};
use cinder_volume::driver::{FakeDriver, FileDriver, GIB, VolumeDriver};
use host_privsep::Privsep;
use serde_json::json;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A driver in a folder of its own.
struct Bench {
    driver: Box<dyn VolumeDriver>,
    folder: PathBuf,
    /// Whether volumes have bytes.
    bytes: bool,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn benches() -> Vec<Bench> {
    let folder = || std::env::temp_dir().join(format!("cinder-driver-{}", base::new_id()));
    let (files, records) = (folder(), folder());
    let file = FileDriver::new(&files, Privsep::new()).unwrap();
    let fake = FakeDriver::new(&records, Duration::ZERO, 100).unwrap();
    let bench = |driver: Box<dyn VolumeDriver>, folder, bytes| Bench {
        driver,
        folder,
        bytes,
    };
    vec![
        bench(Box::new(file), files, true),
        bench(Box::new(fake), records, false),
    ]
}

fn source(id: &str, in_use: bool) -> SourceRef {
    SourceRef {
        id: id.into(),
        in_use,
    }
}

fn kind<T>(result: Result<T>) -> Kind {
    result.err().map(|e| e.kind()).unwrap()
}

impl Bench {
    async fn open(&self, id: &str) -> Option<std::fs::File> {
        let info = self.driver.connection(id, false).await.unwrap();
        let path = info["data"]["path"].as_str().unwrap().to_string();
        let mut options = std::fs::File::options();
        options.read(true).write(true);
        self.bytes.then(|| options.open(Path::new(&path)).unwrap())
    }

    async fn write(&self, id: &str, text: &str, at: u64) {
        if let Some(file) = self.open(id).await {
            file.write_all_at(text.as_bytes(), at).unwrap();
        }
    }

    /// That the volume has so many GiB and this text there.
    async fn holds(&self, id: &str, size: u64, text: &str, at: u64) {
        let Some(file) = self.open(id).await else {
            return;
        };
        assert_eq!(file.metadata().unwrap().len(), size * GIB);
        let mut found = vec![0; text.len()];
        file.read_exact_at(&mut found, at).unwrap();
        assert_eq!(String::from_utf8_lossy(&found), text);
    }
}

const FAR: u64 = GIB - 100;

#[tokio::test]
async fn copies_are_what_the_volume_was_then() {
    for b in benches() {
        let (d, v, s) = (&b.driver, base::new_id(), base::new_id());
        d.create(&v, 1).await.unwrap();
        b.write(&v, "old", FAR).await;
        for _ in 0..2 {
            d.create_snapshot(&s, &source(&v, false)).await.unwrap();
        }
        b.write(&v, "new", FAR).await;
        // Again after a write: what is there stays as it is.
        d.create_snapshot(&s, &source(&v, false)).await.unwrap();
        let (same, larger, clone) = (base::new_id(), base::new_id(), base::new_id());
        for _ in 0..2 {
            d.create_from_snapshot(&same, 1, &s).await.unwrap();
            d.create_from_snapshot(&larger, 2, &s).await.unwrap();
            d.create_from_volume(&clone, 3, &source(&v, true))
                .await
                .unwrap();
        }
        b.holds(&same, 1, "old", FAR).await;
        b.holds(&larger, 2, "old", FAR).await;
        b.holds(&larger, 2, "\0\0\0", 2 * GIB - 3).await;
        b.holds(&clone, 3, "new", FAR).await;
        // Nothing depends on another.
        b.write(&same, "own", FAR).await;
        b.holds(&larger, 2, "old", FAR).await;
        d.delete(&v).await.unwrap();
        let again = base::new_id();
        d.create_from_snapshot(&again, 1, &s).await.unwrap();
        b.holds(&again, 1, "old", FAR).await;
        let mut listed = d.list().await.unwrap();
        listed.sort();
        let mut wanted = vec![same.clone(), larger.clone(), clone.clone(), again];
        wanted.sort();
        assert_eq!(listed, wanted);
        assert_eq!(d.list_snapshots().await.unwrap(), std::slice::from_ref(&s));
        for _ in 0..2 {
            d.delete_snapshot(&s).await.unwrap();
        }
        b.holds(&same, 1, "own", FAR).await;
        assert!(d.list_snapshots().await.unwrap().is_empty());
        d.clean().await.unwrap();
        assert_eq!(d.list().await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn volumes_go_back() {
    for b in benches() {
        let (d, v, s) = (&b.driver, base::new_id(), base::new_id());
        d.create(&v, 1).await.unwrap();
        b.write(&v, "old", 5).await;
        d.create_snapshot(&s, &source(&v, false)).await.unwrap();
        b.write(&v, "new", 5).await;
        b.write(&v, "more", FAR).await;
        for _ in 0..2 {
            d.revert_to_snapshot(&v, &s).await.unwrap();
            b.holds(&v, 1, "old", 5).await;
            b.holds(&v, 1, "\0\0\0\0", FAR).await;
        }
        // The snapshot is still one of its own.
        b.write(&v, "third", 5).await;
        d.revert_to_snapshot(&v, &s).await.unwrap();
        b.holds(&v, 1, "old", 5).await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for b in benches() {
        let (d, v, s) = (&b.driver, base::new_id(), base::new_id());
        let none = source(&base::new_id(), false);
        assert_eq!(kind(d.create_snapshot(&s, &none).await), Kind::NotFound);
        assert_eq!(
            kind(d.create_from_volume(&v, 1, &none).await),
            Kind::NotFound
        );
        assert_eq!(
            kind(d.create_from_snapshot(&v, 1, &s).await),
            Kind::NotFound
        );
        assert_eq!(kind(d.revert_to_snapshot(&v, &s).await), Kind::NotFound);
        d.create(&v, 1).await.unwrap();
        assert_eq!(kind(d.revert_to_snapshot(&v, &s).await), Kind::NotFound);
        assert_eq!(d.list().await.unwrap(), [v]);
        assert!(d.list_snapshots().await.unwrap().is_empty());
        let odd = source("../../etc/passwd", false);
        assert_eq!(kind(d.create_snapshot(&s, &odd).await), Kind::BadRequest);
        let odd = "../../etc/passwd";
        assert_eq!(
            kind(d.create_from_snapshot(&s, 1, odd).await),
            Kind::BadRequest
        );
        assert_eq!(kind(d.delete_snapshot(odd).await), Kind::BadRequest);
    }
}

#[tokio::test]
async fn deleted_data_never_comes_back() {
    for b in benches() {
        let d = &b.driver;
        let secret = "the last owner's secret".repeat(100);
        let (v, s) = (base::new_id(), base::new_id());
        d.create(&v, 1).await.unwrap();
        for at in [0, GIB / 2, GIB - secret.len() as u64] {
            b.write(&v, &secret, at).await;
        }
        d.create_snapshot(&s, &source(&v, false)).await.unwrap();
        d.delete(&v).await.unwrap();
        d.delete_snapshot(&s).await.unwrap();
        // The same id, another one, and what those grow by.
        for id in [&v, &base::new_id()] {
            d.create(id, 1).await.unwrap();
            d.extend(id, 2).await.unwrap();
            let Some(file) = b.open(id).await else {
                continue;
            };
            let mut found = vec![1; 1 << 20];
            for at in [0, GIB / 2, GIB - (1 << 19), 2 * GIB - (1 << 20)] {
                file.read_exact_at(&mut found, at).unwrap();
                assert!(found.iter().all(|byte| *byte == 0));
            }
        }
    }
}

#[tokio::test]
async fn what_is_others_becomes_ours_and_theirs_again() {
    for b in benches() {
        let d = &b.driver;
        let (v, s) = (base::new_id(), base::new_id());
        let stray = if b.bytes { "disk.img" } else { "disk.json" };
        let content: &[u8] = if b.bytes {
            b"other bytes, and no whole GiB"
        } else {
            b"{\"size\": 1}"
        };
        std::fs::write(b.folder.join(stray), content).unwrap();
        let name = if b.bytes { stray } else { "disk" };
        let reference = json!({"source-name": name});
        assert_eq!(d.measure(Noun::Volume, &reference).await.unwrap(), 1);
        let listed = d.manageable(Noun::Volume).await.unwrap();
        assert_eq!(
            (listed.len(), listed[0].name.as_str(), listed[0].size),
            (1, name, 1)
        );
        for _ in 0..2 {
            d.manage(Noun::Volume, &v, &reference).await.unwrap();
        }
        b.holds(&v, 1, "other bytes", 0).await;
        let refused = d.manage(Noun::Volume, &base::new_id(), &reference).await;
        assert_eq!(kind(refused), Kind::BadRequest);
        let listed = d.manageable(Noun::Volume).await.unwrap();
        assert_eq!(listed[0].id.as_ref(), Some(&v));
        d.create_snapshot(&s, &source(&v, false)).await.unwrap();
        for (noun, id) in [(Noun::Snapshot, &s), (Noun::Volume, &v)] {
            for _ in 0..2 {
                d.unmanage(noun, id).await.unwrap();
            }
        }
        // Nobody's: no orphan of ours that the next look removes.
        assert!(d.list().await.unwrap().is_empty() && d.list_snapshots().await.unwrap().is_empty());
        d.clean().await.unwrap();
        let (v2, s2) = (base::new_id(), base::new_id());
        let was = json!({"source-name": format!("volume-{v}")});
        d.manage(Noun::Volume, &v2, &was).await.unwrap();
        let was = json!({"source-name": format!("_snapshot-{s}")});
        d.manage(Noun::Snapshot, &s2, &was).await.unwrap();
        b.holds(&v2, 1, "other bytes", 0).await;
        let copy = base::new_id();
        d.create_from_snapshot(&copy, 1, &s2).await.unwrap();
        b.holds(&copy, 1, "other bytes", 0).await;
    }
}
