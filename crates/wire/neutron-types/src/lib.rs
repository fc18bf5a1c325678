//! The network service as others see it: REST bodies ([`rest`]) and what its server and agents say to each other ([`rpc`]).

pub mod rest;
pub mod rpc;
