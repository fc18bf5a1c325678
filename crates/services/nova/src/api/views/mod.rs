//! Rows to replies, with microversions.

pub mod server;
