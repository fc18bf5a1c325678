//! The attribute maps: what a resource's attributes are, who may send them and how they are read. Data, see attributes.py.

use base::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The rules of one attribute, as upstream declares them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Attribute {
    pub post: bool,
    pub put: bool,
    pub visible: bool,
    pub filter: bool,
    pub sort: bool,
    pub required_by_policy: bool,
    pub enforce_policy: bool,
    /// No value unless one is sent.
    pub optional: bool,
    #[serde(deserialize_with = "present")]
    pub default: Option<Value>,
    pub validate: Map<String, Value>,
    pub convert_to: Option<String>,
    pub convert_list_to: Option<String>,
}

/// `null` is a default too.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

pub(crate) type Attributes = BTreeMap<String, Attribute>;

static MAPS: LazyLock<BTreeMap<String, Attributes>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../attributes.json")).unwrap_or_default());

static EXTENSIONS: LazyLock<Vec<Map<String, Value>>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../extensions.json")).unwrap_or_default());

/// The attributes of a resource, by its plural.
pub(crate) fn of(plural: &str) -> Result<&'static Attributes> {
    MAPS.get(plural)
        .ok_or_else(|| Error::internal(format!("no attribute map for {plural}")))
}

/// The extensions that are offered.
pub(crate) fn extensions() -> &'static [Map<String, Value>] {
    &EXTENSIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_reads() {
        for plural in [
            "networks",
            "subnets",
            "ports",
            "routers",
            "floatingips",
            "security_groups",
            "security_group_rules",
        ] {
            assert!(of(plural).unwrap().contains_key("tenant_id"), "{plural}");
        }
        let gateway = &of("routers").unwrap()["external_gateway_info"];
        assert_eq!(gateway.default, Some(Value::Null));
        assert!(extensions().iter().any(|e| e["alias"] == "router"));
    }
}
