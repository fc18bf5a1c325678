//! SQL, a table per file. Every write goes through [`crate::Keystone::write`], which also moves the generation.

pub(crate) mod app_creds;
pub(crate) mod assignments;
pub(crate) mod credentials;
pub(crate) mod domain_configs;
pub(crate) mod endpoint_filters;
pub(crate) mod endpoints;
pub(crate) mod federation;
pub(crate) mod generation;
pub(crate) mod groups;
pub(crate) mod id_mappings;
pub(crate) mod implied_roles;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod memberships;
pub(crate) mod oauth1;
pub(crate) mod policies;
pub(crate) mod policy_associations;
pub(crate) mod projects;
pub(crate) mod regions;
pub(crate) mod revocations;
pub(crate) mod roles;
pub(crate) mod services;
pub(crate) mod trusts;
pub(crate) mod users;

use base::Error;
use oslo_db::{Migration, is_duplicate};
use serde_json::{Map, Value};

/// What upstream keeps in a column named `extra`: attributes that only callers understand.
pub(crate) type Extra = Map<String, Value>;

pub const MIGRATIONS: &[Migration] = &[
    Migration {
        id: "2026-11-23-initial",
        sql: include_str!("../../migrations/2026-11-23-initial.sql"),
    },
    Migration {
        id: "2026-11-23-policies",
        sql: include_str!("../../migrations/2026-11-23-policies.sql"),
    },
    Migration {
        id: "2026-11-23-credentials",
        sql: include_str!("../../migrations/2026-11-23-credentials.sql"),
    },
    Migration {
        id: "2026-11-25-keys",
        sql: include_str!("../../migrations/2026-11-25-keys.sql"),
    },
    Migration {
        id: "2026-11-25-delegation",
        sql: include_str!("../../migrations/2026-11-25-delegation.sql"),
    },
    Migration {
        id: "2026-11-25-passwords",
        sql: include_str!("../../migrations/2026-11-25-passwords.sql"),
    },
    Migration {
        id: "2026-11-25-catalog-and-limits",
        sql: include_str!("../../migrations/2026-11-25-catalog-and-limits.sql"),
    },
    Migration {
        id: "2026-11-25-federation-and-oauth",
        sql: include_str!("../../migrations/2026-11-25-federation-and-oauth.sql"),
    },
    Migration {
        id: "2026-11-25-directories",
        sql: include_str!("../../migrations/2026-11-25-directories.sql"),
    },
    Migration {
        id: "2026-11-25-users-by-name",
        sql: include_str!("../../migrations/2026-11-25-users-by-name.sql"),
    },
];

/// Upstream's words for a name that is taken.
pub(crate) fn duplicate_name(
    kind: &str,
    name: &str,
    domain_id: Option<&str>,
    error: Error,
) -> Error {
    if !is_duplicate(&error) {
        return error;
    }
    let place = domain_id
        .map(|d| format!(" at domain ID {d}"))
        .unwrap_or_default();
    Error::conflict(format!(
        "Conflict occurred attempting to store {kind} - Duplicate entry found with name {name}{place}."
    ))
}

/// Upstream's words for an id that is taken.
pub(crate) fn duplicate_id(kind: &str, id: &str, error: Error) -> Error {
    if !is_duplicate(&error) {
        return error;
    }
    Error::conflict(format!(
        "Conflict occurred attempting to store {kind} - Duplicate ID, {id}."
    ))
}

/// `Could not find user: X.`
pub(crate) fn missing(kind: &str, id: &str) -> Error {
    Error::not_found(format!("Could not find {kind}: {id}."))
}
