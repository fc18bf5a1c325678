//! Several API processes before one keystone, as the services' authenticators see it: what one has learnt spares the
//! others the question, and what is revoked is over everywhere.

use crate::cloud::{Cloud, START, by_id, conf, database, deps};
use base::{Clock, Kind};
use futures::future::BoxFuture;
use oslo_auth::{Generation, LOOK, TokenAuth};
use oslo_cache::CacheConf;
use oslo_context::RequestContext;
use oslo_http::{Authenticate, Body, Endpoint, Reply, RouteInfo};
use oslo_messaging::{Bus, Options, RabbitConfig, ServerHandle};
use oslo_testing::bus::RabbitMq;
use oslo_testing::cache::Memcached;
use sdk::{InProcess, KeystoneTokens, Sdk, ServiceCredentials};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keystone, and how often it was asked about tokens.
struct Counted(Arc<dyn Endpoint>, Arc<AtomicU64>);

impl Endpoint for Counted {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        if request.method() == http::Method::GET {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        self.0.call(request)
    }
    fn routes(&self) -> Vec<RouteInfo> {
        self.0.routes()
    }
    fn name(&self) -> &'static str {
        self.0.name()
    }
}

/// An API process, as far as tokens go.
struct Process {
    auth: TokenAuth,
    asked: Arc<AtomicU64>,
    _hears: Option<ServerHandle>,
}

impl Process {
    /// Without a bus it misses every message.
    async fn start(cloud: &Cloud, bus: Option<&Bus>, memcached: &[String]) -> Process {
        let asked = Arc::new(AtomicU64::new(0));
        let neighbours = InProcess::default();
        let endpoint = Arc::clone(&cloud.built.endpoint);
        neighbours.register("identity", Arc::new(Counted(endpoint, Arc::clone(&asked))));
        let credentials = ServiceCredentials {
            username: "nova".into(),
            password: "nova-secret".into(),
            project_name: "service".into(),
            domain_name: "Default".into(),
        };
        let sdk = Sdk::new(Arc::new(neighbours), credentials);
        let heard = Generation::default();
        let hears = match bus {
            Some(bus) => Some(KeystoneTokens::listen(bus, heard.clone()).await.unwrap()),
            None => None,
        };
        let conf = CacheConf {
            memcache_servers: memcached.to_vec(),
            memcache_dead_retry: 0,
            ..CacheConf::default()
        };
        let tokens = KeystoneTokens::new(sdk, Arc::default());
        let auth = TokenAuth::new(Arc::new(tokens), conf.expiration(), cloud.clock.clone());
        let auth = match conf.open().unwrap() {
            Some(cache) => auth.sharing(cache, "secret".into()),
            None => auth,
        };
        Process {
            auth: auth.heeding(heard),
            asked,
            _hears: hears,
        }
    }

    async fn request(&self, headers: &[(&'static str, &str)]) -> Result<RequestContext, Kind> {
        let headers = headers.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        let answer = self.auth.authenticate(&headers.collect()).await;
        answer.map_err(|e| e.kind())
    }

    async fn accepts(&self, token: &str) -> bool {
        match self.request(&[("x-auth-token", token)]).await {
            Ok(_) => true,
            Err(Kind::Unauthorized) => false,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// How long they go on believing it.
async fn until_refused(processes: &[&Process], token: &str) -> Duration {
    let start = Instant::now();
    for process in processes {
        while process.accepts(token).await {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "believed for ever"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    start.elapsed()
}

async fn revoked_everywhere(bus: Bus, one_bus: Bus, two_bus: Bus) {
    let cloud = Cloud::new().await;
    let _told = cloud.built.state.join(&bus).await.unwrap();
    let one = Process::start(&cloud, Some(&one_bus), &[]).await;
    let two = Process::start(&cloud, Some(&two_bus), &[]).await;
    let deaf = Process::start(&cloud, None, &[]).await;
    let all = [&one, &two, &deaf];
    let (token, other) = (cloud.admin().await, cloud.admin().await);
    for process in all {
        for _ in 0..3 {
            assert!(process.accepts(&token).await && process.accepts(&other).await);
        }
        assert_eq!(process.asked(), 2, "each token once");
    }
    cloud.revoke(&token).await;
    let heard = until_refused(&[&one, &two], &token).await;
    println!("revoked everywhere that hears after {heard:?}");
    assert!(heard < LOOK / 2, "{heard:?}: that was no message");
    let looked = until_refused(&[&deaf], &token).await;
    println!("and where nobody hears after {looked:?}");
    assert!(looked < LOOK + Duration::from_secs(1), "{looked:?}");
    for process in all {
        assert!(process.accepts(&other).await);
    }
    // Whatever ends a token is told: here a role that was taken.
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let place = format!("projects/{}", cloud.ids.admin_project_id);
    cloud
        .grant(&admin, &place, &format!("users/{ann}"), "member")
        .await;
    let login = cloud.auth(by_id(&ann, "pw"), cloud.admin_project()).await;
    let token = login.expect(201).token();
    assert!(one.accepts(&token).await && two.accepts(&token).await);
    let role = cloud.role(&admin, "member").await;
    let path = format!("/v3/{place}/users/{ann}/roles/{role}");
    let taken = cloud.call(&admin, "DELETE", &path, json!(null)).await;
    taken.expect(204);
    let heard = until_refused(&[&one, &two], &token).await;
    assert!(heard < LOOK / 2, "{heard:?}");
}

#[tokio::test]
async fn revoked_everywhere_in_process() {
    let bus = Bus::in_process();
    revoked_everywhere(bus.clone(), bus.clone(), bus).await;
}

#[tokio::test]
async fn revoked_everywhere_by_rabbitmq() {
    let broker = RabbitMq::start().await.unwrap();
    let bus = || {
        let config = RabbitConfig::parse(&broker.url()).unwrap();
        Bus::rabbit(config, Options::default()).unwrap()
    };
    revoked_everywhere(bus(), bus(), bus()).await;
}

/// Memcached spares keystone questions, is not believed about what was revoked, and is not needed.
#[tokio::test]
async fn memcached_is_shared_and_dispensable() {
    let mut memcached = Memcached::start().await.unwrap();
    let servers = [memcached.address()];
    let cloud = Cloud::new().await;
    let bus = Bus::in_process();
    let _told = cloud.built.state.join(&bus).await.unwrap();
    let one = Process::start(&cloud, Some(&bus), &servers).await;
    let two = Process::start(&cloud, Some(&bus), &servers).await;
    let start = cloud.admin().await;
    assert!(one.accepts(&start).await && two.accepts(&start).await);

    // How many of so many tokens, shown to one and then to two, two asks keystone about.
    const TOKENS: u64 = 10;
    let asked_by_two = async || {
        let before = two.asked();
        for _ in 0..TOKENS {
            let token = cloud.admin().await;
            assert!(one.accepts(&token).await && two.accepts(&token).await);
        }
        two.asked() - before
    };
    // Now and then a request looks, whatever is shared.
    let asked = asked_by_two().await;
    assert!(asked <= TOKENS / 2, "{asked} of {TOKENS} asked again");

    // One writes it there; what Memcached still holds of it after the revocation convinces nobody, nor a newcomer.
    let token = cloud.admin().await;
    assert!(one.accepts(&token).await);
    cloud.revoke(&token).await;
    until_refused(&[&one, &two], &token).await;
    let newcomer = Process::start(&cloud, Some(&bus), &servers).await;
    assert!(!newcomer.accepts(&token).await);

    memcached.kill();
    let token = cloud.admin().await;
    assert_eq!(asked_by_two().await, TOKENS, "nothing is shared, all works");
    assert!(one.accepts(&token).await && two.accepts(&token).await);
    cloud.revoke(&token).await;
    until_refused(&[&one, &two], &token).await;

    memcached.restart().await.unwrap();
    let asked = asked_by_two().await;
    assert!(
        asked <= TOKENS / 2,
        "{asked} of {TOKENS}: it is not used again"
    );
}

/// Two keystones on one database, behind one address in turn: who has not looked yet convinces nobody for long.
#[tokio::test]
async fn the_slower_of_two_keystones_is_believed_only_for_a_moment() {
    let (db, clock) = (database().await, Clock::manual(START));
    let keystone = async || {
        let mut deps = deps(&db, &clock, conf());
        deps.secret = "secret".into();
        Cloud::over(deps).await
    };
    let (first, second) = (keystone().await, keystone().await);
    // The first tells, the second does not hear, and the process asks the second.
    let bus = Bus::in_process();
    let _told = first.built.state.join(&bus).await.unwrap();
    let process = Process::start(&second, Some(&bus), &[]).await;
    let token = first.admin().await;
    assert!(process.accepts(&token).await);
    first.revoke(&token).await;
    let believed = until_refused(&[&process], &token).await;
    assert!(believed < Duration::from_secs(2), "{believed:?}");
}

#[tokio::test]
async fn services_vouch_for_tokens_that_ended_within_the_window() {
    let cloud = Cloud::new().await;
    let process = Process::start(&cloud, None, &[]).await;
    let user = cloud.admin().await;
    let nova = async || {
        let scope = json!({"project": {"id": cloud.ids.service_project_id}});
        let login = cloud.login("nova", "nova-secret", scope).await;
        login.expect(201).token()
    };
    let with = async |token: &str, service: &str| {
        let headers = [("x-auth-token", token), ("x-service-token", service)];
        process.request(&headers).await
    };
    let ctx = with(&user, &nova().await).await.unwrap();
    assert!(ctx.service_roles.iter().any(|r| r == "service"));
    assert_eq!(with(&user, "bad").await.err(), Some(Kind::Unauthorized));
    // Keystone's own surface is as strict.
    let headers = [("x-auth-token", user.as_str()), ("x-service-token", "bad")];
    cloud
        .send("GET", "/v3/users", &headers, None)
        .await
        .expect(401);

    cloud.clock.advance(Duration::from_secs(86_401));
    assert!(!process.accepts(&user).await);
    let service = nova().await;
    let ctx = with(&user, &service).await.unwrap();
    assert_eq!(ctx.user(), cloud.ids.admin_user_id);
    // Another user's token vouches for nothing, however mighty.
    let admin = cloud.admin().await;
    assert_eq!(with(&user, &admin).await.err(), Some(Kind::Unauthorized));
    // What was revoked stays so.
    let revoked = nova().await;
    cloud.revoke(&revoked).await;
    assert_eq!(with(&user, &revoked).await.err(), Some(Kind::Unauthorized));
    let path = format!("/v3/users/{}", cloud.ids.admin_user_id);
    let disabled = json!({"user": {"enabled": false}});
    let done = cloud.call(&service, "PATCH", &path, disabled).await;
    done.expect(200);
    until_refused_with(&process, &user, &service).await;

    let late = nova().await;
    cloud.clock.advance(Duration::from_secs(172_801));
    let again = nova().await;
    assert!(with(&late, &again).await.is_ok());
    cloud.clock.advance(Duration::from_secs(86_401));
    let again = nova().await;
    let fresh = Process::start(&cloud, None, &[]).await;
    let headers = [("x-auth-token", late.as_str()), ("x-service-token", &again)];
    let refused = fresh.request(&headers).await.err();
    assert_eq!(refused, Some(Kind::Unauthorized), "the window is over");
}

async fn until_refused_with(process: &Process, token: &str, service: &str) {
    let start = Instant::now();
    let headers = [("x-auth-token", token), ("x-service-token", service)];
    while process.request(&headers).await.is_ok() {
        assert!(start.elapsed() < LOOK * 5, "believed for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
