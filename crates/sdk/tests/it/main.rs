//! One suite over both transports: the bytes, tokens and errors are the same in one process and over HTTP.

use base::{Kind, Secret};
use futures::future::BoxFuture;
use oslo_context::RequestContext;
use oslo_http::{Body, Endpoint, Reply, RouteInfo, ServerOptions};
use sdk::{Caller, Http, InProcess, Method, Sdk, ServiceCredentials, Transport};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Plays keystone and a neighbour: tokens are `t1`, `t2`, … and only the newest is good.
#[derive(Default)]
struct Toy {
    issued: AtomicU64,
}

impl Toy {
    async fn answer(&self, request: http::Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let header = |n: &str| {
            parts
                .headers
                .get(n)
                .and_then(|v| v.to_str().ok())
                .unwrap_or("")
                .to_string()
        };
        let body = body.collect(64 << 20).await.unwrap();
        let newest = format!("t{}", self.issued.load(Ordering::SeqCst));
        match parts.uri.path() {
            "/v3/auth/tokens" => {
                let login: Value = serde_json::from_slice(&body).unwrap();
                if login["auth"]["identity"]["password"]["user"]["password"] != "right" {
                    return Reply::json(401, &json!({"error": {"code": 401, "message": "no"}})).unwrap();
                }
                let n = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
                let token = json!({"token": {"expires_at": "2099-01-01T00:00:00.000000Z"}});
                Reply::json(201, &token).unwrap().header("x-subject-token", format!("t{n}"))
            }
            _ if header("x-auth-token") != newest && header("x-auth-token") != "user" => {
                Reply::json(401, &json!({"error": {"code": 401, "message": "bad token"}})).unwrap()
            }
            "/echo" => Reply::ok(&json!({"method": parts.method.as_str(), "query": parts.uri.query(), "auth": header("x-auth-token"),
                "service": header("x-service-token"), "id": header("x-openstack-request-id"), "version": header("openstack-api-version"),
                "bytes": body.len(), "type": header("content-type")}))
            .unwrap(),
            "/big" => Reply::empty(200).with_body(vec![7u8; 5 << 20]),
            "/conflict" => Reply::json(409, &json!({"NeutronError": {"type": "PortInUse", "message": "in use", "detail": ""}})).unwrap(),
            _ => Reply::json(404, &json!({"itemNotFound": {"code": 404, "message": "no such thing"}})).unwrap(),
        }
    }
}

impl Endpoint for Toy {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(self.answer(request))
    }

    fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        "toy"
    }
}

fn credentials(password: &str) -> ServiceCredentials {
    ServiceCredentials {
        username: "nova".into(),
        password: Secret::new(password),
        project_name: "service".into(),
        domain_name: "Default".into(),
    }
}

async fn suite(transport: Arc<dyn Transport>, toy: Arc<Toy>) {
    let sdk = Sdk::new(Arc::clone(&transport), credentials("right"));
    let echo = |caller: Option<RequestContext>, body: Option<Value>| {
        let sdk = sdk.with_version("1.7").for_request("req-1");
        async move {
            let caller = caller.as_ref().map_or(Caller::Service, Caller::User);
            sdk.request(caller, "network", Method::POST, "/echo?x=y%20z", body)
                .await
                .unwrap()
                .json::<Value>()
                .unwrap()
        }
    };
    let seen = echo(None, Some(json!({"a": 1}))).await;
    assert_eq!(
        seen,
        json!({"method": "POST", "query": "x=y%20z", "auth": "t1", "service": "", "id": "req-1", "version": "network 1.7", "bytes": 7, "type": "application/json"})
    );
    assert_eq!(
        echo(None, None).await["auth"],
        "t1",
        "the service's token is kept"
    );

    let user = RequestContext {
        token: Some("user".into()),
        ..RequestContext::anonymous()
    };
    let seen = echo(Some(user.clone()), None).await;
    assert_eq!(
        (
            seen["auth"].as_str(),
            seen["service"].as_str(),
            seen["id"].as_str()
        ),
        (Some("user"), Some("t1"), Some(user.request_id.as_str()))
    );

    toy.issued.fetch_add(1, Ordering::SeqCst);
    assert_eq!(
        echo(None, None).await["auth"],
        "t3",
        "a token that was revoked is renewed once"
    );

    let fails = |path: &'static str| {
        let sdk = sdk.clone();
        async move {
            sdk.request(Caller::Service, "network", Method::GET, path, None)
                .await
                .err()
                .unwrap()
        }
    };
    let conflict = fails("/conflict").await;
    assert_eq!(
        (conflict.kind(), conflict.error_class(), conflict.message()),
        (Kind::Conflict, Some("PortInUse"), "in use")
    );
    assert_eq!(fails("/nothing").await.message(), "no such thing");
    assert_eq!(
        sdk.request(Caller::Service, "volume", Method::GET, "/", None)
            .await
            .err()
            .unwrap()
            .kind(),
        Kind::Unavailable
    );

    let (_, body) = sdk
        .stream(Caller::Service, "network", "/big")
        .await
        .unwrap();
    assert_eq!(body.collect(6 << 20).await.unwrap().len(), 5 << 20);
    let sent = Body::stream(
        futures::stream::iter((0..100).map(|_| Ok(vec![1u8; 10_000].into()))),
        None,
    );
    let answer = sdk
        .upload(
            Caller::Service,
            "network",
            Method::PUT,
            "/echo",
            sent,
            "application/octet-stream",
        )
        .await
        .unwrap();
    assert_eq!(answer.json::<Value>().unwrap()["bytes"], 1_000_000);

    let wrong = Sdk::new(transport, credentials("wrong"));
    let error = wrong
        .request(Caller::Service, "network", Method::GET, "/echo", None)
        .await
        .err()
        .unwrap();
    assert!(
        error.kind() == Kind::Internal && !format!("{error:?}").contains("wrong"),
        "{error:?}"
    );
}

#[tokio::test]
async fn in_process() {
    let toy = Arc::new(Toy::default());
    let neighbours = InProcess::default();
    neighbours.register("identity", toy.clone());
    neighbours.register("network", toy.clone());
    suite(Arc::new(neighbours), toy).await;
}

#[tokio::test]
async fn over_http() {
    let toy = Arc::new(Toy::default());
    let (listener, address) = oslo_http::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(oslo_http::serve(
        listener,
        toy.clone(),
        ServerOptions::default(),
        stop.clone(),
    ));
    let url = format!("http://{address}");
    let urls: HashMap<String, String> = [
        ("identity".to_string(), url.clone()),
        ("network".to_string(), url),
    ]
    .into();
    suite(Arc::new(Http::new(urls).unwrap()), toy).await;
    stop.cancel();
    server.await.unwrap();
}
