//! Secrets that stand for some of a user's roles on a project, and what they cannot be made to do.

use crate::cloud::{Answer, Cloud, Story, by_id, by_token};
use serde_json::{Value, json};
use std::time::Duration;

/// Ann is a manager of a project, so a member and a reader too.
async fn story() -> Story {
    Story::of("manager").await
}

impl Story {
    fn path(&self) -> String {
        format!("/v3/users/{}/application_credentials", self.ann)
    }

    async fn create(&self, token: &str, body: Value) -> Answer {
        let body = json!({"application_credential": body});
        self.cloud.call(token, "POST", &self.path(), body).await
    }
}

/// By the id and the secret that the creation told.
fn by(made: &Answer) -> Value {
    let made = &made.body["application_credential"];
    json!({
        "methods": ["application_credential"],
        "application_credential": {"id": made["id"], "secret": made["secret"]},
    })
}

fn role_names(token: &Answer) -> Vec<&str> {
    let roles = token.body["token"]["roles"].as_array().unwrap();
    roles.iter().map(|r| r["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn logs_in_with_its_roles_and_nothing_else() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let made = story
        .create(
            &story.token,
            json!({"name": "backup", "roles": [{"name": "member"}], "expires_at": "2026-01-02T05:00:00Z"}),
        )
        .await
        .expect(201);
    let shown = &made.body["application_credential"];
    assert_eq!(shown["secret"].as_str().unwrap().len(), 86);
    assert_eq!(shown["expires_at"], "2026-01-02T05:00:00.000000");
    assert_eq!(shown["unrestricted"], false);
    assert_eq!(shown["project_id"], story.project);
    let id = made.id("application_credential");
    let path = format!("{}/{id}", story.path());
    assert_eq!(
        shown["links"]["self"],
        format!("http://keystone.test{path}")
    );

    let login = cloud.auth(by(&made), Value::Null).await.expect(201);
    let token = &login.body["token"];
    assert_eq!(role_names(&login), ["member", "reader"]);
    assert_eq!(token["project"]["id"], story.project);
    assert_eq!(token["user"]["id"], story.ann);
    assert_eq!(token["methods"], json!(["application_credential"]));
    assert_eq!(
        token["application_credential"],
        json!({"id": id, "name": "backup", "restricted": true})
    );
    assert_eq!(
        token["expires_at"], "2026-01-02T05:00:00.000000Z",
        "no token outlives it"
    );
    let told = cloud.check(&login.token()).await.expect(200);
    assert_eq!(told.body, login.body);

    // By name of its user, too; nothing of it is ever told again.
    let secret = shown["secret"].clone();
    for user in [
        json!({"id": story.ann}),
        json!({"name": "ann", "domain": {"name": "Default"}}),
    ] {
        let named = json!({
            "methods": ["application_credential"],
            "application_credential": {"name": "backup", "user": user, "secret": secret},
        });
        cloud.auth(named, Value::Null).await.expect(201);
    }
    let list = cloud.get(&story.token, &story.path()).await.expect(200);
    assert_eq!(list.column("application_credentials", "id"), [id.as_str()]);
    let one = cloud.get(&story.token, &path).await.expect(200);
    for text in [list.body.to_string(), one.body.to_string()] {
        assert!(!text.contains("secret") && !text.contains("$2b$"), "{text}");
    }
    let filtered = format!("{}?name=other", story.path());
    let none = cloud.get(&story.token, &filtered).await.expect(200);
    assert_eq!(none.body["application_credentials"], json!([]));

    // Wrong secrets, other scopes.
    let mut wrong = by(&made);
    wrong["application_credential"]["secret"] = json!("guess");
    cloud.auth(wrong, Value::Null).await.expect(401);
    for scope in [
        json!("unscoped"),
        json!({"system": {"all": true}}),
        json!({"project": {"id": story.project}}),
    ] {
        cloud.auth(by(&made), scope).await.expect(401);
    }
    let again = cloud.auth(by_token(&login.token()), Value::Null).await;
    let again = again.expect(201);
    assert_eq!(
        again.body["token"]["application_credential"]["id"], id,
        "a token of its token is no more than that"
    );
    assert_eq!(role_names(&again), ["member", "reader"]);
    for scope in [json!("unscoped"), json!({"project": {"id": story.project}})] {
        cloud
            .auth(by_token(&login.token()), scope)
            .await
            .expect(403);
    }

    // It ends by itself.
    cloud.clock.advance(Duration::from_secs(2 * 3600));
    cloud.check(&login.token()).await.expect(401);
    cloud.auth(by(&made), Value::Null).await.expect(401);
    let admin = &cloud.check(admin).await.expect(200).token();
    cloud.get(admin, &path).await.expect(200);
}

#[tokio::test]
async fn is_its_users_own() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let bob = cloud.user(admin, "bob", "default").await;
    let (place, actor) = (
        format!("projects/{}", story.project),
        format!("users/{bob}"),
    );
    cloud.grant(admin, &place, &actor, "member").await;
    let scope = json!({"project": {"id": story.project}});
    let bob_token = cloud.auth(by_id(&bob, "pw"), scope).await.token();

    let made = story.create(&story.token, json!({"name": "a"})).await;
    let id = made.expect(201).id("application_credential");
    story
        .create(&story.token, json!({"name": "a"}))
        .await
        .expect(409);
    story
        .create(&bob_token, json!({"name": "b"}))
        .await
        .expect(403);
    // Upstream's hole: his own name in the path, her credential behind it.
    let by_his_path = format!("/v3/users/{bob}/application_credentials/{id}");
    cloud.get(&bob_token, &by_his_path).await.expect(403);
    cloud
        .call(&bob_token, "DELETE", &by_his_path, Value::Null)
        .await
        .expect(403);
    cloud.get(&bob_token, &story.path()).await.expect(403);

    // Not even an administrator makes one for another, or with a role that the token lacks.
    story.create(admin, json!({"name": "b"})).await.expect(403);
    for (roles, why) in [
        (json!([{"name": "admin"}]), 400),
        (json!([{"name": "nothing"}]), 404),
        (json!([{"id": "nothing"}]), 404),
    ] {
        let body = json!({"name": "b", "roles": roles});
        story.create(&story.token, body).await.expect(why);
    }
    for bad in [
        json!({}),
        json!({"name": "b", "expires_at": "2025-01-01T00:00:00Z"}),
        json!({"name": "b", "expires_at": "soon"}),
        json!({"name": "b", "access_rules": [{"path": "/v2.1"}]}),
        json!({"name": "b", "access_rules": [{"id": "nothing"}]}),
        json!({"name": "b", "access_rules": [{"path": "/", "method": "BREW", "service": "tea"}]}),
        json!({"name": "b", "color": "red"}),
    ] {
        story.create(&story.token, bad).await.expect(400);
    }
    let unscoped = cloud.auth(by_id(&story.ann, "pw"), json!("unscoped")).await;
    story
        .create(&unscoped.token(), json!({"name": "b"}))
        .await
        .expect(400);
    let path = format!("{}/{id}", story.path());
    cloud
        .call(&story.token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    let gone = cloud.get(&story.token, &path).await.expect(404);
    assert_eq!(
        gone.message(),
        format!("Could not find Application Credential: {id}.")
    );
}

/// Neither EC2 pairs, nor what upstream refuses beside them.
#[tokio::test]
async fn ossa_2026_005_a_restricted_one_makes_nothing_that_outlives_it() {
    let story = story().await;
    let Story { cloud, .. } = &story;
    let made = story.create(&story.token, json!({"name": "a"})).await;
    let restricted = cloud.auth(by(&made.expect(201)), Value::Null).await.token();
    let free = json!({"name": "free", "unrestricted": true});
    let made = story.create(&story.token, free).await.expect(201);
    let login = cloud.auth(by(&made), Value::Null).await;
    assert_eq!(
        login.body["token"]["application_credential"]["restricted"],
        false
    );
    let free = login.token();

    story
        .create(&restricted, json!({"name": "b"}))
        .await
        .expect(403);
    story.create(&free, json!({"name": "b"})).await.expect(201);
    let path = format!("{}/{}", story.path(), made.id("application_credential"));
    cloud
        .call(&restricted, "DELETE", &path, Value::Null)
        .await
        .expect(403);
    let trust = json!({"trust": {
        "trustor_user_id": story.ann, "trustee_user_id": story.ann, "impersonation": true,
        "project_id": story.project, "roles": [{"name": "reader"}],
    }});
    for token in [&restricted, &free] {
        cloud
            .call(token, "POST", "/v3/OS-TRUST/trusts", trust.clone())
            .await
            .expect(403);
        cloud
            .get(
                token,
                &format!("/v3/OS-TRUST/trusts?trustor_user_id={}", story.ann),
            )
            .await
            .expect(403);
    }

    // EC2 pairs: by neither door for the restricted one; for the free one bound to it and to its project.
    let ec2 = format!("/v3/users/{}/credentials/OS-EC2", story.ann);
    let tenant = json!({"tenant_id": story.project});
    let blob = json!({"access": "k", "secret": "s"}).to_string();
    let credential = json!({"credential": {"type": "ec2", "blob": blob, "user_id": story.ann, "project_id": story.project}});
    cloud
        .call(&restricted, "POST", &ec2, tenant)
        .await
        .expect(403);
    let made = cloud
        .call(&restricted, "POST", "/v3/credentials", credential.clone())
        .await;
    made.expect(403);
    let made = cloud
        .call(&free, "POST", "/v3/credentials", credential)
        .await;
    let made = made.expect(201);
    let blob: Value =
        serde_json::from_str(made.body["credential"]["blob"].as_str().unwrap()).unwrap();
    assert_eq!(
        blob["app_cred_id"],
        login.body["token"]["application_credential"]["id"]
    );
    let forged = json!({"access": "k2", "secret": "s", "app_cred_id": "x"}).to_string();
    let forged = json!({"credential": {"type": "ec2", "blob": forged, "user_id": story.ann, "project_id": story.project}});
    cloud
        .call(&story.token, "POST", "/v3/credentials", forged)
        .await
        .expect(400);
    let elsewhere = json!({"credential": {"type": "totp", "blob": "x", "user_id": story.ann}});
    cloud
        .call(&free, "POST", "/v3/credentials", elsewhere)
        .await
        .expect(403);
}

/// An EC2 pair that an application credential makes is for its project and no other of its user's.
#[tokio::test]
async fn cve_2026_43001_a_pair_stays_in_the_project_of_its_credential() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let other = cloud.project(admin, "q", "default").await;
    let (place, actor) = (format!("projects/{other}"), format!("users/{}", story.ann));
    cloud.grant(admin, &place, &actor, "manager").await;
    let free = json!({"name": "free", "unrestricted": true});
    let made = story.create(&story.token, free).await.expect(201);
    let token = cloud.auth(by(&made), Value::Null).await.expect(201).token();
    let ec2 = format!("/v3/users/{}/credentials/OS-EC2", story.ann);
    for (project, status) in [(&other, 403), (&story.project, 201)] {
        let tenant = json!({"tenant_id": project});
        cloud
            .call(&token, "POST", &ec2, tenant)
            .await
            .expect(status);
        let blob = json!({"access": project, "secret": "s"}).to_string();
        let body =
            json!({"type": "ec2", "blob": blob, "user_id": story.ann, "project_id": project});
        let body = json!({"credential": body});
        cloud
            .call(&token, "POST", "/v3/credentials", body)
            .await
            .expect(status);
    }
}

#[tokio::test]
async fn ends_with_what_it_was_made_of() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let mut tokens = Vec::new();
    let mut made = Vec::new();
    for name in ["by itself", "b"] {
        let one = story
            .create(&story.token, json!({"name": name}))
            .await
            .expect(201);
        tokens.push(cloud.auth(by(&one), Value::Null).await.token());
        made.push(one);
    }
    let path = format!("{}/{}", story.path(), made[0].id("application_credential"));
    cloud
        .call(&story.token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.check(&tokens[0]).await.expect(401);
    cloud.check(&tokens[1]).await.expect(200);

    // A role that its user loses is lost to it; with the grant it is gone for good.
    let member = cloud.role(admin, "manager").await;
    let grant = format!(
        "/v3/projects/{}/users/{}/roles/{member}",
        story.project, story.ann
    );
    cloud
        .call(admin, "DELETE", &grant, Value::Null)
        .await
        .expect(204);
    cloud.check(&tokens[1]).await.expect(401);
    cloud
        .call(admin, "PUT", &grant, Value::Null)
        .await
        .expect(204);
    cloud.check(&tokens[1]).await.expect(401);
    cloud.auth(by(&made[1]), Value::Null).await.expect(401);

    // With its user disabled, its project gone, its user gone.
    let fresh = async || {
        let scope = json!({"project": {"id": story.project}});
        let token = cloud.auth(by_id(&story.ann, "pw"), scope).await.token();
        let name = base::new_hex_id();
        let made = story
            .create(&token, json!({"name": name}))
            .await
            .expect(201);
        let login = cloud.auth(by(&made), Value::Null).await.expect(201);
        (made, login.token())
    };
    let (one, token) = fresh().await;
    let user = format!("/v3/users/{}", story.ann);
    for enabled in [false, true] {
        let body = json!({"user": {"enabled": enabled}});
        cloud.call(admin, "PATCH", &user, body).await.expect(200);
        cloud.check(&token).await.expect(401);
    }
    cloud.clock.advance(Duration::from_secs(1));
    cloud.auth(by(&one), Value::Null).await.expect(201);
    let project = format!("/v3/projects/{}", story.project);
    cloud
        .call(admin, "DELETE", &project, Value::Null)
        .await
        .expect(204);
    cloud.auth(by(&one), Value::Null).await.expect(401);
    let list = cloud.get(admin, &story.path()).await.expect(200);
    assert_eq!(list.body["application_credentials"], json!([]));
    let rules = format!("{user}/access_rules");
    cloud
        .call(admin, "DELETE", &user, Value::Null)
        .await
        .expect(204);
    cloud.get(admin, &rules).await.expect(403);
}

#[tokio::test]
async fn access_rules_are_kept_and_heeded() {
    let story = story().await;
    let Story { cloud, admin, .. } = &story;
    let rule = json!({"path": "/v3/users/*/application_credentials", "method": "GET", "service": "identity"});
    let other = json!({"path": "/v2.1/servers", "method": "POST", "service": "compute"});
    let made = story
        .create(
            &story.token,
            json!({"name": "a", "access_rules": [rule, other]}),
        )
        .await
        .expect(201);
    let shown = made.body["application_credential"]["access_rules"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    let rules = format!("/v3/users/{}/access_rules", story.ann);
    let list = cloud.get(&story.token, &rules).await.expect(200);
    assert_eq!(list.body["access_rules"].as_array().unwrap().len(), 2);
    let filtered = cloud
        .get(&story.token, &format!("{rules}?service=compute"))
        .await;
    let compute = filtered.expect(200).column("access_rules", "id")[0].clone();
    let one = cloud
        .get(&story.token, &format!("{rules}/{compute}"))
        .await
        .expect(200);
    assert_eq!(one.body["access_rule"]["path"], "/v2.1/servers");

    // The same rule is one rule, whether it is named or spelt out.
    let second = story
        .create(
            &story.token,
            json!({"name": "b", "access_rules": [{"id": compute}, rule]}),
        )
        .await
        .expect(201);
    let list = cloud.get(&story.token, &rules).await.expect(200);
    assert_eq!(list.body["access_rules"].as_array().unwrap().len(), 2);

    // Its tokens do what the rules say, and may always be asked about by those who heed them.
    let token = cloud.auth(by(&made), Value::Null).await.expect(201).token();
    cloud.get(&token, &story.path()).await.expect(200);
    cloud.get(&token, &rules).await.expect(401);
    story.create(&token, json!({"name": "c"})).await.expect(401);
    cloud.check(&token).await.expect(404);
    let headers = [
        ("x-auth-token", token.as_str()),
        ("x-subject-token", token.as_str()),
        ("openstack-identity-access-rules", "1.0"),
    ];
    let told = cloud.send("GET", "/v3/auth/tokens", &headers, None).await;
    assert_eq!(
        told.expect(200).body["token"]["application_credential"]["access_rules"],
        shown
    );

    // Not while somebody has it, or that credential would be good for everything.
    let path = format!("{rules}/{compute}");
    cloud
        .call(&story.token, "DELETE", &path, Value::Null)
        .await
        .expect(403);
    for made in [made, second] {
        let path = format!("{}/{}", story.path(), made.id("application_credential"));
        cloud
            .call(&story.token, "DELETE", &path, Value::Null)
            .await
            .expect(204);
    }
    cloud
        .call(admin, "DELETE", &path, Value::Null)
        .await
        .expect(403);
    cloud
        .call(&story.token, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.get(&story.token, &path).await.expect(404);
}

#[tokio::test]
async fn so_many_and_no_more() {
    let mut conf = crate::cloud::conf();
    conf.application_credential.user_limit = 1;
    let cloud = Cloud::with(conf).await;
    let admin = cloud.admin().await;
    let path = format!(
        "/v3/users/{}/application_credentials",
        cloud.ids.admin_user_id
    );
    for (name, status) in [("a", 201), ("b", 403)] {
        let body = json!({"application_credential": {"name": name}});
        cloud.call(&admin, "POST", &path, body).await.expect(status);
    }
}

/// The same credential in OAuth 2.0's words.
#[tokio::test]
async fn client_credentials_of_oauth() {
    use base64::Engine;
    let story = story().await;
    let Story { cloud, .. } = &story;
    let made = story.create(&story.token, json!({"name": "a"})).await;
    let made = made.expect(201).body["application_credential"].clone();
    let (id, secret) = (
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap(),
    );
    let basic = |id: &str, secret: &str| {
        let pair = format!("{id}:{secret}");
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        format!("Basic {pair}")
    };
    let ask = async |authorization: &str, form: &str| {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", authorization),
        ];
        let body = Some(form.as_bytes().to_vec());
        cloud
            .send("POST", "/v3/OS-OAUTH2/token", &headers, body)
            .await
    };
    const GRANT: &str = "grant_type=client_credentials";
    let done = ask(&basic(id, secret), GRANT).await.expect(200);
    assert_eq!(done.body["token_type"], "Bearer");
    assert_eq!(done.headers["cache-control"], "no-store");
    let lasts = done.body["expires_in"].as_u64().unwrap();
    assert!((86_398..=86_400).contains(&lasts), "{lasts}");
    let token = done.body["access_token"].as_str().unwrap();
    let told = cloud.check(token).await.expect(200);
    assert_eq!(told.body["token"]["application_credential"]["id"], id);
    let form = format!("{GRANT}&client_id={id}&client_secret={secret}");
    ask("", &form).await.expect(200);
    for (authorization, form, status, error) in [
        (basic(id, "guess"), GRANT, 401, "invalid_client"),
        (basic("nobody", secret), GRANT, 401, "invalid_client"),
        (basic(id, ""), GRANT, 401, "invalid_client"),
        ("Basic %".into(), GRANT, 401, "invalid_client"),
        (String::new(), GRANT, 401, "invalid_client"),
        (basic(id, secret), "", 400, "invalid_request"),
        (
            basic(id, secret),
            "grant_type=password",
            400,
            "unsupported_grant_type",
        ),
        (basic(id, secret), "grant_type=%", 400, "invalid_request"),
    ] {
        let no = ask(&authorization, form).await.expect(status);
        assert_eq!(no.body["error"], error);
        assert_eq!(no.headers.contains_key("www-authenticate"), status == 401);
    }
}
