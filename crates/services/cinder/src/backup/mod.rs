//! Backups: their statuses, and a verb per file.

pub mod create;
pub mod delete;
pub mod record;
pub mod restore;
pub mod status;
mod stuck;

pub use stuck::StuckBackups;

use crate::Cinder;
use crate::db::{self, ServiceRow};
use crate::scheduler::is_up;
use base::{Error, Result};

/// A backup that is not in the state for this; upstream's `InvalidBackup`.
pub fn invalid_backup(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("Invalid backup: {reason}")).class("InvalidBackup")
}

/// The backup agents that could do something now. They report every few seconds: one that is away is worth another try.
async fn agents(cinder: &Cinder) -> Result<Vec<ServiceRow>> {
    let read = |tx: &mut oslo_db::Tx| db::services::of_binary(tx, db::services::BACKUP);
    let (all, now) = (cinder.db.read(read).await?, cinder.clock.now());
    let able = |s: &ServiceRow| !s.disabled && is_up(&cinder.conf, s, now);
    Ok(all.into_iter().filter(able).collect())
}

/// The agent beside a backend.
pub async fn beside(cinder: &Cinder, backend: &str) -> Result<ServiceRow> {
    let mut agents = agents(cinder).await?.into_iter();
    agents.find(|a| a.host == backend).ok_or_else(no_service)
}

/// The agent that made a backup, or another that keeps backups in the same way.
pub async fn keeper(
    cinder: &Cinder,
    host: Option<&str>,
    service: Option<&str>,
) -> Result<ServiceRow> {
    let mut agents = agents(cinder).await?;
    agents.retain(|a| service.is_none() || a.report.0.backup_service.as_deref() == service);
    let own = agents.iter().position(|a| Some(a.host.as_str()) == host);
    match own {
        Some(at) => Ok(agents.swap_remove(at)),
        None => agents.into_iter().next().ok_or_else(no_service),
    }
}

/// Upstream's `ServiceNotFound` of backups.
pub fn no_service() -> Error {
    Error::unavailable("Service cinder-backup could not be found.").class("ServiceNotFound")
}
