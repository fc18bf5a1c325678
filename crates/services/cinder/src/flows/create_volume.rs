//! schedule -> the agent makes it -> available.

use crate::Cinder;
use crate::db::{self, VolumeRow};
use crate::message::{Action, Detail, Message};
use crate::scheduler::{self, Wish};
use crate::volume::reason;
use crate::volume::status::{Verb, transition};
use base::{Error, Kind, Result};
use cinder_types::{ImageRef, SourceRef, VolumeClient, VolumeSpec};
use oslo_context::RequestContext;
use oslo_db::{eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use sdk::{Caller, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct CreateVolume {
    pub volume_id: String,
    pub request_id: String,
    pub image: Option<ImageRef>,
    /// The user's hints to the scheduler.
    #[serde(default)]
    pub hints: Map<String, Value>,
    /// Pools on which it was tried in vain.
    #[serde(default)]
    pub tried: Vec<String>,
    /// A backup's bytes follow, by another flow.
    #[serde(default)]
    pub for_backup: bool,
}

impl Flow for CreateVolume {
    const NAME: &'static str = "cinder.create_volume";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("schedule", |flow, cinder| Box::pin(schedule(flow, cinder))).retries(4),
            Step::new("build", |flow, cinder| Box::pin(build(flow, cinder)))
                .undo(|flow, cinder| Box::pin(unbuild(flow, cinder)))
                .retries(4),
            Step::new("finish", |flow, cinder| Box::pin(finish(flow, cinder))),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.volume_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, cinder: Arc<Cinder>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, now, why) = (self.volume_id.clone(), cinder.clock.now(), reason(&error));
            tracing::warn!(volume.id = %id, %error, "a volume could not be made");
            let (request, image, ttl) = (
                self.request_id.clone(),
                self.image.is_some(),
                cinder.message_ttl(),
            );
            let fail = move |tx: &mut oslo_db::Tx| {
                let Some(volume) = db::volumes::find(tx, &id)? else {
                    return Ok(());
                };
                if transition(tx, &id, Verb::CreateFailed, now, &[set("reason", &why)])? {
                    said(&volume, &request, &error, image).write(tx, now, ttl)?;
                }
                Ok(())
            };
            cinder.db.write(fail).await
        })
    }
}

/// What the owner reads.
fn said(volume: &VolumeRow, request: &str, error: &Error, image: bool) -> Message {
    if error.error_class() == Some(scheduler::NO_VALID_BACKEND) {
        let (action, detail) = (Action::ScheduleAllocateVolume, Detail::NoBackendAvailable);
        return Message {
            explanation: scheduler::explanation(error),
            ..Message::of_volume(volume, request, action, detail)
        };
    }
    let (action, detail) = match image {
        true => (Action::CopyImageToVolume, Detail::UnknownError),
        false => (Action::CreateVolumeFromBackend, Detail::DriverFailedCreate),
    };
    Message::of_volume(volume, request, action, detail)
}

async fn row(flow: &CreateVolume, cinder: &Cinder) -> Result<VolumeRow> {
    let id = flow.volume_id.clone();
    let gone = flow.volume_id.clone();
    cinder
        .db
        .read(move |tx| db::volumes::find(tx, &id))
        .await?
        .ok_or_else(|| db::volumes::not_found(&gone))
}

/// What the scheduler has to know beside the volume.
async fn wish(flow: &CreateVolume, cinder: &Cinder) -> Result<Wish> {
    let mut wish = Wish {
        hints: flow.hints.clone(),
        server_host: None,
        only: None,
        tried: flow.tried.clone(),
    };
    let asked = flow.hints.get("local_to_instance").and_then(Value::as_str);
    let local = scheduler::is_enabled(&cinder.conf, scheduler::LOCALITY);
    if let Some(server) = asked.filter(|_| local) {
        wish.server_host = Some(server_host(cinder, &flow.request_id, server).await?);
    }
    Ok(wish)
}

/// Where nova has the server.
async fn server_host(cinder: &Cinder, request_id: &str, server: &str) -> Result<String> {
    let path = format!("/v2.1/servers/{}", oslo_http::percent_encode(server));
    let answer = cinder
        .sdk
        .for_request(request_id)
        .request(Caller::Service, "compute", Method::GET, &path, None)
        .await?;
    let server: Value = answer.key("server")?;
    let host = server["OS-EXT-SRV-ATTR:host"].as_str();
    host.map(str::to_string)
        .ok_or_else(|| Error::conflict("Hint \"local_to_instance\" not supported."))
}

/// Chooses and books in one transaction, so that concurrent creates see each other's bookings.
async fn schedule(flow: &mut CreateVolume, cinder: Arc<Cinder>) -> Result<()> {
    let (id, now) = (flow.volume_id.clone(), cinder.clock.now());
    let conf = cinder.conf.clone();
    let image = flow.image.is_some();
    let wish = wish(flow, &cinder).await?;
    cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::find(tx, &id)?.ok_or_else(|| db::volumes::not_found(&id))?;
            if volume.host.is_none() {
                let wish = Wish {
                    only: origin_host(tx, &volume)?,
                    ..wish.clone()
                };
                let chosen = scheduler::choose(tx, &conf, &volume, &wish, now)?;
                let values = [
                    set("host", &chosen.host),
                    set("service_id", &chosen.service_id),
                ];
                tx.update::<VolumeRow>(eq("id", &id), &values)?;
            }
            if image {
                transition(tx, &id, Verb::Download, now, &[])?;
            }
            Ok(())
        })
        .await
}

/// Where the bytes are with which a volume shall begin: copies do not leave their backend.
fn origin_host(tx: &mut oslo_db::Tx, volume: &VolumeRow) -> Result<Option<String>> {
    let source = match (&volume.snapshot_id, &volume.source_volid) {
        (Some(id), _) => {
            let snapshot = db::snapshots::find(tx, id)?;
            snapshot
                .ok_or_else(|| db::snapshots::not_found(id))?
                .volume_id
        }
        (None, Some(id)) => id.clone(),
        (None, None) => return Ok(None),
    };
    let found = db::volumes::find(tx, &source)?;
    let found = found.ok_or_else(|| db::volumes::not_found(&source))?;
    let host = found
        .host
        .ok_or_else(|| Error::internal("a volume to copy has no host"))?;
    Ok(Some(host))
}

/// The volume to copy, and whether somebody may be writing to it.
pub(super) async fn source(cinder: &Cinder, id: String) -> Result<SourceRef> {
    let of = id.clone();
    let in_use = cinder
        .db
        .read(move |tx| Ok(!db::attachments::of_volume(tx, &of)?.is_empty()))
        .await?;
    Ok(SourceRef { id, in_use })
}

/// Makes it; where that fails on one backend, on another, as often as the operator wants.
async fn build(flow: &mut CreateVolume, cinder: Arc<Cinder>) -> Result<()> {
    loop {
        let Err(error) = build_once(flow, &cinder).await else {
            return Ok(());
        };
        // What may have been heard is asked again by the engine; what is wrong with the request is so everywhere.
        let volume = row(flow, &cinder).await?;
        let copy = volume.snapshot_id.is_some() || volume.source_volid.is_some();
        let elsewhere = !copy
            && matches!(error.kind(), Kind::Internal | Kind::Conflict)
            && scheduler::is_enabled(&cinder.conf, scheduler::RETRY)
            && flow.tried.len() + 1 < cinder.conf.scheduler_max_attempts as usize;
        if !elsewhere {
            return Err(error);
        }
        unbuild(flow, cinder.clone()).await?;
        flow.tried.extend(volume.host);
        tracing::warn!(volume.id = %volume.id, %error, "a volume could not be made here and is tried elsewhere");
        let id = volume.id;
        let leave = move |tx: &mut oslo_db::Tx| {
            tx.update::<VolumeRow>(eq("id", &id), &[set("host", None::<String>)])
        };
        cinder.db.write(leave).await?;
        schedule(flow, cinder.clone()).await?;
    }
}

async fn build_once(flow: &mut CreateVolume, cinder: &Arc<Cinder>) -> Result<()> {
    let volume = row(flow, cinder).await?;
    let backend = volume
        .backend()
        .ok_or_else(|| Error::internal("a scheduled volume has no host"))?;
    let mut agent = VolumeClient::new(&cinder.bus).server(backend);
    if flow.image.is_some() || volume.snapshot_id.is_some() || volume.source_volid.is_some() {
        agent = agent.timeout(Duration::from_secs(cinder.conf.image_copy_timeout));
    }
    let origin = match volume.source_volid.clone() {
        Some(id) => Some(source(cinder, id).await?),
        None => None,
    };
    let spec = VolumeSpec {
        id: volume.id.clone(),
        project_id: volume.project_id.clone(),
        size: volume.size,
        image: flow.image.clone(),
        snapshot_id: volume.snapshot_id.clone(),
        source: origin,
    };
    let ctx = RequestContext::internal_for(&flow.request_id);
    let info = agent.create_volume(&ctx, spec).await?;
    let id = volume.id;
    let keep = move |tx: &mut oslo_db::Tx| {
        let values = [
            set("provider_id", info.provider_id.clone()),
            set("provider_location", info.provider_location.clone()),
        ];
        tx.update::<VolumeRow>(eq("id", &id), &values).map(drop)
    };
    cinder.db.write(keep).await
}

async fn unbuild(flow: &mut CreateVolume, cinder: Arc<Cinder>) -> Result<()> {
    let volume = match row(flow, &cinder).await {
        Err(e) if e.is_not_found() => return Ok(()),
        other => other?,
    };
    let Some(backend) = volume.backend() else {
        return Ok(());
    };
    let ctx = RequestContext::internal_for(&flow.request_id);
    let agent = VolumeClient::new(&cinder.bus).server(backend);
    if let Err(error) = agent.delete_volume(&ctx, volume.id.clone()).await {
        // The volume ends in error with its host; deleting it tries again.
        tracing::warn!(volume.id = %volume.id, %error, "what was half made could not be removed");
    }
    Ok(())
}

async fn finish(flow: &mut CreateVolume, cinder: Arc<Cinder>) -> Result<()> {
    let (id, now, image) = (
        flow.volume_id.clone(),
        cinder.clock.now(),
        flow.image.is_some(),
    );
    let made = match flow.for_backup {
        true => Verb::CreatedForBackup,
        false => Verb::Created,
    };
    cinder
        .db
        .write(move |tx| {
            if image {
                tx.update::<VolumeRow>(eq("id", &id), &[set("bootable", true)])?;
            }
            // False if a server reserved it while it was downloading: then it stays reserved.
            transition(tx, &id, made, now, &[]).map(drop)
        })
        .await
}
