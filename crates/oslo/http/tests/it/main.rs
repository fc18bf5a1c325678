//! The front of the house, through a small service: matching, versions, actions, rules, bodies, faults, sockets.

mod dispatch;
mod health;
mod hostile;
mod server;

use base::{Error, Microversion, Result};
use futures::future::BoxFuture;
use http::HeaderMap;
use oslo_context::RequestContext;
use oslo_http::{
    Api, ApiConfig, Authenticate, Body, Endpoint, PUBLIC, Reply, Req, Schemas, VersionRange,
    Wording, action, delete, faults, get, inside, post, put, rule,
};
use oslo_policy::Enforcer;
use serde_json::{Value, json};
use std::sync::Arc;

pub struct Toys;

/// Tokens are `ROLE` or `ROLE@PROJECT`.
struct Fake;

impl Authenticate for Fake {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async move {
            let token = headers.get("x-auth-token").and_then(|v| v.to_str().ok());
            let token = token.ok_or_else(|| {
                Error::unauthorized("The request you have made requires authentication.")
            })?;
            let (role, project) = token.split_once('@').unwrap_or((token, "p1"));
            Ok(RequestContext {
                user_id: Some("u1".into()),
                project_id: Some(project.into()),
                roles: vec![role.into()],
                ..RequestContext::default()
            })
        })
    }
}

const POLICY: &str = r#"
- name: context_is_admin
  check_str: role:admin
- name: toys:list
  check_str: role:member or role:admin
- name: toys:own
  check_str: role:admin or project_id:%(project_id)s
"#;

async fn list(_: Arc<Toys>, req: Req) -> Result<Reply> {
    Reply::ok(
        &json!({"toys": [], "version": req.version.to_string(), "admin": req.ctx.is_admin, "who": req.header("x-roles")}),
    )
}

async fn show(_: Arc<Toys>, req: Req) -> Result<Reply> {
    req.enforce("toys:own", &json!({"project_id": "p1"}))?;
    Reply::ok(&json!({"id": req.param("toy_id")}))
}

async fn forgetful(_: Arc<Toys>, _: Req) -> Result<Reply> {
    Reply::ok(&json!({"secret": 1}))
}

async fn echo(_: Arc<Toys>, req: Req) -> Result<Reply> {
    Reply::json(201, &req.json)
}

async fn break_it(_: Arc<Toys>, _: Req) -> Result<Reply> {
    Err(Error::internal("the password is hunter2"))
}

async fn panics(_: Arc<Toys>, req: Req) -> Result<Reply> {
    if req.path.ends_with("panic") {
        panic!("boom");
    }
    Ok(Reply::empty(204))
}

async fn upload(_: Arc<Toys>, req: Req) -> Result<Reply> {
    let bytes = req.stream.collect(10 << 20).await?;
    Reply::ok(&json!({"bytes": bytes.len()}))
}

/// That a slow request has begun.
pub static SLOWED: tokio::sync::Notify = tokio::sync::Notify::const_new();

async fn slow(_: Arc<Toys>, _: Req) -> Result<Reply> {
    SLOWED.notify_one();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    Reply::ok(&json!({"slept": true}))
}

pub fn endpoint() -> Arc<dyn Endpoint> {
    let schemas = json!({"POST /v1/toys": {"body": [{"min": null, "max": null, "schema":
        {"type": "object", "required": ["toy"], "additionalProperties": false, "properties": {"toy": {"type": "object"}}}}]}});
    let routes = vec![
        get("/", PUBLIC, |_, _| async {
            Reply::json(300, &json!({"versions": []}))
        }),
        get("/v1/toys", rule("toys:list"), list),
        post("/v1/toys", rule("toys:list"), echo),
        get("/v1/toys/detail", rule("toys:list"), echo),
        get("/v1/toys/{toy_id}", inside("toys:own"), show),
        delete("/v1/toys/{toy_id}", rule("toys:list"), panics),
        get("/v1/forgetful", inside("toys:own"), forgetful),
        get("/v1/broken", rule("toys:list"), break_it),
        get("/v1/slow", PUBLIC, slow),
        get("/v1/new", rule("toys:list"), list).since(1, 5),
        get("/v1/old", rule("toys:list"), list).until(1, 4),
        action("/v1/toys/{toy_id}/action", "wind", rule("toys:list"), echo),
        action(
            "/v1/toys/{toy_id}/action",
            "drop",
            rule("toys:list"),
            panics,
        )
        .since(1, 2),
        put("/v1/file/{name*}", PUBLIC, upload).stream(),
    ];
    let config = ApiConfig {
        versions: Some(VersionRange {
            service_type: "toys",
            min: Microversion(1, 1),
            max: Microversion(1, 10),
            legacy_header: Some("x-openstack-toys-api-version"),
        }),
        request_id_headers: &["x-toys-request-id"],
        max_body: 4096,
        ..ApiConfig::new("toys", faults::keyed_compute)
    };
    let policy = Arc::new(Enforcer::from_defaults(POLICY).unwrap());
    let schemas = Schemas::load(&schemas.to_string(), Wording::FieldAttribute).unwrap();
    Arc::new(
        Api::new(
            Arc::new(Toys),
            config,
            routes,
            Arc::new(Fake),
            policy,
            Some(schemas),
        )
        .unwrap(),
    )
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub json: Value,
    pub bytes: usize,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

pub async fn call(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = endpoint()
        .call(request.body(Body::from(body.to_string())).unwrap())
        .await;
    let (status, headers) = (reply.status.as_u16(), reply.headers);
    let bytes = reply.body.collect(1 << 20).await.unwrap();
    Answer {
        status,
        headers,
        json: serde_json::from_slice(&bytes).unwrap_or_default(),
        bytes: bytes.len(),
    }
}
