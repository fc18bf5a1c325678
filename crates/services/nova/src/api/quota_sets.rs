//! Quotas of a project, and of a user within it.

use super::projects;
use super::values::{boolean, integer, wrapped};
use super::views::quota;
use crate::Nova;
use base::{Error, Result, id};
use oslo_db::Tx;
use oslo_http::{Reply, Req};
use oslo_limit::{DEFAULT_CLASS, Limits};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const SHOW: &str = "os_compute_api:os-quota-sets:show";
const DETAIL: &str = "os_compute_api:os-quota-sets:detail";

/// Under which name the limits of a user within a project are kept.
pub fn user_key(project: &str, user: &str) -> String {
    id::named_id(&format!("quota/{project}/{user}"))
}

fn user_of(req: &Req) -> Option<String> {
    let project = req.param("id");
    req.query
        .get("user_id")
        .filter(|u| !u.is_empty())
        .map(|u| user_key(project, u))
}

/// The project's limits, with the user's own over them.
fn limits_of(
    tx: &mut Tx,
    limits: &Limits,
    project: &str,
    user: Option<&str>,
) -> Result<BTreeMap<&'static str, i64>> {
    let mut all = limits.get(tx, project)?;
    if let Some(user) = user {
        all.extend(limits.overrides(tx, user)?);
    }
    Ok(all)
}

fn plain(req: &Req, limits: &BTreeMap<&'static str, i64>, id: Option<&str>) -> Result<Reply> {
    let mut set = quota::set(req, limits.iter().map(|(n, l)| (*n, json!(l))), false);
    if let Some(id) = id {
        set.insert("id".into(), json!(id));
    }
    Reply::ok(&json!({"quota_set": set}))
}

/// `GET /os-quota-sets/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (project, user) = (req.param("id").to_string(), user_of(&req));
    req.enforce(SHOW, &json!({"project_id": project}))?;
    projects::check(&nova, &project).await?;
    let limits = nova.limits.clone();
    let name = project.clone();
    let all = nova
        .db
        .read(move |tx| limits_of(tx, &limits, &name, user.as_deref()))
        .await?;
    plain(&req, &all, Some(&project))
}

/// `GET /os-quota-sets/{id}/detail`: limits and use.
pub async fn detail(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (project, user) = (req.param("id").to_string(), user_of(&req));
    req.enforce(DETAIL, &json!({"project_id": project}))?;
    projects::check(&nova, &project).await?;
    let (limits, name) = (nova.limits.clone(), project.clone());
    let rows = nova
        .db
        .read(move |tx| {
            let all = limits_of(tx, &limits, &name, user.as_deref())?;
            let usages = limits.usages(tx, &name)?;
            Ok(usages
                .into_iter()
                .map(|u| {
                    (
                        u.resource,
                        all.get(u.resource).copied().unwrap_or(u.limit),
                        u.used,
                    )
                })
                .collect::<Vec<_>>())
        })
        .await?;
    let view = |limit: i64, used: u64| json!({"limit": limit, "in_use": used, "reserved": 0});
    let mut set = quota::set(&req, rows.iter().map(|(n, l, u)| (*n, view(*l, *u))), false);
    set.insert("id".into(), json!(project));
    Reply::ok(&json!({"quota_set": set}))
}

/// `GET /os-quota-sets/{id}/defaults`.
pub async fn defaults(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let limits = nova.limits.clone();
    let project = req.param("id").to_string();
    projects::check(&nova, &project).await?;
    let all = nova
        .db
        .read(move |tx| limits.class(tx, DEFAULT_CLASS))
        .await?;
    plain(&req, &all, Some(&project))
}

/// The resources that a body sets, without those that only look like quotas today.
pub(super) fn asked(limits: &Limits, body: &Value) -> Result<Vec<(&'static str, i64)>> {
    let mut asked = Vec::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        if let Ok(resource) = limits.resource(name) {
            asked.push((resource.name, integer(value)?));
        }
    }
    Ok(asked)
}

/// `PUT /os-quota-sets/{id}`.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "quota_set")?;
    let (project, user) = (req.param("id").to_string(), user_of(&req));
    projects::check(&nova, &project).await?;
    let force = body.get("force").is_some_and(boolean);
    let limits = nova.limits.clone();
    let asked = asked(&limits, body)?;
    let all = nova
        .db
        .write(move |tx| {
            let holder = user.as_deref().unwrap_or(&project);
            let (now, of_project) = (limits.usages(tx, &project)?, limits.get(tx, &project)?);
            for (name, limit) in &asked {
                let used = now.iter().find(|u| u.resource == *name).map_or(0, |u| u.used as i64);
                if !force && *limit >= 0 && *limit < used {
                    return Err(Error::bad_request(format!(
                        "Quota limit {limit} for {name} must be greater than or equal to already used and reserved {used}."
                    )));
                }
                let top = of_project.get(name).copied().unwrap_or(-1);
                if !force && user.is_some() && top >= 0 && (*limit > top || *limit < 0) {
                    return Err(Error::bad_request(format!(
                        "Quota limit {limit} for {name} must be less than or equal to {top}."
                    )));
                }
                limits.set(tx, holder, name, *limit)?;
            }
            limits_of(tx, &limits, &project, user.as_deref())
        })
        .await?;
    plain(&req, &all, None)
}

/// `DELETE /os-quota-sets/{id}`: back to the defaults.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let holder = user_of(&req).unwrap_or_else(|| req.param("id").to_string());
    let limits = nova.limits.clone();
    nova.db
        .write(move |tx| limits.delete(tx, &holder, None))
        .await?;
    Ok(Reply::empty(202))
}
