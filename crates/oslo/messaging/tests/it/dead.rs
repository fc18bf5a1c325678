//! Messages that do harm: they come a few times at most, are kept aside, and can be sent again.

use crate::suite::{ctx, echo, next, say};
use async_trait::async_trait;
use base::Result;
use oslo_context::RequestContext;
use oslo_messaging::{
    Bus, DeadLetters, Dispatcher, Notification, NotificationHandler, Options, Priority,
    RabbitConfig, Target,
};
use oslo_testing::bus::RabbitMq;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Panics until it is mended.
struct Fragile {
    mended: AtomicBool,
    done: mpsc::UnboundedSender<Value>,
}

#[async_trait]
impl Dispatcher for Fragile {
    async fn dispatch(&self, _: RequestContext, _: &str, args: Value) -> Result<Value> {
        assert!(self.mended.load(Ordering::SeqCst), "not mended yet");
        let _ = self.done.send(args);
        Ok(Value::Null)
    }
}

#[async_trait]
impl NotificationHandler for Fragile {
    async fn notified(&self, _: RequestContext, _: Notification) -> Result<()> {
        panic!("a deaf listener");
    }
}

async fn buried(letters: &DeadLetters, count: u32) {
    for _ in 0..1000 {
        if letters.count().await.unwrap() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "{count} dead letters were expected: {:?}",
        letters.list(10).await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_keeps_what_cannot_be_read_or_makes_a_handler_panic() {
    let broker = RabbitMq::start().await.unwrap();
    let config = RabbitConfig::parse(&broker.url()).unwrap();
    let bus = Bus::rabbit(config.clone(), Options::default()).unwrap();
    let (done, mut seen) = mpsc::unbounded_channel();
    let fragile = Arc::new(Fragile {
        mended: AtomicBool::new(false),
        done,
    });
    let target = Target::topic("nova", "fragile").server("a");
    let _server = bus.serve(&target, fragile.clone()).await.unwrap();
    let ears = bus.listen_notifications("cinder", "notifications", fragile.clone());
    let _ears = ears.await.unwrap();
    let letters = DeadLetters::open(&config).await.unwrap();
    assert_eq!(letters.count().await.unwrap(), 0);

    bus.send_raw(&target, b"garbage".to_vec()).await.unwrap();
    buried(&letters, 1).await;
    let args = json!({"volume": 7});
    bus.cast(&ctx(), &target, "delete_volume", args.clone())
        .await
        .unwrap();
    buried(&letters, 2).await;
    say(&bus, Priority::Info, "volume.create.end", json!({})).await;
    buried(&letters, 3).await;
    // Who asks is told as well.
    let error = bus.call(&ctx(), &target, "ask", json!({})).await;
    assert!(error.unwrap_err().log_message().contains("not mended yet"));
    buried(&letters, 4).await;

    let list = letters.list(10).await.unwrap();
    let facts =
        |l: &oslo_messaging::DeadLetter| (l.queue.clone(), l.reason.clone(), l.method.clone());
    let fact = |q: &str, r: &str, m: &str| (q.to_string(), r.to_string(), m.to_string());
    assert_eq!(
        list.iter().map(facts).collect::<Vec<_>>(),
        [
            fact("fragile.a", "unreadable", ""),
            fact("fragile.a", "panicked", "delete_volume"),
            fact("notifications.info", "panicked", "volume.create.end"),
            fact("fragile.a", "panicked", "ask"),
        ]
    );
    assert!(list[1].words.contains("not mended yet"), "{list:?}");
    assert!(list[1].request_id.starts_with("req-"), "{list:?}");
    assert_eq!(
        letters.count().await.unwrap(),
        4,
        "to look takes nothing away"
    );

    // Mended: what is sent again is done, by the very server that remembers its id; garbage dies a second time.
    fragile.mended.store(true, Ordering::SeqCst);
    assert_eq!(letters.requeue(Some("fragile.a")).await.unwrap(), (3, 1));
    let redone = tokio::time::timeout(Duration::from_secs(20), seen.recv()).await;
    assert_eq!(redone.unwrap(), Some(args));
    buried(&letters, 2).await;
    assert_eq!(letters.purge().await.unwrap(), 2);
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// Each server that takes the message dies with it, and takes its connection along.
#[test]
fn rabbitmq_gives_no_message_to_server_after_server_for_ever() {
    let here = runtime();
    let broker = here.block_on(RabbitMq::start()).unwrap();
    for quorum in [false, true] {
        let mut config = RabbitConfig::parse(&broker.url()).unwrap();
        config.quorum = quorum;
        config.delivery_limit = 2;
        let bus = |_: &RabbitMq| Bus::rabbit(config.clone(), Options::default()).unwrap();
        let target = Target::topic(&format!("exchange-{quorum}"), &format!("deadly-{quorum}"));
        let mut victims = Vec::new();
        for victim in 0..2 {
            let doomed = runtime();
            let (server, mut seen) = echo("victim");
            let _handle = doomed.block_on(async {
                let bus = bus(&broker);
                (bus.serve(&target, server).await.unwrap(), bus)
            });
            if victim == 0 {
                let bus = here.block_on(async { bus(&broker) });
                let ctx = ctx();
                let cast = bus.cast(&ctx, &target, "wait", json!({}));
                here.block_on(cast).unwrap();
            }
            assert_eq!(here.block_on(next(&mut seen)), "victim:wait");
            // The copy with its count is in hand, the original may not be acknowledged yet: a death just then would leave
            // both, as at-least-once allows, and the original would be one count behind.
            here.block_on(async { tokio::time::sleep(Duration::from_millis(500)).await });
            doomed.shutdown_background();
            victims.push(seen);
        }
        here.block_on(async {
            let bus = bus(&broker);
            let (server, mut seen) = echo("survivor");
            let _handle = bus.serve(&target, server).await.unwrap();
            let letters = DeadLetters::open(&config).await.unwrap();
            buried(&letters, 1).await;
            let list = letters.list(1).await.unwrap();
            assert_eq!(list[0].reason, "delivery_limit", "{list:?}");
            assert_eq!(list[0].method, "wait");
            let answer = bus.call(&ctx(), &target, "who", json!({})).await;
            assert_eq!(answer.unwrap(), "survivor");
            assert_eq!(next(&mut seen).await, "survivor:who");
            assert!(seen.try_recv().is_err(), "the survivor never had it");
            // The operator takes the risk: it begins anew.
            assert_eq!(letters.requeue(None).await.unwrap(), (1, 0));
            assert_eq!(next(&mut seen).await, "survivor:wait");
            letters.purge().await.unwrap();
        });
    }
}
