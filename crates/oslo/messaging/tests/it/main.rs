//! The bus, as its users see it: one conformance suite on both transports, and typed interfaces.

mod broken;
mod dead;
mod interface;
mod suite;
mod upstream;

use oslo_context::RequestContext;
use oslo_messaging::{Bus, Options, RabbitConfig, Target};
use oslo_testing::bus::RabbitMq;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn in_process_conforms() {
    let options = Options {
        patience: Duration::from_millis(50),
        ..Options::default()
    };
    suite::conforms(&Bus::in_process_with(options)).await;
}

pub fn rabbit(broker: &RabbitMq) -> Bus {
    let options = Options {
        patience: Duration::from_millis(50),
        ..Options::default()
    };
    Bus::rabbit(RabbitConfig::parse(&broker.url()).unwrap(), options).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_conforms_and_comes_back() {
    let mut broker = RabbitMq::start().await.unwrap();
    let bus = rabbit(&broker);
    suite::conforms(&bus).await;
    interface::across(&bus, &rabbit(&broker)).await;

    let target = Target::topic("nova", "comeback");
    let server = interface::serve_toy(&bus).await;
    broker.kill();
    let (ctx, short) = (RequestContext::anonymous(), Duration::from_millis(200));
    let error = bus
        .call_within(&ctx, &target, "x", json!({}), short)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), base::Kind::Timeout, "{error:?}");
    broker.restart().await.unwrap();
    // The server declares its queues anew; patience is short here, so it is asked until then.
    interface::answers_again(&bus).await;
    server.stop().await;
}
