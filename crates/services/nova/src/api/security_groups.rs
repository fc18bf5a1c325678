//! `/os-security-groups` and `/os-security-group-rules`: neutron's groups in nova-network's words, up to 2.35.

use super::values::{integer, wrapped};
use crate::Nova;
use base::{Error, Kind, Result};
use oslo_http::{Reply, Req, percent_encode};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

async fn neutron(
    nova: &Nova,
    req: &Req,
    method: sdk::Method,
    path: &str,
    body: Option<Value>,
) -> Result<sdk::Answer> {
    let caller = sdk::Caller::User(&req.ctx);
    let path = format!("/v2.0/{path}");
    nova.sdk
        .request(caller, "network", method, &path, body)
        .await
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

async fn group(nova: &Nova, req: &Req, id: &str) -> Result<Value> {
    let path = format!("security-groups/{}", percent_encode(id));
    let answer = neutron(nova, req, sdk::Method::GET, &path, None).await;
    let answer = answer.map_err(|e| if e.is_not_found() { not_found(id) } else { e })?;
    answer.key("security_group")
}

/// The names of the groups that these rules let in: this API names groups by name and project.
async fn sources(nova: &Nova, req: &Req, rules: &[&Value]) -> Result<HashMap<String, Value>> {
    let mut found = HashMap::new();
    for rule in rules {
        let Some(id) = rule["remote_group_id"].as_str() else {
            continue;
        };
        if found.contains_key(id) {
            continue;
        }
        match group(nova, req, id).await {
            Ok(g) => {
                let words = json!({"name": g["name"], "tenant_id": g["project_id"]});
                found.insert(id.to_string(), words);
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn rule_view(rule: &Value, sources: &HashMap<String, Value>) -> Value {
    let protocol = rule["protocol"].as_str().map(str::to_lowercase);
    let ports = match (&rule["port_range_min"], &rule["port_range_max"]) {
        // Upstream's words for "every": all ports, or all types and codes.
        (Value::Null, _) if protocol.as_deref() == Some("icmp") => (json!(-1), json!(-1)),
        (Value::Null, _) if protocol.is_some() => (json!(1), json!(65535)),
        (Value::Null, _) => (Value::Null, Value::Null),
        (from, to) => (from.clone(), to.clone()),
    };
    let source = rule["remote_group_id"]
        .as_str()
        .and_then(|id| sources.get(id));
    let everybody = if rule["ethertype"] == "IPv6" {
        "::/0"
    } else {
        "0.0.0.0/0"
    };
    let range = match (&rule["remote_group_id"], rule["remote_ip_prefix"].as_str()) {
        (Value::String(_), _) => json!({}),
        (_, prefix) => json!({"cidr": prefix.unwrap_or(everybody)}),
    };
    json!({
        "id": rule["id"],
        "parent_group_id": rule["security_group_id"],
        "ip_protocol": protocol,
        "from_port": ports.0,
        "to_port": ports.1,
        "group": source.cloned().unwrap_or_else(|| json!({})),
        "ip_range": range,
    })
}

/// This API knows of rules for what comes in only.
fn ingress(group: &Value) -> Vec<&Value> {
    let rules = group["security_group_rules"].as_array();
    rules
        .into_iter()
        .flatten()
        .filter(|r| r["direction"] == "ingress")
        .collect()
}

fn view(group: &Value, sources: &HashMap<String, Value>) -> Value {
    let rules: Vec<Value> = ingress(group)
        .into_iter()
        .map(|r| rule_view(r, sources))
        .collect();
    json!({
        "id": group["id"],
        "name": group["name"],
        "description": group["description"],
        "tenant_id": group["project_id"],
        "rules": rules,
    })
}

async fn views(nova: &Nova, req: &Req, groups: &[Value]) -> Result<Vec<Value>> {
    let rules: Vec<&Value> = groups.iter().flat_map(ingress).collect();
    let sources = sources(nova, req, &rules).await?;
    Ok(groups.iter().map(|g| view(g, &sources)).collect())
}

async fn one(nova: &Nova, req: &Req, group: Value) -> Result<Reply> {
    let views = views(nova, req, &[group]).await?;
    Reply::ok(&json!({"security_group": views.first()}))
}

/// `GET /os-security-groups`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let everyone = req.ctx.is_admin
        && req
            .query
            .get("all_tenants")
            .is_some_and(|w| w.is_empty() || oslo_http::is_true(w));
    let path = if everyone {
        "security-groups".to_string()
    } else {
        let project = percent_encode(req.ctx.project());
        format!("security-groups?project_id={project}")
    };
    let answer = neutron(&nova, &req, sdk::Method::GET, &path, None).await?;
    let groups: Vec<Value> = answer.key("security_groups")?;
    let mut views = views(&nova, &req, &groups).await?;
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

fn named(req: &Req) -> Result<Value> {
    let body = wrapped(req.json.as_ref(), "security_group")?;
    let mut group = Map::new();
    for key in ["name", "description"] {
        if let Some(text) = body.get(key).and_then(Value::as_str) {
            group.insert(key.to_string(), json!(text.trim()));
        }
    }
    Ok(json!({"security_group": group}))
}

/// `POST /os-security-groups`.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = Some(named(&req)?);
    let answer = neutron(&nova, &req, sdk::Method::POST, "security-groups", body).await;
    one(
        &nova,
        &req,
        answer.map_err(over_quota)?.key("security_group")?,
    )
    .await
}

/// `PUT /os-security-groups/{id}`.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = checked(&req, "Security group")?;
    group(&nova, &req, id).await?;
    let path = format!("security-groups/{id}");
    let body = Some(named(&req)?);
    let answer = neutron(&nova, &req, sdk::Method::PUT, &path, body).await;
    // The group `default` keeps its name: neutron's conflict is a bad request here.
    let answer = answer.map_err(|e| match e.kind() {
        Kind::Conflict => Error::bad_request(e.message()),
        _ => e,
    })?;
    one(&nova, &req, answer.key("security_group")?).await
}

/// `DELETE /os-security-groups/{id}`.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = checked(&req, "Security group")?;
    group(&nova, &req, id).await?;
    let path = format!("security-groups/{id}");
    let answer = neutron(&nova, &req, sdk::Method::DELETE, &path, None).await;
    answer.map_err(|e| match e.kind() {
        Kind::Conflict => Error::bad_request(e.message()),
        _ => e,
    })?;
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
    let mut rule = json!({"security_group_id": parent, "direction": "ingress"});
    if let Some(source) = text("group_id") {
        if !base::id::is_uuid_like(source) {
            return Err(Error::bad_request("Security group id should be uuid"));
        }
        rule["remote_group_id"] = json!(source);
        rule["ethertype"] = json!("IPv4");
    } else {
        let cidr = text("cidr")
            .filter(|c| !c.is_empty())
            .unwrap_or("0.0.0.0/0");
        rule["remote_ip_prefix"] = json!(cidr);
        rule["ethertype"] = json!(if cidr.contains(':') { "IPv6" } else { "IPv4" });
    }
    let number = |key: &str| -> Result<Option<i64>> {
        let value = body.get(key).filter(|v| !v.is_null());
        value.map(integer).transpose()
    };
    if let Some(protocol) = text("ip_protocol").filter(|p| *p != "-1") {
        rule["protocol"] = json!(protocol.to_lowercase());
    }
    for (here, there) in [
        ("from_port", "port_range_min"),
        ("to_port", "port_range_max"),
    ] {
        if let Some(port) = number(here)?.filter(|p| *p >= 0) {
            rule[there] = json!(port);
        }
    }
    let body = Some(json!({"security_group_rule": rule}));
    let answer = neutron(&nova, &req, sdk::Method::POST, "security-group-rules", body).await;
    // COMPAT: a rule that exists already is a bad request here.
    let answer = answer.map_err(over_quota).map_err(|e| match e.kind() {
        Kind::Conflict => Error::bad_request(e.message()),
        _ => e,
    })?;
    let rule: Value = answer.key("security_group_rule")?;
    let sources = sources(&nova, &req, &[&rule]).await?;
    Reply::ok(&json!({"security_group_rule": rule_view(&rule, &sources)}))
}

/// `DELETE /os-security-group-rules/{id}`.
pub async fn delete_rule(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = checked(&req, "Rule")?;
    let path = format!("security-group-rules/{id}");
    neutron(&nova, &req, sdk::Method::DELETE, &path, None).await?;
    Ok(Reply::empty(202))
}
