//! Servers that want to be apart need more hosts than there are.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use serde_json::{Value, json};

pub async fn anti_affinity_with_one_host_lets_one_server_in(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let body = json!({"server_group": {"name": "apart", "policy": "anti-affinity"}});
    let group = p
        .member
        .post("compute", "/v2.1/os-server-groups", body)
        .await
        .expect(200)
        .id("server_group");
    let hints = json!({"os:scheduler_hints": {"group": group}});

    let first = p
        .member
        .create_server(&seed, "one", hints.clone())
        .await
        .expect(202)
        .id("server");
    p.member.wait_server(&first, "ACTIVE").await;
    let second = p
        .member
        .create_server(&seed, "two", hints.clone())
        .await
        .expect(202)
        .id("server");
    let failed = p.member.wait_server(&second, "ERROR").await;
    let words = text(&failed["fault"], "message");
    assert!(
        words.contains("No valid host") && words.contains("ServerGroupAntiAffinityFilter"),
        "{words}"
    );
    assert_eq!(cloud.allocation(&second).await, Value::Null);

    let shown = p
        .member
        .get("compute", &format!("/v2.1/os-server-groups/{group}"))
        .await
        .expect(200)
        .key("server_group");
    assert!(
        shown["members"]
            .as_array()
            .expect("members")
            .contains(&json!(first)),
        "{shown}"
    );

    // Room again once the first is gone.
    p.member.delete_server(&first).await;
    p.member.delete_server(&second).await;
    let third = p
        .member
        .create_server(&seed, "three", hints)
        .await
        .expect(202)
        .id("server");
    p.member.wait_server(&third, "ACTIVE").await;
}
