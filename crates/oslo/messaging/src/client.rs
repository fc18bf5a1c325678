//! A bus, a target and a timeout together: what the clients of `interface!` are made of.

use crate::bus::Bus;
use crate::interface::Args;
use crate::target::Target;
use base::{Error, Result};
use oslo_context::RequestContext;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A client of one topic.
#[derive(Clone)]
pub struct Client {
    bus: Bus,
    target: Target,
    timeout: Duration,
}

impl Client {
    /// A client of whichever server of the topic is next.
    pub fn new(bus: Bus, target: Target) -> Client {
        let timeout = bus.options().call_timeout;
        Client {
            bus,
            target,
            timeout,
        }
    }

    /// The same for one server.
    pub fn server(&self, server: &str) -> Client {
        Client {
            target: self.target.clone().server(server),
            ..self.clone()
        }
    }

    /// The same for all servers; only casts can fan out.
    pub fn fanout(&self) -> Client {
        Client {
            target: self.target.clone().fanout(),
            ..self.clone()
        }
    }

    /// The same with another timeout for calls.
    pub fn timeout(&self, timeout: Duration) -> Client {
        Client {
            timeout,
            ..self.clone()
        }
    }

    /// Calls and decodes the answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        ctx: &RequestContext,
        method: &str,
        args: Args,
    ) -> Result<T> {
        let args = args.into_value()?;
        let answer = self
            .bus
            .call_within(ctx, &self.target, method, args, self.timeout)
            .await?;
        serde_json::from_value(answer)
            .map_err(|e| Error::internal(format!("the answer of {method}: {e}")))
    }

    /// Casts, to one or to all.
    pub async fn cast(&self, ctx: &RequestContext, method: &str, args: Args) -> Result<()> {
        self.bus
            .cast(ctx, &self.target, method, args.into_value()?)
            .await
    }
}
