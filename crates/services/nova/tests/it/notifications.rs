//! What listeners hear of a server's life, held against upstream's samples.

use crate::boot::flavor;
use crate::harness::{ALL, Cloud};
use async_trait::async_trait;
use base::Result;
use oslo_context::RequestContext;
use oslo_messaging::{Notification, NotificationHandler, Priority};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    async fn heard(&self, event: &str, server: &str) -> (RequestContext, Notification) {
        for _ in 0..500 {
            let wanted = |n: &Notification| {
                n.event_type == event && n.payload["nova_object.data"]["uuid"] == server
            };
            let all = self.0.lock().unwrap().clone();
            if let Some(found) = all.into_iter().find(|(_, n)| wanted(n)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{event} of {server} was not heard");
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
                Some(Value::String(name)) => sample(name.trim_end_matches('#')),
                _ => Value::Object(Map::new()),
            };
            for (key, value) in own {
                let value = resolved(value);
                match (whole.get_mut(&key), value) {
                    (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
                    (_, value) => drop(whole.as_object_mut().unwrap().insert(key, value)),
                }
            }
            whole
        }
        Value::Array(list) => list.into_iter().map(resolved).collect(),
        other => other,
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

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_server_is_told_in_upstreams_words() {
    let mut cloud = Cloud::of(ALL, |c| c.notification_driver = "messagingv2".into()).await;
    cloud.neighbours.wire();
    let ear = Arc::new(Ear::default());
    let _listening = cloud.bus.listen_notifications(ear.clone()).await.unwrap();
    let flavor = flavor(&cloud).await;
    let key = json!({"keypair": {"name": "mine"}});
    cloud.post("alice", "2.1", "/v2.1/os-keypairs", key).await;
    let body = json!({"server": {"name": "web", "flavorRef": flavor, "imageRef": base::new_id(), "key_name": "mine",
        "tags": ["red"], "networks": [{"uuid": crate::neighbours::NETWORK}]}});
    let made = cloud
        .post("alice", "2.52", "/v2.1/servers", body.clone())
        .await;
    let id = made["server"]["id"].as_str().unwrap().to_string();
    assert_eq!(cloud.settled(&id).await["status"], "ACTIVE");

    let create = sample("InstanceCreatePayload.json");
    let (ctx, start) = ear.heard("instance.create.start", &id).await;
    assert_eq!(start.priority, Priority::Info);
    same_shape(&start.payload, &create, "start");
    assert_eq!(start.payload["nova_object.data"]["state"], "building");
    let (_, end) = ear.heard("instance.create.end", &id).await;
    same_shape(&end.payload, &create, "end");
    assert_eq!(end.publisher_id, "nova-compute:host1");
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

    let path = format!("/v2.1/servers/{id}");
    assert_eq!(
        cloud.ask("alice", "2.1", "DELETE", &path, None).await.0,
        204
    );
    let action = sample("InstanceActionPayload.json");
    let (_, start) = ear.heard("instance.delete.start", &id).await;
    same_shape(&start.payload, &action, "delete start");
    assert_eq!(start.payload["nova_object.data"]["task_state"], "deleting");
    let (_, end) = ear.heard("instance.delete.end", &id).await;
    same_shape(&end.payload, &action, "delete end");
    let data = &end.payload["nova_object.data"];
    assert_eq!(
        (&data["state"], &data["ip_addresses"]),
        (&json!("deleted"), &json!([]))
    );
    assert!(data["deleted_at"].is_string() && data["terminated_at"].is_string());

    // A host that fails says why, with the priority of an error.
    cloud.host("host0", true).await;
    for _ in 0..3 {
        cloud.server(|_| ()).await;
    }
    let made = cloud.post("alice", "2.52", "/v2.1/servers", body).await;
    let id = made["server"]["id"].as_str().unwrap();
    let (_, failed) = ear.heard("instance.create.error", id).await;
    assert_eq!(failed.priority, Priority::Error);
    let fault = &failed.payload["nova_object.data"]["fault"];
    same_shape(fault, &sample("ExceptionPayload.json"), "fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_unless_the_operator_says_so() {
    let cloud = Cloud::new().await;
    let ear = Arc::new(Ear::default());
    let _listening = cloud.bus.listen_notifications(ear.clone()).await.unwrap();
    let flavor = flavor(&cloud).await;
    let ids = crate::boot::boot(&cloud, "alice", &flavor, 1, json!({})).await;
    assert_eq!(cloud.settled(&ids[0]).await["status"], "ACTIVE");
    assert!(ear.0.lock().unwrap().is_empty());
}
