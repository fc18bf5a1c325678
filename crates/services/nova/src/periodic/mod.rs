//! Reconcilers: without input, safe to run twice.

mod expire;
pub(crate) mod heal;
mod heartbeat;
mod reservations;

use crate::Nova;
use oslo_service::Supervisor;
use std::sync::Arc;

/// Starts them all.
pub(crate) fn start(supervisor: &Supervisor, nova: &Arc<Nova>, host: &str) {
    supervisor.reconcile(
        Arc::new(heartbeat::Heartbeat {
            nova: Arc::clone(nova),
            host: host.to_string(),
        }),
        None,
    );
    supervisor.reconcile(Arc::new(heal::HealNetworkInfo(Arc::clone(nova))), None);
    supervisor.reconcile(Arc::new(reservations::Reservations(Arc::clone(nova))), None);
    supervisor.reconcile(
        Arc::new(expire::ExpireConsoleTokens(Arc::clone(nova))),
        None,
    );
}
