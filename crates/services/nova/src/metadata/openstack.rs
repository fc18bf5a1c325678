//! OpenStack's own tree: `/openstack/latest/meta_data.json` and so on.

use super::{Found, Guest, fqdn, network_data, user_data};
use crate::db::block_devices::BlockDeviceRow;
use crate::db::instances::InstanceRow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use serde_json::{Map, Value, json};

const VERSIONS: &[&str] = &[
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
    "latest",
];

/// (document, the first version that has it).
const DOCUMENTS: &[(&str, &str)] = &[
    ("meta_data.json", "2012-08-10"),
    ("user_data", "2012-08-10"),
    ("vendor_data.json", "2013-10-17"),
    ("network_data.json", "2015-10-15"),
    ("vendor_data2.json", "2016-10-06"),
];

/// What `/openstack/path…` leads to.
pub(super) fn lookup(guest: &Guest, path: &[&str]) -> Option<Found> {
    let (version, rest) = match path.split_first() {
        None => return Some(Found::Text(VERSIONS.join("\n"))),
        Some((version, rest)) => (*VERSIONS.iter().find(|v| *v == version)?, rest),
    };
    let data = user_data(&guest.instance);
    // Dates compare as text; "latest" comes after all of them.
    let offered =
        |name: &str, since: &str| version >= since && (name != "user_data" || data.is_some());
    let [document] = rest else {
        let names = DOCUMENTS
            .iter()
            .filter(|(n, s)| offered(n, s))
            .map(|(n, _)| *n);
        return rest
            .is_empty()
            .then(|| Found::Text(names.collect::<Vec<_>>().join("\n")));
    };
    DOCUMENTS
        .iter()
        .find(|(name, since)| name == document && offered(name, since))?;
    match *document {
        "user_data" => data.map(Found::Bytes),
        "network_data.json" => Some(Found::Json(network_data(&guest.instance.network_info.0))),
        "meta_data.json" => Some(Found::Json(meta_data(
            &guest.instance,
            &guest.volumes,
            &guest.zone,
            version,
        ))),
        // Vendors' data is an operator's file upstream; there is none here, which upstream shows the same way.
        _ => Some(Found::Json(json!({}))),
    }
}

/// `meta_data.json` as of `version` (`latest` for the config drive).
pub fn meta_data(
    instance: &InstanceRow,
    volumes: &[BlockDeviceRow],
    zone: &str,
    version: &str,
) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_string(), value);
    set("uuid", json!(instance.id));
    set("availability_zone", json!(zone));
    set("hostname", json!(fqdn(instance)));
    set("launch_index", json!(instance.launch_index));
    set("name", json!(instance.display_name));
    if !instance.metadata.0.is_empty() {
        set("meta", json!(instance.metadata.0));
    }
    if let (Some(name), Some(key)) = (&instance.key_name, &instance.key_data) {
        set("public_keys", json!({name: key}));
        let kind = if key.contains("BEGIN CERTIFICATE") {
            "x509"
        } else {
            "ssh"
        };
        set("keys", json!([{"name": name, "type": kind, "data": key}]));
    }
    if version >= "2013-04-04" {
        let mut seed = [0u8; 512];
        rand::rng().fill_bytes(&mut seed);
        set("random_seed", json!(STANDARD.encode(seed)));
    }
    if version >= "2015-10-15" {
        set("project_id", json!(instance.project_id));
    }
    if version >= "2016-06-30" {
        set("devices", devices(instance, volumes));
    }
    if version >= "2020-10-14" {
        set("dedicated_cpus", json!([]));
    }
    Value::Object(map)
}

/// Devices that were tagged at boot or attach. Their place on a bus is the host's to know.
fn devices(instance: &InstanceRow, volumes: &[BlockDeviceRow]) -> Value {
    let cards = instance.network_info.0.iter().filter_map(|p| {
        let tag = p.tag.as_ref()?;
        Some(json!({"type": "nic", "bus": "none", "address": "none", "mac": p.mac, "tags": [tag]}))
    });
    let disks = volumes.iter().filter_map(|v| {
        let (tag, device) = (v.tag.as_ref()?, v.device_name.trim_start_matches("/dev/"));
        let path = format!("/dev/{device}");
        Some(json!({"type": "disk", "bus": "none", "address": "none", "serial": v.volume_id, "path": path, "tags": [tag]}))
    });
    cards.chain(disks).collect()
}
