//! `/os-security-groups` and `/os-security-group-rules`: neutron's groups in nova-network's words, up to 2.35.

use super::values::{integer, wrapped};
use crate::Nova;
use base::{Error, Kind, Result};
use neutron_types::rest::{SecurityGroup, SecurityGroupRule};
use oslo_http::{Reply, Req};
use sdk::{Caller, NeutronClient};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Everything here is done in the user's name.
fn neutron<'a>(nova: &Nova, req: &'a Req) -> (NeutronClient, Caller<'a>) {
    (nova.sdk.neutron(), Caller::User(&req.ctx))
}

/// Neutron refuses for lack of quota with a conflict; here that was always 403.
fn over_quota(e: Error) -> Error {
    if e.kind() == Kind::Conflict && e.message().contains("Quota exceeded") {
        Error::forbidden(e.message())
    } else {
        e
    }
}

fn not_found(id: &str) -> Error {
    Error::not_found(format!("Security group {id} not found."))
}

/// A numeric or otherwise impossible id is the caller's mistake, as upstream has it.
fn checked<'a>(req: &'a Req, what: &str) -> Result<&'a str> {
    let id = req.param("id");
    base::id::is_uuid_like(id)
        .then_some(id)
        .ok_or_else(|| Error::bad_request(format!("{what} id should be uuid")))
}

async fn group(nova: &Nova, req: &Req, id: &str) -> Result<SecurityGroup> {
    let (neutron, user) = neutron(nova, req);
    let found = neutron.security_groups(user, &[("id", id)]).await?;
    found.into_iter().next().ok_or_else(|| not_found(id))
}

/// The words for the groups that rules let in: this API names groups by name and project.
async fn sources(
    nova: &Nova,
    caller: Caller<'_>,
    rules: &[&SecurityGroupRule],
) -> Result<HashMap<String, Value>> {
    let ids: BTreeSet<String> = rules
        .iter()
        .filter_map(|r| r.remote_group_id.clone())
        .collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let found = nova
        .sdk
        .neutron()
        .security_groups_by_id(caller, &ids)
        .await?;
    Ok(found
        .into_iter()
        .map(|g| (g.id, json!({"name": g.name, "tenant_id": g.project_id})))
        .collect())
}

fn rule_view(rule: &SecurityGroupRule, sources: &HashMap<String, Value>) -> Value {
    let protocol = rule.protocol.as_deref().map(str::to_lowercase);
    let ports = match (rule.port_range_min, protocol.as_deref()) {
        // Upstream's words for "every": all ports, or all types and codes.
        (None, Some("icmp")) => (Some(-1), Some(-1)),
        (None, Some(_)) => (Some(1), Some(65535)),
        (from, _) => (from, rule.port_range_max),
    };
    let everybody = match rule.ethertype.as_str() {
        "IPv6" => "::/0",
        _ => "0.0.0.0/0",
    };
    let (source, range) = match &rule.remote_group_id {
        Some(id) => (sources.get(id).cloned(), json!({})),
        None => {
            let cidr = rule.remote_ip_prefix.as_deref().unwrap_or(everybody);
            (None, json!({"cidr": cidr}))
        }
    };
    json!({
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": protocol,
        "from_port": ports.0,
        "to_port": ports.1,
        "group": source.unwrap_or_else(|| json!({})),
        "ip_range": range,
    })
}

/// This API knows of rules for what comes in only.
fn ingress(group: &SecurityGroup) -> impl Iterator<Item = &SecurityGroupRule> {
    group
        .security_group_rules
        .iter()
        .filter(|r| r.direction == "ingress")
}

fn view(group: &SecurityGroup, sources: &HashMap<String, Value>) -> Value {
    let rules: Vec<Value> = ingress(group).map(|r| rule_view(r, sources)).collect();
    json!({
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": rules,
    })
}

/// Neutron's groups in this API's words; one more request, however many groups.
pub(super) async fn views(
    nova: &Nova,
    caller: Caller<'_>,
    groups: &[SecurityGroup],
) -> Result<Vec<Value>> {
    let rules: Vec<&SecurityGroupRule> = groups.iter().flat_map(ingress).collect();
    let sources = sources(nova, caller, &rules).await?;
    Ok(groups.iter().map(|g| view(g, &sources)).collect())
}

async fn one(nova: &Nova, req: &Req, group: SecurityGroup) -> Result<Reply> {
    let views = views(nova, Caller::User(&req.ctx), &[group]).await?;
    Reply::ok(&json!({"security_group": views.first()}))
}

/// `GET /os-security-groups`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let everyone = req.ctx.is_admin
        && req
            .query
            .get("all_tenants")
            .is_some_and(|w| w.is_empty() || oslo_http::is_true(w));
    let (neutron, user) = neutron(&nova, &req);
    let own = [("project_id", req.ctx.project())];
    let filters: &[(&str, &str)] = if everyone { &[] } else { &own };
    let groups = neutron.security_groups(user, filters).await?;
    let mut views = views(&nova, user, &groups).await?;
    views.sort_by_key(|v| (v["tenant_id"].to_string(), v["name"].to_string()));
    let number = |name: &str| -> Result<Option<usize>> {
        let bad = |_| Error::bad_request(format!("{name} param must be an integer"));
        req.query
            .get(name)
            .map(|t| t.parse().map_err(bad))
            .transpose()
    };
    let limit = number("limit")?.unwrap_or(nova.conf.max_limit as usize);
    let views: Vec<Value> = views
        .into_iter()
        .skip(number("offset")?.unwrap_or(0))
        .take(limit.min(nova.conf.max_limit as usize))
        .collect();
    Reply::ok(&json!({"security_groups": views}))
}

/// `GET /os-security-groups/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let found = group(&nova, &req, checked(&req, "Security group")?).await?;
    one(&nova, &req, found).await
}

/// COMPAT: names keep the spaces around them.
fn named(req: &Req) -> Result<Value> {
    let body = wrapped(req.json.as_ref(), "security_group")?;
    let mut group = Map::new();
    for key in ["name", "description"] {
        if let Some(text) = body.get(key).and_then(Value::as_str) {
            group.insert(key.to_string(), json!(text));
        }
    }
    Ok(Value::Object(group))
}

/// A conflict in neutron (a name that is kept, a group in use, a rule that is there) is a bad request here.
fn bad_request(e: Error) -> Error {
    match e.kind() {
        Kind::Conflict => Error::bad_request(e.message()),
        _ => e,
    }
}

/// `POST /os-security-groups`.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (neutron, user) = neutron(&nova, &req);
    let made = neutron.create_security_group(user, named(&req)?).await;
    one(&nova, &req, made.map_err(over_quota)?).await
}

/// `PUT /os-security-groups/{id}`.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = checked(&req, "Security group")?;
    group(&nova, &req, id).await?;
    let (neutron, user) = neutron(&nova, &req);
    let changed = neutron.update_security_group(user, id, named(&req)?).await;
    one(&nova, &req, changed.map_err(bad_request)?).await
}

/// `DELETE /os-security-groups/{id}`.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = checked(&req, "Security group")?;
    group(&nova, &req, id).await?;
    let (neutron, user) = neutron(&nova, &req);
    let gone = neutron.delete_security_group(user, id).await;
    gone.map_err(bad_request)?;
    Ok(Reply::empty(202))
}

/// `POST /os-security-group-rules`.
pub async fn create_rule(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "security_group_rule")?;
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let parent = text("parent_group_id").unwrap_or_default();
    if !base::id::is_uuid_like(parent) {
        return Err(Error::bad_request("Security group id should be uuid"));
    }
    group(&nova, &req, parent).await?;
    let mut rule = SecurityGroupRule {
        security_group_id: parent.to_string(),
        direction: "ingress".into(),
        ethertype: "IPv4".into(),
        ..SecurityGroupRule::default()
    };
    if let Some(source) = text("group_id") {
        if !base::id::is_uuid_like(source) {
            return Err(Error::bad_request("Security group id should be uuid"));
        }
        rule.remote_group_id = Some(source.to_string());
    } else {
        let cidr = text("cidr")
            .filter(|c| !c.is_empty())
            .unwrap_or("0.0.0.0/0");
        rule.remote_ip_prefix = Some(cidr.to_string());
        if cidr.contains(':') {
            rule.ethertype = "IPv6".into();
        }
    }
    let protocol = text("ip_protocol").filter(|p| *p != "-1");
    rule.protocol = protocol.map(str::to_lowercase);
    let port = |key: &str| -> Result<Option<i64>> {
        let value = body.get(key).filter(|v| !v.is_null());
        Ok(value.map(integer).transpose()?.filter(|p| *p >= 0))
    };
    (rule.port_range_min, rule.port_range_max) = (port("from_port")?, port("to_port")?);
    let (neutron, user) = neutron(&nova, &req);
    let made = neutron.create_security_group_rule(user, &rule).await;
    // COMPAT: a rule that exists already is a bad request here.
    let made = made.map_err(over_quota).map_err(bad_request)?;
    let sources = sources(&nova, user, &[&made]).await?;
    Reply::ok(&json!({"security_group_rule": rule_view(&made, &sources)}))
}

/// `DELETE /os-security-group-rules/{id}`.
pub async fn delete_rule(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = checked(&req, "Rule")?;
    let (neutron, user) = neutron(&nova, &req);
    neutron.delete_security_group_rule(user, id).await?;
    Ok(Reply::empty(202))
}
