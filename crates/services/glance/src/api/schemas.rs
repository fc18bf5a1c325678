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

pub async fn show(_: Arc<Glance>, req: Req) -> Result<Reply> {
    let known = ["image", "images", "member", "members"];
    let name = known.iter().find(|n| **n == req.param("name"));
    let document = name.and_then(|n| documents().get(*n));
    let document = document.ok_or_else(|| Error::not_found("The resource could not be found."))?;
    Reply::ok(document)
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
