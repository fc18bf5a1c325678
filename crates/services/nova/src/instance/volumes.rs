//! Volumes that a server boots with: those that are there are reserved, others are made first, in the user's name. A
//! request that dies in between leaves nothing: what it was about to keep is written down before its server is.

use super::reserve;
use crate::db::reservations::{self, ReservationRow};
use crate::{Nova, volume};
use base::{Error, Result, new_id};
use oslo_context::RequestContext;
use serde_json::json;

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// It is there.
    Volume(String),
    /// An image, and the volume's GiB.
    Image(String, i64),
    /// A volume's snapshot; without GiB as large as that.
    Snapshot(String, Option<i64>),
    /// Nothing, of so many GiB.
    Blank(i64),
}

/// A volume to boot with.
#[derive(Clone, Debug)]
pub struct BootVolume {
    /// Where it comes from.
    pub source: VolumeSource,
    /// The volume type of one that is made.
    pub volume_type: Option<String>,
    /// 0 for the root disk.
    pub boot_index: Option<i64>,
    /// Whether it goes with the server.
    pub delete_on_termination: bool,
    /// A device tag.
    pub tag: Option<String>,
}

/// A volume that is kept for a server.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What was asked for.
    pub wanted: BootVolume,
    /// Its id.
    pub volume_id: String,
    /// GiB.
    pub size: i64,
    /// Its attachment; one that is still being made has none yet.
    pub attachment: Option<String>,
}

/// Keeps a volume for a server. The caller closes the reservation, or gives it back with [`release`].
pub async fn keep(
    nova: &Nova,
    ctx: &RequestContext,
    wanted: &BootVolume,
    instance_id: &str,
) -> Result<Kept> {
    let VolumeSource::Volume(id) = &wanted.source else {
        return make(nova, ctx, wanted, instance_id).await;
    };
    let found = volume::get(&nova.sdk, ctx, id)
        .await
        .map_err(|e| match e.is_not_found() {
            true => invalid(format!("failed to get volume {id}.")),
            false => e,
        })?;
    if found.status != "available" && !found.multiattach {
        return Err(invalid(format!(
            "Volume {} is {}, not available.",
            found.id, found.status
        )));
    }
    if wanted.boot_index == Some(0) && found.bootable != "true" {
        return Err(Error::bad_request(format!(
            "Block Device {} is not bootable.",
            found.id
        )));
    }
    let attachment = reserve::reserve(nova, ctx, id, instance_id).await?;
    Ok(Kept {
        wanted: wanted.clone(),
        volume_id: id.clone(),
        size: found.size,
        attachment: Some(attachment),
    })
}

fn invalid(words: String) -> Error {
    Error::bad_request(format!("Block Device Mapping is Invalid: {words}"))
}

async fn make(
    nova: &Nova,
    ctx: &RequestContext,
    wanted: &BootVolume,
    instance_id: &str,
) -> Result<Kept> {
    let mut body = match &wanted.source {
        VolumeSource::Image(id, size) => json!({"imageRef": id, "size": size}),
        VolumeSource::Snapshot(id, size) => json!({"snapshot_id": id, "size": size}),
        VolumeSource::Blank(size) => json!({"size": size}),
        VolumeSource::Volume(_) => return Err(Error::internal("a volume that is there is made")),
    };
    // Named so by upstream, too: the user sees it among their volumes.
    body["name"] = json!("");
    body["description"] = json!("");
    if let Some(kind) = &wanted.volume_type {
        body["volume_type"] = json!(kind);
    }
    let made = volume::create(&nova.sdk, ctx, body).await.map_err(|e| {
        match (&wanted.source, e.is_not_found()) {
            (VolumeSource::Snapshot(id, _), true) => {
                invalid(format!("failed to get snapshot {id}."))
            }
            _ => e,
        }
    })?;
    let row = ReservationRow {
        id: new_id(),
        instance_id: instance_id.into(),
        volume_id: made.id.clone(),
        given_up: false,
        made: true,
        created_at: nova.clock.now(),
    };
    nova.db.write(move |tx| tx.insert(&row)).await?;
    Ok(Kept {
        wanted: wanted.clone(),
        volume_id: made.id,
        size: made.size,
        attachment: None,
    })
}

/// Gives back what came to nothing. A volume that was made is deleted by the reconciler, for it may not be finished.
pub async fn release(nova: &Nova, instance_id: &str, kept: &[Kept]) {
    for one in kept {
        let back = match &one.attachment {
            Some(attachment) => {
                reserve::give_back(nova, attachment, &one.volume_id, instance_id).await
            }
            None => {
                let (instance, volume) = (instance_id.to_string(), one.volume_id.clone());
                nova.db
                    .write(move |tx| reservations::discard(tx, &instance, &volume))
                    .await
            }
        };
        if let Err(e) = back {
            tracing::warn!(volume.id = one.volume_id, "could not be released: {e}");
        }
    }
}
