//! What an operator does with dead letters: look at them, send them to where they were going, throw them away.

use super::{RabbitConfig, dead, link};
use crate::envelope;
use base::{Error, Result};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Confirmation, Connection};
use serde_json::Value;

/// A message that nobody gets any more.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The queue it was taken from.
    pub queue: String,
    /// Why: `unreadable`, `panicked`, `delivery_limit`, or the broker's own words (`expired`, `rejected`, …).
    pub reason: String,
    /// The same at length.
    pub words: String,
    /// When; empty if the broker put it here.
    pub time: String,
    /// The method, or the type of the event, if it can be read.
    pub method: String,
    /// The request that it was a part of, if it can be read.
    pub request_id: String,
    /// How long it is.
    pub bytes: usize,
}

/// The dead letters of a broker.
pub struct DeadLetters {
    _connection: Connection,
    channel: Channel,
}

impl DeadLetters {
    /// Connects to the first broker that answers.
    pub async fn open(config: &RabbitConfig) -> Result<DeadLetters> {
        let mut trouble = String::new();
        for url in config.ways() {
            match link::open(&url, "ferrostack dead letters", config.tls()).await {
                Ok(connection) => return DeadLetters::over(connection, config).await.map_err(lost),
                Err(error) => trouble = error.to_string(),
            }
        }
        Err(Error::unavailable("The message broker does not answer.").log(trouble))
    }

    async fn over(connection: Connection, config: &RabbitConfig) -> lapin::Result<DeadLetters> {
        dead::declare(&connection, config).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(DeadLetters {
            _connection: connection,
            channel,
        })
    }

    /// How many there are.
    pub async fn count(&self) -> Result<u32> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self
            .channel
            .queue_declare(dead::NAME.into(), options, FieldTable::default())
            .await
            .map_err(lost)?;
        Ok(queue.message_count())
    }

    /// The oldest ones; they stay where they are.
    pub async fn list(&self, most: usize) -> Result<Vec<DeadLetter>> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(letter) = self.take().await?
        {
            taken.push(letter);
        }
        let list = taken.iter().map(read).collect();
        put_back(taken).await?;
        Ok(list)
    }

    /// Sends those of one queue, or all, to the queues that they were taken from: (sent, left). Those whose queue is not
    /// there stay.
    pub async fn requeue(&self, of: Option<&str>) -> Result<(u32, u32)> {
        let (mut sent, mut left) = (0, Vec::new());
        // What dies again meanwhile is not taken a second time.
        for _ in 0..self.count().await? {
            let Some(letter) = self.take().await? else {
                break;
            };
            let queue = header(&letter, dead::QUEUE);
            let wanted = !queue.is_empty() && of.is_none_or(|of| of == queue);
            if wanted && self.send(&queue, &letter).await? {
                let options = BasicAckOptions::default();
                letter.acker.ack(options).await.map_err(lost)?;
                sent += 1;
            } else {
                left.push(letter);
            }
        }
        let kept = u32::try_from(left.len()).unwrap_or(u32::MAX);
        put_back(left).await?;
        Ok((sent, kept))
    }

    /// Throws all of them away.
    pub async fn purge(&self) -> Result<u32> {
        let options = QueuePurgeOptions::default();
        let purged = self.channel.queue_purge(dead::NAME.into(), options).await;
        purged.map_err(lost)
    }

    async fn take(&self) -> Result<Option<Delivery>> {
        let options = BasicGetOptions::default();
        let got = self.channel.basic_get(dead::NAME.into(), options).await;
        Ok(got.map_err(lost)?.map(|message| message.delivery))
    }

    /// False if there is no such queue.
    async fn send(&self, queue: &str, letter: &Delivery) -> Result<bool> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        // Without what is said of its death, and of how often it was delivered: it begins anew.
        let properties = letter
            .properties
            .clone()
            .with_headers(FieldTable::default());
        let send = async {
            let (exchange, key) = ("".into(), queue.into());
            let published =
                self.channel
                    .basic_publish(exchange, key, options, &letter.data, properties);
            published.await?.await
        };
        let confirmed = send.await.map_err(lost)?;
        Ok(matches!(confirmed, Confirmation::Ack(None)))
    }
}

fn lost(error: lapin::Error) -> Error {
    Error::unavailable("The message broker does not do it.").log(error)
}

async fn put_back(letters: Vec<Delivery>) -> Result<()> {
    let options = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    for letter in letters {
        letter.acker.nack(options).await.map_err(lost)?;
    }
    Ok(())
}

fn header(letter: &Delivery, name: &str) -> String {
    let headers = letter.properties.headers().as_ref();
    match headers.and_then(|h| h.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    }
}

fn read(letter: &Delivery) -> DeadLetter {
    let inner = envelope::unwrap(&letter.data).unwrap_or_default();
    let word = |key: &str| match inner.get(key) {
        Some(Value::String(word)) => word.clone(),
        _ => String::new(),
    };
    let method = match word("method") {
        none if none.is_empty() => word("event_type"),
        method => method,
    };
    DeadLetter {
        queue: header(letter, dead::QUEUE),
        reason: header(letter, dead::REASON),
        words: header(letter, dead::WORDS),
        time: header(letter, dead::TIME),
        method,
        request_id: word("_context_request_id"),
        bytes: letter.data.len(),
    }
}
