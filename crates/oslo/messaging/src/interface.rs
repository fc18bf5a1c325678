//! `interface!`: a service's RPC contract, written once, as a trait and a client.

use crate::bus::Bus;
use crate::dispatch::Dispatcher;
use crate::server::ServerHandle;
use crate::target::Target;
use base::{Error, Kind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Arguments by name.
pub struct Args(Result<Map<String, Value>>);

impl Args {
    /// None yet.
    #[allow(clippy::new_without_default)] // an empty list is a statement here, not a default
    pub fn new() -> Args {
        Args(Ok(Map::new()))
    }

    /// Adds one.
    pub fn add(mut self, name: &str, value: impl Serialize) -> Args {
        if let Ok(map) = &mut self.0 {
            match serde_json::to_value(value) {
                Ok(value) => drop(map.insert(name.to_string(), value)),
                Err(e) => self.0 = Err(Error::internal(format!("the argument {name}: {e}"))),
            }
        }
        self
    }

    /// Those of a message.
    pub fn of(value: Value) -> Args {
        match value {
            Value::Object(map) => Args(Ok(map)),
            Value::Null => Args::new(),
            _ => Args(Err(bad_args("the arguments are not an object"))),
        }
    }

    /// Takes one out; one that is missing counts as null, so that optional parameters can be added later.
    pub fn take<T: DeserializeOwned>(&mut self, method: &str, name: &str) -> Result<T> {
        let map = match &mut self.0 {
            Ok(map) => map,
            Err(error) => return Err(error.clone()),
        };
        let value = map.remove(name).unwrap_or(Value::Null);
        serde_json::from_value(value)
            .map_err(|e| bad_args(&format!("{method}: the argument {name}: {e}")))
    }

    pub(crate) fn into_value(self) -> Result<Value> {
        self.0.map(Value::Object)
    }
}

// Two of our processes disagree: not the fault of the user whose request this is, so not a 400.
fn bad_args(words: &str) -> Error {
    Error::internal(words).class("InvalidRpcArguments")
}

/// What an interface answers to a method it does not have.
#[doc(hidden)]
pub fn no_such_method(method: &str) -> Error {
    Error::new(
        Kind::NotImplemented,
        format!("Endpoint does not support RPC method {method}"),
    )
    .class("NoSuchMethod")
}

/// What a method returned, as JSON.
#[doc(hidden)]
pub fn answer(method: &str, value: impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::internal(format!("the answer of {method}: {e}")))
}

/// Serves a topic as `server`; the typed form is `SomeClient::serve`.
pub async fn serve(
    bus: &Bus,
    target: &Target,
    dispatcher: Arc<dyn Dispatcher>,
) -> Result<ServerHandle> {
    bus.serve(target, dispatcher).await
}

/// Declares an RPC interface: a trait for the server and a client.
///
/// ```ignore
/// oslo_messaging::interface! {
///     /// What a compute node does.
///     pub trait ComputeApi, client ComputeClient, topic "compute", exchange "nova", version "6.0" {
///         /// Starts a server.
///         call fn spawn(&self, spec: InstanceSpec) -> SpawnResult;
///         cast fn refresh(&self, host: String);
///     }
/// }
/// ```
///
/// makes `trait ComputeApi` with `async fn spawn(&self, ctx: &RequestContext, spec: InstanceSpec) ->
/// Result<SpawnResult>`, and `ComputeClient` with the same methods, `new(bus)`, `server(name)`, `fanout()`,
/// `timeout(duration)`, and `ComputeClient::serve(&bus, server, Arc<impl ComputeApi>)`.
#[macro_export]
macro_rules! interface {
    (
        $(#[$meta:meta])*
        $vis:vis trait $api:ident, client $client:ident, topic $topic:literal, exchange $exchange:literal,
        version $version:literal {
            $(
                $(#[$mmeta:meta])*
                $kind:ident fn $method:ident(&self $(, $arg:ident : $ty:ty)* $(,)?) $(-> $ret:ty)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[allow(unused_parens)]
        #[$crate::__private::async_trait]
        $vis trait $api: Send + Sync + 'static {
            $(
                $(#[$mmeta])*
                async fn $method(
                    &self,
                    ctx: &$crate::__private::RequestContext,
                    $($arg: $ty),*
                ) -> $crate::__private::Result<($($ret)?)>;
            )*
        }

        #[doc = concat!("Calls [`", stringify!($api), "`] over a bus.")]
        #[derive(Clone)]
        $vis struct $client {
            client: $crate::Client,
        }

        #[allow(unused_parens, dead_code)]
        impl $client {
            /// The topic that servers of this interface listen on.
            pub const TOPIC: &'static str = $topic;
            /// The exchange that the topic belongs to.
            pub const EXCHANGE: &'static str = $exchange;
            /// The version of the interface.
            pub const VERSION: &'static str = $version;

            /// A client of whichever server is next.
            pub fn new(bus: impl ::std::convert::Into<$crate::Bus>) -> $client {
                $client { client: $crate::Client::new(bus.into(), Self::target()) }
            }

            /// The same for one server.
            pub fn server(&self, server: &str) -> $client {
                $client { client: self.client.server(server) }
            }

            /// The same for all servers; only casts can fan out.
            pub fn fanout(&self) -> $client {
                $client { client: self.client.fanout() }
            }

            /// The same with another timeout for calls.
            pub fn timeout(&self, timeout: $crate::__private::Duration) -> $client {
                $client { client: self.client.timeout(timeout) }
            }

            /// The address of the interface.
            pub fn target() -> $crate::Target {
                $crate::Target::topic($exchange, $topic).version($version)
            }

            /// Serves the interface as `server` until the handle is stopped or dropped.
            pub async fn serve<T: $api + ?Sized>(
                bus: &$crate::Bus,
                server: &str,
                api: $crate::__private::Arc<T>,
            ) -> $crate::__private::Result<$crate::ServerHandle> {
                bus.serve(&Self::target().server(server), Self::dispatcher(api)).await
            }

            /// The interface as a dispatcher, for those who serve it in their own way.
            pub fn dispatcher<T: $api + ?Sized>(
                api: $crate::__private::Arc<T>,
            ) -> $crate::__private::Arc<dyn $crate::Dispatcher> {
                struct Endpoint<T: ?Sized>($crate::__private::Arc<T>);

                #[$crate::__private::async_trait]
                impl<T: $api + ?Sized> $crate::Dispatcher for Endpoint<T> {
                    #[allow(unused_mut, unused_variables)]
                    async fn dispatch(
                        &self,
                        ctx: $crate::__private::RequestContext,
                        method: &str,
                        args: $crate::__private::Value,
                    ) -> $crate::__private::Result<$crate::__private::Value> {
                        let mut args = $crate::Args::of(args);
                        match method {
                            $(
                                stringify!($method) => {
                                    $(let $arg: $ty = args.take(method, stringify!($arg))?;)*
                                    let answer = self.0.$method(&ctx, $($arg),*).await?;
                                    $crate::__interface::answer(method, answer)
                                }
                            )*
                            other => Err($crate::__interface::no_such_method(other)),
                        }
                    }

                    fn version(&self) -> Option<&str> {
                        Some($version)
                    }
                }

                $crate::__private::Arc::new(Endpoint(api))
            }

            $(
                $(#[$mmeta])*
                pub async fn $method(
                    &self,
                    ctx: &$crate::__private::RequestContext,
                    $($arg: $ty),*
                ) -> $crate::__private::Result<($($ret)?)> {
                    let args = $crate::Args::new()$(.add(stringify!($arg), $arg))*;
                    self.client.$kind(ctx, stringify!($method), args).await
                }
            )*
        }
    };
}
