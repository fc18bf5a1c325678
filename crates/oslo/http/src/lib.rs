//! HTTP for every service: route tables as data, microversions, schemas, faults, request ids, paging links, TLS.
//!
//! A service gives [`Api::new`] its state, its rows ([`Route`]) and its style ([`ApiConfig`]); what comes out is an
//! [`Endpoint`] that the server ([`serve`]) and the in-process transport of `sdk` call alike, so the bytes are the same.
//!
//! ```ignore
//! pub fn routes() -> Vec<Route<Cinder>> {
//!     vec![
//!         get("/v3/{project_id}/volumes/{volume_id}", rule("volume:get"), volumes::show),
//!         action("/v3/{project_id}/volumes/{volume_id}/action", "os-extend", inside("volume:extend"), volumes::extend),
//!     ]
//! }
//! // in api/volumes.rs
//! pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> { … }
//! ```

mod body;
mod dispatch;
pub mod faults;
mod health;
mod measure;
mod paging;
mod patience;
mod reply;
mod request;
mod route;
mod schema;
mod server;

pub use body::Body;
pub use dispatch::{Api, ApiConfig, Asked, Authenticate, Endpoint, VersionRange};
pub use health::Health;
pub use paging::{PagingRules, next_link, page_link, parse_paging};
pub use reply::Reply;
pub use request::{Query, Req, is_true, percent_decode, percent_encode};
pub use route::{
    AUTHENTICATED, Access, BodyKind, PUBLIC, Route, RouteInfo, action, delete, get, inside, patch,
    post, put, route, rule,
};
pub use rustls::ServerConfig as TlsConfig;
pub use schema::{Schemas, Wording};
pub use server::{ServerOptions, bind, serve, tls_config};

pub use bytes::Bytes;
pub use http::{HeaderMap, Method, StatusCode};
