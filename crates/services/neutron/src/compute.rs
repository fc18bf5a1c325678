//! What the compute service is told of ports: while one message is under way, the next ones are gathered into one.

use crate::Neutron;
use oslo_service::Supervisor;
use sdk::{Caller, Method};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Most events in one message.
const AT_ONCE: usize = 200;
/// More than this are of no use to anybody: compute looks at ports by itself, too.
const KEPT: usize = 10_000;

/// Something that happened to a server's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    /// Upstream's name.
    pub name: &'static str,
    pub server: String,
    pub port: Option<String>,
}

/// Events on their way.
#[derive(Default)]
pub(crate) struct Events {
    waiting: Mutex<Vec<Event>>,
    wake: Notify,
}

impl Events {
    /// Best effort, after the commit.
    pub(crate) fn tell(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(events);
        let excess = waiting.len().saturating_sub(KEPT);
        waiting.drain(..excess);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<Event> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(AT_ONCE);
        waiting.drain(..count).collect()
    }
}

/// Starts the worker that tells.
pub(crate) fn start(neutron: &Arc<Neutron>, supervisor: &Supervisor) {
    let neutron = Arc::clone(neutron);
    supervisor.spawn("neutron-events", move |cancel| {
        let neutron = Arc::clone(&neutron);
        async move {
            loop {
                let events = neutron.events.take();
                if events.is_empty() {
                    tokio::select! {
                        () = cancel.cancelled() => return Ok(()),
                        () = neutron.events.wake.notified() => continue,
                    }
                }
                send(&neutron, events).await;
            }
        }
    });
}

async fn send(neutron: &Neutron, events: Vec<Event>) {
    // The same twice says no more than once; the order of what is left stays.
    let mut seen = BTreeSet::new();
    let events = events.iter().filter(|e| seen.insert(*e)).map(body);
    let body = json!({"events": events.collect::<Vec<_>>()});
    let path = "/v2.1/os-server-external-events";
    let told = neutron
        .sdk
        .request(Caller::Service, "compute", Method::POST, path, Some(body))
        .await;
    if let Err(error) = told {
        tracing::debug!(%error, "the compute service did not take events");
    }
}

fn body(event: &Event) -> Value {
    let mut body = json!({"name": event.name, "server_uuid": event.server, "status": "completed"});
    if let Some(port) = &event.port {
        body["tag"] = json!(port);
    }
    body
}
