//! What listeners hear of a server's life, held against upstream's samples.

use crate::boot::{boot, flavor};
use crate::harness::{ALL, API, CONDUCTOR, Cloud};
use crate::neighbours::NETWORK;
use async_trait::async_trait;
use base::Result;
use oslo_context::RequestContext;
use oslo_messaging::{Bus, Notification, NotificationHandler, Options, RabbitConfig};
use oslo_testing::bus::RabbitMq;
use oslo_testing::upstream::Upstream;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Ear(Mutex<Vec<(RequestContext, Notification)>>);

#[async_trait]
impl NotificationHandler for Ear {
    async fn notified(&self, ctx: RequestContext, notification: Notification) -> Result<()> {
        self.0.lock().unwrap().push((ctx, notification));
        Ok(())
    }
}

impl Ear {
    async fn listen(bus: &Bus) -> (Arc<Ear>, oslo_messaging::ServerHandle) {
        let ear = Arc::new(Ear::default());
        let listening = bus.listen_notifications("nova", "notifications", ear.clone());
        (ear, listening.await.unwrap())
    }

    /// What was said of a server, in the order in which it was said: listeners hear side by side.
    fn of(&self, server: &str) -> Vec<(RequestContext, Notification)> {
        let mut all = self.0.lock().unwrap().clone();
        all.retain(|(_, n)| n.payload["nova_object.data"]["uuid"] == server);
        all.sort_by_key(|(_, n)| n.timestamp.clone());
        all
    }

    /// Waits until it was said as often as that.
    async fn heard(
        &self,
        event: &str,
        server: &str,
        times: usize,
    ) -> (RequestContext, Notification) {
        for _ in 0..3000 {
            let mut all = self.of(server);
            all.retain(|(_, n)| n.event_type == event);
            if let Some(found) = all.get(times - 1) {
                return found.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let all: Vec<String> = self
            .of(server)
            .into_iter()
            .map(|(_, n)| n.event_type)
            .collect();
        panic!("{event} of {server} was not heard {times} times: {all:?}");
    }
}

/// A sample with everything that its `$ref`s say.
fn sample(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/samples");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    resolved(serde_json::from_str(&text).unwrap())
}

fn resolved(value: Value) -> Value {
    match value {
        Value::Object(mut own) => {
            let mut whole = match own.remove("$ref") {
                // They lie in one folder here.
                Some(Value::String(name)) => sample(
                    name.trim_end_matches('#')
                        .trim_start_matches("common_payloads/"),
                ),
                _ => Value::Object(Map::new()),
            };
            for (key, value) in own {
                merge(&mut whole[key], resolved(value));
            }
            whole
        }
        Value::Array(list) => list.into_iter().map(resolved).collect(),
        other => other,
    }
}

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}

fn sorted(object: &Map<String, Value>) -> Vec<&String> {
    let mut keys: Vec<&String> = object.keys().collect();
    keys.sort();
    keys
}

/// The same keys, and of each object of nova the same name and version; and where the sample has a value that is not
/// null and ours is not either, one of the same type.
fn same_shape(ours: &Value, theirs: &Value, at: &str) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            if !["metadata", "extra_specs", "meta"]
                .iter()
                .any(|k| at.ends_with(k))
            {
                let (a, b) = (sorted(a), sorted(b));
                assert_eq!(a, b, "{at}");
            }
            for key in a.keys().filter(|key| b.contains_key(*key)) {
                let inside = format!("{at}.{key}");
                if ["nova_object.name", "nova_object.version"].contains(&key.as_str()) {
                    assert_eq!(a[key], b[key], "{inside}");
                }
                same_shape(&a[key], &b[key], &inside);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for (a, b) in a.iter().zip(b.iter().cycle()) {
                same_shape(a, b, at);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (a, b) => assert_eq!(
            std::mem::discriminant(a),
            std::mem::discriminant(b),
            "{at}: {a} and {b}"
        ),
    }
}

/// Samples of what nova as it is here cannot say, by how they begin. What is not in this list is said, or the
/// test of a server's life fails.
const OMITTED: &[&str] = &[
    // Not told apart from the ordinary deletion.
    "delete-end_compute_down",
    "delete-end_not_scheduled",
    "delete-start_compute_down",
    "delete-start_not_scheduled",
    // A periodic audit, which is not built.
    "exists",
    // `notify_on_state_change`, which is off upstream, is not built; names and tags are told.
    "update",
    // Verbs that are not built.
    "evacuate",
    "live_migration_",
    "power_on_share-",
    "rebuild",
    "rescue",
    "resize",
    "restore",
    "share_",
    "shelve",
    "snapshot",
    "soft_delete",
    "trigger_crash_dump",
    "unrescue",
    "unshelve",
    "volume_swap",
];

/// The samples that are to be heard, by name.
fn wanted() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/samples");
    let index = std::fs::read_to_string(folder.join("INDEX")).unwrap();
    let names = index
        .lines()
        .map(|line| line.trim_start_matches("instance-"));
    let omits =
        |omitted: &&str, name: &str| name.starts_with(omitted) && name != "update-tags-action";
    for omitted in OMITTED {
        assert!(names.clone().any(|name| omits(omitted, name)), "{omitted}");
    }
    let kept = |name: &&str| !OMITTED.iter().any(|omitted| omits(omitted, name));
    names.filter(kept).map(str::to_string).collect()
}

/// Values that the samples say for themselves, and that are the same here.
const SAME: &[&str] = &[
    "state",
    "power_state",
    "task_state",
    "locked",
    "locked_reason",
    "tags",
];

/// Upstream's compute host moves the task on while it reboots; here it is one task.
const OTHER_TASK: &[&str] = &["reboot-start", "reboot-error"];

fn same_values(name: &str, payload: &Value) -> bool {
    let file = format!("instance-{name}.json");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/samples");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let own: Value = serde_json::from_str(&text).unwrap();
    let own = &own["payload"]["nova_object.data"];
    let differs = |key: &&str| *key == "task_state" && OTHER_TASK.contains(&name);
    let mut keys = SAME.iter().filter(|key| !differs(key));
    keys.all(|key| {
        own.get(key)
            .is_none_or(|value| payload["nova_object.data"][key] == *value)
    })
}

async fn act(cloud: &Cloud, id: &str, body: Value) {
    let path = format!("/v2.1/servers/{id}/action");
    let (status, answer) = cloud.ask("alice", "2.90", "POST", &path, Some(body)).await;
    assert_eq!(status, 202, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_server_is_told_in_upstreams_words() {
    let told = |c: &mut nova::config::Conf| {
        c.notification_driver = "messagingv2".into();
        c.bdms_in_notifications = true;
    };
    let mut cloud = Cloud::of(ALL, told).await;
    cloud.neighbours.wire();
    let (ear, _listening) = Ear::listen(&cloud.bus).await;
    let flavor = flavor(&cloud).await;
    let key = json!({"keypair": {"name": "mine"}});
    cloud.post("alice", "2.1", "/v2.1/os-keypairs", key).await;
    let body = json!({"server": {"name": "web", "flavorRef": flavor, "imageRef": base::new_id(), "key_name": "mine",
        "tags": ["red"], "networks": [{"uuid": NETWORK}]}});
    let made = cloud
        .post("alice", "2.52", "/v2.1/servers", body.clone())
        .await;
    let id = made["server"]["id"].as_str().unwrap().to_string();
    assert_eq!(cloud.settled(&id).await["status"], "ACTIVE");
    let (ctx, end) = ear.heard("instance.create.end", &id, 1).await;
    let data = &end.payload["nova_object.data"];
    for (key, value) in [
        ("state", json!("active")),
        ("power_state", json!("running")),
        ("tenant_id", json!("p1")),
        ("user_id", json!("alice")),
        ("action_initiator_user", json!("alice")),
        ("action_initiator_project", json!("p1")),
        ("tags", json!(["red"])),
        ("fault", Value::Null),
        ("request_id", json!(ctx.request_id)),
        ("host", json!("host1")),
    ] {
        assert_eq!(data[key], value, "{key}");
    }
    assert_eq!(ctx.user_id.as_deref(), Some("alice"));
    let address = &data["ip_addresses"][0]["nova_object.data"];
    assert_eq!(address["label"], "private");
    assert_eq!(data["keypairs"][0]["nova_object.data"]["name"], "mine");

    for action in [
        json!({"os-stop": null}),
        json!({"os-start": null}),
        json!({"reboot": {"type": "HARD"}}),
        json!({"pause": null}),
        json!({"unpause": null}),
        json!({"suspend": null}),
        json!({"resume": null}),
    ] {
        act(&cloud, &id, action).await;
        cloud.settled(&id).await;
    }
    act(&cloud, &id, json!({"lock": null})).await;
    act(&cloud, &id, json!({"unlock": null})).await;
    let reason = json!({"lock": {"locked_reason": "global warming"}});
    act(&cloud, &id, reason).await;
    act(&cloud, &id, json!({"unlock": null})).await;

    let server = format!("/v2.1/servers/{id}");
    let tags = format!("{server}/tags");
    let red = json!({"tags": ["tag1"]});
    for _ in 0..2 {
        cloud
            .ask("alice", "2.26", "PUT", &tags, Some(red.clone()))
            .await;
    }
    let name = json!({"server": {"name": "shop"}});
    cloud.ask("alice", "2.1", "PUT", &server, Some(name)).await;
    let (_, renamed) = ear.heard("instance.update", &id, 2).await;
    let data = &renamed.payload["nova_object.data"];
    let names = (&data["old_display_name"], &data["display_name"]);
    assert_eq!(names, (&json!("web"), &json!("shop")));

    let volumes = format!("{server}/os-volume_attachments");
    let volume = "f1111111-2222-4333-8444-555555555555";
    let attach = json!({"volumeAttachment": {"volumeId": volume}});
    cloud.post("alice", "2.1", &volumes, attach.clone()).await;
    let (_, attached) = ear.heard("instance.volume_attach.end", &id, 1).await;
    let data = &attached.payload["nova_object.data"];
    assert_eq!(data["volume_id"], volume);
    let device = &data["block_devices"][0]["nova_object.data"];
    assert_eq!(device["device_name"], "/dev/vdb");
    let one = format!("{volumes}/{volume}");
    assert_eq!(cloud.ask("alice", "2.1", "DELETE", &one, None).await.0, 202);
    ear.heard("instance.volume_detach.end", &id, 1).await;
    let cards = format!("{server}/os-interface");
    let card = json!({"interfaceAttachment": {"net_id": NETWORK}});
    let made = cloud.post("alice", "2.1", &cards, card.clone()).await;
    let port = made["interfaceAttachment"]["port_id"].as_str().unwrap();
    let one = format!("{cards}/{port}");
    assert_eq!(cloud.ask("alice", "2.1", "DELETE", &one, None).await.0, 202);
    ear.heard("instance.interface_detach.end", &id, 1).await;

    // A host that fails says why, with the priority of an error.
    cloud.break_host(true);
    cloud.post("alice", "2.1", &volumes, attach).await;
    ear.heard("instance.volume_attach.error", &id, 1).await;
    let refused = cloud.ask("alice", "2.1", "POST", &cards, Some(card)).await;
    assert_eq!(refused.0, 500);
    act(&cloud, &id, json!({"reboot": {"type": "HARD"}})).await;
    let (_, failed) = ear.heard("instance.reboot.error", &id, 1).await;
    let fault = &failed.payload["nova_object.data"]["fault"]["nova_object.data"];
    assert_eq!(fault["function_name"], "reboot");
    let traceback = fault["traceback"].as_str().unwrap();
    assert!(traceback.contains("out of order"), "{fault}");
    cloud.break_host(false);
    cloud.settled(&id).await;
    assert_eq!(
        cloud.ask("alice", "2.1", "DELETE", &server, None).await.0,
        204
    );
    let (_, gone) = ear.heard("instance.delete.end", &id, 1).await;
    let data = &gone.payload["nova_object.data"];
    assert_eq!(data["ip_addresses"], json!([]));
    assert!(data["deleted_at"].is_string() && data["terminated_at"].is_string());

    cloud.host("host0", true).await;
    for _ in 0..3 {
        cloud.server(|_| ()).await;
    }
    let made = cloud.post("alice", "2.52", "/v2.1/servers", body).await;
    let failed = made["server"]["id"].as_str().unwrap();
    ear.heard("instance.create.error", failed, 1).await;

    let mut said = ear.of(&id);
    let order: Vec<String> = said.iter().map(|(_, n)| n.event_type.clone()).collect();
    let first = [
        "create.start",
        "create.end",
        "power_off.start",
        "power_off.end",
    ];
    let first = first.map(|event| format!("instance.{event}"));
    assert_eq!(order[..4], first, "in order, each once");
    let last = [
        "delete.start",
        "shutdown.start",
        "shutdown.end",
        "delete.end",
    ];
    let last = last.map(|event| format!("instance.{event}"));
    assert_eq!(order[order.len() - 4..], last);
    let updates = order.iter().filter(|e| *e == "instance.update").count();
    assert_eq!(updates, 2, "tags that stay as they are tell nothing");
    let ids: BTreeSet<&String> = said.iter().map(|(_, n)| &n.message_id).collect();
    assert_eq!(ids.len(), said.len());

    said.extend(ear.of(failed));
    for name in wanted() {
        let sample = sample(&format!("instance-{name}.json"));
        let event = sample["event_type"].as_str().unwrap();
        let all: Vec<&Notification> = said
            .iter()
            .map(|(_, n)| n)
            .filter(|n| n.event_type == event)
            .collect();
        assert!(!all.is_empty(), "{event} was never heard");
        for n in &all {
            same_shape(&n.payload, &sample["payload"], &name);
            assert_eq!(
                json!(n.priority.as_str().to_uppercase()),
                sample["priority"],
                "{name}"
            );
        }
        let service = |publisher: &str| publisher.split(':').next().map(str::to_string);
        let publisher = service(sample["publisher_id"].as_str().unwrap());
        assert!(
            all.iter()
                .any(|n| same_values(&name, &n.payload) && service(&n.publisher_id) == publisher),
            "{name}: {all:?}"
        );
    }
}

/// The process that did it need not live until it is told, nor need a conductor live then.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_told_by_whoever_lives() {
    let cloud = Cloud::of(API, |c| c.notification_driver = "messagingv2".into()).await;
    let (ear, _listening) = Ear::listen(&cloud.bus).await;
    let id = cloud.server(|_| ()).await.id;
    act(&cloud, &id, json!({"lock": null})).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(ear.of(&id).is_empty(), "nobody is there to tell");
    let first = cloud.process("conductor1", CONDUCTOR).await;
    ear.heard("instance.lock", &id, 1).await;
    first.kill().await;
    act(&cloud, &id, json!({"unlock": null})).await;
    let _second = cloud.process("conductor1", CONDUCTOR).await;
    ear.heard("instance.unlock", &id, 1).await;
    assert_eq!(ear.of(&id).len(), 2, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_unless_the_operator_says_so() {
    let cloud = Cloud::new().await;
    let (ear, _listening) = Ear::listen(&cloud.bus).await;
    let flavor = flavor(&cloud).await;
    let ids = boot(&cloud, "alice", &flavor, 1, json!({})).await;
    assert_eq!(cloud.settled(&ids[0]).await["status"], "ACTIVE");
    let rows = cloud
        .nova
        .db
        .read(|tx| tx.count::<OutboxRow>(oslo_db::everything()));
    assert_eq!(rows.await.unwrap(), 0);
    assert!(ear.0.lock().unwrap().is_empty());
}

oslo_db::table! {
    struct OutboxRow in "notification_outbox" { id: String }
}

/// Upstream's own listener, and a broker that is away for a while.
#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_carries_them_to_upstreams_listener() {
    let mut broker = RabbitMq::start().await.unwrap();
    let options = Options {
        patience: Duration::from_secs(5),
        ..Options::default()
    };
    let mut config = RabbitConfig::parse(&broker.url()).unwrap();
    config.broker_patience = Duration::from_secs(10);
    let bus = Bus::rabbit(config, options).unwrap();
    let cloud = Cloud::over(bus, ALL, |c| {
        c.notification_driver = "messagingv2".into();
        c.versioned_notifications_topics = ["notifications", "versioned_notifications"]
            .map(String::from)
            .to_vec();
    })
    .await;
    let url = broker.url();
    let mut listener = Upstream::start(&[&url, "listen", "nova", "notifications"]).unwrap();
    assert_eq!(listener.line().await.unwrap(), json!({"ready": true}));
    let flavor = flavor(&cloud).await;
    let id = boot(&cloud, "alice", &flavor, 1, json!({})).await.remove(0);
    assert_eq!(cloud.settled(&id).await["status"], "ACTIVE");
    for event in ["create-start", "create-end"] {
        let said = listener.line().await.unwrap();
        assert_eq!(
            said["event"],
            format!("instance.{}", event.replace('-', "."))
        );
        let sample = sample(&format!("instance-{event}.json"));
        same_shape(&said["payload"], &sample["payload"], event);
        assert_eq!(
            (&said["priority"], &said["user"]),
            (&json!("info"), &json!("alice"))
        );
        assert_eq!(
            said["request_id"],
            said["payload"]["nova_object.data"]["request_id"]
        );
    }
    cloud.break_host(true);
    act(&cloud, &id, json!({"reboot": {"type": "HARD"}})).await;
    assert_eq!(
        listener.line().await.unwrap()["event"],
        "instance.reboot.start"
    );
    let failed = listener.line().await.unwrap();
    let facts = (&failed["event"], &failed["priority"]);
    assert_eq!(facts, (&json!("instance.reboot.error"), &json!("error")));

    // The API does not wait for a broker, and nothing is lost.
    broker.kill();
    let asked = Instant::now();
    act(&cloud, &id, json!({"lock": null})).await;
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    broker.restart().await.unwrap();
    assert_eq!(listener.line().await.unwrap()["event"], "instance.lock");

    // Who listens where upstream's default is hears them as well; what was said before the restart is gone with the queue.
    let ear = Arc::new(Ear::default());
    let listening = cloud
        .bus
        .listen_notifications("nova", "versioned_notifications", ear.clone());
    let _listening = listening.await.unwrap();
    ear.heard("instance.lock", &id, 1).await;
    listener.end().await.unwrap();
}
