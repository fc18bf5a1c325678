//! Lists as callers ask for them: `limit`, `marker`, `sort_key`/`sort_dir`, cinder's `sort`, neutron's `page_reverse`;
//! and the links to the next page.

use crate::{Query, Req};
use base::{Dir, Error, Page, Paging, Result};

/// What a collection allows.
#[derive(Clone, Copy, Debug)]
pub struct PagingRules {
    /// Names outside and the column behind each; other sort keys are a 400.
    pub sort_keys: &'static [(&'static str, &'static str)],
    /// The order when none is asked for.
    pub default_sort: &'static [(&'static str, Dir)],
    /// The column that makes every order total.
    pub tie: &'static str,
    /// Larger limits are cut to this (`osapi_max_limit`); 0 means no maximum.
    pub max_limit: u64,
    /// The limit when none is asked for.
    pub default_limit: Option<u64>,
    /// Whether `limit=0` means "no limit" (neutron) rather than "no rows".
    pub zero_is_all: bool,
}

impl PagingRules {
    /// The usual rules: newest first with `id` as tie, at most 1000 rows.
    pub const fn new(sort_keys: &'static [(&'static str, &'static str)]) -> PagingRules {
        PagingRules {
            sort_keys,
            default_sort: &[("created_at", Dir::Desc), ("id", Dir::Desc)],
            tie: "id",
            max_limit: 1000,
            default_limit: Some(1000),
            zero_is_all: false,
        }
    }
}

fn number(query: &Query, name: &str) -> Result<Option<u64>> {
    let Some(text) = query.get(name).filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    match text.parse::<i64>() {
        Ok(n) if n >= 0 => Ok(Some(n as u64)),
        Ok(_) => Err(Error::bad_request(format!("{name} param must be positive"))),
        Err(_) => Err(Error::bad_request(format!(
            "{name} param must be an integer"
        ))),
    }
}

fn direction(text: &str) -> Result<Dir> {
    match text.to_ascii_lowercase().as_str() {
        "asc" => Ok(Dir::Asc),
        "desc" => Ok(Dir::Desc),
        other => Err(Error::bad_request(format!(
            "Invalid sort direction: {other}"
        ))),
    }
}

/// Reads the paging parameters of a query by the collection's rules.
pub fn parse_paging(query: &Query, rules: &PagingRules) -> Result<Paging> {
    let mut wanted: Vec<(String, Option<Dir>)> = Vec::new();
    if let Some(sort) = query.get("sort") {
        for part in sort.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, dir) = part
                .split_once(':')
                .map_or((part, None), |(k, d)| (k, Some(d)));
            wanted.push((key.to_string(), dir.map(direction).transpose()?));
        }
    } else {
        let split = |name| {
            query
                .all(name)
                .flat_map(|v| v.split(','))
                .map(str::trim)
                .filter(|v| !v.is_empty())
                .collect::<Vec<_>>()
        };
        let (keys, dirs) = (split("sort_key"), split("sort_dir"));
        if dirs.len() > keys.len().max(1) {
            return Err(Error::bad_request(
                "Sort direction size exceeds sort key size",
            ));
        }
        let first = dirs.first().map(|d| direction(d)).transpose()?;
        for (i, key) in keys.iter().enumerate() {
            let dir = dirs.get(i).map(|d| direction(d)).transpose()?.or(first);
            wanted.push((key.to_string(), dir));
        }
    }
    let mut sort: Vec<(&'static str, Dir)> = Vec::new();
    for (key, dir) in &wanted {
        let Some((_, column)) = rules.sort_keys.iter().find(|(name, _)| name == key) else {
            return Err(Error::bad_request(format!("Invalid sort key: {key}")));
        };
        if !sort.iter().any(|(c, _)| c == column) {
            sort.push((
                column,
                dir.unwrap_or(rules.default_sort.first().map_or(Dir::Asc, |d| d.1)),
            ));
        }
    }
    if sort.is_empty() {
        sort.extend_from_slice(rules.default_sort);
    }
    if !sort.iter().any(|(c, _)| *c == rules.tie) {
        let dir = sort.last().map_or(Dir::Asc, |s| s.1);
        sort.push((rules.tie, dir));
    }
    let asked = number(query, "limit")?;
    let limit = match asked {
        Some(0) if rules.zero_is_all => rules.default_limit,
        Some(n) if rules.max_limit > 0 => Some(n.min(rules.max_limit)),
        Some(n) => Some(n),
        None => rules.default_limit,
    };
    Ok(Paging {
        sort,
        marker: query
            .get("marker")
            .filter(|m| !m.is_empty())
            .map(str::to_string),
        limit,
        offset: number(query, "offset")?.filter(|n| *n > 0),
        reverse: query.flag("page_reverse").unwrap_or(false),
    })
}

/// The absolute link to the page after `page`, if there is one; `id` names the last row.
pub fn next_link<T>(req: &Req, page: &Page<T>, id: impl Fn(&T) -> String) -> Option<String> {
    let last = page.items.last().filter(|_| page.more)?;
    Some(page_link(
        req,
        &[("marker", &id(last))],
        &["marker", "offset"],
    ))
}

/// The request's own absolute link with query pairs replaced.
pub fn page_link(req: &Req, set: &[(&str, &str)], drop: &[&str]) -> String {
    format!("{}{}?{}", req.base_url, req.path, req.query.with(set, drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: PagingRules = PagingRules::new(&[("name", "display_name"), ("id", "id")]);

    fn parse(q: &str) -> Result<Paging> {
        parse_paging(&Query::decode(q).unwrap(), &RULES)
    }

    #[test]
    fn sorts_in_every_spelling() {
        let expect = vec![("display_name", Dir::Asc), ("id", Dir::Desc)];
        assert_eq!(parse("sort=name:asc,id:desc").unwrap().sort, expect);
        assert_eq!(
            parse("sort_key=name&sort_key=id&sort_dir=asc&sort_dir=desc")
                .unwrap()
                .sort,
            expect
        );
        assert_eq!(
            parse("sort_key=name&sort_dir=asc").unwrap().sort,
            vec![("display_name", Dir::Asc), ("id", Dir::Asc)]
        );
        assert_eq!(parse("").unwrap().sort, RULES.default_sort.to_vec());
        assert!(parse("sort_key=password").is_err());
        assert!(parse("sort_dir=up&sort_key=name").is_err());
    }

    #[test]
    fn limits() {
        assert_eq!(parse("limit=5000").unwrap().limit, Some(1000));
        assert_eq!(parse("limit=0").unwrap().limit, Some(0));
        assert!(parse("limit=-1").is_err());
        assert!(parse("limit=x").is_err());
    }
}
