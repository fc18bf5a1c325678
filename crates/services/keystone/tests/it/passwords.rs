//! Stored passwords: of every kind that an existing Keystone may have, and without anybody else waiting for them.

use crate::cloud::{Cloud, START, by_id, conf, database, deps};
use base::Clock;
use keystone::config::HashAlgorithm;
use oslo_db::{Db, eq, set};
use serde_json::Value;
use std::time::{Duration, Instant};

oslo_db::table! {
    /// What the database holds.
    pub struct StoredUser in "identity_users" { id: String, password_hash: Option<String> }
}

pub async fn stored_hash(db: &Db, user: &str) -> String {
    let id = user.to_string();
    let row = db.read(move |tx| tx.find::<StoredUser>(eq("id", &id)));
    row.await.unwrap().unwrap().password_hash.unwrap()
}

pub async fn store_hash(db: &Db, user: &str, hash: &str) {
    let (id, hash) = (user.to_string(), Some(hash.to_string()));
    let write = move |tx: &mut oslo_db::Tx| {
        tx.update::<StoredUser>(eq("id", &id), &[set("password_hash", &hash)])
    };
    assert_eq!(db.write(write).await.unwrap(), 1);
}

/// A keystone on the database that hashes by that algorithm, at that cost.
pub async fn hashing(db: &Db, clock: &Clock, algorithm: HashAlgorithm, rounds: u32) -> Cloud {
    let mut conf = conf();
    conf.identity.password_hash_algorithm = algorithm;
    conf.identity.password_hash_rounds = Some(rounds);
    Cloud::over(deps(db, clock, conf)).await
}

#[tokio::test]
async fn a_new_algorithm_locks_nobody_out() {
    let (db, clock) = (database().await, Clock::manual(START));
    let prefixes = [
        "$2b$04$",
        "$bcrypt-sha256$v=2,t=2b,r=4$",
        "$scrypt$ln=4,r=8,p=1$",
        "$pbkdf2-sha512$4$",
    ];
    let mut users = Vec::new();
    for (algorithm, prefix) in HashAlgorithm::ALL.iter().zip(prefixes) {
        let cloud = hashing(&db, &clock, *algorithm, 4).await;
        let admin = cloud.admin().await;
        let user = cloud.user(&admin, algorithm.as_str(), "default").await;
        let hash = stored_hash(&db, &user).await;
        assert!(hash.starts_with(prefix), "{hash}");
        users.push(user);
    }
    for algorithm in HashAlgorithm::ALL {
        let cloud = hashing(&db, &clock, *algorithm, 4).await;
        for user in &users {
            cloud.auth(by_id(user, "pw"), Value::Null).await.expect(201);
            cloud.auth(by_id(user, "PW"), Value::Null).await.expect(401);
        }
        let nobody = by_id(&base::new_hex_id(), "pw");
        cloud.auth(nobody, Value::Null).await.expect(401);
    }
}

/// Who can write a hash into the database, or had one migrated, must not be able to stop a keystone with it.
#[tokio::test]
async fn a_hostile_hash_is_refused_at_once() {
    let (db, clock) = (database().await, Clock::manual(START));
    let cloud = Cloud::over(deps(&db, &clock, conf())).await;
    let admin = cloud.admin().await;
    let user = cloud.user(&admin, "ann", "default").await;
    let digest = "A".repeat(43);
    for hash in [
        format!("$scrypt$ln=40,r=8,p=1$c2FsdHNhbHQ${digest}"),
        format!("$scrypt$ln=63,r=4294967295,p=4294967295$c2FsdHNhbHQ${digest}"),
        format!("$pbkdf2-sha512$4294967295$c2FsdHNhbHQ${digest}{digest}"),
        format!("$2b$32${}", ".".repeat(53)),
        "not a hash".to_string(),
        String::new(),
    ] {
        store_hash(&db, &user, &hash).await;
        let begun = Instant::now();
        cloud
            .auth(by_id(&user, "pw"), Value::Null)
            .await
            .expect(401);
        // Each of them would take hours, or more memory than there is.
        assert!(begun.elapsed() < Duration::from_secs(20), "{hash}");
    }
}

/// bcrypt's highest cost takes a day: who has such a hash waits for others like it, and keeps nobody else from logging in.
#[tokio::test]
async fn a_slow_hash_keeps_nobody_else_waiting() {
    let (db, clock) = (database().await, Clock::manual(START));
    let cloud = Cloud::over(deps(&db, &clock, conf())).await;
    let admin = cloud.admin().await;
    let slow = cloud.user(&admin, "slow", "default").await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let hash = format!("$2b$31${}", ".".repeat(53));
    store_hash(&db, &slow, &hash).await;
    // More than there are threads for hashing; none of them comes back.
    let waiting = (0..8).map(|_| cloud.auth(by_id(&slow, "pw"), Value::Null));
    let waiting = futures::future::select_all(waiting.map(Box::pin));
    let others = async {
        for password in ["pw", "guess", "pw"] {
            let status = if password == "pw" { 201 } else { 401 };
            let login = cloud.auth(by_id(&ann, password), Value::Null);
            login.await.expect(status);
        }
    };
    let others = tokio::time::timeout(Duration::from_secs(60), others);
    tokio::select! {
        biased;
        (answer, ..) = waiting => panic!("{}: {}", answer.status, answer.body),
        done = others => done.unwrap(),
    }
}

/// A burst of logins keeps all hashing threads busy; who asks about a token is answered all the while.
#[tokio::test]
async fn many_logins_do_not_starve_validation() {
    const LOGINS: usize = 24;
    let mut conf = conf();
    // About 60 ms of work each.
    conf.identity.password_hash_rounds = Some(10);
    let cloud = Cloud::with(conf).await;
    let admin = cloud.admin().await;
    let user = cloud.user(&admin, "ann", "default").await;
    let burst = (0..LOGINS).map(|_| cloud.auth(by_id(&user, "pw"), Value::Null));
    let burst = futures::future::join_all(burst);
    tokio::pin!(burst);
    let mut validated = 0;
    let logins = loop {
        tokio::select! {
            biased;
            done = &mut burst => break done,
            answer = cloud.check(&admin) => {
                answer.expect(200);
                validated += 1;
            }
        }
    };
    for login in logins {
        login.expect(201);
    }
    // Were passwords hashed on the threads that answer, each validation would wait for one.
    assert!(
        validated > 2 * LOGINS,
        "{validated} validations beside {LOGINS} logins"
    );
}
