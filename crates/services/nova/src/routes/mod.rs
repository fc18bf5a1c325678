//! The whole HTTP surface: servers and what belongs to them, then everything else.

mod resources;
mod servers;

use crate::Nova;
use oslo_http::Route;

/// Every row.
pub fn routes() -> Vec<Route<Nova>> {
    let mut rows = servers::routes();
    rows.extend(resources::routes());
    rows
}
