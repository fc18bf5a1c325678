//! What upstream has, from its own route tables (`operations/*.tsv`, written by `script/update-schemas`), beside what is here.

use oslo_http::{Endpoint, RouteInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Upstream's operations by service type: tier, method, path and, where the body picks the operation, action.
const UPSTREAM: &[(&str, &str)] = &[
    ("identity", include_str!("../../operations/keystone.tsv")),
    ("image", include_str!("../../operations/glance.tsv")),
    ("placement", include_str!("../../operations/placement.tsv")),
    ("network", include_str!("../../operations/neutron.tsv")),
    ("compute", include_str!("../../operations/nova.tsv")),
    ("volumev3", include_str!("../../operations/cinder.tsv")),
];

/// Rows that upstream lacks, with the reason for each.
const OURS: &str = include_str!("../../operations/ours.tsv");

/// Rows of ours with a parameter where upstream names each value.
const COVERS: &[(&str, &str)] = &[
    ("/v2/schemas/{}", "/v2/schemas/"),
    ("/v2/schemas/metadefs/{}", "/v2/schemas/metadefs/"),
];

/// An operation, without the names of its parameters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Operation {
    path: String,
    method: String,
    action: String,
}

impl Operation {
    fn new(service: &str, method: &str, path: &str, action: &str) -> Operation {
        let segments = path.split('/').map(|segment| match segment {
            s if s.starts_with('{') => "{}",
            s => s,
        });
        let mut path = segments.collect::<Vec<_>>().join("/");
        // The project in cinder's paths may be left out.
        if let Some(rest) = path
            .strip_prefix("/v3/{}")
            .filter(|_| service == "volumev3")
        {
            path = format!("/v3{rest}");
        }
        Operation {
            path,
            method: method.to_string(),
            action: action.to_string(),
        }
    }

    /// Whether a row of ours serves it.
    fn served_by(&self, ours: &BTreeSet<Operation>) -> bool {
        let with = |method: &str, path: &str| {
            ours.contains(&Operation {
                path: path.to_string(),
                method: method.to_string(),
                action: self.action.clone(),
            })
        };
        let covered = |(row, prefix): &(&str, &str)| {
            let rest = self.path.strip_prefix(prefix);
            rest.is_some_and(|rest| !rest.contains('/')) && with(&self.method, row)
        };
        // Every GET answers HEAD.
        with(&self.method, &self.path)
            || (self.method == "HEAD" && with("GET", &self.path))
            || COVERS.iter().any(covered)
    }
}

/// One service beside upstream's.
pub(super) struct Comparison {
    /// How many operations upstream has that count.
    pub(super) upstream: usize,
    /// Those that are missing here, as upstream writes them.
    pub(super) missing: Vec<String>,
    /// Rows of ours that neither upstream nor the list of reasons has.
    pub(super) unexplained: Vec<String>,
    /// Entries of the list of reasons without a row, or with one that upstream has.
    pub(super) stale: Vec<String>,
}

fn words(method: &str, path: &str, action: &str) -> String {
    format!("{method} {path} {action}").trim_end().to_string()
}

fn fields(text: &'static str) -> impl Iterator<Item = [&'static str; 4]> {
    text.lines().filter(|l| !l.starts_with('#')).map(|line| {
        let mut columns = line.split('\t');
        std::array::from_fn(|_| columns.next().unwrap_or(""))
    })
}

/// The rows of a service beside upstream's, if its list is here.
pub(super) fn compare(service: &str, rows: &[RouteInfo]) -> Option<Comparison> {
    let (_, text) = UPSTREAM.iter().find(|(name, _)| *name == service)?;
    let of =
        |r: &RouteInfo| Operation::new(service, r.method.as_str(), r.path, r.action.unwrap_or(""));
    let ours: BTreeSet<Operation> = rows.iter().map(of).collect();
    let mut known: BTreeSet<Operation> = BTreeSet::new();
    let mut counted: BTreeMap<Operation, String> = BTreeMap::new();
    for [tier, method, path, action] in fields(text) {
        let operation = Operation::new(service, method, path, action);
        known.insert(operation.clone());
        if matches!(tier, "core" | "undocumented") {
            counted
                .entry(operation)
                .or_insert_with(|| words(method, path, action));
        }
    }
    let explained: BTreeMap<Operation, String> = fields(OURS)
        .filter(|[name, ..]| *name == service)
        .map(|[_, method, path, _]| {
            (
                Operation::new(service, method, path, ""),
                words(method, path, ""),
            )
        })
        .collect();
    let (mut unexplained, mut used) = (Vec::new(), BTreeSet::new());
    for row in rows {
        let operation = of(row);
        let covers = COVERS.iter().any(|(path, _)| *path == operation.path);
        if known.contains(&operation) || covers {
            continue;
        }
        // With the project in the path and without it is one operation.
        match explained.contains_key(&operation) {
            true => drop(used.insert(operation)),
            false => unexplained.push(words(&operation.method, row.path, &operation.action)),
        }
    }
    let missing = counted.iter().filter(|(o, _)| !o.served_by(&ours));
    Some(Comparison {
        upstream: counted.len(),
        missing: missing.map(|(_, words)| words.clone()).collect(),
        unexplained,
        stale: explained
            .into_iter()
            .filter(|(operation, _)| !used.contains(operation))
            .map(|(_, words)| words)
            .collect(),
    })
}

/// What nobody explained: rows that upstream lacks and `operations/ours.tsv` does not name, and entries of that list
/// that say nothing any more.
pub fn unexplained(endpoints: &BTreeMap<&'static str, Arc<dyn Endpoint>>) -> Vec<String> {
    let mut found = Vec::new();
    for (service, endpoint) in endpoints {
        let Some(comparison) = compare(service, &endpoint.routes()) else {
            continue;
        };
        let new = comparison.unexplained.iter();
        found.extend(new.map(|row| {
            format!("{service}: upstream has no {row}: say why it is here, in crates/ferrostack/operations/ours.tsv")
        }));
        let stale = comparison.stale.iter();
        found.extend(stale.map(|row| {
            format!("{service}: {row} is explained in crates/ferrostack/operations/ours.tsv and needs no reason")
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use oslo_http::Access;

    fn row(method: &str, path: &'static str) -> RouteInfo {
        RouteInfo {
            method: method.parse().unwrap(),
            path,
            action: None,
            access: Access::Public,
            min: None,
            max: None,
        }
    }

    #[test]
    fn rows_are_found_by_shape_and_strangers_are_told() {
        let rows = [
            row("GET", "/v2/images/{some_id}"),
            row("GET", "/v2/schemas/{name}"),
            row("GET", "/v2/moons"),
        ];
        let image = compare("image", &rows).unwrap();
        let missing = |words: &str| image.missing.iter().any(|m| m == words);
        assert!(missing("DELETE /v2/images/{image_id}"));
        assert!(!missing("GET /v2/images/{image_id}"));
        // A row with a parameter stands only for what it is said to stand for.
        assert!(!missing("GET /v2/schemas/members"));
        assert!(missing("GET /v2/schemas/metadefs/tag"));
        assert_eq!(image.unexplained, ["GET /v2/moons"]);
        assert_eq!(image.upstream, 83);
    }

    #[test]
    fn a_get_answers_head_and_a_project_may_be_left_out() {
        let rows = [row("GET", "/v3/groups/{group_id}/users/{user_id}")];
        let identity = compare("identity", &rows).unwrap();
        assert!(
            !identity
                .missing
                .iter()
                .any(|m| m.starts_with("HEAD /v3/groups/"))
        );
        let rows = [
            row("GET", "/v3/volumes/{id}"),
            row("GET", "/v3/{project_id}/types"),
        ];
        let volume = compare("volumev3", &rows).unwrap();
        assert!(volume.unexplained.is_empty(), "{:?}", volume.unexplained);
    }

    #[test]
    fn a_reason_without_a_row_is_stale() {
        let compute = compare("compute", &[row("GET", "/v2")]).unwrap();
        assert_eq!(compute.stale, ["GET /v2.0"]);
    }
}
