//! Backups as records: what another cloud, or this one after it lost its database, needs to find one again.

use super::status::BackupStatus;
use super::{invalid_backup, no_service};
use crate::db::{self, BackupRow};
use crate::flows::ImportBackup;
use crate::volume::invalid_input;
use crate::{Cinder, quota};
use base::{Json, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oslo_context::RequestContext;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// COMPAT: the volume of imported backups, which this cloud does not know.
pub const NO_VOLUME: &str = "00000000-0000-0000-0000-000000000000";

/// What a record says, as far as we believe it: the rest is asked from where the objects are.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    id: String,
    display_name: Option<String>,
    display_description: Option<String>,
    availability_zone: Option<String>,
    container: Option<String>,
    parent_id: Option<String>,
    size: i64,
    object_count: i64,
    service: Option<String>,
    service_metadata: String,
    status: String,
    user_id: String,
    project_id: String,
    volume_id: String,
    snapshot_id: Option<String>,
    host: Option<String>,
    created_at: Option<String>,
    data_timestamp: Option<String>,
    driver_info: Map<String, Value>,
}

/// `{backup_service, backup_url}`.
pub fn export(backup: &BackupRow) -> Result<Value> {
    if backup.status != BackupStatus::Available {
        return Err(invalid_backup(format!(
            "Backup status must be available and not {}.",
            backup.status
        )));
    }
    let record = Record {
        id: backup.id.clone(),
        display_name: backup.name.clone(),
        display_description: backup.description.clone(),
        availability_zone: backup.availability_zone.clone(),
        container: backup.container.clone(),
        parent_id: backup.parent_id.clone(),
        size: backup.size,
        object_count: backup.object_count,
        service: backup.service.clone(),
        service_metadata: backup.prefix.clone(),
        status: backup.status.to_string(),
        user_id: backup.user_id.clone(),
        project_id: backup.project_id.clone(),
        volume_id: backup.volume_id.clone(),
        snapshot_id: backup.snapshot_id.clone(),
        host: backup.host.clone(),
        created_at: Some(backup.created_at.iso_z()),
        data_timestamp: Some(backup.data_timestamp.iso_z()),
        driver_info: Map::new(),
    };
    let url = STANDARD.encode(serde_json::to_string(&record)?);
    Ok(json!({"backup_service": backup.service, "backup_url": url}))
}

fn decode(url: &str) -> Result<Record> {
    let unreadable = || invalid_input("Can't decode backup record.");
    let text = STANDARD.decode(url.trim()).map_err(|_| unreadable())?;
    let record: Record = serde_json::from_slice(&text).map_err(|_| unreadable())?;
    let id = base::id::parse_uuid(&record.id);
    let sane = id.is_ok_and(|id| id == record.id)
        && (1..=1 << 40).contains(&record.size)
        && [
            &record.container,
            &record.display_name,
            &record.availability_zone,
        ]
        .iter()
        .all(|text| text.as_ref().is_none_or(|t| t.len() <= 255))
        && record.service_metadata.len() <= 255
        && record
            .parent_id
            .as_deref()
            .is_none_or(base::id::is_uuid_like);
    if sane { Ok(record) } else { Err(unreadable()) }
}

/// Makes a row of a record; a flow looks whether its objects are there.
pub async fn import(
    cinder: &Cinder,
    ctx: &RequestContext,
    service: &str,
    url: &str,
) -> Result<BackupRow> {
    let record = decode(url)?;
    let keeper = super::keeper(cinder, record.host.as_deref(), Some(service)).await;
    let keeper = keeper.map_err(|_| no_service())?;
    let (limits, engine, now) = (
        cinder.limits.clone(),
        cinder.engine.clone(),
        cinder.clock.now(),
    );
    let at = |text: &Option<String>| text.as_deref().and_then(|t| base::Timestamp::parse(t).ok());
    let row = BackupRow {
        data_timestamp: at(&record.data_timestamp).unwrap_or(now),
        id: record.id,
        project_id: ctx.project().to_string(),
        user_id: ctx.user().to_string(),
        volume_id: NO_VOLUME.to_string(),
        snapshot_id: None,
        parent_id: record.parent_id,
        name: record.display_name,
        description: record.display_description,
        status: BackupStatus::Creating,
        container: record.container,
        availability_zone: record.availability_zone,
        host: Some(keeper.host),
        service: Some(service.to_string()),
        prefix: record.service_metadata,
        size: record.size,
        object_count: 0,
        fail_reason: None,
        metadata: Json::default(),
        extra: Json::default(),
        restore_volume_id: None,
        created_at: now,
        updated_at: None,
    };
    let ctx = ctx.clone();
    let row = cinder
        .db
        .write(move |tx| {
            if db::backups::find(tx, &row.id)?.is_some() {
                return Err(invalid_backup("Backup already exists in database."));
            }
            quota::reserve_backup(&limits, tx, &row.project_id, row.size)?;
            tx.insert(&row)?;
            let flow = ImportBackup {
                backup_id: row.id.clone(),
                request_id: ctx.request_id.clone(),
            };
            engine.submit(tx, &flow)?;
            Ok(row.clone())
        })
        .await?;
    cinder.engine.wake();
    Ok(row)
}
