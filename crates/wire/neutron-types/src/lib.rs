//! neutron-types
pub mod rpc;
