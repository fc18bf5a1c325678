//! Stories through the API, and what agents are told after each.

mod cost;
mod house;
mod networks;
mod ports;
mod routers;
mod scaled;
mod security;
