//! Rows to replies, with microversions.

pub mod server;
pub mod aggregate;
pub mod flavor;
pub mod hypervisor;
pub mod links;
pub mod quota;
