//! `GET /allocation_candidates`.

use super::{dated, json_accepted, providers};
use crate::Placement;
use crate::candidates::request::Request;
use crate::candidates::{search, view};
use base::Result;
use oslo_http::{Reply, Req};
use std::collections::BTreeSet;
use std::sync::Arc;

pub async fn list(placement: Arc<Placement>, req: Req) -> Result<Reply> {
    json_accepted(&req)?;
    let request = Request::parse(&req)?;
    let traits = request.trait_names();
    let classes: BTreeSet<String> = request.classes().into_iter().map(str::to_string).collect();
    placement
        .db
        .read(move |tx| providers::check_names(tx, &traits, &classes))
        .await?;
    placement.refresh().await?;
    placement.look(|index| {
        let found = search::search(index, &request);
        let reply = Reply::ok(&view::candidates(index, &request, &found, req.version))?;
        Ok(dated(reply, &req, placement.clock.now()))
    })
}
