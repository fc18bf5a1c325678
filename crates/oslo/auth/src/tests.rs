//! Against a source that can be told what to say.

use super::*;
use base::Timestamp;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Knows `good…` until 1000 s; service tokens begin with `good-nova`.
#[derive(Default)]
struct Fake {
    asked: AtomicU64,
    /// Known to whoever asks.
    generation: AtomicU64,
    /// Known without asking, as by keystone in the same process.
    local: AtomicU64,
    revoked: Mutex<Vec<String>>,
    away: AtomicBool,
}

impl Fake {
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn revoke(&self, token: &str) -> u64 {
        self.revoked.lock().unwrap().push(token.into());
        self.generation.fetch_add(1, Ordering::SeqCst) + 1
    }
}

const END: i64 = 1000;

impl TokenSource for Fake {
    fn validate<'a>(&'a self, token: &'a str, late: bool) -> BoxFuture<'a, Result<Validation>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let gone = self.revoked.lock().unwrap().iter().any(|t| t == token);
        let generation = self.generation.load(Ordering::SeqCst);
        let away = self.away.load(Ordering::SeqCst);
        Box::pin(async move {
            if away {
                return Err(Error::new(Kind::Unavailable, "nobody there"));
            }
            // `good-old` has ended and is still shown to services.
            let ended = token.starts_with("good-old") && !late;
            if gone || ended || !token.starts_with("good") {
                return Err(Error::not_found("no such token"));
            }
            let role = match token.starts_with("good-nova") {
                true => "service",
                false => "member",
            };
            let end = if token.starts_with("good-old") {
                -5
            } else {
                END
            };
            let token = ValidatedToken {
                user_id: token.into(),
                roles: vec![role.into()],
                expires_at: Timestamp::from_seconds(end),
                access_rules: token.starts_with("good-bound").then(|| {
                    vec![AccessRule {
                        service: "compute".into(),
                        path: "/v2.1/servers/*".into(),
                        method: "GET".into(),
                    }]
                }),
                ..ValidatedToken::default()
            };
            Ok(Validation { token, generation })
        })
    }

    fn generation(&self) -> u64 {
        self.local.load(Ordering::SeqCst)
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap()))
        .collect()
}

fn user(token: &str) -> HeaderMap {
    headers(&[("x-auth-token", token)])
}

const TTL: Duration = Duration::from_secs(300);

fn over(fake: &Arc<Fake>, clock: &Clock) -> TokenAuth {
    fake.generation.fetch_max(1, Ordering::SeqCst);
    TokenAuth::new(Arc::clone(fake) as Arc<dyn TokenSource>, TTL, clock.clone())
}

async fn kind(auth: &TokenAuth, headers: &HeaderMap) -> Kind {
    auth.authenticate(headers).await.unwrap_err().kind()
}

#[tokio::test]
async fn remembered_until_revoked_or_expired() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let auth = over(&fake, &clock);
    let h = headers(&[
        ("x-auth-token", "good1"),
        ("x-roles", "admin"),
        ("x-user-id", "root"),
    ]);
    for _ in 0..3 {
        let ctx = auth.authenticate(&h).await.unwrap();
        assert_eq!(
            (ctx.user(), ctx.roles.as_slice(), ctx.service_roles.len()),
            ("good1", &["member".to_string()][..], 0)
        );
    }
    assert_eq!(fake.asked(), 1);
    // As keystone next door: nobody need tell.
    let generation = fake.revoke("good1");
    fake.local.store(generation, Ordering::SeqCst);
    assert_eq!(kind(&auth, &h).await, Kind::Unauthorized);
    let h = user("good2");
    auth.authenticate(&h).await.unwrap();
    clock.advance(Duration::from_secs(1001));
    assert_eq!(kind(&auth, &h).await, Kind::Unauthorized);
    assert_eq!(kind(&auth, &HeaderMap::new()).await, Kind::Unauthorized);
}

#[tokio::test]
async fn a_generation_that_moves_is_heeded_at_once_and_a_lost_message_soon() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let generation = Generation::default();
    let auth = over(&fake, &clock).heeding(generation.clone());
    auth.authenticate(&user("good1")).await.unwrap();
    let asked = fake.asked();
    generation.moved(fake.revoke("good1"));
    assert_eq!(kind(&auth, &user("good1")).await, Kind::Unauthorized);
    assert_eq!(fake.asked(), asked + 1);

    // Nobody says anything: one request in a while looks, whoever's it is, and the others' tokens fall with it.
    for token in ["good2", "good3"] {
        auth.authenticate(&user(token)).await.unwrap();
    }
    fake.revoke("good3");
    let start = Instant::now();
    while auth.authenticate(&user("good2")).await.is_ok()
        && auth.generation.newest() < fake.generation.load(Ordering::SeqCst)
    {
        assert!(start.elapsed() < LOOK * 5, "nobody looks");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(start.elapsed() <= LOOK + PATIENCE, "{:?}", start.elapsed());
    assert_eq!(kind(&auth, &user("good3")).await, Kind::Unauthorized);
}

/// Two processes, one shared cache.
#[tokio::test]
async fn processes_learn_from_each_other_but_nothing_old() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let cache = oslo_cache::Cache::memory(1 << 20);
    let process = || {
        let generation = Generation::default();
        let auth = over(&fake, &clock)
            .sharing(cache.clone(), "secret".into())
            .heeding(generation.clone());
        (auth, generation)
    };
    let ((one, one_hears), (two, two_hears)) = (process(), process());
    // Each looks for itself once, so that it can tell old from new.
    for auth in [&one, &two] {
        auth.authenticate(&user("good0")).await.unwrap();
    }
    assert_eq!(fake.asked(), 2);
    one.authenticate(&user("good1")).await.unwrap();
    let ctx = two.authenticate(&user("good1")).await.unwrap();
    assert_eq!((ctx.user(), fake.asked()), ("good1", 3));

    let generation = fake.revoke("good1");
    for hears in [&one_hears, &two_hears] {
        hears.moved(generation);
    }
    for auth in [&one, &two] {
        assert_eq!(kind(auth, &user("good1")).await, Kind::Unauthorized);
    }
    // What one has learnt since tells the other, who missed the message, that its own knowledge is old.
    for auth in [&one, &two] {
        auth.authenticate(&user("good2")).await.unwrap();
    }
    let generation = fake.revoke("good2");
    one_hears.moved(generation);
    one.authenticate(&user("good3")).await.unwrap();
    two.authenticate(&user("good3")).await.unwrap();
    assert_eq!(two_hears.newest(), generation);
    assert_eq!(kind(&two, &user("good2")).await, Kind::Unauthorized);
}

#[tokio::test]
async fn a_service_vouches_for_a_token_that_ended() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let auth = over(&fake, &clock);
    let with = |token: &str, service: &str| {
        headers(&[("x-auth-token", token), ("x-service-token", service)])
    };
    assert_eq!(kind(&auth, &user("good-old")).await, Kind::Unauthorized);
    let member = with("good-old", "good1");
    assert_eq!(kind(&auth, &member).await, Kind::Unauthorized);
    for _ in 0..2 {
        let ctx = auth.authenticate(&with("good-old", "good-nova")).await;
        let ctx = ctx.unwrap();
        assert_eq!((ctx.user(), ctx.roles[0].as_str()), ("good-old", "member"));
        assert_eq!(ctx.service_roles, ["service"]);
    }
    // Remembered for services alone.
    assert_eq!(kind(&auth, &user("good-old")).await, Kind::Unauthorized);
    assert_eq!(kind(&auth, &member).await, Kind::Unauthorized);
    let own = with("good-old", "good-old");
    assert_eq!(kind(&auth, &own).await, Kind::Unauthorized);
    for bad in ["bad", "good-old-nova"] {
        let refused = kind(&auth, &with("good1", bad)).await;
        assert_eq!(refused, Kind::Unauthorized, "a bad service token");
    }
    fake.away.store(true, Ordering::SeqCst);
    let away = kind(&auth, &with("good1", "good-nova-2")).await;
    assert_eq!(away, Kind::Unavailable, "nobody's fault");
}

#[tokio::test]
async fn an_identity_service_that_goes_away_leaves_what_is_remembered() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let auth = over(&fake, &clock);
    auth.authenticate(&user("good1")).await.unwrap();
    fake.away.store(true, Ordering::SeqCst);
    auth.looked.store(0, Ordering::SeqCst);
    let asked = fake.asked();
    for _ in 0..3 {
        auth.authenticate(&user("good1")).await.unwrap();
    }
    assert_eq!(fake.asked(), asked + 1, "asked, and not again for a while");
    for _ in 0..2 {
        assert_eq!(kind(&auth, &user("good2")).await, Kind::Unavailable);
    }
}

/// What upstream's middleware would set; nobody may.
const FORGED: &[(&str, &str)] = &[
    ("x-identity-status", "Confirmed"),
    ("x-is-admin-project", "True"),
    ("x-project-id", "theirs"),
    ("x-roles", "admin"),
    ("x-service-identity-status", "Confirmed"),
    ("x-service-roles", "service"),
    ("x-service-user-id", "nova"),
    ("x-tenant-id", "theirs"),
    ("x-user-domain-id", "theirs"),
    ("x-user-id", "root"),
];

#[tokio::test]
async fn ossa_2026_001_only_tokens_say_who_somebody_is() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let auth = over(&fake, &clock);
    let forged = headers(FORGED);
    let refused = auth.authenticate(&forged).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unauthorized);
    assert_eq!(fake.asked(), 0);

    let mut user = forged.clone();
    user.insert("x-auth-token", "good-user".parse().unwrap());
    let ctx = auth.authenticate(&user).await.unwrap();
    assert_eq!((ctx.user(), ctx.project()), ("good-user", ""));
    assert_eq!(ctx.roles, ["member"]);
    assert_eq!((ctx.service_roles.len(), ctx.service_user_id), (0, None));

    user.insert("x-service-token", "good-nova".parse().unwrap());
    let ctx = auth.authenticate(&user).await.unwrap();
    assert_eq!(ctx.user(), "good-user");
    assert_eq!(ctx.service_roles, ["service"]);
    assert_eq!(ctx.service_user_id.as_deref(), Some("good-nova"));

    let mut alone = forged;
    alone.insert("x-service-token", "good-nova".parse().unwrap());
    let refused = auth.authenticate(&alone).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unauthorized, "no user, no service");
}

#[tokio::test]
async fn a_token_with_access_rules_is_good_for_nothing_else() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let auth = over(&fake, &clock).knowing(&[("nova", &["compute"])]);
    let bound = user("good-bound");
    let own_twice = headers(&[
        ("x-auth-token", "good-bound"),
        ("x-service-token", "good-bound"),
    ]);
    let by_nova = headers(&[
        ("x-auth-token", "good-bound"),
        ("x-service-token", "good-nova"),
    ]);
    let free = user("good1");
    let cases = [
        (&bound, "nova", "GET", "/v2.1/servers/1", true),
        (&bound, "nova", "GET", "/v2.1/servers", false),
        (&bound, "nova", "DELETE", "/v2.1/servers/1", false),
        (&bound, "cinder", "GET", "/v2.1/servers/1", false),
        (&own_twice, "cinder", "GET", "/v3/volumes", false),
        (&by_nova, "cinder", "GET", "/v3/volumes", true),
        (&free, "cinder", "GET", "/v3/volumes", true),
    ];
    for (headers, service, method, path, expected) in cases {
        let method = method.parse().unwrap();
        let asked = Asked {
            service,
            method: &method,
            path,
            headers,
        };
        let admitted = auth.admit(asked).await;
        assert_eq!(admitted.is_ok(), expected, "{service} {method} {path}");
        if let Err(error) = admitted {
            assert_eq!(error.kind(), Kind::Unauthorized);
        }
    }
    assert_eq!(kind(&auth, &bound).await, Kind::Unauthorized);
}

/// Tokens that nobody issued leave nothing in the memory, and those that somebody did no more than it holds.
#[tokio::test]
async fn ossa_2021_006_strange_tokens_are_not_remembered() {
    let fake = Arc::new(Fake::default());
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let auth = over(&fake, &clock);
    for n in 0..5000 {
        let refused = kind(&auth, &user(&format!("strange{n}"))).await;
        assert_eq!(refused, Kind::Unauthorized);
    }
    auth.memory.run_pending_tasks();
    assert_eq!(auth.memory.entry_count(), 0);
    for n in 0..12_000 {
        auth.authenticate(&user(&format!("good{n}"))).await.unwrap();
    }
    auth.memory.run_pending_tasks();
    assert!(auth.memory.entry_count() <= 10_000);
}
