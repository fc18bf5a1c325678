//! The whole surface: every route of every service, asked by those who may not and by those who may. The rows come
//! from the services themselves, the expectations from the policy data; there is no second list.

pub mod foreign;
pub mod page;
pub mod roles;
mod samples;
pub mod tokens;

use crate::client::{Client, Endpoints, version_word};
use oslo_http::{Access, RouteInfo};
use oslo_policy::Enforcer;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A row and whose it is.
pub struct Row {
    pub service: &'static str,
    pub info: RouteInfo,
}

/// An id that nothing has.
pub const NOBODY: &str = "0badc0de-0000-4000-8000-00000000dead";

/// Every row of every service.
pub fn rows(endpoints: &Endpoints) -> Vec<Row> {
    let of = |service: &'static str| {
        endpoints[service]
            .routes()
            .into_iter()
            .map(move |info| Row { service, info })
    };
    endpoints.keys().flat_map(|service| of(service)).collect()
}

impl Row {
    /// What names it: method, path, action and, where a path has a history, its versions.
    pub fn name(&self) -> String {
        let RouteInfo {
            method,
            path,
            action,
            min,
            max,
            ..
        } = &self.info;
        let action = action.map(|a| format!(" {a}")).unwrap_or_default();
        let versions = match (min, max) {
            (Some(a), Some(b)) => format!(" {a}-{b}"),
            (None, Some(b)) => format!(" -{b}"),
            _ => String::new(),
        };
        format!("{}: {method} {path}{action}{versions}", self.service)
    }

    pub fn rule(&self) -> Option<&'static str> {
        match self.info.access {
            Access::Rule(rule) | Access::Inside(rule) => Some(rule),
            _ => None,
        }
    }

    /// The path with its parameters filled in by name.
    pub fn path(&self, fill: impl Fn(&str) -> String) -> String {
        let segments = self.info.path.split('/').map(|s| {
            match s.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(name) => fill(name.trim_end_matches('*')),
                None => s.to_string(),
            }
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// The caller, speaking a version that has the row.
    pub fn at(&self, who: &Client) -> Client {
        if version_word(self.service).is_none() {
            return who.clone();
        }
        let version = self
            .info
            .max
            .map_or("latest".to_string(), |v| v.to_string());
        who.at(self.service, &version)
    }

    /// A body that gets as far as the rule: the action's key, or an empty object.
    pub fn body(&self) -> Option<Value> {
        match (self.info.action, self.info.method.as_str()) {
            (Some(action), _) => Some(json!({action: null})),
            (None, "POST" | "PUT" | "PATCH") => Some(json!({})),
            _ => None,
        }
    }

    /// Asks with ids that nothing has.
    pub async fn ask(&self, who: &Client) -> crate::client::Answer {
        let own = self.service == "volumev3";
        let path = self.path(|name| match name {
            "project_id" if own => who.project_id.clone(),
            _ => NOBODY.to_string(),
        });
        self.at(who)
            .call(self.service, self.info.method.as_str(), &path, self.body())
            .await
    }
}

/// The services' rules, from the files they ship.
pub fn enforcers() -> BTreeMap<&'static str, Enforcer> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/services");
    let all = [
        ("identity", "keystone"),
        ("image", "glance"),
        ("placement", "placement"),
        ("network", "neutron"),
        ("compute", "nova"),
        ("volumev3", "cinder"),
    ];
    let read = |name: &str| {
        std::fs::read_to_string(folder.join(name).join("policy.yaml")).expect("policy.yaml")
    };
    all.map(|(service, name)| {
        (
            service,
            Enforcer::from_defaults(&read(name)).expect("rules"),
        )
    })
    .into()
}

/// Fails with all complaints at once.
#[track_caller]
pub fn report(complaints: &BTreeSet<String>) {
    let list: Vec<&str> = complaints.iter().map(String::as_str).collect();
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        list.len(),
        list.join("\n")
    );
}
