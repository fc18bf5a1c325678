//! `/v3/OS-REVOKE/events`, and what is left of tokens that were signed documents.

use crate::Keystone;
use crate::api::base_url;
use crate::db::revocations::{self, RevocationRow};
use crate::policy::{Target, enforce};
use base::{Error, Kind, Result, Timestamp};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(r: &RevocationRow) -> Value {
    let mut event = json!({
        "issued_before": r.issued_before.iso_micros_z(),
        "revoked_at": r.issued_before.iso_micros_z(),
    });
    let about = [
        ("user_id", &r.user_id),
        ("project_id", &r.project_id),
        ("domain_id", &r.domain_id),
        ("audit_id", &r.audit_id),
    ];
    for (name, id) in about {
        if let Some(id) = id {
            event[name] = json!(id);
        }
    }
    event
}

/// `GET /v3/OS-REVOKE/events?since=`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_revoke_events", Target::new())?;
    let oldest = keystone.clock.now().minus(keystone.revocations_last());
    let since = match req.query.get("since").filter(|s| !s.is_empty()) {
        None => oldest,
        Some(text) => Timestamp::parse(text)
            .map_err(|_| Error::bad_request(format!("invalidate date format {text}")))?
            .max(oldest),
    };
    let mut rows = keystone
        .db
        .read(move |tx| revocations::since(tx, since))
        .await?;
    rows.sort_by_key(|r| r.issued_before);
    let events: Vec<Value> = rows.iter().map(view).collect();
    let link = format!("{}/OS-REVOKE/events", base_url(&keystone, &req));
    Reply::ok(&json!({
        "events": events,
        "links": {"next": null, "self": link, "previous": null},
    }))
}

/// `GET /v3/OS-SIMPLE-CERT/ca` and `…/certificates`
pub(crate) async fn certificates(_: Arc<Keystone>, _: Req) -> Result<Reply> {
    Err(Error::new(
        Kind::Gone,
        "This API is no longer available due to the removal of support for PKI tokens.",
    ))
}

/// `GET /v3/auth/tokens/OS-PKI/revoked`
pub(crate) async fn revocation_list(_: Arc<Keystone>, _: Req) -> Result<Reply> {
    Err(Error::forbidden(
        "You are not authorized to perform the requested action.",
    ))
}
