//! The services around nova, as small as a boot needs them: everything they are asked is written down.

use futures::future::BoxFuture;
use http::Method;
use oslo_http::{Body, Endpoint, Reply, RouteInfo};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The only network, with room for 250 ports.
pub const NETWORK: &str = "11111111-2222-4333-8444-555555555555";
/// A snapshot that cinder does not know.
pub const NO_SNAPSHOT: &str = "00000000-0000-4000-8000-000000000000";
/// A snapshot of which no volume can be made.
pub const BROKEN_SNAPSHOT: &str = "00000000-0000-4000-8000-000000000001";
const SUBNET: &str = "66666666-2222-4333-8444-555555555555";

#[derive(Default)]
struct State {
    /// What was asked: `network GET /v2.0/ports?device_id=…`.
    asked: Vec<String>,
    /// Placement's providers, each with endless room unless `room` says for how many.
    providers: Vec<String>,
    room: Option<usize>,
    /// Placement's allocations by consumer.
    allocations: BTreeMap<String, Value>,
    /// Whether neutron answers. Until then the healer leaves alone what tests write into rows.
    wired: bool,
    /// Neutron's ports.
    ports: Vec<Value>,
    /// Volumes that cinder made for nova.
    volumes: Vec<Value>,
}

/// All of them, with one state.
#[derive(Clone, Default)]
pub struct Neighbours(Arc<Mutex<State>>);

impl Neighbours {
    /// Where nova finds them.
    pub fn transport(&self) -> sdk::InProcess {
        let all = sdk::InProcess::default();
        for service in ["identity", "image", "network", "placement", "volumev3"] {
            let one = Neighbour(service, self.clone());
            all.register(service, Arc::new(one));
        }
        all
    }

    /// Neutron answers from now on.
    pub fn wire(&self) {
        self.0.lock().unwrap().wired = true;
    }

    /// A host that placement knows.
    pub fn provider(&self, id: &str) {
        let mut state = self.0.lock().unwrap();
        if !state.providers.iter().any(|p| p == id) {
            state.providers.push(id.to_string());
        }
    }

    /// From now on each host has room for so many guests.
    pub fn room(&self, guests: usize) {
        self.0.lock().unwrap().room = Some(guests);
    }

    /// The consumers that hold something of each provider.
    pub fn consumers(&self) -> BTreeMap<String, Vec<String>> {
        let state = self.0.lock().unwrap();
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (consumer, held) in &state.allocations {
            for provider in held.as_object().unwrap().keys() {
                all.entry(provider.clone())
                    .or_default()
                    .push(consumer.clone());
            }
        }
        all
    }

    /// The providers that a consumer holds something of.
    pub fn allocated(&self, consumer: &str) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let held = state.allocations.get(consumer).and_then(Value::as_object);
        held.into_iter().flatten().map(|(p, _)| p.clone()).collect()
    }

    /// A port, which is somebody's already or nobody's.
    pub fn port(&self, device: &str) -> String {
        let body = json!({"network_id": NETWORK, "device_id": device});
        let mut state = self.0.lock().unwrap();
        let (_, port) = make_port(&mut state, &body);
        port["port"]["id"].as_str().unwrap().to_string()
    }

    /// Volumes that were made and are not deleted.
    pub fn volumes(&self) -> Vec<Value> {
        self.0.lock().unwrap().volumes.clone()
    }

    /// The ports of a device.
    pub fn ports_of(&self, device: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        let own = state.ports.iter().filter(|p| p["device_id"] == device);
        own.cloned().collect()
    }

    /// Requests that start like this, since the last time this was asked of anything.
    pub fn asked(&self, start: &str) -> Vec<String> {
        let asked = std::mem::take(&mut self.0.lock().unwrap().asked);
        asked.into_iter().filter(|a| a.starts_with(start)).collect()
    }
}

struct Neighbour(&'static str, Neighbours);

impl Endpoint for Neighbour {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect(1 << 20).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or(""));
            let mut state = self.1.0.lock().unwrap();
            let line = format!("{} {} {}", self.0, parts.method, parts.uri);
            state.asked.push(line);
            let path: Vec<&str> = path.trim_matches('/').split('/').collect();
            let (status, answer) = match self.0 {
                "identity" => identity(&path),
                "image" => (200, image(path.last().unwrap())),
                "volumev3" => volume(&mut state, &parts.method, &path, &body),
                "network" if !state.wired => (503, Value::Null),
                "network" => network(&mut state, &parts.method, &path, query, &body),
                _ => placement(&mut state, &parts.method, &path, &body),
            };
            let reply = Reply::json(status, &answer).unwrap();
            reply.header("x-subject-token", "service")
        })
    }

    fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        self.0
    }
}

fn identity(path: &[&str]) -> (u16, Value) {
    match path {
        ["v3", "auth", "tokens"] => (
            201,
            json!({"token": {"expires_at": "2999-01-01T00:00:00.000000Z"}}),
        ),
        _ => (200, json!({"project": {"id": path.last()}})),
    }
}

fn image(id: &str) -> Value {
    json!({"id": id, "name": "small", "status": "active", "visibility": "public", "disk_format": "raw", "size": 4096,
        "min_disk": 0, "min_ram": 0, "hw_disk_bus": "virtio"})
}

fn not_found() -> (u16, Value) {
    (
        404,
        json!({"NeutronError": {"type": "NotFound", "message": "not found", "detail": ""}}),
    )
}

fn make_port(state: &mut State, wanted: &Value) -> (u16, Value) {
    let number = state.ports.len() + 1;
    let mut port = json!({"id": base::new_id(), "status": "ACTIVE", "mac_address": format!("fa:16:3e:00:00:{number:02x}"),
        "fixed_ips": [{"subnet_id": SUBNET, "ip_address": format!("10.0.0.{}", number + 2)}],
        "binding:vif_type": "bridge", "device_id": "", "security_groups": []});
    merge(&mut port, wanted);
    state.ports.push(port.clone());
    (201, json!({"port": port}))
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key.as_str()] = value.clone();
    }
}

fn network(
    state: &mut State,
    method: &Method,
    path: &[&str],
    query: &str,
    body: &Value,
) -> (u16, Value) {
    let devices: Vec<&str> = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("device_id="))
        .collect();
    match (method, path) {
        (&Method::GET, ["v2.0", "ports"]) => {
            let own = |p: &&Value| devices.contains(&p["device_id"].as_str().unwrap_or(""));
            let ports: Vec<&Value> = state.ports.iter().filter(own).collect();
            (200, json!({"ports": ports}))
        }
        (&Method::POST, ["v2.0", "ports"]) => make_port(state, &body["port"]),
        (_, ["v2.0", "ports", id]) => {
            let Some(at) = state.ports.iter().position(|p| p["id"] == *id) else {
                return not_found();
            };
            if method == Method::DELETE {
                state.ports.remove(at);
                return (204, Value::Null);
            }
            merge(&mut state.ports[at], &body["port"]);
            (200, json!({"port": state.ports[at]}))
        }
        (_, ["v2.0", "networks"]) => {
            let network = json!({"id": NETWORK, "name": "private", "mtu": 1450, "project_id": "p1", "subnets": [SUBNET]});
            (200, json!({"networks": [network]}))
        }
        (_, ["v2.0", "subnets"]) => {
            let subnet = json!({"id": SUBNET, "network_id": NETWORK, "ip_version": 4, "cidr": "10.0.0.0/24",
                "gateway_ip": "10.0.0.1", "enable_dhcp": true, "dns_nameservers": []});
            (200, json!({"subnets": [subnet]}))
        }
        (&Method::POST, ["v2.0", "security-groups"]) => {
            let mut group = json!({"id": base::new_id(), "project_id": "p1", "description": ""});
            merge(&mut group, &body["security_group"]);
            group["security_group_rules"] = json!([
                {"id": "out", "direction": "egress", "ethertype": "IPv4", "protocol": null},
                {"id": "in", "direction": "ingress", "ethertype": "IPv6", "protocol": "TCP", "remote_group_id": null},
            ]);
            (201, json!({"security_group": group}))
        }
        (_, ["v2.0", plural]) => (200, json!({plural.replace('-', "_"): []})),
        _ => not_found(),
    }
}

/// Whether a provider has no room for one more, `consumer` aside.
fn full(state: &State, provider: &str, consumer: &str) -> bool {
    let others = state.allocations.iter().filter(|(c, _)| *c != consumer);
    let here = others.filter(|(_, held)| held.get(provider).is_some());
    state.room.is_some_and(|room| here.count() >= room)
}

fn conflict(code: &str) -> (u16, Value) {
    let error = json!({"status": 409, "title": "Conflict", "detail": "conflict", "code": code});
    (409, json!({"errors": [error]}))
}

fn placement(state: &mut State, method: &Method, path: &[&str], body: &Value) -> (u16, Value) {
    match (method, path) {
        (_, ["allocation_candidates"]) => {
            let way = |p: &String| json!({"allocations": {p: {"resources": {"VCPU": 1}}}});
            let free = state.providers.iter().filter(|p| !full(state, p, ""));
            let ways: Vec<Value> = free.map(way).collect();
            (
                200,
                json!({"allocation_requests": ways, "provider_summaries": {}}),
            )
        }
        (&Method::GET, ["allocations", consumer]) => {
            let held = state.allocations.get(*consumer).cloned();
            let generation = held.as_ref().map(|_| 1);
            let held = held.unwrap_or_else(|| json!({}));
            (
                200,
                json!({"allocations": held, "consumer_generation": generation}),
            )
        }
        (&Method::PUT, ["allocations", consumer]) => {
            let held = body["allocations"].clone();
            let generation = state.allocations.get(*consumer).map(|_| 1);
            if body["consumer_generation"].as_i64() != generation {
                return conflict("placement.concurrent_update");
            }
            let mut wanted = held.as_object().unwrap().keys();
            if wanted.any(|p| full(state, p, consumer)) {
                return conflict("placement.undefined_code");
            }
            state.allocations.insert(consumer.to_string(), held);
            (204, Value::Null)
        }
        (_, ["allocations", consumer]) => {
            state.allocations.remove(*consumer);
            (204, Value::Null)
        }
        (_, ["resource_providers", id]) => (
            200,
            json!({"uuid": id, "name": "host1.example", "generation": 1}),
        ),
        (_, ["resource_providers", _, what]) => {
            (200, json!({"resource_provider_generation": 1, *what: {}}))
        }
        _ => (200, Value::Object(Map::new())),
    }
}

fn milliseconds() -> i64 {
    base::Timestamp::now().0 / 1000
}

/// Cinder: volumes whose ids begin with `f` are free, and connections lead nowhere. Those that nova has it make are
/// ready a moment later, unless they are of a snapshot that is broken.
fn volume(state: &mut State, method: &Method, path: &[&str], body: &Value) -> (u16, Value) {
    let id = path.last().copied().unwrap_or_default();
    if path.contains(&"attachments") {
        if method == Method::GET {
            return (200, json!({"attachments": []}));
        }
        let attachment = json!({"id": base::new_id(), "connection_info": {}});
        return (200, json!({"attachment": attachment}));
    }
    if method == Method::POST {
        let mut made = body["volume"].clone();
        if made["snapshot_id"] == NO_SNAPSHOT {
            return (
                404,
                json!({"itemNotFound": {"message": "no such snapshot"}}),
            );
        }
        if made["size"].is_null() {
            made["size"] = json!(5);
        }
        made["id"] = json!(base::new_id());
        made["status"] = json!("creating");
        made["made_at"] = json!(milliseconds());
        state.volumes.push(made.clone());
        return (202, json!({"volume": made}));
    }
    if method == Method::DELETE {
        state.volumes.retain(|v| v["id"] != id);
        return (202, Value::Null);
    }
    if let Some(made) = state.volumes.iter_mut().find(|v| v["id"] == id) {
        if milliseconds() - made["made_at"].as_i64().unwrap() > 100 {
            let broken = made["snapshot_id"] == BROKEN_SNAPSHOT;
            made["status"] = json!(if broken { "error" } else { "available" });
        }
        return (200, json!({"volume": made}));
    }
    let free = id.starts_with('f');
    let status = if free { "available" } else { "in-use" };
    let volume = json!({"id": id, "size": 7, "status": status, "bootable": "true"});
    (200, json!({"volume": volume}))
}
