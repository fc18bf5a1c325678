//! Making a volume: row, quota and flow in one transaction.

use super::{invalid_input, invalid_volume, status::VolumeStatus};
use crate::db::{self, BackupRow, TypeRow, VolumeRow};
use crate::flows::CreateVolume;
use crate::snapshot::invalid_snapshot;
use crate::snapshot::status::SnapshotStatus;
use crate::{Cinder, quota};
use base::{Error, Json, Result};
use cinder_types::ImageRef;
use oslo_context::RequestContext;
use oslo_db::{Tx, eq};
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
    pub snapshot_id: Option<String>,
    pub source_volid: Option<String>,
    pub hints: Map<String, Value>,
    /// The backup whose bytes it begins with.
    pub backup: Option<BackupRow>,
}

/// What cinder keeps of an image.
struct Image {
    reference: ImageRef,
    metadata: Map<String, Value>,
}

const GIB: i64 = 1 << 30;

/// What a volume begins with that is here already.
struct Origin {
    size: i64,
    volume_type_id: String,
    availability_zone: String,
    bootable: bool,
    image_metadata: Map<String, Value>,
    /// `snapshot` or `source volume`, for refusals.
    what: &'static str,
}

/// The snapshot or volume that was named, if it can be copied. Nobody changes it until the transaction ends.
fn origin(tx: &mut Tx, ctx: &RequestContext, new: &NewVolume) -> Result<Option<Origin>> {
    let status_must = |what: &str, words: &str| {
        format!("Originating {what} status must be one of '{words}' values")
    };
    if let Some(id) = &new.snapshot_id {
        let snapshot = db::snapshots::lock(tx, ctx, id)?;
        if snapshot.status != SnapshotStatus::Available {
            return Err(invalid_snapshot(status_must("snapshot", "available")));
        }
        let volume = db::volumes::find(tx, &snapshot.volume_id)?;
        let volume = volume.ok_or_else(|| db::volumes::not_found(&snapshot.volume_id))?;
        return Ok(Some(Origin {
            size: snapshot.size,
            volume_type_id: snapshot.volume_type_id,
            availability_zone: volume.availability_zone,
            bootable: snapshot.bootable,
            image_metadata: snapshot.image_metadata.0,
            what: "snapshot",
        }));
    }
    let Some(id) = &new.source_volid else {
        return Ok(None);
    };
    let volume = db::volumes::lock(tx, ctx, id)?;
    if !matches!(volume.status, VolumeStatus::Available | VolumeStatus::InUse) {
        return Err(invalid_volume(status_must(
            "source volume",
            "available, in-use",
        )));
    }
    Ok(Some(Origin {
        size: volume.size,
        volume_type_id: volume.volume_type_id,
        availability_zone: volume.availability_zone,
        bootable: volume.bootable,
        image_metadata: volume.image_metadata.0,
        what: "source volume",
    }))
}

fn check_exclusive(new: &NewVolume) -> Result<()> {
    let named = [&new.image, &new.snapshot_id, &new.source_volid];
    if named.iter().filter(|n| n.is_some()).count() > 1 {
        return Err(invalid_input(
            "May specify only one of imageRef, snapshot, source_volume",
        ));
    }
    Ok(())
}

/// A copy is at least as large as what it is of.
fn check_size(size: i64, origin: &Origin) -> Result<()> {
    let of = origin.size;
    if size >= of {
        return Ok(());
    }
    Err(invalid_input(match origin.what {
        "snapshot" => format!(
            "Volume size '{size}'GB cannot be smaller than the snapshot size {of}GB. They must be >= original \
             snapshot size."
        ),
        _ => format!(
            "Volume size '{size}'GB cannot be smaller than original volume size  {of}GB. They must be >= original \
             volume size."
        ),
    }))
}

/// A copy may have another type only if that does not want another backend.
fn check_type(kind: &TypeRow, theirs: Option<&TypeRow>, origin: &Origin) -> Result<()> {
    let backend = |kind: &TypeRow| kind.extra_specs.0.get("volume_backend_name").cloned();
    let same = theirs.is_none_or(|t| t.id == kind.id || backend(t) == backend(kind));
    if same {
        return Ok(());
    }
    let advice = match origin.what {
        "snapshot" => "recommend omitting the type argument",
        _ => "either match source volume, or omit type argument",
    };
    Err(invalid_input(format!(
        "Invalid volume_type provided: {} (requested type is not compatible; {advice}).",
        kind.id
    )))
}

pub async fn create(cinder: &Cinder, ctx: &RequestContext, new: NewVolume) -> Result<VolumeRow> {
    check_exclusive(&new)?;
    let (ctx2, wanted) = (ctx.clone(), new.clone());
    // Looked at twice: for what it says of the volume now, and again with the row, when it may have gone.
    let from = match (&new.snapshot_id, &new.source_volid) {
        (None, None) => None,
        _ => {
            cinder
                .db
                .write(move |tx| origin(tx, &ctx2, &wanted))
                .await?
        }
    };
    let size = new.size.or(from.as_ref().map(|o| o.size));
    let Some(size) = size.filter(|s| *s > 0) else {
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
    if let Some(origin) = &from {
        check_size(size, origin)?;
        if new
            .availability_zone
            .as_ref()
            .is_some_and(|z| *z != origin.availability_zone)
        {
            return Err(invalid_input(format!(
                "Volume must be in the same availability zone as the {}",
                origin.what
            )));
        }
    }
    let image = match &new.image {
        Some(id) => Some(look_at_image(cinder, ctx, id, size).await?),
        None => None,
    };
    let zone = new
        .availability_zone
        .clone()
        .or(from.as_ref().map(|o| o.availability_zone.clone()))
        .unwrap_or_else(|| cinder.conf.storage_availability_zone.clone());
    let of = new.clone();
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
        snapshot_id: new.snapshot_id,
        source_volid: new.source_volid,
        created_at: cinder.clock.now(),
        updated_at: None,
    };
    let (limits, engine, conf) = (
        cinder.limits.clone(),
        cinder.engine.clone(),
        cinder.conf.clone(),
    );
    let (ctx, image) = (ctx.clone(), image.map(|i| i.reference));
    let hints = new.hints;
    let (backup, now) = (new.backup, cinder.clock.now());
    let row = cinder
        .db
        .write(move |tx| {
            let mut row = row.clone();
            let from = origin(tx, &ctx, &of)?;
            let kind = wanted_type(tx, &ctx, &of, from.as_ref(), &conf.default_volume_type)?;
            db::encryptions::refuse_encrypted(tx, &kind.id)?;
            if let Some(origin) = from {
                check_size(size, &origin)?;
                row.bootable = origin.bootable;
                row.image_metadata = Json(origin.image_metadata);
            }
            row.multiattach = kind.multiattach();
            row.volume_type_id = kind.id.clone();
            quota::reserve_volume(&limits, tx, &conf, &row.project_id, &kind, 1, row.size)?;
            tx.insert(&row)?;
            let flow = CreateVolume {
                volume_id: row.id.clone(),
                request_id: ctx.request_id.clone(),
                image: image.clone(),
                hints: hints.clone(),
                tried: Vec::new(),
                for_backup: backup.is_some(),
            };
            engine.submit(tx, &flow)?;
            if let Some(backup) = &backup {
                // After the other, for a volume's flows run one after another.
                crate::backup::restore::begin(tx, &engine, backup, &row.id, &ctx.request_id, now)?;
            }
            Ok(row)
        })
        .await?;
    cinder.engine.wake();
    tracing::info!(volume.id = %row.id, size, "volume create accepted");
    Ok(row)
}

/// The type that was asked for, that of what the volume begins with, or the default one.
fn wanted_type(
    tx: &mut Tx,
    ctx: &RequestContext,
    new: &NewVolume,
    from: Option<&Origin>,
    default: &str,
) -> Result<TypeRow> {
    let theirs = match from {
        Some(origin) => tx.find::<TypeRow>(eq("id", &origin.volume_type_id))?,
        None => None,
    };
    let kind = match (&new.volume_type, &theirs) {
        // Whoever may copy it may have its type, also a private one.
        (None, Some(theirs)) => theirs.clone(),
        (asked, _) => db::default_types::or_asked(tx, ctx, asked.as_deref(), default)?,
    };
    if let Some(origin) = from {
        check_type(&kind, theirs.as_ref(), origin)?;
    }
    Ok(kind)
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
