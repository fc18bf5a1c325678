//! Growing a volume, attached (microversion 3.42) or not.

use super::status::{Verb, VolumeStatus, transition};
use super::{invalid_input, invalid_volume};
use crate::db::{AttachmentRow, TypeRow};
use crate::flows::ExtendVolume;
use crate::{Cinder, db, quota};
use base::Result;
use oslo_context::RequestContext;
use oslo_db::{eq, set};

pub async fn extend(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    new_size: i64,
    attached: bool,
) -> Result<()> {
    let (ctx, id, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    let (engine, limits, conf) = (
        cinder.engine.clone(),
        cinder.limits.clone(),
        cinder.conf.clone(),
    );
    cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::lock(tx, &ctx, &id)?;
            let verb = match volume.status {
                VolumeStatus::InUse if attached => Verb::ExtendAttached,
                _ => Verb::Extend,
            };
            if new_size <= volume.size {
                return Err(invalid_input(format!(
                    "New size for extend must be greater than current size. (current: {}, extended: {new_size}).",
                    volume.size
                )));
            }
            let growing = new_size - volume.size;
            if verb == Verb::ExtendAttached && db::attachments::of_volume(tx, &id)?.iter().any(AttachmentRow::over_nbd) {
                return Err(invalid_volume(format!(
                    "Volume {id} cannot be extended while a server on another host than the volume's has it."
                )));
            }
            let kind = tx.find::<TypeRow>(eq("id", &volume.volume_type_id))?;
            quota::reserve_growth(&limits, tx, &conf, &volume.project_id, kind.as_ref(), new_size, growing)?;
            let extra = [
                set("growing_by", growing),
                set("previous_status", volume.status),
            ];
            if !transition(tx, &id, verb, now, &extra)? {
                return Err(invalid_volume(format!(
                    "Volume {id} status must be '{}' to extend, currently {}.",
                    verb.expected(),
                    volume.status
                )));
            }
            engine.submit(
                tx,
                &ExtendVolume {
                    volume_id: volume.id,
                    request_id: ctx.request_id.clone(),
                    new_size,
                },
            )?;
            Ok(())
        })
        .await?;
    cinder.engine.wake();
    Ok(())
}
