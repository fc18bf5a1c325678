//! `/v3/users/{user_id}/access_rules`: made with application credentials, and theirs to share.

use crate::Keystone;
use crate::api::delegation::{own_token, unless_by_trust};
use crate::api::list::{By, Filter, collection, filters};
use crate::api::users;
use crate::api::{base_url, one, self_link};
use crate::db::app_creds::{self, AccessRuleRow, AppCredRuleRow};
use crate::db::missing;
use crate::policy::{Target, enforce};
use base::{Dir, Error, Result};
use oslo_db::{all, eq};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[
    ("service", By::Text("service")),
    ("path", By::Text("path")),
    ("method", By::Text("method")),
];

/// As credentials show it.
pub(crate) fn plain(r: &AccessRuleRow) -> Value {
    json!({"id": r.id, "service": r.service, "path": r.path, "method": r.method})
}

fn view(base: &str, r: &AccessRuleRow) -> Value {
    let mut view = plain(r);
    // COMPAT: the link leads nowhere, as upstream's.
    view["links"] = self_link(base, &format!("access_rules/{}", r.id));
    view
}

async fn permit(keystone: &Arc<Keystone>, req: &Req, rule: &str) -> Result<String> {
    let user_id = req.param("user_id").to_string();
    let found = users::in_path(keystone, user_id.clone()).await?;
    enforce(req, rule, Target::new().user(found.as_ref()))?;
    unless_by_trust(&*own_token(keystone, req).await?)?;
    Ok(user_id)
}

/// `GET …/access_rules`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user_id = permit(&keystone, &req, "identity:list_access_rules").await?;
    let cond = all([filters(&req.query, FILTERS), eq("user_id", user_id)]);
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<AccessRuleRow>(cond.clone(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|r| view(&base, r)).collect();
    collection(&base, &req, "access_rules", views, None)
}

/// `GET …/access_rules/{access_rule_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user_id = permit(&keystone, &req, "identity:get_access_rule").await?;
    let id = req.param("access_rule_id").to_string();
    let row = keystone
        .db
        .read(move |tx| {
            let found = app_creds::find_rule(tx, &user_id, &id)?;
            found.ok_or_else(|| missing("Access Rule", &id))
        })
        .await?;
    one(200, "access_rule", view(&base_url(&keystone, &req), &row))
}

/// `DELETE …/access_rules/{access_rule_id}`: not while a credential has it, or the credential would be good for all.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user_id = permit(&keystone, &req, "identity:delete_access_rule").await?;
    let id = req.param("access_rule_id").to_string();
    keystone
        .write(move |tx| {
            if app_creds::find_rule(tx, &user_id, &id)?.is_none() {
                return Err(missing("Access Rule", &id));
            }
            if tx.exists::<AppCredRuleRow>(eq("access_rule_id", &id))? {
                return Err(Error::forbidden("May not delete access rule in use"));
            }
            tx.delete::<AccessRuleRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}
