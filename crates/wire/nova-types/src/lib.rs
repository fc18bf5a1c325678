//! Compute: the contracts between nova's processes.

pub mod rpc;
pub mod scheduler;
