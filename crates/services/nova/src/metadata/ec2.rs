//! The tree that EC2 guests know: `/latest/meta-data/instance-id` and so on.

use super::{Found, Guest, fqdn, user_data};
use crate::db::instances::CachedAddress;
use std::collections::BTreeMap;

const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "latest",
];

/// A directory or a value. A directory with a name is listed as `0=name` (public keys).
enum Node {
    Value(String),
    Directory(BTreeMap<String, Node>, Option<String>),
}

impl Node {
    fn directory<const N: usize>(nodes: [(&str, Node); N]) -> Node {
        Node::Directory(
            nodes.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
            None,
        )
    }

    fn lines(&self) -> String {
        match self {
            Node::Value(text) => text.clone(),
            Node::Directory(nodes, _) => {
                let line = |(name, node): (&String, &Node)| match node {
                    Node::Value(_) => name.clone(),
                    Node::Directory(_, Some(label)) => format!("{name}={label}"),
                    Node::Directory(_, None) => format!("{name}/"),
                };
                nodes.iter().map(line).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// Every version, a line each.
pub(super) fn versions() -> String {
    VERSIONS.join("\n")
}

/// What `/version/path…` leads to.
pub(super) fn lookup(guest: &Guest, version: &str, path: &[&str]) -> Option<Found> {
    let version = VERSIONS.iter().find(|v| **v == version)?;
    let data = user_data(&guest.instance);
    match path {
        [] => Some(Found::Text(
            if data.is_some() {
                "meta-data/\nuser-data"
            } else {
                "meta-data/"
            }
            .to_string(),
        )),
        ["user-data"] => data.map(Found::Bytes),
        ["meta-data", rest @ ..] => {
            let mut node = &tree(guest, version);
            for name in rest {
                let Node::Directory(nodes, _) = node else {
                    return None;
                };
                node = nodes.get(*name)?;
            }
            Some(Found::Text(node.lines()))
        }
        _ => None,
    }
}

/// EC2's ids are short; the first half of the uuid's first group is as stable as the uuid.
fn short(prefix: &str, uuid: Option<&str>) -> String {
    let digits: String = uuid
        .unwrap_or("")
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(8)
        .collect();
    format!("{prefix}-{digits:0>8}")
}

fn tree(guest: &Guest, version: &str) -> Node {
    let instance = &guest.instance;
    let value = |text: &str| Node::Value(text.to_string());
    let addresses: Vec<&CachedAddress> = instance
        .network_info
        .0
        .iter()
        .flat_map(|p| &p.addresses)
        .collect();
    let v4: Vec<&&CachedAddress> = addresses.iter().filter(|a| a.version != 6).collect();
    let local = v4.first().map_or("", |a| a.ip.as_str());
    let public = v4
        .iter()
        .find_map(|a| a.floating.first())
        .map_or("", String::as_str);
    let name = fqdn(instance);
    let Node::Directory(mut root, _) = Node::directory([
        (
            "ami-id",
            value(&short("ami", instance.image_ref.as_deref())),
        ),
        (
            "ami-launch-index",
            value(&instance.launch_index.to_string()),
        ),
        ("ami-manifest-path", value("FIXME")),
        ("hostname", value(&name)),
        ("instance-id", value(&short("i", Some(&instance.id)))),
        ("instance-type", value(&instance.flavor.0.name)),
        ("local-hostname", value(&name)),
        ("local-ipv4", value(local)),
        ("public-hostname", value(&name)),
        ("public-ipv4", value(public)),
        ("reservation-id", value(&instance.reservation_id)),
        (
            "security-groups",
            value(&instance.security_groups.0.join("\n")),
        ),
    ]) else {
        return value("");
    };
    if let Some(key) = &instance.key_data {
        let label = instance.key_name.clone().unwrap_or_default();
        let files = BTreeMap::from([("openssh-key".to_string(), value(key))]);
        let keys = BTreeMap::from([("0".to_string(), Node::Directory(files, Some(label)))]);
        root.insert("public-keys".into(), Node::Directory(keys, None));
    }
    // Dates compare as text; "latest" comes after all of them.
    if version >= "2007-12-15" {
        root.insert("block-device-mapping".into(), block_devices(guest));
        root.insert("instance-action".into(), value("none"));
    }
    if version >= "2008-02-01" {
        root.insert(
            "placement".into(),
            Node::directory([("availability-zone", value(&guest.zone))]),
        );
    }
    Node::Directory(root, None)
}

fn block_devices(guest: &Guest) -> Node {
    let root = guest
        .instance
        .root_device_name
        .as_deref()
        .unwrap_or("/dev/vda");
    let mut map = BTreeMap::from([
        (
            "ami".to_string(),
            Node::Value(root.trim_start_matches("/dev/").to_string()),
        ),
        ("root".to_string(), Node::Value(root.to_string())),
    ]);
    let attached = guest.volumes.iter().filter(|v| v.boot_index != Some(0));
    for (i, volume) in attached.enumerate() {
        let device = volume.device_name.trim_start_matches("/dev/");
        map.insert(format!("ebs{i}"), Node::Value(format!("/dev/{device}")));
    }
    Node::Directory(map, None)
}
