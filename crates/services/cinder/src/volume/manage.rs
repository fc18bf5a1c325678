//! Making a volume of what is on a backend already.

use super::invalid_input;
use super::status::VolumeStatus;
use crate::db::{self, ServiceRow, VolumeRow};
use crate::flows::Manage;
use crate::{Cinder, quota, scheduler};
use base::{Error, Json, Result, Timestamp};
use cinder_types::Noun;
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq};
use serde_json::{Map, Value};

/// What an administrator wants.
#[derive(Clone, Debug, Default)]
pub struct ManagedVolume {
    pub host: String,
    pub reference: Value,
    pub name: Option<String>,
    pub description: Option<String>,
    pub volume_type: Option<String>,
    pub availability_zone: Option<String>,
    pub bootable: bool,
    pub metadata: Map<String, Value>,
}

/// The backend that a host (`host@backend`, with or without `#pool`) names, if it can be asked.
pub fn backend(tx: &mut Tx, conf: &crate::Conf, host: &str, now: Timestamp) -> Result<ServiceRow> {
    let name = host.split_once('#').map_or(host, |(name, _)| name);
    let same = all([eq("host", name), eq("binary_name", db::services::VOLUME)]);
    let service = tx.find::<ServiceRow>(same)?.ok_or_else(|| {
        Error::not_found(format!(
            "Service cinder-volume could not be found on host {name}."
        ))
        .class("ServiceNotFound")
    })?;
    if service.disabled || !scheduler::is_up(conf, &service, now) {
        return Err(Error::unavailable("Service is unavailable at this time."));
    }
    Ok(service)
}

pub async fn manage(
    cinder: &Cinder,
    ctx: &RequestContext,
    wanted: ManagedVolume,
) -> Result<VolumeRow> {
    if let Some(zone) = &wanted.availability_zone
        && !cinder.zones().await?.contains(zone)
    {
        return Err(invalid_input(format!(
            "Availability zone '{zone}' is invalid."
        )));
    }
    let (ctx, now) = (ctx.clone(), cinder.clock.now());
    let (engine, limits, conf) = (
        cinder.engine.clone(),
        cinder.limits.clone(),
        cinder.conf.clone(),
    );
    let row = cinder
        .db
        .write(move |tx| {
            let service = backend(tx, &conf, &wanted.host, now)?;
            let kind = db::default_types::or_asked(
                tx,
                &ctx,
                wanted.volume_type.as_deref(),
                &conf.default_volume_type,
            )?;
            db::encryptions::refuse_encrypted(tx, &kind.id)?;
            // Its GiB are known later.
            quota::reserve_volume(&limits, tx, &conf, ctx.project(), &kind, 1, 0)?;
            let row = VolumeRow {
                id: base::new_id(),
                project_id: ctx.project().to_string(),
                user_id: ctx.user().to_string(),
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                size: 0,
                growing_by: 0,
                status: VolumeStatus::Creating,
                previous_status: None,
                availability_zone: wanted
                    .availability_zone
                    .clone()
                    .unwrap_or(service.availability_zone),
                multiattach: kind.multiattach(),
                volume_type_id: kind.id,
                host: Some(format!("{}#{}", service.host, service.report.0.pool)),
                bootable: wanted.bootable,
                read_only: None,
                metadata: Json(wanted.metadata.clone()),
                image_metadata: Json::default(),
                image_id: None,
                provider_id: None,
                provider_location: None,
                service_id: Some(service.id),
                reason: None,
                snapshot_id: None,
                source_volid: None,
                created_at: now,
                updated_at: None,
            };
            tx.insert(&row)?;
            let flow = Manage {
                noun: Noun::Volume,
                id: row.id.clone(),
                reference: wanted.reference.clone(),
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
