//! What every transport must do, each story on topics of its own.

use base::{Error, Kind, Result};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, Dispatcher, Notification, NotificationHandler, Priority, Target};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Runs them all.
pub async fn conforms(bus: &Bus) {
    calls_and_errors(bus).await;
    turns_and_servers(bus).await;
    casts_and_fanouts(bus).await;
    nobody_and_silence(bus).await;
    duplicates(bus).await;
    crowds_and_giants(bus).await;
    stops_gracefully(bus).await;
    bounded(bus).await;
    notifications(bus).await;
}

const SOON: Duration = Duration::from_secs(20);

/// A server that tells what it sees and does what it is told.
pub struct Echo {
    name: &'static str,
    seen: mpsc::UnboundedSender<(String, Value)>,
    /// Lets as many go on as it has permits, whenever they come.
    pub gate: Arc<Semaphore>,
    running: Mutex<(usize, usize)>,
}

#[oslo_messaging::__private::async_trait]
impl Dispatcher for Echo {
    async fn dispatch(&self, ctx: RequestContext, method: &str, args: Value) -> Result<Value> {
        let _ = self
            .seen
            .send((format!("{}:{method}", self.name), args.clone()));
        match method {
            "who" => Ok(json!(self.name)),
            "echo" => Ok(json!({"args": args, "user": ctx.user(), "request": ctx.request_id})),
            "fail" => Err(Error::not_found("Volume 7 could not be found.")
                .class("VolumeNotFound")
                .log("row 7")),
            "panic" => panic!("the handler fell over"),
            "wait" => {
                {
                    let mut running = self.running.lock().unwrap();
                    running.0 += 1;
                    running.1 = running.1.max(running.0);
                }
                self.gate.acquire().await.unwrap().forget();
                self.running.lock().unwrap().0 -= 1;
                Ok(json!("waited"))
            }
            _ => Ok(Value::Null),
        }
    }
}

pub type Seen = mpsc::UnboundedReceiver<(String, Value)>;

pub fn echo(name: &'static str) -> (Arc<Echo>, Seen) {
    let (seen, receiver) = mpsc::unbounded_channel();
    (
        Arc::new(Echo {
            name,
            seen,
            gate: Arc::new(Semaphore::new(0)),
            running: Mutex::default(),
        }),
        receiver,
    )
}

pub fn ctx() -> RequestContext {
    RequestContext {
        user_id: Some("ann".into()),
        ..RequestContext::anonymous()
    }
}

pub async fn next(seen: &mut Seen) -> String {
    tokio::time::timeout(SOON, seen.recv())
        .await
        .expect("a message in time")
        .expect("a server")
        .0
}

async fn calls_and_errors(bus: &Bus) {
    let target = Target::topic("nova", "calls");
    let _server = bus
        .serve(&target.clone().server("a"), echo("a").0)
        .await
        .unwrap();
    let ctx = ctx();
    let answer = bus
        .call(&ctx, &target, "echo", json!({"ünï": [1, null]}))
        .await
        .unwrap();
    assert_eq!(
        answer,
        json!({"args": {"ünï": [1, null]}, "user": "ann", "request": ctx.request_id})
    );

    let error = bus
        .call(&ctx, &target, "fail", json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::NotFound, "Volume 7 could not be found.")
    );
    assert_eq!(
        (error.error_class(), error.log_message()),
        (Some("VolumeNotFound"), "row 7")
    );

    let error = bus
        .call(&ctx, &target, "panic", json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert!(error.log_message().contains("fell over") && !error.message().contains("fell over"));
    assert_eq!(
        bus.call(&ctx, &target, "who", json!({})).await.unwrap(),
        "a",
        "it lives on after a panic"
    );
}

async fn turns_and_servers(bus: &Bus) {
    let target = Target::topic("nova", "turns");
    let _a = bus
        .serve(&target.clone().server("a"), echo("a").0)
        .await
        .unwrap();
    let _b = bus
        .serve(&target.clone().server("b"), echo("b").0)
        .await
        .unwrap();
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..10 {
        let who = bus.call(&ctx(), &target, "who", json!({})).await.unwrap();
        *counts.entry(who.to_string()).or_default() += 1;
    }
    assert_eq!(
        counts.values().copied().collect::<Vec<_>>(),
        [5, 5],
        "{counts:?}"
    );
    for server in ["b", "b", "a"] {
        let who = bus
            .call(&ctx(), &target.clone().server(server), "who", json!({}))
            .await
            .unwrap();
        assert_eq!(who, server);
    }
}

async fn casts_and_fanouts(bus: &Bus) {
    let target = Target::topic("nova", "casts");
    let (a, mut seen_a) = echo("a");
    let (b, mut seen_b) = echo("b");
    let _a = bus.serve(&target.clone().server("a"), a).await.unwrap();
    let _b = bus.serve(&target.clone().server("b"), b).await.unwrap();
    bus.cast(&ctx(), &target.clone().server("b"), "note", json!({}))
        .await
        .unwrap();
    assert_eq!(next(&mut seen_b).await, "b:note");
    bus.fanout(&ctx(), &target, "all", json!({})).await.unwrap();
    assert_eq!(
        (next(&mut seen_a).await, next(&mut seen_b).await),
        ("a:all".into(), "b:all".into())
    );
    bus.cast(&ctx(), &target.clone().server("a"), "fail", json!({}))
        .await
        .unwrap();
    assert_eq!(next(&mut seen_a).await, "a:fail");
    assert!(
        seen_a.try_recv().is_err() && seen_b.try_recv().is_err(),
        "nothing arrived twice"
    );
    let error = bus
        .call(&ctx(), &target.clone().fanout(), "who", json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Internal, "calls cannot fan out");
}

async fn nobody_and_silence(bus: &Bus) {
    let target = Target::topic("nova", "silence");
    let error = bus
        .call(&ctx(), &target, "who", json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    assert_eq!(
        bus.cast(&ctx(), &target, "who", json!({}))
            .await
            .unwrap_err()
            .kind(),
        Kind::Unavailable
    );
    bus.fanout(&ctx(), &target, "who", json!({})).await.unwrap();

    let (echo, mut seen) = echo("a");
    let gate = echo.gate.clone();
    let server = bus.serve(&target.clone().server("a"), echo).await.unwrap();
    let mut short = Duration::from_millis(100);
    loop {
        let error = bus
            .call_within(&ctx(), &target, "wait", json!({}), short)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.error_class()),
            (Kind::Timeout, Some("MessagingTimeout"))
        );
        // On a busy machine the caller may give up before the message has left.
        match tokio::time::timeout(short, seen.recv()).await {
            Ok(message) => break assert_eq!(message.unwrap().0, "a:wait"),
            Err(_) => short *= 2,
        }
        assert!(short < SOON, "it arrives");
    }
    gate.add_permits(100);
    assert_eq!(
        bus.call(&ctx(), &target, "who", json!({})).await.unwrap(),
        "a",
        "a late answer disturbs nobody"
    );

    server.stop().await;
    let error = bus
        .call_within(&ctx(), &target.server("a"), "who", json!({}), short)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), Kind::Unavailable | Kind::Timeout),
        "{error:?}"
    );
}

async fn duplicates(bus: &Bus) {
    let target = Target::topic("nova", "duplicates");
    let (echo, mut seen) = echo("a");
    let _server = bus.serve(&target, echo).await.unwrap();
    let inner = |id: &str, n: u32| {
        json!({"method": "note", "args": {"n": n}, "_unique_id": id}).to_string()
    };
    let body = |id: &str, n| {
        json!({"oslo.version": "2.0", "oslo.message": inner(id, n)})
            .to_string()
            .into_bytes()
    };
    for (id, n) in [("x", 1), ("x", 2), ("y", 3)] {
        bus.send_raw(&target, body(id, n)).await.unwrap();
    }
    bus.send_raw(&target, b"garbage".to_vec()).await.unwrap();
    bus.call(&ctx(), &target, "who", json!({})).await.unwrap();
    let mut methods = Vec::new();
    for _ in 0..3 {
        methods.push(next(&mut seen).await);
    }
    methods.sort();
    assert_eq!(methods, ["a:note", "a:note", "a:who"], "one of the two x");
    assert!(seen.try_recv().is_err());
}

async fn crowds_and_giants(bus: &Bus) {
    let target = Target::topic("nova", "crowds");
    let _server = bus.serve(&target, echo("a").0).await.unwrap();
    let giant = "ж".repeat(1 << 20);
    let answer = bus
        .call(&ctx(), &target, "echo", json!({"x": giant}))
        .await
        .unwrap();
    assert_eq!(
        answer["args"]["x"].as_str().map(str::len),
        Some(giant.len())
    );
    let calls = (0..100).map(|n| {
        let target = &target;
        async move {
            (
                n,
                bus.call(&ctx(), target, "echo", json!({"n": n}))
                    .await
                    .unwrap()["args"]["n"]
                    .clone(),
            )
        }
    });
    for (n, answer) in futures::future::join_all(calls).await {
        assert_eq!(answer, n, "answers find their own callers");
    }
}

async fn stops_gracefully(bus: &Bus) {
    let target = Target::topic("nova", "stops");
    let (echo, mut seen) = echo("a");
    let gate = echo.gate.clone();
    let server = bus.serve(&target, echo).await.unwrap();
    let caller = {
        let (bus, target) = (bus.clone(), target.clone());
        tokio::spawn(async move { bus.call(&ctx(), &target, "wait", json!({})).await })
    };
    next(&mut seen).await;
    let stopping = tokio::spawn(server.stop());
    tokio::task::yield_now().await;
    assert!(!stopping.is_finished(), "it waits for the handler");
    gate.add_permits(1);
    assert_eq!(
        caller.await.unwrap().unwrap(),
        "waited",
        "and the caller gets the answer"
    );
    stopping.await.unwrap();
}

async fn bounded(bus: &Bus) {
    let target = Target::topic("nova", "bounded");
    let (echo, mut seen) = echo("a");
    let _server = bus.serve_with(&target, echo.clone(), 2).await.unwrap();
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let (bus, target) = (bus.clone(), target.clone());
            tokio::spawn(async move { bus.call(&ctx(), &target, "wait", json!({})).await.unwrap() })
        })
        .collect();
    for _ in 0..5 {
        next(&mut seen).await;
        echo.gate.add_permits(1);
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), "waited");
    }
    assert!(
        echo.running.lock().unwrap().1 <= 2,
        "never more than two at once"
    );
}

struct Ears(mpsc::UnboundedSender<(RequestContext, Notification)>);

#[oslo_messaging::__private::async_trait]
impl NotificationHandler for Ears {
    async fn notified(&self, ctx: RequestContext, notification: Notification) -> Result<()> {
        let _ = self.0.send((ctx, notification));
        Ok(())
    }
}

/// Sends a notification of cinder's.
pub async fn say(bus: &Bus, priority: Priority, event: &str, payload: Value) {
    let notification = Notification::new("volume.h", priority, event, payload);
    let body = notification.encode(&ctx()).unwrap();
    bus.notify("cinder", "notifications", priority, body)
        .await
        .unwrap();
}

async fn notifications(bus: &Bus) {
    say(bus, Priority::Audit, "volume.unheard", json!({})).await;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let _ears = bus
        .listen_notifications("cinder", "notifications", Arc::new(Ears(sender)))
        .await
        .unwrap();
    let payload = json!({"volume_id": "v"});
    say(bus, Priority::Info, "volume.create.end", payload).await;
    loop {
        let (ctx, said) = tokio::time::timeout(SOON, heard.recv())
            .await
            .unwrap()
            .unwrap();
        // A broker keeps what was said before somebody listened; in one process it is gone.
        if said.event_type == "volume.unheard" {
            continue;
        }
        assert_eq!(
            (ctx.user(), said.event_type.as_str(), said.priority),
            ("ann", "volume.create.end", Priority::Info)
        );
        assert_eq!(
            (said.publisher_id.as_str(), &said.payload),
            ("volume.h", &json!({"volume_id": "v"}))
        );
        break;
    }
}
