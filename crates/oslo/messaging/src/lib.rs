//! Remote procedure calls and notifications between the parts of a cloud (oslo.messaging's job).
//!
//! A [`Bus`] is one handle over two transports with the same semantics and the same bytes: in-process, and
//! RabbitMQ with oslo.messaging's envelope. Services never use it raw: [`interface!`] turns a list of methods
//! into a trait (server side) and a client.

mod bus;
mod client;
mod dead;
mod dispatch;
mod envelope;
mod failure;
mod in_process;
mod interface;
mod measure;
mod notify;
mod rabbit;
mod seen;
mod server;
mod target;
mod transport;

pub use bus::{Bus, Options};
pub use client::Client;
pub use dispatch::Dispatcher;
pub use interface::{Args, serve};
pub use notify::{Notification, NotificationHandler, Priority};
pub use rabbit::{DeadLetter, DeadLetters, RabbitConfig};
pub use server::ServerHandle;
pub use target::Target;

#[doc(hidden)]
pub mod __interface {
    pub use crate::interface::{answer, no_such_method};
}

/// What [`interface!`] needs in other crates, so that they depend on this one only.
#[doc(hidden)]
pub mod __private {
    pub use async_trait::async_trait;
    pub use base::Result;
    pub use oslo_context::RequestContext;
    pub use serde_json::Value;
    pub use std::sync::Arc;
    pub use std::time::Duration;
}
