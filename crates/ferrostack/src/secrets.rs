//! Passwords that the cloud makes for itself once and keeps in `STATE/secrets.json`, readable by its owner only.

use crate::parts::Role;
use crate::private;
use base::{Error, Result, Secret};
use nix::fcntl::{Flock, FlockArg};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The cloud's own secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Secrets {
    /// Of user `admin`.
    pub admin_password: Secret,
    /// Of user `demo`.
    pub demo_password: Secret,
    /// Of the services' users.
    pub service_password: Secret,
    /// Between the metadata agent and nova.
    pub metadata_shared_secret: Secret,
    /// Of controllers alone: seals keystone's keys in the database, and what is in Memcached.
    #[serde(default)]
    pub cloud_secret: Secret,
}

fn random() -> Secret {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut rng = rand::rng();
    Secret::new(
        (0..24)
            .map(|_| LETTERS[rng.random_range(0..LETTERS.len())] as char)
            .collect::<String>(),
    )
}

/// Whoever holds this is the only one to make or change the secrets of a state directory.
fn alone(state: &Path) -> Result<Flock<File>> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(state.join("secrets.lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| Error::internal(e))
}

impl Secrets {
    /// Reads them; a host that has none has not joined a cloud.
    pub fn load(state: &Path) -> Result<Secrets> {
        let path = state.join("secrets.json");
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::bad_request(format!(
                "{}: {e}. This host has not joined a cloud: run `ferrostack token create` on a controller, and what it prints here.",
                path.display()
            ))
        })?;
        serde_json::from_str(&text).map_err(|e| Error::internal(format!("{}: {e}", path.display())))
    }

    /// What hosts of these roles must know of them; the rest is empty.
    pub fn of(&self, roles: &[Role]) -> Secrets {
        let mut some = self.clone();
        if !roles.contains(&Role::Controller) {
            some.admin_password = Secret::default();
            some.demo_password = Secret::default();
            some.cloud_secret = Secret::default();
            if !roles.contains(&Role::Network) {
                some.metadata_shared_secret = Secret::default();
            }
        }
        some
    }

    /// Reads them, or makes them. Several services of a controller may start at the same time: one makes them, and the others
    /// read what it made.
    pub fn load_or_make(state: &Path) -> Result<Secrets> {
        let _alone = alone(state)?;
        if state.join("secrets.json").exists() {
            let mut found = Secrets::load(state)?;
            // A cloud from before there was one.
            if found.cloud_secret.is_empty() {
                found.cloud_secret = random();
                found.save(state)?;
            }
            return Ok(found);
        }
        let made = Secrets {
            admin_password: random(),
            demo_password: random(),
            service_password: random(),
            metadata_shared_secret: random(),
            cloud_secret: random(),
        };
        made.save(state)?;
        Ok(made)
    }

    fn save(&self, state: &Path) -> Result<()> {
        let partial = state.join("secrets.json.new");
        let _ = std::fs::remove_file(&partial);
        let text = serde_json::to_string_pretty(self)?;
        private::create(&partial, &text)?.sync_all()?;
        std::fs::rename(&partial, state.join("secrets.json"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_start_together_have_the_same_secrets() {
        let state = std::env::temp_dir().join(base::new_hex_id());
        std::fs::create_dir(&state).unwrap();
        let barrier = std::sync::Barrier::new(12);
        let all: Vec<String> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                let secrets = Secrets::load_or_make(&state).unwrap();
                secrets.cloud_secret.expose().to_string()
            };
            let threads: Vec<_> = (0..12).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let kept = Secrets::load(&state).unwrap();
        assert!(all.iter().all(|s| s == kept.cloud_secret.expose()));
        std::fs::remove_dir_all(state).unwrap();
    }
}
