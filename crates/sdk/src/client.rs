//! One request to a neighbour: in the user's name (token passed on, service token beside it) or in the service's own.

use crate::fault;
use crate::transport::Transport;
use base::{Error, Kind, Result, Secret, Timestamp};
use http::{HeaderMap, Method};
use oslo_context::RequestContext;
use oslo_http::Body;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// In whose name a neighbour is asked.
#[derive(Clone, Copy)]
pub enum Caller<'a> {
    /// The service's own: flows, reconcilers, what users may not do themselves.
    Service,
    /// The user's, whose token must still be valid.
    User(&'a RequestContext),
}

/// With what a service logs in to keystone (`[service_user]`).
#[derive(Clone, Debug, Default)]
pub struct ServiceCredentials {
    /// `nova`.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// `service`.
    pub project_name: String,
    /// `Default`, for user and project.
    pub domain_name: String,
}

struct Inner {
    transport: Arc<dyn Transport>,
    credentials: ServiceCredentials,
    token: Mutex<Option<(Secret, Timestamp)>>,
}

/// A service's way to its neighbours. Cheap to clone.
#[derive(Clone)]
pub struct Sdk {
    inner: Arc<Inner>,
    version: Option<String>,
    request_id: Option<String>,
}

/// A 2xx answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, in memory.
    pub body: bytes::Bytes,
}

impl Answer {
    /// The body as `T`; a body of another shape is our neighbour's fault, not the caller's.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Error::internal(format!("a neighbour's answer: {e}")))
    }

    /// The body's `key`, as `T`.
    pub fn key<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let mut value: Value = self.json()?;
        let inner = value.get_mut(key).map(Value::take).unwrap_or_default();
        serde_json::from_value(inner)
            .map_err(|e| Error::internal(format!("a neighbour's answer, {key}: {e}")))
    }
}

/// Replies that are read whole are at most this; bytes of images come through [`Sdk::stream`].
const MAX_ANSWER: usize = 256 << 20;

impl Sdk {
    /// A service's handle on its neighbours.
    pub fn new(transport: Arc<dyn Transport>, credentials: ServiceCredentials) -> Sdk {
        Sdk {
            inner: Arc::new(Inner {
                transport,
                credentials,
                token: Mutex::new(None),
            }),
            version: None,
            request_id: None,
        }
    }

    /// Asks with a microversion, `1.39`.
    pub fn with_version(&self, version: &str) -> Sdk {
        Sdk {
            version: Some(version.to_string()),
            ..self.clone()
        }
    }

    /// Carries on the request `request_id`, so that one id finds the whole path.
    pub fn for_request(&self, request_id: &str) -> Sdk {
        Sdk {
            request_id: Some(request_id.to_string()),
            ..self.clone()
        }
    }

    /// One request with a JSON body or none; anything but 2xx becomes the neighbour's error in its own words.
    pub async fn request(
        &self,
        caller: Caller<'_>,
        service: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer> {
        let bytes = body.map(|b| b.to_string());
        let reply = self
            .send(
                caller,
                service,
                &method,
                path,
                || bytes.clone().map(Body::from).unwrap_or_default(),
                None,
            )
            .await?;
        let body = reply.body.collect(MAX_ANSWER).await?;
        let status = reply.status.as_u16();
        if !(200..300).contains(&status) {
            return Err(fault::parse(service, status, &body));
        }
        Ok(Answer {
            status,
            headers: reply.headers,
            body,
        })
    }

    /// GET whose answer's body is a stream.
    pub async fn stream(
        &self,
        caller: Caller<'_>,
        service: &str,
        path: &str,
    ) -> Result<(HeaderMap, Body)> {
        let reply = self
            .send(caller, service, &Method::GET, path, Body::default, None)
            .await?;
        let status = reply.status.as_u16();
        if !(200..300).contains(&status) {
            let body = reply.body.collect(1 << 20).await?;
            return Err(fault::parse(service, status, &body));
        }
        Ok((reply.headers, reply.body))
    }

    /// A request whose body is a stream (image upload); it is sent once, never again.
    pub async fn upload(
        &self,
        caller: Caller<'_>,
        service: &str,
        method: Method,
        path: &str,
        body: Body,
        content_type: &'static str,
    ) -> Result<Answer> {
        let body = Mutex::new(Some(body));
        let once = || {
            body.lock()
                .ok()
                .and_then(|mut b| b.take())
                .unwrap_or_default()
        };
        self.service_token(false).await?;
        let reply = self
            .send(caller, service, &method, path, once, Some(content_type))
            .await?;
        let status = reply.status.as_u16();
        let headers = reply.headers;
        let body = reply.body.collect(1 << 20).await?;
        if !(200..300).contains(&status) {
            return Err(fault::parse(service, status, &body));
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    async fn send(
        &self,
        caller: Caller<'_>,
        service: &str,
        method: &Method,
        path: &str,
        body: impl Fn() -> Body,
        content_type: Option<&'static str>,
    ) -> Result<oslo_http::Reply> {
        for attempt in 0..2 {
            let service_token = self.service_token(attempt > 0).await?;
            let mut request = http::Request::builder()
                .method(method)
                .uri(path)
                .header("host", "127.0.0.1");
            request = match caller {
                Caller::Service => request.header("x-auth-token", service_token.expose()),
                Caller::User(ctx) => {
                    let token = ctx
                        .token
                        .as_ref()
                        .ok_or_else(|| Error::internal("no user token to pass on"))?;
                    request
                        .header("x-auth-token", token.expose())
                        .header("x-service-token", service_token.expose())
                }
            };
            let request_id = match caller {
                Caller::User(ctx) => {
                    Some(ctx.global_request_id.as_ref().unwrap_or(&ctx.request_id))
                }
                Caller::Service => self.request_id.as_ref(),
            };
            if let Some(id) = request_id {
                request = request.header("x-openstack-request-id", id);
            }
            if let Some(version) = &self.version {
                let name = match service {
                    "volumev3" | "block-storage" => "volume",
                    other => other,
                };
                request = request.header("openstack-api-version", format!("{name} {version}"));
            }
            let body = body();
            request = request.header("accept", "application/json");
            if !matches!(body, Body::Empty) {
                request =
                    request.header("content-type", content_type.unwrap_or("application/json"));
            }
            let request = request
                .body(body)
                .map_err(|e| Error::internal(format!("{service} {path}: {e}")))?;
            let reply = self.inner.transport.send(service, request).await?;
            let expired = reply.status.as_u16() == 401 && matches!(caller, Caller::Service);
            if !(expired && attempt == 0 && content_type.is_none()) {
                return Ok(reply);
            }
        }
        Err(Error::unavailable(
            "The identity service refuses this service's own credentials.",
        ))
    }

    /// The service's own token, renewed well before it ends.
    pub async fn service_token(&self, renew: bool) -> Result<Secret> {
        if !renew
            && let Ok(held) = self.inner.token.lock()
            && let Some((token, until)) = held.as_ref()
            && *until > Timestamp::now()
        {
            return Ok(token.clone());
        }
        let c = &self.inner.credentials;
        let domain = json!({"name": c.domain_name});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {"name": c.username, "password": c.password.expose(), "domain": domain}}},
            "scope": {"project": {"name": c.project_name, "domain": domain}},
        }});
        let request = http::Request::post("/v3/auth/tokens?nocatalog=1")
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .map_err(Error::internal)?;
        let reply = self.inner.transport.send("identity", request).await?;
        let (status, headers) = (reply.status.as_u16(), reply.headers);
        let body = reply.body.collect(1 << 20).await?;
        if status != 201 {
            let error = fault::parse("identity", status, &body);
            let message = format!(
                "user {} cannot log in to the identity service: {}",
                c.username,
                error.message()
            );
            return Err(Error::new(
                if error.kind() == Kind::Unauthorized {
                    Kind::Internal
                } else {
                    Kind::Unavailable
                },
                "The identity service does not answer.",
            )
            .log(message));
        }
        let token = headers
            .get("x-subject-token")
            .and_then(|v| v.to_str().ok())
            .ok_or_else(|| Error::internal("no subject token"))?;
        let parsed: Value = serde_json::from_slice(&body)?;
        let expires = Timestamp::parse(parsed["token"]["expires_at"].as_str().unwrap_or(""))?;
        let token = Secret::new(token);
        if let Ok(mut held) = self.inner.token.lock() {
            *held = Some((token.clone(), expires.minus(Duration::from_secs(300))));
        }
        Ok(token)
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
    }
}
