//! `/v3/OS-TRUST/trusts`: a user lets another act with some of their roles, for a time or for some logins.

use crate::Keystone;
use crate::api::delegation::{own_token, unless_by_app_cred};
use crate::api::fields::Fields;
use crate::api::list::collection;
use crate::api::{base_url, one, roles as role_views, self_link, with_extra};
use crate::assignment::effective;
use crate::db::roles::{self, NamedRole, RoleRow};
use crate::db::trusts::{self, TrustRoleRow, TrustRow};
use crate::db::{Extra, missing, projects, users};
use crate::policy::{Target, enforce, wording};
use crate::token::payload::Scope;
use crate::token::validate::enabled_user;
use base::{Error, Json, Result, Timestamp, new_hex_id};
use oslo_db::{Tx, eq, everything, is_duplicate, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(base: &str, t: &TrustRow) -> Value {
    let view = json!({
        "id": t.id,
        "trustor_user_id": t.trustor_user_id,
        "trustee_user_id": t.trustee_user_id,
        "project_id": t.project_id,
        "impersonation": t.impersonation,
        "expires_at": t.expires_at.map(Timestamp::iso_micros_z),
        "remaining_uses": t.remaining_uses,
        "deleted_at": null,
        "redelegated_trust_id": t.redelegated_trust_id,
        "redelegation_count": t.redelegation_count,
        "links": self_link(base, &format!("OS-TRUST/trusts/{}", t.id)),
    });
    with_extra(view, &t.extra.0)
}

fn roles_links(base: &str, t: &TrustRow) -> Value {
    json!({
        "self": format!("{base}/OS-TRUST/trusts/{}/roles", t.id),
        "next": null,
        "previous": null,
    })
}

fn whole_view(base: &str, t: &TrustRow, roles: &[RoleRow]) -> Value {
    let mut view = view(base, t);
    view["roles"] = roles.iter().map(|r| role_views::view(base, r)).collect();
    view["roles_links"] = roles_links(base, t);
    view
}

fn target(trustor: Option<&str>, trustee: Option<&str>) -> Target {
    let mut trust = Extra::new();
    let ids = [("trustor_user_id", trustor), ("trustee_user_id", trustee)];
    for (name, id) in ids {
        trust.extend(id.map(|id| (name.to_string(), id.into())));
    }
    Target::new().set("trust", Value::Object(trust))
}

/// `GET /v3/OS-TRUST/trusts`: all, those of a trustor or those of a trustee; each has its rule.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let trustor = req.query.get("trustor_user_id").filter(|id| !id.is_empty());
    let trustee = req.query.get("trustee_user_id").filter(|id| !id.is_empty());
    let (rule, cond) = match (trustor, trustee) {
        (Some(id), _) => (
            "identity:list_trusts_for_trustor",
            eq("trustor_user_id", id),
        ),
        (_, Some(id)) => (
            "identity:list_trusts_for_trustee",
            eq("trustee_user_id", id),
        ),
        _ => ("identity:list_trusts", everything()),
    };
    enforce(&req, rule, target(trustor, trustee))?;
    unless_by_app_cred(&*own_token(&keystone, &req).await?)?;
    let rows = keystone
        .db
        .read(move |tx| trusts::list(tx, cond.clone()))
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|t| view(&base, t)).collect();
    collection(&base, &req, "trusts", views, None)
}

/// The trust in the path with its roles. One that is not there is 404 for everybody, as upstream has it.
async fn permitted(
    keystone: &Arc<Keystone>,
    req: &Req,
    rule: &str,
) -> Result<(TrustRow, Vec<RoleRow>)> {
    let (id, now) = (req.param("trust_id").to_string(), keystone.clock.now());
    let find = move |tx: &mut Tx| {
        let trust = trusts::get(tx, &id, now)?;
        if !chain_holds(tx, &trust)? {
            return Err(Error::forbidden(
                "One of the trust agents is disabled or deleted",
            ));
        }
        let ids = trusts::role_ids(tx, &id)?;
        let mut roles: Vec<RoleRow> = tx.select(is_in("id", ids.iter()))?;
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((trust, roles))
    };
    let (trust, roles) = keystone.db.read(find).await?;
    let target = target(Some(&trust.trustor_user_id), Some(&trust.trustee_user_id));
    enforce(req, rule, target)?;
    unless_by_app_cred(&*own_token(keystone, req).await?)?;
    Ok((trust, roles))
}

/// Whether all are there by whom a redelegated trust came.
fn chain_holds(tx: &mut Tx, trust: &TrustRow) -> Result<bool> {
    let Some(above) = trusts::ancestors(tx, trust)? else {
        return Ok(false);
    };
    for parent in &above {
        if enabled_user(tx, &parent.trustee_user_id)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `GET /v3/OS-TRUST/trusts/{trust_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let (trust, roles) = permitted(&keystone, &req, "identity:get_trust").await?;
    let base = base_url(&keystone, &req);
    one(200, "trust", whole_view(&base, &trust, &roles))
}

/// `GET /v3/OS-TRUST/trusts/{trust_id}/roles`
pub(crate) async fn list_roles(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let (trust, roles) = permitted(&keystone, &req, "identity:list_roles_for_trust").await?;
    let base = base_url(&keystone, &req);
    let views: Vec<Value> = roles.iter().map(|r| role_views::view(&base, r)).collect();
    Reply::ok(&json!({"roles": views, "links": roles_links(&base, &trust)}))
}

/// `GET` and `HEAD /v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}`
pub(crate) async fn show_role(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let (_, roles) = permitted(&keystone, &req, "identity:get_role_for_trust").await?;
    let id = req.param("role_id");
    let role = roles.iter().find(|r| r.id == id);
    let role = role.ok_or_else(|| missing("role", id))?;
    let base = base_url(&keystone, &req);
    one(200, "role", role_views::view(&base, role))
}

/// What the body asks for.
struct New {
    row: TrustRow,
    roles: Vec<NamedRole>,
    allow_redelegation: bool,
    requested_count: Option<i64>,
    /// The trust by whose token it is made.
    parent: Option<String>,
}

fn parse(mut fields: Fields, now: Timestamp) -> Result<New> {
    const WHAT: &str = "trust";
    let requested_count = fields.integer("redelegation_count")?;
    // Which trust it comes from says the caller's token.
    fields.text("redelegated_trust_id")?;
    Ok(New {
        allow_redelegation: fields.flag("allow_redelegation")?.unwrap_or(false),
        roles: fields.roles("roles")?,
        requested_count,
        parent: None,
        row: TrustRow {
            id: new_hex_id(),
            trustor_user_id: fields.required("trustor_user_id", WHAT)?,
            trustee_user_id: fields.required("trustee_user_id", WHAT)?,
            project_id: fields.text("project_id")?.filter(|id| !id.is_empty()),
            impersonation: fields.flag("impersonation")?.unwrap_or(false),
            expires_at: fields.future("expires_at", now)?,
            remaining_uses: fields.integer("remaining_uses")?,
            redelegated_trust_id: None,
            redelegation_count: 0,
            extra: Json(fields.rest()),
        },
    })
}

/// `POST /v3/OS-TRUST/trusts`: by the trustor, or by a trustee who was allowed to hand on what they were given.
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let fields = Fields::of(&req, "trust")?;
    let trustor = fields.all().get("trustor_user_id").and_then(Value::as_str);
    enforce(&req, "identity:create_trust", target(trustor, None))?;
    let token = own_token(&keystone, &req).await?;
    unless_by_app_cred(&token)?;
    let refused = |action: &str| Err(Error::forbidden(wording(action)));
    if trustor != Some(req.ctx.user()) {
        return refused("The authenticated user should match the trustor");
    }
    let now = keystone.clock.now();
    let mut new = parse(fields, now)?;
    if new.row.project_id.is_some() && new.roles.is_empty() {
        return refused("At least one role should be specified");
    }
    if let Scope::Trust { id, .. } = &token.claims.scope {
        new.parent = Some(id.clone());
    }
    let deepest = keystone.conf.trust.max_redelegation_count;
    let (row, roles) = keystone
        .write(move |tx| insert(tx, &new, deepest, now))
        .await?;
    tracing::info!(trust.id = row.id, "trust created");
    let base = base_url(&keystone, &req);
    one(201, "trust", whole_view(&base, &row, &roles))
}

/// How often the trust may be handed on; 0 is not at all.
fn redelegation_count(new: &New, parent: Option<&TrustRow>, deepest: i64) -> Result<i64> {
    let redelegatable = new.allow_redelegation && new.requested_count != Some(0);
    if !redelegatable {
        return match new.row.remaining_uses {
            Some(uses) if uses <= 0 => Err(Error::bad_request(
                "remaining_uses must be a positive integer or null.",
            )),
            _ => Ok(0),
        };
    }
    let asked = new.requested_count;
    if let Some(depth) = asked.filter(|depth| *depth > deepest) {
        return Err(Error::forbidden(format!(
            "Requested redelegation depth of {depth} is greater than allowed {deepest}"
        )));
    }
    if new.row.remaining_uses.is_some() {
        return Err(Error::bad_request(
            "remaining_uses must not be set if redelegation is allowed",
        ));
    }
    let Some(parent) = parent else {
        return Ok(asked.unwrap_or(deepest));
    };
    let left = parent.redelegation_count - 1;
    match asked {
        Some(depth) if depth != left => Err(Error::forbidden(
            "Modifying \"redelegation_count\" upon redelegation is forbidden. Omitting this parameter is advised.",
        )),
        _ => Ok(left),
    }
}

/// What is handed on is no more than what was given.
fn check_redelegation(
    tx: &mut Tx,
    row: &TrustRow,
    role_ids: &[String],
    parent: &TrustRow,
    deepest: i64,
) -> Result<()> {
    let no = |why: &str| Err(Error::forbidden(why));
    if !(1..=deepest).contains(&parent.redelegation_count) {
        return Err(Error::forbidden(format!(
            "Remaining redelegation depth of {} out of allowed range of [0..{deepest}]",
            parent.redelegation_count
        )));
    }
    if let Some(uses) = row.remaining_uses {
        return Err(Error::forbidden(format!(
            "Field \"remaining_uses\" is set to {uses} while it must not be set in order to redelegate a trust"
        )));
    }
    if let Some(end) = parent.expires_at
        && row.expires_at.is_none_or(|own| own > end)
    {
        return no("Requested expiration time is more than redelegated trust can provide");
    }
    if row.project_id != parent.project_id {
        return no("Some of requested roles are not in redelegated trust");
    }
    let given = trusts::role_ids(tx, &parent.id)?;
    if !role_ids.iter().all(|id| given.contains(id)) {
        return no("Some of requested roles are not in redelegated trust");
    }
    if row.impersonation && !parent.impersonation {
        return Err(Error::forbidden(format!(
            "Impersonation is not allowed because redelegated trust does not specify impersonation. Redelegated trust id: {}",
            parent.id
        )));
    }
    Ok(())
}

fn insert(
    tx: &mut Tx,
    new: &New,
    deepest: i64,
    now: Timestamp,
) -> Result<(TrustRow, Vec<RoleRow>)> {
    let mut row = new.row.clone();
    users::get(tx, &row.trustee_user_id)?;
    let role_ids = roles::ids_of(tx, &new.roles)?;
    let parent = match &new.parent {
        Some(id) => {
            let found = trusts::find_live(tx, id, now)?;
            Some(found.ok_or_else(|| missing("trust", id))?)
        }
        None => None,
    };
    let mut chain = match &parent {
        Some(parent) => {
            trusts::ancestors(tx, parent)?.ok_or_else(|| missing("trust", &parent.id))?
        }
        None => vec![],
    };
    if let Some(parent) = &parent {
        chain.insert(0, parent.clone());
        row.redelegated_trust_id = Some(parent.id.clone());
        row.expires_at = row.expires_at.or(parent.expires_at);
    }
    if let Some(project_id) = &row.project_id {
        let project = projects::get(tx, project_id)?;
        let first = chain.last().unwrap_or(&row);
        let held = effective::ids_on_project(tx, &first.trustor_user_id, &project)?;
        if let Some(id) = role_ids.iter().find(|id| !held.contains(*id)) {
            return Err(missing("role", id));
        }
    }
    row.redelegation_count = redelegation_count(new, parent.as_ref(), deepest)?;
    for above in &chain {
        check_redelegation(tx, &row, &role_ids, above, deepest)?;
    }
    tx.insert(&row).map_err(|e| match is_duplicate(&e) {
        true => Error::conflict(
            "Conflict occurred attempting to store trust - Duplicate entry found with trustor, trustee, project, impersonation and expires_at.",
        ),
        false => e,
    })?;
    for role_id in &role_ids {
        tx.insert(&TrustRoleRow {
            trust_id: row.id.clone(),
            role_id: role_id.clone(),
        })?;
    }
    let mut roles: Vec<RoleRow> = tx.select(is_in("id", role_ids.iter()))?;
    roles.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((row, roles))
}

/// `DELETE /v3/OS-TRUST/trusts/{trust_id}`: what was made by it, trusts and tokens, ends with it.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let (trust, _) = permitted(&keystone, &req, "identity:delete_trust").await?;
    let id = trust.id;
    keystone
        .write(move |tx| trusts::delete(tx, eq("id", &id)))
        .await?;
    Ok(Reply::empty(204))
}
