//! HTTP in, HTTP out.

pub mod aggregates;
pub mod allocations;
pub mod candidates;
pub mod classes;
pub mod inventories;
pub mod providers;
pub mod reshaper;
pub mod root;
pub mod traits;
pub mod usages;

use base::{Error, Result, Timestamp};
use oslo_http::{Reply, Req};

/// From 1.15 on replies say when what they show changed last, and that they must not be cached.
pub fn dated(reply: Reply, req: &Req, at: Timestamp) -> Reply {
    if !req.at_least(1, 15) {
        return reply;
    }
    let text = at.format("%a, %d %b %Y %H:%M:%S GMT");
    reply
        .header("last-modified", text)
        .header("cache-control", "no-cache")
}

/// Clients that accept no JSON get a 406, as upstream's `wsgi_wrapper` answers.
pub fn json_accepted(req: &Req) -> Result<()> {
    let Some(accept) = req.header("accept") else {
        return Ok(());
    };
    let fine = ["application/json", "application/*", "*/*"];
    if accept
        .split(',')
        .any(|a| fine.contains(&a.split(';').next().unwrap_or("").trim()))
    {
        return Ok(());
    }
    Err(Error::new(
        base::Kind::NotAcceptable,
        "Only application/json is provided",
    ))
}
