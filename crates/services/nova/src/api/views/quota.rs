//! Which quota resources each microversion shows.

use oslo_http::Req;
use serde_json::{Map, Value};

/// What nova-network's time left behind: shown until 2.35 and never limited.
const NETWORK: &[&str] = &[
    "fixed_ips",
    "floating_ips",
    "security_groups",
    "security_group_rules",
];

/// Whether `resource` is shown in quota sets.
fn shown(req: &Req, resource: &str) -> bool {
    !(resource.starts_with("injected_") && req.at_least(2, 57))
}

/// A quota set: `value` of each resource that is shown, `unlimited` for the network ones; `classes` for class sets,
/// which learned of server groups in 2.50 only and of the network resources' end then, too.
pub fn set<'a>(
    req: &Req,
    resources: impl Iterator<Item = (&'a str, Value)>,
    unlimited: Value,
    classes: bool,
) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in resources {
        let group_resource = name.starts_with("server_group");
        if shown(req, name) && !(classes && group_resource && !req.at_least(2, 50)) {
            map.insert(name.to_string(), value);
        }
    }
    let network = if classes {
        !req.at_least(2, 50)
    } else {
        !req.at_least(2, 36)
    };
    if network {
        map.extend(NETWORK.iter().map(|n| (n.to_string(), unlimited.clone())));
    }
    map
}
