//! A Keystone in Python with the same keys: each reads the tokens, passwords and credentials of the other. `tests/compat/
//! python_keystone.py` asks upstream's own code, in the environment that `script/install` makes.

use crate::cloud::{Cloud, START, Story, by_id, by_token, conf, database, deps};
use crate::oauth2;
use crate::passwords::{hashing, store_hash, stored_hash};
use base::Clock;
use keystone::Conf;
use keystone::config::{HashAlgorithm, TokenProvider};
use oslo_db::{Db, eq, set};
use oslo_testing::upstream;
use serde_json::{Value, json};
use std::path::PathBuf;

const AUDIT_ID: &str = "VcxU2JYqT8OzfUVvrjEITQ";
const ENDS: &str = "2026-01-02T09:04:05.000000Z";

oslo_db::table! {
    /// What the database holds.
    struct StoredCredential in "identity_credentials" { id: String, encrypted_blob: String }
}

/// Key repositories that both use.
struct Repositories(PathBuf);

impl Repositories {
    fn new() -> Repositories {
        let folder = std::env::temp_dir().join(format!("keystone-{}", base::new_hex_id()));
        std::fs::create_dir_all(&folder).unwrap();
        Repositories(folder)
    }

    fn conf(&self) -> Conf {
        let mut conf = conf();
        conf.fernet_tokens.key_repository = Some(self.0.join("fernet-keys"));
        conf.credential.key_repository = Some(self.0.join("credential-keys"));
        conf
    }

    async fn ask(&self, mut question: Value) -> Value {
        question["fernet"] = json!(self.0.join("fernet-keys"));
        question["credential"] = json!(self.0.join("credential-keys"));
        for name in ["jws_public", "jws_private"] {
            let folder = self.0.join(name);
            if folder.is_dir() {
                question[name] = json!(folder);
            }
        }
        upstream::ask("keystone", "python_keystone.py", &question)
            .await
            .unwrap()
    }
}

impl Drop for Repositories {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ann, and what else she may have a token for.
struct People {
    story: Story,
    bob: String,
    trust: String,
    app_cred: Value,
}

async fn people(conf: Conf) -> People {
    let story = Story::with(conf, "member").await;
    let Story {
        cloud, admin, ann, ..
    } = &story;
    let bob = cloud.user(admin, "bob", "default").await;
    let actor = format!("users/{ann}");
    for place in ["domains/default", "system"] {
        cloud.grant(admin, place, &actor, "member").await;
    }
    let (token, project) = (&story.token, &story.project);
    let trust = json!({"trust": {
        "trustor_user_id": ann, "trustee_user_id": bob, "project_id": project, "impersonation": false,
        "roles": [{"name": "member"}],
    }});
    let trust = cloud
        .call(token, "POST", "/v3/OS-TRUST/trusts", trust)
        .await;
    People {
        trust: trust.expect(201).id("trust"),
        app_cred: story.app_cred(json!({"name": "c"})).await,
        bob,
        story,
    }
}

impl People {
    /// Every kind of token that both know: upstream's name for its payload, what makes it, and what it names.
    fn tokens(&self) -> Vec<(&'static str, Value, Value, Value)> {
        let Story {
            ann: a, project, ..
        } = &self.story;
        let (ann, bob) = (by_id(a, "pw"), by_id(&self.bob, "pw"));
        let of = |user: &str, method: &str, more: Value| {
            let mut claims = json!({"user_id": user, "methods": [method]});
            for (name, value) in more.as_object().unwrap() {
                claims[name] = value.clone();
            }
            claims
        };
        let b = self.bob.as_str();
        vec![
            (
                "UnscopedPayload",
                ann.clone(),
                json!("unscoped"),
                of(a, "password", json!({})),
            ),
            (
                "ProjectScopedPayload",
                ann.clone(),
                json!({"project": {"id": project}}),
                of(a, "password", json!({"project_id": project})),
            ),
            (
                "DomainScopedPayload",
                ann.clone(),
                json!({"domain": {"id": "default"}}),
                of(a, "password", json!({"domain_id": "default"})),
            ),
            (
                "SystemScopedPayload",
                ann,
                json!({"system": {"all": true}}),
                of(a, "password", json!({"system": "all"})),
            ),
            (
                "TrustScopedPayload",
                bob,
                json!({"OS-TRUST:trust": {"id": self.trust}}),
                of(
                    b,
                    "password",
                    json!({"project_id": project, "trust_id": self.trust}),
                ),
            ),
            (
                "ApplicationCredentialScopedPayload",
                self.app_cred.clone(),
                Value::Null,
                of(
                    a,
                    "application_credential",
                    json!({"project_id": project, "app_cred_id": self.app_cred["application_credential"]["id"]}),
                ),
            ),
        ]
    }
}

/// What our own answer about a token says, in upstream's words for claims.
fn claims(token: &Value) -> Value {
    let mut claims = json!({
        "user_id": token["user"]["id"], "methods": token["methods"], "audit_ids": token["audit_ids"],
        "expires_at": token["expires_at"],
    });
    for (name, value) in [
        ("project_id", &token["project"]["id"]),
        ("domain_id", &token["domain"]["id"]),
        ("trust_id", &token["OS-TRUST:trust"]["id"]),
        ("app_cred_id", &token["application_credential"]["id"]),
    ] {
        if !value.is_null() {
            claims[name] = value.clone();
        }
    }
    if token["system"]["all"] == true {
        claims["system"] = json!("all");
    }
    claims
}

/// What a token that Python makes says.
fn expected_of(named: &Value) -> Value {
    let mut expected = named.clone();
    expected["audit_ids"] = json!([AUDIT_ID, "another0another0anothQ"]);
    expected["expires_at"] = json!(ENDS);
    expected
}

/// That token, as Python is asked for it.
fn asked_for(class: &str, named: &Value) -> Value {
    let mut token = expected_of(named);
    token["id"] = json!(class);
    token["class"] = json!(class);
    token
}

/// Methods are a set; each side has an order of its own.
fn sorted(mut claims: Value) -> Value {
    let methods = claims["methods"].as_array_mut().unwrap();
    methods.sort_by_key(Value::to_string);
    claims
}

#[tokio::test]
async fn fernet_tokens_of_either_are_good_at_the_other() {
    let keys = Repositories::new();
    let people = people(keys.conf()).await;
    let Story { cloud, admin, .. } = &people.story;
    let kinds = people.tokens();
    let (mut ours, mut wanted) = (Vec::new(), Vec::new());
    for (class, identity, scope, named) in &kinds {
        let issued = cloud
            .auth(identity.clone(), scope.clone())
            .await
            .expect(201);
        ours.push((issued.token(), claims(&issued.body["token"])));
        wanted.push(asked_for(class, named));
    }
    // One from another: its chain is known to both.
    let chained = cloud
        .auth(by_token(&ours[0].0), Value::Null)
        .await
        .expect(201);
    ours.push((chained.token(), claims(&chained.body["token"])));
    let texts: Vec<&String> = ours.iter().map(|(text, _)| text).collect();
    let answer = keys.ask(json!({"tokens": wanted, "read": texts})).await;

    for ((_, expected), read) in ours.iter().zip(answer["read"].as_array().unwrap()) {
        let mut read = read.clone();
        let issued = read.as_object_mut().unwrap().remove("issued_at").unwrap();
        assert!(
            issued.as_str().unwrap().starts_with("2026-01-02T03:04:05"),
            "{issued}"
        );
        assert_eq!(sorted(read), sorted(expected.clone()));
    }
    for (class, _, _, named) in &kinds {
        let token = answer["tokens"][class].as_str().unwrap();
        let shown = cloud.check_as(admin, token).await.expect(200);
        assert_eq!(claims(&shown.body["token"]), expected_of(named), "{class}");
        // And it opens doors.
        cloud.get(token, "/v3/auth/projects").await.expect(200);
    }
    // A rotation here is one there: the repository is the same.
    cloud.built.state.rotate_keys().await.unwrap();
    let after = cloud
        .auth(by_id(&people.story.ann, "pw"), json!("unscoped"))
        .await
        .token();
    let question = json!({"tokens": &wanted[..1], "read": [after, ours[0].0]});
    let answer = keys.ask(question).await;
    assert_eq!(answer["read"][0]["user_id"], json!(people.story.ann));
    assert_eq!(answer["read"][1]["user_id"], json!(people.story.ann));
    let token = answer["tokens"]["UnscopedPayload"].as_str().unwrap();
    cloud.check_as(admin, token).await.expect(200);
}

/// Upstream gives the method of certificates no bit, so its tokens name none; what they are bound to is in both.
#[tokio::test]
async fn tokens_bound_to_a_certificate_are_read_by_either() {
    let keys = Repositories::new();
    let story = oauth2::story(oauth2::with_front_end(keys.conf())).await;
    let certificate = oauth2::certificate("ann", "ann@x");
    let done = story.ask(oauth2::FRONT_END, &story.ann, &certificate).await;
    let ours = done.expect(200).body["access_token"].clone();
    let shown = async |token: &Value| {
        let token = token.as_str().unwrap();
        let shown = story.cloud.check_as(&story.admin, token).await;
        shown.expect(200).body["token"].clone()
    };
    let mark = shown(&ours).await["oauth2_credential"]["x5t#S256"].clone();
    let class = "Oauth2CredentialsScopedPayload";
    let named = json!({
        "user_id": story.ann, "methods": ["oauth2_credential"], "project_id": story.project, "thumbprint": mark,
    });
    let answer = keys
        .ask(json!({"tokens": [asked_for(class, &named)], "read": [ours]}))
        .await;
    let read = &answer["read"][0];
    for name in ["user_id", "project_id", "thumbprint"] {
        assert_eq!(read[name], named[name], "{name}");
    }
    let theirs = shown(&answer["tokens"][class]).await;
    assert_eq!(theirs["oauth2_credential"]["x5t#S256"], mark);
    assert_eq!(claims(&theirs)["project_id"], story.project.as_str());
    assert_eq!(theirs["methods"], json!(["oauth2_credential"]));
}

/// The pair is made by upstream's own function, and both sign with it.
#[tokio::test]
async fn signed_tokens_of_either_are_good_at_the_other() {
    let keys = Repositories::new();
    let mut conf = keys.conf();
    conf.token.provider = TokenProvider::Jws;
    let (public, private) = (keys.0.join("jws_public"), keys.0.join("jws_private"));
    for folder in [&public, &private] {
        std::fs::create_dir(folder).unwrap();
    }
    conf.jwt_tokens.jws_public_key_repository = Some(public);
    conf.jwt_tokens.jws_private_key_repository = Some(private);
    // Its Fernet keys, which Python wants to see.
    drop(Cloud::with(keys.conf()).await);
    keys.ask(json!({})).await;

    let people = people(conf).await;
    let Story { cloud, admin, .. } = &people.story;
    let kinds = people.tokens();
    let (mut ours, mut wanted) = (Vec::new(), Vec::new());
    for (class, identity, scope, named) in &kinds {
        let issued = cloud
            .auth(identity.clone(), scope.clone())
            .await
            .expect(201);
        ours.push((issued.token(), claims(&issued.body["token"])));
        wanted.push(asked_for(class, named));
    }
    let texts: Vec<&String> = ours.iter().map(|(text, _)| text).collect();
    let answer = keys.ask(json!({"tokens": wanted, "read_jws": texts})).await;
    for ((_, expected), read) in ours.iter().zip(answer["read_jws"].as_array().unwrap()) {
        let mut read = read.clone();
        read.as_object_mut().unwrap().remove("issued_at");
        assert_eq!(sorted(read), sorted(expected.clone()));
    }
    for (class, _, _, named) in &kinds {
        let token = answer["jws"][class].as_str().unwrap();
        let shown = cloud.check_as(admin, token).await.expect(200);
        assert_eq!(claims(&shown.body["token"]), expected_of(named), "{class}");
    }
}

#[tokio::test]
async fn passwords_and_credentials_of_either_are_good_at_the_other() {
    const PASSWORD: &str = "pw";
    let keys = Repositories::new();
    let (db, clock) = (database().await, Clock::manual(START));
    let mut ours = Vec::new();
    for algorithm in HashAlgorithm::ALL {
        // Upstream reads no bcrypt_sha256 of less, not even its own: it forgets the zero before the cost.
        let cloud = hashing(&db, &clock, *algorithm, 10).await;
        let admin = cloud.admin().await;
        let user = cloud.user(&admin, algorithm.as_str(), "default").await;
        ours.push(stored_hash(&db, &user).await);
    }
    let cloud = Cloud::over(deps(&db, &clock, keys.conf())).await;
    let admin = cloud.admin().await;
    let user = cloud.user(&admin, "ann", "default").await;
    let credential = json!({"type": "cert", "blob": "hush ä", "user_id": user});
    let credential = cloud
        .make(&admin, "/v3/credentials", "credential", credential)
        .await;
    let blob = stored_blob(&db, &credential).await;

    let question = json!({
        "passwords": {"password": PASSWORD, "hashes": ours}, "encrypt": ["theirs ö"], "decrypt": [blob],
    });
    let answer = keys.ask(question).await;
    assert_eq!(
        answer["verified"],
        json!(vec![true; ours.len()]),
        "{ours:?}"
    );
    assert_eq!(answer["refused"], json!(vec![false; ours.len()]));
    let theirs = answer["hashes"].as_array().unwrap();
    assert!(theirs.len() >= ours.len(), "{theirs:?}");
    for hash in theirs {
        let hash = hash.as_str().unwrap();
        store_hash(&db, &user, hash).await;
        let right = cloud.auth(by_id(&user, PASSWORD), Value::Null).await;
        assert_eq!(right.status, 201, "{hash}");
        cloud
            .auth(by_id(&user, "pw!"), Value::Null)
            .await
            .expect(401);
    }
    assert_eq!(answer["decrypted"], json!(["hush ä"]));
    let id = credential.clone();
    let encrypted = answer["encrypted"][0].as_str().unwrap().to_string();
    let write = move |tx: &mut oslo_db::Tx| {
        tx.update::<StoredCredential>(eq("id", &id), &[set("encrypted_blob", &encrypted)])
    };
    db.write(write).await.unwrap();
    let path = format!("/v3/credentials/{credential}");
    let shown = cloud.get(&admin, &path).await.expect(200);
    assert_eq!(shown.body["credential"]["blob"], "theirs ö");
}

async fn stored_blob(db: &Db, id: &str) -> String {
    let id = id.to_string();
    let row = db.read(move |tx| tx.find::<StoredCredential>(eq("id", &id)));
    row.await.unwrap().unwrap().encrypted_blob
}
