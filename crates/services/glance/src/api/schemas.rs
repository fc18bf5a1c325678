//! `/v2/schemas/…`: upstream's documents as data.

use crate::Glance;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

fn documents() -> &'static HashMap<String, Box<RawValue>> {
    static DOCUMENTS: OnceLock<HashMap<String, Box<RawValue>>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        serde_json::from_str(include_str!("../../data/schemas.json")).unwrap_or_default()
    })
}

/// A document by its name in the data, `image` or `metadef_tag`.
pub fn document(name: &str) -> Option<&'static RawValue> {
    documents().get(name).map(Box::as_ref)
}

fn answer(name: Option<&'static str>) -> Result<Reply> {
    let document = name.and_then(document);
    let document = document.ok_or_else(|| Error::not_found("The resource could not be found."))?;
    Reply::ok(&document)
}

pub async fn show(_: Arc<Glance>, req: Req) -> Result<Reply> {
    let known = ["image", "images", "member", "members", "task", "tasks"];
    answer(known.into_iter().find(|n| *n == req.param("name")))
}

pub async fn metadef(_: Arc<Glance>, req: Req) -> Result<Reply> {
    answer(match req.param("name") {
        "namespace" => Some("metadef_namespace"),
        "namespaces" => Some("metadef_namespaces"),
        "object" => Some("metadef_object"),
        "objects" => Some("metadef_objects"),
        "property" => Some("metadef_property"),
        "properties" => Some("metadef_properties"),
        "resource_type" => Some("metadef_resource_type"),
        "resource_types" => Some("metadef_resource_types"),
        "tag" => Some("metadef_tag"),
        "tags" => Some("metadef_tags"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_data_is_readable() {
        let image: serde_json::Value =
            serde_json::from_str(super::documents()["image"].get()).unwrap();
        assert_eq!(image["name"], "image");
    }
}
