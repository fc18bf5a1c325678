//! Upstream's validators by name. Each answers with upstream's words; the pipeline wraps them into
//! "Invalid input for … . Reason: …".

use crate::convert::{is_uuid, repr, shown};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// What is wrong with `value`, if anything. `rule` is `type:…`, `limit` its parameter.
pub(crate) fn check(rule: &str, value: &Value, limit: &Value) -> Result<(), String> {
    let kind = rule.strip_prefix("type:").unwrap_or(rule);
    if value.is_null() && (kind.ends_with("_or_none") || kind.ends_with("_or_nodata")) {
        return Ok(());
    }
    match kind {
        "uuid" | "uuid_or_none" | "subnetpool_id_or_none" => {
            if is_uuid(value) {
                Ok(())
            } else {
                Err(format!("'{}' is not a valid UUID", shown(value)))
            }
        }
        "string"
        | "string_or_none"
        | "name_string"
        | "name_string_or_none"
        | "name_string_not_default"
        | "name_not_default" => string(value, limit),
        "not_empty_string"
        | "not_empty_name_string"
        | "oneline_not_empty_string"
        | "oneline_not_empty_string_or_none" => {
            string(value, limit)?;
            let text = shown(value);
            if text.trim().is_empty() {
                return Err(format!("'{text}' Blank strings are not permitted"));
            }
            if kind.starts_with("oneline") && text.contains('\n') {
                return Err(format!("Multi-line string is not allowed: '{text}'"));
            }
            Ok(())
        }
        "boolean" => crate::convert::boolean(value)
            .map(drop)
            .map_err(|_| format!("'{}' is not a valid boolean value", shown(value))),
        "values" => {
            let allowed = limit.as_array().is_some_and(|v| v.contains(value));
            if allowed {
                Ok(())
            } else {
                Err(format!("'{}' is not in {}", shown(value), repr(limit)))
            }
        }
        "non_negative" => match crate::convert::int(value) {
            Ok(n) if n >= 0 => Ok(()),
            Ok(n) => Err(format!("'{n}' should be non-negative")),
            Err(_) => Err(format!("'{}' is not an integer", shown(value))),
        },
        "mac_address" => mac(value),
        "ip_address" | "ip_address_or_none" => ip_address(value).map(drop),
        "subnet" | "subnet_or_none" => subnet(value).map(drop),
        "ip_pools" => ip_pools(value),
        "fixed_ips" => fixed_ips(value),
        "nameservers" => nameservers(value),
        "hostroutes" => host_routes(value),
        "uuid_list" => uuid_list(value),
        "allowed_address_pairs" => address_pairs(value),
        "list_of_any_key_specs_or_none" => any_key_specs(value, limit),
        "dict" | "dict_or_none" | "dict_or_empty" | "dict_or_nodata" => dict(value, limit),
        "dns_host_name" | "fip_dns_host_name" => dns_name(value),
        "dns_domain_name" => dns_name(value),
        "availability_zone_hint_list" => string_list(value),
        "list_of_tags" => tags(value),
        "valid_target_project" => {
            string(value, &Value::from(255))?;
            if shown(value).is_empty() {
                Err("'target_tenant' must not be empty".into())
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

fn string(value: &Value, limit: &Value) -> Result<(), String> {
    let Some(text) = value.as_str() else {
        return Err(format!("'{}' is not a valid string", shown(value)));
    };
    match limit.as_u64() {
        Some(max) if text.chars().count() as u64 > max => {
            Err(format!("'{text}' exceeds maximum length of {max}"))
        }
        _ => Ok(()),
    }
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("'{}' is not a list", shown(value)))
}

fn string_list(value: &Value) -> Result<(), String> {
    for item in list(value)? {
        string(item, &Value::from(255))?;
    }
    Ok(())
}

fn tags(value: &Value) -> Result<(), String> {
    for item in list(value)? {
        string(item, &Value::from(255))?;
        if shown(item).is_empty() || shown(item).contains(',') {
            return Err(format!("'{}' is not a valid tag", shown(item)));
        }
    }
    Ok(())
}

fn mac(value: &Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let text = value.as_str().unwrap_or("");
    let parts: Vec<&str> = text.split(':').collect();
    let shaped = parts.len() == 6
        && parts
            .iter()
            .all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    if shaped && text != "00:00:00:00:00:00" {
        Ok(())
    } else {
        Err(format!("'{}' is not a valid MAC address", shown(value)))
    }
}

pub(crate) fn ip_address(value: &Value) -> Result<IpAddr, String> {
    let text = value.as_str().unwrap_or("");
    text.parse()
        .map_err(|_| format!("'{}' is not a valid IP address", shown(value)))
}

pub(crate) fn subnet(value: &Value) -> Result<IpNet, String> {
    let bad = || format!("'{}' is not a valid IP subnet", shown(value));
    let net: IpNet = value.as_str().unwrap_or("").parse().map_err(|_| bad())?;
    if net.addr() != net.network() {
        let right = net.trunc();
        return Err(format!(
            "'{}' isn't a recognized IP subnet cidr, '{right}' is recommended",
            shown(value)
        ));
    }
    Ok(net)
}

fn ip_pools(value: &Value) -> Result<(), String> {
    let bad = |v: &Value| format!("Invalid data format for IP pool: '{}'", shown(v));
    for pool in value.as_array().ok_or_else(|| bad(value))? {
        let map = pool.as_object().ok_or_else(|| bad(pool))?;
        if map.len() != 2 || !map.contains_key("start") || !map.contains_key("end") {
            return Err(bad(pool));
        }
        ip_address(&map["start"])?;
        ip_address(&map["end"])?;
    }
    Ok(())
}

fn fixed_ips(value: &Value) -> Result<(), String> {
    let bad = |v: &Value| format!("Invalid data format for fixed IP: '{}'", shown(v));
    let mut seen = Vec::new();
    for fixed in value.as_array().ok_or_else(|| bad(value))? {
        let map = fixed
            .as_object()
            .filter(|m| !m.is_empty())
            .ok_or_else(|| bad(fixed))?;
        for (key, v) in map {
            match key.as_str() {
                "ip_address" if !v.is_null() => {
                    let ip = ip_address(v)?;
                    if seen.contains(&ip) {
                        return Err(format!("Duplicate IP address '{ip}'"));
                    }
                    seen.push(ip);
                }
                "subnet_id" if !is_uuid(v) => {
                    return Err(format!("'{}' is not a valid UUID", shown(v)));
                }
                "ip_address" | "subnet_id" => {}
                _ => return Err(bad(fixed)),
            }
        }
    }
    Ok(())
}

fn nameservers(value: &Value) -> Result<(), String> {
    let bad = |v: &Value| format!("Invalid data format for nameserver: '{}'", shown(v));
    let mut seen = Vec::new();
    for server in value.as_array().ok_or_else(|| bad(value))? {
        let ip = ip_address(server).map_err(|_| {
            format!(
                "'{}' is not a valid nameserver. '{}' is not a valid IP address",
                shown(server),
                shown(server)
            )
        })?;
        if seen.contains(&ip) {
            return Err(format!("Duplicate nameserver '{ip}'"));
        }
        seen.push(ip);
    }
    Ok(())
}

fn host_routes(value: &Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let bad = |v: &Value| format!("Invalid data format for hostroute: '{}'", shown(v));
    let mut seen: Vec<(IpNet, IpAddr)> = Vec::new();
    for route in value.as_array().ok_or_else(|| bad(value))? {
        let map = route.as_object().ok_or_else(|| bad(route))?;
        if map.len() != 2 || !map.contains_key("destination") || !map.contains_key("nexthop") {
            return Err(bad(route));
        }
        let pair = (subnet(&map["destination"])?, ip_address(&map["nexthop"])?);
        if seen.contains(&pair) {
            return Err(format!("Duplicate hostroute '{}'", shown(route)));
        }
        seen.push(pair);
    }
    Ok(())
}

fn uuid_list(value: &Value) -> Result<(), String> {
    let items = list(value)?;
    for (i, item) in items.iter().enumerate() {
        if !is_uuid(item) {
            return Err(format!("'{}' is not a valid UUID", shown(item)));
        }
        if items[..i].contains(item) {
            return Err(format!("Duplicate items in the list: '{}'", repr(value)));
        }
    }
    Ok(())
}

fn address_pairs(value: &Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let mut seen: Vec<(Option<String>, String)> = Vec::new();
    for pair in list(value)? {
        let map = pair
            .as_object()
            .ok_or_else(|| format!("'{}' is not a dictionary", shown(pair)))?;
        let Some(address) = map.get("ip_address").filter(|v| !v.is_null()) else {
            return Err("AllowedAddressPair must contain ip_address".into());
        };
        if let Some(unknown) = map
            .keys()
            .find(|k| !matches!(k.as_str(), "ip_address" | "mac_address"))
        {
            return Err(format!("Unrecognized attribute(s) '{unknown}'"));
        }
        if let Some(m) = map.get("mac_address") {
            mac(m)?;
        }
        let text = shown(address);
        if text.contains('/') {
            text.parse::<IpNet>()
                .map_err(|_| format!("'{text}' is not a valid IP subnet"))?;
        } else {
            ip_address(address)?;
        }
        let key = (
            map.get("mac_address")
                .map(|m| crate::convert::mac(&shown(m))),
            text,
        );
        if seen.contains(&key) {
            return Err("Request contains duplicate address pair".into());
        }
        seen.push(key);
    }
    Ok(())
}

/// A dictionary against `{key: {type:…: limit, required: bool, default}}`.
fn dict(value: &Value, specs: &Value) -> Result<(), String> {
    let map = value
        .as_object()
        .ok_or_else(|| format!("'{}' is not a dictionary", shown(value)))?;
    let Some(specs) = specs.as_object() else {
        return Ok(());
    };
    if map.is_empty() {
        return Ok(());
    }
    against(map, specs)
}

fn against(map: &Map<String, Value>, specs: &Map<String, Value>) -> Result<(), String> {
    if let Some(unknown) = map.keys().find(|k| !specs.contains_key(*k)) {
        let allowed: Vec<String> = specs.keys().map(|k| format!("'{k}'")).collect();
        return Err(format!(
            "Validation of dictionary's keys failed. Expected keys: [{}] Provided keys: ['{unknown}']",
            allowed.join(", ")
        ));
    }
    for (key, spec) in specs {
        let Some(spec) = spec.as_object() else {
            continue;
        };
        let Some(value) = map.get(key) else {
            if spec.get("required") == Some(&Value::Bool(true)) {
                return Err(format!(
                    "Validation of dictionary's keys failed. Expected keys: {{'{key}'}} Provided keys: {:?}",
                    map.keys().collect::<Vec<_>>()
                ));
            }
            continue;
        };
        let value = match spec.get("convert_to").and_then(Value::as_str) {
            Some(name) => {
                crate::convert::apply(name, value.clone()).map_err(|e| e.message().to_string())?
            }
            None => value.clone(),
        };
        for (rule, limit) in spec.iter().filter(|(rule, _)| rule.starts_with("type:")) {
            check(rule, &value, limit)?;
        }
    }
    Ok(())
}

/// A list of dictionaries each of which fits one of several specifications.
fn any_key_specs(value: &Value, specs: &Value) -> Result<(), String> {
    let specs = specs.as_array().cloned().unwrap_or_default();
    for item in list(value)? {
        let map = item
            .as_object()
            .ok_or_else(|| format!("'{}' is not a dictionary", shown(item)))?;
        let mut last = Err(String::new());
        for spec in specs.iter().filter_map(Value::as_object) {
            last = against(map, spec);
            if last.is_ok() {
                break;
            }
        }
        last?;
    }
    Ok(())
}

fn dns_name(value: &Value) -> Result<(), String> {
    let text = value
        .as_str()
        .ok_or_else(|| format!("'{}' is not a valid string", shown(value)))?;
    if text.is_empty() {
        return Ok(());
    }
    let bad = |why: &str| Err(format!("'{text}' not a valid PQDN or FQDN. Reason: {why}"));
    let name = text.strip_suffix('.').unwrap_or(text);
    if text.len() > 255 {
        return bad("exceeds the 255 character FQDN limit");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return bad("Encountered an empty component");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return bad("Name must not start or end with a hyphen");
        }
        if label.len() > 63
            || !label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return bad(
                "Name must be 1-63 characters long, each of which can only be alphanumeric or a hyphen",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_are_upstreams() {
        let none = Value::Null;
        for (rule, value, limit, words) in [
            (
                "type:uuid",
                json!("x"),
                none.clone(),
                "'x' is not a valid UUID",
            ),
            (
                "type:name_string",
                json!("abc"),
                json!(2),
                "'abc' exceeds maximum length of 2",
            ),
            (
                "type:values",
                json!(5),
                json!([4, 6]),
                "'5' is not in [4, 6]",
            ),
            (
                "type:subnet_or_none",
                json!("10.0.0.1/24"),
                none.clone(),
                "'10.0.0.1/24' isn't a recognized IP subnet cidr, '10.0.0.0/24' is recommended",
            ),
            (
                "type:mac_address",
                json!("fa:16"),
                none.clone(),
                "'fa:16' is not a valid MAC address",
            ),
            (
                "type:uuid_list",
                json!("x"),
                none.clone(),
                "'x' is not a list",
            ),
        ] {
            assert_eq!(check(rule, &value, &limit).unwrap_err(), words);
        }
        assert!(check("type:subnet_or_none", &Value::Null, &none).is_ok());
        assert!(
            check(
                "type:fixed_ips",
                &json!([{"subnet_id": base::id::new_id()}]),
                &none
            )
            .is_ok()
        );
        assert!(
            check(
                "type:fixed_ips",
                &json!([{"ip_address": "10.0.0.1"}, {"ip_address": "10.0.0.1"}]),
                &none
            )
            .is_err()
        );
    }
}
