//! A service's way to its neighbours: one [`Sdk`], over HTTP or straight into the neighbour's router.
//!
//! The token is the user's (with the service's own beside it) or the service's own; the bytes are the same in both
//! shapes. Typed methods live in one file per neighbour.

mod catalog;
mod client;
mod fault;
mod glance;
mod key_manager;
mod keystone;
mod neutron;
mod outside;
mod pinned;
mod placement;
mod transport;
mod web;

pub use catalog::{CatalogEndpoint, get_at};
pub use client::{Answer, Caller, Sdk, ServiceCredentials};
pub use glance::GlanceClient;
pub use http::Method;
pub use key_manager::KeptSecret;
pub use keystone::KeystoneTokens;
pub use neutron::NeutronClient;
pub use outside::Outside;
pub use pinned::{Fingerprint, post_pinned};
pub use placement::{Consumer, PlacementClient};
pub use transport::{Http, InProcess, Transport};
pub use web::{WebFilter, fetch};
