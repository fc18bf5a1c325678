//! `/v3/users/{user_id}/OS-OAUTH1/access_tokens`: what a user let consumers do.

use crate::Keystone;
use crate::api::delegation::{own_token, unless_delegated};
use crate::api::list::collection;
use crate::api::{base_url, one, roles as role_views, self_link};
use crate::db::missing;
use crate::db::oauth1::{self, AccessTokenRow};
use crate::db::roles::RoleRow;
use crate::policy::{Target, enforce};
use base::{Dir, Error, Result, Timestamp};
use oslo_db::{eq, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn path(t: &AccessTokenRow) -> String {
    format!("users/{}/OS-OAUTH1/access_tokens/{}", t.user_id, t.id)
}

fn view(base: &str, t: &AccessTokenRow) -> Value {
    let mut links = self_link(base, &path(t));
    links["roles"] = format!("{base}/{}/roles", path(t)).into();
    json!({
        "id": t.id,
        "consumer_id": t.consumer_id,
        "project_id": t.project_id,
        "authorizing_user_id": t.user_id,
        "expires_at": t.expires_at.map(Timestamp::iso_micros_z),
        "links": links,
    })
}

async fn permit(keystone: &Arc<Keystone>, req: &Req, rule: &str) -> Result<()> {
    let target = Target::new().path("user_id", req.param("user_id"));
    enforce(req, rule, target)?;
    unless_delegated(
        &*own_token(keystone, req).await?,
        "Cannot manage OAuth access tokens with a token issued via delegation.",
    )
}

/// `GET …/access_tokens`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    permit(&keystone, &req, "identity:list_access_tokens").await?;
    let user_id = req.param("user_id").to_string();
    let rows = keystone
        .db
        .read(move |tx| {
            let theirs = eq("user_id", &user_id);
            tx.select_sorted::<AccessTokenRow>(theirs, &[("id", Dir::Asc)], None)
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|t| view(&base, t)).collect();
    collection(&base, &req, "access_tokens", views, None)
}

/// The access token in the path, with its roles that are still there.
async fn found(keystone: &Keystone, req: &Req) -> Result<(AccessTokenRow, Vec<RoleRow>)> {
    let id = req.param("access_token_id").to_string();
    let (row, mut roles) = keystone
        .db
        .read(move |tx| {
            let row = oauth1::get_access_token(tx, &id)?;
            let roles: Vec<RoleRow> = tx.select(is_in("id", row.role_ids.0.iter()))?;
            Ok((row, roles))
        })
        .await?;
    if row.user_id != req.param("user_id") {
        return Err(Error::not_found("Access token not found"));
    }
    roles.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((row, roles))
}

/// `GET …/access_tokens/{access_token_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    permit(&keystone, &req, "identity:get_access_token").await?;
    let (row, _) = found(&keystone, &req).await?;
    one(200, "access_token", view(&base_url(&keystone, &req), &row))
}

/// `GET …/access_tokens/{access_token_id}/roles`
pub(crate) async fn list_roles(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    permit(&keystone, &req, "identity:list_access_token_roles").await?;
    let (_, roles) = found(&keystone, &req).await?;
    let base = base_url(&keystone, &req);
    let views = roles.iter().map(|r| role_views::view(&base, r)).collect();
    collection(&base, &req, "roles", views, None)
}

/// `GET …/access_tokens/{access_token_id}/roles/{role_id}`
pub(crate) async fn show_role(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    permit(&keystone, &req, "identity:get_access_token_role").await?;
    let (_, roles) = found(&keystone, &req).await?;
    let id = req.param("role_id");
    let role = roles.iter().find(|r| r.id == id);
    let role = role.ok_or_else(|| missing("role", id))?;
    one(
        200,
        "role",
        role_views::view(&base_url(&keystone, &req), role),
    )
}

/// `DELETE …/access_tokens/{access_token_id}`: the consumer's tokens end with it.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    permit(&keystone, &req, "identity:delete_access_token").await?;
    let (row, _) = found(&keystone, &req).await?;
    keystone
        .write(
            move |tx| match tx.delete::<AccessTokenRow>(eq("id", &row.id))? {
                0 => Err(Error::not_found("Access token not found")),
                _ => Ok(()),
            },
        )
        .await?;
    Ok(Reply::empty(204))
}
