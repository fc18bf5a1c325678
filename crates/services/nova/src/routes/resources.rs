//! Everything that is not a server.

use crate::Nova;
use oslo_http::Route;

pub(super) fn routes() -> Vec<Route<Nova>> {
    Vec::new()
}
