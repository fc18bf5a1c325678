//! Upstream's rules (`policy.yaml`), enforced in upstream's words against upstream's targets.

use crate::db::groups::GroupRow;
use crate::db::projects::ProjectRow;
use crate::db::roles::RoleRow;
use crate::db::users::UserRow;
use base::{Error, Result};
use oslo_http::Req;
use serde_json::{Map, Value, json};

/// How keystone says no.
pub(crate) fn wording(rule: &str) -> String {
    format!("You are not authorized to perform the requested action: {rule}.")
}

/// What a check looks at: `target.user.domain_id` and its kin, and the names in the path.
#[derive(Clone, Default)]
pub(crate) struct Target {
    target: Map<String, Value>,
    path: Map<String, Value>,
}

impl Target {
    pub(crate) fn new() -> Target {
        Target::default()
    }

    /// `%(name)s`
    pub(crate) fn path(mut self, name: &str, value: &str) -> Target {
        self.path.insert(name.into(), value.into());
        self
    }

    /// `%(target.name)s`
    pub(crate) fn set(mut self, name: &str, value: impl Into<Value>) -> Target {
        self.target.insert(name.into(), value.into());
        self
    }

    pub(crate) fn user(self, user: Option<&UserRow>) -> Target {
        match user {
            Some(u) => self.set(
                "user",
                json!({"id": u.id, "name": u.shown_name(), "domain_id": u.domain_id}),
            ),
            None => self,
        }
    }

    pub(crate) fn group(self, group: Option<&GroupRow>) -> Target {
        match group {
            Some(g) => self.set(
                "group",
                json!({"id": g.id, "name": g.name, "domain_id": g.domain_id}),
            ),
            None => self,
        }
    }

    pub(crate) fn project(self, project: Option<&ProjectRow>) -> Target {
        match project {
            Some(p) => self.set(
                "project",
                json!({"id": p.id, "name": p.name, "domain_id": p.domain()}),
            ),
            None => self,
        }
    }

    pub(crate) fn domain(self, id: Option<&str>) -> Target {
        match id {
            Some(id) => self.set("domain", json!({"id": id})),
            None => self,
        }
    }

    pub(crate) fn role(self, role: Option<&RoleRow>) -> Target {
        match role {
            Some(r) => self.set(
                "role",
                json!({"id": r.id, "name": r.name, "domain_id": r.domain()}),
            ),
            None => self,
        }
    }

    fn value(self) -> Value {
        let mut value = self.path;
        value.insert("target".into(), Value::Object(self.target));
        Value::Object(value)
    }
}

/// 403 unless the caller may; also tokens of a wrong scope are refused in these words.
pub(crate) fn enforce(req: &Req, rule: &str, target: Target) -> Result<()> {
    req.enforce(rule, &target.value())
        .map_err(|_| Error::forbidden(wording(rule)))
}
