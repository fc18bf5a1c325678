//! How a host becomes part of a cloud: a controller hands out a ticket, good for one host and a short time; the host shows
//! it to that controller, whose certificate the ticket names, and gets its configuration and the secrets of its role.

mod desk;
mod host;
mod ticket;

pub use desk::Desk;
pub use host::{Wish, join, ticket};
