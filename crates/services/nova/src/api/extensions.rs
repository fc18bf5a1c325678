//! The extensions of the time before microversions. All of them have long been part of the API; the list is fixed.

use crate::Nova;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn all() -> Result<Vec<Value>> {
    Ok(serde_json::from_str(include_str!(
        "../../data/extensions.json"
    ))?)
}

/// `GET /extensions`.
pub async fn list(_nova: Arc<Nova>, _req: Req) -> Result<Reply> {
    Reply::ok(&json!({"extensions": all()?}))
}

/// `GET /extensions/{id}`.
pub async fn show(_nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let found = all()?.into_iter().find(|e| e["alias"] == req.param("id"));
    let found = found.ok_or_else(|| Error::not_found("The resource could not be found."))?;
    Reply::ok(&json!({"extension": found}))
}
