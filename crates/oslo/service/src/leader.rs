//! Who of several processes does a piece of periodic work: a row with an expiry, taken by compare-and-swap.

use base::{Clock, Result, Timestamp};
use oslo_db::{Db, Migration, all, any, eq, le, set};
use std::time::Duration;

/// The table of locks, for the database that holds them.
pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "2026-11-23-leader",
    sql: include_str!("../migrations/2026-11-23-initial.sql"),
}];

oslo_db::table! {
    struct LockRow in "leader_locks" { name: String, owner: String, expires_at: Timestamp }
}

/// One lock as one process sees it.
#[derive(Clone)]
pub struct LeaderLock {
    db: Db,
    name: String,
    owner: String,
    ttl: Duration,
    clock: Clock,
}

impl LeaderLock {
    /// The lock `name`; `owner` names this process and is unique. A leader that is not heard of for `ttl` is replaced.
    pub fn new(db: &Db, name: &str, owner: &str, ttl: Duration, clock: Clock) -> LeaderLock {
        LeaderLock {
            db: db.clone(),
            name: name.to_string(),
            owner: owner.to_string(),
            ttl,
            clock,
        }
    }

    /// Takes or renews the lock; false while another process holds it.
    pub async fn try_lead(&self) -> Result<bool> {
        let (name, owner, now) = (self.name.clone(), self.owner.clone(), self.clock.now());
        let expires_at = now.plus(self.ttl);
        let taken = self.db.write(move |tx| {
            let mine_or_free = any([eq("owner", &owner), le("expires_at", now)]);
            let cond = all([eq("name", &name), mine_or_free]);
            let values = [set("owner", &owner), set("expires_at", expires_at)];
            if tx.update::<LockRow>(cond, &values)? > 0 {
                return Ok(true);
            }
            if tx.exists::<LockRow>(eq("name", &name))? {
                return Ok(false);
            }
            tx.insert(&LockRow {
                name: name.clone(),
                owner: owner.clone(),
                expires_at,
            })?;
            Ok(true)
        });
        match taken.await {
            Err(error) if oslo_db::is_duplicate(&error) => Ok(false),
            outcome => outcome,
        }
    }

    /// Gives the lock back, so that another need not wait for it to expire.
    pub async fn release(&self) -> Result<()> {
        let (name, owner) = (self.name.clone(), self.owner.clone());
        let cond = move || all([eq("name", &name), eq("owner", &owner)]);
        self.db
            .write(move |tx| tx.delete::<LockRow>(cond()))
            .await
            .map(drop)
    }

    /// After how long a leader that is not heard of is replaced.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// How often a leader must renew.
    pub(crate) fn renewal(&self) -> Duration {
        self.ttl / 3
    }
}
