//! The way to the server. What several hosts of one process say at the same time goes in one message; while one is under way,
//! the next ones are gathered. For a process that is one host this changes nothing.

use base::{Error, Result};
use futures::future::BoxFuture;
use neutron_types::rpc::{HostReport, PluginClient, PortsReport};
use oslo_context::RequestContext;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Most reports in one message.
const AT_ONCE: usize = 100;
/// How many hosts of a process ask for whole states at the same time.
const ASKING: usize = 4;

/// What the workers of a process share.
#[derive(Clone)]
pub struct Uplink {
    /// The server, for what is asked alone.
    pub plugin: PluginClient,
    /// Statuses of ports.
    pub ports: Arc<Gather<PortsReport>>,
    /// Heartbeats.
    pub beats: Arc<Gather<HostReport>>,
    /// Turns at asking.
    pub asking: Arc<Semaphore>,
}

impl Uplink {
    /// For a process that is so many hosts. Heartbeats can wait for each other if there are several.
    pub fn new(plugin: PluginClient, hosts: usize) -> Uplink {
        let linger = Duration::from_millis(if hosts > 1 { 50 } else { 0 });
        let (ports, beats) = (plugin.clone(), plugin.clone());
        Uplink {
            ports: Arc::new(Gather::new(Duration::ZERO, move |reports| {
                let plugin = ports.clone();
                Box::pin(async move {
                    let ctx = RequestContext::internal();
                    plugin.ports_status(&ctx, reports).await
                })
            })),
            beats: Arc::new(Gather::new(linger, move |reports| {
                let plugin = beats.clone();
                Box::pin(async move {
                    let ctx = RequestContext::internal();
                    plugin.report_agents(&ctx, reports).await
                })
            })),
            plugin,
            asking: Arc::new(Semaphore::new(ASKING)),
        }
    }
}

type Send<T> = dyn Fn(Vec<T>) -> BoxFuture<'static, Result<()>> + std::marker::Send + Sync;

/// Messages of one kind, one under way at a time.
pub struct Gather<T> {
    waiting: Mutex<Vec<(T, oneshot::Sender<Result<()>>)>>,
    turn: tokio::sync::Mutex<()>,
    linger: Duration,
    send: Box<Send<T>>,
}

impl<T> Gather<T> {
    fn new(
        linger: Duration,
        send: impl Fn(Vec<T>) -> BoxFuture<'static, Result<()>> + std::marker::Send + Sync + 'static,
    ) -> Gather<T> {
        Gather {
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            linger,
            send: Box::new(send),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<(T, oneshot::Sender<Result<()>>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends it, alone or with others, and says what became of it.
    pub async fn send(&self, report: T) -> Result<()> {
        let (sender, mut receiver) = oneshot::channel();
        self.waiting().push((report, sender));
        let turn = self.turn.lock().await;
        // Whoever had the turn before may have taken ours along.
        if let Ok(outcome) = receiver.try_recv() {
            return outcome;
        }
        if !self.linger.is_zero() {
            tokio::time::sleep(self.linger).await;
        }
        loop {
            let (reports, senders): (Vec<T>, Vec<_>) = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(AT_ONCE);
                waiting.drain(..count).unzip()
            };
            if reports.is_empty() {
                // It was taken by somebody who went away in the middle of it.
                return Err(Error::unavailable("a report was not sent"));
            }
            let outcome = (self.send)(reports).await;
            for sender in senders {
                let _ = sender.send(outcome.clone());
            }
            if let Ok(outcome) = receiver.try_recv() {
                drop(turn);
                return outcome;
            }
        }
    }
}
