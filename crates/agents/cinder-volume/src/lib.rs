//! The volume agent: keeps volumes on a host, as cinder says.

pub mod backup;
mod config;
pub mod driver;
mod image;
mod locks;
mod manager;
mod upload;

pub use backup::BackupConf;
pub use config::{DriverKind, VolumeConf as Conf};
pub use image::ImageSource;
pub use manager::Manager;

use backup::Backups;
use base::{Error, Result};
use cinder_types::{BackupClient, SchedulerClient, VolumeClient};
use driver::{FakeDriver, FileDriver, VolumeDriver};
use host_brick::Target;
use host_privsep::{Privsep, Program};
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::Supervisor;
use std::sync::Arc;
use std::time::Duration;

/// What the binary gives.
pub struct Deps {
    pub bus: Bus,
    /// Usually an `sdk::Sdk`.
    pub images: Arc<dyn ImageSource>,
    pub privsep: Privsep,
    pub conf: Conf,
    pub backup: BackupConf,
    pub supervisor: Arc<Supervisor>,
}

/// What the binary gets. Dropping `servers` ends the service.
pub struct Built {
    pub state: Arc<Manager>,
    pub servers: Vec<ServerHandle>,
}

/// Cleans up, serves cinder, reports.
pub async fn build(deps: Deps) -> Result<Built> {
    let conf = deps.conf;
    let driver: Arc<dyn VolumeDriver> = match conf.driver {
        DriverKind::File => Arc::new(FileDriver::new(&conf.volumes_dir, deps.privsep.clone())?),
        DriverKind::Fake => {
            let delay = Duration::from_millis(conf.fake_delay_ms);
            Arc::new(FakeDriver::new(
                &conf.volumes_dir,
                delay,
                conf.fake_capacity_gb,
            )?)
        }
    };
    driver.clean().await?;
    let target = target(&conf, deps.privsep.clone())?;
    if let Some(target) = &target {
        // Guests of other hosts wait for these.
        target.keep();
    }
    let scheduler = SchedulerClient::new(&deps.bus);
    let (report_every, orphans_every) = (
        Duration::from_secs(conf.report_interval.max(1)),
        Duration::from_secs(conf.orphan_interval.max(1)),
    );
    let backups = Backups::open(&deps.backup, Arc::clone(&driver))?;
    let mut manager = Manager::new(driver, target, deps.images, conf, scheduler, deps.privsep);
    manager.backup_service = backups.as_ref().map(|b| b.service().to_string());
    let manager = Arc::new(manager);
    let mut servers = vec![VolumeClient::serve(&deps.bus, &manager.name(), manager.clone()).await?];
    if let Some(backups) = backups {
        servers.push(BackupClient::serve(&deps.bus, &manager.name(), backups).await?);
    }

    let reporter = manager.clone();
    let name = format!("cinder-volume {} report", manager.name());
    deps.supervisor.spawn(&name, move |token| {
        let manager = reporter.clone();
        async move {
            loop {
                // An error ends the worker; the supervisor begins again, sooner than the next report.
                manager.report().await?;
                tokio::select! {
                    () = tokio::time::sleep(report_every) => {}
                    () = token.cancelled() => return Ok(()),
                }
            }
        }
    });
    let cleaner = manager.clone();
    let name = format!("cinder-volume {} orphans", manager.name());
    deps.supervisor.spawn(&name, move |token| {
        let manager = cleaner.clone();
        async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(orphans_every) => {}
                    () = token.cancelled() => return Ok(()),
                }
                manager.remove_orphans().await?;
                manager.remove_unknown_exports().await?;
            }
        }
    });
    Ok(Built {
        state: manager,
        servers,
    })
}

/// What serves this host's volumes to other hosts, if it has an address for that.
fn target(conf: &Conf, privsep: Privsep) -> Result<Option<Target>> {
    if conf.my_ip.is_empty() || conf.driver != DriverKind::File {
        return Ok(None);
    }
    if !privsep.has(Program::QemuStorageDaemon) {
        return Err(Error::bad_request(
            "[cinder_volume] my_ip: volumes are served by qemu-storage-daemon, which is not installed here.",
        ));
    }
    let last = conf
        .nbd_first_port
        .saturating_add(conf.nbd_ports.max(1) - 1);
    Ok(Some(Target::new(
        &conf.volumes_dir.canonicalize()?.join("exports"),
        &format!("{}@{}", conf.host, conf.volume_backend_name),
        &conf.my_ip,
        conf.nbd_first_port..=last,
        privsep,
    )))
}

/// Ends what a cloud of this configuration still serves to other hosts. Its next start serves it again.
pub async fn teardown(conf: &Conf) -> Result<()> {
    if !conf.volumes_dir.exists() {
        return Ok(());
    }
    match target(conf, Privsep::new())? {
        Some(target) => target.stop().await,
        None => Ok(()),
    }
}
