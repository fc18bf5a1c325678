//! What becomes of accepted work that fails is said to its owner.

use crate::cloud::{Cloud, IMAGE};
use base::Error;
use http::Method;
use serde_json::{Value, json};

async fn messages(cloud: &Cloud, token: &str, query: &str) -> Vec<Value> {
    let path = format!("/v3/messages{query}");
    let list = cloud.get(token, &path).await.expect(200);
    list["messages"].as_array().unwrap().clone()
}

async fn create(cloud: &Cloud, body: Value) -> String {
    let made = cloud
        .post("ann", "/v3/p1/volumes", json!({"volume": body}))
        .await
        .expect(202);
    cloud.idle().await;
    made["volume"]["id"].as_str().unwrap().to_string()
}

#[tokio::test]
async fn a_volume_without_a_home_says_why() {
    let cloud = Cloud::new().await;
    cloud.report("h1@toy", 100.0).await;
    cloud.report("h2@toy", 2.0).await;
    let gold = json!({"volume_type": {"name": "gold", "extra_specs": {"colour": "gold"}}});
    cloud.post("admin", "/v3/ops/types", gold).await.expect(200);
    let large = create(&cloud, json!({"size": 500})).await;
    let odd = create(&cloud, json!({"size": 5, "volume_type": "gold"})).await;
    assert_eq!(cloud.status(&large).await, "error");

    let all = messages(&cloud, "ann", "?sort=created_at:asc").await;
    assert_eq!(all.len(), 2);
    let message = &all[0];
    assert_eq!(message["resource_uuid"], json!(large));
    assert_eq!(message["event_id"], "VOLUME_VOLUME_001_003");
    assert_eq!(message["message_level"], "ERROR");
    assert_eq!(
        message["user_message"],
        "schedule allocate volume:Could not find any available weighted backend. Looked at and turned away: \
         2 backends without enough space (CapacityFilter)."
    );
    assert!(message["request_id"].as_str().unwrap().starts_with("req-"));
    let days = |t: &Value| base::Timestamp::parse(t.as_str().unwrap()).unwrap();
    let kept = days(&message["guaranteed_until"]).since(days(&message["created_at"]));
    assert_eq!(kept.as_secs(), 30 * 86_400);
    assert_eq!(all[1]["resource_uuid"], json!(odd));
    let words = all[1]["user_message"].as_str().unwrap();
    assert!(
        words.contains("1 backend without enough space (CapacityFilter), 1 backend without what the volume type asks for"),
        "{words}"
    );
    // Nobody's host, nobody's numbers.
    assert!(!words.contains("h1") && !words.contains("100"), "{words}");

    assert_eq!(messages(&cloud, "bob", "").await, [json!(null); 0]);
    assert_eq!(messages(&cloud, "admin", "").await.len(), 2);
    let path = format!("/v3/p1/messages/{}", message["id"].as_str().unwrap());
    let shown = cloud.get("ann", &path).await.expect(200);
    assert_eq!(shown["message"], *message);
    let other = path.replace("/p1/", "/p2/");
    cloud.get("bob", &other).await.fault(404, "itemNotFound");
    cloud.delete("bob", &other).await.fault(404, "itemNotFound");
    cloud.delete("amy", &path).await.fault(403, "forbidden");
    cloud.delete("ann", &path).await.expect(204);
    let words = cloud.get("ann", &path).await.fault(404, "itemNotFound");
    assert!(words.starts_with("Message "), "{words}");
    assert_eq!(messages(&cloud, "ann", "").await.len(), 1);
}

#[tokio::test]
async fn drivers_that_fail_are_told_of_without_their_words() {
    let cloud = Cloud::new().await;
    let volume = cloud.volume(json!({"size": 1})).await;
    let secret = "sesame at 10.0.0.7";
    *cloud.agent.fail.lock().unwrap() = Some(Error::conflict(secret));
    let path = format!("/v3/volumes/{volume}/action");
    let grow = json!({"os-extend": {"new_size": 2}});
    cloud.post("ann", &path, grow).await.expect(202);
    cloud.idle().await;
    create(&cloud, json!({"size": 1})).await;
    create(&cloud, json!({"size": 2, "imageRef": IMAGE})).await;
    let claim = json!({"os-reset_status": {"status": "available"}});
    cloud.post("admin", &path, claim).await.expect(202);
    let claim = json!({"attachment": {"volume_uuid": volume, "instance_uuid": base::new_id(),
        "connector": {"host": "c1"}}});
    let refused = cloud.post("nova", "/v3/attachments", claim).await;
    assert_eq!(refused.status, 409);
    assert_eq!(cloud.status(&volume).await, "available");
    let all = messages(&cloud, "ann", "?sort=created_at:asc").await;
    let events: Vec<&str> = all
        .iter()
        .map(|m| m["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        [
            "VOLUME_VOLUME_007_010",
            "VOLUME_VOLUME_008_012",
            "VOLUME_VOLUME_005_001",
            "VOLUME_VOLUME_004_021"
        ]
    );
    assert!(all.iter().all(|m| !m.to_string().contains("sesame")));
    assert_eq!(
        all[0]["user_message"],
        "extend volume:Volume Driver failed to extend volume."
    );

    // A snapshot too.
    let body = json!({"snapshot": {"volume_id": volume}});
    let made = cloud
        .post("ann", "/v3/p1/snapshots", body)
        .await
        .expect(202);
    cloud.idle().await;
    let about = "?resource_type=VOLUME_SNAPSHOT";
    let last = messages(&cloud, "ann", about).await;
    assert_eq!(
        (&last[0]["event_id"], &last[0]["resource_uuid"]),
        (
            &json!("VOLUME_VOLUME_SNAPSHOT_009_013"),
            &made["snapshot"]["id"]
        )
    );
    let path = format!("/v3/messages/{}", last[0]["id"].as_str().unwrap());
    cloud.delete("ann", &path).await.expect(204);

    let ids = |list: Vec<Value>| -> Vec<String> {
        list.iter()
            .map(|m| m["event_id"].as_str().unwrap().to_string())
            .collect()
    };
    let found = messages(&cloud, "ann", "?event_id=VOLUME_VOLUME_008_012").await;
    assert_eq!(found.len(), 1);
    let own = format!("?resource_uuid={volume}&sort=event_id:asc");
    assert_eq!(
        ids(messages(&cloud, "ann", &own).await),
        ["VOLUME_VOLUME_004_021", "VOLUME_VOLUME_007_010"]
    );
    cloud
        .get("ann", "/v3/messages?colour=red")
        .await
        .fault(400, "badRequest");
    let first = cloud
        .get("ann", "/v3/p1/messages?limit=3")
        .await
        .expect(200);
    let next = first["messages_links"][0]["href"].as_str().unwrap();
    let next = next.strip_prefix("http://cloud:8776").unwrap();
    let rest = cloud.get("ann", next).await.expect(200);
    assert_eq!(rest["messages"][0]["event_id"], "VOLUME_VOLUME_007_010");
    // 3.3 knows neither filters nor pages, and 3.2 no messages.
    let old = "/v3/p1/messages?limit=1&colour=red";
    let old = cloud.call("ann", "3.3", Method::GET, old, None).await;
    assert_eq!(old.expect(200)["messages"].as_array().unwrap().len(), 4);
    let older = cloud
        .call("ann", "3.2", Method::GET, "/v3/p1/messages", None)
        .await;
    assert_eq!(older.status, 404);
}

#[tokio::test]
async fn messages_are_kept_as_long_as_promised() {
    let cloud = Cloud::new().await;
    cloud.report("h1@toy", 2.0).await;
    create(&cloud, json!({"size": 5})).await;
    let now = base::Timestamp::now();
    let reap = |at| cloud.db.write(move |tx| cinder::db::messages::reap(tx, at));
    let day = std::time::Duration::from_secs(86_400);
    assert_eq!(reap(now.plus(day * 29)).await.unwrap(), 0);
    assert_eq!(messages(&cloud, "ann", "").await.len(), 1);
    assert_eq!(reap(now.plus(day * 31)).await.unwrap(), 1);
    assert!(messages(&cloud, "ann", "").await.is_empty());
}
