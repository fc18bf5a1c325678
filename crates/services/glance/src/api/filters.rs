//! What a listing may ask for: `name=in:a,b`, `size_min`, `created_at=gt:…`, `tag`, any custom property.

use crate::db::visible::{listed, tagged, with_property};
use base::{Error, Result, Timestamp};
use glance_types::{ImageStatus, MemberStatus, Visibility};
use oslo_context::RequestContext;
use oslo_db::{Cond, all, eq, ge, gt, is_in, is_null, le, lt, ne};
use oslo_http::{PagingRules, Query, is_true};

/// Names outside and columns.
pub const SORT_KEYS: &[(&str, &str)] = &[
    ("name", "name"),
    ("status", "status"),
    ("container_format", "container_format"),
    ("disk_format", "disk_format"),
    ("size", "size"),
    ("id", "id"),
    ("created_at", "created_at"),
    ("updated_at", "updated_at"),
];

pub fn paging_rules(default_limit: u64, max_limit: u64) -> PagingRules {
    PagingRules {
        default_limit: Some(default_limit),
        max_limit,
        ..PagingRules::new(SORT_KEYS)
    }
}

const PAGING: [&str; 5] = ["limit", "marker", "sort", "sort_key", "sort_dir"];

pub fn condition(ctx: &RequestContext, query: &Query) -> Result<Cond> {
    let mut conds = vec![is_null("deleted_at")];
    let visibility = match query.get("visibility") {
        None | Some("all") => None,
        Some(word) => Some(
            Visibility::parse(word)
                .map_err(|_| Error::bad_request(format!("Invalid visibility value: {word}")))?,
        ),
    };
    let member_status = match query.get("member_status") {
        None => Some(MemberStatus::Accepted),
        Some("all") => None,
        Some(word) => Some(
            MemberStatus::parse(word)
                .map_err(|_| Error::bad_request(format!("Invalid status: {word}")))?,
        ),
    };
    let everything = query.get("visibility") == Some("all");
    conds.push(listed(ctx, visibility, everything, member_status));
    conds.push(eq("os_hidden", query.flag("os_hidden").unwrap_or(false)));
    for (name, value) in &query.0 {
        let special = ["visibility", "member_status", "os_hidden"];
        if !PAGING.contains(&name.as_str()) && !special.contains(&name.as_str()) {
            conds.push(filter(name, value)?);
        }
    }
    Ok(all(conds))
}

fn filter(name: &str, value: &str) -> Result<Cond> {
    Ok(match name {
        "name" | "id" | "container_format" | "disk_format" => words(column(name), value)?,
        "status" => {
            let list = in_list(value)?.unwrap_or_else(|| vec![value.to_string()]);
            for word in &list {
                ImageStatus::parse(word)
                    .map_err(|_| Error::bad_request(format!("Invalid status value: {word}")))?;
            }
            is_in("status", list)
        }
        "owner" | "checksum" | "os_hash_algo" | "os_hash_value" => eq(column(name), value),
        "protected" => match value.to_ascii_lowercase().as_str() {
            "true" | "false" => eq("protected", is_true(value)),
            _ => {
                return Err(Error::bad_request(format!(
                    "Invalid value '{value}' for 'protected' filter."
                )));
            }
        },
        "tag" => tagged(value),
        "size_min" => ge("size", number(name, value)?),
        "size_max" => le("size", number(name, value)?),
        "size" | "min_ram" | "min_disk" | "virtual_size" => eq(column(name), number(name, value)?),
        "created_at" | "updated_at" => moment(column(name), value)?,
        "changes-since" => ge("updated_at", Timestamp::parse(value)?),
        other => with_property(other, value),
    })
}

/// Column names live as long as the program; filters name the same attributes.
fn column(name: &str) -> &'static str {
    const ALL: [&str; 14] = [
        "name",
        "id",
        "container_format",
        "disk_format",
        "owner",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "size",
        "min_ram",
        "min_disk",
        "virtual_size",
        "created_at",
        "updated_at",
    ];
    ALL.into_iter().find(|c| *c == name).unwrap_or("id")
}

fn words(column: &'static str, value: &str) -> Result<Cond> {
    Ok(match in_list(value)? {
        Some(list) => is_in(column, list),
        None => eq(column, value),
    })
}

/// `in:a,"b,c"`; quotes guard commas.
fn in_list(value: &str) -> Result<Option<Vec<String>>> {
    let Some(rest) = value.strip_prefix("in:") else {
        return Ok(None);
    };
    let bad = || {
        Error::bad_request(format!(
            "Invalid filter value {value}. The quote is not closed."
        ))
    };
    let (mut list, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in rest.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => list.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    if quoted {
        return Err(bad());
    }
    list.push(word);
    Ok(Some(list))
}

fn number(name: &str, value: &str) -> Result<i64> {
    match value.parse::<i64>() {
        Ok(n) if n >= 0 => Ok(n),
        Ok(_) => Err(Error::bad_request(format!(
            "'{name}' value out of range: {value}"
        ))),
        Err(_) => Err(Error::bad_request(format!(
            "Cannot convert '{value}' of '{name}' to an integer."
        ))),
    }
}

/// `gt:2026-01-01T00:00:00Z`; a bare time means equal.
fn moment(column: &'static str, value: &str) -> Result<Cond> {
    let (op, text) = match value.split_once(':') {
        Some((op @ ("gt" | "gte" | "lt" | "lte" | "eq" | "neq"), text)) => (op, text),
        Some((op, _)) if op.chars().all(|c| c.is_ascii_alphabetic()) => {
            return Err(Error::bad_request(format!(
                "Unable to filter using the specified operator: {op}"
            )));
        }
        _ => ("eq", value),
    };
    let at = Timestamp::parse(text)?;
    Ok(match op {
        "gt" => gt(column, at),
        "gte" => ge(column, at),
        "lt" => lt(column, at),
        "lte" => le(column, at),
        "neq" => ne(column, at),
        // Views show whole seconds, so that is what "equal" can mean.
        _ => all([
            ge(column, at),
            lt(column, at.plus(std::time::Duration::from_secs(1))),
        ]),
    })
}
