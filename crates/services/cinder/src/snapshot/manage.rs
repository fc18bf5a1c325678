//! Making a snapshot of what is on a volume's backend already.

use super::create::NewSnapshot;
use super::status::SnapshotStatus;
use crate::db::{self, SnapshotRow, TypeRow};
use crate::flows::Manage;
use crate::volume::{invalid_volume, manage::backend};
use crate::{Cinder, quota};
use base::{Json, Result};
use cinder_types::Noun;
use oslo_context::RequestContext;
use oslo_db::eq;
use serde_json::Value;

pub async fn manage(
    cinder: &Cinder,
    ctx: &RequestContext,
    new: NewSnapshot,
    reference: Value,
) -> Result<SnapshotRow> {
    let (ctx, now) = (ctx.clone(), cinder.clock.now());
    let (engine, limits, conf) = (
        cinder.engine.clone(),
        cinder.limits.clone(),
        cinder.conf.clone(),
    );
    let row = cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::lock(tx, &ctx, &new.volume_id)?;
            let host = volume.host.as_deref().ok_or_else(|| {
                invalid_volume(format!("Volume {} is not on any backend yet.", volume.id))
            })?;
            let service = backend(tx, &conf, host, now)?;
            let kind = tx.find::<TypeRow>(eq("id", &volume.volume_type_id))?;
            let project = &volume.project_id;
            quota::reserve_snapshot(&limits, tx, &conf, project, kind.as_ref(), 0)?;
            let row = SnapshotRow {
                id: base::new_id(),
                volume_id: volume.id,
                project_id: volume.project_id,
                user_id: ctx.user().to_string(),
                name: new.name.clone(),
                description: new.description.clone(),
                size: 0,
                status: SnapshotStatus::Creating,
                progress: "0%".to_string(),
                volume_type_id: volume.volume_type_id,
                group_snapshot_id: None,
                bootable: volume.bootable,
                metadata: Json(new.metadata.clone()),
                image_metadata: volume.image_metadata,
                provider_id: None,
                provider_location: None,
                reason: None,
                created_at: now,
                updated_at: None,
            };
            tx.insert(&row)?;
            let flow = Manage {
                noun: Noun::Snapshot,
                id: row.id.clone(),
                reference: reference.clone(),
                backend: service.host,
                request_id: ctx.request_id.clone(),
            };
            engine.submit(tx, &flow)?;
            Ok(row)
        })
        .await?;
    cinder.engine.wake();
    Ok(row)
}
