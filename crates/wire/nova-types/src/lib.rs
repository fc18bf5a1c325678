//! Compute: the contract between nova and its compute hosts.

pub mod rpc;
