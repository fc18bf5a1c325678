//! How the Swift store logs in: to keystone (version 3), or to Swift's own TempAuth (version 1).

use crate::config::StoreConf;
use base::{Error, Result, Secret, Timestamp};
use oslo_http::Body;
use sdk::Outside;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

pub struct Session {
    pub token: Secret,
    pub storage_url: String,
    until: Timestamp,
}

enum Version {
    One,
    Three { scope: Value, user: Value },
}

pub struct Auth {
    outside: Outside,
    address: String,
    user: String,
    key: Secret,
    version: Version,
    /// Where the objects are, if the catalog shall not say so.
    endpoint: Option<String>,
    service_type: String,
    interface: String,
    region: Option<String>,
    held: Mutex<Option<Arc<Session>>>,
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

fn domain(id: &str, name: &str) -> Value {
    match name {
        "" => json!({"id": id}),
        name => json!({"name": name}),
    }
}

impl Auth {
    pub fn open(conf: &StoreConf, outside: Outside) -> Result<Auth> {
        let address = conf.swift_store_auth_address.trim_end_matches('/');
        let missing = |name: &str| Error::bad_request(format!("{name} is missing"));
        if address.is_empty() {
            return Err(missing("swift_store_auth_address"));
        }
        if conf.swift_store_user.is_empty() || conf.swift_store_key.is_empty() {
            return Err(missing("swift_store_user or swift_store_key"));
        }
        let address = match address.contains("://") {
            true => address.to_string(),
            false => format!("https://{address}"),
        };
        let version = match conf.swift_store_auth_version.as_str() {
            "1" => Version::One,
            "3" => {
                let named = conf.swift_store_user.split_once(':');
                let (project, user) = named
                    .ok_or_else(|| Error::bad_request("swift_store_user: expected PROJECT:USER"))?;
                let of_user = domain(
                    &conf.swift_store_user_domain_id,
                    &conf.swift_store_user_domain_name,
                );
                let of_project = domain(
                    &conf.swift_store_project_domain_id,
                    &conf.swift_store_project_domain_name,
                );
                Version::Three {
                    scope: json!({"project": {"name": project, "domain": of_project}}),
                    user: json!({"name": user, "domain": of_user}),
                }
            }
            other => {
                return Err(Error::bad_request(format!(
                    "swift_store_auth_version: {other} is neither 1 nor 3"
                )));
            }
        };
        Ok(Auth {
            outside,
            address,
            user: conf.swift_store_user.clone(),
            key: conf.swift_store_key.clone(),
            version,
            endpoint: non_empty(conf.swift_store_endpoint.trim_end_matches('/')),
            service_type: conf.swift_store_service_type.clone(),
            interface: conf
                .swift_store_endpoint_type
                .trim_end_matches("URL")
                .to_string(),
            region: non_empty(&conf.swift_store_region),
            held: Mutex::default(),
        })
    }

    /// A session that is good for some minutes, and is not `refused`.
    pub async fn session(&self, refused: Option<&Arc<Session>>) -> Result<Arc<Session>> {
        let mut held = self.held.lock().await;
        if let Some(session) = &*held
            && session.until > Timestamp::now()
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, session))
        {
            return Ok(Arc::clone(session));
        }
        let session = match &self.version {
            Version::One => self.version_one().await?,
            Version::Three { scope, user } => self.version_three(scope, user).await?,
        };
        Ok(Arc::clone(held.insert(Arc::new(session))))
    }

    fn denied(&self, status: u16) -> Error {
        let words = format!(
            "{}: user {} cannot log in: {status}",
            self.address, self.user
        );
        match status {
            500.. => Error::unavailable("The image storage has a problem.").log(words),
            _ => Error::internal(words),
        }
    }

    async fn version_one(&self) -> Result<Session> {
        let request = http::Request::get(&self.address)
            .header("x-auth-user", &self.user)
            .header("x-auth-key", self.key.expose())
            .body(Body::Empty)
            .map_err(Error::internal)?;
        let reply = self.outside.send(request).await?;
        let status = reply.status.as_u16();
        let header = |name: &str| {
            let value = reply.headers.get(name).and_then(|v| v.to_str().ok());
            value.map(str::to_string)
        };
        match (status, header("x-auth-token"), header("x-storage-url")) {
            (200..300, Some(token), Some(url)) => Ok(Session {
                token: Secret::new(token),
                storage_url: self.endpoint.clone().unwrap_or(url),
                until: Timestamp::now().plus(Duration::from_secs(3600)),
            }),
            _ => Err(self.denied(status)),
        }
    }

    async fn version_three(&self, scope: &Value, user: &Value) -> Result<Session> {
        let mut user = user.clone();
        user["password"] = json!(self.key.expose());
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": scope,
        }});
        let request = http::Request::post(format!("{}/auth/tokens", self.address))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .map_err(Error::internal)?;
        let reply = self.outside.send(request).await?;
        let status = reply.status.as_u16();
        let token = reply.headers.get("x-subject-token");
        let token = token.and_then(|v| v.to_str().ok()).map(Secret::new);
        let said = reply.body.collect(16 << 20).await?;
        let (201, Some(token)) = (status, token) else {
            return Err(self.denied(status));
        };
        let said: Value = serde_json::from_slice(&said)?;
        let said = &said["token"];
        let url = match &self.endpoint {
            Some(url) => url.clone(),
            None => self.found(&said["catalog"])?,
        };
        let expires = Timestamp::parse(said["expires_at"].as_str().unwrap_or_default())?;
        Ok(Session {
            token,
            storage_url: url,
            until: expires.minus(Duration::from_secs(300)),
        })
    }

    /// The object store's endpoint in a catalog.
    fn found(&self, catalog: &Value) -> Result<String> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let service = list(catalog).into_iter();
        let mut endpoints = service
            .filter(|service| service["type"] == self.service_type)
            .flat_map(|service| list(&service["endpoints"]))
            .filter(|e| e["interface"] == self.interface)
            .filter(|e| {
                self.region
                    .as_ref()
                    .is_none_or(|region| e["region_id"] == **region || e["region"] == **region)
            });
        let url = endpoints
            .next()
            .and_then(|e| Some(e["url"].as_str()?.trim_end_matches('/').to_string()));
        url.ok_or_else(|| {
            Error::internal(format!(
                "{}: the catalog has no {} endpoint of type {}",
                self.address, self.interface, self.service_type
            ))
        })
    }
}
