//! Programs that log in by OAuth 2.0 with a certificate, which a front end asks them for.

use crate::cloud::{Answer, Cloud, Story, conf};
use base::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystone::Conf;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

pub const FRONT_END: &str = "front-end";

/// A certificate with that name and address, as HAProxy hands it on.
pub fn certificate(name: &str, email: &str) -> String {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Default");
    let address = DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]);
    params.distinguished_name.push(address, email);
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    STANDARD.encode(made.der())
}

pub fn with_front_end(mut conf: Conf) -> Conf {
    conf.federation.front_end_secret = Secret::new(FRONT_END);
    conf
}

/// Ann, whose certificates name her, with a project of her own.
pub async fn story(conf: Conf) -> Story {
    let story = Story::with(conf, "member").await;
    let path = format!("/v3/users/{}", story.ann);
    let body = json!({"user": {"default_project_id": story.project, "email": "ann@x"}});
    story
        .cloud
        .call(&story.admin, "PATCH", &path, body)
        .await
        .expect(200);
    let rules = json!([{
        "local": [{"user": {"name": "{0}", "email": "{1}", "domain": {"name": "{2}"}}}],
        "remote": [
            {"type": "SSL_CLIENT_SUBJECT_DN_CN"},
            {"type": "SSL_CLIENT_SUBJECT_DN_EMAILADDRESS"},
            {"type": "SSL_CLIENT_SUBJECT_DN_O"},
            {"type": "SSL_CLIENT_ISSUER_DN_CN", "any_one_of": ["ann", "bob"]},
        ],
    }]);
    story.map(rules).await;
    story
}

impl Story {
    async fn map(&self, rules: Value) {
        let path = "/v3/OS-FEDERATION/mappings/oauth2_mapping";
        let body = json!({"mapping": {"rules": rules}});
        let made = self
            .cloud
            .call(&self.admin, "PUT", path, body.clone())
            .await;
        if made.status == 409 {
            self.cloud
                .call(&self.admin, "PATCH", path, body)
                .await
                .expect(200);
        } else {
            made.expect(201);
        }
    }

    pub async fn ask(&self, secret: &str, client_id: &str, certificate: &str) -> Answer {
        let form = format!("grant_type=client_credentials&client_id={client_id}");
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-federation-secret", secret),
            ("ssl-client-cert", certificate),
        ];
        let form = Some(form.into_bytes());
        self.cloud
            .send("POST", "/v3/OS-OAUTH2/token", &headers, form)
            .await
    }
}

async fn call(
    cloud: &Cloud,
    token: &str,
    certificate: &str,
    method: &str,
    path: &str,
    body: Value,
) -> Answer {
    let headers = [
        ("x-auth-token", token),
        ("x-subject-token", token),
        ("x-federation-secret", FRONT_END),
        ("ssl-client-cert", certificate),
        ("content-type", "application/json"),
    ];
    let body = (!body.is_null()).then(|| body.to_string().into_bytes());
    cloud.send(method, path, &headers, body).await
}

#[tokio::test]
async fn a_certificate_is_a_login_and_its_token_good_beside_it_only() {
    let story = story(with_front_end(conf())).await;
    let Story { cloud, ann, .. } = &story;
    let hers = certificate("ann", "ann@x");
    let done = story.ask(FRONT_END, ann, &hers).await.expect(200);
    assert_eq!(done.body["token_type"], "Bearer");
    assert_eq!(done.headers["cache-control"], "no-store");
    let token = done.body["access_token"].as_str().unwrap();

    // What a service is told, which compares the mark with the certificate that it was shown itself.
    let service = json!({"project": {"id": cloud.ids.service_project_id}});
    let nova = cloud.login("nova", "nova-secret", service).await.token();
    let told = cloud.check_as(&nova, token).await.expect(200);
    let told = &told.body["token"];
    assert_eq!(told["methods"], json!(["oauth2_credential"]));
    assert_eq!(told["user"]["id"], ann.as_str());
    assert_eq!(told["project"]["id"], story.project.as_str());
    let mark = told["oauth2_credential"]["x5t#S256"].as_str().unwrap();
    assert_eq!(mark.len(), 44, "{mark}");

    let asks = async |certificate: &str| {
        let path = format!("/v3/users/{ann}");
        call(cloud, token, certificate, "GET", &path, Value::Null).await
    };
    asks(&hers).await.expect(200);
    let again = certificate("ann", "ann@x");
    asks(&again).await.expect(401);
    asks("").await.expect(401);
    asks("garbage").await.expect(401);
    cloud.check(token).await.expect(401);
    // A certificate that the client put there itself.
    let headers = [("x-auth-token", token), ("ssl-client-cert", hers.as_str())];
    let own = format!("/v3/users/{ann}");
    cloud.send("GET", &own, &headers, None).await.expect(401);
    let headers = [
        ("x-auth-token", token),
        ("x-federation-secret", FRONT_END),
        ("ssl-client-cert", hers.as_str()),
        ("ssl-client-cert", hers.as_str()),
    ];
    cloud.send("GET", &own, &headers, None).await.expect(401);

    // Nothing that would do without it comes of it.
    let credentials = format!("/v3/users/{ann}/application_credentials");
    let pairs = format!("/v3/users/{ann}/credentials/OS-EC2");
    let trust = json!({"trust": {
        "trustor_user_id": ann, "trustee_user_id": ann, "impersonation": false,
        "project_id": story.project, "roles": [{"name": "member"}],
    }});
    let blob = json!({"access": "a", "secret": "s"}).to_string();
    let pair = json!({"credential": {"type": "ec2", "user_id": ann, "project_id": story.project, "blob": blob}});
    for (path, body) in [
        (
            "/v3/auth/tokens",
            json!({"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}}),
        ),
        (
            &credentials,
            json!({"application_credential": {"name": "c"}}),
        ),
        (&pairs, json!({"tenant_id": story.project})),
        ("/v3/credentials", pair),
        ("/v3/OS-TRUST/trusts", trust),
    ] {
        let no = call(cloud, token, &hers, "POST", path, body).await;
        assert_eq!(no.status, 403, "{path}: {}", no.body);
    }

    // It ends with what it stands on.
    let path = format!("/v3/users/{ann}");
    let body = json!({"user": {"enabled": false}});
    cloud
        .call(&story.admin, "PATCH", &path, body)
        .await
        .expect(200);
    asks(&hers).await.expect(401);
    story.ask(FRONT_END, ann, &hers).await.expect(401);
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_none() {
    let story = story(with_front_end(conf())).await;
    let Story {
        cloud, admin, ann, ..
    } = &story;
    let bob = cloud.user(admin, "bob", "default").await;
    let hers = certificate("ann", "ann@x");
    let failed = "Client authentication failed.";
    for (secret, user, shown) in [
        (FRONT_END, bob.as_str(), hers.clone()),
        (FRONT_END, "nobody", hers.clone()),
        (FRONT_END, "", hers.clone()),
        (FRONT_END, ann, certificate("bob", "ann@x")),
        (FRONT_END, ann, certificate("ann", "bob@x")),
        (FRONT_END, ann, certificate("ann;bob", "ann@x")),
        (FRONT_END, ann, certificate("eve", "ann@x")),
        (FRONT_END, ann, "garbage".into()),
        (FRONT_END, ann, String::new()),
        ("guess", ann, hers.clone()),
        ("", ann, hers.clone()),
    ] {
        let no = story.ask(secret, user, &shown).await.expect(401);
        assert_eq!(no.body["error"], "invalid_client", "{user}");
        assert_eq!(no.body["error_description"], failed, "{user}");
        assert!(no.headers.contains_key("www-authenticate"));
    }
    story.ask(FRONT_END, ann, &hers).await.expect(200);
    // A mapping that says nothing of the user would make every certificate everybody's.
    let local = json!({"user": {"domain": {"name": "Default"}}});
    let remote = json!([{"type": "SSL_CLIENT_SUBJECT_DN_CN"}]);
    story
        .map(json!([{"local": [local], "remote": remote}]))
        .await;
    story.ask(FRONT_END, ann, &hers).await.expect(401);
    let path = "/v3/OS-FEDERATION/mappings/oauth2_mapping";
    cloud
        .call(admin, "DELETE", path, Value::Null)
        .await
        .expect(204);
    story.ask(FRONT_END, ann, &hers).await.expect(401);
}

#[tokio::test]
async fn ways_to_log_in_can_be_switched_off() {
    let mut conf = with_front_end(conf());
    conf.oauth2.oauth2_authn_methods = vec!["client_secret_basic".into()];
    let story = story(conf).await;
    let hers = certificate("ann", "ann@x");
    story.ask(FRONT_END, &story.ann, &hers).await.expect(401);

    let mut conf = with_front_end(crate::cloud::conf());
    conf.oauth2.oauth2_authn_methods = vec!["tls_client_auth".into()];
    let story = self::story(conf).await;
    story.ask(FRONT_END, &story.ann, &hers).await.expect(200);
    let made = story.app_cred(json!({"name": "c"})).await;
    let of = |name: &str| {
        made["application_credential"][name]
            .as_str()
            .unwrap()
            .to_string()
    };
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        of("id"),
        of("secret")
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let asked = story.cloud.send(
        "POST",
        "/v3/OS-OAUTH2/token",
        &headers,
        Some(form.into_bytes()),
    );
    assert_eq!(asked.await.expect(401).body["error"], "invalid_client");
}
