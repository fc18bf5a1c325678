//! Tickets: what a controller keeps of them (`STATE/join-tickets.json`, hashes only), and the text that people carry.

use crate::parts::Role;
use base::{Error, Result, Secret, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::fcntl::{Flock, FlockArg};
use rand::Rng;
use sdk::Fingerprint;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

const PREFIX: &str = "fsj1.";

/// What the joining host needs to know.
#[derive(Serialize, Deserialize)]
pub(super) struct Ticket {
    /// `https://address:port` of the controller that made it.
    pub url: String,
    /// Of that controller's certificate.
    pub fingerprint: Fingerprint,
    /// Which ticket.
    pub id: String,
    /// That it is the real one.
    pub secret: Secret,
}

/// What the controller keeps.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    hash: [u8; 32],
    roles: Vec<Role>,
    expires_at: Timestamp,
}

impl Ticket {
    /// As people copy it.
    pub(super) fn show(&self) -> Result<String> {
        let text = serde_json::to_vec(self)?;
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(text)))
    }

    /// Reads what [`Ticket::show`] wrote.
    pub(super) fn parse(text: &str) -> Result<Ticket> {
        let bad = || {
            Error::bad_request(
                "This is no ticket: copy the whole word that `ferrostack token create` printed.",
            )
        };
        let coded = text.trim().strip_prefix(PREFIX).ok_or_else(bad)?;
        let text = URL_SAFE_NO_PAD.decode(coded).map_err(|_| bad())?;
        serde_json::from_slice(&text).map_err(|_| bad())
    }
}

/// Makes a ticket for a host of these roles.
pub(super) fn create(
    state: &Path,
    url: String,
    fingerprint: Fingerprint,
    roles: Vec<Role>,
    lasts: Duration,
) -> Result<Ticket> {
    let mut secret = [0u8; 24];
    rand::rng().fill(&mut secret);
    let secret = URL_SAFE_NO_PAD.encode(secret);
    let kept = Kept {
        id: base::new_hex_id(),
        hash: Sha256::digest(&secret).into(),
        roles,
        expires_at: Timestamp::now().plus(lasts),
    };
    let id = kept.id.clone();
    change(state, move |all| {
        all.push(kept);
        Ok(())
    })?;
    Ok(Ticket {
        url,
        fingerprint,
        id,
        secret: Secret::new(secret),
    })
}

/// Takes a ticket: its roles, and it is gone. `None` if there is no such ticket (any more).
pub(super) fn redeem(state: &Path, id: &str, secret: &Secret) -> Result<Option<Vec<Role>>> {
    let hash: [u8; 32] = Sha256::digest(secret.expose()).into();
    change(state, |all| {
        // The hash is compared, not the secret: what the time of the comparison tells is of no use.
        let found = all.iter().position(|k| k.id == id && k.hash == hash);
        Ok(found.map(|at| all.remove(at).roles))
    })
}

/// Reads, changes and writes the tickets while nobody else does; those whose time is over are forgotten.
fn change<T>(state: &Path, work: impl FnOnce(&mut Vec<Kept>) -> Result<T>) -> Result<T> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(state.join("join-tickets.json"))?;
    let mut file =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| Error::internal(e))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // A crash may have left half a file; tickets can be made again.
    let mut all: Vec<Kept> = serde_json::from_str(&text).unwrap_or_default();
    let now = Timestamp::now();
    all.retain(|k| k.expires_at > now);
    let value = work(&mut all)?;
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(serde_json::to_string_pretty(&all)?.as_bytes())?;
    file.sync_all()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_not_for_ever() {
        let state = std::env::temp_dir().join(base::new_hex_id());
        std::fs::create_dir(&state).unwrap();
        let make = |lasts| {
            let roles = vec![Role::Compute];
            create(&state, "https://192.0.2.1:1".into(), [7; 32], roles, lasts).unwrap()
        };
        let short = make(Duration::ZERO);
        let carried = make(Duration::from_secs(60)).show().unwrap();
        let ticket = Ticket::parse(&format!(" {carried}\n")).unwrap();
        assert_eq!(ticket.fingerprint, [7; 32]);
        let wrong = Secret::new("wrong");
        assert!(redeem(&state, &ticket.id, &wrong).unwrap().is_none());
        assert!(redeem(&state, &short.id, &short.secret).unwrap().is_none());
        let roles = redeem(&state, &ticket.id, &ticket.secret).unwrap();
        assert_eq!(roles, Some(vec![Role::Compute]));
        assert!(
            redeem(&state, &ticket.id, &ticket.secret)
                .unwrap()
                .is_none()
        );
        let kept = std::fs::read_to_string(state.join("join-tickets.json")).unwrap();
        assert!(!kept.contains(ticket.secret.expose()));
        for text in ["", "fsj1.", "fsj1.e30", &carried[1..]] {
            assert!(Ticket::parse(text).is_err(), "{text}");
        }
        std::fs::remove_dir_all(state).unwrap();
    }
}
