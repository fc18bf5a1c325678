//! The whole cloud as a library: the binary starts one, the cloud tests start many.

pub mod adapters;
pub mod boot;
pub mod config;
pub mod dead_letters;
pub mod docs;
pub mod doctor;
pub mod explain;
pub mod haproxy;
pub mod join;
pub mod listen;
pub mod logging;
mod metrics;
pub mod parts;
pub mod private;
pub mod schema;
pub mod secrets;
pub mod status;
pub mod trace;
