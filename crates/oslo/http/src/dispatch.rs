//! From a raw request to a handler and back: match, negotiate, authenticate, read, validate, authorise, handle, dress.
//!
//! Upstream spreads this over a paste pipeline (request id, keystonemiddleware, microversion-parse, jsonschema
//! decorators, oslo.policy calls in each method); here it is one straight function, the same for every service.

use crate::faults::{FaultContext, FaultStyle};
use crate::measure::{Meter, Names, UnderWay};
use crate::request::percent_decode;
use crate::route::{Access, BodyKind, Route, RouteInfo};
use crate::schema::{OperationSchemas, Schemas};
use crate::{Body, Health, Query, Reply, Req};
use base::{Error, Kind, Microversion, Result, id};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use oslo_context::RequestContext;
use oslo_policy::Enforcer;
use serde_json::Value;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing::Instrument;

/// A service as its callers see it; what the server and the in-process transport call.
pub trait Endpoint: Send + Sync + 'static {
    /// Answers one request; errors are replies too.
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply>;
    /// The rows, for documentation and the surface test.
    fn routes(&self) -> Vec<RouteInfo>;
    /// The service's name, `nova`.
    fn name(&self) -> &'static str;
    /// What `/healthcheck` says, if the service has it.
    fn health(&self) -> Option<&Health> {
        None
    }
}

/// What is asked of whom, as far as it matters to whoever lets callers in.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The service, by its name: `nova`.
    pub service: &'static str,
    /// The method as sent.
    pub method: &'a Method,
    /// The path as sent, without query.
    pub path: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// Token to context; `oslo-auth` implements it, keystone has its own.
pub trait Authenticate: Send + Sync + 'static {
    /// The caller of this request; 401 also for one whose token is good for other requests only.
    fn admit<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<RequestContext>> {
        self.authenticate(asked.headers)
    }

    /// The caller behind the headers (`X-Auth-Token`, `X-Service-Token`); 401 if there is none. Identity headers such
    /// as `X-Roles` are never read.
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>>;
}

/// A service's microversions.
#[derive(Clone, Copy, Debug)]
pub struct VersionRange {
    /// `compute`, `volume`, `placement`: the word in `OpenStack-API-Version`.
    pub service_type: &'static str,
    /// The oldest, which callers get who ask for none.
    pub min: Microversion,
    /// The newest.
    pub max: Microversion,
    /// A header of older clients, `X-OpenStack-Nova-API-Version`.
    pub legacy_header: Option<&'static str>,
}

/// What distinguishes a service's surface from another's.
pub struct ApiConfig {
    /// `nova`.
    pub name: &'static str,
    /// The shape of errors.
    pub faults: FaultStyle,
    /// Microversions, if the service has them.
    pub versions: Option<VersionRange>,
    /// JSON bodies larger than this are 413; bytes.
    pub max_body: usize,
    /// Further headers that carry the request id (`x-compute-request-id`).
    pub request_id_headers: &'static [&'static str],
    /// Whether a body of another content type than JSON is 415; keystone and glance do not mind.
    pub strict_content_type: bool,
    /// Whether an unknown path asks for a token first, as services behind keystonemiddleware do.
    pub auth_first: bool,
    /// The identity service's public address, for `WWW-Authenticate`.
    pub identity_uri: String,
    /// Whether `/things/` is `/things`, as keystone and neutron have it. Elsewhere an empty id is no collection.
    pub trailing_slash: bool,
}

impl ApiConfig {
    /// The usual: 1 MiB bodies, JSON only, token first.
    pub fn new(name: &'static str, faults: FaultStyle) -> ApiConfig {
        ApiConfig {
            name,
            faults,
            versions: None,
            max_body: 1 << 20,
            request_id_headers: &[],
            strict_content_type: true,
            auth_first: true,
            identity_uri: "http://127.0.0.1:5000/".into(),
            trailing_slash: false,
        }
    }
}

#[derive(Default)]
struct Node {
    literal: HashMap<&'static str, Node>,
    parameter: Option<Box<Node>>,
    rest: Vec<usize>,
    rows: Vec<usize>,
}

struct Row<S> {
    route: Route<S>,
    names: Vec<&'static str>,
    schema: Option<(Arc<Schemas>, OperationSchemas)>,
    meter: Meter,
}

/// A service's whole surface: its state, its rows, its faults, its rules.
pub struct Api<S> {
    state: Arc<S>,
    config: ApiConfig,
    rows: Vec<Row<S>>,
    tree: Node,
    auth: Arc<dyn Authenticate>,
    policy: Arc<Enforcer>,
    health: Health,
    in_flight: OnceLock<metrics::Gauge>,
    /// Of requests that no row answers.
    unmatched: Meter,
}

/// What is learnt of a request on its way, for the reply and the log whatever becomes of it.
struct Learnt {
    version: Microversion,
    row: Option<usize>,
}

struct Matched {
    rows: Vec<usize>,
    values: Vec<String>,
}

impl<S: Send + Sync + 'static> Api<S> {
    /// Builds the surface. Two rows that answer the same request are a mistake that tests catch, so they are an error here.
    pub fn new(
        state: Arc<S>,
        config: ApiConfig,
        routes: Vec<Route<S>>,
        auth: Arc<dyn Authenticate>,
        policy: Arc<Enforcer>,
        schemas: Option<Schemas>,
    ) -> Result<Api<S>> {
        let mut schemas_taken = schemas;
        let mut tree = Node::default();
        let mut rows: Vec<Row<S>> = Vec::with_capacity(routes.len());
        let shared = schemas_taken.as_mut().map(Schemas::share);
        for route in routes {
            let index = rows.len();
            let mut names = Vec::new();
            let mut node = &mut tree;
            let mut rest = false;
            for segment in route.path.split('/').filter(|s| !s.is_empty()) {
                match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                    Some(name) if name.ends_with('*') => {
                        names.push(name.trim_end_matches('*'));
                        rest = true;
                    }
                    Some(name) => {
                        names.push(name);
                        node = node.parameter.get_or_insert_default();
                    }
                    None => node = node.literal.entry(segment).or_default(),
                }
            }
            let slot = if rest { &mut node.rest } else { &mut node.rows };
            for other in slot.iter().map(|i| &rows[*i].route) {
                let same = other.method == route.method && other.action == route.action;
                let apart = matches!((other.max, route.min), (Some(a), Some(b)) if a < b)
                    || matches!((route.max, other.min), (Some(a), Some(b)) if a < b);
                if same && !apart {
                    return Err(Error::internal(format!(
                        "two rows for {} {} {:?}",
                        route.method, route.path, route.action
                    )));
                }
            }
            slot.push(index);
            let schema = match (&shared, &mut schemas_taken) {
                (Some(shared), Some(schemas)) => schemas
                    .take(route.method.as_str(), route.path, route.action)
                    .map(|s| (Arc::clone(shared), s)),
                _ => None,
            };
            rows.push(Row {
                route,
                names,
                schema,
                meter: Meter::default(),
            });
        }
        Ok(Api {
            state,
            config,
            rows,
            tree,
            auth,
            policy,
            health: Health::default(),
            in_flight: OnceLock::new(),
            unmatched: Meter::default(),
        })
    }

    /// Rows that have a request or query schema, for coverage reports.
    pub fn rows_with_schema(&self) -> usize {
        self.rows.iter().filter(|r| r.schema.is_some()).count()
    }

    fn find(&self, path: &str) -> Result<Option<Matched>> {
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|s| !s.is_empty()) {
            segments.push(percent_decode(segment, false)?);
        }
        let mut values = Vec::new();
        let found = walk(&self.tree, &segments, &mut values);
        // An empty part is an empty value, which no parameter takes; the rest of a path may hold anything.
        let takes_rest = |rows: &[usize]| self.rows[rows[0]].route.path.ends_with("*}");
        let found =
            found.filter(|rows| takes_rest(rows) || !self.has_empty_part(path, segments.len()));
        Ok(found.map(|rows| Matched {
            rows: rows.to_vec(),
            values,
        }))
    }

    /// Slashes before the path are forgiven (clients join URLs carelessly), and one behind a version's root.
    fn has_empty_part(&self, path: &str, parts: usize) -> bool {
        let path = path.trim_start_matches('/');
        let (inner, trailing) = match path.strip_suffix('/') {
            Some(inner) => (inner, true),
            None => (path, false),
        };
        trailing && parts > 1 && !self.config.trailing_slash
            || inner.split('/').count() > parts.max(1)
    }

    fn negotiate(&self, headers: &HeaderMap) -> Result<Microversion> {
        let Some(range) = &self.config.versions else {
            return Ok(Microversion(0, 0));
        };
        let modern = headers
            .get_all("openstack-api-version")
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','));
        let modern = modern
            .filter_map(|v| v.trim().split_once(char::is_whitespace))
            .find(|(s, _)| s.eq_ignore_ascii_case(range.service_type));
        let legacy = range
            .legacy_header
            .and_then(|h| headers.get(h))
            .and_then(|v| v.to_str().ok());
        let Some(wanted) = modern.map(|(_, v)| v.trim()).or(legacy.map(str::trim)) else {
            return Ok(range.min);
        };
        if wanted.eq_ignore_ascii_case("latest") {
            return Ok(range.max);
        }
        let version = Microversion::parse(wanted)?;
        if version < range.min || version > range.max {
            let message = format!(
                "Version {version} is not supported by the API. Minimum is {} and maximum is {}.",
                range.min, range.max
            );
            return Err(Error::new(Kind::NotAcceptable, message));
        }
        Ok(version)
    }

    async fn answer(
        &self,
        request: http::Request<Body>,
        request_id: &str,
        learnt: &mut Learnt,
    ) -> Result<Reply> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_string();
        let query = Query::decode(parts.uri.query().unwrap_or(""))?;
        let matched = self.find(&path)?;
        let method = if parts.method == Method::HEAD {
            Method::GET
        } else {
            parts.method.clone()
        };
        let rows = matched.as_ref().map_or(&[][..], |m| &m.rows[..]);
        let public = rows.iter().any(|i| {
            self.rows[*i].route.method == method && self.rows[*i].route.access == Access::Public
        });
        let negotiated = self.negotiate(&parts.headers);
        learnt.version = *negotiated.as_ref().unwrap_or(&learnt.version);
        let of_method = |i: &usize| self.rows[*i].route.method == method;
        learnt.row = rows.iter().copied().find(of_method);

        let mut ctx = if public {
            RequestContext::anonymous()
        } else if matched.is_none() && !self.config.auth_first {
            return Err(Error::not_found("The resource could not be found."));
        } else {
            let asked = Asked {
                service: self.config.name,
                method: &parts.method,
                path: &path,
                headers: &parts.headers,
            };
            self.auth.admit(asked).await?
        };
        ctx.request_id = request_id.to_string();
        ctx.global_request_id = global_id(&parts.headers).map(str::to_string);
        // keystone and placement have no such rule: there nobody is more than their roles say.
        if !public && self.policy.has_rule("context_is_admin") {
            self.policy.mark_admin(&mut ctx);
        }
        let version = negotiated?;

        let matched =
            matched.ok_or_else(|| Error::not_found("The resource could not be found."))?;
        let of_method: Vec<usize> = matched.rows.iter().copied().filter(of_method).collect();
        if of_method.is_empty() {
            return Ok(self.method_not_allowed(&matched.rows, request_id, &parts.headers, version));
        }
        let serving: Vec<usize> = of_method
            .into_iter()
            .filter(|i| self.rows[*i].route.serves(version))
            .collect();
        let first = *serving
            .first()
            .ok_or_else(|| Error::not_found("The resource could not be found."))?;

        let (bytes, json, stream) = match self.rows[first].route.body {
            BodyKind::Stream => (Bytes::new(), None, body),
            BodyKind::Json => {
                let bytes = tokio::time::timeout(BODY_TIMEOUT, body.collect(self.config.max_body))
                    .await
                    .map_err(|_| {
                        Error::bad_request("The request body did not arrive in time.")
                    })??;
                let json = self.parse_json(&method, &parts.headers, &bytes)?;
                (bytes, json, Body::Empty)
            }
        };
        let row = self.pick_action(&serving, json.as_ref())?;
        learnt.row = Some(row);
        let row = &self.rows[row];
        if let Access::Rule(rule) = row.route.access {
            let own = serde_json::json!({
                "project_id": ctx.project_id, "tenant_id": ctx.project_id, "user_id": ctx.user_id, "domain_id": ctx.domain_id,
            });
            self.policy.enforce(rule, &ctx, &own)?;
        }
        if let Some((schemas, operation)) = &row.schema {
            schemas.check_query(operation, version, &query)?;
            // DELETE and GET bodies are ignored, as upstream does.
            if matches!(method, Method::POST | Method::PUT | Method::PATCH) {
                schemas.check_body(operation, version, json.as_ref().unwrap_or(&Value::Null))?;
            }
        }
        let enforced = Arc::new(AtomicBool::new(false));
        let req = Req {
            ctx: Arc::new(ctx),
            method,
            head: parts.method == Method::HEAD,
            path,
            base_url: base_url(&parts.headers),
            version,
            headers: parts.headers,
            query,
            body: bytes,
            json,
            stream,
            params: row.names.iter().copied().zip(matched.values).collect(),
            policy: Arc::clone(&self.policy),
            enforced: Arc::clone(&enforced),
        };
        let reply = (row.route.handler)(Arc::clone(&self.state), req).await?;
        if matches!(row.route.access, Access::Inside(_))
            && !enforced.load(Ordering::Relaxed)
            && reply.status.is_success()
        {
            return Err(Error::internal(format!(
                "{} {} answered without checking a rule",
                row.route.method, row.route.path
            )));
        }
        Ok(reply)
    }

    fn parse_json(
        &self,
        method: &Method,
        headers: &HeaderMap,
        bytes: &Bytes,
    ) -> Result<Option<Value>> {
        if bytes.is_empty() || matches!(*method, Method::GET | Method::DELETE) {
            return Ok(None);
        }
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("application/json");
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase();
        let is_json = essence == "application/json"
            || essence.ends_with("+json")
            || essence.ends_with("-json-patch");
        if self.config.strict_content_type && !is_json {
            return Err(Error::new(
                Kind::UnsupportedMediaType,
                format!("Unsupported Content-Type {essence}"),
            ));
        }
        match serde_json::from_slice(bytes) {
            Ok(value) => Ok(Some(value)),
            Err(_) if !self.config.strict_content_type && !is_json => Ok(None),
            Err(e) => Err(Error::bad_request(format!("Malformed request body: {e}"))),
        }
    }

    fn pick_action(&self, rows: &[usize], json: Option<&Value>) -> Result<usize> {
        let first = rows[0];
        if self.rows[first].route.action.is_none() {
            return Ok(first);
        }
        let body = json.and_then(Value::as_object).filter(|o| o.len() == 1);
        let key = body.and_then(|o| o.keys().next());
        let Some(key) = key else {
            return Err(Error::bad_request("Malformed request body"));
        };
        let row = rows
            .iter()
            .copied()
            .find(|i| self.rows[*i].route.action == Some(key.as_str()));
        row.ok_or_else(|| Error::bad_request(format!("There is no such action: {key}")))
    }

    fn method_not_allowed(
        &self,
        rows: &[usize],
        request_id: &str,
        headers: &HeaderMap,
        version: Microversion,
    ) -> Reply {
        let mut methods: Vec<&str> = rows
            .iter()
            .map(|i| self.rows[*i].route.method.as_str())
            .collect();
        methods.sort_unstable();
        methods.dedup();
        let error = Error::new(
            Kind::MethodNotAllowed,
            "The method specified is not allowed for this resource.",
        );
        let mut reply = self.fault(&error, request_id, headers, version);
        if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
            reply.headers.insert(ALLOW, value);
        }
        reply
    }

    fn fault(
        &self,
        error: &Error,
        request_id: &str,
        headers: &HeaderMap,
        version: Microversion,
    ) -> Reply {
        let cx = FaultContext {
            request_id,
            accept: headers.get(ACCEPT).and_then(|v| v.to_str().ok()),
            version,
            range: self.config.versions.map(|r| (r.min, r.max)),
            identity_uri: &self.config.identity_uri,
        };
        (self.config.faults)(error, &cx)
    }

    async fn serve(&self, request: http::Request<Body>) -> Reply {
        let healthy = self.health.answer(request.method(), request.uri().path());
        if let Some(reply) = healthy.await {
            return reply;
        }
        let started = Instant::now();
        let request_id = id::new_request_id();
        let method = request.method().clone();
        let headers = request.headers().clone();
        let path = request.uri().path().to_string();
        let under_way = UnderWay::new(self.config.name, &self.in_flight);
        let mut learnt = Learnt {
            version: self.config.versions.map_or(Microversion(0, 0), |v| v.min),
            row: None,
        };
        let span = tracing::info_span!(
            "request",
            request.id = %request_id,
            request.global_id = global_id(&headers).unwrap_or(""),
            service = self.config.name,
            http.method = %method,
            http.path = %path
        );
        let outcome = AssertUnwindSafe(self.answer(request, &request_id, &mut learnt))
            .catch_unwind()
            .instrument(span.clone())
            .await;
        let version = learnt.version;
        let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("a handler panicked")));
        let mut reply = match outcome {
            Ok(reply) => reply,
            Err(error) => {
                span.in_scope(|| match error.kind() {
                    Kind::Internal => tracing::error!("{}: {}", path, error.log_message()),
                    _ => tracing::debug!("{}: {}", path, error.log_message()),
                });
                self.fault(&error, &request_id, &headers, version)
            }
        };
        self.dress(&mut reply, &request_id, version);
        if method == Method::HEAD || matches!(reply.status.as_u16(), 204 | 304) {
            if method == Method::HEAD
                && let Some(n) = reply.body.length()
            {
                reply
                    .headers
                    .insert(http::header::CONTENT_LENGTH, HeaderValue::from(n));
            }
            reply.body = Body::Empty;
        }
        let took = started.elapsed();
        let duration_us = took.as_micros() as u64;
        let status = reply.status.as_u16();
        self.measure(learnt.row, status, took);
        drop(under_way);
        // Reads that went well are many and change nothing: the log of changes should not drown in them.
        span.in_scope(|| match (status, &method) {
            (200..400, &Method::GET | &Method::HEAD) => {
                tracing::debug!(status, duration_us, "{method} {path}")
            }
            _ => tracing::info!(status, duration_us, "{method} {path}"),
        });
        reply
    }

    fn measure(&self, row: Option<usize>, status: u16, took: Duration) {
        let (meter, method, route, action) = match row.and_then(|i| self.rows.get(i)) {
            Some(Row { route, meter, .. }) => {
                let action = route.action.unwrap_or_default();
                (meter, route.method.as_str(), route.path, action)
            }
            None => (&self.unmatched, "", "", ""),
        };
        let names = Names {
            service: self.config.name,
            method,
            route,
            action,
        };
        meter.record(names, status, took);
    }

    fn dress(&self, reply: &mut Reply, request_id: &str, version: Microversion) {
        let headers = &mut reply.headers;
        if let Ok(value) = HeaderValue::from_str(request_id) {
            headers.insert(
                HeaderName::from_static("x-openstack-request-id"),
                value.clone(),
            );
            for name in self.config.request_id_headers {
                headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        let Some(range) = &self.config.versions else {
            return;
        };
        if reply.status == StatusCode::NOT_ACCEPTABLE {
            return;
        }
        if let Ok(value) = HeaderValue::from_str(&format!("{} {version}", range.service_type)) {
            headers.insert(HeaderName::from_static("openstack-api-version"), value);
        }
        headers.append(VARY, HeaderValue::from_static("OpenStack-API-Version"));
        if let Some(legacy) = range.legacy_header
            && let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(legacy.as_bytes()),
                HeaderValue::from_str(&version.to_string()),
            )
        {
            headers.insert(name, value);
            headers.append(VARY, HeaderValue::from_static(legacy));
        }
    }
}

/// JSON bodies must be here by then; streams have no such bound, their senders are bounded by the server's idle timeout.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

fn walk<'t>(node: &'t Node, segments: &[String], values: &mut Vec<String>) -> Option<&'t [usize]> {
    let Some((head, tail)) = segments.split_first() else {
        return if node.rows.is_empty() {
            None
        } else {
            Some(&node.rows)
        };
    };
    if let Some(next) = node.literal.get(head.as_str())
        && let Some(found) = walk(next, tail, values)
    {
        return Some(found);
    }
    if let Some(next) = &node.parameter {
        values.push(head.clone());
        if let Some(found) = walk(next, tail, values) {
            return Some(found);
        }
        values.pop();
    }
    if !node.rest.is_empty() {
        values.push(segments.join("/"));
        return Some(&node.rest);
    }
    None
}

/// The id that the first service of a chain, or the client, gave the request.
fn global_id(headers: &HeaderMap) -> Option<&str> {
    let given = headers
        .get("x-openstack-request-id")
        .and_then(|v| v.to_str().ok());
    given.filter(|t| id::is_request_id(t))
}

fn base_url(headers: &HeaderMap) -> String {
    let host = headers
        .get(HOST)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("127.0.0.1");
    let clean = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".:-[]_".contains(&b));
    let scheme = headers
        .get("x-forwarded-proto")
        .and_then(|v| v.to_str().ok())
        .filter(|s| *s == "https")
        .unwrap_or("http");
    format!("{scheme}://{}", if clean { host } else { "127.0.0.1" })
}

impl<S: Send + Sync + 'static> Endpoint for Api<S> {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(self.serve(request))
    }

    fn routes(&self) -> Vec<RouteInfo> {
        self.rows
            .iter()
            .map(|r| RouteInfo::from(&r.route))
            .collect()
    }

    fn name(&self) -> &'static str {
        self.config.name
    }

    fn health(&self) -> Option<&Health> {
        Some(&self.health)
    }
}
