//! OAuth 1.0a: a program asks, a user agrees, the program acts with some of the user's roles.

use crate::cloud::{Answer, Cloud, by_token, conf};
use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use oslo_http::percent_encode;
use serde_json::{Value, json};
use sha1::Sha1;
use std::collections::BTreeMap;
use std::time::Duration;

/// A program with its secret, and the token and secret of the step that it is at.
#[derive(Clone, Default)]
struct Program {
    key: String,
    secret: String,
    token: Option<(String, String)>,
    verifier: Option<String>,
}

/// What it sends, as it is and as it is signed.
struct Sent {
    params: BTreeMap<&'static str, String>,
    url: String,
}

impl Program {
    fn sends(&self, cloud: &Cloud, path: &str, nonce: &str) -> Sent {
        let mut params = BTreeMap::from([
            ("oauth_consumer_key", self.key.clone()),
            ("oauth_nonce", nonce.to_string()),
            ("oauth_signature_method", "HMAC-SHA1".to_string()),
            ("oauth_timestamp", cloud.clock.now().seconds().to_string()),
            ("oauth_version", "1.0".to_string()),
            ("oauth_callback", "oob".to_string()),
        ]);
        if let Some((id, _)) = &self.token {
            params.insert("oauth_token", id.clone());
        }
        if let Some(verifier) = &self.verifier {
            params.insert("oauth_verifier", verifier.clone());
        }
        Sent {
            params,
            url: format!("http://keystone.test{path}"),
        }
    }

    fn sign(&self, sent: &Sent) -> String {
        let pairs: Vec<String> = sent
            .params
            .iter()
            .map(|(n, v)| format!("{n}={}", percent_encode(v)))
            .collect();
        let pairs = percent_encode(&pairs.join("&"));
        let text = format!("POST&{}&{pairs}", percent_encode(&sent.url));
        let token_secret = self.token.as_ref().map_or("", |(_, s)| s.as_str());
        let key = format!("{}&{token_secret}", self.secret);
        let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let mut pairs: Vec<String> = sent
            .params
            .iter()
            .map(|(n, v)| format!("{n}=\"{}\"", percent_encode(v)))
            .collect();
        pairs.push(format!(
            "oauth_signature=\"{}\"",
            percent_encode(&signature)
        ));
        format!("OAuth realm=\"x\", {}", pairs.join(", "))
    }

    fn header(&self, cloud: &Cloud, path: &str, nonce: &str) -> String {
        self.sign(&self.sends(cloud, path, nonce))
    }

    async fn post(&self, cloud: &Cloud, path: &str, nonce: &str, more: &[(&str, &str)]) -> Answer {
        let header = self.header(cloud, path, nonce);
        let mut headers = vec![("authorization", header.as_str())];
        headers.extend_from_slice(more);
        cloud.send("POST", path, &headers, None).await
    }

    /// Logs in with what it was given.
    async fn login(&self, cloud: &Cloud, nonce: &str) -> Answer {
        let header = self.header(cloud, LOGIN, nonce);
        let headers = [
            ("authorization", header.as_str()),
            ("content-type", "application/json"),
        ];
        cloud.send("POST", LOGIN, &headers, Some(body())).await
    }

    fn with(&self, answer: &Answer) -> Program {
        let form: BTreeMap<&str, &str> = answer
            .text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        Program {
            token: Some((
                form["oauth_token"].into(),
                form["oauth_token_secret"].into(),
            )),
            verifier: None,
            ..self.clone()
        }
    }
}

const REQUEST: &str = "/v3/OS-OAUTH1/request_token";
const ACCESS: &str = "/v3/OS-OAUTH1/access_token";
const LOGIN: &str = "/v3/auth/tokens";

fn body() -> Vec<u8> {
    let auth = json!({"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}});
    auth.to_string().into_bytes()
}

struct Story {
    cloud: Cloud,
    admin: String,
    project: String,
    program: Program,
}

impl Story {
    async fn begin() -> Story {
        let (cloud, admin) = Cloud::begin(conf()).await;
        let (path, body) = ("/v3/OS-OAUTH1/consumers", json!({"consumer": {}}));
        let made = cloud.call(&admin, "POST", path, body).await;
        let made = made.expect(201).body;
        let text = |name: &str| made["consumer"][name].as_str().unwrap().to_string();
        let program = Program {
            key: text("id"),
            secret: text("secret"),
            ..Program::default()
        };
        let project = cloud.ids.admin_project_id.clone();
        Story {
            cloud,
            admin,
            project,
            program,
        }
    }

    async fn request(&self, nonce: &str) -> Answer {
        let more = [("requested-project-id", self.project.as_str())];
        self.program.post(&self.cloud, REQUEST, nonce, &more).await
    }

    async fn authorize(&self, token: &str, asked: &Program, roles: Value) -> Answer {
        let id = &asked.token.as_ref().unwrap().0;
        let path = format!("/v3/OS-OAUTH1/authorize/{id}");
        self.cloud.put(token, &path, json!({"roles": roles})).await
    }

    /// The program with an access token for the role.
    async fn agreed(&self, role: &str) -> Program {
        let asked = self.program.with(&self.request("1").await.expect(201));
        let said = self
            .authorize(&self.admin, &asked, json!([{"name": role}]))
            .await;
        let verifier = said.expect(200).body["token"]["oauth_verifier"].clone();
        let asked = Program {
            verifier: Some(verifier.as_str().unwrap().into()),
            ..asked
        };
        let got = asked.post(&self.cloud, ACCESS, "2", &[]).await.expect(201);
        self.program.with(&got)
    }

    fn admin_id(&self) -> String {
        self.cloud.ids.admin_user_id.clone()
    }
}

#[tokio::test]
async fn a_program_acts_with_some_of_a_users_roles() {
    let story = Story::begin().await;
    let Story { cloud, admin, .. } = &story;
    let answer = story.request("1").await.expect(201);
    assert_eq!(
        answer.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert!(
        answer.text.contains("&oauth_expires_at=20"),
        "{}",
        answer.text
    );
    let asked = story.program.with(&answer);
    let reader = cloud.role(admin, "reader").await;
    let said = story
        .authorize(admin, &asked, json!([{"id": reader}]))
        .await
        .expect(200);
    let verifier = said.body["token"]["oauth_verifier"]
        .as_str()
        .unwrap()
        .to_string();
    assert_eq!(verifier.len(), 8);
    let asked = Program {
        verifier: Some(verifier),
        ..asked
    };
    let got = asked.post(cloud, ACCESS, "2", &[]).await.expect(201);
    let acting = story.program.with(&got);
    // What was agreed to is used up.
    asked.post(cloud, ACCESS, "3", &[]).await.expect(404);

    let login = acting.login(cloud, "4").await.expect(201);
    let token = login.token();
    let shown = &login.body["token"];
    assert_eq!(shown["methods"], json!(["oauth1"]));
    assert_eq!(shown["project"]["id"], story.project.as_str());
    assert_eq!(shown["user"]["id"], story.admin_id().as_str());
    let id = &acting.token.as_ref().unwrap().0;
    let named = json!({"access_token_id": id, "consumer_id": story.program.key});
    assert_eq!(shown["OS-OAUTH1"], named);
    let roles: Vec<&str> = shown["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["reader"]);
    assert_eq!(cloud.check(&token).await.expect(200).body, login.body);

    // It makes nothing that reaches further.
    cloud.auth(by_token(&token), Value::Null).await.expect(403);
    let user = story.admin_id();
    let cred = json!({"application_credential": {"name": "x"}});
    cloud
        .call(
            &token,
            "POST",
            &format!("/v3/users/{user}/application_credentials"),
            cred,
        )
        .await
        .expect(403);
    let trust = json!({"trust": {"trustor_user_id": user, "trustee_user_id": user, "impersonation": false, "project_id": story.project, "roles": [{"name": "reader"}]}});
    cloud
        .call(&token, "POST", "/v3/OS-TRUST/trusts", trust)
        .await
        .expect(403);

    // The user sees what they agreed to, and takes it back.
    let root = format!("/v3/users/{user}/OS-OAUTH1/access_tokens");
    let list = cloud.get(admin, &root).await.expect(200);
    assert_eq!(list.column("access_tokens", "id"), [id.as_str()]);
    let path = format!("{root}/{id}");
    let one = cloud.get(admin, &path).await.expect(200).body;
    assert_eq!(
        one["access_token"]["consumer_id"],
        story.program.key.as_str()
    );
    assert_eq!(one["access_token"]["authorizing_user_id"], user.as_str());
    assert_eq!(
        one["access_token"]["links"]["roles"],
        format!("http://keystone.test{path}/roles")
    );
    assert_eq!(one["access_token"].get("encrypted_secret"), None);
    let held = cloud.get(admin, &format!("{path}/roles")).await.expect(200);
    assert_eq!(held.column("roles", "id"), [reader.as_str()]);
    cloud
        .get(admin, &format!("{path}/roles/{reader}"))
        .await
        .expect(200);
    let other = cloud.role(admin, "member").await;
    cloud
        .get(admin, &format!("{path}/roles/{other}"))
        .await
        .expect(404);
    cloud
        .get(admin, &format!("/v3/users/x/OS-OAUTH1/access_tokens/{id}"))
        .await
        .expect(404);
    cloud
        .call(admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.check_as(admin, &token).await.expect(404);
    acting.login(cloud, "5").await.expect(404);
    cloud.get(admin, &path).await.expect(404);
}

#[tokio::test]
async fn what_a_program_may_do_ends_with_what_it_came_from() {
    let story = Story::begin().await;
    let Story { cloud, admin, .. } = &story;
    let acting = story.agreed("member").await;
    let token = acting.login(cloud, "3").await.expect(201).token();
    let end = cloud.check(&token).await.expect(200).body["token"]["expires_at"].clone();
    // Nothing of it outlives what was agreed to: a day, by default.
    let last = cloud.clock.now().plus(Duration::from_secs(86_400));
    assert!(Timestamp::parse(end.as_str().unwrap()).unwrap() <= last);
    // The user loses the role.
    let user = cloud.user(admin, "other-admin", "default").await;
    cloud
        .grant(
            admin,
            &format!("projects/{}", story.project),
            &format!("users/{user}"),
            "admin",
        )
        .await;
    let other = cloud
        .login("other-admin", "pw", cloud.admin_project())
        .await
        .expect(201)
        .token();
    let role = cloud.role(admin, "admin").await;
    let grant = format!(
        "/v3/projects/{}/users/{}/roles/{role}",
        story.project,
        story.admin_id()
    );
    cloud
        .call(&other, "DELETE", &grant, Value::Null)
        .await
        .expect(204);
    cloud.check_as(&other, &token).await.expect(404);
    acting.login(cloud, "4").await.expect(401);
    cloud
        .call(&other, "PUT", &grant, Value::Null)
        .await
        .expect(204);
    acting.login(cloud, "5").await.expect(201);
    // Its time is over.
    cloud.clock.advance(Duration::from_secs(86_401));
    assert_eq!(
        acting.login(cloud, "6").await.expect(401).message(),
        "Access token is expired"
    );
}

#[tokio::test]
async fn with_a_consumer_goes_what_it_was_let_do() {
    let story = Story::begin().await;
    let Story { cloud, admin, .. } = &story;
    let acting = story.agreed("reader").await;
    let token = acting.login(cloud, "3").await.expect(201).token();
    let path = format!("/v3/OS-OAUTH1/consumers/{}", story.program.key);
    cloud
        .call(admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.check_as(admin, &token).await.expect(404);
    acting.login(cloud, "4").await.expect(404);
    story.request("5").await.expect(404);
}

#[tokio::test]
async fn only_the_program_itself_and_only_once() {
    let story = Story::begin().await;
    let Story { cloud, admin, .. } = &story;
    let project = ("requested-project-id", story.project.as_str());
    // Another's secret, a changed request, a signature of another place.
    let forger = Program {
        secret: "0".repeat(32),
        ..story.program.clone()
    };
    let said = forger
        .post(cloud, REQUEST, "1", &[project])
        .await
        .expect(401);
    assert_eq!(said.message(), "Invalid signature");
    let elsewhere = story.program.header(cloud, ACCESS, "1");
    cloud
        .send(
            "POST",
            REQUEST,
            &[("authorization", &elsewhere), project],
            None,
        )
        .await
        .expect(401);
    let header = story.program.header(cloud, REQUEST, "1");
    let changed = header.replace("oauth_nonce=\"1\"", "oauth_nonce=\"2\"");
    cloud
        .send(
            "POST",
            REQUEST,
            &[("authorization", &changed), project],
            None,
        )
        .await
        .expect(401);
    let query = format!("{REQUEST}?a=b");
    cloud
        .send("POST", &query, &[("authorization", &header), project], None)
        .await
        .expect(401);
    // As it is, it counts once.
    cloud
        .send(
            "POST",
            REQUEST,
            &[("authorization", &header), project],
            None,
        )
        .await
        .expect(201);
    let again = cloud
        .send(
            "POST",
            REQUEST,
            &[("authorization", &header), project],
            None,
        )
        .await;
    assert_eq!(again.expect(401).message(), "The nonce was used before");
    // And not later.
    let late = story.program.header(cloud, REQUEST, "9");
    cloud.clock.advance(Duration::from_secs(601));
    cloud
        .send("POST", REQUEST, &[("authorization", &late), project], None)
        .await
        .expect(400);

    // Malformed, or not all there.
    for (name, status) in [
        ("oauth_consumer_key", 400),
        ("oauth_timestamp", 400),
        ("oauth_nonce", 400),
        ("oauth_signature_method", 400),
    ] {
        let mut sent = story.program.sends(cloud, REQUEST, name);
        sent.params.remove(name);
        let header = story.program.sign(&sent);
        cloud
            .send(
                "POST",
                REQUEST,
                &[("authorization", &header), project],
                None,
            )
            .await
            .expect(status);
    }
    for method in ["PLAINTEXT", "RSA-SHA1", ""] {
        let mut sent = story.program.sends(cloud, REQUEST, method);
        sent.params.insert("oauth_signature_method", method.into());
        let header = story.program.sign(&sent);
        cloud
            .send(
                "POST",
                REQUEST,
                &[("authorization", &header), project],
                None,
            )
            .await
            .expect(400);
    }
    cloud
        .send("POST", REQUEST, &[project], None)
        .await
        .expect(400);
    cloud
        .send(
            "POST",
            REQUEST,
            &[("authorization", "Basic eA=="), project],
            None,
        )
        .await
        .expect(400);
    story
        .program
        .post(cloud, REQUEST, "20", &[])
        .await
        .expect(400);
    story
        .program
        .post(cloud, REQUEST, "21", &[("requested-project-id", "nowhere")])
        .await
        .expect(404);
    let stranger = Program {
        key: "nobody".into(),
        ..story.program.clone()
    };
    stranger
        .post(cloud, REQUEST, "22", &[project])
        .await
        .expect(404);
    cloud.get(admin, REQUEST).await.expect(405);

    // The user must have agreed, and the program must know what they said.
    let asked = story.program.with(&story.request("23").await.expect(201));
    let with = |verifier: &str| Program {
        verifier: Some(verifier.into()),
        ..asked.clone()
    };
    asked.post(cloud, ACCESS, "24", &[]).await.expect(400);
    with("x").post(cloud, ACCESS, "25", &[]).await.expect(401);
    let verifier = story
        .authorize(admin, &asked, json!([{"name": "reader"}]))
        .await
        .expect(200)
        .body["token"]["oauth_verifier"]
        .clone();
    let verifier = verifier.as_str().unwrap();
    with("x").post(cloud, ACCESS, "26", &[]).await.expect(401);
    // Neither may another program use what this one was told.
    let other = cloud
        .call(
            admin,
            "POST",
            "/v3/OS-OAUTH1/consumers",
            json!({"consumer": {}}),
        )
        .await
        .expect(201)
        .body;
    let text = |name: &str| other["consumer"][name].as_str().unwrap().to_string();
    let thief = Program {
        key: text("id"),
        secret: text("secret"),
        ..with(verifier)
    };
    let said = thief.post(cloud, ACCESS, "27", &[]).await.expect(401);
    assert_eq!(
        said.message(),
        "Provided consumer key does not match stored consumer key."
    );
    let got = with(verifier)
        .post(cloud, ACCESS, "28", &[])
        .await
        .expect(201);
    let acting = story.program.with(&got);
    let thief = Program {
        key: text("id"),
        secret: text("secret"),
        ..acting.clone()
    };
    thief.login(cloud, "29").await.expect(401);
    acting.login(cloud, "30").await.expect(201);
    let said = acting.login(cloud, "30").await.expect(401);
    assert_eq!(said.message(), "The nonce was used before");
}

#[tokio::test]
async fn users_agree_to_what_they_have_themselves() {
    let story = Story::begin().await;
    let Story { cloud, admin, .. } = &story;
    let asked = story.program.with(&story.request("10").await.expect(201));
    cloud
        .make(admin, "/v3/roles", "role", json!({"name": "unheld"}))
        .await;
    let said = story
        .authorize(admin, &asked, json!([{"name": "unheld"}]))
        .await
        .expect(401);
    assert_eq!(
        said.message(),
        "authorizing user does not have role required"
    );
    story
        .authorize(admin, &asked, json!([{"name": "none"}]))
        .await
        .expect(404);
    for bad in [
        json!("reader"),
        json!(["reader"]),
        json!([{}]),
        json!([{"id": "a", "name": "b"}]),
        json!([{"id": 1}]),
        json!([{"ID": "a"}]),
    ] {
        story.authorize(admin, &asked, bad).await.expect(400);
    }
    story.authorize("", &asked, json!([])).await.expect(401);
    let user = cloud.user(admin, "u", "default").await;
    cloud
        .grant(
            admin,
            &format!("projects/{}", story.project),
            &format!("users/{user}"),
            "member",
        )
        .await;
    let member = cloud
        .login("u", "pw", cloud.admin_project())
        .await
        .expect(201)
        .token();
    story
        .authorize(&member, &asked, json!([{"name": "member"}]))
        .await
        .expect(403);
    // What was delegated delegates nothing.
    let acting = story.agreed("admin").await;
    let token = acting.login(cloud, "7").await.expect(201).token();
    story
        .authorize(&token, &asked, json!([{"name": "reader"}]))
        .await
        .expect(403);
    let list = format!("/v3/users/{}/OS-OAUTH1/access_tokens", story.admin_id());
    cloud.get(&token, &list).await.expect(403);
    // Too late.
    cloud.clock.advance(Duration::from_secs(28_801));
    let admin = cloud.admin().await;
    let said = story
        .authorize(&admin, &asked, json!([{"name": "reader"}]))
        .await
        .expect(401);
    assert_eq!(said.message(), "Request token is expired");
}
