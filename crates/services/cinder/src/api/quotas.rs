//! `/limits`, `/os-quota-sets`, `/os-quota-class-sets`.

use crate::Cinder;
use crate::db::{TypeRow, type_limits};
use base::{Error, Result};
use oslo_db::{Tx, everything};
use oslo_http::{Reply, Req};
use oslo_limit::{Limits, Usage};
use oslo_policy::Target;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Limits per volume type of a project, which has those of the default class where it has none of its own.
fn of_project(tx: &mut Tx, project: &str) -> Result<BTreeMap<String, i64>> {
    let owners = [
        type_limits::class(oslo_limit::DEFAULT_CLASS),
        type_limits::project(project),
    ];
    type_limits::of(tx, &owners)
}

/// The same with what is used.
fn used_by_project(
    tx: &mut Tx,
    project: &str,
    snapshot_gb: bool,
) -> Result<Vec<(String, i64, u64)>> {
    let limits = of_project(tx, project)?;
    let mut used = BTreeMap::new();
    for kind in tx.select::<TypeRow>(everything())? {
        let all = type_limits::used(tx, project, &kind.id, snapshot_gb)?;
        used.insert(format!("volumes_{}", kind.name), all.volumes);
        used.insert(format!("snapshots_{}", kind.name), all.snapshots);
        used.insert(format!("gigabytes_{}", kind.name), all.gigabytes);
    }
    let use_of = |name: &String| used.get(name).copied().unwrap_or(0).max(0) as u64;
    let all = limits.into_iter().map(|(name, limit)| {
        let used = use_of(&name);
        (name, limit, used)
    });
    Ok(all.collect())
}

fn usage_view(limit: i64, used: u64) -> Value {
    json!({"limit": limit, "in_use": used, "reserved": 0})
}

fn set_view(
    usages: &[Usage],
    types: &[(String, i64, u64)],
    with_usage: bool,
) -> Map<String, Value> {
    let mut out = Map::new();
    for usage in usages {
        let view = if with_usage {
            usage_view(usage.limit, usage.used)
        } else {
            json!(usage.limit)
        };
        out.insert(usage.resource.to_string(), view);
    }
    for (name, limit, used) in types {
        let view = if with_usage {
            usage_view(*limit, *used)
        } else {
            json!(limit)
        };
        out.insert(name.clone(), view);
    }
    out
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let project = req.param("id").to_string();
    req.enforce("volume_extension:quotas:show", &Target::project(&project))?;
    let (limits, id) = (cinder.limits.clone(), project.clone());
    let snapshot_gb = !cinder.conf.no_snapshot_gb_quota;
    let (usages, types) = cinder
        .db
        .read(move |tx| {
            let types = used_by_project(tx, &id, snapshot_gb)?;
            Ok((limits.usages(tx, &id)?, types))
        })
        .await?;
    let mut set = set_view(&usages, &types, req.query.flag("usage").unwrap_or(false));
    set.insert("id".into(), json!(project));
    Reply::ok(&json!({"quota_set": set}))
}

async fn class(cinder: &Cinder, name: &str) -> Result<Map<String, Value>> {
    let (limits, name) = (cinder.limits.clone(), name.to_string());
    cinder
        .db
        .read(move |tx| {
            let class = limits.class(tx, &name)?;
            let mut out: Map<String, Value> = class
                .into_iter()
                .map(|(k, v)| (k.to_string(), json!(v)))
                .collect();
            let types = type_limits::of(tx, &[type_limits::class(&name)])?;
            out.extend(types.into_iter().map(|(k, v)| (k, json!(v))));
            Ok(out)
        })
        .await
}

pub async fn defaults(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let project = req.param("id").to_string();
    req.enforce("volume_extension:quotas:show", &Target::project(&project))?;
    let mut set = class(&cinder, oslo_limit::DEFAULT_CLASS).await?;
    set.insert("id".into(), json!(project));
    Reply::ok(&json!({"quota_set": set}))
}

fn number(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

/// Calls `apply` for each limit of the body that is ours.
fn each_limit(
    tx: &mut Tx,
    limits: &Limits,
    types_of: &str,
    body: &Map<String, Value>,
    apply: impl Fn(&mut Tx, &str, i64) -> Result<()>,
) -> Result<()> {
    let types = type_limits::of(tx, &[])?;
    let mut unknown = Vec::new();
    for (name, value) in body {
        if matches!(name.as_str(), "tenant_id" | "force" | "class_name" | "id") {
            continue;
        }
        let wanted = number(value).filter(|n| *n >= -1).ok_or_else(|| {
            Error::bad_request(format!(
                "Quota limit for {name} must be an integer of at least -1."
            ))
        })?;
        if types.contains_key(name) {
            type_limits::set(tx, types_of, name, wanted)?;
        } else if limits.resource(name).is_ok() {
            apply(tx, name, wanted)?;
        } else {
            unknown.push(name.as_str());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::bad_request(format!(
        "Bad key(s) in quota set: {}",
        unknown.join(", ")
    )))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("quota_set")?;
    let (limits, project) = (cinder.limits.clone(), req.param("id").to_string());
    let snapshot_gb = !cinder.conf.no_snapshot_gb_quota;
    let (usages, types) = cinder
        .db
        .write(move |tx| {
            let own = type_limits::project(&project);
            each_limit(tx, &limits, &own, &body, |tx, name, limit| {
                limits.set(tx, &project, name, limit)
            })?;
            let types = used_by_project(tx, &project, snapshot_gb)?;
            Ok((limits.usages(tx, &project)?, types))
        })
        .await?;
    Reply::ok(&json!({"quota_set": set_view(&usages, &types, false)}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (limits, project) = (cinder.limits.clone(), req.param("id").to_string());
    cinder
        .db
        .write(move |tx| {
            type_limits::delete(tx, &type_limits::project(&project))?;
            limits.delete(tx, &project, None).map(drop)
        })
        .await?;
    Ok(Reply::empty(200))
}

pub async fn show_class(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let name = req.param("id").to_string();
    let mut set = class(&cinder, &name).await?;
    set.insert("id".into(), json!(name));
    Reply::ok(&json!({"quota_class_set": set}))
}

pub async fn update_class(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Map<String, Value> = req.parse_key("quota_class_set")?;
    let (limits, name) = (cinder.limits.clone(), req.param("id").to_string());
    let class_name = name.clone();
    cinder
        .db
        .write(move |tx| {
            let own = type_limits::class(&class_name);
            each_limit(tx, &limits, &own, &body, |tx, resource, limit| {
                limits.set_class(tx, &class_name, resource, limit)
            })
        })
        .await?;
    Reply::ok(&json!({"quota_class_set": class(&cinder, &name).await?}))
}

pub async fn limits(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let asked = req
        .query
        .get("project_id")
        .filter(|_| req.ctx.is_admin && req.at_least(3, 39));
    let project = asked.unwrap_or(req.ctx.project()).to_string();
    let limits = cinder.limits.clone();
    let usages = cinder
        .db
        .read(move |tx| limits.usages(tx, &project))
        .await?;
    let names = [
        ("volumes", "maxTotalVolumes", "totalVolumesUsed"),
        ("gigabytes", "maxTotalVolumeGigabytes", "totalGigabytesUsed"),
        ("snapshots", "maxTotalSnapshots", "totalSnapshotsUsed"),
        ("backups", "maxTotalBackups", "totalBackupsUsed"),
        (
            "backup_gigabytes",
            "maxTotalBackupGigabytes",
            "totalBackupGigabytesUsed",
        ),
    ];
    let mut absolute = Map::new();
    for (resource, max, used) in names {
        if let Some(usage) = usages.iter().find(|u| u.resource == resource) {
            absolute.insert(max.into(), json!(usage.limit));
            absolute.insert(used.into(), json!(usage.used));
        }
    }
    Reply::ok(&json!({"limits": {"rate": [], "absolute": absolute}}))
}
