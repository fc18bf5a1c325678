//! Several processes on one database. Whoever writes tells all processes over the bus, and then they forget what they
//! remember and read new revocations and keys; if the message was lost they notice within a second, when they look at
//! the database's generation. Whoever makes a token looks first: one made on old knowledge would outlive the
//! revocation that it does not know.

use crate::Keystone;
use crate::db::{generation, keys, revocations};
use crate::federation::shadow;
use crate::token::jws::Jws;
use crate::token::keys::SIGNATURES;
use base::{Error, Result};
use keystone_types::{GenerationApi, GenerationClient};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, ServerHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const INTERVAL_MS: u64 = 1000;
/// Clocks of processes differ and transactions take time: rows this much older than the newest are read again.
const OVERLAP: Duration = Duration::from_secs(300);

/// When this process last looked.
pub(crate) struct Sync {
    started: Instant,
    looked_ms: AtomicU64,
    /// When the next membership ends that was given for a time, in microseconds.
    memberships_end: AtomicI64,
    /// One reader of revocations at a time.
    reading: tokio::sync::Mutex<()>,
}

impl Default for Sync {
    fn default() -> Sync {
        Sync {
            started: Instant::now(),
            looked_ms: AtomicU64::new(0),
            memberships_end: AtomicI64::new(i64::MAX),
            reading: Default::default(),
        }
    }
}

struct Listener(Arc<Keystone>);

#[async_trait::async_trait]
impl GenerationApi for Listener {
    async fn moved(&self, _: &RequestContext, generation: u64) -> Result<()> {
        if generation > self.0.generation_now() {
            self.0.catch_up().await?;
        }
        Ok(())
    }
}

impl Keystone {
    /// Tells everybody on the bus of this process's writes, and hears of others' until the handle is dropped.
    pub async fn join(self: &Arc<Self>, bus: &Bus) -> Result<ServerHandle> {
        let dispatcher = GenerationClient::dispatcher(Arc::new(Listener(Arc::clone(self))));
        let handle = bus.serve(&GenerationClient::target(), dispatcher).await?;
        // Who joins twice tells on the first bus.
        let _ = self.everybody.set(GenerationClient::new(bus).fanout());
        Ok(handle)
    }

    /// Nobody waits for it: a bus that is away would make every write slow, and everybody looks now and then anyway.
    pub(crate) fn announce(&self, generation: u64) {
        let Some(everybody) = self.everybody.get().cloned() else {
            return;
        };
        tokio::spawn(async move {
            let ctx = RequestContext::anonymous();
            if let Err(error) = everybody.moved(&ctx, generation).await {
                tracing::warn!(%error, "a change could not be announced; all will see it a little later");
            }
        });
    }

    /// Looks for others' writes if it is time; one caller does, the rest go on with what is known.
    pub(crate) async fn look_around(self: &Arc<Self>) -> Result<()> {
        let now = self.sync.started.elapsed().as_millis() as u64;
        let looked = self.sync.looked_ms.load(Ordering::Relaxed);
        let due = now.saturating_sub(looked) >= INTERVAL_MS;
        if !due
            || self
                .sync
                .looked_ms
                .compare_exchange(looked, now, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
        {
            return Ok(());
        }
        self.refresh_directories();
        let keystone = Arc::clone(self);
        let signed = self.jws.as_ref().is_some_and(Jws::is_directory);
        if signed || self.conf.fernet_tokens.key_repository.is_some() {
            let reload = move || {
                let signed = keystone.jws.as_ref().is_some_and(Jws::reload);
                Ok::<_, Error>(keystone.keys.reload()? || signed)
            };
            let changed = tokio::task::spawn_blocking(reload)
                .await
                .map_err(Error::internal)??;
            if changed {
                // Tokens of forgotten keys are over, for everybody who remembers them.
                return self.write(|_| Ok(())).await;
            }
        }
        self.catch_up().await
    }

    /// Ends memberships whose time has come, and with them what they gave.
    pub(crate) async fn end_memberships(&self) -> Result<()> {
        let now = self.clock.now();
        if now.0 < self.sync.memberships_end.load(Ordering::Acquire) {
            return Ok(());
        }
        self.write(move |tx| shadow::end_memberships(tx, now).map(drop))
            .await
    }

    /// Reads the generation, and what depends on it if it moved.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        let found = self.db.peek(generation::current).await?;
        if found != self.generation_now() {
            self.caught_up(found).await?;
        }
        Ok(())
    }

    /// Takes up the world as of `generation` or later.
    pub(crate) async fn caught_up(&self, generation: u64) -> Result<()> {
        let _alone = self.sync.reading.lock().await;
        let oldest = self.clock.now().minus(self.revocations_last());
        let newest = self
            .revocations
            .read()
            .unwrap_or_else(|e| e.into_inner())
            .newest();
        let since = oldest.max(newest.minus(OVERLAP));
        let purposes = [self.keys.purpose, self.credential_keys.purpose];
        let signed = self.jws.as_ref().is_some_and(|jws| jws.seal().is_some());
        let (rows, [token_keys, credential_keys, pairs], next_end) = self
            .db
            .read(move |tx| {
                let [tokens, credentials] = purposes;
                let pairs = match signed {
                    true => keys::list(tx, SIGNATURES)?,
                    false => vec![],
                };
                let keys = [keys::list(tx, tokens)?, keys::list(tx, credentials)?, pairs];
                let next_end = shadow::next_end(tx)?;
                Ok((revocations::since(tx, since)?, keys, next_end))
            })
            .await?;
        let next_end = next_end.map_or(i64::MAX, |end| end.0);
        self.sync.memberships_end.store(next_end, Ordering::Release);
        {
            let mut known = self.revocations.write().unwrap_or_else(|e| e.into_inner());
            known.absorb(rows);
            known.forget(oldest);
        }
        self.keys.take_up_rows(&token_keys);
        self.credential_keys.take_up_rows(&credential_keys);
        if let Some(jws) = &self.jws {
            jws.take_up_rows(&pairs);
        }
        self.generation.fetch_max(generation, Ordering::AcqRel);
        self.cache.clear();
        Ok(())
    }
}
