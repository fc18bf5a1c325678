//! Reconcilers: without input, safe to run twice. Conductors run them, one of all conductors at a time.

mod expire;
pub(crate) mod heal;
mod heartbeat;
mod reservations;

use crate::notifications::Deliver;
use crate::{Nova, Parts};
use oslo_service::{LeaderLock, Reconciler, Supervisor};
use std::sync::Arc;
use std::time::Duration;

/// A leader that is not heard of for so long is replaced.
const TTL: Duration = Duration::from_secs(30);

/// Starts those of the parts that run here.
pub(crate) fn start(supervisor: &Supervisor, nova: &Arc<Nova>, host: &str, parts: Parts) {
    let heartbeat = heartbeat::Heartbeat {
        nova: Arc::clone(nova),
        host: host.to_string(),
        parts,
    };
    supervisor.reconcile(Arc::new(heartbeat), None);
    if !parts.conductor {
        return;
    }
    let all: [Arc<dyn Reconciler>; 3] = [
        Arc::new(heal::HealNetworkInfo(Arc::clone(nova))),
        Arc::new(reservations::Reservations(Arc::clone(nova))),
        Arc::new(expire::ExpireConsoleTokens(Arc::clone(nova))),
    ];
    for reconciler in all {
        lead(supervisor, nova, host, reconciler, TTL);
    }
    if nova.teller.tells() {
        let deliver = Arc::new(Deliver(Arc::clone(nova)));
        // Listeners wait for no longer when a conductor dies.
        lead(supervisor, nova, host, deliver, TTL / 3);
    }
}

/// Runs it in one conductor at a time.
fn lead(
    supervisor: &Supervisor,
    nova: &Arc<Nova>,
    host: &str,
    reconciler: Arc<dyn Reconciler>,
    ttl: Duration,
) {
    // The next life of this conductor leads at once: it has the same name.
    let owner = format!("nova-conductor@{host}");
    let (name, clock) = (reconciler.name().to_string(), nova.clock.clone());
    let lock = LeaderLock::new(&nova.db, &name, &owner, ttl, clock);
    supervisor.reconcile(reconciler, Some(lock));
}
