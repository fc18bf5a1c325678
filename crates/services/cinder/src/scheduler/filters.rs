//! Upstream's filters by upstream's names.

use super::backend::Backend;
use super::{Request, specs};
use oslo_scheduling::{Filter, expression};
use serde_json::Value;

type Verdict = Result<(), String>;

/// The filter of that name.
pub fn named(name: &str) -> Option<&'static dyn Filter<Backend, Request>> {
    const ALL: &[&dyn Filter<Backend, Request>] = &[
        &AvailabilityZoneFilter,
        &CapabilitiesFilter,
        &CapacityFilter,
        &DifferentBackendFilter,
        &DriverFilter,
        &InstanceLocalityFilter,
        &JsonFilter,
        &RetryFilter,
        &SameBackendFilter,
    ];
    ALL.iter().copied().find(|f| f.name() == name)
}

/// The filter with which a volume that failed on one backend is tried on another.
pub const RETRY: &str = "RetryFilter";
/// The filter for which nova is asked where a server is.
pub const LOCALITY: &str = "InstanceLocalityFilter";

struct AvailabilityZoneFilter;

impl Filter<Backend, Request> for AvailabilityZoneFilter {
    fn name(&self) -> &'static str {
        "AvailabilityZoneFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        if host.report.availability_zone == request.availability_zone {
            return Ok(());
        }
        Err(format!("is in zone {}", host.report.availability_zone))
    }
}

struct CapacityFilter;

impl Filter<Backend, Request> for CapacityFilter {
    fn name(&self) -> &'static str {
        "CapacityFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        let thick = request.thick();
        let ratio = host.over_subscription(request.over_subscription);
        if host.report.thin && !thick && ratio < 1.0 {
            return Err(format!("may promise only {ratio} times what it has"));
        }
        let free = host.virtual_free(request.over_subscription, thick);
        if free >= request.size as f64 {
            return Ok(());
        }
        Err(format!("{free:.1} GiB free, {} wanted", request.size))
    }
}

struct CapabilitiesFilter;

impl Filter<Backend, Request> for CapabilitiesFilter {
    fn name(&self) -> &'static str {
        "CapabilitiesFilter"
    }

    /// Keys without scope, or of the scope `capabilities`, must match what the backend reports.
    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        if request.extra_specs.is_empty() {
            return Ok(());
        }
        let facts = Value::Object(host.facts());
        for (key, wanted) in &request.extra_specs {
            let path = key.strip_prefix("capabilities:");
            if (path.is_none() && key.contains(':')) || key == "multiattach" {
                continue;
            }
            let mut offered = Some(&facts);
            for step in path.unwrap_or(key).split(':') {
                offered = offered.and_then(|o| o.get(step));
            }
            let offered = offered.ok_or_else(|| format!("does not report {key}"))?;
            let wanted = wanted.as_str().unwrap_or("");
            let matches = match offered {
                Value::Array(any) => any.iter().any(|one| specs::matches(one, wanted)),
                one => specs::matches(one, wanted),
            };
            if !matches {
                return Err(format!("{key} is {offered}, not {wanted}"));
            }
        }
        Ok(())
    }
}

struct DifferentBackendFilter;

impl Filter<Backend, Request> for DifferentBackendFilter {
    fn name(&self) -> &'static str {
        "DifferentBackendFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        match &request.apart_from {
            None => Ok(()),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(hosts)) if hosts.contains(&host.name) => {
                Err("has a volume that it must be apart from".to_string())
            }
            Some(Ok(_)) => Ok(()),
        }
    }
}

struct SameBackendFilter;

impl Filter<Backend, Request> for SameBackendFilter {
    fn name(&self) -> &'static str {
        "SameBackendFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        match &request.together_with {
            None => Ok(()),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(hosts)) if hosts.contains(&host.name) => Ok(()),
            Some(Ok(_)) => Err("has none of the volumes that it must be with".to_string()),
        }
    }
}

struct InstanceLocalityFilter;

impl Filter<Backend, Request> for InstanceLocalityFilter {
    fn name(&self) -> &'static str {
        LOCALITY
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        let here = host.name.split(['@', '#']).next().unwrap_or_default();
        match &request.server_host {
            Some(server) if server != here => Err(format!("is not on {server}")),
            _ => Ok(()),
        }
    }
}

struct RetryFilter;

impl Filter<Backend, Request> for RetryFilter {
    fn name(&self) -> &'static str {
        RETRY
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        if request.tried.contains(&host.name) {
            return Err("was tried already".to_string());
        }
        Ok(())
    }
}

struct DriverFilter;

impl Filter<Backend, Request> for DriverFilter {
    fn name(&self) -> &'static str {
        "DriverFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        let function = host.report.capabilities.get("filter_function");
        let Some(function) = function.and_then(Value::as_str) else {
            return Ok(());
        };
        match evaluate(function, host, request) {
            Ok(value) if value.truth() => Ok(()),
            Ok(_) => Err(format!("says no: {function}")),
            Err(why) => Err(format!("has a filter_function that makes no sense: {why}")),
        }
    }
}

/// A backend's own expression about a volume.
pub fn evaluate(
    function: &str,
    host: &Backend,
    request: &Request,
) -> Result<expression::Value, String> {
    let facts = host.facts();
    let fact = |of: &str, name: &str| match of {
        "stats" | "capabilities" => facts.get(name).cloned(),
        "extra" => request.extra_specs.get(name).cloned(),
        "qos" => request.qos.get(name).cloned(),
        "volume" => request.volume.get(name).cloned(),
        _ => None,
    };
    expression::evaluate(function, &fact)
}

struct JsonFilter;

impl Filter<Backend, Request> for JsonFilter {
    fn name(&self) -> &'static str {
        "JsonFilter"
    }

    fn passes(&self, host: &Backend, request: &Request) -> Verdict {
        let Some(query) = request.hints.get("query") else {
            return Ok(());
        };
        let parsed = match query {
            Value::String(text) => serde_json::from_str(text)
                .map_err(|_| "is asked for by a query that is no JSON".to_string())?,
            other => other.clone(),
        };
        let mut facts = host.facts();
        facts.insert(
            "capabilities".into(),
            Value::Object(host.report.capabilities.clone()),
        );
        match query_holds(&parsed, &Value::Object(facts), 0)? {
            Value::Bool(true) => Ok(()),
            Value::Array(any) if any.contains(&Value::Bool(true)) => Ok(()),
            _ => Err("is not what the query asks for".to_string()),
        }
    }
}

/// Deeper queries are refused.
const DEEPEST: usize = 32;

/// `["and", [">=", "$free_capacity_gb", 10], …]`
fn query_holds(query: &Value, facts: &Value, depth: usize) -> Result<Value, String> {
    let wrong = || "is asked for by a query that makes no sense".to_string();
    let terms = match query {
        Value::Array(terms) if terms.is_empty() => return Ok(Value::Bool(true)),
        Value::Array(terms) if depth < DEEPEST => terms,
        _ => return Err(wrong()),
    };
    let mut args = Vec::new();
    for term in &terms[1..] {
        args.push(match term {
            Value::Array(_) => query_holds(term, facts, depth + 1)?,
            Value::String(text) => match text.strip_prefix('$') {
                Some(path) => {
                    let mut steps = path.split('.');
                    let found = steps.try_fold(facts, |at, step| at.get(step));
                    found.cloned().unwrap_or_default()
                }
                None => term.clone(),
            },
            other => other.clone(),
        });
    }
    args.retain(|arg| !arg.is_null());
    let flags = || args.iter().map(|a| a == &Value::Bool(true));
    let pairs = |holds: &dyn Fn(&Value, &Value) -> bool| match args.split_first() {
        Some((first, rest)) if !rest.is_empty() => rest.iter().all(|other| holds(first, other)),
        _ => false,
    };
    let order = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(a.as_str()?.cmp(b.as_str()?)),
    };
    let ordered =
        |holds: fn(std::cmp::Ordering) -> bool| pairs(&|a, b| order(a, b).is_some_and(holds));
    let flag = match terms[0].as_str().unwrap_or_default() {
        "=" => pairs(&|a, b| a == b || (a.is_number() && a.as_f64() == b.as_f64())),
        "<" => ordered(|o| o.is_lt()),
        ">" => ordered(|o| o.is_gt()),
        "<=" => ordered(|o| o.is_le()),
        ">=" => ordered(|o| o.is_ge()),
        "in" => args
            .split_first()
            .is_some_and(|(first, rest)| rest.contains(first)),
        "not" => return Ok(flags().map(|flag| Value::Bool(!flag)).collect()),
        "or" => flags().any(|flag| flag),
        "and" => flags().all(|flag| flag),
        _ => return Err(wrong()),
    };
    Ok(Value::Bool(flag))
}
