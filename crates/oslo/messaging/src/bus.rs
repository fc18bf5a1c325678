//! The handle that everybody holds: call, cast, fanout, notify, serve.

use crate::dispatch::{Dispatcher, Endpoint};
use crate::envelope::Request;
use crate::in_process::InProcess;
use crate::measure::{self, Meter, Side};
use crate::notify::{self, NotificationHandler, Priority};
use crate::server::ServerHandle;
use crate::target::Target;
use crate::transport::{Route, Sources, Transport};
use base::{Error, Kind, Result};
use oslo_context::RequestContext;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What a bus does when nobody says otherwise.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a call waits for its answer (upstream's `rpc_response_timeout`).
    pub call_timeout: Duration,
    /// How long a message waits for a server to appear before it is refused with 503.
    pub patience: Duration,
    /// How many messages a server handles at once (upstream's `executor_thread_pool_size`).
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            call_timeout: Duration::from_secs(60),
            patience: Duration::from_millis(500),
            concurrency: 64,
        }
    }
}

/// How long a call that is sent again waits for a server to come back.
const AFTER_A_BREAK: Duration = Duration::from_secs(30);

/// The bus. Clones are the same bus.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Box<dyn Transport>,
    options: Options,
}

impl From<&Bus> for Bus {
    fn from(bus: &Bus) -> Bus {
        bus.clone()
    }
}

impl Bus {
    /// A bus inside this process; every such bus is a world of its own.
    pub fn in_process() -> Bus {
        Bus::in_process_with(Options::default())
    }

    /// The same with other options.
    pub fn in_process_with(options: Options) -> Bus {
        Bus::over(Box::new(InProcess::new()), options)
    }

    pub(crate) fn over(transport: Box<dyn Transport>, options: Options) -> Bus {
        Bus {
            inner: Arc::new(Inner { transport, options }),
        }
    }

    /// What the bus does when nobody says otherwise.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Asks one server and waits for its answer, for as long as [`Options::call_timeout`].
    ///
    /// Nobody there is 503 (`MessageUndeliverable`); no answer in time is 504 (`MessagingTimeout`), and then
    /// whether the work was done is not known.
    pub async fn call(
        &self,
        ctx: &RequestContext,
        target: &Target,
        method: &str,
        args: Value,
    ) -> Result<Value> {
        self.call_within(ctx, target, method, args, self.inner.options.call_timeout)
            .await
    }

    /// The same with another timeout.
    pub async fn call_within(
        &self,
        ctx: &RequestContext,
        target: &Target,
        method: &str,
        args: Value,
        timeout: Duration,
    ) -> Result<Value> {
        if target.fanout {
            return Err(Error::internal(format!(
                "{method} is a call and cannot fan out"
            )));
        }
        let meter = Meter::begin(Side::Call);
        let outcome = self.exchange(ctx, target, method, args, timeout).await;
        meter.end(method, &outcome);
        outcome
    }

    async fn exchange(
        &self,
        ctx: &RequestContext,
        target: &Target,
        method: &str,
        args: Value,
        timeout: Duration,
    ) -> Result<Value> {
        let transport = &self.inner.transport;
        let msg_id = base::new_hex_id();
        let mut waiting = transport.replies().expect(&msg_id);
        let mut request = request(ctx, target, method, args);
        request.msg_id = Some(msg_id.clone());
        request.reply_q = Some(transport.reply_queue().to_string());
        let body = request.encode()?;
        let route = route(target);
        let patience = self.inner.options.patience.min(timeout);
        let exchange = async {
            let mut patience = patience;
            loop {
                let renewed = transport.renewed();
                transport.send(&route, body.clone(), patience).await?;
                tokio::select! {
                    outcome = &mut waiting.receiver => {
                        let lost = |_| Error::internal("the table of calls lost a call");
                        return outcome.map_err(lost)?;
                    }
                    // A broker that died took the request with it, or not: it is asked again in the same words, and a
                    // server that had them already knows them by their id. Servers need a moment to come back, too.
                    () = renewed => {
                        tracing::info!(msg_id, method, "asked again: the connection to the broker is a new one");
                        patience = AFTER_A_BREAK.min(timeout);
                    }
                }
            }
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let words = format!("Timed out waiting for a reply to message ID {msg_id}");
                let log = format!(
                    "{method} on {} did not answer within {timeout:?}",
                    target.queue()
                );
                Err(Error::new(Kind::Timeout, words)
                    .class("MessagingTimeout")
                    .log(log))
            }
        }
    }

    /// Tells one server (all, if the target fans out) and does not wait for the work. Nobody there is 503;
    /// a fan-out to nobody is fine.
    pub async fn cast(
        &self,
        ctx: &RequestContext,
        target: &Target,
        method: &str,
        args: Value,
    ) -> Result<()> {
        let body = request(ctx, target, method, args).encode()?;
        let (route, patience) = (route(target), self.inner.options.patience);
        let sent = self.inner.transport.send(&route, body, patience).await;
        measure::cast(method, target.fanout, &sent);
        sent
    }

    /// Tells all servers of the topic.
    pub async fn fanout(
        &self,
        ctx: &RequestContext,
        target: &Target,
        method: &str,
        args: Value,
    ) -> Result<()> {
        self.cast(ctx, &target.clone().fanout(), method, args).await
    }

    /// Serves a topic as `target.server`: takes from the topic, the topic of this server, and its fan-outs.
    pub async fn serve(
        &self,
        target: &Target,
        dispatcher: Arc<dyn Dispatcher>,
    ) -> Result<ServerHandle> {
        self.serve_with(target, dispatcher, self.inner.options.concurrency)
            .await
    }

    /// The same with another bound on handlers that run at once.
    pub async fn serve_with(
        &self,
        target: &Target,
        dispatcher: Arc<dyn Dispatcher>,
        concurrency: usize,
    ) -> Result<ServerHandle> {
        let mut queues = vec![target.topic.clone()];
        if target.server.is_some() {
            queues.push(target.queue());
        }
        let sources = Sources {
            exchange: target.exchange.clone(),
            queues,
            fanout: Some(target.topic.clone()),
        };
        self.inner
            .transport
            .listen(sources, Arc::new(Endpoint::new(dispatcher)), concurrency)
            .await
    }

    /// Tells whoever listens (billing, audit) on a topic of an exchange (upstream's `control_exchange`) that something
    /// happened: what [`crate::Notification::encode`] made.
    pub async fn notify(
        &self,
        exchange: &str,
        topic: &str,
        priority: Priority,
        body: Vec<u8>,
    ) -> Result<()> {
        let route = Route::Notification {
            exchange: exchange.to_string(),
            queue: notify::queue(topic, priority),
        };
        let patience = self.inner.options.patience;
        let sent = self.inner.transport.send(&route, body, patience).await;
        measure::notification(&sent);
        sent
    }

    /// Listens to notifications of every priority. Several listeners share them.
    pub async fn listen_notifications(
        &self,
        exchange: &str,
        topic: &str,
        handler: Arc<dyn NotificationHandler>,
    ) -> Result<ServerHandle> {
        let queue = |priority: &Priority| notify::queue(topic, *priority);
        let sources = Sources {
            exchange: exchange.to_string(),
            queues: Priority::ALL.iter().map(queue).collect(),
            fanout: None,
        };
        let accept = Arc::new(notify::Listener::new(handler));
        self.inner
            .transport
            .listen(sources, accept, self.inner.options.concurrency)
            .await
    }

    /// Hands over bytes as they are; for conformance suites.
    #[doc(hidden)]
    pub async fn send_raw(&self, target: &Target, body: Vec<u8>) -> Result<()> {
        self.inner
            .transport
            .send(&route(target), body, self.inner.options.patience)
            .await
    }
}

fn request(ctx: &RequestContext, target: &Target, method: &str, args: Value) -> Request {
    Request {
        ctx: ctx.clone(),
        method: method.to_string(),
        args,
        namespace: target.namespace.clone(),
        version: target.version.clone(),
        msg_id: None,
        reply_q: None,
        unique_id: base::new_hex_id(),
    }
}

fn route(target: &Target) -> Route {
    if target.fanout {
        Route::Fanout {
            topic: target.topic.clone(),
        }
    } else {
        Route::Queue {
            exchange: target.exchange.clone(),
            queue: target.queue(),
        }
    }
}
