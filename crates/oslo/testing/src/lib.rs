//! What tests stand on: databases, buses and caches of their own, and free ports.

pub mod bus;
pub mod cache;
pub mod db;
pub mod port;
pub mod upstream;
