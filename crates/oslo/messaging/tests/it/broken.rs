//! What breaks between two processes: servers that die with work in hand, brokers that go and come, and the locks on
//! the way there.

use crate::rabbit;
use crate::suite::{ctx, echo, next};
use async_trait::async_trait;
use base::{Kind, Result};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, Dispatcher, Options, RabbitConfig, Target};
use oslo_testing::bus::{BrokerTls, RabbitMq};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// A process is stood in for by a runtime of its own: when it goes, its connections break in the middle.
#[test]
fn rabbitmq_gives_a_dead_servers_work_to_another() {
    let (here, doomed) = (runtime(), runtime());
    let broker = here.block_on(RabbitMq::start()).unwrap();
    let target = Target::topic("nova", "redelivery");
    let (first, mut seen_by_first) = echo("first");
    let _server = doomed.block_on(async {
        let bus = rabbit(&broker);
        let server = bus.serve(&target.clone().server("first"), first).await;
        (bus, server.unwrap())
    });
    here.block_on(async {
        let bus = rabbit(&broker);
        let asking = {
            let (bus, target) = (bus.clone(), target.clone());
            tokio::spawn(async move { bus.call(&ctx(), &target, "wait", json!({})).await })
        };
        assert_eq!(next(&mut seen_by_first).await, "first:wait");
        let (second, mut seen) = echo("second");
        second.gate.add_permits(1);
        let serving = target.clone().server("second");
        let _server = bus.serve(&serving, second).await.unwrap();
        assert!(!asking.is_finished(), "one server has it, and only one");
        doomed.shutdown_background();
        assert_eq!(asking.await.unwrap().unwrap(), "waited");
        assert_eq!(next(&mut seen).await, "second:wait");
        assert!(seen.try_recv().is_err(), "once");
        let gone = target.clone().server("first");
        let short = Duration::from_millis(300);
        let error = bus
            .call_within(&ctx(), &gone, "who", json!({}), short)
            .await;
        assert!(
            matches!(error.unwrap_err().kind(), Kind::Timeout | Kind::Unavailable),
            "nobody else answers for the dead one"
        );
    });
}

/// A request that waited in a queue that the broker lost is made again, and one that is worked on is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_forgets_a_request_and_it_is_made_again() {
    let mut broker = RabbitMq::start().await.unwrap();
    let options = Options {
        concurrency: 1,
        ..Options::default()
    };
    let server_bus = Bus::rabbit(RabbitConfig::parse(&broker.url()).unwrap(), options).unwrap();
    let bus = rabbit(&broker);
    let target = Target::topic("nova", "forgotten").server("a");
    let (echo, mut seen) = echo("a");
    let gate = echo.gate.clone();
    let _server = server_bus.serve(&target, echo).await.unwrap();
    let ask = || {
        let (bus, target) = (bus.clone(), target.clone());
        tokio::spawn(async move { bus.call(&ctx(), &target, "wait", json!({})).await })
    };
    let first = ask();
    assert_eq!(next(&mut seen).await, "a:wait");
    let second = ask();
    // The broker has confirmed it when this, behind it in the same connection, has been refused.
    let nobody = Target::topic("nova", "nobody");
    assert!(bus.call(&ctx(), &nobody, "who", json!({})).await.is_err());
    broker.kill();
    broker.restart().await.unwrap();
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap(), "waited");
    assert_eq!(next(&mut seen).await, "a:wait");
    gate.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap(), "waited");
    assert!(seen.try_recv().is_err(), "each once");
}

/// What is not acknowledged when the broker goes comes again; whoever works on it already does not begin anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_delivers_again_and_it_is_done_once() {
    let mut broker = RabbitMq::start().await.unwrap();
    let mut config = RabbitConfig::parse(&broker.url()).unwrap();
    config.durable = true;
    let bus = Bus::rabbit(config, Options::default()).unwrap();
    let target = Target::topic("nova-durable", "again").server("a");
    let (echo, mut seen) = echo("a");
    let gate = echo.gate.clone();
    let _server = bus.serve(&target, echo).await.unwrap();
    let asking = {
        let (bus, target) = (bus.clone(), target.clone());
        tokio::spawn(async move { bus.call(&ctx(), &target, "wait", json!({})).await })
    };
    assert_eq!(next(&mut seen).await, "a:wait");
    broker.kill();
    broker.restart().await.unwrap();
    // Its queue gives first what it gave before, so this comes after the second delivery.
    let answer = bus.call(&ctx(), &target, "who", json!({})).await.unwrap();
    assert_eq!(answer, "a");
    assert_eq!(
        next(&mut seen).await,
        "a:who",
        "the second delivery is dropped"
    );
    assert!(!asking.is_finished());
    gate.add_permits(1);
    assert_eq!(asking.await.unwrap().unwrap(), "waited");
    assert!(seen.try_recv().is_err());
}

/// Under load, on each kind of queue: whoever was told something was told what happened, once; everybody is told in the
/// end; and servers, answers and fan-outs come back by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_restarts_under_load() {
    for quorum in [false, true] {
        let mut broker = RabbitMq::start().await.unwrap();
        let bus = || {
            let mut config = RabbitConfig::parse(&broker.url()).unwrap();
            config.quorum = quorum;
            let options = Options {
                patience: Duration::from_secs(10),
                ..Options::default()
            };
            Bus::rabbit(config, options).unwrap()
        };
        let (servers, callers) = (bus(), bus());
        let (counter, told) = (Arc::new(Counter::default()), Arc::new(AtomicU64::new(0)));
        let target = Target::topic("nova", "load");
        let mut handles = Vec::new();
        for name in ["a", "b"] {
            let serving = target.clone().server(name);
            handles.push(servers.serve(&serving, counter.clone()).await.unwrap());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..8 {
            let (bus, target) = (callers.clone(), target.clone());
            let (stop, told) = (stop.clone(), told.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let id = base::new_hex_id();
                    let args = json!({"id": id});
                    let answer = bus.call(&ctx(), &target, "count", args).await;
                    assert_eq!(answer.unwrap(), id, "everybody is told in the end");
                    told.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = told.load(Ordering::SeqCst);
        assert!(before > 20, "{before}");
        broker.kill();
        broker.restart().await.unwrap();
        let up = Instant::now();
        let after = told.load(Ordering::SeqCst);
        while told.load(Ordering::SeqCst) < after + 50 {
            assert!(up.elapsed() < Duration::from_secs(45), "it goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!(
            "quorum {quorum}: {before} calls before, 50 more {:?} after the broker was back",
            up.elapsed()
        );
        stop.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        let all = told.load(Ordering::SeqCst);
        let counted = counter.counted.lock().unwrap().len() as u64;
        assert_eq!(counted, all, "what was answered was done, and nothing else");

        // One server is enough for the calls; the other may still be on its way back, and hears nothing of before.
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let fans = counter.fans.load(Ordering::SeqCst);
            let (ctx, args) = (ctx(), json!({}));
            let fan = callers.fanout(&ctx, &target, "fan", args);
            fan.await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if counter.fans.load(Ordering::SeqCst) == fans + 2 {
                break;
            }
            assert!(Instant::now() < end, "both servers hear fan-outs again");
        }
        for handle in handles {
            handle.stop().await;
        }
    }
}

/// What was done, by id.
#[derive(Default)]
struct Counter {
    counted: Mutex<BTreeSet<String>>,
    fans: AtomicU64,
}

#[async_trait]
impl Dispatcher for Counter {
    async fn dispatch(&self, _: RequestContext, method: &str, args: Value) -> Result<Value> {
        if method == "fan" {
            self.fans.fetch_add(1, Ordering::SeqCst);
            return Ok(Value::Null);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let id = args["id"].as_str().unwrap().to_string();
        self.counted.lock().unwrap().insert(id.clone());
        Ok(id.into())
    }
}

/// The first broker of the list is a machine that says nothing, the second refuses, the third is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_is_found_in_a_list() {
    let broker = RabbitMq::start().await.unwrap();
    // Its queue of connections is taken, and nobody takes them from there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|a| (silent, a)).unwrap();
    let url = broker.url();
    let (credentials, place) = url.split_once("://").unwrap().1.split_once('@').unwrap();
    let list = format!(
        "rabbit://{credentials}@{},{credentials}@127.0.0.1:1,{credentials}@{place}",
        silent.1
    );
    let config = RabbitConfig::parse(&list).unwrap();
    assert_eq!(config.urls.len(), 3);
    let bus = Bus::rabbit(config, Options::default()).unwrap();
    let target = Target::topic("nova", "list").server("a");
    let _server = bus.serve(&target, echo("a").0).await.unwrap();
    let answer = bus.call(&ctx(), &target, "who", json!({})).await.unwrap();
    assert_eq!(answer, "a");
}

/// The place of a broker in a list of brokers: `guest:guest@host:port`.
fn place(broker: &RabbitMq) -> String {
    let url = broker.url();
    url.split_once("://")
        .unwrap()
        .1
        .trim_end_matches('/')
        .into()
}

/// The first broker dies with a request in hand: the servers and the callers meet again at the second, and the request is
/// made there once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_dies_and_the_next_of_the_list_goes_on() {
    let mut first = RabbitMq::start().await.unwrap();
    let second = RabbitMq::start().await.unwrap();
    let list = format!("rabbit://{},{}/", place(&first), place(&second));
    let bus = || Bus::rabbit(RabbitConfig::parse(&list).unwrap(), Options::default()).unwrap();
    let (servers, callers) = (bus(), bus());
    let target = Target::topic("nova", "failover").server("a");
    let (echo, mut seen) = echo("a");
    let gate = echo.gate.clone();
    let _server = servers.serve(&target, echo).await.unwrap();
    let asking = {
        let (bus, target) = (callers.clone(), target.clone());
        tokio::spawn(async move { bus.call(&ctx(), &target, "wait", json!({})).await })
    };
    assert_eq!(next(&mut seen).await, "a:wait");
    let died = Instant::now();
    first.kill();
    let who = callers.call(&ctx(), &target, "who", json!({})).await;
    assert_eq!(who.unwrap(), "a");
    println!("served again {:?} after the broker's death", died.elapsed());
    assert_eq!(next(&mut seen).await, "a:who");
    gate.add_permits(1);
    assert_eq!(asking.await.unwrap().unwrap(), "waited");
    assert!(seen.try_recv().is_err(), "it was done once");
}

/// Of many messages at once, to servers and to nobody: each sender is told of its own, and what was taken is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_tells_each_sender_of_its_own_message() {
    let broker = RabbitMq::start().await.unwrap();
    let (bus, target) = (rabbit(&broker), Target::topic("nova", "crowd"));
    let (mut servers, mut seen) = (Vec::new(), Vec::new());
    for name in ["a", "b"] {
        let (echo, heard) = echo(name);
        let serving = target.clone().server(name);
        servers.push(bus.serve(&serving, echo).await.unwrap());
        seen.push(heard);
    }
    let nobody = Target::topic("nova", "nobody");
    let ctx = ctx();
    let casts = (0..300).map(async |n| {
        let target = if n % 3 == 0 { &nobody } else { &target };
        bus.cast(&ctx, target, "note", json!({})).await.is_ok()
    });
    let taken = futures::future::join_all(casts).await;
    for (n, taken) in taken.iter().enumerate() {
        assert_eq!(*taken, n % 3 != 0, "message {n}");
    }
    // Behind all of those in the one queue that both servers take from.
    for _ in 0..2 {
        bus.call(&ctx, &target, "who", json!({})).await.unwrap();
    }
    for server in servers {
        server.stop().await;
    }
    let mut notes = 0;
    for heard in &mut seen {
        while let Ok((method, _)) = heard.try_recv() {
            notes += usize::from(method.ends_with(":note"));
        }
    }
    assert_eq!(notes, 200, "each once");
}

/// A queue goes away under its server, whose other queues stay: it makes another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_takes_a_queue_away_and_its_server_makes_another() {
    let broker = RabbitMq::start().await.unwrap();
    let (bus, target) = (rabbit(&broker), Target::topic("nova", "taken"));
    let target = target.server("a");
    let _server = bus.serve(&target, echo("a").0).await.unwrap();
    assert_eq!(
        bus.call(&ctx(), &target, "who", json!({})).await.unwrap(),
        "a"
    );
    let url = format!("amqp://{}/%2f", place(&broker));
    let operator = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
    let operator = operator.await.unwrap();
    let channel = operator.create_channel().await.unwrap();
    let deleted = channel.queue_delete("taken.a".into(), Default::default());
    deleted.await.unwrap();
    let start = Instant::now();
    while let Err(error) = bus.call(&ctx(), &target, "who", json!({})).await {
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(30), "served again");
    }
}

/// A way to a broker that can stop to carry anything, in both directions, without a word.
async fn silenced(to: String, silent: Arc<AtomicBool>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pipe = |mut from: OwnedReadHalf, mut to: OwnedWriteHalf, silent: Arc<AtomicBool>| async move {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            while silent.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if to.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    };
    tokio::spawn(async move {
        while let Ok((here, _)) = listener.accept().await {
            let there = tokio::net::TcpStream::connect(&to).await.unwrap();
            let ((a, b), (c, d)) = (here.into_split(), there.into_split());
            tokio::spawn(pipe(a, d, silent.clone()));
            tokio::spawn(pipe(c, b, silent.clone()));
        }
    });
    address
}

/// A cable is pulled: nothing refuses, nothing answers. Heartbeats notice, and the next of the list is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_falls_silent_and_heartbeats_notice() {
    let broker = RabbitMq::start().await.unwrap();
    let (place, silent) = (place(&broker), Arc::new(AtomicBool::new(false)));
    let (credentials, address) = place.split_once('@').unwrap();
    let cable = silenced(address.to_string(), silent.clone()).await;
    let mut config =
        RabbitConfig::parse(&format!("rabbit://{credentials}@{cable},{place}/")).unwrap();
    config.heartbeat = Duration::from_secs(2);
    let bus = Bus::rabbit(config, Options::default()).unwrap();
    let target = Target::topic("nova", "silence").server("a");
    let (echo, mut seen) = echo("a");
    let gate = echo.gate.clone();
    let _server = bus.serve(&target, echo).await.unwrap();
    let asking = {
        let (bus, target) = (bus.clone(), target.clone());
        tokio::spawn(async move { bus.call(&ctx(), &target, "wait", json!({})).await })
    };
    assert_eq!(next(&mut seen).await, "a:wait");
    silent.store(true, Ordering::SeqCst);
    gate.add_permits(1);
    let noticed = Instant::now();
    assert_eq!(asking.await.unwrap().unwrap(), "waited");
    println!("answered {:?} after the silence began", noticed.elapsed());
    assert!(silent.load(Ordering::SeqCst), "over the other way");
}

/// Removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// (certificate, key) in PEM.
fn certificate(by: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
    // A subject that is its issuer's would be a self-signed certificate.
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_over_tls() {
    let folder = Folder(std::env::temp_dir().join(format!("mq-tls-{}", base::new_hex_id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let (ours, foreign) = (authority("ours"), authority("foreign"));
    let (server_cert, server_key) = certificate(&ours, "localhost");
    let (client_cert, client_key) = certificate(&ours, "nova");
    let ca = folder.write("ca.pem", &ours.pem());
    let other_ca = folder.write("other.pem", &foreign.pem());
    let (cert, key) = (
        folder.write("cert.pem", &server_cert),
        folder.write("key.pem", &server_key),
    );
    let (my_cert, my_key) = (
        folder.write("my-cert.pem", &client_cert),
        folder.write("my-key.pem", &client_key),
    );
    let tls = BrokerTls {
        ca: &ca,
        cert: &cert,
        key: &key,
    };
    let broker = RabbitMq::with_tls(tls).await.unwrap();
    let bus = |ca: Option<&PathBuf>, cert: Option<&PathBuf>, key: Option<&PathBuf>| {
        let config = RabbitConfig::parse(&broker.tls_url()).unwrap();
        let mut config = config.with_tls(ca, cert, key).unwrap();
        config.broker_patience = Duration::from_secs(5);
        Bus::rabbit(config, Options::default()).unwrap()
    };
    let target = Target::topic("nova", "tls").server("a");
    let good = bus(Some(&ca), Some(&my_cert), Some(&my_key));
    let _server = good.serve(&target, echo("a").0).await.unwrap();
    let answer = good.call(&ctx(), &target, "who", json!({})).await.unwrap();
    assert_eq!(answer, "a");

    for (bad, why, words) in [
        (
            bus(Some(&other_ca), Some(&my_cert), Some(&my_key)),
            "the broker is a stranger",
            &["UnknownIssuer"][..],
        ),
        (
            bus(None, Some(&my_cert), Some(&my_key)),
            "the machine does not know our authority",
            &["UnknownIssuer"],
        ),
        (
            bus(Some(&ca), None, None),
            "the broker does not know us",
            // In TLS 1.3 a client is done before the broker looks at its
            // certificate: what it has sent by then may be answered with a
            // reset that overtakes the alert.
            &["CertificateRequired", "Connection reset"],
        ),
    ] {
        let error = bad
            .cast(&ctx(), &target, "who", json!({}))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{why}: {error:?}");
        let log = error.log_message();
        let named = words.iter().any(|word| log.contains(word));
        assert!(named, "{why}: {error:?}");
        assert!(!log.contains("guest:guest"), "{error:?}");
    }
    let config = RabbitConfig::parse(&broker.tls_url()).unwrap();
    assert!(config.clone().with_tls(None, Some(&my_cert), None).is_err());
    let missing = folder.0.join("missing.pem");
    let error = config.with_tls(Some(&missing), None, None).err().unwrap();
    assert!(error.message().contains("missing.pem"), "{error:?}");
}
