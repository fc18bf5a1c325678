//! Where backups' objects are kept, and the names that are let through to it: containers come from users, prefixes from
//! records that anybody may have written.

use async_trait::async_trait;
use base::{Error, Result, id::is_uuid_like};

/// A place for objects. Names are [`checked`] before they come here.
#[async_trait]
pub trait BackupStore: Send + Sync + 'static {
    /// Upstream's name of the driver, which stands in exported records.
    fn service(&self) -> &'static str;
    /// The container of a backup for which none was named.
    fn container(&self, backup_id: &str) -> String;
    /// Keeps an object; when this returns, it is whole and durable.
    async fn put(&self, container: &str, name: &str, bytes: Vec<u8>) -> Result<()>;
    /// An object of at most so many bytes.
    async fn get(&self, container: &str, name: &str, most: u64) -> Result<Vec<u8>>;
    /// Removes an object; success if it is gone.
    async fn delete(&self, container: &str, name: &str) -> Result<()>;
    /// The names of all objects that begin so.
    async fn list(&self, container: &str, prefix: &str) -> Result<Vec<String>>;
}

fn plain(part: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
    !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
}

fn parts_are_plain(name: &str) -> bool {
    name.len() <= 255 && name.split('/').all(plain)
}

/// A container that leads nowhere else.
pub fn checked_container(name: &str) -> Result<&str> {
    if parts_are_plain(name) {
        return Ok(name);
    }
    Err(Error::bad_request(format!(
        "Invalid input received: '{}' is not a container for backups.",
        name.escape_debug()
    )))
}

/// The beginning of objects' names, which ends with a backup's id: no other backup's objects begin so.
pub fn checked_prefix(prefix: &str) -> Result<&str> {
    let id = prefix.rsplit_once("backup_").map(|(_, id)| id);
    if parts_are_plain(prefix) && id.is_some_and(|id| id.len() == 36 && is_uuid_like(id)) {
        return Ok(prefix);
    }
    Err(Error::bad_request(
        "Invalid backup: the record does not name a backup's objects.",
    ))
}

/// A backup's object that should be there and is not.
pub fn missing(name: &str) -> Error {
    Error::not_found("An object of the backup is missing.").log(format!("{name} is missing"))
}

/// An object that is not what it was.
pub fn damaged(name: &str, why: impl std::fmt::Display) -> Error {
    Error::conflict("An object of the backup is damaged.").log(format!("{name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        let id = base::new_id();
        for good in ["volumebackups", "ab/cd/x", "My-Backups.2026"] {
            checked_container(good).unwrap();
        }
        for bad in [
            "", "/", "..", "a/../b", "/etc", "a//b", ".ssh", "a\0b", "ä", "a b",
        ] {
            assert!(checked_container(bad).is_err(), "{bad:?}");
            assert!(
                checked_prefix(&format!("{bad}/backup_{id}")).is_err(),
                "{bad:?}"
            );
        }
        checked_prefix(&format!("volume_x/20260101/az_nova_backup_{id}")).unwrap();
        for bad in ["", "volume_x", "volume_x/backup_", "backup_12"] {
            assert!(checked_prefix(bad).is_err(), "{bad:?}");
        }
        assert!(checked_prefix(&format!("backup_{id}/x")).is_err());
    }
}
