//! A query string as request groups.

use super::params::{self, Qualities};
use base::{Error, Result};
use oslo_http::Req;
use std::collections::{BTreeMap, BTreeSet};

/// Resources and qualities that belong together; a group with a suffix is served by one provider alone.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub suffix: String,
    pub resources: BTreeMap<String, i64>,
    pub qualities: Qualities,
    pub in_tree: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub groups: Vec<Group>,
    /// Groups with suffixes and resources get different providers.
    pub isolate: bool,
    pub limit: Option<usize>,
    /// Traits of the tree's root.
    pub root: Qualities,
    /// Suffixes whose providers must lie in one subtree.
    pub same_subtree: Vec<BTreeSet<String>>,
    /// From 1.29 on several providers of one tree may serve together.
    pub nested: bool,
}

impl Request {
    pub fn classes(&self) -> BTreeSet<&str> {
        self.groups
            .iter()
            .flat_map(|g| g.resources.keys())
            .map(String::as_str)
            .collect()
    }

    pub fn trait_names(&self) -> BTreeSet<String> {
        let of_groups = self.groups.iter().flat_map(|g| g.qualities.trait_names());
        of_groups.chain(self.root.trait_names()).cloned().collect()
    }

    pub fn parse(req: &Req) -> Result<Request> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let query = &req.query;
        let keys: BTreeSet<&str> = query.0.iter().map(|(k, _)| k.as_str()).collect();
        for key in keys {
            let fixed = ["limit", "group_policy", "root_required", "same_subtree"];
            if fixed.contains(&key) {
                continue;
            }
            let kinds = ["resources", "required", "member_of", "in_tree"];
            let Some(kind) = kinds.into_iter().find(|k| key.starts_with(k)) else {
                continue;
            };
            let suffix = &key[kind.len()..];
            let group = groups.entry(suffix.to_string()).or_default();
            group.suffix = suffix.to_string();
            match kind {
                "resources" => group.resources = params::resources(query.get(key).unwrap_or(""))?,
                "required" => {
                    for value in params::required_values(req, query, key) {
                        params::required(req, value, &mut group.qualities)?;
                    }
                }
                "member_of" => params::member_of(req, query.all(key), &mut group.qualities)?,
                _ => group.in_tree = Some(params::in_tree(query.get(key).unwrap_or(""))?),
            }
        }
        let mut request = Request {
            isolate: query.all("group_policy").next() == Some("isolate"),
            limit: query.all("limit").next().and_then(|l| l.parse().ok()),
            nested: req.at_least(1, 29),
            ..Request::default()
        };
        for value in query.all("same_subtree") {
            let suffixes: BTreeSet<String> =
                value.split(',').map(|s| s.trim().to_string()).collect();
            check_subtree(&suffixes, &groups)?;
            request.same_subtree.push(suffixes);
        }
        check_groups(req, &groups, &request.same_subtree)?;
        root_required(req, &mut request)?;
        request.groups = groups.into_values().collect();
        check_contradictions(&request.groups)?;
        let suffixed = request
            .groups
            .iter()
            .filter(|g| !g.suffix.is_empty() && !g.resources.is_empty());
        if suffixed.count() > 1 && !query.has("group_policy") {
            return Err(Error::bad_request(
                "The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter.",
            )
            .class("placement.query.missing_value"));
        }
        Ok(request)
    }
}

fn bad(message: String) -> Error {
    Error::bad_request(message).class("placement.query.bad_value")
}

fn check_subtree(suffixes: &BTreeSet<String>, groups: &BTreeMap<String, Group>) -> Result<()> {
    if suffixes.contains("") {
        return Err(bad(
            "Empty string (unsuffixed group) can not be specified in `same_subtree`".into(),
        ));
    }
    let unknown: Vec<&str> = suffixes
        .iter()
        .filter(|s| !groups.contains_key(*s))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(bad(format!(
            "Real suffixes should be specified in `same_subtree`: {} not found in the request",
            unknown.join(", ")
        )));
    }
    Ok(())
}

fn check_groups(
    req: &Req,
    groups: &BTreeMap<String, Group>,
    subtrees: &[BTreeSet<String>],
) -> Result<()> {
    let empty = || groups.values().filter(|g| g.resources.is_empty());
    if req.at_least(1, 36) && groups.values().all(|g| g.resources.is_empty()) {
        return Err(Error::bad_request(
            "There must be at least one resources or resources[$S] parameter.",
        )
        .class("placement.query.missing_value"));
    }
    if req.at_least(1, 36) {
        let loose: Vec<&str> = empty()
            .filter(|g| !g.suffix.is_empty() && !subtrees.iter().any(|s| s.contains(&g.suffix)))
            .map(|g| g.suffix.as_str())
            .collect();
        if !loose.is_empty() {
            return Err(bad(format!(
                "Resourceless suffixed group request should be specified in `same_subtree` query param: \
                 bad group(s) - {}.",
                loose.join(", ")
            )));
        }
        if empty().any(|g| g.suffix.is_empty()) {
            return Err(bad("All request groups must specify resources.".into()));
        }
        return Ok(());
    }
    let orphans = |kind: &str, has: fn(&Qualities) -> bool| -> Vec<String> {
        empty()
            .filter(|g| has(&g.qualities))
            .map(|g| format!("{kind}{}", g.suffix))
            .collect()
    };
    let traits = orphans("required", |q| {
        !q.required.is_empty() || !q.forbidden.is_empty()
    });
    if !traits.is_empty() {
        return Err(bad(format!(
            "All traits parameters must be associated with resources.  Found the following orphaned traits keys: {}",
            traits.join(", ")
        )));
    }
    let members = orphans("member_of", |q| {
        !q.member_of.is_empty() || !q.not_member_of.is_empty()
    });
    if !members.is_empty() {
        return Err(bad(format!(
            "All member_of parameters must be associated with resources.  Found the following orphaned member_of keys: {}",
            members.join(", ")
        )));
    }
    if groups.is_empty() {
        return Err(bad(
            "At least one request group (`resources` or `resources{$S}`) is required.".into(),
        ));
    }
    if empty().next().is_some() {
        return Err(bad("All request groups must specify resources.".into()));
    }
    Ok(())
}

fn root_required(req: &Req, request: &mut Request) -> Result<()> {
    let values: Vec<&str> = req.query.all("root_required").collect();
    if values.len() > 1 {
        return Err(Error::bad_request(
            "Query parameter 'root_required' may be specified only once.",
        )
        .class("placement.query.duplicate_key"));
    }
    let Some(value) = values.first() else {
        return Ok(());
    };
    if value.starts_with("in:") {
        return Err(bad(format!(
            "Invalid query string parameters: Expected 'root_required' parameter value of the form: \
             HW_CPU_X86_VMX,!CUSTOM_MAGIC. Got: {value}"
        )));
    }
    params::required(req, value, &mut request.root)?;
    let both = request.root.contradictions();
    if !both.is_empty() {
        return Err(bad(format!(
            "Conflicting required and forbidden traits found in root_required: {}",
            both.join(", ")
        )));
    }
    Ok(())
}

fn check_contradictions(groups: &[Group]) -> Result<()> {
    let mut found = Vec::new();
    for group in groups {
        let both = group.qualities.contradictions();
        if !both.is_empty() {
            found.push(format!("required{}: ({})", group.suffix, both.join(", ")));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(bad(format!(
        "Conflicting required and forbidden traits found in the following traits keys: {}",
        found.join(", ")
    )))
}
