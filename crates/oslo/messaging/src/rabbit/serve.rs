//! A server's own channel: declares its queues, takes messages, acknowledges what ran.

use super::{Parcel, Shared, lines, link};
use crate::dead::{Death, Reason};
use crate::server::Runner;
use crate::transport::Sources;
use base::Result;
use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, Channel, Connection, ExchangeKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(super) struct Server {
    shared: Arc<Shared>,
    sources: Sources,
    runner: Runner,
    prefetch: u16,
    fanout_queue: Option<String>,
}

struct Session {
    connection: Arc<Connection>,
    channel: Channel,
    tags: Vec<ShortString>,
    messages: SelectAll<BoxStream<'static, (Arc<str>, lapin::Result<Delivery>)>>,
}

/// How often servers died with a message, of which a classic queue keeps no count.
const DELIVERIES: &str = "x-ferrostack-deliveries";
/// The broker's own count, of quorum queues.
const DELIVERY_COUNT: &str = "x-delivery-count";

impl Server {
    pub(super) fn new(
        shared: Arc<Shared>,
        sources: Sources,
        runner: Runner,
        prefetch: u16,
    ) -> Server {
        let queue = |topic: &String| format!("{topic}_fanout_{}", base::new_hex_id());
        let fanout_queue = sources.fanout.as_ref().map(queue);
        Server {
            shared,
            sources,
            runner,
            prefetch,
            fanout_queue,
        }
    }

    /// Serves until told to stop, over as many connections as it takes.
    pub(super) async fn run(self, stop: CancellationToken, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        while !stop.is_cancelled() {
            let connect = lines::line(&self.shared, &self.sources.queues[0]);
            let Some(connection) = stop.run_until_cancelled(connect).await else {
                break;
            };
            let opened = link::in_time(&self.shared, self.open(connection)).await;
            let session = match opened {
                Ok(session) => session,
                Err(error) => {
                    tracing::error!(%error, "cannot listen on {}; trying again", self.sources.queues.join(", "));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if let Some(ready) = ready.take() {
                // Nobody waits any more if it took too long.
                let _ = ready.send(());
            }
            if let Some(session) = self.take(session, &stop).await {
                self.close(session).await;
            }
        }
        self.runner.tasks.close();
        self.runner.tasks.wait().await;
    }

    async fn open(&self, connection: Arc<Connection>) -> lapin::Result<Session> {
        let config = &self.shared.config;
        let channel = connection.create_channel().await?;
        channel
            .basic_qos(self.prefetch, BasicQosOptions::default())
            .await?;
        let mut queues = self.sources.queues.clone();
        link::exchange(
            &channel,
            &self.sources.exchange,
            &ExchangeKind::Topic,
            config,
        )
        .await?;
        for queue in &queues {
            link::queue(&channel, &self.sources.exchange, queue, config).await?;
        }
        if let (Some(topic), Some(queue)) = (&self.sources.fanout, &self.fanout_queue) {
            let exchange = format!("{topic}_fanout");
            link::exchange(&channel, &exchange, &ExchangeKind::Fanout, config).await?;
            let options = QueueDeclareOptions {
                durable: config.transient_quorum,
                ..QueueDeclareOptions::default()
            };
            channel
                .queue_declare(queue.as_str().into(), options, link::transient(config))
                .await?;
            let (key, bind) = (topic.as_str().into(), QueueBindOptions::default());
            channel
                .queue_bind(
                    queue.as_str().into(),
                    exchange.into(),
                    key,
                    bind,
                    FieldTable::default(),
                )
                .await?;
            queues.push(queue.clone());
        }
        let mut messages = SelectAll::new();
        let mut tags = Vec::new();
        for queue in queues {
            let options = BasicConsumeOptions::default();
            let consumer = channel
                .basic_consume(
                    queue.as_str().into(),
                    "".into(),
                    options,
                    FieldTable::default(),
                )
                .await?;
            tags.push(consumer.tag());
            let queue: Arc<str> = queue.into();
            // The broker ends it when the queue goes: an operator deleted it, or the node of a cluster that had it died.
            // Without a word about that the others would go on, and this queue would be served no more.
            let end = stream::once(async { Err(gone()) });
            messages.push(consumer.chain(end).map(move |m| (queue.clone(), m)).boxed());
        }
        Ok(Session {
            connection,
            channel,
            tags,
            messages,
        })
    }

    /// Takes messages until the session breaks (`None`) or is to end.
    async fn take(&self, mut session: Session, stop: &CancellationToken) -> Option<Session> {
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Some(session),
                message = session.messages.next() => message,
            };
            let (queue, message) = match message {
                Some((queue, Ok(message))) => (queue, message),
                Some((queue, Err(error))) => {
                    tracing::warn!(%queue, %error, "the broker gives no more messages");
                    return None;
                }
                None => return None,
            };
            match self.again(&message) {
                Some(times) => self.look_twice(queue, message, times),
                None => self.handle(queue, message),
            }
        }
    }

    fn handle(&self, queue: Arc<str>, message: Delivery) {
        let (shared, acker) = (self.shared.clone(), message.acker);
        let (exchange, body) = (message.exchange, Arc::<[u8]>::from(message.data));
        let copy = body.clone();
        self.runner.start(body, move |outcome| async move {
            if let Some(answer) = outcome.answer {
                shared.answer(answer).await;
            }
            if let Some(death) = outcome.dead {
                let from = (exchange.as_str(), &*queue);
                if let Err(error) = shared.bury(from, &copy, &death).await {
                    return tracing::error!(%error, "a dead letter was not put aside; it will come again");
                }
            }
            acknowledge(&acker).await;
        });
    }

    /// How often servers died with the message, if that is to be looked at before this one takes it.
    fn again(&self, message: &Delivery) -> Option<u32> {
        self.shared.config.most_deliveries()?;
        // A duplicate of what is in hand here, or was, comes because of a connection and not because of what it does.
        if !message.redelivered || self.runner.knows(&message.data) {
            return None;
        }
        match number(message, DELIVERY_COUNT) {
            // Below the limit it is like any other: the broker counts.
            Some(times) => self.is_too_often(times).then_some(times),
            None => Some(number(message, DELIVERIES).unwrap_or(0) + 1),
        }
    }

    fn is_too_often(&self, times: u32) -> bool {
        let most = self.shared.config.most_deliveries();
        most.is_some_and(|most| times >= most)
    }

    /// Puts a message aside that came too often; otherwise writes down how often, and lets it come once more.
    fn look_twice(&self, queue: Arc<str>, message: Delivery, times: u32) {
        let (shared, runner) = (self.shared.clone(), self.runner.clone());
        let bury = self.is_too_often(times);
        self.runner.tasks.spawn(async move {
            let done = if bury {
                let words = format!("{times} servers died with it");
                let death = Death::new(Reason::DeliveryLimit, words);
                runner.mourn(&death);
                let from = (message.exchange.as_str(), &*queue);
                shared.bury(from, &message.data, &death).await
            } else {
                send_again(&shared, &queue, &message.data, times).await
            };
            match done {
                Ok(()) => acknowledge(&message.acker).await,
                Err(error) => {
                    tracing::error!(%error, "a message that came again is left where it is")
                }
            }
        });
    }

    /// No more messages; those that run end; those that wait go back to the broker.
    async fn close(&self, session: Session) {
        let Session {
            connection,
            channel,
            tags,
            messages,
        } = session;
        for tag in tags {
            let _ = channel
                .basic_cancel(tag, BasicCancelOptions::default())
                .await;
        }
        self.runner.tasks.close();
        self.runner.tasks.wait().await;
        if let Some(queue) = &self.fanout_queue {
            let _ = channel
                .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
                .await;
        }
        drop(messages);
        // They close with the process anyway.
        let _ = match Arc::into_inner(connection) {
            Some(connection) => connection.close(200, "stopped".into()).await,
            None => channel.close(200, "stopped".into()).await,
        };
    }
}

fn gone() -> lapin::Error {
    std::io::Error::other("the queue is gone").into()
}

async fn acknowledge(acker: &Acker) {
    if let Err(error) = acker.ack(BasicAckOptions::default()).await {
        tracing::debug!(%error, "not acknowledged; it will come again and be recognised");
    }
}

/// To the end of its own queue, with the count.
async fn send_again(shared: &Shared, queue: &str, body: &[u8], times: u32) -> Result<()> {
    let mut headers = FieldTable::default();
    headers.insert(DELIVERIES.into(), AMQPValue::LongLongInt(times.into()));
    let parcel = Parcel {
        headers,
        ..Parcel::to_queue(queue, body)
    };
    match shared.publish(&parcel).await? {
        true => Ok(()),
        false => Err(crate::transport::nobody(queue)),
    }
}

fn number(message: &Delivery, header: &str) -> Option<u32> {
    let headers = message.properties.headers().as_ref()?;
    let number = match headers.inner().get(header)? {
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    };
    u32::try_from(number).ok()
}
