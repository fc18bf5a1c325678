//! `/healthcheck`, for load balancers: whether to send requests here. As oslo.middleware answers, without a token.

use crate::Reply;
use base::Result;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::Method;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Who answers later is not there.
const PATIENCE: Duration = Duration::from_secs(1);
const PATH: &str = "/healthcheck";

type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;
/// What went wrong, for the reply; details are in the log.
type Verdict = std::result::Result<(), &'static str>;

/// Whether a service can do its work. Clones are the same.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    probe: OnceLock<Probe>,
    leaving: AtomicBool,
    /// One question at a time, however many ask: a database that hangs must not be buried under them.
    asking: Mutex<Option<Shared<BoxFuture<'static, Verdict>>>>,
}

impl Health {
    /// What to ask: the service's database. The first call counts.
    pub fn probe<F, Fut>(&self, probe: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let _ = self.0.probe.set(Box::new(move || probe().boxed()));
    }

    /// From now on the answer is 503, so that load balancers go elsewhere before the service stops.
    pub fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    async fn look(&self) -> Verdict {
        if self.0.leaving.load(Ordering::Relaxed) {
            return Err("The service is stopping.");
        }
        let Some(probe) = self.0.probe.get() else {
            return Ok(());
        };
        let asked = {
            let mut asking = self.0.asking.lock().unwrap_or_else(PoisonError::into_inner);
            match asking.take().filter(|a| a.peek().is_none()) {
                Some(running) => asking.insert(running).clone(),
                None => asking.insert(ask(probe())).clone(),
            }
        };
        let late = Err("The database does not answer in time.");
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(late)
    }

    /// The answer, if this is the question.
    pub(crate) async fn answer(&self, method: &Method, path: &str) -> Option<Reply> {
        if path != PATH || !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let text = |status, words: &str| {
            let kind = "text/plain; charset=UTF-8";
            Some(Reply::text(status, kind, words.to_string()))
        };
        match self.look().await {
            // HEAD has its own word for it upstream.
            Ok(()) if *method == Method::HEAD => text(204, ""),
            Ok(()) => text(200, "OK"),
            Err(reason) => text(503, reason),
        }
    }
}

/// A task of its own, because whoever asks may go away.
fn ask(probe: BoxFuture<'static, Result<()>>) -> Shared<BoxFuture<'static, Verdict>> {
    let task = tokio::spawn(probe);
    let verdict = async move {
        match task.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!("the health check fails: {}", error.log_message());
                Err("The database does not answer.")
            }
            Err(_) => Err("The health check failed."),
        }
    };
    verdict.boxed().shared()
}
