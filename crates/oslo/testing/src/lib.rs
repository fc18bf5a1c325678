//! What tests stand on: databases, buses and caches of their own, free ports, and upstream's schemas of answers.

pub mod answers;
pub mod bus;
pub mod cache;
pub mod db;
pub mod ldap;
pub mod port;
mod server;
pub mod upstream;
