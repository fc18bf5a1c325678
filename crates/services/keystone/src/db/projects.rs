//! Projects, and domains, which are projects at the root.

use crate::db::{Extra, missing};
use base::{Json, Result};
use oslo_db::{Tx, all, eq, is_in};

/// The domain that domains themselves are in; upstream's database has the same row value.
pub(crate) const ROOT: &str = "<<keystone.domain.root>>";

oslo_db::table! {
    /// A project or, if `is_domain`, a domain.
    pub(crate) struct ProjectRow in "identity_projects" {
        pub id: String,
        pub name: String,
        pub domain_id: String,
        pub parent_id: Option<String>,
        pub is_domain: bool,
        pub enabled: bool,
        pub description: Option<String>,
        pub tags: Json<Vec<String>>,
        pub options: Json<Extra>,
        pub extra: Json<Extra>,
    }
}

impl ProjectRow {
    /// The domain that tokens and views name: none for a domain.
    pub(crate) fn domain(&self) -> Option<&str> {
        Some(self.domain_id.as_str()).filter(|d| *d != ROOT)
    }
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<ProjectRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<ProjectRow> {
    find(tx, id)?.ok_or_else(|| missing("project", id))
}

pub(crate) fn find_domain(tx: &mut Tx, id: &str) -> Result<Option<ProjectRow>> {
    tx.find(all([eq("id", id), eq("is_domain", true)]))
}

pub(crate) fn get_domain(tx: &mut Tx, id: &str) -> Result<ProjectRow> {
    find_domain(tx, id)?.ok_or_else(|| missing("domain", id))
}

pub(crate) fn find_named(tx: &mut Tx, domain_id: &str, name: &str) -> Result<Option<ProjectRow>> {
    tx.find(all([eq("domain_id", domain_id), eq("name", name)]))
}

/// The projects above, nearest first, without the domain.
pub(crate) fn ancestors(tx: &mut Tx, project: &ProjectRow) -> Result<Vec<ProjectRow>> {
    let mut above = Vec::new();
    let mut next = project.parent_id.clone();
    while let Some(id) = next {
        let Some(row) = find(tx, &id)? else { break };
        if row.is_domain || above.len() > 64 {
            break;
        }
        next = row.parent_id.clone();
        above.push(row);
    }
    Ok(above)
}

/// The projects below, level by level.
pub(crate) fn subtree(tx: &mut Tx, id: &str) -> Result<Vec<ProjectRow>> {
    let mut below: Vec<ProjectRow> = Vec::new();
    let mut level = vec![id.to_string()];
    while !level.is_empty() && below.len() < 100_000 {
        let children: Vec<ProjectRow> = tx.select(is_in("parent_id", level.iter()))?;
        level = children.iter().map(|c| c.id.clone()).collect();
        below.extend(children);
    }
    Ok(below)
}
