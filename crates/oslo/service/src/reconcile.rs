//! Reconcilers: periodic work without input that brings the world to what the database says.

use crate::{LeaderLock, jittered, panic_words};
use async_trait::async_trait;
use base::{Error, Result};
use futures::FutureExt;
use metrics::counter;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many things were looked at.
    pub examined: u64,
    /// How many were not as they should be, and now are.
    pub changed: u64,
}

/// Takes no input and may run at any time, twice, or after a crash: it reads what is, and mends what is not right.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// Its name, unique in the process.
    fn name(&self) -> &str;
    /// How long to wait between runs.
    fn interval(&self) -> Duration;
    /// One run.
    async fn run(&self) -> Result<Report>;
}

/// Makes a reconciler run sooner than its interval says.
#[derive(Clone, Default)]
pub struct Poke(Arc<Notify>);

impl Poke {
    /// Runs it now, or once more if it runs already.
    pub fn poke(&self) {
        self.0.notify_one();
    }
}

/// The life of a reconciler. It runs at once: what a crash left behind is mended first.
pub(crate) async fn run(
    reconciler: Arc<dyn Reconciler>,
    lock: Option<LeaderLock>,
    poke: Poke,
    token: CancellationToken,
) -> Result<()> {
    let name = reconciler.name().to_string();
    let mut complaint: Option<String> = None;
    loop {
        // A run is short and safe to cut, but cutting it at every stop would hide errors: it ends by itself.
        let outcome = once(&*reconciler, lock.as_ref()).await;
        let mut pause = reconciler.interval();
        if let (Ok(None), Some(lock)) = (&outcome, &lock) {
            // The leader may die: its work waits for no longer than its lock.
            pause = pause.min(lock.ttl());
        }
        let outcome = outcome.map(Option::unwrap_or_default);
        measure(&name, &outcome);
        match outcome {
            Ok(report) => {
                if complaint.take().is_some() {
                    tracing::info!(reconciler = name, "works again");
                }
                if report.changed > 0 {
                    let Report { examined, changed } = report;
                    tracing::info!(
                        reconciler = name,
                        examined,
                        changed,
                        "mended {changed} of {examined}"
                    );
                }
            }
            Err(error) => {
                let words = error.to_string();
                if complaint.as_deref() == Some(&words) {
                    tracing::debug!(reconciler = name, %error, "still fails");
                } else {
                    tracing::error!(reconciler = name, %error, "failed; it is tried again");
                    complaint = Some(words);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            () = poke.0.notified() => {}
            () = token.cancelled() => break,
        }
    }
    if let Some(lock) = lock {
        lock.release().await?;
    }
    Ok(())
}

fn measure(name: &str, outcome: &Result<Report>) {
    let word = if outcome.is_ok() { "ok" } else { "error" };
    let report = *outcome.as_ref().unwrap_or(&Report::default());
    let name = name.to_string();
    counter!("ferrostack_reconciler_runs_total", "reconciler" => name.clone(), "outcome" => word)
        .increment(1);
    counter!("ferrostack_reconciler_examined_total", "reconciler" => name.clone())
        .increment(report.examined);
    counter!("ferrostack_reconciler_changed_total", "reconciler" => name).increment(report.changed);
}

/// None while another process leads.
async fn once(reconciler: &dyn Reconciler, lock: Option<&LeaderLock>) -> Result<Option<Report>> {
    let run = AssertUnwindSafe(reconciler.run()).catch_unwind();
    let run = async {
        match run.await {
            Ok(outcome) => outcome.map(Some),
            Err(panic) => Err(Error::internal(format!(
                "panicked: {}",
                panic_words(&*panic)
            ))),
        }
    };
    let Some(lock) = lock else {
        return run.await;
    };
    if !lock.try_lead().await? {
        return Ok(None);
    }
    tokio::pin!(run);
    loop {
        tokio::select! {
            outcome = &mut run => return outcome,
            () = tokio::time::sleep(lock.renewal()) => {
                // Another leads now: to go on would be two at once.
                if !lock.try_lead().await? {
                    return Err(Error::internal("the leader's lock was lost during a run"));
                }
            }
        }
    }
}
