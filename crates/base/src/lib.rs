//! Values that the whole house shares: errors, ids, time, microversions, secrets, cells and pages.
//!
//! Nothing here performs I/O, knows a service, or needs a runtime.

mod cell;
mod error;
pub mod id;
mod list;
mod microversion;
mod secret;
mod time;

pub use cell::{Cell, CellRef, CellValue, Json};
pub use error::{Error, Kind, Result};
pub use id::{new_hex_id, new_id};
pub use list::{Dir, Page, Paging};
pub use microversion::Microversion;
pub use secret::Secret;
#[doc(hidden)]
pub use serde;
pub use time::{Clock, Timestamp};
