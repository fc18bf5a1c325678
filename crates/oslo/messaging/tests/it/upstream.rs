//! Upstream's own library at the other end: what travels is oslo.messaging's, not only what we read in it.

use crate::interface::serve_toy;
use crate::suite::{ctx, say};
use oslo_messaging::{Bus, Options, Priority, RabbitConfig, Target};
use oslo_testing::bus::RabbitMq;
use oslo_testing::upstream::Upstream;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_between_upstreams_library_and_ours() {
    let broker = RabbitMq::start().await.unwrap();
    let config = RabbitConfig::parse(&broker.url()).unwrap();
    talk(config, &broker.url()).await;
}

/// Queues of each kind are declared by both sides: the broker refuses the second one if it says anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_between_upstreams_library_and_ours_on_quorum_queues() {
    let broker = RabbitMq::start().await.unwrap();
    let mut config = RabbitConfig::parse(&broker.url()).unwrap();
    config.quorum = true;
    config.transient_quorum = true;
    config.quorum_delivery_limit = 5;
    config.quorum_max_memory_length = 1000;
    config.quorum_max_memory_bytes = 1 << 20;
    let url = format!(
        "{}?rabbit_quorum_queue=true&rabbit_transient_quorum_queue=true&rabbit_quorum_delivery_limit=5\
         &rabbit_quorum_max_memory_length=1000&rabbit_quorum_max_memory_bytes=1048576",
        broker.url()
    );
    talk(config, &url).await;
}

/// Each side serves, asks, tells all, and hears what happened; `url` is what the library is told.
async fn talk(config: RabbitConfig, url: &str) {
    let options = Options {
        patience: Duration::from_millis(500),
        ..Options::default()
    };
    let bus = Bus::rabbit(config, options).unwrap();
    let server = serve_toy(&bus).await;
    let mut client = Upstream::start(&[url, "client"]).unwrap();
    let told = client.line().await.unwrap();
    assert_eq!(told["spawn"], json!({"name": "s for ann on h", "size": 3}));
    assert_eq!(told["refuse"], json!(["ToyRefused", "busy"]));
    assert_eq!(told["newer"], "UnsupportedVersion");
    assert!(
        ["MessagingTimeout", "MessageUndeliverable"].contains(&told["nobody"].as_str().unwrap()),
        "{told}"
    );
    assert_eq!(told["seen"], json!(["cast", "fanout"]));
    client.end().await.unwrap();
    server.stop().await;

    let mut upstream = Upstream::start(&[url, "server"]).unwrap();
    assert_eq!(upstream.line().await.unwrap(), json!({"ready": true}));
    let toy = Target::topic("toys", "toy").version("1.3");
    let spec = json!({"spec": {"name": "s", "size": 3}, "host": "h"});
    let patient = Duration::from_secs(30);
    let answer = bus.call_within(&ctx(), &toy, "spawn", spec, patient).await;
    assert_eq!(
        answer.unwrap(),
        json!({"name": "s for ann on h", "size": 3})
    );
    let refused = bus
        .call_within(&ctx(), &toy, "refuse", json!({"why": "busy"}), patient)
        .await
        .unwrap_err();
    assert_eq!(
        (
            refused.error_class(),
            refused.log_message().contains("busy")
        ),
        (Some("Refused"), true),
        "{refused:?}"
    );
    let unknown = bus
        .call_within(&ctx(), &toy, "fly", json!({}), patient)
        .await;
    assert_eq!(unknown.unwrap_err().error_class(), Some("NoSuchMethod"));
    let one = toy.clone().server("upstream");
    let host = |name: &str| json!({"host": name});
    bus.cast(&ctx(), &one, "refresh", host("cast"))
        .await
        .unwrap();
    assert_eq!(upstream.line().await.unwrap(), json!({"refresh": "cast"}));
    bus.fanout(&ctx(), &toy, "refresh", host("all"))
        .await
        .unwrap();
    assert_eq!(upstream.line().await.unwrap(), json!({"refresh": "all"}));
    let payload = json!({"volume_id": "v"});
    say(&bus, Priority::Info, "volume.create.end", payload).await;
    assert_eq!(
        upstream.line().await.unwrap(),
        json!({"event": "volume.create.end", "publisher": "volume.h", "payload": {"volume_id": "v"}, "user": "ann"})
    );
    upstream.end().await.unwrap();
}
