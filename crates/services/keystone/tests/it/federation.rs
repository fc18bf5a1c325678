//! Users of other identity providers: they come through a front end that speaks OpenID Connect or SAML.

use crate::cloud::{Answer, Cloud, by_token, conf};
use base::Secret;
use serde_json::{Value, json};
use std::time::Duration;

const FED: &str = "/v3/OS-FEDERATION";
const SECRET: (&str, &str) = ("x-federation-secret", "front");
const AUTH: &str = "/v3/OS-FEDERATION/identity_providers/ACME/protocols/openid/auth";
const ISSUER: (&str, &str) = ("oidc-iss", "https://acme");

struct Story {
    cloud: Cloud,
    admin: String,
    domain: String,
}

impl Story {
    async fn begin(rules: Value) -> Story {
        Story::of(rules, "1.0", json!(null)).await
    }

    async fn of(rules: Value, version: &str, ttl: Value) -> Story {
        let mut conf = conf();
        conf.federation.front_end_secret = Secret::new("front");
        conf.federation.assertion_prefix = vec!["OIDC-".into(), "REMOTE_USER".into()];
        conf.federation.remote_id_attribute = Some("HTTP_OIDC_ISS".into());
        conf.federation.trusted_dashboard = vec!["https://Dashboard/auth/websso/".into()];
        let (cloud, admin) = Cloud::begin(conf).await;
        let put =
            async |path: String, body: Value| cloud.put(&admin, &path, body).await.expect(201).body;
        let idp = json!({"identity_provider": {"remote_ids": ["https://acme"], "enabled": true, "authorization_ttl": ttl}});
        let idp = put(format!("{FED}/identity_providers/ACME"), idp).await;
        let mapping = json!({"mapping": {"rules": rules, "schema_version": version}});
        put(format!("{FED}/mappings/acme"), mapping).await;
        let protocol = json!({"protocol": {"mapping_id": "acme"}});
        put(
            format!("{FED}/identity_providers/ACME/protocols/openid"),
            protocol,
        )
        .await;
        let domain = idp["identity_provider"]["domain_id"]
            .as_str()
            .unwrap()
            .to_string();
        Story {
            cloud,
            admin,
            domain,
        }
    }

    async fn come(&self, attributes: &[(&str, &str)]) -> Answer {
        let mut headers = vec![SECRET, ISSUER];
        headers.extend_from_slice(attributes);
        self.cloud.send("GET", AUTH, &headers, None).await
    }

    async fn group(&self, name: &str) -> String {
        let body = json!({"name": name, "domain_id": self.domain});
        self.cloud
            .make(&self.admin, "/v3/groups", "group", body)
            .await
    }

    async fn remap(&self, rules: Value) {
        let body = json!({"mapping": {"rules": rules}});
        self.cloud
            .call(&self.admin, "PATCH", &format!("{FED}/mappings/acme"), body)
            .await
            .expect(200);
    }
}

/// By name and e-mail, in the groups that the provider names.
fn rules() -> Value {
    json!([{
        "local": [{"user": {"name": "{0}", "email": "{1}"}}],
        "remote": [{"type": "HTTP_OIDC_NAME"}, {"type": "OIDC-email"}],
    }, {
        "local": [{"groups": "{0}", "domain": {"name": "@"}}],
        "remote": [{"type": "OIDC_groups", "blacklist": ["secret"]}],
    }])
}

fn in_domain(mut rules: Value, domain: &str) -> Value {
    rules[1]["local"][0]["domain"] = json!({"id": domain});
    rules
}

#[tokio::test]
async fn somebody_comes_gets_a_place_and_keeps_their_identity() {
    let story = Story::begin(rules()).await;
    story.remap(in_domain(rules(), &story.domain)).await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let (staff, secret) = (story.group("staff").await, story.group("secret").await);
    let project = cloud.project(admin, "p", "default").await;
    cloud
        .grant(
            admin,
            &format!("projects/{project}"),
            &format!("groups/{staff}"),
            "member",
        )
        .await;
    cloud
        .grant(
            admin,
            &format!("domains/{}", story.domain),
            &format!("groups/{staff}"),
            "reader",
        )
        .await;
    let said: &[(&str, &str)] = &[
        ("OIDC-name", "Zoë"),
        ("OIDC-email", "z@acme"),
        ("OIDC-groups", "staff;secret;unknown"),
    ];
    let came = story.come(said).await.expect(201);
    let (token, shown) = (came.token(), &came.body["token"]);
    assert_eq!(shown["methods"], json!(["mapped"]));
    let user = &shown["user"];
    assert_eq!(user["name"], "Zoë");
    assert_eq!(user["domain"]["id"], story.domain.as_str());
    let vouched = json!({"groups": [{"id": staff}], "identity_provider": {"id": "ACME"}, "protocol": {"id": "openid"}});
    assert_eq!(user["OS-FEDERATION"], vouched);
    assert_eq!(user.get("password_expires_at"), None);
    assert_eq!((shown.get("roles"), shown.get("catalog")), (None, None));
    assert_eq!(cloud.check(&token).await.expect(200).body, came.body);

    // Where they may go.
    for path in ["/v3/auth/projects", "/v3/OS-FEDERATION/projects"] {
        assert_eq!(
            cloud
                .get(&token, path)
                .await
                .expect(200)
                .column("projects", "id"),
            [project.as_str()]
        );
    }
    for path in ["/v3/auth/domains", "/v3/OS-FEDERATION/domains"] {
        assert_eq!(
            cloud
                .get(&token, path)
                .await
                .expect(200)
                .column("domains", "id"),
            [story.domain.as_str()]
        );
    }
    let scoped = cloud
        .auth(by_token(&token), json!({"project": {"id": project}}))
        .await
        .expect(201);
    let shown = &scoped.body["token"];
    assert_eq!(shown["user"]["OS-FEDERATION"], vouched);
    assert_eq!(shown["methods"], json!(["mapped", "token"]));
    assert_eq!(shown["expires_at"], came.body["token"]["expires_at"]);
    let names = |a: &Answer| {
        a.body["token"]["roles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&scoped), ["member", "reader"]);
    let on_domain = cloud
        .auth(by_token(&token), json!({"domain": {"id": story.domain}}))
        .await
        .expect(201);
    assert_eq!(names(&on_domain), ["reader"]);
    let other = cloud.project(admin, "other", "default").await;
    cloud
        .auth(by_token(&token), json!({"project": {"id": other}}))
        .await
        .expect(401);

    // The same person again; renamed; by that name nobody logs in.
    let id = user["id"].as_str().unwrap();
    assert_eq!(id.len(), 64);
    assert_eq!(
        story.come(said).await.expect(201).body["token"]["user"]["id"],
        id
    );
    let user = cloud
        .get(admin, &format!("/v3/users/{id}"))
        .await
        .expect(200)
        .body;
    assert_eq!(
        (&user["user"]["name"], &user["user"]["email"]),
        (&json!("Zoë"), &json!("z@acme"))
    );
    let by_name = json!({"methods": ["password"], "password": {"user": {"name": "Zoë", "domain": {"id": story.domain}, "password": ""}}});
    cloud.auth(by_name, Value::Null).await.expect(401);

    // A group is lost at the provider: with the next login the older tokens lose it too.
    let scoped = scoped.token();
    cloud.check(&scoped).await.expect(200);
    story
        .come(&[said[0], said[1], ("OIDC-groups", "secret")])
        .await
        .expect(201);
    cloud.check_as(admin, &scoped).await.expect(404);
    assert_eq!(
        cloud.check(&token).await.expect(200).body["token"]["user"]["OS-FEDERATION"]["groups"],
        json!([])
    );
    // And so is one that is deleted here.
    let back = story.come(said).await.expect(201).token();
    let scoped = cloud
        .auth(by_token(&back), json!({"project": {"id": project}}))
        .await
        .expect(201)
        .token();
    cloud
        .call(admin, "DELETE", &format!("/v3/groups/{staff}"), Value::Null)
        .await
        .expect(204);
    cloud.check_as(admin, &scoped).await.expect(404);
    cloud
        .get(admin, &format!("/v3/groups/{secret}"))
        .await
        .expect(200);

    // The provider is switched off, then goes, and with it its users.
    let provider = format!("{FED}/identity_providers/ACME");
    let switch = |on: bool| {
        cloud.call(
            admin,
            "PATCH",
            &provider,
            json!({"identity_provider": {"enabled": on}}),
        )
    };
    switch(false).await.expect(200);
    cloud.check_as(admin, &back).await.expect(404);
    assert_eq!(
        story.come(said).await.expect(403).message(),
        "Identity Provider ACME is disabled"
    );
    switch(true).await.expect(200);
    cloud.check_as(admin, &back).await.expect(200);
    cloud
        .call(admin, "DELETE", &provider, Value::Null)
        .await
        .expect(204);
    cloud.check_as(admin, &back).await.expect(404);
    cloud
        .get(admin, &format!("/v3/users/{id}"))
        .await
        .expect(404);
    story.come(said).await.expect(404);
}

#[tokio::test]
async fn nobody_but_the_front_end_is_believed() {
    let story = Story::begin(rules()).await;
    story.remap(in_domain(rules(), &story.domain)).await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let (name, mail) = (("OIDC-name", "admin"), ("OIDC-email", "a@b"));
    story.come(&[name, mail]).await.expect(201);
    for headers in [
        vec![],
        vec![name, mail, ISSUER],
        vec![name, mail, ISSUER, ("x-federation-secret", "")],
        vec![name, mail, ISSUER, ("x-federation-secret", "front ")],
        vec![name, mail, ISSUER, ("x-federation-secret", "Front")],
    ] {
        for method in ["GET", "POST"] {
            cloud.send(method, AUTH, &headers, None).await.expect(401);
        }
    }
    // What a client adds to what the front end says.
    for forged in [("OIDC_name", "root"), ("oidc-NAME", "root")] {
        let came = story.come(&[name, mail, forged]).await;
        assert!(
            came.status == 401 || came.body["token"]["user"]["name"] == "admin",
            "{forged:?}"
        );
    }
    // Another provider speaks, or one that does not say who it is.
    let other = cloud
        .send(
            "GET",
            AUTH,
            &[SECRET, name, mail, ("oidc-iss", "https://evil")],
            None,
        )
        .await;
    assert!(
        other
            .expect(403)
            .message()
            .contains("not included among the accepted")
    );
    cloud
        .send("GET", AUTH, &[SECRET, name, mail], None)
        .await
        .expect(401);
    cloud
        .send(
            "GET",
            &AUTH.replace("openid", "saml2"),
            &[SECRET, ISSUER, name, mail],
            None,
        )
        .await
        .expect(404);
    cloud
        .send(
            "GET",
            &AUTH.replace("ACME", "none"),
            &[SECRET, ISSUER, name, mail],
            None,
        )
        .await
        .expect(404);
    // The rules make nothing of it.
    assert!(
        story
            .come(&[name])
            .await
            .expect(401)
            .message()
            .starts_with("Could not map")
    );
    story
        .come(&[("OIDC-name", &"x".repeat(300)), mail])
        .await
        .expect(401);
    // Without a secret there is no federation.
    let without = Cloud::new().await;
    without
        .send(
            "GET",
            AUTH,
            &[("x-federation-secret", ""), ISSUER, name, mail],
            None,
        )
        .await
        .expect(401);
    // No local user was touched.
    let list = cloud
        .get(admin, "/v3/users?name=admin&domain_id=default")
        .await
        .expect(200);
    assert_eq!(
        list.column("users", "id"),
        [cloud.ids.admin_user_id.as_str()]
    );
}

#[tokio::test]
async fn a_local_user_is_who_they_were() {
    let rules = json!([{
        "local": [{"user": {"name": "{0}", "domain": {"name": "Default"}, "type": "local"}}],
        "remote": [{"type": "OIDC-name"}],
    }]);
    let story = Story::begin(rules).await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let user = cloud.user(admin, "u", "default").await;
    cloud
        .grant(
            admin,
            &format!("projects/{}", cloud.ids.admin_project_id),
            &format!("users/{user}"),
            "member",
        )
        .await;
    let came = story.come(&[("OIDC-name", "u")]).await.expect(201);
    let shown = &came.body["token"];
    assert_eq!(shown["user"]["id"], user.as_str());
    assert_eq!(shown["user"].get("OS-FEDERATION"), None);
    assert_eq!(shown["user"]["password_expires_at"], Value::Null);
    cloud
        .auth(by_token(&came.token()), cloud.admin_project())
        .await
        .expect(201);
    story.come(&[("OIDC-name", "nobody")]).await.expect(401);
    let path = format!("/v3/users/{user}");
    let change = |body: Value| cloud.call(admin, "PATCH", &path, json!({"user": body}));
    change(json!({"enabled": false})).await.expect(200);
    story.come(&[("OIDC-name", "u")]).await.expect(401);
    change(json!({"enabled": true})).await.expect(200);
    cloud.clock.advance(Duration::from_secs(1));
    story.come(&[("OIDC-name", "u")]).await.expect(201);
    // Of whom more is asked than a provider can say.
    change(json!({"options": {"multi_factor_auth_enabled": true, "multi_factor_auth_rules": [["password", "token"]]}})).await.expect(200);
    story.come(&[("OIDC-name", "u")]).await.expect(401);
}

/// An administrator says who a user of the cloud's own is at a provider.
#[tokio::test]
async fn a_user_is_linked_by_hand() {
    let story = Story::begin(rules()).await;
    story.remap(in_domain(rules(), &story.domain)).await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let federated = |name: &str| json!([{"idp_id": "ACME", "protocols": [{"protocol_id": "openid", "unique_id": name}]}]);
    let links = federated("ann");
    let body = json!({"user": {"name": "local", "password": "pw", "federated": links}});
    let made = cloud
        .call(admin, "POST", "/v3/users", body.clone())
        .await
        .expect(201);
    assert_eq!(made.body["user"]["federated"], links);
    let user = made.id("user");
    let path = format!("/v3/users/{user}");
    let shown = cloud.get(admin, &path).await.expect(200);
    assert_eq!(shown.body["user"]["federated"], links);

    // Whom the provider calls so is that user, with what they are here.
    let place = format!("projects/{}", cloud.ids.admin_project_id);
    cloud
        .grant(admin, &place, &format!("users/{user}"), "member")
        .await;
    let comes = async |name: &str| {
        let said = [
            ("OIDC-name", name),
            ("OIDC-email", "a@acme"),
            ("OIDC-groups", "none"),
        ];
        story.come(&said).await
    };
    let came = comes("ann").await.expect(201);
    assert_eq!(came.body["token"]["user"]["id"], user.as_str());
    assert_eq!(came.body["token"]["user"]["name"], "local");
    let here = cloud
        .auth(by_token(&came.token()), cloud.admin_project())
        .await;
    let here = here.expect(201).token();
    cloud.login("local", "pw", Value::Null).await.expect(201);
    // Somebody else is somebody else, and found by what the provider calls them.
    let zoe = comes("zoe").await.expect(201).body["token"]["user"]["id"].clone();
    assert_ne!(zoe, user.as_str());
    for (query, wanted) in [
        ("idp_id=ACME", vec![user.as_str(), zoe.as_str().unwrap()]),
        ("protocol_id=openid&unique_id=ann", vec![user.as_str()]),
        ("unique_id=zoe&name=zoe", vec![zoe.as_str().unwrap()]),
        ("name=zoe", vec![zoe.as_str().unwrap()]),
        ("name=local", vec![user.as_str()]),
        ("idp_id=other&unique_id=ann", vec![]),
    ] {
        let list = cloud
            .get(admin, &format!("/v3/users?{query}"))
            .await
            .expect(200);
        let (mut ids, mut wanted) = (list.column("users", "id"), wanted);
        ids.sort();
        wanted.sort();
        assert_eq!(ids, wanted, "{query}");
    }

    // What is not there, or somebody's, is refused, and changes nothing.
    let change = async |federated: Value| {
        let body = json!({"user": {"federated": federated}});
        cloud.call(admin, "PATCH", &path, body).await
    };
    let none = json!([{"idp_id": "none", "protocols": [{"protocol_id": "p", "unique_id": "u"}]}]);
    let no = change(none).await.expect(400);
    assert_eq!(no.message(), "Could not find Identity Provider: none.");
    let none = json!([{"idp_id": "ACME", "protocols": [{"protocol_id": "p", "unique_id": "u"}]}]);
    let no = change(none).await.expect(400);
    assert_eq!(
        no.message(),
        "Could not find federated protocol p for Identity Provider: ACME."
    );
    change(federated("zoe")).await.expect(409);
    change(json!([{"idp_id": "ACME", "protocols": []}]))
        .await
        .expect(400);
    change(json!([{"idp_id": "ACME"}])).await.expect(400);
    change(json!("ACME")).await.expect(400);
    let twin = json!({"user": {"name": "twin", "federated": links}});
    cloud
        .call(admin, "POST", "/v3/users", twin)
        .await
        .expect(409);
    let list = cloud.get(admin, "/v3/users?name=twin").await.expect(200);
    assert_eq!(list.column("users", "id").len(), 0);
    assert_eq!(
        change(json!([])).await.expect(200).body["user"]["federated"],
        links
    );
    cloud.check(&here).await.expect(200);

    // Another name at the provider: by the old one comes somebody else, and tokens of that time are over for good.
    let renamed = federated("anna");
    assert_eq!(
        change(renamed.clone()).await.expect(200).body["user"]["federated"],
        renamed
    );
    cloud.check_as(admin, &here).await.expect(404);
    change(links).await.expect(200);
    cloud.check_as(admin, &here).await.expect(404);
    change(renamed).await.expect(200);
    assert_ne!(
        comes("ann").await.expect(201).body["token"]["user"]["id"],
        user.as_str()
    );
    cloud.clock.advance(Duration::from_secs(1));
    assert_eq!(
        comes("anna").await.expect(201).body["token"]["user"]["id"],
        user.as_str()
    );
    // Of whom more is asked than a provider can say.
    let options = json!({"multi_factor_auth_enabled": true, "multi_factor_auth_rules": [["password", "token"]]});
    let body = json!({"user": {"options": options}});
    cloud.call(admin, "PATCH", &path, body).await.expect(200);
    comes("anna").await.expect(401);
    cloud
        .call(admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    assert_ne!(
        comes("anna").await.expect(201).body["token"]["user"]["id"],
        user.as_str()
    );
}

#[tokio::test]
async fn projects_are_made_and_kept_as_the_provider_says() {
    let rules = |roles: Value| {
        json!([{
            "local": [{"user": {"name": "{0}"}, "projects": [{"name": "home of {0}", "roles": roles}, {"name": "shared", "roles": [{"name": "reader"}]}]}],
            "remote": [{"type": "OIDC-name"}],
        }])
    };
    let member = json!([{"name": "member"}]);
    let story = Story::of(rules(member.clone()), "1.0", Value::Null).await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let came = story
        .come(&[("OIDC-name", "ann")])
        .await
        .expect(201)
        .token();
    let theirs = cloud.get(&came, "/v3/auth/projects").await.expect(200);
    let mut names = theirs.column("projects", "name");
    names.sort();
    assert_eq!(names, ["home of ann", "shared"]);
    assert!(
        theirs
            .column("projects", "domain_id")
            .iter()
            .all(|d| *d == story.domain)
    );
    let home = json!({"project": {"name": "home of ann", "domain": {"id": story.domain}}});
    let scoped = cloud
        .auth(by_token(&came), home.clone())
        .await
        .expect(201)
        .body;
    let roles = scoped["token"]["roles"].as_array().unwrap();
    assert!(roles.iter().any(|r| r["name"] == "member"));
    // Another user shares what is there.
    story.come(&[("OIDC-name", "bob")]).await.expect(201);
    let shared = cloud
        .get(
            admin,
            &format!("/v3/projects?name=shared&domain_id={}", story.domain),
        )
        .await
        .expect(200);
    assert_eq!(shared.column("projects", "id").len(), 1);
    // Roles that are not there, or another domain's.
    story.remap(rules(json!([{"name": "none"}]))).await;
    assert_eq!(
        story
            .come(&[("OIDC-name", "ann")])
            .await
            .expect(404)
            .message(),
        "Could not find role: none."
    );
    cloud
        .make(
            admin,
            "/v3/roles",
            "role",
            json!({"name": "theirs", "domain_id": "default"}),
        )
        .await;
    story.remap(rules(json!([{"name": "theirs"}]))).await;
    story.come(&[("OIDC-name", "ann")]).await.expect(403);
    // Version 1.0 leaves what it gave; 3.0 takes away what the provider says no more.
    let fewer = json!([{"local": [{"user": {"name": "{0}"}, "projects": [{"name": "shared", "roles": [{"name": "reader"}]}]}], "remote": [{"type": "OIDC-name"}]}]);
    story.remap(fewer.clone()).await;
    let came = story
        .come(&[("OIDC-name", "ann")])
        .await
        .expect(201)
        .token();
    cloud.auth(by_token(&came), home.clone()).await.expect(201);
    let body = json!({"mapping": {"rules": fewer, "schema_version": "3.0"}});
    cloud
        .call(admin, "PATCH", &format!("{FED}/mappings/acme"), body)
        .await
        .expect(200);
    let came = story
        .come(&[("OIDC-name", "ann")])
        .await
        .expect(201)
        .token();
    cloud.auth(by_token(&came), home).await.expect(401);
    assert_eq!(
        cloud
            .get(&came, "/v3/auth/projects")
            .await
            .expect(200)
            .column("projects", "name"),
        ["shared"]
    );
}

#[tokio::test]
async fn memberships_last_as_long_as_the_provider_is_trusted() {
    let story = Story::of(rules(), "1.0", json!(10)).await;
    story.remap(in_domain(rules(), &story.domain)).await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let (staff, crew) = (story.group("staff").await, story.group("crew").await);
    let project = cloud.project(admin, "p", "default").await;
    cloud
        .grant(
            admin,
            &format!("projects/{project}"),
            &format!("groups/{staff}"),
            "member",
        )
        .await;
    let said = |groups: &'static str| {
        [
            ("OIDC-name", "z"),
            ("OIDC-email", "z@acme"),
            ("OIDC-groups", groups),
        ]
    };
    let came = story.come(&said("staff;crew")).await.expect(201);
    let user = came.body["token"]["user"]["id"]
        .as_str()
        .unwrap()
        .to_string();
    let members = |group: &str| {
        let path = format!("/v3/groups/{group}/users");
        async move {
            cloud
                .get(admin, &path)
                .await
                .expect(200)
                .column("users", "name")
        }
    };
    assert_eq!(
        (members(&staff).await, members(&crew).await),
        (vec!["z".to_string()], vec!["z".to_string()])
    );
    // What they hold now they may delegate.
    let scope = json!({"project": {"id": project}});
    let token = cloud
        .auth(by_token(&came.token()), scope)
        .await
        .expect(201)
        .token();
    let made = cloud
        .call(
            &token,
            "POST",
            &format!("/v3/users/{user}/application_credentials"),
            json!({"application_credential": {"name": "robot"}}),
        )
        .await
        .expect(201)
        .body;
    let made = &made["application_credential"];
    let robot = json!({"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": made["secret"]}});
    let robots = cloud
        .auth(robot.clone(), Value::Null)
        .await
        .expect(201)
        .token();
    // Nine minutes later they come again, with fewer groups; that counts for ten more.
    cloud.clock.advance(Duration::from_secs(540));
    story.come(&said("staff")).await.expect(201);
    assert_eq!(members(&crew).await, Vec::<String>::new());
    cloud.clock.advance(Duration::from_secs(540));
    cloud.check_as(admin, &robots).await.expect(200);
    cloud.clock.advance(Duration::from_secs(61));
    cloud.check_as(admin, &robots).await.expect(404);
    cloud.auth(robot, Value::Null).await.expect(401);
    assert_eq!(members(&staff).await, Vec::<String>::new());
    // One that an administrator gave stays.
    cloud
        .call(
            admin,
            "PUT",
            &format!("/v3/groups/{staff}/users/{user}"),
            Value::Null,
        )
        .await
        .expect(204);
    story.come(&said("none")).await.expect(201);
    cloud.clock.advance(Duration::from_secs(6000));
    assert_eq!(members(&staff).await, ["z"]);
}

#[tokio::test]
async fn browsers_are_sent_back_to_a_trusted_dashboard_only() {
    let story = Story::begin(rules()).await;
    story.remap(in_domain(rules(), &story.domain)).await;
    let cloud = &story.cloud;
    let headers = [SECRET, ISSUER, ("OIDC-name", "z"), ("OIDC-email", "z@acme")];
    let by_provider = "/v3/auth/OS-FEDERATION/identity_providers/ACME/protocols/openid/websso";
    for path in ["/v3/auth/OS-FEDERATION/websso/openid", by_provider] {
        let there = format!("{path}?origin=https%3A%2F%2Fdashboard%2Fauth%2Fwebsso%2F");
        for method in ["GET", "POST"] {
            let page = cloud.send(method, &there, &headers, None).await.expect(200);
            assert_eq!(page.headers["cache-control"], "no-store");
            assert!(
                page.text
                    .contains(r#"action="https://dashboard/auth/websso/""#),
                "{}",
                page.text
            );
            let (_, rest) = page.text.split_once(r#"name="token" value=""#).unwrap();
            let token = rest.split('"').next().unwrap();
            let shown = cloud.check(token).await.expect(200).body;
            assert_eq!(shown["token"]["user"]["name"], "z");
        }
        cloud.send("GET", path, &headers, None).await.expect(400);
        let evil = format!("{path}?origin=https%3A%2F%2Fevil%2F");
        cloud.send("GET", &evil, &headers, None).await.expect(401);
        cloud
            .send("GET", &there, &headers[1..], None)
            .await
            .expect(401);
    }
    let there = "/v3/auth/OS-FEDERATION/websso/openid?origin=https://dashboard/auth/websso/";
    cloud
        .send("GET", there, &[SECRET, headers[2], headers[3]], None)
        .await
        .expect(401);
    cloud
        .send(
            "GET",
            there,
            &[SECRET, ("oidc-iss", "https://x"), headers[2], headers[3]],
            None,
        )
        .await
        .expect(404);
}

#[tokio::test]
async fn a_hostile_provider_meets_bounds() {
    let rules = json!([{
        "local": [{"user": {"name": "{0}"}}, {"group_ids": "{1}"}],
        "remote": [{"type": "OIDC-name"}, {"type": "OIDC-ids"}],
    }, {
        "local": [],
        "remote": [{"type": "OIDC-x", "any_one_of": ["(?=(a+)+$)b"], "regex": true}],
    }]);
    let story = Story::begin(rules).await;
    let group = story.group("g").await;
    let said = story
        .come(&[
            ("OIDC-name", "a"),
            ("OIDC-ids", &group),
            ("OIDC-x", &format!("{}!", "a".repeat(1000))),
        ])
        .await;
    assert!(said.status == 401 || said.status == 201, "{}", said.status);
    let said = story
        .come(&[
            ("OIDC-name", "a"),
            ("OIDC-ids", &group),
            ("OIDC-x", &"a".repeat(5000)),
        ])
        .await;
    assert!(
        said.expect(401)
            .message()
            .contains("too long for a pattern")
    );
    let many = vec![group.as_str(); 1500].join(";");
    story
        .come(&[("OIDC-name", "a"), ("OIDC-ids", &many)])
        .await
        .expect(401);
    story
        .come(&[("OIDC-name", "a"), ("OIDC-ids", "none")])
        .await
        .expect(401);
    story
        .come(&[("OIDC-name", "a"), ("OIDC-ids", &group)])
        .await
        .expect(201);
}

#[tokio::test]
async fn who_comes_back_does_not_bring_old_tokens() {
    let story = Story::begin(
        json!([{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-name"}]}]),
    )
    .await;
    let (cloud, admin) = (&story.cloud, &story.admin);
    let come = || async {
        cloud.clock.advance(Duration::from_secs(1));
        let came = story.come(&[("OIDC-name", "ann")]).await.expect(201);
        let id = came.body["token"]["user"]["id"]
            .as_str()
            .unwrap()
            .to_string();
        (came.token(), format!("/v3/users/{id}"))
    };
    let (token, path) = come().await;
    // An administrator calls them something else; their provider has the last word.
    let renamed = cloud
        .call(admin, "PATCH", &path, json!({"user": {"name": "anna"}}))
        .await
        .expect(200)
        .body;
    assert_eq!(renamed["user"]["name"], "anna");
    assert_eq!(
        cloud.check(&token).await.expect(200).body["token"]["user"]["name"],
        "anna"
    );
    assert_eq!(come().await.1, path);
    assert_eq!(
        cloud.get(admin, &path).await.expect(200).body["user"]["name"],
        "ann"
    );
    // They are deleted.
    cloud
        .call(admin, "DELETE", &path, Value::Null)
        .await
        .expect(204);
    cloud.check_as(admin, &token).await.expect(404);
    let (second, same) = come().await;
    assert_eq!(same, path);
    cloud.check_as(admin, &second).await.expect(200);
    cloud.check_as(admin, &token).await.expect(404);
    // The way by which they come is taken away, and made again.
    let protocol = format!("{FED}/identity_providers/ACME/protocols/openid");
    cloud
        .call(admin, "DELETE", &protocol, Value::Null)
        .await
        .expect(204);
    cloud.check_as(admin, &second).await.expect(404);
    cloud.get(admin, &path).await.expect(404);
    let body = json!({"protocol": {"mapping_id": "acme"}});
    cloud.call(admin, "PUT", &protocol, body).await.expect(201);
    let (third, _) = come().await;
    cloud.check_as(admin, &third).await.expect(200);
    cloud.check_as(admin, &second).await.expect(404);
}
