//! A volume's bytes as an image. The image's record is the caller's from the start; a flow fills it.

use super::invalid_volume;
use super::status::{Verb, VolumeStatus, transition};
use crate::Cinder;
use crate::db::{self, VolumeRow};
use crate::flows::UploadVolume;
use base::{Error, Kind, Result};
use oslo_context::RequestContext;
use oslo_db::{Tx, set};
use sdk::Caller;
use serde_json::{Map, Value, json};

/// What a user asked for.
#[derive(Clone, Debug)]
pub struct NewImage {
    pub name: String,
    pub force: bool,
    pub disk_format: String,
    pub container_format: String,
    pub visibility: String,
    pub protected: bool,
}

/// What of a volume's image metadata is glance's own; the rest are properties.
const OWN: &[&str] = &[
    "checksum",
    "container_format",
    "disk_format",
    "image_id",
    "image_name",
    "min_disk",
    "min_ram",
    "name",
    "signature_verified",
    "size",
];

fn attributes(volume: &VolumeRow, new: &NewImage) -> Value {
    let old = &volume.image_metadata.0;
    let mut out = Map::new();
    for (key, value) in old {
        if !OWN.contains(&key.as_str()) {
            out.insert(key.clone(), value.clone());
        }
    }
    for key in ["min_disk", "min_ram"] {
        let number = old
            .get(key)
            .and_then(Value::as_str)
            .and_then(|t| t.parse::<i64>().ok());
        out.insert(key.into(), json!(number.unwrap_or(0)));
    }
    out.insert("name".into(), json!(new.name));
    out.insert("disk_format".into(), json!(new.disk_format));
    out.insert("container_format".into(), json!(new.container_format));
    out.insert("visibility".into(), json!(new.visibility));
    out.insert("protected".into(), json!(new.protected));
    Value::Object(out)
}

/// Makes the image's record and submits the flow; the image's id, and the volume as it is then.
pub async fn upload(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    new: NewImage,
) -> Result<(String, VolumeRow)> {
    let (ctx2, id2) = (ctx.clone(), id.to_string());
    let volume = cinder
        .db
        .read(move |tx| db::volumes::get(tx, &ctx2, &id2))
        .await?;
    let forced = new.force && cinder.conf.enable_force_upload;
    let usable = move |volume: &VolumeRow| match volume.status {
        VolumeStatus::Available => Ok(()),
        VolumeStatus::InUse if forced => Ok(()),
        other => Err(invalid_volume(format!(
            "Volume {} status must be {}, but current status is: {other}.",
            volume.id,
            if forced {
                "available or in-use"
            } else {
                "available"
            }
        ))),
    };
    usable(&volume)?;
    let glance = cinder.sdk.glance();
    let made = glance
        .create(Caller::User(ctx), attributes(&volume, &new))
        .await;
    let image = made.map_err(|e| match e.kind() {
        Kind::BadRequest => Error::bad_request(e.message()),
        _ => e,
    })?;
    let (ctx2, id2, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    let (engine, image_id) = (cinder.engine.clone(), image.id.clone());
    let begun = cinder
        .db
        .write(move |tx: &mut Tx| {
            let volume = db::volumes::lock(tx, &ctx2, &id2)?;
            usable(&volume)?;
            let previous = [set("previous_status", volume.status)];
            if !transition(tx, &id2, Verb::Upload, now, &previous)? {
                return Err(invalid_volume("Volume status has changed meanwhile."));
            }
            let flow = UploadVolume {
                volume_id: id2.clone(),
                image_id: image_id.clone(),
                disk_format: new.disk_format.clone(),
                request_id: ctx2.request_id.clone(),
            };
            engine.submit(tx, &flow)?;
            db::volumes::get(tx, &ctx2, &id2)
        })
        .await;
    match begun {
        Ok(volume) => {
            cinder.engine.wake();
            tracing::info!(volume.id = id, image.id = %image.id, "upload accepted");
            Ok((image.id, volume))
        }
        Err(error) => {
            forget(cinder, &image.id).await;
            Err(error)
        }
    }
}

/// Deletes the record of an image that gets no data, also a protected one.
pub async fn forget(cinder: &Cinder, image_id: &str) {
    let glance = cinder.sdk.glance();
    let open = [("protected", json!(false))];
    let opened = glance.update(Caller::Service, image_id, &open).await;
    let gone = match opened {
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e),
        Ok(_) => glance.delete(Caller::Service, image_id).await,
    };
    if let Err(error) = gone {
        tracing::warn!(image.id = image_id, %error, "an image without data could not be deleted");
    }
}
