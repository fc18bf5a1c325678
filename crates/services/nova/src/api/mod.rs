//! HTTP in, HTTP out: parse, authorise, call the noun, view.

pub mod attachments;
pub mod external_events;
pub mod interfaces;
pub mod server_actions;
pub mod server_metadata;
pub mod server_tags;
pub mod servers;
pub mod servers_create;
pub mod views;
