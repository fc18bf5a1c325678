//! Where dead letters lie: an exchange and a queue of our own, bounded, so that no queue that upstream declares, too,
//! needs another argument. An operator may send the broker's own dead letters there by a policy.

use super::{Parcel, RabbitConfig, Shared, link};
use crate::dead::Death;
use base::{Error, Result, Timestamp};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ExchangeKind};

/// The queue, and the exchange that leads there.
pub(super) const NAME: &str = "ferrostack.dead_letters";

// A change of these numbers needs another name: the broker refuses a queue whose arguments are not what they were.
const MOST: i32 = 10_000;
const MOST_BYTES: i32 = 256 << 20;
const WEEK_MS: i32 = 7 * 24 * 3600 * 1000;

// The first three are RabbitMQ's own names for what it says of its dead letters.
pub(super) const QUEUE: &str = "x-first-death-queue";
const EXCHANGE: &str = "x-first-death-exchange";
pub(super) const REASON: &str = "x-first-death-reason";
pub(super) const WORDS: &str = "x-death-words";
pub(super) const TIME: &str = "x-death-time";

/// Makes both, if they are not there. A queue that is there with other arguments (it was made before queues became quorum
/// queues, say) does as well.
pub(super) async fn declare(connection: &Connection, config: &RabbitConfig) -> lapin::Result<()> {
    match declare_as(connection, config, false).await {
        Err(error) if link::is_refusal(&error) => declare_as(connection, config, true).await,
        other => other,
    }
}

async fn declare_as(
    connection: &Connection,
    config: &RabbitConfig,
    passive: bool,
) -> lapin::Result<()> {
    // A refusal closes the channel, and must not close one that others use.
    let channel = connection.create_channel().await?;
    let exchange = ExchangeDeclareOptions {
        durable: true,
        passive,
        ..ExchangeDeclareOptions::default()
    };
    let none = FieldTable::default();
    channel
        .exchange_declare(NAME.into(), ExchangeKind::Fanout, exchange, none.clone())
        .await?;
    let queue = QueueDeclareOptions {
        durable: true,
        passive,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(NAME.into(), queue, arguments(config))
        .await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(NAME.into(), NAME.into(), "".into(), bind, none)
        .await?;
    channel.close(200, "declared".into()).await
}

fn arguments(config: &RabbitConfig) -> FieldTable {
    let mut arguments = FieldTable::default();
    for (name, value) in [
        ("x-max-length", MOST),
        ("x-max-length-bytes", MOST_BYTES),
        ("x-message-ttl", WEEK_MS),
    ] {
        arguments.insert(name.into(), AMQPValue::LongInt(value));
    }
    if config.quorum {
        let kind = AMQPValue::LongString("quorum".into());
        arguments.insert("x-queue-type".into(), kind);
    }
    arguments
}

impl Shared {
    /// Puts a message aside. After an error it is still where it was, and comes again.
    pub(super) async fn bury(
        &self,
        (exchange, queue): (&str, &str),
        body: &[u8],
        death: &Death,
    ) -> Result<()> {
        let mut headers = FieldTable::default();
        let now = Timestamp::now().iso_z();
        for (name, value) in [
            (QUEUE, queue),
            (EXCHANGE, exchange),
            (REASON, death.reason.as_str()),
            (WORDS, &death.words),
            (TIME, &now),
        ] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let parcel = Parcel {
            headers,
            ..Parcel::to_queue(NAME, body)
        };
        if self.publish(&parcel).await? {
            return Ok(());
        }
        let link = self.link.borrow().clone();
        if let Some(link) = link {
            let declared = link.declare_dead_letters(&self.config).await;
            declared
                .map_err(|e| Error::unavailable("There is no queue of dead letters.").log(e))?;
        }
        match self.publish(&parcel).await? {
            true => Ok(()),
            false => Err(Error::unavailable("The broker takes no dead letter.")),
        }
    }
}
