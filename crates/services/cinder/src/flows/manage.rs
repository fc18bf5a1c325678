//! The size of what is there -> room in the quota -> it is ours -> available.

use crate::db::{self, SnapshotRow, TypeRow, VolumeRow};
use crate::snapshot::status::{Verb as SnapshotVerb, transition as transition_snapshot};
use crate::volume::reason;
use crate::volume::status::{Verb, transition};
use crate::{Cinder, quota};
use base::{Error, Result};
use cinder_types::{Noun, VolumeClient};
use oslo_context::RequestContext;
use oslo_db::{Tx, eq, set};
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub struct Manage {
    pub noun: Noun,
    /// The new volume's or snapshot's id.
    pub id: String,
    /// The driver's name for what is there.
    pub reference: Value,
    /// `host@backend`.
    pub backend: String,
    pub request_id: String,
}

impl Flow for Manage {
    const NAME: &'static str = "cinder.manage";
    type Deps = Cinder;

    fn steps() -> Vec<Step<Self>> {
        vec![
            Step::new("measure", |flow, cinder| Box::pin(measure(flow, cinder))).retries(4),
            Step::new("take", |flow, cinder| Box::pin(take(flow, cinder)))
                .undo(|flow, cinder| Box::pin(give_back(flow, cinder)))
                .retries(4),
            Step::new("finish", |flow, cinder| Box::pin(finish(flow, cinder))),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, cinder: Arc<Cinder>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, noun, now) = (self.id.clone(), self.noun, cinder.clock.now());
            let why = reason(&error);
            tracing::warn!(id, ?noun, %error, "what is there could not be managed");
            let fail = move |tx: &mut Tx| {
                // What is not ours takes no room.
                let extra = [set("reason", &why), set("size", 0i64)];
                match noun {
                    Noun::Volume => transition(tx, &id, Verb::ManageFailed, now, &extra),
                    Noun::Snapshot => {
                        transition_snapshot(tx, &id, SnapshotVerb::CreateFailed, now, &extra)
                    }
                }
                .map(drop)
            };
            cinder.db.write(fail).await
        })
    }
}

impl Manage {
    fn agent(&self, cinder: &Cinder) -> VolumeClient {
        VolumeClient::new(&cinder.bus).server(&self.backend)
    }

    fn ctx(&self) -> RequestContext {
        RequestContext::internal_for(&self.request_id)
    }
}

async fn measure(flow: &mut Manage, cinder: Arc<Cinder>) -> Result<()> {
    let (noun, reference) = (flow.noun, flow.reference.clone());
    let agent = flow.agent(&cinder);
    let size = agent.measure(&flow.ctx(), noun, reference).await?;
    let id = flow.id.clone();
    let (limits, conf) = (cinder.limits.clone(), cinder.conf.clone());
    let book = move |tx: &mut Tx| {
        let (project, kind, known) = match noun {
            Noun::Volume => {
                let row = tx.find_for_update::<VolumeRow>(eq("id", &id))?;
                let row = row.ok_or_else(|| db::volumes::not_found(&id))?;
                (row.project_id, row.volume_type_id, row.size)
            }
            Noun::Snapshot => {
                let row = tx.find_for_update::<SnapshotRow>(eq("id", &id))?;
                let row = row.ok_or_else(|| db::snapshots::not_found(&id))?;
                (row.project_id, row.volume_type_id, row.size)
            }
        };
        if known > 0 {
            // An earlier try booked it.
            return Ok(());
        }
        let kind = tx.find::<TypeRow>(eq("id", &kind))?;
        let takes = noun == Noun::Volume || !conf.no_snapshot_gb_quota;
        let (all, growing) = match (noun, takes) {
            (Noun::Volume, _) => (size, size),
            (_, true) => (0, size),
            (_, false) => (0, 0),
        };
        quota::reserve_growth(&limits, tx, &conf, &project, kind.as_ref(), all, growing)?;
        let values = [set("size", size)];
        match noun {
            Noun::Volume => tx.update::<VolumeRow>(eq("id", &id), &values),
            Noun::Snapshot => tx.update::<SnapshotRow>(eq("id", &id), &values),
        }
        .map(drop)
    };
    cinder.db.write(book).await
}

async fn take(flow: &mut Manage, cinder: Arc<Cinder>) -> Result<()> {
    let (id, reference) = (flow.id.clone(), flow.reference.clone());
    let agent = flow.agent(&cinder);
    agent.manage(&flow.ctx(), flow.noun, id, reference).await
}

async fn give_back(flow: &mut Manage, cinder: Arc<Cinder>) -> Result<()> {
    let agent = flow.agent(&cinder);
    agent
        .unmanage(&flow.ctx(), flow.noun, flow.id.clone())
        .await
}

async fn finish(flow: &mut Manage, cinder: Arc<Cinder>) -> Result<()> {
    let (id, noun, now) = (flow.id.clone(), flow.noun, cinder.clock.now());
    let end = move |tx: &mut Tx| {
        match noun {
            Noun::Volume => transition(tx, &id, Verb::Created, now, &[]),
            Noun::Snapshot => {
                let done = [set("progress", "100%")];
                transition_snapshot(tx, &id, SnapshotVerb::Created, now, &done)
            }
        }
        .map(drop)
    };
    cinder.db.write(end).await
}
