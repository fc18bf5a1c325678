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

/// Whether `resource` is shown in quota sets; `classes` for class sets, which learned of server groups in 2.50 only
/// and of the network resources' end then, too.
pub fn shown(req: &Req, resource: &str, classes: bool) -> bool {
    if resource.starts_with("injected_") {
        return !req.at_least(2, 57);
    }
    if NETWORK.contains(&resource) {
        return !req.at_least(2, if classes { 50 } else { 36 });
    }
    !(classes && resource.starts_with("server_group") && !req.at_least(2, 50))
}

/// A quota set: the value of each resource that this microversion shows.
pub fn set<'a>(
    req: &Req,
    resources: impl Iterator<Item = (&'a str, Value)>,
    classes: bool,
) -> Map<String, Value> {
    resources
        .filter(|(name, _)| shown(req, name, classes))
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}
