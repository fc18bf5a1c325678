//! `/v3/users/{user_id}/application_credentials`: the secret is told once, its hash is kept.

use crate::Keystone;
use crate::api::delegation::{own_token, unless_by_trust, unless_restricted};
use crate::api::fields::{Fields, expecting};
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{access_rules, base_url, one, self_link};
use crate::assignment::effective;
use crate::db::app_creds::{
    self, AccessRuleRow, AppCred, AppCredRoleRow, AppCredRow, AppCredRuleRow,
};
use crate::db::roles::{self, RoleRow};
use crate::db::{duplicate_name, implied_roles, missing};
use crate::policy::{Target, enforce, wording};
use crate::token::cache::Validated;
use base::{Error, Result, Secret, new_hex_id};
use oslo_db::{Tx, all, eq, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const FILTERS: &[Filter] = &[("name", By::Text("name"))];
const SECRET_BYTES: usize = 64;

fn invalid(detail: &str) -> Error {
    Error::bad_request(format!("Invalid application credential: {detail}"))
}

fn view(base: &str, c: &AppCred, roles: &[RoleRow]) -> Value {
    let row = &c.row;
    let held = roles.iter().filter(|r| c.role_ids.contains(&r.id));
    let roles: Vec<Value> = held
        .map(|r| {
            json!({
                "id": r.id,
                "name": r.name,
                "domain_id": r.domain(),
                "description": r.description,
                "options": r.options.0,
            })
        })
        .collect();
    let path = format!("users/{}/application_credentials/{}", row.user_id, row.id);
    let mut view = json!({
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "system": null,
        "expires_at": row.expires_at.map(|t| t.iso_micros()),
        "unrestricted": row.unrestricted,
        "roles": roles,
        "links": self_link(base, &path),
    });
    if !c.access_rules.is_empty() {
        let rules = c.access_rules.iter().map(access_rules::plain);
        view["access_rules"] = rules.collect();
    }
    view
}

fn new_secret() -> String {
    use base64::Engine;
    use rand::RngCore;
    let mut bytes = [0u8; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn roles_of(tx: &mut Tx, credentials: &[AppCred]) -> Result<Vec<RoleRow>> {
    let ids: BTreeSet<&String> = credentials.iter().flat_map(|c| &c.role_ids).collect();
    tx.select(is_in("id", ids))
}

/// `GET …/application_credentials`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user_id = req.param("user_id").to_string();
    let target = Target::new().path("user_id", &user_id);
    enforce(&req, "identity:list_application_credentials", target)?;
    unless_by_trust(&*own_token(&keystone, &req).await?)?;
    let cond = all([filters(&req.query, FILTERS), eq("user_id", user_id)]);
    let (found, roles) = keystone
        .db
        .read(move |tx| {
            let found = app_creds::list(tx, cond.clone())?;
            let roles = roles_of(tx, &found)?;
            Ok((found, roles))
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = found.iter().map(|c| view(&base, c, &roles)).collect();
    collection(&base, &req, "application_credentials", views, None)
}

/// The credential in the path, if the caller may do `rule` to it. Whose it is says the credential, not the path.
async fn permitted(keystone: &Arc<Keystone>, req: &Req, rule: &str) -> Result<AppCred> {
    let id = req.param("application_credential_id").to_string();
    let found = keystone.db.read(move |tx| app_creds::find(tx, &id)).await?;
    let owner = found.as_ref().map(|c| c.row.user_id.as_str());
    let owner = owner.unwrap_or_else(|| req.param("user_id"));
    enforce(req, rule, Target::new().path("user_id", owner))?;
    found.ok_or_else(|| {
        missing(
            "Application Credential",
            req.param("application_credential_id"),
        )
    })
}

/// `GET …/application_credentials/{application_credential_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:get_application_credential";
    let found = permitted(&keystone, &req, rule).await?;
    unless_by_trust(&*own_token(&keystone, &req).await?)?;
    let (found, roles) = keystone
        .db
        .read(move |tx| {
            let roles = roles_of(tx, std::slice::from_ref(&found))?;
            Ok((found.clone(), roles))
        })
        .await?;
    let view = view(&base_url(&keystone, &req), &found, &roles);
    one(200, "application_credential", view)
}

/// What the body asks for, but for the roles.
struct New {
    row: AppCredRow,
    roles: Vec<roles::NamedRole>,
    rules: Vec<WantedRule>,
}

/// An access rule of the body: one that there is, or a new one.
#[derive(Clone)]
enum WantedRule {
    Id(String),
    Like(AccessRuleRow),
}

fn parse_rule(user_id: &str, mut fields: Fields) -> Result<WantedRule> {
    let id = fields.text("id")?;
    let (service, path) = (fields.text("service")?, fields.text("path")?);
    let method = fields.text("method")?;
    match (id, service, path, method) {
        (id, Some(service), Some(path), Some(method)) => Ok(WantedRule::Like(AccessRuleRow {
            id: id.unwrap_or_else(new_hex_id),
            user_id: user_id.to_string(),
            service,
            path,
            method,
        })),
        (Some(id), ..) => Ok(WantedRule::Id(id)),
        _ => Err(expecting("service, path and method, or id", "access rule")),
    }
}

/// `POST …/application_credentials`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user_id = req.param("user_id").to_string();
    let target = Target::new().path("user_id", &user_id);
    enforce(&req, "identity:create_application_credential", target)?;
    let token = own_token(&keystone, &req).await?;
    unless_by_trust(&token)?;
    unless_restricted(&token, "application credentials")?;
    if req.ctx.user() != user_id {
        return Err(Error::forbidden(wording(
            "Cannot create an application credential for another user.",
        )));
    }
    let mut fields = Fields::of(&req, "application_credential")?;
    let Some(project_id) = req.ctx.project_id.clone() else {
        return Err(invalid("the token is not scoped to a project"));
    };
    let given = fields.text("secret")?.filter(|s| !s.is_empty());
    let secret = Secret::new(given.clone().unwrap_or_else(new_secret));
    let secret_hash = match given {
        Some(_) => keystone.passwords.hash(&secret).await?,
        None => keystone.passwords.hash_random(&secret).await?,
    };
    let rules = fields.objects("access_rules")?.unwrap_or_default();
    let new = New {
        roles: fields.roles("roles")?,
        rules: rules
            .into_iter()
            .map(|rule| parse_rule(&user_id, rule))
            .collect::<Result<_>>()?,
        row: AppCredRow {
            id: new_hex_id(),
            user_id,
            project_id,
            name: fields.required("name", "application_credential")?,
            secret_hash,
            description: fields.text("description")?,
            expires_at: fields.future("expires_at", keystone.clock.now())?,
            unrestricted: fields.flag("unrestricted")?.unwrap_or(false),
        },
    };
    let most = keystone.conf.application_credential.user_limit;
    let (made, roles) = keystone
        .write(move |tx| insert(tx, &new, &token, most))
        .await?;
    tracing::info!(
        app_cred.id = made.row.id,
        user.id = made.row.user_id,
        "application credential created"
    );
    let mut view = view(&base_url(&keystone, &req), &made, &roles);
    view["secret"] = json!(secret.expose());
    one(201, "application_credential", view)
}

fn insert(tx: &mut Tx, new: &New, token: &Validated, most: i64) -> Result<(AppCred, Vec<RoleRow>)> {
    let row = &new.row;
    let has = tx.count::<AppCredRow>(eq("user_id", &row.user_id))?;
    if most >= 0 && has >= most.unsigned_abs() {
        return Err(Error::forbidden(format!(
            "Unable to create additional application credentials, maximum of {most} already exceeded for user."
        )));
    }
    let held = token.standing.token.roles.as_deref().unwrap_or_default();
    let held: BTreeSet<String> = held.iter().map(|r| r.id.clone()).collect();
    let role_ids = match new.roles.is_empty() {
        true => held,
        false => {
            // With what they imply, and nothing that the caller's own token lacks.
            let asked = roles::ids_of(tx, &new.roles)?;
            let asked = effective::with_implied(asked.into_iter(), &implied_roles::map(tx)?);
            if !asked.is_subset(&held) {
                return Err(invalid(
                    "Cannot create an application credential with unassigned role",
                ));
            }
            asked
        }
    };
    let project = crate::db::projects::get(tx, &row.project_id)?;
    let now_held = effective::ids_on_project(tx, &row.user_id, &project)?;
    if role_ids.is_empty() || !role_ids.is_subset(&now_held) {
        return Err(invalid("the user has lost a role on the project"));
    }
    tx.insert(row)
        .map_err(|e| duplicate_name("application_credential", &row.name, None, e))?;
    for role_id in &role_ids {
        tx.insert(&AppCredRoleRow {
            app_cred_id: row.id.clone(),
            role_id: role_id.clone(),
        })?;
    }
    let mut rules: Vec<AccessRuleRow> = Vec::new();
    for wanted in &new.rules {
        let rule = ensure_rule(tx, &row.user_id, wanted)?;
        if rules.iter().any(|r| r.id == rule.id) {
            continue;
        }
        tx.insert(&AppCredRuleRow {
            app_cred_id: row.id.clone(),
            access_rule_id: rule.id.clone(),
        })?;
        rules.push(rule);
    }
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    let made = AppCred {
        row: row.clone(),
        role_ids: role_ids.into_iter().collect(),
        access_rules: rules,
    };
    let roles = roles_of(tx, std::slice::from_ref(&made))?;
    Ok((made, roles))
}

/// The user's own rule that is meant or that says the same, or a new one.
fn ensure_rule(tx: &mut Tx, user_id: &str, wanted: &WantedRule) -> Result<AccessRuleRow> {
    let new = match wanted {
        WantedRule::Id(id) => {
            let found = app_creds::find_rule(tx, user_id, id)?;
            return found.ok_or_else(|| invalid(&format!("Could not find Access Rule: {id}.")));
        }
        WantedRule::Like(new) => new,
    };
    let same = all([
        eq("user_id", user_id),
        eq("service", &new.service),
        eq("path", &new.path),
        eq("method", &new.method),
    ]);
    if let Some(found) = tx.find::<AccessRuleRow>(same)? {
        return Ok(found);
    }
    // An id of the caller's choice may be taken, also by somebody else's rule.
    let mut new = new.clone();
    if tx.exists::<AccessRuleRow>(eq("id", &new.id))? {
        new.id = new_hex_id();
    }
    tx.insert(&new)?;
    Ok(new)
}

/// `DELETE …/application_credentials/{application_credential_id}`: its tokens end with it.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:delete_application_credential";
    let found = permitted(&keystone, &req, rule).await?;
    let token = own_token(&keystone, &req).await?;
    unless_by_trust(&token)?;
    unless_restricted(&token, "application credentials")?;
    let id = found.row.id;
    keystone
        .write(move |tx| match app_creds::delete(tx, eq("id", &id))? {
            0 => Err(missing("Application Credential", &id)),
            _ => Ok(()),
        })
        .await?;
    Ok(Reply::empty(204))
}
