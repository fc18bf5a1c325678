//! `/v3/roles/{prior_role_id}/implies` and `/v3/role_inferences`: which role brings which other along.

use crate::Keystone;
use crate::api::{base_url, self_link};
use crate::db::implied_roles::{self, ImpliedRoleRow};
use crate::db::roles::{self, RoleRow};
use crate::policy::{Target, enforce};
use base::{Error, Result};
use oslo_db::{Cond, Tx, all, eq, everything, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// No role may bring this one along (upstream's `prohibited_implied_role`).
const PROHIBITED: &str = "admin";

fn brief(base: &str, r: &RoleRow) -> Value {
    json!({
        "id": r.id,
        "name": r.name,
        "links": self_link(base, &format!("roles/{}", r.id)),
    })
}

fn pair(req: &Req) -> ImpliedRoleRow {
    ImpliedRoleRow {
        prior_role_id: req.param("prior_role_id").to_string(),
        implied_role_id: req.param("implied_role_id").to_string(),
    }
}

fn same(pair: &ImpliedRoleRow) -> Cond {
    all([
        eq("prior_role_id", &pair.prior_role_id),
        eq("implied_role_id", &pair.implied_role_id),
    ])
}

fn not_implied(pair: &ImpliedRoleRow) -> Error {
    Error::not_found(format!(
        "{} does not imply {}.",
        pair.prior_role_id, pair.implied_role_id
    ))
}

fn both(tx: &mut Tx, pair: &ImpliedRoleRow) -> Result<(RoleRow, RoleRow)> {
    Ok((
        roles::get(tx, &pair.prior_role_id)?,
        roles::get(tx, &pair.implied_role_id)?,
    ))
}

fn inference(base: &str, prior: &RoleRow, implied: &RoleRow) -> Value {
    json!({
        "role_inference": {"prior_role": brief(base, prior), "implies": brief(base, implied)},
        "links": {"self": format!("{base}/roles/{}/implies/{}", prior.id, implied.id)},
    })
}

/// `GET /v3/roles/{prior_role_id}/implies`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_implied_roles", Target::new())?;
    let id = req.param("prior_role_id").to_string();
    let (prior, implied) = keystone
        .db
        .read(move |tx| {
            let prior = roles::get(tx, &id)?;
            let ids = implied_roles::map(tx)?.remove(&id).unwrap_or_default();
            Ok((prior, tx.select::<RoleRow>(is_in("id", ids.iter()))?))
        })
        .await?;
    let base = base_url(&keystone, &req);
    let implies: Vec<Value> = implied.iter().map(|r| brief(&base, r)).collect();
    Reply::ok(&json!({
        "role_inference": {"prior_role": brief(&base, &prior), "implies": implies},
        "links": {"self": format!("{base}/roles/{}/implies", prior.id)},
    }))
}

/// `GET /v3/role_inferences`
pub(crate) async fn list_all(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_role_inference_rules", Target::new())?;
    let (rules, rows) = keystone
        .db
        .read(|tx| Ok((implied_roles::map(tx)?, tx.select::<RoleRow>(everything())?)))
        .await?;
    let by_id: BTreeMap<&str, &RoleRow> = rows.iter().map(|r| (r.id.as_str(), r)).collect();
    let base = base_url(&keystone, &req);
    let mut inferences = Vec::new();
    for (prior, implied) in &rules {
        let Some(prior) = by_id.get(prior.as_str()) else {
            continue;
        };
        let implies: Vec<Value> = implied
            .iter()
            .filter_map(|id| by_id.get(id.as_str()))
            .map(|r| brief(&base, r))
            .collect();
        inferences.push(json!({"prior_role": brief(&base, prior), "implies": implies}));
    }
    Reply::ok(
        &json!({"role_inferences": inferences, "links": {"self": format!("{base}/role_inferences")}}),
    )
}

/// `PUT /v3/roles/{prior_role_id}/implies/{implied_role_id}`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_implied_role", Target::new())?;
    let pair = pair(&req);
    let (prior, implied) = keystone
        .write(move |tx| {
            let (prior, implied) = both(tx, &pair)?;
            let narrower = prior.domain().is_none() && implied.domain().is_some();
            if implied.name == PROHIBITED || narrower || prior.id == implied.id {
                return Err(Error::forbidden(format!(
                    "{} cannot be an implied roles.",
                    implied.id
                )));
            }
            tx.upsert(&pair, &["prior_role_id", "implied_role_id"])?;
            Ok((prior, implied))
        })
        .await?;
    Reply::json(
        201,
        &inference(&base_url(&keystone, &req), &prior, &implied),
    )
}

/// `GET /v3/roles/{prior_role_id}/implies/{implied_role_id}` and `HEAD`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = if req.head {
        "identity:check_implied_role"
    } else {
        "identity:get_implied_role"
    };
    enforce(&req, rule, Target::new())?;
    let pair = pair(&req);
    let (prior, implied) = keystone
        .db
        .read(move |tx| {
            if !tx.exists::<ImpliedRoleRow>(same(&pair))? {
                return Err(not_implied(&pair));
            }
            both(tx, &pair)
        })
        .await?;
    if req.head {
        return Ok(Reply::empty(204));
    }
    Reply::ok(&inference(&base_url(&keystone, &req), &prior, &implied))
}

/// `DELETE /v3/roles/{prior_role_id}/implies/{implied_role_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_implied_role", Target::new())?;
    let pair = pair(&req);
    keystone
        .write(move |tx| match tx.delete::<ImpliedRoleRow>(same(&pair))? {
            0 => Err(not_implied(&pair)),
            _ => Ok(()),
        })
        .await?;
    Ok(Reply::empty(204))
}
