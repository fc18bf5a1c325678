//! The route table: one row per operation, with its policy rule beside its handler.
//!
//! A row is data. `ferrostack docs` prints the table, the surface test walks it, the dispatcher matches against it.
//! Handlers are plain async functions; their types are erased here so that a change to one handler does not rebuild the rest.

use crate::{Reply, Req};
use base::{Microversion, Result};
use futures::future::BoxFuture;
use http::Method;
use std::future::Future;
use std::sync::Arc;

/// Who may enter a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Everybody with a valid token; no rule exists upstream.
    Authenticated,
    /// The rule is checked before the handler, against the caller's own project, user and domain. The handler's
    /// queries are then scoped to the rows that the caller may see.
    Rule(&'static str),
    /// The rule needs the resource as target: the handler checks it. The dispatcher refuses to send a success for which no rule was checked.
    Inside(&'static str),
}

/// How a route takes its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// JSON, or nothing; parsed and validated before the handler.
    Json,
    /// Bytes of any type, as a stream.
    Stream,
}

pub(crate) type Handler<S> =
    Arc<dyn Fn(Arc<S>, Req) -> BoxFuture<'static, Result<Reply>> + Send + Sync>;

/// A row of the table.
pub struct Route<S> {
    /// The method; a GET row answers HEAD too.
    pub method: Method,
    /// `/v2.1/servers/{server_id}`; a last segment `{name*}` takes the rest of the path.
    pub path: &'static str,
    /// For `POST …/action` bodies: the single key of the body that picks this row.
    pub action: Option<&'static str>,
    /// Who may enter.
    pub access: Access,
    /// First microversion that has it.
    pub min: Option<Microversion>,
    /// Last microversion that has it.
    pub max: Option<Microversion>,
    /// How the body is taken.
    pub body: BodyKind,
    pub(crate) handler: Handler<S>,
}

/// A row of any method.
pub fn route<S, F, Fut>(method: Method, path: &'static str, access: Access, handler: F) -> Route<S>
where
    F: Fn(Arc<S>, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply>> + Send + 'static,
{
    Route {
        method,
        path,
        action: None,
        access,
        min: None,
        max: None,
        body: BodyKind::Json,
        handler: Arc::new(move |s, r| Box::pin(handler(s, r))),
    }
}

macro_rules! method_fn {
    ($($(#[$m:meta])* $name:ident $method:ident),*) => {$(
        $(#[$m])*
        pub fn $name<S, F, Fut>(path: &'static str, access: Access, handler: F) -> Route<S>
        where
            F: Fn(Arc<S>, Req) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Reply>> + Send + 'static,
        {
            route(Method::$method, path, access, handler)
        }
    )*};
}
method_fn!(
    /// A GET row (and HEAD).
    get GET,
    /// A POST row.
    post POST,
    /// A PUT row.
    put PUT,
    /// A PATCH row.
    patch PATCH,
    /// A DELETE row.
    delete DELETE
);

/// A row of `POST path` picked by the body's single key.
pub fn action<S, F, Fut>(
    path: &'static str,
    key: &'static str,
    access: Access,
    handler: F,
) -> Route<S>
where
    F: Fn(Arc<S>, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply>> + Send + 'static,
{
    Route {
        action: Some(key),
        ..route(Method::POST, path, access, handler)
    }
}

/// Shorthand for [`Access::Rule`].
pub const fn rule(name: &'static str) -> Access {
    Access::Rule(name)
}

/// Shorthand for [`Access::Inside`].
pub const fn inside(name: &'static str) -> Access {
    Access::Inside(name)
}

/// Shorthand for [`Access::Public`].
pub const PUBLIC: Access = Access::Public;
/// Shorthand for [`Access::Authenticated`].
pub const AUTHENTICATED: Access = Access::Authenticated;

impl<S> Route<S> {
    /// Exists from this microversion on; below, the route is not found.
    pub fn since(mut self, major: u16, minor: u16) -> Self {
        self.min = Some(Microversion(major, minor));
        self
    }

    /// Exists up to this microversion, included.
    pub fn until(mut self, major: u16, minor: u16) -> Self {
        self.max = Some(Microversion(major, minor));
        self
    }

    /// The body comes as a stream.
    pub fn stream(mut self) -> Self {
        self.body = BodyKind::Stream;
        self
    }

    pub(crate) fn serves(&self, version: Microversion) -> bool {
        self.min.is_none_or(|m| version >= m) && self.max.is_none_or(|m| version <= m)
    }
}

/// What documentation and the surface test see of a row.
#[derive(Clone, Debug)]
pub struct RouteInfo {
    /// See [`Route::method`].
    pub method: Method,
    /// See [`Route::path`].
    pub path: &'static str,
    /// See [`Route::action`].
    pub action: Option<&'static str>,
    /// See [`Route::access`].
    pub access: Access,
    /// See [`Route::min`].
    pub min: Option<Microversion>,
    /// See [`Route::max`].
    pub max: Option<Microversion>,
}

impl<S> From<&Route<S>> for RouteInfo {
    fn from(r: &Route<S>) -> RouteInfo {
        RouteInfo {
            method: r.method.clone(),
            path: r.path,
            action: r.action,
            access: r.access,
            min: r.min,
            max: r.max,
        }
    }
}
