//! The connection that publishes and takes answers.

use super::{Parcel, RabbitConfig, Shared, dead};
use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    ExchangeKind,
};
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// A broker that is back is found again within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A broker whose machine is gone does not refuse, it says nothing: the next one is tried after this.
const CONNECT: Duration = Duration::from_secs(5);

/// So many messages are on their way at once, each on a channel of its own. The broker confirms several messages of a
/// channel in one word, and lapin then gives one that came back to any of those: a message that was taken would be sent
/// again, to another server perhaps, and one that nobody took would be lost in silence.
const CHANNELS: usize = 64;

/// One life of the connection.
pub(crate) struct Link {
    connection: Connection,
    /// Declares.
    channel: Channel,
    /// Channels to publish over that carry nothing at the moment.
    idle: Mutex<Vec<Channel>>,
    turns: Semaphore,
    declared: Mutex<HashSet<String>>,
}

/// Keeps a link up for ever.
pub(super) async fn keep(shared: &Shared) {
    loop {
        let connection = connect(shared, "publish").await;
        if let Err(error) = live(shared, connection).await {
            tracing::warn!(%error, "the connection to the message broker broke");
        }
        shared.link.send_replace(None);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn live(shared: &Shared, connection: Connection) -> lapin::Result<()> {
    let (link, mut answers) = in_time(shared, set_up(shared, connection)).await?;
    shared.link.send_replace(Some(Arc::new(link)));
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        shared.replies.resolve(&answer.data);
        answer.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// What a broker that has just started, say, may take its time for, but not for ever.
pub(super) async fn in_time<T>(
    shared: &Shared,
    work: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    match tokio::time::timeout(shared.config.broker_patience, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(silence()),
    }
}

fn silence() -> lapin::Error {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

async fn set_up(shared: &Shared, connection: Connection) -> lapin::Result<(Link, Consumer)> {
    if let Err(error) = dead::declare(&connection, &shared.config).await {
        tracing::warn!(%error, "no queue of dead letters");
    }
    let channel = connection.create_channel().await?;
    let queue = &shared.reply_queue;
    // Answers that wait here when the broker is started again are not lost with it.
    let options = QueueDeclareOptions {
        durable: shared.config.lasting() || shared.config.transient_quorum,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.as_str().into(), options, transient(&shared.config))
        .await?;
    let consume = BasicConsumeOptions::default();
    let answers = channel
        .basic_consume(
            queue.as_str().into(),
            "".into(),
            consume,
            FieldTable::default(),
        )
        .await?;
    let link = Link {
        connection,
        channel,
        idle: Mutex::default(),
        turns: Semaphore::new(CHANNELS),
        declared: Mutex::default(),
    };
    Ok((link, answers))
}

impl Link {
    /// Publishes and waits for the broker's word; false if no queue took the message.
    pub(super) async fn publish(
        &self,
        parcel: &Parcel<'_>,
        config: &RabbitConfig,
    ) -> lapin::Result<bool> {
        if let Some(kind) = &parcel.kind {
            self.declare(parcel, kind, config).await?;
        }
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2)
            .with_headers(parcel.headers.clone());
        let options = BasicPublishOptions {
            mandatory: parcel.mandatory,
            ..BasicPublishOptions::default()
        };
        // It is never closed.
        let _turn = self.turns.acquire().await;
        let channel = self.idle_channel().await?;
        let confirm = channel
            .basic_publish(
                parcel.exchange.into(),
                parcel.key.into(),
                options,
                parcel.body,
                properties,
            )
            .await?;
        let confirmed = confirm.await?;
        // After an error, or if nobody waits for the broker's word any more, it is closed instead.
        self.idle().push(channel);
        Ok(matches!(confirmed, Confirmation::Ack(None)))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn idle_channel(&self) -> lapin::Result<Channel> {
        let idle = self.idle().pop();
        if let Some(channel) = idle {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(channel)
    }

    /// Where dead letters go, once more: somebody took it away.
    pub(super) async fn declare_dead_letters(&self, config: &RabbitConfig) -> lapin::Result<()> {
        dead::declare(&self.connection, config).await
    }

    async fn declare(
        &self,
        parcel: &Parcel<'_>,
        kind: &ExchangeKind,
        config: &RabbitConfig,
    ) -> lapin::Result<()> {
        // An exchange of fan-outs goes when the last server goes: it is declared each time.
        let lasting = *kind == ExchangeKind::Topic;
        let name = format!(
            "{} {}",
            parcel.exchange,
            if parcel.keep { parcel.key } else { "" }
        );
        if lasting
            && self
                .declared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&name)
        {
            return Ok(());
        }
        exchange(&self.channel, parcel.exchange, kind, config).await?;
        if parcel.keep {
            queue(&self.channel, parcel.exchange, parcel.key, config).await?;
        }
        if lasting {
            self.declared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name);
        }
        Ok(())
    }
}

/// Whether the broker understood and will not: to try again would not help.
pub(super) fn is_refusal(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(e) if (400..=499).contains(&e.get_id()))
}

pub(super) async fn open(url: &str, name: &str, tls: OwnedTLSConfig) -> lapin::Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let connect = Connection::connect_with_config(url, properties, tls, runtime);
    match tokio::time::timeout(CONNECT, connect).await {
        Ok(outcome) => outcome,
        Err(_) => Err(silence()),
    }
}

/// Half of it to all of it, so that a thousand hosts do not come back in the same moment.
fn jittered(pause: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let chance = now.unwrap_or_default().subsec_micros() % 1000;
    pause / 2 + pause * chance / 2000
}

/// Connects to the first broker that answers, for as long as it takes.
pub(super) async fn connect(shared: &Shared, what: &str) -> Connection {
    let config = &shared.config;
    let urls: Vec<String> = config.ways().collect();
    let mut pause = Duration::from_millis(100);
    loop {
        let first = shared.answered.load(Relaxed);
        for n in 0..urls.len() {
            let n = (first + n) % urls.len();
            let url = &urls[n];
            let name = format!("ferrostack {what}");
            // Not the url in any word of these: it holds a password.
            match open(url, &name, config.tls()).await {
                Ok(connection) => {
                    shared.answered.store(n, Relaxed);
                    return connection;
                }
                Err(error) => shared.trouble(error.to_string()),
            }
        }
        let error = shared.last_trouble();
        tracing::warn!(%error, "no message broker answers; trying again in {pause:?}");
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Declares an exchange as upstream does.
pub(super) async fn exchange(
    channel: &Channel,
    name: &str,
    kind: &ExchangeKind,
    config: &RabbitConfig,
) -> lapin::Result<()> {
    let fanout = *kind == ExchangeKind::Fanout;
    let options = ExchangeDeclareOptions {
        durable: match fanout {
            true => config.transient_quorum,
            false => config.lasting(),
        },
        auto_delete: fanout,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name.into(), kind.clone(), options, FieldTable::default())
        .await
}

/// Declares and binds a queue of a topic.
pub(super) async fn queue(
    channel: &Channel,
    exchange: &str,
    name: &str,
    config: &RabbitConfig,
) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        durable: config.lasting(),
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.into(), options, topic_arguments(config))
        .await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(
            name.into(),
            exchange.into(),
            name.into(),
            bind,
            FieldTable::default(),
        )
        .await
}

/// The arguments of a topic's queue.
fn topic_arguments(config: &RabbitConfig) -> FieldTable {
    let mut arguments = FieldTable::default();
    if config.quorum {
        quorum_arguments(&mut arguments, config);
    }
    arguments
}

/// What upstream says of its quorum queues, and no more: a queue that is declared with other arguments is refused.
fn quorum_arguments(arguments: &mut FieldTable, config: &RabbitConfig) {
    let kind = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), kind);
    let numbers = [
        ("x-delivery-limit", config.quorum_delivery_limit),
        ("x-max-in-memory-length", config.quorum_max_memory_length),
        ("x-max-in-memory-bytes", config.quorum_max_memory_bytes),
    ];
    for (name, value) in numbers.into_iter().filter(|(_, value)| *value > 0) {
        arguments.insert(name.into(), AMQPValue::LongLongInt(value.into()));
    }
}

/// The arguments of a queue that goes some time after its process.
pub(super) fn transient(config: &RabbitConfig) -> FieldTable {
    let mut arguments = FieldTable::default();
    let ttl = i32::try_from(config.transient_ttl.as_millis()).unwrap_or(i32::MAX);
    arguments.insert("x-expires".into(), AMQPValue::LongInt(ttl));
    if config.transient_quorum {
        quorum_arguments(&mut arguments, config);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_do_not_come_back_in_the_same_moment() {
        let pause = Duration::from_secs(2);
        for _ in 0..1000 {
            let jittered = jittered(pause);
            assert!(jittered >= pause / 2 && jittered <= pause, "{jittered:?}");
        }
    }
}
