//! Upstream's converters by name: a value as sent becomes a value as kept.

use crate::fault;
use base::{Result, id};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Applies the converter `name`.
pub(crate) fn apply(name: &str, value: Value) -> Result<Value> {
    match name {
        "convert_to_boolean" => boolean(&value).map(Value::Bool),
        "convert_to_boolean_if_not_none" if value.is_null() => Ok(value),
        "convert_to_boolean_if_not_none" => boolean(&value).map(Value::Bool),
        "convert_to_int" => int(&value).map(Value::from),
        "convert_to_int_if_not_none" if value.is_null() => Ok(value),
        "convert_to_int_if_not_none" => int(&value).map(Value::from),
        "convert_none_to_empty_list" if value.is_null() => Ok(json!([])),
        "convert_none_to_empty_dict" if value.is_null() => Ok(json!({})),
        "convert_none_to_empty_string" if value.is_null() => Ok(json!("")),
        "convert_to_list" => Ok(match value {
            Value::Null => json!([]),
            Value::Array(_) => value,
            other => json!([other]),
        }),
        "convert_string_to_case_insensitive" => match &value {
            Value::String(text) => Ok(Value::String(text.to_ascii_lowercase())),
            Value::Null => Ok(json!("")),
            other => Err(fault::invalid_input(format!(
                "Input value {} must be string type",
                shown(other)
            ))),
        },
        "convert_to_mac_if_none" => Ok(match &value {
            Value::Null => Value::Null,
            Value::String(text) => Value::String(mac(text)),
            _ => value,
        }),
        "convert_to_sanitized_mac_address" => Ok(match &value {
            Value::String(text) => Value::String(mac(text)),
            _ => value,
        }),
        "convert_ip_to_canonical_format" => Ok(
            match value.as_str().and_then(|t| t.parse::<IpAddr>().ok()) {
                Some(ip) => Value::String(ip.to_string()),
                None => value,
            },
        ),
        "convert_cidr_to_canonical_format" => {
            Ok(match value.as_str().and_then(|t| t.parse::<IpNet>().ok()) {
                Some(net) => Value::String(net.to_string()),
                None => value,
            })
        }
        "convert_ip_prefix_to_cidr" => ip_prefix(value),
        "convert_protocol" => protocol(value),
        "convert_validate_port_value" => port_value(value),
        "convert_ethertype_to_case_insensitive" => Ok(match value.as_str() {
            Some(text) if text.eq_ignore_ascii_case("ipv4") => json!("IPv4"),
            Some(text) if text.eq_ignore_ascii_case("ipv6") => json!("IPv6"),
            _ => value,
        }),
        "convert_kvp_list_to_dict" => Ok(value),
        "convert_valid_object_type" => match value.as_str() {
            Some("network") => Ok(value),
            _ => Err(fault::invalid_input(format!(
                "'{}' is not a valid RBAC object type",
                shown(&value)
            ))),
        },
        _ => Ok(value),
    }
}

/// A value as Python's `%s` would print it; upstream's messages quote values so.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// A value as Python's `repr` would print it.
pub(crate) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(repr).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("'{k}': {}", repr(v)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

pub(crate) fn boolean(value: &Value) -> Result<bool> {
    let found = match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => match n.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| {
        fault::invalid_input(format!("'{}' cannot be converted to boolean", shown(value)))
    })
}

pub(crate) fn int(value: &Value) -> Result<i64> {
    let found = match value {
        Value::Number(n) => n.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(b) => Some(i64::from(*b)),
        _ => None,
    };
    found.ok_or_else(|| fault::invalid_input(format!("'{}' is not an integer", shown(value))))
}

/// A hardware address in its usual spelling, whatever separators were sent.
pub(crate) fn mac(text: &str) -> String {
    let digits: String = text
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect::<String>()
        .to_ascii_lowercase();
    if digits.len() != 12 {
        return text.to_ascii_lowercase();
    }
    let pairs: Vec<&str> = (0..6).map(|i| &digits[2 * i..2 * i + 2]).collect();
    pairs.join(":")
}

fn ip_prefix(value: Value) -> Result<Value> {
    let Some(text) = value.as_str() else {
        return if value.is_null() {
            Ok(value)
        } else {
            Err(invalid_cidr(&shown(&value)))
        };
    };
    if let Ok(net) = text.parse::<IpNet>() {
        // The words as sent are kept where they are a network already; host bits are kept too, as upstream does.
        return Ok(Value::String(net.to_string()));
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(Value::String(IpNet::from(ip).to_string())),
        Err(_) => Err(invalid_cidr(text)),
    }
}

fn invalid_cidr(text: &str) -> base::Error {
    fault::refused(
        "InvalidCIDR",
        format!("Invalid CIDR {text} given as IP prefix."),
    )
}

/// Protocols that a security group rule may name.
pub(crate) const PROTOCOLS: &[(&str, i64)] = &[
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ip", 0),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];

fn protocol(value: Value) -> Result<Value> {
    let text = match &value {
        Value::Null => return Ok(value),
        Value::Number(n) => n.to_string(),
        Value::String(text) => text.clone(),
        other => shown(other),
    };
    if let Ok(number) = text.parse::<i64>() {
        if (0..=255).contains(&number) {
            return Ok(Value::String(number.to_string()));
        }
    } else if text.is_empty() || text.eq_ignore_ascii_case("any") {
        return Ok(Value::Null);
    } else if PROTOCOLS
        .iter()
        .any(|(name, _)| text.eq_ignore_ascii_case(name))
    {
        return Ok(Value::String(text.to_ascii_lowercase()));
    }
    let names: Vec<String> = PROTOCOLS
        .iter()
        .map(|(name, _)| format!("'{name}'"))
        .collect();
    let message = format!(
        "Security group rule protocol {text} not supported. Only protocol values [None, {}] and integer representations [0 to 255] are supported.",
        names.join(", ")
    );
    Err(fault::refused("SecurityGroupRuleInvalidProtocol", message))
}

fn port_value(value: Value) -> Result<Value> {
    if value.is_null() || value.as_str() == Some("") {
        return Ok(Value::Null);
    }
    let bad = || {
        fault::refused(
            "SecurityGroupInvalidPortValue",
            format!("Invalid value for port {}", shown(&value)),
        )
    };
    let number = int(&value).map_err(|_| bad())?;
    if (0..=65535).contains(&number) {
        Ok(Value::from(number))
    } else {
        Err(bad())
    }
}

/// `key=value` texts of list filters and command lines: `{"ip_address": ["10.0.0.1"]}`.
pub(crate) fn pairs(values: &[String]) -> Map<String, Value> {
    let mut map = Map::new();
    for value in values {
        if let Some((name, value)) = value.split_once('=')
            && let Some(list) = map
                .entry(name.to_string())
                .or_insert_with(|| json!([]))
                .as_array_mut()
        {
            list.push(Value::String(value.to_string()));
        }
    }
    map
}

/// A random hardware address under upstream's base.
pub(crate) fn new_mac() -> String {
    let random: [u8; 3] = rand::random();
    format!(
        "fa:16:3e:{:02x}:{:02x}:{:02x}",
        random[0], random[1], random[2]
    )
}

/// Whether `text` is a uuid; other texts never name a row.
pub(crate) fn is_uuid(value: &Value) -> bool {
    value.as_str().is_some_and(id::is_uuid_like)
}
