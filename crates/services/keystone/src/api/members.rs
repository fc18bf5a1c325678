//! `/v3/groups/{group_id}/users`: who is in a group.

use crate::Keystone;
use crate::api::list::{By, collection, filters};
use crate::api::{base_url, groups, users};
use crate::db::groups::GroupRow;
use crate::db::memberships::{self, MembershipRow};
use crate::db::missing;
use crate::db::users::UserRow;
use crate::policy::{Target, enforce};
use base::{Error, Result};
use oslo_db::{all, eq, is_in};
use oslo_http::{Reply, Req};
use std::sync::Arc;

const FILTERS: &[crate::api::list::Filter] = &[
    ("domain_id", By::Text("domain_id")),
    ("enabled", By::Flag("enabled")),
    ("name", By::Text("name")),
];

/// `GET /v3/groups/{group_id}/users`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let id = req.param("group_id").to_string();
    let group = groups::in_path(&keystone, id.clone()).await?;
    enforce(
        &req,
        "identity:list_users_in_group",
        Target::new().group(group.as_ref()),
    )?;
    group.ok_or_else(|| missing("group", &id))?;
    keystone.look_for_group(&id, true).await?;
    let mut conditions = vec![filters(&req.query, FILTERS)];
    conditions.extend(users::by_expiry(&req.query)?);
    // Whose token is of a domain is told of nobody else's users.
    conditions.extend(req.ctx.domain_id.as_ref().map(|id| eq("domain_id", id)));
    let cond = all(conditions);
    let rows = keystone
        .db
        .read(move |tx| {
            let ids = memberships::users_of(tx, &id)?;
            tx.select::<UserRow>(all([is_in("id", ids.iter()), cond.clone()]))
        })
        .await?;
    let base = base_url(&keystone, &req);
    collection(
        &base,
        &req,
        "users",
        rows.into_iter()
            .map(|u| users::view(&base, &keystone.as_seen(u)))
            .collect(),
        None,
    )
}

/// The pair in the path, if the caller may do `rule` to both and both exist.
fn permit(
    req: &Req,
    rule: &str,
    user: Option<UserRow>,
    group: Option<GroupRow>,
) -> Result<MembershipRow> {
    enforce(
        req,
        rule,
        Target::new().user(user.as_ref()).group(group.as_ref()),
    )?;
    let group = group.ok_or_else(|| missing("group", req.param("group_id")))?;
    let user = user.ok_or_else(|| missing("user", req.param("user_id")))?;
    Ok(MembershipRow {
        user_id: user.id,
        group_id: group.id,
        ..MembershipRow::default()
    })
}

fn not_in_group(pair: &MembershipRow) -> Error {
    Error::not_found(format!(
        "Could not find user '{}' in group '{}'.",
        pair.user_id, pair.group_id
    ))
}

fn same(pair: &MembershipRow) -> oslo_db::Cond {
    all([eq("user_id", &pair.user_id), eq("group_id", &pair.group_id)])
}

/// `PUT /v3/groups/{group_id}/users/{user_id}`
pub(crate) async fn add(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user = users::in_path(&keystone, req.param("user_id").to_string()).await?;
    let group = groups::in_path(&keystone, req.param("group_id").to_string()).await?;
    let pair = permit(&req, "identity:add_user_to_group", user, group)?;
    keystone
        .refuse_mirrored(&[&pair.user_id, &pair.group_id])
        .await?;
    keystone
        .write(move |tx| tx.upsert(&pair, &["user_id", "group_id"]))
        .await?;
    Ok(Reply::empty(204))
}

/// `GET /v3/groups/{group_id}/users/{user_id}` and `HEAD`
pub(crate) async fn check(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user = users::in_path(&keystone, req.param("user_id").to_string()).await?;
    let group = groups::in_path(&keystone, req.param("group_id").to_string()).await?;
    let pair = permit(&req, "identity:check_user_in_group", user, group)?;
    let wanted = same(&pair);
    let found = keystone
        .db
        .read(move |tx| tx.exists::<MembershipRow>(wanted.clone()))
        .await?;
    if found {
        Ok(Reply::empty(204))
    } else {
        Err(not_in_group(&pair))
    }
}

/// `DELETE /v3/groups/{group_id}/users/{user_id}`: what the user held through the group ends at once.
pub(crate) async fn remove(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user = users::in_path(&keystone, req.param("user_id").to_string()).await?;
    let group = groups::in_path(&keystone, req.param("group_id").to_string()).await?;
    let pair = permit(&req, "identity:remove_user_from_group", user, group)?;
    keystone
        .refuse_mirrored(&[&pair.user_id, &pair.group_id])
        .await?;
    keystone
        .write(move |tx| match tx.delete::<MembershipRow>(same(&pair))? {
            0 => Err(not_in_group(&pair)),
            _ => Ok(()),
        })
        .await?;
    Ok(Reply::empty(204))
}
