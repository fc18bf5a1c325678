//! `/v3/users`, their passwords, groups and projects.

use crate::Keystone;
use crate::api::fields::{Fields, MALFORMED, expecting};
use crate::api::list::{By, Filter, collection, filters, marker_error, next, paging};
use crate::api::projects::domain_or_default;
use crate::api::{
    base_url, federated, groups, merged_options, one, projects, self_link, unauthorized, with_extra,
};
use crate::assignment::effective;
use crate::db::assignments::AssignmentRow;
use crate::db::credentials::CredentialRow;
use crate::db::federation::Forsaken;
use crate::db::groups::GroupRow;
use crate::db::memberships::{self, MembershipRow};
use crate::db::revocations::{self, Revoke};
use crate::db::users::{self, FormerPasswordRow, UserRow};
use crate::db::{Extra, app_creds, duplicate_name, federation, missing, oauth1, trusts};
use crate::policy::{Target, enforce};
use base::{Error, Json, Result, Secret, Timestamp, new_hex_id};
use oslo_db::{Cond, Tx, all, eq, ge, gt, is_in, le, lt, ne, set};
use oslo_http::{Query, Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const FILTERS: &[Filter] = &[
    ("domain_id", By::Text("domain_id")),
    ("enabled", By::Flag("enabled")),
    ("name", By::Text("name")),
    ("default_project_id", By::Text("default_project_id")),
];
const SORTS: &[&str] = &["id", "name", "domain_id"];

pub(crate) fn view(base: &str, u: &UserRow) -> Value {
    let mut view = json!({
        "id": u.id,
        "name": u.shown_name(),
        "domain_id": u.domain_id,
        "enabled": u.enabled,
        "password_expires_at": u.password_expires_at.map(Timestamp::iso_micros),
        "options": u.options.0,
        "links": self_link(base, &format!("users/{}", u.id)),
    });
    if let Some(id) = &u.default_project_id {
        view["default_project_id"] = json!(id);
    }
    with_extra(view, &u.extra.0)
}

/// `password_expires_at=lt:2026-01-02T03:04:05Z`
pub(crate) fn by_expiry(query: &Query) -> Result<Option<Cond>> {
    for (name, value) in &query.0 {
        if name != "password_expires_at" {
            continue;
        }
        let (operator, time) = value.split_once(':').unwrap_or(("eq", value));
        if !matches!(operator, "eq" | "neq" | "lt" | "lte" | "gt" | "gte") {
            return Err(Error::bad_request(format!(
                "The given operator {operator} is not valid. It must be one of the following: 'eq', 'neq', 'lt', 'lte', 'gt', or 'gte'."
            )));
        }
        let time = Timestamp::parse(time).map_err(|_| {
            Error::bad_request(format!("Timestamp not in expected format. {MALFORMED}"))
        })?;
        let column = "password_expires_at";
        return Ok(Some(match operator {
            "neq" => ne(column, time),
            "lt" => lt(column, time),
            "lte" => le(column, time),
            "gt" => gt(column, time),
            "gte" => ge(column, time),
            _ => eq(column, time),
        }));
    }
    Ok(None)
}

/// `GET /v3/users`: a domain's reader sees that domain's users.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let own = req.ctx.domain_id.clone();
    let target = own
        .as_deref()
        .map_or_else(Target::new, |id| Target::new().set("domain_id", id));
    enforce(&req, "identity:list_users", target)?;
    let domain_id = own.as_deref().or_else(|| req.query.get("domain_id"));
    keystone
        .look_for_users(domain_id, req.query.get("name"))
        .await?;
    let but_name = req.query.0.iter().filter(|(name, _)| name != "name");
    let mut conditions = vec![
        filters(&Query(but_name.cloned().collect()), FILTERS),
        federated::filter(&req.query),
    ];
    let name = req.query.get("name").map(str::to_string);
    let domain_id = domain_id.map(str::to_string);
    conditions.extend(own.map(|id| eq("domain_id", id)));
    conditions.extend(by_expiry(&req.query)?);
    let cond = all(conditions);
    let paging = paging(&req.query, keystone.conf.keystone.max_db_limit, SORTS)?;
    let page = keystone
        .db
        .read(move |tx| {
            let mut cond = cond.clone();
            if let Some(name) = &name {
                let ids = users::called(tx, domain_id.as_deref(), name)?;
                cond = all([cond, is_in("id", ids.iter())]);
            }
            tx.page::<UserRow>(cond, &paging)
        })
        .await;
    let page = page.map_err(|e| marker_error(&req.query, e))?;
    let base = base_url(&keystone, &req);
    let next = next(&req, &page, |u| &u.id);
    let seen = page.items.into_iter().map(|u| keystone.as_seen(u));
    let views = seen.map(|u| view(&base, &u)).collect();
    collection(&base, &req, "users", views, next)
}

/// The user in the path.
pub(crate) async fn in_path(keystone: &Keystone, id: String) -> Result<Option<UserRow>> {
    keystone.look_for_user(&id).await?;
    keystone.db.read(move |tx| users::find(tx, &id)).await
}

/// The user found, if the caller may do `rule` to them; that none was found is only told to those who may.
fn permit(req: &Req, rule: &str, found: Option<UserRow>) -> Result<UserRow> {
    let id = req.param("user_id");
    enforce(
        req,
        rule,
        Target::new().user(found.as_ref()).path("user_id", id),
    )?;
    found.ok_or_else(|| missing("user", id))
}

/// `GET /v3/users/{user_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("user_id").to_string()).await?;
    let row = keystone.as_seen(permit(&req, "identity:get_user", found)?);
    let id = row.id.clone();
    let links = keystone
        .db
        .read(move |tx| federation::links_of(tx, &id))
        .await?;
    let mut view = view(&base_url(&keystone, &req), &row);
    federated::show(&mut view, &links);
    one(200, "user", view)
}

fn check_default_project(tx: &mut Tx, id: Option<&str>) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    if crate::db::projects::find_domain(tx, id)?.is_some() {
        return Err(Error::bad_request(format!(
            "User's default project ID cannot be a domain ID: {id}"
        )));
    }
    Ok(())
}

/// `POST /v3/users`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let mut fields = Fields::of(&req, "user")?;
    let given = fields.text("domain_id")?;
    // COMPAT: the rule sees the domain that the body names, not the one that stands in for it.
    let target = given.as_ref().map_or_else(Target::new, |id| {
        Target::new().set("user", json!({"domain_id": id}))
    });
    enforce(&req, "identity:create_user", target)?;
    let domain_id = domain_or_default(&keystone, &req, given);
    keystone.refuse_directory(&domain_id).await?;
    let password = fields.text("password")?.map(Secret::new);
    let hash = match &password {
        Some(password) => {
            keystone.compliance.check(password)?;
            Some(keystone.passwords.hash(password).await?)
        }
        None => None,
    };
    let now = keystone.clock.now();
    let links = federated::take(&mut fields)?;
    let mut row = UserRow {
        id: new_hex_id(),
        name: fields.required("name", "user")?.trim().to_string(),
        domain_id,
        enabled: fields.flag("enabled")?.unwrap_or(true),
        default_project_id: fields.text("default_project_id")?,
        password_changed_at: hash.as_ref().map(|_| now),
        password_hash: hash,
        created_at: Some(now),
        options: Json(merged_options(&Extra::new(), fields.object("options")?)),
        extra: Json(fields.rest()),
        ..UserRow::default()
    };
    if row.password_hash.is_some() {
        row.password_expires_at = keystone.compliance.end_of_password(&row, false, now);
    }
    let new = row.clone();
    let links = keystone
        .write(move |tx| {
            crate::db::projects::get_domain(tx, &new.domain_id)?;
            check_default_project(tx, new.default_project_id.as_deref())?;
            tx.insert(&new)
                .map_err(|e| duplicate_name("user", &new.name, Some(&new.domain_id), e))?;
            federated::save(tx, &new.id, links.as_deref().unwrap_or_default())?;
            federation::links_of(tx, &new.id)
        })
        .await?;
    tracing::info!(user.id = row.id, "user created");
    let mut view = view(&base_url(&keystone, &req), &row);
    federated::show(&mut view, &links);
    one(201, "user", view)
}

/// `PATCH /v3/users/{user_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("user_id").to_string()).await?;
    let row = permit(&req, "identity:update_user", found)?;
    keystone.refuse_mirrored(&[&row.id]).await?;
    let mut fields = Fields::of(&req, "user")?;
    if fields
        .text("domain_id")?
        .is_some_and(|d| d != row.domain_id)
    {
        return Err(Error::bad_request("Update of `domain_id` is not allowed."));
    }
    if fields.text("id")?.is_some_and(|id| id != row.id) {
        return Err(Error::bad_request("Cannot change user ID"));
    }
    let password = fields.nullable("password")?;
    let hash = match &password {
        Some(Some(password)) => {
            let password = Secret::new(password.as_str());
            keystone.compliance.check(&password)?;
            Some(Some(keystone.passwords.hash(&password).await?))
        }
        Some(None) => Some(None),
        None => None,
    };
    let (id, now, keep) = (row.id, keystone.clock.now(), keystone.revocations_last());
    let house = Arc::clone(&keystone);
    let links = federated::take(&mut fields)?;
    let (row, links) = keystone
        .write(move |tx| {
            let mut row = users::get(tx, &id)?;
            let mut fields = fields.clone();
            let was_enabled = row.enabled;
            let enabled = fields.flag("enabled")?;
            if enabled == Some(true) {
                row.failed_auth_count = 0;
                row.failed_auth_at = None;
                row.last_active_at = Some(now);
            }
            let name = fields.text("name")?.map(|n| n.trim().to_string());
            match row.display_name {
                // The name of one who exists by an identity provider's word is their id.
                Some(_) => row.display_name = name.or(row.display_name),
                None => row.name = name.unwrap_or(row.name),
            }
            row.enabled = enabled.unwrap_or(row.enabled);
            if let Some(project) = fields.nullable("default_project_id")? {
                check_default_project(tx, project.as_deref())?;
                row.default_project_id = project;
            }
            row.options.0 = merged_options(&row.options.0, fields.object("options")?);
            row.extra.0.extend(fields.rest());
            if let Some(hash) = &hash {
                users::retire(tx, &row, now, house.compliance.kept_passwords())?;
                row.password_hash.clone_from(hash);
                row.password_changed_at = Some(now);
                row.password_self_service = false;
                let end = house.compliance.end_of_password(&row, false, now);
                row.password_expires_at = end.filter(|_| hash.is_some());
            }
            let forsaken = match &links {
                Some(links) => federated::save(tx, &id, links)?,
                None => false,
            };
            // Who is linked again must not find the old tokens good.
            if hash.is_some() || (was_enabled && !row.enabled) || forsaken {
                revocations::add(tx, Revoke::User(&id), now, keep)?;
            }
            let mut values = vec![
                set("name", &row.name),
                set("display_name", &row.display_name),
                set("enabled", row.enabled),
                set("default_project_id", &row.default_project_id),
                set("password_hash", &row.password_hash),
                set("password_changed_at", row.password_changed_at),
                set("password_expires_at", row.password_expires_at),
                set("password_self_service", row.password_self_service),
                set("options", &row.options),
                set("extra", &row.extra),
            ];
            // Logins write these at any moment, past the generation.
            if enabled == Some(true) {
                values.extend([
                    set("failed_auth_count", row.failed_auth_count),
                    set("failed_auth_at", row.failed_auth_at),
                    set("last_active_at", row.last_active_at),
                ]);
            }
            tx.update::<UserRow>(eq("id", &id), &values)
                .map_err(|e| duplicate_name("user", &row.name, Some(&row.domain_id), e))?;
            let links = federation::links_of(tx, &id)?;
            Ok((row, links))
        })
        .await?;
    let row = keystone.as_seen(row);
    let mut view = view(&base_url(&keystone, &req), &row);
    federated::show(&mut view, &links);
    one(200, "user", view)
}

/// `DELETE /v3/users/{user_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("user_id").to_string()).await?;
    let row = permit(&req, "identity:delete_user", found)?;
    keystone.refuse_mirrored(&[&row.id]).await?;
    let comes_back = row.display_name.is_some();
    let id = row.id.clone();
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    keystone
        .write(move |tx| {
            if comes_back {
                revocations::add(tx, Revoke::User(&id), now, keep)?;
            }
            remove(tx, std::slice::from_ref(&id))
        })
        .await?;
    tracing::info!(user.id = row.id, "user deleted");
    Ok(Reply::empty(204))
}

/// Takes users away with all that is theirs. Who may come back under the same id needs a revocation beside.
pub(crate) fn remove(tx: &mut Tx, ids: &[String]) -> Result<()> {
    for ids in ids.chunks(5_000) {
        tx.delete::<AssignmentRow>(is_in("actor_id", ids.iter()))?;
        tx.delete::<MembershipRow>(is_in("user_id", ids.iter()))?;
        tx.delete::<CredentialRow>(is_in("user_id", ids.iter()))?;
        app_creds::delete_of_users(tx, ids)?;
        trusts::delete_of_users(tx, ids)?;
        federation::delete_of_users(tx, ids)?;
        oauth1::delete_of_users(tx, ids)?;
        tx.delete::<FormerPasswordRow>(is_in("user_id", ids.iter()))?;
        tx.delete::<UserRow>(is_in("id", ids.iter()))?;
    }
    Ok(())
}

/// Ends what users had by an identity provider's word, and takes away those who exist by it only. They may come back.
pub(crate) fn forsake(tx: &mut Tx, users: &Forsaken, now: Timestamp, keep: Duration) -> Result<()> {
    for id in &users.all {
        revocations::add(tx, Revoke::User(id), now, keep)?;
    }
    remove(tx, &users.alone)
}

/// `POST /v3/users/{user_id}/password`: proof is the old password, so no token is needed.
pub(crate) async fn change_password(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let mut fields = Fields::of(&req, "user")?;
    let original = fields
        .text("original_password")?
        .ok_or_else(|| expecting("original_password", "user"))?;
    let password = fields
        .text("password")?
        .ok_or_else(|| expecting("password", "user"))?;
    keystone.refuse_mirrored(&[req.param("user_id")]).await?;
    let found = in_path(&keystone, req.param("user_id").to_string()).await?;
    let original = Secret::new(original);
    let row = keystone.verify_password(found, &original).await?;
    let password = Secret::new(password);
    keystone.check_choice(&row, &password).await?;
    let new_hash = keystone.passwords.hash(&password).await?;
    let kept = keystone.compliance.kept_passwords();
    let (now, keep) = (keystone.clock.now(), keystone.revocations_last());
    let end = keystone.compliance.end_of_password(&row, true, now);
    keystone
        .write(move |tx| {
            // Only over the password that was proven: two changes at once do not both succeed.
            let same = all([eq("id", &row.id), eq("password_hash", &row.password_hash)]);
            let values = [
                set("password_hash", &new_hash),
                set("password_changed_at", now),
                set("password_expires_at", end),
                set("password_self_service", true),
                set("failed_auth_count", 0i64),
            ];
            if tx.update::<UserRow>(same, &values)? != 1 {
                return Err(unauthorized());
            }
            users::retire(tx, &row, now, kept)?;
            revocations::add(tx, Revoke::User(&row.id), now, keep)
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `GET /v3/users/{user_id}/groups`
pub(crate) async fn list_groups(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("user_id").to_string()).await?;
    let row = permit(&req, "identity:list_groups_for_user", found)?;
    let mut conditions = vec![filters(&req.query, &[("name", By::Text("name"))])];
    // Whose token is of a domain is told of nobody else's groups.
    conditions.extend(req.ctx.domain_id.as_ref().map(|id| eq("domain_id", id)));
    let cond = all(conditions);
    let rows = keystone
        .db
        .read(move |tx| {
            let ids = memberships::groups_of(tx, &row.id)?;
            tx.select::<GroupRow>(all([is_in("id", ids.iter()), cond.clone()]))
        })
        .await?;
    let base = base_url(&keystone, &req);
    collection(
        &base,
        &req,
        "groups",
        rows.iter().map(|g| groups::view(&base, g)).collect(),
        None,
    )
}

/// `GET /v3/users/{user_id}/projects`
pub(crate) async fn list_projects(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("user_id").to_string()).await?;
    let row = permit(&req, "identity:list_user_projects", found)?;
    let rows = keystone
        .db
        .read(move |tx| effective::projects_of(tx, &row.id))
        .await?;
    let wanted = |p: &&crate::db::projects::ProjectRow| {
        req.query
            .get("enabled")
            .is_none_or(|e| crate::api::list::flag(e) == p.enabled)
            && req.query.get("name").is_none_or(|n| n == p.name)
            && req.query.get("domain_id").is_none_or(|d| d == p.domain_id)
    };
    let base = base_url(&keystone, &req);
    let views = rows
        .iter()
        .filter(wanted)
        .map(|p| projects::view(&base, p))
        .collect();
    collection(&base, &req, "projects", views, None)
}
