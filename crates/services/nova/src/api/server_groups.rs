//! Server groups: servers that want to be together, or apart.

use super::values::{integer, text, wrapped};
use crate::Nova;
use crate::db::instances::{InstanceRow, scope};
use crate::db::server_groups::{ServerGroupRow, members};
use base::{Dir, Error, Json, Kind, Result, id, new_id};
use oslo_context::RowScope;
use oslo_db::{Tx, all, eq, is_in, is_null};
use oslo_http::{Reply, Req, is_true};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const ALL_PROJECTS: &str = "os_compute_api:os-server-groups:index:all_projects";

fn not_found(id: &str) -> Error {
    Error::not_found(format!("Instance group {id} could not be found."))
        .class("InstanceGroupNotFound")
}

fn find(tx: &mut Tx, id: &str, rows: RowScope<'_>) -> Result<ServerGroupRow> {
    tx.find(all([eq("id", id), scope(rows)]))?
        .ok_or_else(|| not_found(id))
}

fn view(req: &Req, row: &ServerGroupRow, members: &[String]) -> Value {
    let mut view = json!({"id": row.id, "name": row.name, "members": members});
    if req.at_least(2, 64) {
        view["policy"] = json!(row.policy);
        view["rules"] = json!(row.rules.0);
    } else {
        view["policies"] = json!([row.policy]);
        view["metadata"] = json!({});
    }
    if req.at_least(2, 13) {
        view["project_id"] = json!(row.project_id);
        view["user_id"] = json!(row.user_id);
    }
    view
}

fn number(req: &Req, name: &str) -> Result<Option<usize>> {
    let bad = |_| Error::bad_request(format!("{name} param must be an integer"));
    req.query
        .get(name)
        .map(|t| t.parse().map_err(bad))
        .transpose()
}

/// `GET /os-server-groups`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let everyone = req
        .query
        .get("all_projects")
        .is_some_and(|w| w.is_empty() || is_true(w))
        && req.permits(ALL_PROJECTS, &json!({"project_id": req.ctx.project_id}));
    let max = nova.conf.max_limit as usize;
    let (offset, limit) = (
        number(&req, "offset")?.unwrap_or(0),
        number(&req, "limit")?.unwrap_or(max).min(max),
    );
    let project = req.ctx.project().to_string();
    let (rows, mut members) = nova
        .db
        .read(move |tx| {
            let rows_of = if everyone {
                RowScope::All
            } else {
                RowScope::Project(&project)
            };
            let end = offset.saturating_add(limit) as u64;
            let order = [("created_at", Dir::Asc), ("id", Dir::Asc)];
            let rows = tx.select_sorted::<ServerGroupRow>(scope(rows_of), &order, Some(end))?;
            let rows: Vec<ServerGroupRow> = rows.into_iter().skip(offset).collect();
            let ids: Vec<String> = rows.iter().map(|g| g.id.clone()).collect();
            let mut members: HashMap<String, Vec<String>> = HashMap::new();
            for instance in tx.select::<InstanceRow>(all([
                is_in("server_group_id", ids),
                is_null("deleted_at"),
            ]))? {
                members
                    .entry(instance.server_group_id.unwrap_or_default())
                    .or_default()
                    .push(instance.id);
            }
            Ok((rows, members))
        })
        .await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|g| view(&req, g, &members.remove(&g.id).unwrap_or_default()))
        .collect();
    Reply::ok(&json!({"server_groups": rows}))
}

/// `GET /os-server-groups/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (id, ctx) = (req.param("id").to_string(), Arc::clone(&req.ctx));
    let (row, members) = nova
        .db
        .read(move |tx| {
            let row = find(tx, &id, ctx.row_scope())?;
            let members: Vec<String> = members(tx, &row.id)?.into_iter().map(|i| i.id).collect();
            Ok((row, members))
        })
        .await?;
    Reply::ok(&json!({"server_group": view(&req, &row, &members)}))
}

fn rules_of(body: &Value, policy: &str) -> Result<Map<String, Value>> {
    let mut rules = Map::new();
    let Some(asked) = body
        .get("rules")
        .and_then(Value::as_object)
        .filter(|r| !r.is_empty())
    else {
        return Ok(rules);
    };
    if policy != "anti-affinity" {
        return Err(Error::bad_request(
            "Only anti-affinity policy supports rules.",
        ));
    }
    if let Some(max) = asked.get("max_server_per_host") {
        rules.insert("max_server_per_host".into(), integer(max)?.into());
    }
    Ok(rules)
}

/// `POST /os-server-groups`.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "server_group")?;
    let policy = if req.at_least(2, 64) {
        body.get("policy")
    } else {
        body.get("policies").and_then(|p| p.get(0))
    };
    let policy = policy
        .and_then(Value::as_str)
        .ok_or_else(|| Error::bad_request("A policy is required."))?;
    if req.ctx.project().is_empty() {
        return Err(Error::bad_request(
            "A server group belongs to a project; the token has none.",
        ));
    }
    let row = ServerGroupRow {
        id: new_id(),
        project_id: req.ctx.project().to_string(),
        user_id: req.ctx.user().to_string(),
        name: text(body, "name").unwrap_or("").trim().to_string(),
        policy: policy.to_string(),
        rules: Json(rules_of(body, policy)?),
        created_at: nova.clock.now(),
    };
    let (limits, inserted) = (nova.limits.clone(), row.clone());
    nova.db
        .write(move |tx| {
            if !limits
                .check(tx, &inserted.project_id, &[("server_groups", 1)])?
                .is_empty()
            {
                let words = "Quota exceeded, too many server groups.";
                return Err(Error::new(Kind::OverQuota, words).class("OverQuota"));
            }
            tx.insert(&inserted)
        })
        .await?;
    Reply::ok(&json!({"server_group": view(&req, &row, &[])}))
}

/// `DELETE /os-server-groups/{id}`; its members stay where they are.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (group, ctx) = (req.param("id").to_string(), Arc::clone(&req.ctx));
    if !id::is_uuid_like(&group) {
        return Err(not_found(&group));
    }
    nova.db
        .write(move |tx| {
            let row = find(tx, &group, ctx.row_scope())?;
            tx.delete::<ServerGroupRow>(eq("id", &row.id))?;
            Ok(())
        })
        .await?;
    Ok(Reply::empty(204))
}
