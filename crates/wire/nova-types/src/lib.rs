//! Nova's contract as others see it: the messages between conductor and compute agents ([`rpc`]).

pub mod rpc;
