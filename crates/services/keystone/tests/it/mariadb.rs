//! On MariaDB: every story of this crate again, and several keystones that find an empty database at the same time.

use crate::cloud::{Cloud, MARIADB, START, conf, deps, spec};
use base::Clock;
use oslo_db::Db;
use oslo_testing::db::MariaDb;
use std::collections::BTreeSet;

/// This test program once more, told to use the server.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test that runs itself")]
async fn every_story() {
    let server = MariaDb::start().await.unwrap();
    let again = std::env::current_exe().unwrap();
    let mut again = std::process::Command::new(again);
    again
        .args([
            "--skip",
            "mariadb",
            "--skip",
            "rabbitmq",
            // What these tell does not depend on the database, and takes long.
            "--skip",
            "python",
            "--skip",
            "many_logins",
            "--skip",
            "a_slow_hash",
            "--skip",
            "a_directory_over_tls",
            "--skip",
            "lists_come_in_pages",
            "--test-threads",
            "2",
        ])
        .env(MARIADB, server.template());
    let done = tokio::task::spawn_blocking(move || again.output().unwrap());
    let done = done.await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
    let passed = said.matches("... ok").count();
    assert!(passed > 40, "{passed} stories:\n{said}");
}

#[tokio::test]
async fn several_start_at_once_on_an_empty_database() {
    const KEYSTONES: usize = 4;
    let server = MariaDb::start().await.unwrap();
    let url = server.database().await.unwrap();
    let clock = Clock::manual(START);
    let start = |_| {
        let (url, clock) = (url.clone(), clock.clone());
        // Each with connections of its own, as processes have.
        tokio::spawn(async move {
            let db = Db::open(&url).await.unwrap();
            let mut deps = deps(&db, &clock, conf());
            deps.secret = "secret".into();
            Cloud::over(deps).await
        })
    };
    let starting: Vec<_> = (0..KEYSTONES).map(start).collect();
    let mut clouds = Vec::new();
    for cloud in starting {
        clouds.push(cloud.await.unwrap());
    }
    let ids: BTreeSet<String> = clouds.iter().map(|c| format!("{:?}", c.ids)).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");

    let admin = clouds[0].admin().await;
    let counts = async |path: &str, key: &str| {
        let list = clouds[0].get(&admin, path).await.expect(200);
        list.body[key].as_array().unwrap().len()
    };
    assert_eq!(counts("/v3/users?name=admin", "users").await, 1);
    assert_eq!(counts("/v3/users?name=nova", "users").await, 1);
    assert_eq!(counts("/v3/projects?name=service", "projects").await, 1);
    assert_eq!(counts("/v3/domains", "domains").await, 1);
    assert_eq!(counts("/v3/regions", "regions").await, 1);
    let services = spec().endpoints.len();
    assert_eq!(counts("/v3/services", "services").await, services);
    assert_eq!(counts("/v3/endpoints", "endpoints").await, 3 * services);
    // One set of keys: whoever made a token, all know it.
    for one in &clouds {
        let token = one.admin().await;
        for other in &clouds {
            other.check(&token).await.expect(200);
        }
    }
}
