//! What a delegated token finds of its user's own secrets: nothing that is worth more than the token.

use crate::cloud::{Story, by_id};
use serde_json::{Value, json};

impl Story {
    /// A token of an application credential of Ann's.
    async fn by_app_cred(&self, body: Value) -> String {
        let proof = self.app_cred(body).await;
        self.cloud.auth(proof, Value::Null).await.token()
    }

    /// Bob's token by a trust of Ann's, in which he is her.
    async fn by_trust(&self) -> String {
        let bob = self.cloud.user(&self.admin, "bob", "default").await;
        let trust = json!({"trust": {
            "trustor_user_id": self.ann, "trustee_user_id": bob, "impersonation": true,
            "project_id": self.project, "roles": [{"name": "member"}],
        }});
        let path = "/v3/OS-TRUST/trusts";
        let made = self.cloud.call(&self.token, "POST", path, trust).await;
        let scope = json!({"OS-TRUST:trust": {"id": made.expect(201).id("trust")}});
        self.cloud.auth(by_id(&bob, "pw"), scope).await.token()
    }
}

/// What OSSA-2020-004 and 2026-005 are about, by the other doors: a pair that is there already, and secrets of passcodes,
/// which are proofs of the whole user.
#[tokio::test]
async fn delegated_tokens_reach_no_secret_that_is_worth_more() {
    let story = Story::of("manager").await;
    let cloud = &story.cloud;
    let pairs = format!("/v3/users/{}/credentials/OS-EC2", story.ann);
    let tenant = json!({"tenant_id": story.project});
    let made = cloud
        .call(&story.token, "POST", &pairs, tenant.clone())
        .await;
    let pair = made.expect(201).body["credential"].clone();
    let passcodes = |kind: &str| {
        json!({"credential": {
            "type": kind, "blob": "GEZDGNBVGY3TQOJQ", "user_id": story.ann, "project_id": story.project,
        }})
    };
    let made = cloud
        .call(&story.token, "POST", "/v3/credentials", passcodes("totp"))
        .await;
    let totp = made.expect(201).id("credential");
    let all = cloud
        .get(&story.token, "/v3/credentials?type=ec2")
        .await
        .expect(200);
    let ec2 = all.column("credentials", "id").pop().unwrap();
    let secrets = [pair["secret"].as_str().unwrap(), "GEZDGNBVGY3TQOJQ"];
    let hidden = |seen: &Value| {
        let seen = seen.to_string();
        secrets.iter().all(|secret| !seen.contains(secret))
    };

    let by_trust = story.by_trust().await;
    let reader = json!({"name": "reader", "roles": [{"name": "reader"}]});
    let tokens = [
        by_trust.clone(),
        story.by_app_cred(reader).await,
        story
            .by_app_cred(json!({"name": "free", "unrestricted": true}))
            .await,
    ];
    for token in &tokens {
        let one = format!("{pairs}/{}", pair["access"].as_str().unwrap());
        for path in [&pairs, "/v3/credentials"] {
            let seen = cloud.get(token, path).await.expect(200);
            assert!(hidden(&seen.body), "{}", seen.body);
        }
        for path in [
            one.clone(),
            format!("/v3/credentials/{ec2}"),
            format!("/v3/credentials/{totp}"),
        ] {
            let seen = cloud.get(token, &path).await.expect(403);
            assert!(hidden(&seen.body), "{}", seen.body);
            cloud
                .call(token, "DELETE", &path, Value::Null)
                .await
                .expect(403);
        }
        let blob =
            json!({"access": pair["access"], "secret": "mine", "trust_id": null}).to_string();
        for (id, blob) in [(&ec2, blob), (&totp, "MFRGGZDFMZTWQ2LK".to_string())] {
            let path = format!("/v3/credentials/{id}");
            let change = json!({"credential": {"blob": blob}});
            cloud.call(token, "PATCH", &path, change).await.expect(403);
        }
        for kind in ["totp", "TOTP"] {
            let made = cloud
                .call(token, "POST", "/v3/credentials", passcodes(kind))
                .await;
            made.expect(403);
        }
    }

    // What it made itself is its own; and its user still has everything.
    let made = cloud.call(&by_trust, "POST", &pairs, tenant).await;
    let own = made.expect(201).body["credential"].clone();
    let path = format!("{pairs}/{}", own["access"].as_str().unwrap());
    cloud.get(&by_trust, &path).await.expect(200);
    cloud.get(&tokens[1], &path).await.expect(403);
    let seen = cloud.get(&story.token, &pairs).await.expect(200);
    assert_eq!(seen.column("credentials", "access").len(), 2);
    cloud
        .call(&by_trust, "DELETE", &path, Value::Null)
        .await
        .expect(204);
}
