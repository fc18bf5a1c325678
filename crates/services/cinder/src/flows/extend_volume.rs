//! The agent grows it -> the size is kept -> nova is told if a server has it.

use crate::Cinder;
use crate::db::{self, VolumeRow};
use crate::message::{Action, Detail, Message};
use crate::volume::reason;
use crate::volume::status::{AttachStatus, Verb, VolumeStatus, transition};
use base::{Error, Result};
use cinder_types::VolumeClient;
use oslo_context::RequestContext;
use oslo_db::{eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use sdk::{Caller, Method};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub struct ExtendVolume {
    pub volume_id: String,
    pub request_id: String,
    pub new_size: i64,
}

impl Flow for ExtendVolume {
    const NAME: &'static str = "cinder.extend_volume";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("grow", |flow, cinder| Box::pin(grow(flow, cinder))).retries(4),
            Step::new("finish", |flow, cinder| Box::pin(finish(flow, cinder))),
            Step::new("tell nova", |flow, cinder| {
                Box::pin(tell_nova(flow, cinder))
            }),
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
            tracing::warn!(volume.id = %id, %error, "a volume could not be extended");
            let (request, ttl) = (self.request_id.clone(), cinder.message_ttl());
            let fail = move |tx: &mut oslo_db::Tx| {
                let Some(volume) = db::volumes::find(tx, &id)? else {
                    return Ok(());
                };
                let extra = [set("reason", &why), set("growing_by", 0i64)];
                if transition(tx, &id, Verb::ExtendFailed, now, &extra)? {
                    let (action, detail) = (Action::ExtendVolume, Detail::DriverFailedExtend);
                    Message::of_volume(&volume, &request, action, detail).write(tx, now, ttl)?;
                }
                Ok(())
            };
            cinder.db.write(fail).await
        })
    }
}

async fn row(flow: &ExtendVolume, cinder: &Cinder) -> Result<VolumeRow> {
    let (id, gone) = (flow.volume_id.clone(), flow.volume_id.clone());
    cinder
        .db
        .read(move |tx| db::volumes::find(tx, &id))
        .await?
        .ok_or_else(|| db::volumes::not_found(&gone))
}

async fn grow(flow: &mut ExtendVolume, cinder: Arc<Cinder>) -> Result<()> {
    let volume = row(flow, &cinder).await?;
    let backend = volume
        .backend()
        .ok_or_else(|| Error::internal("a volume without host is extended"))?;
    let ctx = RequestContext::internal_for(&flow.request_id);
    VolumeClient::new(&cinder.bus)
        .server(backend)
        .extend_volume(&ctx, volume.id.clone(), flow.new_size)
        .await
}

async fn finish(flow: &mut ExtendVolume, cinder: Arc<Cinder>) -> Result<()> {
    let (id, now, size) = (flow.volume_id.clone(), cinder.clock.now(), flow.new_size);
    cinder
        .db
        .write(move |tx| {
            // A server that gives the volume back meanwhile changes what it was: both look under the same lock.
            let Some(volume) = tx.find_for_update::<VolumeRow>(eq("id", &id))? else {
                return Ok(());
            };
            if volume.size + volume.growing_by != size {
                // This step was done before a crash, and another extension has begun since.
                return Ok(());
            }
            let verb = match volume.previous_status {
                Some(VolumeStatus::InUse) => Verb::ExtendedInUse,
                _ => Verb::ExtendedAvailable,
            };
            let extra = [set("size", size), set("growing_by", 0i64)];
            transition(tx, &id, verb, now, &extra).map(drop)
        })
        .await
}

/// Best effort: the volume has its size either way, and the server sees it after its next start at the latest.
async fn tell_nova(flow: &mut ExtendVolume, cinder: Arc<Cinder>) -> Result<()> {
    let id = flow.volume_id.clone();
    let attachments = cinder
        .db
        .read(move |tx| db::attachments::of_volume(tx, &id))
        .await?;
    let events: Vec<_> = attachments
        .iter()
        .filter(|a| a.status == AttachStatus::Attached)
        .filter_map(|a| a.instance_id.as_ref())
        .map(|server| json!({"name": "volume-extended", "server_uuid": server, "tag": flow.volume_id}))
        .collect();
    if events.is_empty() {
        return Ok(());
    }
    let told = cinder
        .sdk
        .with_version("2.51")
        .for_request(&flow.request_id)
        .request(
            Caller::Service,
            "compute",
            Method::POST,
            "/v2.1/os-server-external-events",
            Some(json!({"events": events})),
        )
        .await;
    if let Err(error) = told {
        tracing::warn!(volume.id = %flow.volume_id, %error, "nova was not told of a larger volume");
        let volume = row(flow, &cinder).await?;
        let message = Message::of_volume(
            &volume,
            &flow.request_id,
            Action::ExtendVolume,
            Detail::NotifyComputeServiceFailed,
        );
        let (now, ttl) = (cinder.clock.now(), cinder.message_ttl());
        let write = move |tx: &mut oslo_db::Tx| message.clone().write(tx, now, ttl);
        cinder.db.write(write).await?;
    }
    Ok(())
}
