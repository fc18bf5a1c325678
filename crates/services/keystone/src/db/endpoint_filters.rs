//! Which endpoints a project's catalog has, if not all: named one by one, or by groups that filter them.

use crate::db::endpoints::EndpointRow;
use crate::db::{Extra, missing};
use base::{Dir, Json, Result};
use oslo_db::{Tx, eq, everything, is_in};
use serde_json::Value;

oslo_db::table! {
    /// Endpoints that have something in common.
    pub(crate) struct EndpointGroupRow in "catalog_endpoint_groups" {
        pub id: String,
        pub name: String,
        pub description: Option<String>,
        pub filters: Json<Extra>,
    }

    /// An endpoint of a project.
    pub(crate) struct ProjectEndpointRow in "catalog_project_endpoints" {
        pub project_id: String,
        pub endpoint_id: String,
    }

    /// A group of endpoints of a project.
    pub(crate) struct ProjectEndpointGroupRow in "catalog_project_endpoint_groups" {
        pub project_id: String,
        pub endpoint_group_id: String,
    }
}

/// What groups may filter by.
pub(crate) const KEYS: [&str; 3] = ["service_id", "region_id", "interface"];

impl EndpointGroupRow {
    pub(crate) fn has(&self, endpoint: &EndpointRow) -> bool {
        self.filters.0.iter().all(|(key, wanted)| {
            let found = match key.as_str() {
                "service_id" => Some(endpoint.service_id.as_str()),
                "region_id" => endpoint.region_id.as_deref(),
                "interface" => Some(endpoint.interface.as_str()),
                _ => return false,
            };
            match wanted {
                Value::String(text) => found == Some(text),
                Value::Null => found.is_none(),
                _ => false,
            }
        })
    }
}

pub(crate) fn get_group(tx: &mut Tx, id: &str) -> Result<EndpointGroupRow> {
    tx.find(eq("id", id))?
        .ok_or_else(|| missing("Endpoint Group", id))
}

/// The groups of a project.
pub(crate) fn groups_of(tx: &mut Tx, project_id: &str) -> Result<Vec<EndpointGroupRow>> {
    let links: Vec<ProjectEndpointGroupRow> = tx.select(eq("project_id", project_id))?;
    if links.is_empty() {
        return Ok(vec![]);
    }
    let ids = links.iter().map(|l| l.endpoint_group_id.as_str());
    tx.select_sorted(is_in("id", ids), &[("id", Dir::Asc)], None)
}

/// Whether an endpoint is a project's; nothing if nobody said which are.
pub(crate) fn of_project(
    tx: &mut Tx,
    project_id: &str,
) -> Result<Option<impl Fn(&EndpointRow) -> bool + use<>>> {
    let named: Vec<ProjectEndpointRow> = tx.select(eq("project_id", project_id))?;
    let groups = groups_of(tx, project_id)?;
    if named.is_empty() && groups.is_empty() {
        return Ok(None);
    }
    Ok(Some(move |endpoint: &EndpointRow| {
        named.iter().any(|n| n.endpoint_id == endpoint.id) || groups.iter().any(|g| g.has(endpoint))
    }))
}

/// The endpoints that a test lets through.
pub(crate) fn endpoints(
    tx: &mut Tx,
    test: impl Fn(&EndpointRow) -> bool,
) -> Result<Vec<EndpointRow>> {
    let mut all: Vec<EndpointRow> = tx.select_sorted(everything(), &[("id", Dir::Asc)], None)?;
    all.retain(test);
    Ok(all)
}

/// Projects that are gone have no endpoints.
pub(crate) fn delete_of_projects(tx: &mut Tx, project_ids: &[String]) -> Result<()> {
    tx.delete::<ProjectEndpointRow>(is_in("project_id", project_ids.iter()))?;
    tx.delete::<ProjectEndpointGroupRow>(is_in("project_id", project_ids.iter()))
        .map(drop)
}
