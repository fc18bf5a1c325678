//! Glance as nova needs it.

use base::{Error, Kind, Result};
use glance_types::{Image, ImageStatus};
use nova_types::rpc::ImageSpec;
use oslo_context::RequestContext;
use sdk::{Caller, Sdk};

/// Where an image's data lies is no property of the image, though glance shows it among them.
const NO_PROPERTIES: [&str; 2] = ["direct_url", "stores"];

/// The image as compute hosts are told of it.
pub fn spec(image: &Image) -> ImageSpec {
    let mut properties = image.properties();
    properties.retain(|name, _| !NO_PROPERTIES.contains(&name.as_str()));
    let sha512 = image
        .os_hash_value
        .clone()
        .filter(|hash| image.os_hash_algo.as_deref() == Some("sha512") && !hash.is_empty());
    ImageSpec {
        id: image.id.clone(),
        disk_format: image.disk_format.clone().unwrap_or_default(),
        size: image.size.unwrap_or(0),
        sha512,
        properties,
    }
}

/// What compute hosts are told of an image, with the service's own eyes.
pub async fn get_spec(sdk: &Sdk, id: &str) -> Result<ImageSpec> {
    let image = sdk.glance().image(Caller::Service, id).await?;
    Ok(spec(&image))
}

/// The image of a boot request, checked as upstream checks it.
pub async fn get_for_boot(sdk: &Sdk, ctx: &RequestContext, id: &str) -> Result<Image> {
    let missing = || Error::bad_request("Can not find requested image").class("ImageNotFound");
    if !base::id::is_uuid_like(id) {
        return Err(Error::bad_request("Invalid imageRef provided."));
    }
    let found = sdk.glance().image(Caller::User(ctx), id).await;
    let image = found.map_err(|e| match e.kind() {
        Kind::NotFound => missing(),
        _ => e,
    })?;
    if image.status != ImageStatus::Active {
        return Err(Error::bad_request(format!("Image {id} is not active.")));
    }
    Ok(image)
}
