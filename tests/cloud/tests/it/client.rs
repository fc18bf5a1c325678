//! A user with a token, who speaks HTTP to the services of a cloud without a socket in between.

use oslo_http::{Body, Endpoint};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Index;
use std::sync::Arc;

pub type Endpoints = Arc<BTreeMap<&'static str, Arc<dyn Endpoint>>>;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
    /// Method and path, for complaints.
    pub asked: String,
}

impl Answer {
    /// Panics unless the status is that.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.body);
        self
    }

    /// The value under the body's key.
    #[track_caller]
    pub fn key(self, key: &str) -> Value {
        let found = self.body.get(key).cloned();
        found.unwrap_or_else(|| {
            panic!(
                "{}: {} has no {key}: {}",
                self.asked, self.status, self.body
            )
        })
    }

    /// `body[key].id`.
    #[track_caller]
    pub fn id(self, key: &str) -> String {
        id(&self.key(key))
    }

    /// The items of the list under `key`.
    #[track_caller]
    pub fn list(self, key: &str) -> Vec<Value> {
        self.key(key).as_array().cloned().expect("a list")
    }

    /// The fault's words, whatever the service wraps them in.
    pub fn message(&self) -> String {
        let inner = self.body.as_object().and_then(|o| o.values().next());
        let found = inner
            .and_then(|v| v.get("message").or(v.get("detail")))
            .or(self.body.get("message"));
        found
            .and_then(Value::as_str)
            .map_or_else(|| self.body.to_string(), str::to_string)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    }
}

impl Index<&str> for Answer {
    type Output = Value;
    fn index(&self, key: &str) -> &Value {
        &self.body[key]
    }
}

/// `value.id`.
#[track_caller]
pub fn id(value: &Value) -> String {
    text(value, "id")
}

/// A text field that must be there.
#[track_caller]
pub fn text(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text '{key}' in {value}"))
        .to_string()
}

/// Somebody with a token.
#[derive(Clone)]
pub struct Client {
    pub endpoints: Endpoints,
    pub token: String,
    pub user_id: String,
    pub project_id: String,
    /// As keystone says: implied roles included.
    pub roles: Vec<String>,
    versions: BTreeMap<&'static str, String>,
}

/// The service's word in `OpenStack-API-Version`.
pub fn version_word(service: &str) -> Option<&'static str> {
    match service {
        "compute" => Some("compute"),
        "volumev3" => Some("volume"),
        "placement" => Some("placement"),
        _ => None,
    }
}

impl Client {
    pub fn anonymous(endpoints: &Endpoints) -> Client {
        let newest = [
            ("compute", "2.90"),
            ("volumev3", "3.70"),
            ("placement", "1.36"),
        ];
        Client {
            endpoints: Arc::clone(endpoints),
            token: String::new(),
            user_id: String::new(),
            project_id: String::new(),
            roles: Vec::new(),
            versions: newest.map(|(s, v)| (s, v.to_string())).into(),
        }
    }

    /// Logs in with a password; the status if keystone refuses.
    pub async fn login(
        endpoints: &Endpoints,
        user: &str,
        password: &str,
        project: &str,
    ) -> Result<Client, Answer> {
        let domain = serde_json::json!({"id": "default"});
        let body = serde_json::json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {"name": user, "domain": domain, "password": password}}},
            "scope": {"project": {"name": project, "domain": domain}},
        }});
        let mut client = Client::anonymous(endpoints);
        let answer = client.post("identity", "/v3/auth/tokens", body).await;
        if answer.status != 201 {
            return Err(answer);
        }
        client.token = answer.header("x-subject-token").to_string();
        client.user_id = text(&answer["token"]["user"], "id");
        client.project_id = text(&answer["token"]["project"], "id");
        let roles = answer["token"]["roles"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        client.roles = roles.iter().map(|r| text(r, "name")).collect();
        Ok(client)
    }

    /// The same user, asking for another microversion; an empty one asks for none.
    pub fn at(&self, service: &'static str, version: &str) -> Client {
        let mut other = self.clone();
        other.versions.insert(service, version.to_string());
        other
    }

    /// The same user, at a cloud that was started again.
    pub fn at_cloud(&self, endpoints: &Endpoints) -> Client {
        Client {
            endpoints: Arc::clone(endpoints),
            ..self.clone()
        }
    }

    /// The same user, holding another token.
    pub fn with_token(&self, token: &str) -> Client {
        Client {
            token: token.to_string(),
            ..self.clone()
        }
    }

    pub fn request(&self, service: &str, method: &str, path: &str) -> http::request::Builder {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "cloud.test");
        if !self.token.is_empty() {
            request = request.header("x-auth-token", &self.token);
        }
        let version = self.versions.get(service).filter(|v| !v.is_empty());
        if let (Some(word), Some(version)) = (version_word(service), version) {
            request = request.header("openstack-api-version", format!("{word} {version}"));
        }
        request
    }

    pub async fn send(&self, service: &str, request: http::Request<Body>) -> Answer {
        let asked = format!("{service}: {} {}", request.method(), request.uri());
        let endpoint = self
            .endpoints
            .get(service)
            .unwrap_or_else(|| panic!("there is no {service}"));
        let reply = endpoint.call(request).await;
        let (status, headers) = (reply.status.as_u16(), reply.headers);
        let bytes = reply.body.collect(64 << 20).await.expect("a body");
        let lossy = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap_or_else(|_| lossy()),
        };
        Answer {
            status,
            headers,
            body,
            asked,
        }
    }

    pub async fn call(
        &self,
        service: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.request(service, method, path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::Empty, |b| Body::from(b.to_string()));
        self.send(service, request.body(body).expect("a request"))
            .await
    }

    pub async fn get(&self, service: &str, path: &str) -> Answer {
        self.call(service, "GET", path, None).await
    }

    pub async fn post(&self, service: &str, path: &str, body: Value) -> Answer {
        self.call(service, "POST", path, Some(body)).await
    }

    pub async fn put(&self, service: &str, path: &str, body: Value) -> Answer {
        self.call(service, "PUT", path, Some(body)).await
    }

    pub async fn delete(&self, service: &str, path: &str) -> Answer {
        self.call(service, "DELETE", path, None).await
    }

    /// A body that is not JSON.
    pub async fn upload(&self, service: &str, path: &str, bytes: Vec<u8>) -> Answer {
        let request = self
            .request(service, "PUT", path)
            .header("content-type", "application/octet-stream");
        self.send(service, request.body(Body::from(bytes)).expect("a request"))
            .await
    }
}
