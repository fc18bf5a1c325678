//! Making a volume: row, quota and flow in one transaction.

use super::{invalid_input, status::VolumeStatus};
use crate::db::{self, VolumeRow};
use crate::flows::CreateVolume;
use crate::{Cinder, quota};
use base::{Error, Json, Result};
use cinder_types::ImageRef;
use oslo_context::RequestContext;
use sdk::{Caller, Method};
use serde_json::{Map, Value, json};

/// What a user asked for.
#[derive(Clone, Debug, Default)]
pub struct NewVolume {
    pub name: Option<String>,
    pub description: Option<String>,
    pub size: Option<i64>,
    pub volume_type: Option<String>,
    pub availability_zone: Option<String>,
    pub metadata: Map<String, Value>,
    pub image: Option<String>,
}

/// What cinder keeps of an image.
struct Image {
    reference: ImageRef,
    metadata: Map<String, Value>,
}

const GIB: i64 = 1 << 30;

pub async fn create(cinder: &Cinder, ctx: &RequestContext, new: NewVolume) -> Result<VolumeRow> {
    let Some(size) = new.size.filter(|s| *s > 0) else {
        return Err(invalid_input(
            "Volume size 'None' must be an integer and greater than 0",
        ));
    };
    if let Some(zone) = &new.availability_zone
        && !cinder.zones().await?.contains(zone)
    {
        return Err(invalid_input(format!(
            "Availability zone '{zone}' is invalid."
        )));
    }
    let image = match &new.image {
        Some(id) => Some(look_at_image(cinder, ctx, id, size).await?),
        None => None,
    };
    let zone = new
        .availability_zone
        .clone()
        .unwrap_or_else(|| cinder.conf.storage_availability_zone.clone());
    let wanted = new
        .volume_type
        .clone()
        .unwrap_or_else(|| cinder.conf.default_volume_type.clone());
    let row = VolumeRow {
        id: base::new_id(),
        project_id: ctx.project().to_string(),
        user_id: ctx.user().to_string(),
        name: new.name,
        description: new.description,
        size,
        growing_by: 0,
        status: VolumeStatus::Creating,
        previous_status: None,
        availability_zone: zone,
        volume_type_id: String::new(),
        host: None,
        bootable: false,
        multiattach: false,
        read_only: None,
        metadata: Json(new.metadata),
        image_metadata: Json(
            image
                .as_ref()
                .map(|i| i.metadata.clone())
                .unwrap_or_default(),
        ),
        image_id: new.image,
        provider_id: None,
        provider_location: None,
        service_id: None,
        reason: None,
        created_at: cinder.clock.now(),
        updated_at: None,
    };
    let (limits, engine) = (cinder.limits.clone(), cinder.engine.clone());
    let (ctx, image) = (ctx.clone(), image.map(|i| i.reference));
    let row = cinder
        .db
        .write(move |tx| {
            let kind = db::types::get_by_any(tx, &ctx, &wanted)?;
            let mut row = row.clone();
            row.multiattach = kind.multiattach();
            row.volume_type_id = kind.id.clone();
            quota::reserve_volume(&limits, tx, &row.project_id, &kind, 1, row.size)?;
            tx.insert(&row)?;
            let flow = CreateVolume {
                volume_id: row.id.clone(),
                request_id: ctx.request_id.clone(),
                image: image.clone(),
            };
            engine.submit(tx, &flow)?;
            Ok(row)
        })
        .await?;
    cinder.engine.wake();
    tracing::info!(volume.id = %row.id, size, "volume create accepted");
    Ok(row)
}

async fn look_at_image(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    size: i64,
) -> Result<Image> {
    let unknown =
        || Error::bad_request("Invalid image identifier or unable to access requested image.");
    if !base::id::is_uuid_like(id) {
        return Err(unknown());
    }
    let path = format!("/v2/images/{id}");
    let answer = cinder
        .sdk
        .request(Caller::User(ctx), "image", Method::GET, &path, None)
        .await;
    let image: Map<String, Value> = match answer {
        Ok(answer) => answer.json()?,
        Err(e) if matches!(e.kind(), base::Kind::NotFound | base::Kind::Forbidden) => {
            return Err(unknown());
        }
        Err(e) => return Err(e),
    };
    let number = |key: &str| image.get(key).and_then(Value::as_i64).unwrap_or(0);
    let text = |key: &str| image.get(key).and_then(Value::as_str).unwrap_or("");
    if text("status") != "active" {
        return Err(invalid_input(format!("Image {id} is not active.")));
    }
    let needed = (number("size").max(number("virtual_size")) + GIB - 1) / GIB;
    if needed > size {
        return Err(invalid_input(format!(
            "Size of specified image {needed}GB is larger than volume size {size}GB."
        )));
    }
    if number("min_disk") > size {
        return Err(invalid_input(format!(
            "Volume size {size}GB cannot be smaller than the image minDisk size {}GB.",
            number("min_disk")
        )));
    }
    Ok(Image {
        reference: ImageRef {
            id: id.to_string(),
            disk_format: text("disk_format").to_string(),
        },
        metadata: image_metadata(id, &image),
    })
}

/// `volume_image_metadata`: some attributes under their own names, and the free properties, all as text.
fn image_metadata(id: &str, image: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("image_id".into(), json!(id));
    let names = [
        ("name", "image_name"),
        ("checksum", "checksum"),
        ("container_format", "container_format"),
        ("disk_format", "disk_format"),
        ("min_disk", "min_disk"),
        ("min_ram", "min_ram"),
        ("size", "size"),
    ];
    for (theirs, ours) in names {
        match image.get(theirs) {
            Some(Value::String(text)) => drop(out.insert(ours.into(), json!(text))),
            Some(Value::Number(n)) => drop(out.insert(ours.into(), json!(n.to_string()))),
            _ => {}
        }
    }
    const OWN: &[&str] = &[
        "id",
        "status",
        "visibility",
        "protected",
        "owner",
        "tags",
        "locations",
        "self",
        "file",
        "schema",
        "created_at",
        "updated_at",
        "virtual_size",
        "os_hidden",
        "os_hash_algo",
        "os_hash_value",
        "direct_url",
        "stores",
    ];
    for (name, value) in image {
        let known = OWN.contains(&name.as_str()) || names.iter().any(|(theirs, _)| theirs == name);
        if let (false, Value::String(text)) = (known, value) {
            out.insert(name.clone(), json!(text));
        }
    }
    out
}
