//! Signed tokens: as good as encrypted ones, through rotations and changes of kind.

use crate::cloud::{Cloud, START, by_token, conf, database, deps};
use base::Clock;
use keystone::Conf;
use keystone::config::TokenProvider;
use oslo_db::Db;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EC: [&str; 2] = [
    include_str!("../keys/ec.pem"),
    include_str!("../keys/ec.pub.pem"),
];
const RSA: [&str; 2] = [
    include_str!("../keys/rsa.pem"),
    include_str!("../keys/rsa.pub.pem"),
];

fn signing() -> Conf {
    let mut conf = conf();
    conf.token.provider = TokenProvider::Jws;
    conf
}

async fn keystone(db: &Db, clock: &Clock, conf: Conf) -> Cloud {
    let mut deps = deps(db, clock, conf);
    deps.secret = "secret of the cloud".into();
    Cloud::over(deps).await
}

#[tokio::test]
async fn a_rotation_and_a_change_of_kind_log_nobody_out() {
    let (db, clock) = (database().await, Clock::manual(START));
    let before = keystone(&db, &clock, conf()).await;
    let encrypted = before.admin().await;
    let (one, two) = (
        keystone(&db, &clock, signing()).await,
        keystone(&db, &clock, signing()).await,
    );
    let first = one.admin().await;
    assert_eq!(first.matches('.').count(), 2, "{first}");
    one.built.state.rotate_keys().await.unwrap();
    let second = two.admin().await;
    let third = two
        .auth(by_token(&second), Value::Null)
        .await
        .expect(201)
        .token();
    for cloud in [&one, &two] {
        for token in [&encrypted, &first, &second, &third] {
            cloud.check(token).await.expect(200);
        }
    }
    // A token that its holder ended is over, signed or not.
    one.revoke(&second).await;
    one.check(&second).await.expect(401);
    // Keys that were forgotten open nothing.
    for _ in 0..2 {
        two.built.state.rotate_keys().await.unwrap();
    }
    let last = one.admin().await;
    one.check(&last).await.expect(200);
    one.check(&first).await.expect(401);
    // Back to encryption: what was signed is good until its end.
    let after = keystone(&db, &clock, conf()).await;
    assert!(!after.admin().await.contains('.'));
    after.check(&last).await.expect(200);
    clock.advance(Duration::from_secs(86_401));
    after.check(&last).await.expect(401);
}

/// Upstream's directories, and how its documentation rotates them: the public key everywhere first, then the private one.
struct Directories(PathBuf);

impl Directories {
    fn new() -> Directories {
        let folder = std::env::temp_dir().join(format!("jws-{}", base::new_hex_id()));
        for name in ["private", "public"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        Directories(folder)
    }

    fn private(&self) -> PathBuf {
        self.0.join("private")
    }

    fn public(&self) -> PathBuf {
        self.0.join("public")
    }

    /// In one step, as an operator should.
    fn put(&self, path: &Path, text: &str) {
        let draft = self.0.join("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, path).unwrap();
    }

    fn conf(&self) -> Conf {
        let mut conf = signing();
        conf.jwt_tokens.jws_private_key_repository = Some(self.private());
        conf.jwt_tokens.jws_public_key_repository = Some(self.public());
        conf
    }

    async fn refusal(&self) -> String {
        let deps = deps(&database().await, &Clock::manual(START), self.conf());
        format!("{:?}", keystone::build(deps).await.err().unwrap())
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn header(token: &str) -> &str {
    token.split('.').next().unwrap()
}

#[tokio::test]
async fn directories_of_keys_rotate_under_a_running_keystone() {
    let keys = Directories::new();
    let words = keys.refusal().await;
    assert!(words.contains("there is no public key"), "{words}");
    keys.put(&keys.public().join("one.pem"), EC[1]);
    let words = keys.refusal().await;
    assert!(words.contains("private.pem does not exist"), "{words}");
    keys.put(&keys.private().join("private.pem"), RSA[0]);
    let words = keys.refusal().await;
    assert!(
        words.contains("the public key of private.pem is not in"),
        "{words}"
    );
    keys.put(&keys.private().join("private.pem"), EC[0]);

    let cloud = Cloud::with(keys.conf()).await;
    let first = cloud.admin().await;
    cloud.check(&first).await.expect(200);
    keys.put(&keys.public().join("two.pem"), RSA[1]);
    keys.put(&keys.private().join("private.pem"), RSA[0]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let second = loop {
        // Somebody asks about tokens all the time.
        cloud.check(&first).await.expect(200);
        let token = cloud.admin().await;
        if header(&token) != header(&first) {
            break token;
        }
        assert!(Instant::now() < deadline, "the new key is never taken up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    cloud.check(&second).await.expect(200);
    cloud.check(&first).await.expect(200);
    // The first key is forgotten; files that are no keys disturb nobody.
    keys.put(&keys.public().join("README"), "not a key");
    std::fs::remove_file(keys.public().join("one.pem")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while cloud.check_as(&second, &first).await.status == 200 {
        assert!(Instant::now() < deadline, "the old key is never forgotten");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cloud.check(&second).await.expect(200);
}
