//! What an operator asks of passwords and of proofs.

use crate::cloud::{Answer, Cloud, by_id, conf};
use keystone::Conf;
use serde_json::{Value, json};
use std::time::Duration;

const DAY: u64 = 86_400;

struct Story {
    cloud: Cloud,
    admin: String,
    ann: String,
}

async fn story(change: impl FnOnce(&mut Conf)) -> Story {
    let mut conf = conf();
    conf.token.expiration = 400 * DAY;
    change(&mut conf);
    let cloud = Cloud::with(conf).await;
    let admin = cloud.admin().await;
    let ann = cloud.user(&admin, "ann", "default").await;
    Story { cloud, admin, ann }
}

impl Story {
    async fn login(&self, password: &str) -> Answer {
        self.cloud
            .auth(by_id(&self.ann, password), Value::Null)
            .await
    }

    async fn choose(&self, old: &str, new: &str) -> Answer {
        let path = format!("/v3/users/{}/password", self.ann);
        let body = json!({"user": {"original_password": old, "password": new}});
        let done = self.cloud.call("", "POST", &path, body).await;
        // A token of the same instant would count as made before.
        self.cloud.clock.advance(Duration::from_secs(1));
        done
    }

    async fn set(&self, user: Value) -> Answer {
        let path = format!("/v3/users/{}", self.ann);
        let body = json!({"user": user});
        let done = self.cloud.call(&self.admin, "PATCH", &path, body).await;
        self.cloud.clock.advance(Duration::from_secs(1));
        done
    }

    async fn shown(&self) -> Value {
        let path = format!("/v3/users/{}", self.ann);
        let shown = self.cloud.get(&self.admin, &path).await.expect(200);
        shown.body["user"].clone()
    }

    fn days(&self, days: u64) {
        self.cloud.clock.advance(Duration::from_secs(days * DAY));
    }
}

/// Whoever guesses learns from a locked account neither its id nor that it is there.
#[tokio::test]
async fn ossa_2021_003_a_locked_account_answers_as_nobody_does() {
    let story = story(|c| c.security_compliance.lockout_failure_attempts = Some(3)).await;
    let cloud = &story.cloud;
    for _ in 0..3 {
        story.login("wrong").await.expect(401);
    }
    let nobody = cloud.login("nobody", "pw", Value::Null).await;
    let nobody = nobody.expect(401);
    let names = |answer: &Answer| {
        let mut names: Vec<String> = answer.headers.keys().map(|n| n.to_string()).collect();
        names.sort();
        names
    };
    for password in ["pw", "wrong", ""] {
        for locked in [
            story.login(password).await,
            cloud.login("ann", password, Value::Null).await,
        ] {
            assert_eq!(locked.status, 401);
            assert_eq!(locked.body, nobody.body);
            assert_eq!(names(&locked), names(&nobody));
        }
    }
    let change =
        |original: &str| json!({"user": {"original_password": original, "password": "new"}});
    let path = |id: &str| format!("/v3/users/{id}/password");
    let nobody = cloud.call("", "POST", &path("nobody"), change("pw")).await;
    for original in ["pw", "wrong"] {
        let locked = cloud
            .call("", "POST", &path(&story.ann), change(original))
            .await;
        assert_eq!(locked.status, 401);
        assert_eq!(locked.body, nobody.body);
    }
}

#[tokio::test]
async fn accounts_lock_for_a_while() {
    let story = story(|c| c.security_compliance.lockout_failure_attempts = Some(3)).await;
    for _ in 0..2 {
        story.login("wrong").await.expect(401);
    }
    story.login("pw").await.expect(201);
    for _ in 0..3 {
        story.login("wrong").await.expect(401);
    }
    let nobody = story
        .cloud
        .login("nobody", "pw", Value::Null)
        .await
        .expect(401);
    let locked = story.login("pw").await.expect(401);
    assert_eq!(locked.message(), nobody.message());
    story.choose("pw", "new").await.expect(401);
    // Trying does not make it longer.
    story.cloud.clock.advance(Duration::from_secs(1700));
    story.login("wrong").await.expect(401);
    story.cloud.clock.advance(Duration::from_secs(101));
    story.login("wrong").await.expect(401);
    story.login("pw").await.expect(201);
    // An administrator ends it at once; who is exempt is never locked.
    for _ in 0..3 {
        story.login("wrong").await.expect(401);
    }
    story.login("pw").await.expect(401);
    story.set(json!({"enabled": true})).await.expect(200);
    story.login("pw").await.expect(201);
    let exempt = json!({"options": {"ignore_lockout_failure_attempts": true}});
    story.set(exempt).await.expect(200);
    for _ in 0..4 {
        story.login("wrong").await.expect(401);
    }
    story.login("pw").await.expect(201);
    // Nor is one of the cloud's own.
    let service = json!({"project": {"id": story.cloud.ids.service_project_id}});
    for _ in 0..4 {
        story
            .cloud
            .login("nova", "wrong", service.clone())
            .await
            .expect(401);
    }
    story
        .cloud
        .login("nova", "nova-secret", service)
        .await
        .expect(201);
}

#[tokio::test]
async fn passwords_end() {
    let story = story(|c| c.security_compliance.password_expires_days = Some(10)).await;
    assert_eq!(
        story.shown().await["password_expires_at"],
        "2026-01-12T03:04:05.000000"
    );
    let login = story.login("pw").await.expect(201);
    assert_eq!(
        login.body["token"]["user"]["password_expires_at"],
        "2026-01-12T03:04:05.000000"
    );
    for (query, found) in [("lt", 0), ("gt", 1), ("lte", 0), ("eq", 0), ("neq", 1)] {
        let path = format!("/v3/users?password_expires_at={query}:2026-01-10T00:00:00Z");
        let list = story.cloud.get(&story.admin, &path).await.expect(200);
        assert_eq!(
            list.body["users"].as_array().unwrap().len(),
            found,
            "{query}"
        );
    }
    story.days(10);
    let ended = story.login("pw").await.expect(401);
    assert_eq!(
        ended.message(),
        format!(
            "The password is expired and needs to be changed for user: {}.",
            story.ann
        )
    );
    let wrong = story.login("wrong").await.expect(401);
    assert!(!wrong.message().contains(&story.ann));
    story.choose("pw", "new").await.expect(204);
    story.login("new").await.expect(201);
    story.days(10);
    story.login("new").await.expect(401);
    let exempt = json!({"options": {"ignore_password_expiry": true}});
    story.set(exempt).await.expect(200);
    story.login("new").await.expect(201);
    // The administrator's was made by the cloud, which asks nobody to change it.
    story.cloud.admin().await;
}

#[tokio::test]
async fn what_an_administrator_chose_must_be_changed() {
    let story = story(|c| c.security_compliance.change_password_upon_first_use = true).await;
    story.login("pw").await.expect(401);
    story.choose("pw", "mine").await.expect(204);
    story.login("mine").await.expect(201);
    story.set(json!({"password": "reset"})).await.expect(200);
    story.login("reset").await.expect(401);
    let exempt =
        json!({"password": "reset", "options": {"ignore_change_password_upon_first_use": true}});
    story.set(exempt).await.expect(200);
    story.login("reset").await.expect(201);
}

#[tokio::test]
async fn a_new_password_is_new_and_stays_for_a_while() {
    let story = story(|c| {
        c.security_compliance.unique_last_password_count = 3;
        c.security_compliance.minimum_password_age = 1;
    })
    .await;
    story.choose("pw", "pw").await.expect(400);
    // What an administrator chose may be changed at once, what one chose may not.
    story.choose("pw", "second").await.expect(204);
    let young = story.choose("second", "third").await.expect(400);
    assert!(
        young.message().contains("minimum password age"),
        "{}",
        young.message()
    );
    for (old, new) in [("second", "third"), ("third", "fourth")] {
        story.days(1);
        let again = story.choose(old, old).await.expect(400);
        assert!(
            again.message().contains("unique is 3"),
            "{}",
            again.message()
        );
        story.choose(old, new).await.expect(204);
    }
    story.days(1);
    for recent in ["second", "third", "fourth"] {
        story.choose("fourth", recent).await.expect(400);
    }
    story.choose("fourth", "pw").await.expect(204);
    // Administrators are asked nothing of this.
    story.set(json!({"password": "fourth"})).await.expect(200);
    story.login("fourth").await.expect(201);
    let locked = json!({"options": {"lock_password": true}});
    story.set(locked).await.expect(200);
    story.choose("fourth", "fifth").await.expect(400);
}

#[tokio::test]
async fn passwords_match_the_pattern() {
    let mut conf = conf();
    // As upstream's documentation has it.
    let pattern = r"^(?=.*\d)(?=.*[a-zA-Z]).{7,}$";
    conf.security_compliance.password_regex = Some(pattern.into());
    conf.security_compliance.password_regex_description = Some("seven with a digit".into());
    let cloud = Cloud::with(conf).await;
    let admin = cloud.admin().await;
    let create = async |password: &str| {
        let body = json!({"user": {"name": base::new_hex_id(), "password": password}});
        cloud.call(&admin, "POST", "/v3/users", body).await
    };
    for short in ["pw", "abcdefgh", "12345678", "abc 12"] {
        let no = create(short).await.expect(400);
        assert_eq!(
            no.message(),
            "The password does not match the requirements: seven with a digit."
        );
    }
    let user = create("abcdef7").await.expect(201).id("user");
    let path = format!("/v3/users/{user}");
    for (password, status) in [("pw", 400), ("abcdef8", 200)] {
        let body = json!({"user": {"password": password}});
        cloud
            .call(&admin, "PATCH", &path, body)
            .await
            .expect(status);
    }
    for (password, status) in [("pw", 400), ("abcdef9", 204)] {
        let body = json!({"user": {"original_password": "abcdef8", "password": password}});
        let path = format!("{path}/password");
        cloud.call("", "POST", &path, body).await.expect(status);
    }
}

#[tokio::test]
async fn who_is_not_seen_is_disabled() {
    let story = story(|c| c.security_compliance.disable_user_account_days_inactive = Some(5)).await;
    story.days(4);
    story.login("pw").await.expect(201);
    story.days(4);
    story.login("pw").await.expect(201);
    assert_eq!(story.shown().await["enabled"], true);
    story.days(5);
    assert_eq!(story.shown().await["enabled"], false);
    story.login("pw").await.expect(401);
    story.set(json!({"enabled": true})).await.expect(200);
    story.login("pw").await.expect(201);
    let exempt = json!({"options": {"ignore_user_inactivity": true}});
    story.set(exempt).await.expect(200);
    story.days(50);
    story.login("pw").await.expect(201);
}

/// RFC 6238's secret and the passcode of a time.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn passcode(cloud: &Cloud) -> String {
    use hmac::{Hmac, Mac};
    let step = (cloud.clock.now().seconds() / 30) as u64;
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"12345678901234567890").unwrap();
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 0x0f);
    let word = u32::from_be_bytes(digest[at..at + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

fn by_totp(user: &str, passcode: &str) -> Value {
    json!({"methods": ["totp"], "totp": {"user": {"id": user, "passcode": passcode}}})
}

#[tokio::test]
async fn two_proofs_at_once_or_one_after_the_other() {
    let story = story(|c| c.auth.methods.push("totp".into())).await;
    let Story { cloud, admin, ann } = &story;
    let secret = json!({"credential": {"type": "totp", "blob": SECRET, "user_id": ann}});
    cloud
        .call(admin, "POST", "/v3/credentials", secret)
        .await
        .expect(201);
    let code = passcode(cloud);
    let alone = cloud
        .auth(by_totp(ann, &code), Value::Null)
        .await
        .expect(201);
    assert_eq!(alone.body["token"]["methods"], json!(["totp"]));
    for (user, code) in [(ann.as_str(), "000000"), (ann, ""), ("nobody", &code)] {
        cloud
            .auth(by_totp(user, code), Value::Null)
            .await
            .expect(401);
    }
    cloud.clock.advance(Duration::from_secs(30));
    cloud
        .auth(by_totp(ann, &code), Value::Null)
        .await
        .expect(201);
    cloud.clock.advance(Duration::from_secs(30));
    cloud
        .auth(by_totp(ann, &code), Value::Null)
        .await
        .expect(401);

    let rules = json!({"options": {"multi_factor_auth_rules": [["password", "totp"]]}});
    story.set(rules).await.expect(200);
    let mut both = by_totp(ann, &passcode(cloud));
    both["methods"] = json!(["password", "totp"]);
    both["password"] = by_id(ann, "pw")["password"].clone();
    let token = cloud.auth(both, Value::Null).await.expect(201);
    assert_eq!(token.body["token"]["methods"], json!(["password", "totp"]));
    let rescoped = cloud
        .auth(crate::cloud::by_token(&token.token()), json!("unscoped"))
        .await;
    rescoped.expect(201);

    // One is not enough, but its receipt counts for some minutes, for the same user and nothing else.
    let first = story.login("pw").await.expect(401);
    let receipt = first.headers["openstack-auth-receipt"]
        .to_str()
        .unwrap()
        .to_string();
    assert!(first.headers.get("x-subject-token").is_none());
    assert_eq!(first.body["receipt"]["methods"], json!(["password"]));
    assert_eq!(first.body["receipt"]["user"]["id"], *ann);
    assert_eq!(
        first.body["receipt"]["expires_at"],
        "2026-01-02T03:10:06.000000Z"
    );
    assert_eq!(
        first.body["required_auth_methods"],
        json!([["password", "totp"]])
    );
    story.login("wrong").await.expect(401);
    let second = async |user: &str, receipt: &str| {
        let body = json!({"auth": {"identity": by_totp(user, &passcode(cloud))}});
        let headers = [
            ("content-type", "application/json"),
            ("openstack-auth-receipt", receipt),
        ];
        let body = Some(body.to_string().into_bytes());
        cloud.send("POST", "/v3/auth/tokens", &headers, body).await
    };
    let done = second(ann, &receipt).await.expect(201);
    assert_eq!(done.body["token"]["methods"], json!(["totp", "password"]));
    cloud.check(&receipt).await.expect(401);
    second(ann, &done.token()).await.expect(401);
    second(ann, "made up").await.expect(401);
    let bob = cloud.user(admin, "bob", "default").await;
    let secret = json!({"credential": {"type": "totp", "blob": SECRET, "user_id": bob}});
    cloud
        .call(admin, "POST", "/v3/credentials", secret)
        .await
        .expect(201);
    second(&bob, &receipt).await.expect(401);
    cloud.clock.advance(Duration::from_secs(301));
    second(ann, &receipt).await.expect(401);

    let off = json!({"options": {"multi_factor_auth_enabled": false}});
    story.set(off).await.expect(200);
    story.login("pw").await.expect(201);
}

/// Whoever knows a password does not guess the passcode that is asked for beside it for ever.
#[tokio::test]
async fn passcodes_lock_accounts_too() {
    let story = story(|c| {
        c.auth.methods.push("totp".into());
        c.security_compliance.lockout_failure_attempts = Some(3);
    })
    .await;
    let Story { cloud, admin, ann } = &story;
    let secret = json!({"credential": {"type": "totp", "blob": SECRET, "user_id": ann}});
    let made = cloud.call(admin, "POST", "/v3/credentials", secret).await;
    made.expect(201);
    let rules = json!({"options": {"multi_factor_auth_rules": [["password", "totp"]]}});
    story.set(rules).await.expect(200);
    let both = async |code: &str| {
        let mut both = by_totp(ann, code);
        both["methods"] = json!(["password", "totp"]);
        both["password"] = by_id(ann, "pw")["password"].clone();
        cloud.auth(both, Value::Null).await
    };
    let wrong = |code: &String| *code != passcode(cloud);
    let wrong = ["000000", "000001"]
        .map(str::to_string)
        .into_iter()
        .find(wrong);
    let wrong = wrong.unwrap();
    for _ in 0..2 {
        both(&wrong).await.expect(401);
    }
    // All proofs together forgive, one of them does not.
    both(&passcode(cloud)).await.expect(201);
    for _ in 0..3 {
        both(&wrong).await.expect(401);
    }
    both(&passcode(cloud)).await.expect(401);
    cloud.clock.advance(Duration::from_secs(1801));
    both(&passcode(cloud)).await.expect(201);
}
