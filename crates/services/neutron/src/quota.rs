//! Limits: what is counted, and the quotas API.

use crate::db::{
    FloatingIpRow, GroupRow, NetworkRow, PortRow, RbacRow, RouterRow, RuleRow, SubnetRow,
};
use crate::noun::{Call, Noun};
use crate::{Neutron, fault};
use base::{Error, Kind, Result};
use oslo_db::{Table, Tx, eq};
use oslo_http::{Reply, Req};
use oslo_limit::{Limits, Resource};
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn count<T: Table>(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.count::<T>(eq("project_id", project))
}

/// The limits of this service, with the configured defaults.
pub(crate) fn limits(conf: &crate::Conf) -> Limits {
    let row = |name, default, count| Resource {
        name,
        default,
        count,
    };
    Limits::new(
        "neutron",
        vec![
            row("network", conf.quota_network, count::<NetworkRow>),
            row("subnet", conf.quota_subnet, count::<SubnetRow>),
            row("port", conf.quota_port, count::<PortRow>),
            row("router", conf.quota_router, count::<RouterRow>),
            row("floatingip", conf.quota_floatingip, count::<FloatingIpRow>),
            row(
                "security_group",
                conf.quota_security_group,
                count::<GroupRow>,
            ),
            row(
                "security_group_rule",
                conf.quota_security_group_rule,
                count::<RuleRow>,
            ),
            row("rbac_policy", conf.quota_rbac_policy, count::<RbacRow>),
        ],
    )
}

/// One more of a noun.
pub(crate) fn check<N: Noun>(tx: &mut Tx, call: &Call, project: &str) -> Result<()> {
    reserve(tx, call, project, N::MEMBER)
}

pub(crate) fn reserve(tx: &mut Tx, call: &Call, project: &str, resource: &str) -> Result<()> {
    let exceeded = call.neutron.limits.check(tx, project, &[(resource, 1)])?;
    if exceeded.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = exceeded
        .iter()
        .map(|e| format!("'{}'", e.resource))
        .collect();
    Err(Error::new(
        Kind::OverQuota,
        format!("Quota exceeded for resources: [{}].", names.join(", ")),
    )
    .class("OverQuota"))
}

fn enforce(req: &Req, rule: &str, project: &str) -> Result<()> {
    let target = json!({"project_id": project, "tenant_id": project});
    if req.permits(rule, &target) {
        Ok(())
    } else {
        Err(fault::denied(rule))
    }
}

pub(crate) async fn list(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    if !req.permits("get_quota", &json!({})) || !req.ctx.is_admin {
        return Err(fault::denied("get_quota"));
    }
    let limits = neutron.limits.clone();
    let rows = neutron
        .db
        .read(move |tx| {
            let projects = limits.projects(tx)?;
            projects
                .into_iter()
                .map(|p| Ok((limits.get(tx, &p)?, p)))
                .collect::<Result<Vec<_>>>()
        })
        .await?;
    let mut quotas = Vec::new();
    for (own, project) in rows {
        let mut quota: Map<String, Value> = own
            .into_iter()
            .map(|(name, limit)| (name.to_string(), json!(limit)))
            .collect();
        quota.insert("tenant_id".into(), json!(project));
        quota.insert("project_id".into(), json!(project));
        quotas.push(Value::Object(quota));
    }
    Reply::ok(&json!({"quotas": quotas}))
}

pub(crate) async fn own_project(_: Arc<Neutron>, req: Req) -> Result<Reply> {
    req.permits("get_quota", &json!({}));
    Reply::ok(
        &json!({"tenant": {"tenant_id": req.ctx.project_id}, "project": {"project_id": req.ctx.project_id}}),
    )
}

pub(crate) async fn show(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let project = req.param("id").to_string();
    enforce(&req, "get_quota", &project)?;
    let limits = neutron.limits.clone();
    let quota = neutron.db.read(move |tx| limits.get(tx, &project)).await?;
    Reply::ok(&json!({"quota": quota}))
}

pub(crate) async fn default(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_quota", req.param("id"))?;
    let quota: Map<String, Value> = neutron
        .limits
        .resources()
        .iter()
        .map(|r| (r.name.into(), json!(r.default)))
        .collect();
    Reply::ok(&json!({"quota": quota}))
}

pub(crate) async fn details(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let project = req.param("id").to_string();
    enforce(&req, "get_quota", &project)?;
    let limits = neutron.limits.clone();
    let usages = neutron
        .db
        .read(move |tx| limits.usages(tx, &project))
        .await?;
    let quota: Map<String, Value> = usages
        .into_iter()
        .map(|u| {
            (
                u.resource.to_string(),
                json!({"limit": u.limit, "used": u.used, "reserved": 0}),
            )
        })
        .collect();
    Reply::ok(&json!({"quota": quota}))
}

pub(crate) async fn update(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let project = req.param("id").to_string();
    enforce(&req, "update_quota", &project)?;
    let body = req
        .json
        .as_ref()
        .and_then(|b| b.get("quota"))
        .and_then(Value::as_object)
        .cloned();
    let body = body.ok_or_else(|| Error::bad_request("Unable to find 'quota' in request body"))?;
    let mut wanted = Vec::new();
    for (name, value) in &body {
        if matches!(
            name.as_str(),
            "tenant_id" | "project_id" | "force" | "check_limit"
        ) {
            continue;
        }
        if neutron.limits.resource(name).is_err() {
            return Err(Error::bad_request(format!(
                "Unrecognized attribute(s) '{name}'"
            )));
        }
        let limit = crate::convert::int(value)?;
        if !(-1..=2_147_483_647).contains(&limit) {
            let words = format!(
                "Invalid input for {name}. Reason: '{limit}' is not in range -1 through 2147483647."
            );
            return Err(Error::bad_request(words));
        }
        wanted.push((name.clone(), limit));
    }
    let limits = neutron.limits.clone();
    let quota = neutron
        .db
        .write(move |tx| {
            for (name, limit) in &wanted {
                limits.set(tx, &project, name, *limit)?;
            }
            limits.get(tx, &project)
        })
        .await?;
    Reply::ok(&json!({"quota": quota}))
}

pub(crate) async fn delete(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let project = req.param("id").to_string();
    enforce(&req, "delete_quota", &project)?;
    let limits = neutron.limits.clone();
    let gone = neutron
        .db
        .write(move |tx| limits.delete(tx, &project, None))
        .await?;
    if !gone {
        let words = format!("Quota for project {} could not be found.", req.param("id"));
        return Err(Error::not_found(words).class("TenantQuotaNotFound"));
    }
    Ok(Reply::empty(204))
}
