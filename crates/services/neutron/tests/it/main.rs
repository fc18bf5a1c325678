//! Stories through the API, and what agents are told after each.

mod cost;
mod follow;
mod house;
mod mariadb;
mod networks;
mod ports;
mod routers;
mod scaled;
mod security;
