//! Keys in the database: shared by all keystones of a cloud, rotated by any, useless to whoever reads them.

use crate::cloud::{Cloud, START, conf, database, deps};
use base::Clock;
use oslo_db::{Db, everything};
use serde_json::{Value, json};

oslo_db::table! {
    /// What the database holds.
    struct Stored in "identity_keys" { purpose: String, number: i64, sealed: String }
}

async fn keystone(db: &Db, clock: &Clock) -> Cloud {
    let mut deps = deps(db, clock, conf());
    deps.secret = "secret of the cloud".into();
    Cloud::over(deps).await
}

async fn numbers(db: &Db) -> Vec<(String, i64)> {
    let rows = db.read(|tx| tx.select::<Stored>(everything())).await;
    let mut rows: Vec<_> = rows
        .unwrap()
        .into_iter()
        .map(|r| (r.purpose, r.number))
        .collect();
    rows.sort();
    rows
}

fn expected(tokens: &[i64]) -> Vec<(String, i64)> {
    let of = |purpose: &'static str| move |n: &i64| (purpose.to_string(), *n);
    let credentials = [0, 1];
    credentials
        .iter()
        .map(of("credential"))
        .chain(tokens.iter().map(of("token")))
        .collect()
}

#[tokio::test]
async fn a_rotation_is_seen_by_all_and_logs_nobody_out() {
    let (db, clock) = (database().await, Clock::manual(START));
    let (one, two) = (keystone(&db, &clock).await, keystone(&db, &clock).await);
    assert_eq!(numbers(&db).await, expected(&[0, 1]));
    let (first, second) = (one.admin().await, two.admin().await);
    let credential = json!({"type": "cert", "blob": "hush", "user_id": one.ids.admin_user_id});
    let credential = one
        .make(&first, "/v3/credentials", "credential", credential)
        .await;

    one.built.state.rotate_keys().await.unwrap();
    assert_eq!(numbers(&db).await, expected(&[0, 1, 2]));
    // `two` knows the new primary key already: it was staged.
    let third = one.admin().await;
    for token in [&first, &second, &third] {
        two.check(token).await.expect(200);
        one.check(token).await.expect(200);
    }
    // Whoever makes a token looks first, and so seals with the new key; a second rotation forgets the first.
    let fourth = two.admin().await;
    two.built.state.rotate_keys().await.unwrap();
    assert_eq!(numbers(&db).await, expected(&[0, 2, 3]));
    one.built.state.rotate_keys().await.unwrap();
    assert_eq!(numbers(&db).await, expected(&[0, 3, 4]));
    let fifth = two.admin().await;
    for cloud in [&one, &two] {
        cloud.check(&fifth).await.expect(200);
        for over in [&first, &second, &third, &fourth] {
            cloud.check(over).await.expect(401);
        }
        let path = format!("/v3/credentials/{credential}");
        let shown = cloud.get(&fifth, &path).await.expect(200);
        assert_eq!(shown.body["credential"]["blob"], "hush");
    }
    // A keystone that starts later has the same keys.
    keystone(&db, &clock).await.check(&fifth).await.expect(200);
}

#[tokio::test]
async fn another_secret_opens_nothing() {
    let (db, clock) = (database().await, Clock::manual(START));
    let one = keystone(&db, &clock).await;
    let rows = db
        .read(|tx| tx.select::<Stored>(everything()))
        .await
        .unwrap();
    assert!(rows.iter().all(|r| r.sealed.len() > 80), "sealed");
    let mut other = deps(&db, &clock, conf());
    other.secret = "another".into();
    let refused = keystone::build(other).await.err().unwrap();
    let words = format!("{refused:?}");
    assert!(words.contains("sealed with another secret"), "{words}");
    // Nor did it do any harm.
    let token = one.admin().await;
    one.check(&token).await.expect(200);
}

/// A cloud that kept its keys in directories takes them along.
#[tokio::test]
async fn old_directories_are_taken_over() {
    let (db, clock) = (database().await, Clock::manual(START));
    let state = std::env::temp_dir().join(format!("ferrostack-state-{}", base::new_id()));
    let mut before = conf();
    before.fernet_tokens.key_repository = Some(state.join("fernet-keys"));
    let old = Cloud::over(deps(&db, &clock, before)).await;
    old.built.state.rotate_keys().await.unwrap();
    let token = old.admin().await;
    let credential = json!({"type": "cert", "blob": "hush", "user_id": old.ids.admin_user_id});
    let credential = old
        .make(&token, "/v3/credentials", "credential", credential)
        .await;
    drop(old);

    for _ in 0..2 {
        let mut now = deps(&db, &clock, conf());
        now.secret = "secret".into();
        now.old_keys = Some(state.clone());
        let new = Cloud::over(now).await;
        new.check(&token).await.expect(200);
        let path = format!("/v3/credentials/{credential}");
        let shown = new.get(&token, &path).await.expect(200);
        assert_eq!(shown.body["credential"]["blob"], Value::from("hush"));
        // They are needed once only.
        let _ = std::fs::remove_dir_all(&state);
    }
    assert_eq!(numbers(&db).await, expected(&[0, 1, 2]));
}
