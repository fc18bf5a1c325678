//! A server's own connection: declares its queues, takes messages, acknowledges what ran.

use super::{Shared, link};
use crate::server::Runner;
use crate::transport::Sources;
use futures::StreamExt;
use futures::stream::SelectAll;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer, ExchangeKind};
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
    connection: Connection,
    channel: Channel,
    tags: Vec<ShortString>,
    messages: SelectAll<Consumer>,
}

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
            let connect = link::connect(&self.shared, &self.sources.queues[0]);
            let Some(connection) = stop.run_until_cancelled(connect).await else {
                break;
            };
            let session = match self.open(connection).await {
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

    async fn open(&self, connection: Connection) -> lapin::Result<Session> {
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
            let options = QueueDeclareOptions::default();
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
                .basic_consume(queue.into(), "".into(), options, FieldTable::default())
                .await?;
            tags.push(consumer.tag());
            messages.push(consumer);
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
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the connection to the message broker broke");
                    return None;
                }
                None => return None,
            };
            let (shared, acker) = (self.shared.clone(), message.acker);
            self.runner.start(message.data.into(), move |answer| async move {
                if let Some(answer) = answer {
                    shared.answer(answer).await;
                }
                if let Err(error) = acker.ack(BasicAckOptions::default()).await {
                    tracing::debug!(%error, "not acknowledged; it will come again and be recognised");
                }
            });
        }
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
        // It closes with the process anyway.
        let _ = connection.close(200, "stopped".into()).await;
    }
}
