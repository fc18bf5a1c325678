//! The management of a cache of images. Files are local here, so there is none, and this is how upstream answers then.

use crate::Glance;
use base::{Error, Result};
use oslo_http::{Reply, Req};
use std::sync::Arc;

pub async fn off(_: Arc<Glance>, _: Req) -> Result<Reply> {
    Err(Error::not_found(
        "Caching via API is not supported at this site.",
    ))
}
