//! A placement service on a database in memory.

use base::{Clock, Error, Result};
use futures::future::BoxFuture;
use oslo_context::RequestContext;
use oslo_db::Db;
use oslo_http::{Authenticate, Body, Endpoint, HeaderMap};
use placement::{Conf, Deps};
use serde_json::Value;
use std::sync::Arc;

/// Tokens are names: `admin` may everything, `reader` reads in project `p1`, others nothing.
struct Names;

impl Authenticate for Names {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        let token = headers
            .get("x-auth-token")
            .and_then(|v| v.to_str().ok())
            .map(str::to_string);
        Box::pin(async move {
            let token = token.ok_or_else(|| Error::unauthorized("no token"))?;
            let roles: &[&str] = match token.as_str() {
                "admin" => &["admin", "service", "member", "reader"],
                _ => &["reader"],
            };
            Ok(RequestContext {
                user_id: Some(token),
                project_id: Some("p1".into()),
                roles: roles.iter().map(|r| r.to_string()).collect(),
                ..RequestContext::anonymous()
            })
        })
    }
}

#[derive(Clone)]
pub struct Cloud {
    pub db: Db,
    pub endpoint: Arc<dyn Endpoint>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

impl Cloud {
    pub async fn new() -> Cloud {
        let db = Db::open("sqlite::memory:").await.unwrap();
        Cloud::on(db).await
    }

    /// Another process on the same database.
    pub async fn on(db: Db) -> Cloud {
        let (auth, clock) = (Arc::new(Names), Clock::real());
        let deps = Deps {
            db: db.clone(),
            auth,
            conf: Conf::default(),
            clock,
        };
        let built = placement::build(deps).await.unwrap();
        Cloud {
            db,
            endpoint: built.endpoint,
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "placement");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(Body::from).unwrap_or_default();
        let reply = self.endpoint.call(request.body(body).unwrap()).await;
        let (status, headers) = (reply.status.as_u16(), reply.headers);
        let bytes = reply.body.collect(64 << 20).await.unwrap();
        Answer {
            status,
            headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// As an administrator, at the newest microversion.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let headers = [
            ("x-auth-token", "admin"),
            ("content-type", "application/json"),
            ("openstack-api-version", "placement 1.39"),
        ];
        let answer = self
            .send(method, path, &headers, body.map(|b| b.to_string()))
            .await;
        (answer.status, answer.json())
    }

    pub async fn ok(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, value) = self.ask(method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {value}"
        );
        value
    }
}
