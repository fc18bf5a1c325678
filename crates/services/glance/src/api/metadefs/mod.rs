//! Metadata definitions: namespaces and what is in them.

pub mod namespaces;
pub mod objects;
pub mod properties;
pub mod resource_types;
pub mod tags;

use crate::Glance;
use crate::db::metadefs::{NamespaceRow, get, get_for_update};
use base::{Error, Kind, Page, Paging, Result};
use oslo_context::RequestContext;
use oslo_db::{Table, Tx, all, eq, is_duplicate};
use oslo_http::{PagingRules, Req, parse_paging};
use std::sync::Arc;

type Find = fn(&mut Tx, &RequestContext, &str) -> Result<NamespaceRow>;

/// What is done within a namespace that the caller may see, once `rule` allows it.
fn permitted<T: 'static, W>(
    req: &Req,
    rule: &'static str,
    find: Find,
    work: W,
) -> impl Fn(&mut Tx) -> Result<T> + Send + Sync + 'static + use<T, W>
where
    W: Fn(&mut Tx, &NamespaceRow) -> Result<T> + Send + Sync + 'static,
{
    let (ctx, policy) = (Arc::clone(&req.ctx), Arc::clone(req.policy()));
    let name = req.param("namespace").to_string();
    move |tx: &mut Tx| {
        let namespace = find(tx, &ctx, &name)?;
        policy.enforce(rule, &ctx, &namespace.target())?;
        work(tx, &namespace)
    }
}

/// Reads within a namespace.
async fn read<T: Send + 'static>(
    glance: &Glance,
    req: &Req,
    rule: &'static str,
    work: impl Fn(&mut Tx, &NamespaceRow) -> Result<T> + Send + Sync + 'static,
) -> Result<T> {
    glance.db.read(permitted(req, rule, get, work)).await
}

/// Changes something within a namespace; nobody else changes it meanwhile.
async fn write<T: Send + 'static>(
    glance: &Glance,
    req: &Req,
    rule: &'static str,
    work: impl Fn(&mut Tx, &NamespaceRow) -> Result<T> + Send + Sync + 'static,
) -> Result<T> {
    let work = permitted(req, rule, get_for_update, work);
    glance.db.write(work).await
}

/// A taken name as a 409 in upstream's words.
fn taken(words: String) -> impl FnOnce(Error) -> Error {
    move |e| match is_duplicate(&e) {
        true => Error::conflict(words),
        false => e,
    }
}

/// 403 for what is in a protected namespace; `what` completes "Metadata definition …".
fn refuse_protected(namespace: &NamespaceRow, what: impl FnOnce() -> String) -> Result<()> {
    if !namespace.protected {
        return Ok(());
    }
    Err(Error::forbidden(format!(
        "Metadata definition {} is protected and cannot be deleted.",
        what()
    )))
}

const SORT_KEYS: &[(&str, &str)] = &[
    ("created_at", "created_at"),
    ("id", "id"),
    ("name", "name"),
    ("updated_at", "updated_at"),
];

/// How a page of what is in a namespace is asked for; without a limit all of it.
fn paging(glance: &Glance, req: &Req) -> Result<Paging> {
    let rules = PagingRules {
        default_limit: None,
        max_limit: glance.conf.api_limit_max,
        ..PagingRules::new(SORT_KEYS)
    };
    parse_paging(&req.query, &rules)
}

/// A page of a namespace's rows; the marker is a name.
fn page<T: Table>(
    tx: &mut Tx,
    namespace: &NamespaceRow,
    paging: &Paging,
    id: impl Fn(&T) -> String,
) -> Result<Page<T>> {
    let mut paging = paging.clone();
    if let Some(marker) = paging.marker.take() {
        let row = tx.find::<T>(all([eq("namespace", &namespace.id), eq("name", &marker)]))?;
        let row = row.ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!("The marker {marker} was not found."),
            )
        })?;
        paging.marker = Some(id(&row));
    }
    tx.page::<T>(eq("namespace", &namespace.id), &paging)
}
