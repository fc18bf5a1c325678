//! `/workers/cleanup`: what a service that is down left half done is taken up now.
//!
//! Half-done work is flows in the database, which any scheduler takes over by itself; this only makes it sooner.

use crate::Cinder;
use crate::db::ServiceRow;
use crate::periodic::{StuckSnapshots, StuckVolumes};
use crate::scheduler::is_up;
use crate::volume::invalid_input;
use base::Result;
use oslo_db::everything;
use oslo_http::{Reply, Req, is_true};
use oslo_service::Reconciler;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub async fn cleanup(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = match &req.json {
        Some(Value::Object(body)) => body.clone(),
        _ => Map::new(),
    };
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let flag = |key: &str| match body.get(key) {
        Some(Value::Bool(flag)) => Some(*flag),
        Some(Value::String(word)) => Some(is_true(word)),
        _ => None,
    };
    if let Some(kind) = text("resource_type").filter(|k| !k.is_empty())
        && !["volume", "snapshot"].contains(&kind.to_lowercase().as_str())
    {
        return Err(invalid_input(format!(
            "Resource type {kind} not valid, must be Volume or Snapshot"
        )));
    }
    let services = cinder
        .db
        .read(|tx| {
            let sort = [("binary_name", base::Dir::Asc), ("host", base::Dir::Asc)];
            tx.select_sorted::<ServiceRow>(everything(), &sort, None)
        })
        .await?;
    let now = cinder.clock.now();
    let up = flag("is_up").unwrap_or(false);
    let wanted = |s: &&ServiceRow| {
        text("binary").is_none_or(|b| b == s.binary_name)
            && text("host").is_none_or(|h| h == s.host)
            && text("cluster_name").is_none_or(|c| c == s.report.0.cluster)
            && flag("disabled").is_none_or(|d| d == s.disabled)
            // COMPAT: services have no numbers here, so that none has that one.
            && body.get("service_id").is_none_or(Value::is_null)
            && is_up(&cinder.conf, s, now) == up
    };
    let view = |s: &ServiceRow| {
        let cluster = Some(&s.report.0.cluster).filter(|c| !c.is_empty());
        json!({"id": s.id, "host": s.host, "binary": s.binary_name, "cluster_name": cluster})
    };
    let cleaning: Vec<Value> = services.iter().filter(wanted).map(view).collect();
    cinder.engine.wake();
    StuckVolumes(cinder.clone()).run().await?;
    StuckSnapshots(cinder.clone()).run().await?;
    Reply::json(202, &json!({"cleaning": cleaning, "unavailable": []}))
}
