//! Lists: filters, sort keys, pages and their links (upstream: neutron.api.api_common).

use crate::convert::boolean;
use crate::crud::column_of;
use crate::noun::{Call, Noun};
use base::{CellValue, Dir, Error, Paging, Result, Timestamp};
use oslo_db::{Cond, all, any, eq, is_in, is_null, nothing};
use oslo_http::Req;
use serde_json::{Value, json};

/// What a list request asks for.
#[derive(Clone)]
pub(crate) struct Listing {
    pub paging: Paging,
    filters: Vec<(String, Vec<String>)>,
    limit: u64,
}

const NO_FILTER: &[&str] = &[
    "fields",
    "sort_key",
    "sort_dir",
    "limit",
    "marker",
    "page_reverse",
];

impl Listing {
    pub(crate) fn parse<N: Noun>(req: &Req) -> Result<Listing> {
        let attributes = N::attributes()?;
        let mut filters: Vec<(String, Vec<String>)> = Vec::new();
        let mut invalid = Vec::new();
        for (name, value) in &req.query.0 {
            if NO_FILTER.contains(&name.as_str()) {
                continue;
            }
            let name = match name.as_str() {
                "project_id" => "tenant_id",
                "target_project" => "target_tenant",
                other => other,
            };
            let tag_filter =
                N::TAGS && matches!(name, "tags" | "tags-any" | "not-tags" | "not-tags-any");
            if !tag_filter && !attributes.get(name).is_some_and(|a| a.filter) {
                invalid.push(format!("'{name}'"));
                continue;
            }
            match filters.iter_mut().find(|(n, _)| n == name) {
                Some((_, values)) => values.push(value.clone()),
                None => filters.push((name.to_string(), vec![value.clone()])),
            }
        }
        if !invalid.is_empty() {
            return Err(Error::bad_request(format!(
                "[{}] is invalid attribute for filtering",
                invalid.join(", ")
            )));
        }
        let limit = match req.query.get("limit").filter(|l| !l.is_empty()) {
            None => 0,
            Some(text) => text.parse::<u64>().map_err(|_| {
                Error::bad_request(format!(
                    "The limit must be an integer 0 or greater and not '{text}'"
                ))
            })?,
        };
        let mut sort: Vec<(&'static str, Dir)> = Vec::new();
        let keys: Vec<&str> = req.query.all("sort_key").collect();
        let dirs: Vec<&str> = req.query.all("sort_dir").collect();
        if !dirs.is_empty() && dirs.len() != keys.len() {
            return Err(Error::bad_request(
                "The number of sort_keys and sort_dirs must be same",
            ));
        }
        for (i, key) in keys.iter().enumerate() {
            let key = if *key == "project_id" {
                "tenant_id"
            } else {
                key
            };
            let sortable = attributes.get(key).is_some_and(|a| a.sort);
            let column = column_of::<N>(key).filter(|_| sortable);
            let column = column.ok_or_else(|| {
                Error::bad_request(format!("['{key}'] is invalid attribute for sort_keys"))
            })?;
            let dir = match dirs.get(i).copied().unwrap_or("asc") {
                "asc" => Dir::Asc,
                "desc" => Dir::Desc,
                other => {
                    let words = format!(
                        "['{other}'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'"
                    );
                    return Err(Error::bad_request(words));
                }
            };
            if !sort.iter().any(|(c, _)| *c == column) {
                sort.push((column, dir));
            }
        }
        if !sort.iter().any(|(c, _)| *c == "id") {
            sort.push(("id", Dir::Asc));
        }
        let paging = Paging {
            sort,
            marker: req
                .query
                .get("marker")
                .filter(|m| !m.is_empty())
                .map(str::to_string),
            limit: Some(limit).filter(|l| *l > 0),
            offset: None,
            reverse: req.query.flag("page_reverse").unwrap_or(false) && limit > 0,
        };
        Ok(Listing {
            paging,
            filters,
            limit,
        })
    }

    pub(crate) fn cond<N: Noun>(&self, call: &Call) -> Result<Cond> {
        let mut conds = Vec::new();
        for (name, values) in &self.filters {
            conds.push(self.filter::<N>(call, name, values)?);
        }
        Ok(all(conds))
    }

    fn filter<N: Noun>(&self, call: &Call, name: &str, values: &[String]) -> Result<Cond> {
        if N::TAGS && name.contains("tags") {
            return Ok(crate::tags::filter(name, values));
        }
        if let Some(cond) = N::filter(call, name, values)? {
            return Ok(cond);
        }
        let Some(column) = column_of::<N>(name) else {
            return Ok(nothing());
        };
        let rules = N::attributes()?.get(name);
        let converter = rules.and_then(|r| r.convert_to.as_deref()).unwrap_or("");
        let mut cells: Vec<CellValue> = Vec::new();
        let mut empty = false;
        for value in values {
            empty |= value.is_empty();
            cells.push(match converter {
                "convert_to_boolean" => CellValue::Int(i64::from(boolean(&json!(value))?)),
                "convert_to_int" | "convert_validate_port_value" => match value.parse::<i64>() {
                    Ok(n) => CellValue::Int(n),
                    Err(_) => continue,
                },
                _ if name.starts_with("port_range_") || name == "revision_number" => {
                    match value.parse::<i64>() {
                        Ok(n) => CellValue::Int(n),
                        Err(_) => continue,
                    }
                }
                _ if name.ends_with("ed_at") => CellValue::Int(Timestamp::parse(value)?.0),
                "convert_to_mac_if_none" => CellValue::Text(crate::convert::mac(value)),
                "convert_cidr_to_canonical_format"
                | "convert_ip_to_canonical_format"
                | "convert_ip_prefix_to_cidr" => {
                    let converted =
                        crate::convert::apply(converter, json!(value)).unwrap_or(json!(value));
                    CellValue::Text(crate::convert::shown(&converted))
                }
                _ => CellValue::Text(value.clone()),
            });
        }
        let mut ways = vec![match cells.as_slice() {
            [one] => eq(column, one.clone()),
            many => is_in(column, many.iter().cloned()),
        }];
        if empty {
            ways.push(is_null(column));
        }
        Ok(any(ways))
    }

    /// `next` and `previous`, as upstream: a full page always has a next one, which may turn out empty.
    /// `ends` are the ids of the first and the last of the `count` resources on the page.
    pub(crate) fn links(&self, req: &Req, count: usize, ends: &[Option<String>; 2]) -> Vec<Value> {
        let mut links = Vec::new();
        if self.limit == 0 {
            return links;
        }
        let short = (count as u64) < self.limit;
        let href = |marker: Option<&String>, reverse: bool| {
            let mut set: Vec<(&str, &str)> = Vec::new();
            if let Some(marker) = marker {
                set.push(("marker", marker));
            }
            if reverse {
                set.push(("page_reverse", "True"));
            }
            oslo_http::page_link(req, &set, &["marker", "page_reverse"])
        };
        if !short || self.paging.reverse {
            links.push(json!({"rel": "next", "href": href(ends[1].as_ref(), false)}));
        }
        if !short || !self.paging.reverse {
            links.push(json!({"rel": "previous", "href": href(ends[0].as_ref(), true)}));
        }
        links
    }
}
