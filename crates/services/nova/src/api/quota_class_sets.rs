//! The limits of the class `default`, which hold for every project without limits of its own.

use super::quota_sets::asked;
use super::values::wrapped;
use super::views::quota;
use crate::Nova;
use base::Result;
use oslo_http::{Reply, Req};
use serde_json::json;
use std::sync::Arc;

/// `GET /os-quota-class-sets/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (limits, class) = (nova.limits.clone(), req.param("id").to_string());
    let name = class.clone();
    let all = nova.db.read(move |tx| limits.class(tx, &name)).await?;
    let mut set = quota::set(&req, all.iter().map(|(n, l)| (*n, json!(l))), true);
    set.insert("id".into(), json!(class));
    Reply::ok(&json!({"quota_class_set": set}))
}

/// `PUT /os-quota-class-sets/{id}`.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let (limits, class) = (nova.limits.clone(), req.param("id").to_string());
    let asked = asked(&limits, wrapped(req.json.as_ref(), "quota_class_set")?)?;
    let all = nova
        .db
        .write(move |tx| {
            for (name, limit) in &asked {
                limits.set_class(tx, &class, name, *limit)?;
            }
            limits.class(tx, &class)
        })
        .await?;
    let set = quota::set(&req, all.iter().map(|(n, l)| (*n, json!(l))), true);
    Reply::ok(&json!({"quota_class_set": set}))
}
