//! Which policy document is for which endpoints: one of them, those of a service, or those of a service in a region.

use crate::db::endpoints::EndpointRow;
use crate::db::regions::{self, RegionRow};
use base::Result;
use oslo_db::{Tx, any, eq, everything, is_in};
use std::collections::BTreeSet;

oslo_db::table! {
    /// An association; each target has one policy.
    pub(crate) struct PolicyAssociationRow in "catalog_policy_associations" {
        pub target: String,
        pub policy_id: String,
        pub endpoint_id: Option<String>,
        pub service_id: Option<String>,
        pub region_id: Option<String>,
    }
}

impl PolicyAssociationRow {
    pub(crate) fn new(
        policy_id: &str,
        endpoint_id: Option<&str>,
        service_id: Option<&str>,
        region_id: Option<&str>,
    ) -> PolicyAssociationRow {
        let target = match (endpoint_id, service_id, region_id) {
            (Some(id), _, _) => format!("endpoint/{id}"),
            (_, Some(id), Some(region)) => format!("service/{id}/{region}"),
            (_, id, _) => format!("service/{}", id.unwrap_or_default()),
        };
        PolicyAssociationRow {
            target,
            policy_id: policy_id.to_string(),
            endpoint_id: endpoint_id.map(str::to_string),
            service_id: service_id.map(str::to_string),
            region_id: region_id.map(str::to_string),
        }
    }
}

fn find(tx: &mut Tx, target: PolicyAssociationRow) -> Result<Option<String>> {
    let found = tx.find::<PolicyAssociationRow>(eq("target", target.target))?;
    Ok(found.map(|a| a.policy_id))
}

/// The policy for an endpoint: its own, that of its service in its region or one above, or that of its service.
pub(crate) fn policy_for(tx: &mut Tx, endpoint: &EndpointRow) -> Result<Option<String>> {
    let own = PolicyAssociationRow::new("", Some(&endpoint.id), None, None);
    if let Some(policy) = find(tx, own)? {
        return Ok(Some(policy));
    }
    let service = Some(endpoint.service_id.as_str());
    let (mut region, mut seen) = (endpoint.region_id.clone(), BTreeSet::new());
    while let Some(id) = region.filter(|id| seen.insert(id.clone())) {
        let there = PolicyAssociationRow::new("", None, service, Some(&id));
        if let Some(policy) = find(tx, there)? {
            return Ok(Some(policy));
        }
        region = regions::find(tx, &id)?.and_then(|r| r.parent_region_id);
    }
    find(tx, PolicyAssociationRow::new("", None, service, None))
}

/// The endpoints that a policy is associated with, each once.
pub(crate) fn endpoints_of(tx: &mut Tx, policy_id: &str) -> Result<Vec<EndpointRow>> {
    let all: Vec<PolicyAssociationRow> = tx.select(eq("policy_id", policy_id))?;
    if all.is_empty() {
        return Ok(vec![]);
    }
    let regions: Vec<RegionRow> = tx.select(everything())?;
    let mut endpoints: Vec<EndpointRow> = tx.select(everything())?;
    let covers = |association: &PolicyAssociationRow, endpoint: &EndpointRow| {
        if let Some(id) = &association.endpoint_id {
            return *id == endpoint.id;
        }
        if association.service_id.as_ref() != Some(&endpoint.service_id) {
            return false;
        }
        match (&association.region_id, &endpoint.region_id) {
            (None, _) => true,
            (Some(above), Some(region)) => is_within(&regions, region, above),
            (Some(_), None) => false,
        }
    };
    endpoints.retain(|e| all.iter().any(|a| covers(a, e)));
    endpoints.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(endpoints)
}

fn is_within(regions: &[RegionRow], region: &str, above: &str) -> bool {
    let (mut next, mut seen) = (Some(region), BTreeSet::new());
    while let Some(id) = next.filter(|id| seen.insert(*id)) {
        if id == above {
            return true;
        }
        let found = regions.iter().find(|r| r.id == id);
        next = found.and_then(|r| r.parent_region_id.as_deref());
    }
    false
}

/// What is about things that are gone is gone.
pub(crate) fn delete_of_services(
    tx: &mut Tx,
    service_id: &str,
    endpoint_ids: &[String],
) -> Result<()> {
    let about = any([
        eq("service_id", service_id),
        is_in("endpoint_id", endpoint_ids.iter()),
    ]);
    tx.delete::<PolicyAssociationRow>(about).map(drop)
}
