//! `GET /allocation_candidates`.

use super::{dated, json_accepted, providers};
use crate::Placement;
use crate::candidates::request::Request;
use crate::candidates::{search, view};
use base::{Error, Result};
use oslo_db::Tx;
use oslo_http::{Reply, Req};
use std::collections::BTreeSet;
use std::sync::Arc;

pub async fn list(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let request = Request::parse(&req)?;
    let traits = request.trait_names();
    let classes: BTreeSet<String> = request.classes().into_iter().map(str::to_string).collect();
    let check = move |tx: &mut Tx| providers::check_names(tx, &traits, &classes);
    placement.refresh_and(check).await?;
    // A search over many hosts takes milliseconds, and others wait for this thread.
    let (searched, version) = (Arc::clone(&placement), req.version);
    let span = tracing::Span::current();
    let search = move || {
        let _entered = span.entered();
        searched.look(|index| {
            let found = search::search(index, &request);
            Reply::ok(&view::candidates(index, &request, &found, version))
        })
    };
    let reply = tokio::task::spawn_blocking(search).await;
    let reply = reply.map_err(Error::internal)??;
    Ok(dated(reply, &req, placement.clock.now()))
}
