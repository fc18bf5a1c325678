//! Upstream's own library at the other end: what travels is oslo.messaging's, not only what we read in it.

use crate::interface::serve_toy;
use crate::rabbit;
use crate::suite::ctx;
use oslo_messaging::{Priority, Target};
use oslo_testing::bus::RabbitMq;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

#[expect(
    clippy::disallowed_methods,
    reason = "the other end, and where script/install puts it"
)]
fn upstream(broker: &RabbitMq, role: &str) -> Child {
    // As script/lib.sh has it.
    let home = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = home("FERROSTACK_CACHE")
        .or_else(|| home("XDG_CACHE_HOME").map(|c| c.join("ferrostack")))
        .or_else(|| home("HOME").map(|h| h.join(".cache/ferrostack")))
        .unwrap();
    let python = cache.join("bus/bin/python");
    assert!(
        python.exists(),
        "{} is missing: script/install makes it",
        python.display()
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/compat/bus.py");
    Command::new(python)
        .args([script, &broker.url(), role])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

type Lines = tokio::io::Lines<BufReader<tokio::process::ChildStdout>>;

async fn next(lines: &mut Lines) -> Value {
    let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line());
    let line = line.await.expect("a line in time").unwrap();
    serde_json::from_str(&line.expect("one more line of oslo.messaging's")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_between_upstreams_library_and_ours() {
    let broker = RabbitMq::start().await.unwrap();
    let bus = rabbit(&broker);

    let server = serve_toy(&bus).await;
    let mut client = upstream(&broker, "client");
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let told = next(&mut lines).await;
    assert_eq!(told["spawn"], json!({"name": "s for ann on h", "size": 3}));
    assert_eq!(told["refuse"], json!(["ToyRefused", "busy"]));
    assert_eq!(told["newer"], "UnsupportedVersion");
    assert!(
        ["MessagingTimeout", "MessageUndeliverable"].contains(&told["nobody"].as_str().unwrap()),
        "{told}"
    );
    assert_eq!(told["seen"], json!(["cast", "fanout"]));
    client.wait().await.unwrap();
    server.stop().await;

    let mut server = upstream(&broker, "server");
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert_eq!(next(&mut lines).await, json!({"ready": true}));
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
    assert_eq!(next(&mut lines).await, json!({"refresh": "cast"}));
    bus.fanout(&ctx(), &toy, "refresh", host("all"))
        .await
        .unwrap();
    assert_eq!(next(&mut lines).await, json!({"refresh": "all"}));
    let payload = json!({"volume_id": "v"});
    bus.notify(
        &ctx(),
        "volume.h",
        Priority::Info,
        "volume.create.end",
        payload,
    )
    .await;
    assert_eq!(
        next(&mut lines).await,
        json!({"event": "volume.create.end", "publisher": "volume.h", "payload": {"volume_id": "v"}, "user": "ann"})
    );
    drop(server.stdin.take());
}
