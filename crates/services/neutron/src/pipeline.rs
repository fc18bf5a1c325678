//! Bodies on their way in: unknown attributes, defaults, converters, validators, rules per attribute.
//! Upstream: neutron_lib.api.attributes, neutron.pecan_wsgi.hooks, neutron.policy.

use crate::convert::{apply, shown};
use crate::noun::{Body, Call, Noun};
use crate::{fault, validate};
use base::{Error, Result};
use oslo_policy::Lookup;
use serde_json::{Value, json};

/// The bodies of a POST: `{"network": {…}}` or `{"networks": [{…}, …]}`; the flag says which.
pub(crate) fn bodies<N: Noun>(json: Option<&Value>) -> Result<(Vec<Body>, bool)> {
    let json = json.ok_or_else(|| Error::bad_request("Resource body required"))?;
    if let Some(list) = json.get(N::PLURAL) {
        let list = list
            .as_array()
            .filter(|l| !l.is_empty())
            .ok_or_else(|| Error::bad_request("Resources required"))?;
        let bodies: Result<Vec<Body>> = list.iter().map(object).collect();
        return Ok((bodies?, true));
    }
    Ok((vec![body::<N>(Some(json))?], false))
}

/// The body of a PUT.
pub(crate) fn body<N: Noun>(json: Option<&Value>) -> Result<Body> {
    let json = json.ok_or_else(|| Error::bad_request("Resource body required"))?;
    match json.get(N::MEMBER) {
        Some(inner) => object(inner),
        None => Err(Error::bad_request(format!(
            "Unable to find '{}' in request body",
            N::MEMBER
        ))),
    }
}

fn object(value: &Value) -> Result<Body> {
    value
        .as_object()
        .cloned()
        .ok_or_else(|| Error::bad_request("Body contains invalid data"))
}

/// `project_id` is `tenant_id`; inside the pipeline the older name is used because the maps use it.
fn one_name(body: &mut Body, newer: &str, older: &str) -> Result<()> {
    if let Some(value) = body.remove(newer) {
        if body.get(older).is_some_and(|v| *v != value) {
            return Err(Error::bad_request(format!(
                "'{newer}' and '{older}' do not match"
            )));
        }
        body.insert(older.into(), value);
    }
    Ok(())
}

/// Checks and completes a POST body.
pub(crate) fn prepare_create<N: Noun>(call: &Call, sent: &Body) -> Result<Body> {
    let attributes = N::attributes()?;
    let mut body = sent.clone();
    one_name(&mut body, "project_id", "tenant_id")?;
    one_name(&mut body, "target_project", "target_tenant")?;
    let own = call.ctx.project().to_string();
    match body.get("tenant_id").and_then(Value::as_str) {
        Some(other) if other != own && !call.ctx.is_admin && !call.ctx.has_role("service") => {
            let words = "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges";
            return Err(Error::bad_request(words));
        }
        Some(_) => {}
        None if own.is_empty() => {
            return Err(Error::bad_request(
                "Running without keystone AuthN requires that tenant_id is specified",
            ));
        }
        None => {
            body.insert("tenant_id".into(), own.into());
        }
    }
    recognised::<N>(&body)?;
    for (name, rules) in attributes {
        if !rules.post && body.contains_key(name) {
            return Err(Error::bad_request(format!(
                "Attribute '{name}' not allowed in POST"
            )));
        }
        if rules.post && !body.contains_key(name) {
            match &rules.default {
                Some(default) => drop(body.insert(name.clone(), default.clone())),
                None if rules.optional => {}
                None => {
                    let words = format!(
                        "Failed to parse request. Required attribute '{name}' not specified"
                    );
                    return Err(Error::bad_request(words));
                }
            }
        }
    }
    convert::<N>(&mut body)?;
    if let Some(project) = body.get("tenant_id").cloned() {
        body.insert("project_id".into(), project);
    }
    Ok(body)
}

/// Checks a PUT body.
pub(crate) fn prepare_update<N: Noun>(sent: &Body) -> Result<Body> {
    let mut body = sent.clone();
    one_name(&mut body, "project_id", "tenant_id")?;
    one_name(&mut body, "target_project", "target_tenant")?;
    recognised::<N>(&body)?;
    for name in body.keys() {
        if !N::attributes()?.get(name).is_some_and(|a| a.put) {
            return Err(Error::bad_request(format!(
                "Cannot update read-only attribute {name}"
            )));
        }
    }
    convert::<N>(&mut body)?;
    Ok(body)
}

fn recognised<N: Noun>(body: &Body) -> Result<()> {
    let attributes = N::attributes()?;
    let unknown: Vec<&str> = body
        .keys()
        .map(String::as_str)
        .filter(|k| !attributes.contains_key(*k))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::bad_request(format!(
        "Unrecognized attribute(s) '{}'",
        unknown.join(", ")
    )))
}

fn convert<N: Noun>(body: &mut Body) -> Result<()> {
    let attributes = N::attributes()?;
    for (name, value) in body.iter_mut() {
        let Some(rules) = attributes.get(name) else {
            continue;
        };
        if let Some(converter) = &rules.convert_to {
            *value = apply(converter, value.take())?;
        }
        for (rule, limit) in &rules.validate {
            if rule == "type:name_not_default" && shown(value).eq_ignore_ascii_case("default") {
                return Err(fault::conflict(
                    "SecurityGroupDefaultAlreadyExists",
                    "Default security group already exists.",
                ));
            }
            validate::check(rule, value, limit).map_err(|why| {
                Error::bad_request(format!("Invalid input for {name}. Reason: {why}."))
            })?;
        }
    }
    Ok(())
}

/// The rules of an action: the resource's own and those of the attributes that were sent.
pub(crate) fn enforce<N: Noun>(
    call: &Call,
    action: &str,
    sent: &Body,
    target: &dyn Lookup,
) -> Result<()> {
    let rule = format!("{action}_{}", N::MEMBER);
    let denied = || fault::denied(&rule);
    if !call.policy.check(&rule, &call.ctx, target) {
        return Err(denied());
    }
    for (name, value) in sent {
        let Some(rules) = N::attributes()?.get(name) else {
            continue;
        };
        let own = format!("{rule}:{name}");
        let asked = rules.enforce_policy || name == "tags";
        if !asked
            || (action == "create" && rules.default.as_ref() == Some(value))
            || !call.policy.has_rule(&own)
        {
            continue;
        }
        if !call.policy.check(&own, &call.ctx, target) {
            return Err(fault::denied(&own));
        }
        for part in parts(value) {
            let part = format!("{own}:{part}");
            if call.policy.has_rule(&part) && !call.policy.check(&part, &call.ctx, target) {
                return Err(fault::denied(&part));
            }
        }
    }
    Ok(())
}

fn parts(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = match value {
        Value::Object(map) => map.keys().cloned().collect(),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_object)
            .flat_map(|m| m.keys().cloned())
            .collect(),
        _ => Vec::new(),
    };
    names.sort();
    names.dedup();
    names
}

/// The target of a creation: what was sent, the parents, and the names under which rules look for owners.
pub(crate) fn create_target(body: &Body, parent: Body) -> Value {
    let mut target = body.clone();
    target.extend(parent);
    if let Some(project) = body.get("tenant_id") {
        target.insert("project_id".into(), project.clone());
    }
    Value::Object(target)
}

/// Parents of what lives on a network.
pub(crate) fn network_parent(project_id: &str, shared: bool, external: bool) -> Body {
    let mut parent = Body::new();
    for key in [
        "network:tenant_id",
        "network:project_id",
        "ext_parent:tenant_id",
        "ext_parent:project_id",
    ] {
        parent.insert(key.into(), json!(project_id));
    }
    parent.insert("shared".into(), json!(shared));
    parent.insert("router:external".into(), json!(external));
    parent
}
