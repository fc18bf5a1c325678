//! Metadata definitions: what properties images, flavors and volumes may have, told to people. Bodies as they come in.

pub mod catalog;
pub mod schema;

use glance_types::MetadefVisibility;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Names and descriptions; `properties` are JSON schemas, free-form by nature.
#[derive(Clone, Debug, Deserialize)]
pub struct NamespaceBody {
    pub namespace: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub visibility: Option<MetadefVisibility>,
    pub protected: Option<bool>,
    pub owner: Option<String>,
    #[serde(default)]
    pub resource_type_associations: Vec<AssociationBody>,
    #[serde(default)]
    pub properties: Map<String, Value>,
    #[serde(default)]
    pub objects: Vec<ObjectBody>,
    #[serde(default)]
    pub tags: Vec<TagBody>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AssociationBody {
    pub name: String,
    pub prefix: Option<String>,
    pub properties_target: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ObjectBody {
    pub name: String,
    pub description: Option<String>,
    #[serde(default)]
    pub required: Vec<String>,
    #[serde(default)]
    pub properties: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TagBody {
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TagsBody {
    pub tags: Vec<TagBody>,
}
