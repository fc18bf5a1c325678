//! Keypairs belong to users.

use crate::harness::Cloud;
use serde_json::json;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS me";
const PATH: &str = "/v2.1/os-keypairs";

#[tokio::test]
async fn imported_made_and_deleted() {
    let cloud = Cloud::new().await;
    let import = json!({"keypair": {"name": "mine", "public_key": KEY}});
    let made = cloud.post("alice", "2.1", PATH, import.clone()).await;
    assert!(made["keypair"].get("private_key").is_none() && made["keypair"].get("type").is_none());
    let (status, words) = cloud
        .refused("alice", "2.2", "POST", PATH, Some(import))
        .await;
    assert_eq!(
        (status, words.as_str()),
        (409, "Key pair 'mine' already exists.")
    );
    let bad = json!({"keypair": {"name": "bad", "public_key": "ssh-rsa JUNK"}});
    assert_eq!(
        cloud
            .refused("alice", "2.2", "POST", PATH, Some(bad))
            .await
            .0,
        400
    );

    let name = json!({"keypair": {"name": "new"}});
    let (status, generated) = cloud
        .ask("alice", "2.2", "POST", PATH, Some(name.clone()))
        .await;
    assert_eq!(status, 201);
    assert!(
        generated["keypair"]["private_key"]
            .as_str()
            .unwrap()
            .contains("PRIVATE KEY")
    );
    assert_eq!(
        cloud
            .refused("alice", "2.92", "POST", PATH, Some(name))
            .await
            .0,
        400,
        "2.92 makes no keys"
    );

    let page = cloud.get("alice", "2.35", &format!("{PATH}?limit=1")).await;
    assert_eq!(page["keypairs"][0]["keypair"]["name"], "mine");
    let next = page["keypairs_links"][0]["href"]
        .as_str()
        .unwrap()
        .strip_prefix("http://nova:8774")
        .unwrap();
    assert_eq!(
        cloud.get("alice", "2.35", next).await["keypairs"][0]["keypair"]["name"],
        "new"
    );

    let shown = cloud.get("alice", "2.1", &format!("{PATH}/mine")).await;
    assert_eq!(
        (&shown["keypair"]["deleted"], &shown["keypair"]["id"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        cloud
            .ask("alice", "2.2", "DELETE", &format!("{PATH}/mine"), None)
            .await
            .0,
        204
    );
    assert_eq!(
        cloud
            .refused("alice", "2.2", "DELETE", &format!("{PATH}/mine"), None)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn others_keys_are_for_administrators() {
    let cloud = Cloud::new().await;
    let body = json!({"keypair": {"name": "k", "public_key": KEY, "user_id": "bob"}});
    assert_eq!(
        cloud
            .refused("alice", "2.10", "POST", PATH, Some(body.clone()))
            .await
            .0,
        403
    );
    cloud.post("admin", "2.10", PATH, body).await;
    assert_eq!(
        cloud
            .refused("alice", "2.10", "GET", &format!("{PATH}?user_id=bob"), None)
            .await
            .0,
        403
    );
    assert_eq!(
        cloud.get("bob", "2.10", PATH).await["keypairs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Users of one project do not share keys.
    assert_eq!(
        cloud
            .refused("anna", "2.10", "GET", &format!("{PATH}/k"), None)
            .await
            .0,
        404
    );
    assert_eq!(
        cloud
            .get("admin", "2.10", &format!("{PATH}/k?user_id=bob"))
            .await["keypair"]["user_id"],
        "bob"
    );
}

#[tokio::test]
async fn the_quota_is_per_user() {
    let cloud = Cloud::new().await;
    let quota = json!({"quota_set": {"key_pairs": 1}});
    assert_eq!(
        cloud
            .ask(
                "admin",
                "2.57",
                "PUT",
                "/v2.1/os-quota-sets/p1",
                Some(quota)
            )
            .await
            .0,
        200
    );
    let key = |name: &str| json!({"keypair": {"name": name, "public_key": KEY}});
    cloud.post("alice", "2.2", PATH, key("one")).await;
    assert_eq!(
        cloud
            .refused("alice", "2.2", "POST", PATH, Some(key("two")))
            .await
            .0,
        403
    );
    cloud.post("anna", "2.2", PATH, key("one")).await;
}
