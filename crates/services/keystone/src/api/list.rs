//! Lists: upstream's filters (`name=`, `name__contains=`, …), `limit` and `marker`, and the links around a page.

use base::{Dir, Error, Page, Paging, Result};
use oslo_db::{
    Cond, MARKER_NOT_FOUND, all, contains, eq, eq_ci, everything, is_null, like, like_ci, prefix,
};
use oslo_http::{Query, Reply, Req, is_true, page_link};
use serde_json::{Map, Value, json};

/// How a filter reads its column.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// Text, with comparators.
    Text(&'static str),
    /// A flag.
    Flag(&'static str),
}

/// An attribute and its column.
pub(crate) type Filter = (&'static str, By);

/// The condition that a query's filters make; parameters that are no filter are ignored, as upstream does.
pub(crate) fn filters(query: &Query, allowed: &[Filter]) -> Cond {
    let mut conditions = vec![everything()];
    for (name, value) in &query.0 {
        let (attribute, comparator) = name.split_once("__").unwrap_or((name.as_str(), ""));
        let Some((_, by)) = allowed.iter().find(|(a, _)| *a == attribute) else {
            continue;
        };
        match by {
            // `?enabled` alone means true, and so does every word but those for false.
            By::Flag(column) => conditions.push(eq(*column, flag(value))),
            By::Text(column) => conditions.extend(text(column, comparator, value)),
        }
    }
    all(conditions)
}

/// Upstream: anything but the words for false is true, no value included.
pub(crate) fn flag(value: &str) -> bool {
    is_true(value)
        || !matches!(
            value.to_ascii_lowercase().as_str(),
            "0" | "f" | "false" | "off" | "n" | "no"
        )
}

fn text(column: &'static str, comparator: &str, value: &str) -> Option<Cond> {
    Some(match comparator {
        "" if value == "null" || value == "None" => {
            oslo_db::any([is_null(column), eq(column, value)])
        }
        "" => eq(column, value),
        "contains" => contains(column, value),
        "startswith" => prefix(column, value),
        "endswith" => like(column, &format!("%{}", escaped(value))),
        "iexact" => eq_ci(column, value),
        "icontains" => like_ci(column, &format!("%{}%", escaped(value))),
        "istartswith" => like_ci(column, &format!("{}%", escaped(value))),
        "iendswith" => like_ci(column, &format!("%{}", escaped(value))),
        _ => return None,
    })
}

fn escaped(text: &str) -> String {
    text.replace('!', "!!")
        .replace('%', "!%")
        .replace('_', "!_")
}

/// `limit`, `marker` and, where `sorts` offers keys, `sort_key` and `sort_dir`. Without a limit all rows come.
pub(crate) fn paging(query: &Query, max: u64, sorts: &[&'static str]) -> Result<Paging> {
    let limit = match query.get("limit").filter(|l| !l.is_empty()) {
        None => None,
        Some(text) => match text.parse::<u64>() {
            Ok(0) => None,
            Ok(n) => Some(Ord::min(n, Ord::max(max, 1))),
            Err(_) => {
                return Err(Error::bad_request(format!(
                    "Invalid input for field 'limit': '{text}' is not a valid limit"
                )));
            }
        },
    };
    let dir = if query.get("sort_dir") == Some("desc") {
        Dir::Desc
    } else {
        Dir::Asc
    };
    let sort = match query.get("sort_key") {
        Some(key) if !sorts.is_empty() => match sorts.iter().find(|s| **s == key) {
            Some(column) => vec![(*column, dir), ("id", dir)],
            None => {
                return Err(Error::bad_request(format!(
                    "Sort key supplied is invalid: {key}"
                )));
            }
        },
        _ => vec![("id", dir)],
    };
    let marker = query
        .get("marker")
        .filter(|m| !m.is_empty())
        .map(str::to_string);
    Ok(Paging {
        sort,
        marker,
        limit,
        ..Paging::default()
    })
}

/// Upstream's word for a marker that names nothing.
pub(crate) fn marker_error(query: &Query, error: Error) -> Error {
    if error.error_class() == Some(MARKER_NOT_FOUND) {
        let marker = query.get("marker").unwrap_or_default();
        return Error::not_found(format!("Marker {marker} could not be found."));
    }
    error
}

/// `{"links": …, key: […]}`.
pub(crate) fn collection(
    base: &str,
    req: &Req,
    key: &str,
    views: Vec<Value>,
    next: Option<String>,
) -> Result<Reply> {
    let path = req.path.strip_prefix("/v3").unwrap_or(&req.path);
    let query = req.query.with(&[], &[]);
    let question = if query.is_empty() { "" } else { "?" };
    let mut body = Map::new();
    body.insert(key.to_string(), Value::Array(views));
    body.insert(
        "links".into(),
        json!({"next": next, "self": format!("{base}{path}{question}{query}"), "previous": null}),
    );
    Reply::ok(&body)
}

/// The link to the page after this one, if a limit was asked for and more follows.
pub(crate) fn next<T>(req: &Req, page: &Page<T>, id: impl Fn(&T) -> &str) -> Option<String> {
    let last = page.items.last().filter(|_| page.more)?;
    Some(page_link(req, &[("marker", id(last))], &[]))
}
