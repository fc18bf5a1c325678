//! `OS-ENDPOINT-POLICY`: which policy document is for which endpoints.
//!
//! One set of handlers serves all three kinds of path; the names in the path say which it is.

use crate::Keystone;
use crate::api::{base_url, endpoints as endpoint_views, one, policies as policy_views};
use crate::db::policies;
use crate::db::policy_associations::{self, PolicyAssociationRow};
use crate::db::{endpoints, regions, services};
use crate::policy::{Target, enforce};
use base::{Error, Result};
use oslo_db::{Tx, all, eq};
use oslo_http::{Reply, Req};
use std::sync::Arc;

fn row(req: &Req) -> PolicyAssociationRow {
    let given = |name: &str| Some(req.param(name)).filter(|id| !id.is_empty());
    PolicyAssociationRow::new(
        req.param("policy_id"),
        given("endpoint_id"),
        given("service_id"),
        given("region_id"),
    )
}

fn permit(req: &Req, verb: &str, row: &PolicyAssociationRow) -> Result<()> {
    let kind = match (&row.endpoint_id, &row.region_id) {
        (Some(_), _) => "endpoint",
        (None, Some(_)) => "region_and_service",
        (None, None) => "service",
    };
    let rule = format!("identity:{verb}_policy_association_for_{kind}");
    enforce(req, &rule, Target::new())
}

/// 404 unless all that the path names is there.
fn check_all(tx: &mut Tx, row: &PolicyAssociationRow) -> Result<()> {
    policies::get(tx, &row.policy_id)?;
    if let Some(id) = &row.endpoint_id {
        endpoints::get(tx, id)?;
    }
    if let Some(id) = &row.service_id {
        services::get(tx, id)?;
    }
    if let Some(id) = &row.region_id {
        regions::get(tx, id)?;
    }
    Ok(())
}

fn not_found() -> Error {
    Error::not_found("Could not find policy association.")
}

/// `GET` and `HEAD`
pub(crate) async fn check(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let row = row(&req);
    permit(&req, "check", &row)?;
    keystone
        .db
        .read(move |tx| {
            check_all(tx, &row)?;
            let same = all([eq("target", &row.target), eq("policy_id", &row.policy_id)]);
            match tx.exists::<PolicyAssociationRow>(same)? {
                true => Ok(()),
                false => Err(not_found()),
            }
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `PUT`: in the place of another policy for the same target.
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let row = row(&req);
    permit(&req, "create", &row)?;
    keystone
        .write(move |tx| {
            check_all(tx, &row)?;
            tx.upsert(&row, &["target"])
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `DELETE`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let row = row(&req);
    permit(&req, "delete", &row)?;
    keystone
        .write(move |tx| {
            check_all(tx, &row)?;
            let same = all([eq("target", &row.target), eq("policy_id", &row.policy_id)]);
            tx.delete::<PolicyAssociationRow>(same).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `GET /v3/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints`
pub(crate) async fn list_endpoints(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_endpoints_for_policy", Target::new())?;
    let id = req.param("policy_id").to_string();
    let rows = keystone
        .db
        .read(move |tx| {
            policies::get(tx, &id)?;
            policy_associations::endpoints_of(tx, &id)
        })
        .await?;
    endpoint_views::listed(&keystone, &req, &rows)
}

/// `GET /v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy`
pub(crate) async fn show_policy(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_policy_for_endpoint", Target::new())?;
    let id = req.param("endpoint_id").to_string();
    let policy = keystone
        .db
        .read(move |tx| {
            let endpoint = endpoints::get(tx, &id)?;
            let policy = policy_associations::policy_for(tx, &endpoint)?.ok_or_else(|| {
                Error::not_found(format!("No policy is associated with endpoint {id}."))
            })?;
            policies::get(tx, &policy)
        })
        .await?;
    let base = base_url(&keystone, &req);
    one(200, "policy", policy_views::view(&base, &policy))
}
