//! The agent over the bus, with both drivers, in a folder of its own.

mod backups;
mod conformance;

use async_trait::async_trait;
use base::{Error, Kind, Result};
use cinder_types::{
    BackendReport, BackupClient, ImageRef, SchedulerApi, SchedulerClient, SnapshotSpec, SourceRef,
    VolumeClient, VolumeSpec,
};
use cinder_volume::{Built, Conf, Deps, DriverKind, ImageSource};
use host_privsep::{Privsep, Program};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::Supervisor;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

/// Cinder, as far as the agent asks it.
struct Scheduler {
    reports: Mutex<Vec<BackendReport>>,
    reported: Semaphore,
    known: Mutex<Vec<String>>,
}

/// What is not in `known`.
fn without(known: &Mutex<Vec<String>>, ids: Vec<String>) -> Vec<String> {
    let known = known.lock().unwrap();
    ids.into_iter().filter(|id| !known.contains(id)).collect()
}

#[async_trait]
impl SchedulerApi for Scheduler {
    async fn report_backend(&self, _: &RequestContext, report: BackendReport) -> Result<()> {
        self.reports.lock().unwrap().push(report);
        self.reported.add_permits(1);
        Ok(())
    }

    async fn unknown_volumes(
        &self,
        _: &RequestContext,
        _: String,
        ids: Vec<String>,
    ) -> Result<Vec<String>> {
        Ok(without(&self.known, ids))
    }

    async fn unknown_snapshots(
        &self,
        _: &RequestContext,
        _: String,
        ids: Vec<String>,
    ) -> Result<Vec<String>> {
        Ok(without(&self.known, ids))
    }

    async fn unknown_attachments(
        &self,
        _: &RequestContext,
        _: String,
        ids: Vec<String>,
    ) -> Result<Vec<String>> {
        Ok(without(&self.known, ids))
    }

    async fn wake(&self, _: &RequestContext) -> Result<()> {
        Ok(())
    }
}

/// One image, whatever is asked for.
struct OneImage(Vec<u8>, Mutex<Vec<u8>>);

#[async_trait]
impl ImageSource for OneImage {
    async fn copy(&self, _: &str, mut file: tokio::fs::File) -> Result<()> {
        file.write_all(&self.0).await?;
        file.flush().await?;
        Ok(())
    }

    /// Keeps the beginning of what arrives.
    async fn send(&self, _: &str, file: tokio::fs::File) -> Result<()> {
        let mut head = Vec::new();
        file.take(1 << 20).read_to_end(&mut head).await?;
        *self.1.lock().unwrap() = head;
        Ok(())
    }
}

struct Host {
    folder: PathBuf,
    agent: VolumeClient,
    backups: BackupClient,
    images: Arc<OneImage>,
    built: Built,
    scheduler: Arc<Scheduler>,
    _server: ServerHandle,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn host(driver: DriverKind, image: Vec<u8>) -> Host {
    host_at(driver, image, "").await
}

async fn host_at(driver: DriverKind, image: Vec<u8>, my_ip: &str) -> Host {
    let folder = std::env::temp_dir().join(format!("cinder-volume-{}", base::new_id()));
    let bus = Bus::in_process();
    let scheduler = Arc::new(Scheduler {
        reports: Mutex::default(),
        reported: Semaphore::new(0),
        known: Mutex::default(),
    });
    let server = SchedulerClient::serve(&bus, "cinder", scheduler.clone())
        .await
        .unwrap();
    let images = Arc::new(OneImage(image, Mutex::default()));
    let built = cinder_volume::build(Deps {
        bus: bus.clone(),
        images: images.clone(),
        privsep: Privsep::new(),
        conf: Conf {
            host: "h1".into(),
            driver,
            volumes_dir: folder.clone(),
            my_ip: my_ip.into(),
            nbd_first_port: 25000,
            ..Conf::default()
        },
        backup: cinder_volume::BackupConf {
            backup_posix_path: folder.join("backups"),
            ..cinder_volume::BackupConf::default()
        },
        supervisor: Arc::new(Supervisor::new()),
    })
    .await
    .unwrap();
    Host {
        agent: VolumeClient::new(&bus).server(&built.state.name()),
        backups: BackupClient::new(&bus).server(&built.state.name()),
        images,
        folder,
        built,
        scheduler,
        _server: server,
    }
}

fn spec(id: &str, size: i64, disk_format: Option<&str>) -> VolumeSpec {
    let image = disk_format.map(|format| ImageRef {
        id: base::new_id(),
        disk_format: format.into(),
    });
    VolumeSpec {
        id: id.into(),
        size,
        image,
        ..VolumeSpec::default()
    }
}

fn ctx() -> RequestContext {
    RequestContext::internal()
}

const GIB: u64 = 1 << 30;

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn every_verb_may_be_repeated() {
    for driver in [DriverKind::File, DriverKind::Fake] {
        let host = host(driver, vec![]).await;
        let id = base::new_id();
        for _ in 0..2 {
            host.agent
                .create_volume(&ctx(), spec(&id, 1, None))
                .await
                .unwrap();
        }
        for size in [3, 3, 2] {
            host.agent
                .extend_volume(&ctx(), id.clone(), size)
                .await
                .unwrap();
        }
        let connector = json!({"host": "c1"});
        let connect = async |ro: bool| {
            host.agent
                .initialize_connection(&ctx(), id.clone(), None, connector.clone(), ro)
                .await
        };
        let info = connect(true).await.unwrap();
        assert_eq!(
            (&info["driver_volume_type"], &info["data"]["access_mode"]),
            (&json!("local"), &json!("ro"))
        );
        host.agent
            .terminate_connection(&ctx(), id.clone(), None, connector.clone())
            .await
            .unwrap();
        for _ in 0..2 {
            host.agent.delete_volume(&ctx(), id.clone()).await.unwrap();
        }
        assert_eq!(connect(false).await.unwrap_err().kind(), Kind::NotFound);
        let grown = host.agent.extend_volume(&ctx(), id.clone(), 4).await;
        assert_eq!(grown.unwrap_err().kind(), Kind::NotFound);
        let odd = host
            .agent
            .create_volume(&ctx(), spec("../../etc/x", 1, None))
            .await;
        assert_eq!(odd.unwrap_err().kind(), Kind::BadRequest);
    }
}

#[tokio::test]
async fn files_are_sparse_and_private() {
    let host = host(DriverKind::File, vec![]).await;
    let id = base::new_id();
    let info = host
        .agent
        .create_volume(&ctx(), spec(&id, 2, None))
        .await
        .unwrap();
    let path = PathBuf::from(info.provider_location.unwrap());
    assert_eq!(
        path.file_name().unwrap().to_str().unwrap(),
        format!("volume-{id}")
    );
    assert_eq!(length(&path), 2 * GIB);
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert!(std::os::unix::fs::MetadataExt::blocks(&meta) < 1000);
    host.agent
        .extend_volume(&ctx(), id.clone(), 3)
        .await
        .unwrap();
    host.agent.extend_volume(&ctx(), id, 2).await.unwrap();
    assert_eq!(length(&path), 3 * GIB, "never cut");
    host.scheduler.reported.acquire().await.unwrap().forget();
    let report = host.scheduler.reports.lock().unwrap()[0].clone();
    assert_eq!(
        (report.host.as_str(), report.pool.as_str()),
        ("h1@file", "file")
    );
    assert!(report.total_capacity_gb > 0.0 && report.free_capacity_gb <= report.total_capacity_gb);
}

#[tokio::test]
async fn raw_images_become_volumes() {
    let host = host(DriverKind::File, b"a disk".repeat(1000)).await;
    let id = base::new_id();
    let info = host
        .agent
        .create_volume(&ctx(), spec(&id, 1, Some("raw")))
        .await
        .unwrap();
    let path = PathBuf::from(info.provider_location.unwrap());
    assert_eq!(length(&path), GIB);
    let mut head = [0; 6];
    std::io::Read::read_exact(&mut std::fs::File::open(&path).unwrap(), &mut head).unwrap();
    assert_eq!(&head, b"a disk");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // What lies about its format is refused, and nothing stays.
    let liar = base::new_id();
    let refused = host
        .agent
        .create_volume(&ctx(), spec(&liar, 1, Some("qcow2")))
        .await;
    assert_eq!(refused.unwrap_err().kind(), Kind::BadRequest);
    assert_eq!(std::fs::read_dir(&host.folder).unwrap().count(), 1);
}

#[tokio::test]
async fn qcow2_images_are_converted() {
    let privsep = Privsep::new();
    if !privsep.has(Program::QemuImg) {
        return;
    }
    let made = std::env::temp_dir().join(format!("{}.qcow2", base::new_id()));
    host_imagefmt::create(
        &privsep,
        &made,
        host_imagefmt::Format::Qcow2,
        64 << 20,
        None,
    )
    .await
    .unwrap();
    let image = std::fs::read(&made).unwrap();
    std::fs::remove_file(&made).unwrap();
    let host = host(DriverKind::File, image).await;
    let id = base::new_id();
    let info = host
        .agent
        .create_volume(&ctx(), spec(&id, 1, Some("qcow2")))
        .await
        .unwrap();
    let path = PathBuf::from(info.provider_location.unwrap());
    assert_eq!(length(&path), GIB);
    let found = host_imagefmt::inspect_file(&path).await.unwrap();
    assert_eq!(found.format, host_imagefmt::Format::Raw);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn orphans_go_at_the_second_look() {
    let host = host(DriverKind::File, vec![]).await;
    let (mine, orphan) = (base::new_id(), base::new_id());
    for id in [&mine, &orphan] {
        host.agent
            .create_volume(&ctx(), spec(id, 1, None))
            .await
            .unwrap();
    }
    let (kept, lost) = (base::new_id(), base::new_id());
    for id in [&kept, &lost] {
        let volume = SourceRef {
            id: mine.clone(),
            in_use: false,
        };
        let spec = SnapshotSpec {
            id: id.clone(),
            volume,
        };
        host.agent.create_snapshot(&ctx(), spec).await.unwrap();
    }
    let stranger = host.folder.join("precious.img");
    std::fs::write(&stranger, "not ours").unwrap();
    let known = [mine.clone(), kept.clone()];
    host.scheduler.known.lock().unwrap().extend(known);
    assert_eq!(host.built.state.remove_orphans().await.unwrap(), 0);
    assert_eq!(host.built.state.remove_orphans().await.unwrap(), 2);
    assert_eq!(
        host.built.state.driver.list_snapshots().await.unwrap(),
        [kept]
    );
    assert!(stranger.exists() && host.folder.join(format!("volume-{mine}")).exists());
    assert!(!host.folder.join(format!("volume-{orphan}")).exists());
}

/// Breaks off in the middle.
struct Broken;

#[async_trait]
impl ImageSource for Broken {
    async fn copy(&self, _: &str, mut file: tokio::fs::File) -> Result<()> {
        file.write_all(b"half").await?;
        Err(Error::unavailable("the line is cut"))
    }

    async fn send(&self, _: &str, _: tokio::fs::File) -> Result<()> {
        Err(Error::unavailable("the line is cut"))
    }
}

#[tokio::test]
async fn half_an_image_leaves_nothing() {
    use cinder_volume::driver::{FileDriver, VolumeDriver};
    let folder = std::env::temp_dir().join(format!("cinder-volume-{}", base::new_id()));
    let driver = FileDriver::new(&folder, Privsep::new()).unwrap();
    let id = base::new_id();
    let image = ImageRef::default();
    let refused = driver.create_from_image(&id, 1, &image, &Broken).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    // A crash leaves partial files; the next start removes them, and nothing else.
    std::fs::write(folder.join(format!("volume-{id}.partial")), "x").unwrap();
    std::fs::write(folder.join("volume-notes.partial"), "x").unwrap();
    driver.clean().await.unwrap();
    assert!(driver.list().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Storage daemons that serve for this attachment.
fn exports(key: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        found += usize::from(line.contains("qemu-storage-daemon") && line.contains(key));
    }
    found
}

#[tokio::test]
async fn guests_of_other_hosts_are_served() {
    if !Privsep::new().has(Program::QemuStorageDaemon) {
        println!("skipped: needs qemu-storage-daemon");
        return;
    }
    let host = host_at(DriverKind::File, vec![], "127.0.0.1").await;
    let (id, kept, lost) = (base::new_id(), base::new_id(), base::new_id());
    host.agent
        .create_volume(&ctx(), spec(&id, 1, None))
        .await
        .unwrap();
    let connect = async |attachment: Option<&String>, at: &str| {
        let connector = json!({"host": at});
        host.agent
            .initialize_connection(&ctx(), id.clone(), attachment.cloned(), connector, false)
            .await
            .unwrap()
    };
    assert_eq!(
        connect(Some(&kept), "h1").await["driver_volume_type"],
        "local"
    );
    assert_eq!(exports(&kept), 0, "who is here needs no server");

    let info = connect(Some(&kept), "c1").await;
    assert_eq!(info["driver_volume_type"], "nbd");
    assert_eq!(connect(Some(&kept), "c1").await, info);
    let other = connect(Some(&lost), "c2").await;
    assert_ne!(
        info["data"]["tls_psk"], other["data"]["tls_psk"],
        "a key for each"
    );
    assert_ne!(info["data"]["port"], other["data"]["port"]);
    connect(None, "c3").await;
    let older = named(&id, "c3");
    assert_eq!((exports(&kept), exports(&lost), exports(&older)), (1, 1, 1));
    // The folder of exports is not taken for a volume.
    assert_eq!(
        host.built.state.driver.list().await.unwrap(),
        std::slice::from_ref(&id)
    );

    // Cinder ended one attachment while this host was away.
    host.scheduler.known.lock().unwrap().push(kept.clone());
    assert_eq!(host.built.state.remove_unknown_exports().await.unwrap(), 0);
    assert_eq!(host.built.state.remove_unknown_exports().await.unwrap(), 1);
    assert_eq!((exports(&kept), exports(&lost), exports(&older)), (1, 0, 1));

    // Taken down, and up again: nobody needs to attach anew.
    let conf = Conf {
        host: "h1".into(),
        volumes_dir: host.folder.clone(),
        my_ip: "127.0.0.1".into(),
        ..Conf::default()
    };
    cinder_volume::teardown(&conf).await.unwrap();
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while exports(&kept) == 0 {
        assert!(std::time::Instant::now() < limit, "it comes back");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(connect(Some(&kept), "c1").await, info);

    let connector = json!({"host": "c1"});
    for _ in 0..2 {
        host.agent
            .terminate_connection(&ctx(), id.clone(), Some(kept.clone()), connector.clone())
            .await
            .unwrap();
    }
    assert_eq!((exports(&kept), exports(&older)), (0, 1));
    host.agent.delete_volume(&ctx(), id.clone()).await.unwrap();
    assert_eq!(exports(&older), 0, "a deleted volume is served to nobody");
}

fn named(volume: &str, at: &str) -> String {
    base::id::named_id(&format!("{volume}/{at}"))
}

/// OSSA-2026-002, for images made of volumes.
#[tokio::test]
async fn a_volume_is_uploaded_as_raw_whatever_its_guest_wrote() {
    let host = host(DriverKind::File, vec![]).await;
    let (id, ctx) = (base::new_id(), ctx());
    let made = host.agent.create_volume(&ctx, spec(&id, 1, None));
    made.await.unwrap();
    let path = host.folder.join(format!("volume-{id}"));
    // A header of qcow2 that names another file of the host as its backing file.
    let mut head = b"QFI\xfb\0\0\0\x02".to_vec();
    head.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 104, 0, 0, 0, 11]);
    head.resize(104, 0);
    head.extend_from_slice(b"/etc/passwd");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &head, 0).unwrap();
    let volume = SourceRef {
        id: id.clone(),
        in_use: false,
    };
    let (agent, image) = (&host.agent, base::new_id());
    let sent = agent.upload_volume(&ctx, volume.clone(), 1, image.clone(), "raw".into());
    sent.await.unwrap();
    let raw = host.images.1.lock().unwrap().clone();
    assert_eq!(raw[..head.len()], head);
    if Privsep::new().has(Program::QemuImg) {
        let sent = agent.upload_volume(&ctx, volume.clone(), 1, image.clone(), "qcow2".into());
        sent.await.unwrap();
        let made = host.images.1.lock().unwrap().clone();
        let mut inspector = host_imagefmt::Inspector::new();
        inspector.feed(&made);
        let found = inspector.finish();
        assert_eq!((found.format.as_str(), found.virtual_size), ("qcow2", GIB));
        found.require_safe().unwrap();
        let inside = made.windows(head.len()).any(|w| w == head);
        assert!(inside, "the guest's header is data in the image");
    }
    let odd = agent
        .upload_volume(&ctx, volume, 1, image, "x/../y".into())
        .await;
    assert_eq!(odd.unwrap_err().kind(), Kind::BadRequest);
    // Nothing is left beside the volume.
    let left = std::fs::read_dir(&host.folder).unwrap();
    let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|n| !n.to_string_lossy().contains("partial")),
        "{left:?}"
    );
}
