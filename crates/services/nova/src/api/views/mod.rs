//! Rows to replies, with microversions.

pub mod aggregate;
pub mod flavor;
pub mod hypervisor;
pub mod links;
pub mod quota;
pub mod server;
