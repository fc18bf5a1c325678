//! Glance as nova needs it.

use base::{Error, Kind, Result};
use nova_types::rpc::ImageSpec;
use oslo_context::RequestContext;
use oslo_http::percent_encode;
use sdk::{Caller, Method, Sdk};
use serde_json::Value;
use std::collections::BTreeMap;

/// An image, as far as a boot needs it.
pub struct Image {
    /// What compute hosts are told.
    pub spec: ImageSpec,
    /// `active`…
    pub status: String,
    /// GiB.
    pub min_disk: i64,
    /// MiB.
    pub min_ram: i64,
    /// Bytes of the disk inside, where known.
    pub virtual_size: i64,
}

const CORE: &[&str] = &[
    "id",
    "name",
    "status",
    "visibility",
    "owner",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "os_hidden",
    "disk_format",
    "container_format",
    "min_disk",
    "min_ram",
    "created_at",
    "updated_at",
    "protected",
    "tags",
    "self",
    "file",
    "schema",
    "locations",
    "direct_url",
    "stores",
];

/// An image with the eyes of `caller`.
pub async fn get(sdk: &Sdk, caller: Caller<'_>, id: &str) -> Result<Image> {
    let path = format!("/v2/images/{}", percent_encode(id));
    let value: Value = sdk
        .request(caller, "image", Method::GET, &path, None)
        .await?
        .json()?;
    let text = |k: &str| value[k].as_str().unwrap_or("").to_string();
    let mut properties = BTreeMap::new();
    for (name, v) in value.as_object().into_iter().flatten() {
        if let (false, Some(v)) = (CORE.contains(&name.as_str()), v.as_str()) {
            properties.insert(name.clone(), v.to_string());
        }
    }
    let sha512 = (value["os_hash_algo"] == "sha512")
        .then(|| text("os_hash_value"))
        .filter(|h| !h.is_empty());
    Ok(Image {
        spec: ImageSpec {
            id: text("id"),
            disk_format: text("disk_format"),
            size: value["size"].as_u64().unwrap_or(0),
            sha512,
            properties,
        },
        status: text("status"),
        min_disk: value["min_disk"].as_i64().unwrap_or(0),
        min_ram: value["min_ram"].as_i64().unwrap_or(0),
        virtual_size: value["virtual_size"].as_i64().unwrap_or(0),
    })
}

/// The image of a boot request, checked as upstream checks it.
pub async fn get_for_boot(sdk: &Sdk, ctx: &RequestContext, id: &str) -> Result<Image> {
    let missing = || Error::bad_request("Can not find requested image").class("ImageNotFound");
    if !base::id::is_uuid_like(id) {
        return Err(Error::bad_request("Invalid imageRef provided."));
    }
    let image = get(sdk, Caller::User(ctx), id).await.map_err(|e| {
        if e.kind() == Kind::NotFound {
            missing()
        } else {
            e
        }
    })?;
    if image.status != "active" {
        return Err(Error::bad_request(format!("Image {id} is not active.")));
    }
    Ok(image)
}
