//! Lists of servers: what filters let through fills whole pages.

use crate::harness::Cloud;
use nova::db::instances::{CachedAddress, CachedPort};
use serde_json::{Value, json};

fn port(ips: &[&str]) -> CachedPort {
    let address = |ip: &&str| CachedAddress {
        ip: ip.to_string(),
        version: if ip.contains(':') { 6 } else { 4 },
        ..CachedAddress::default()
    };
    CachedPort {
        id: base::new_id(),
        network_name: "private".into(),
        addresses: ips.iter().map(address).collect(),
        ..CachedPort::default()
    }
}

fn names(page: &Value) -> Vec<&str> {
    let servers = page["servers"].as_array().unwrap();
    servers
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect()
}

/// Names of a list in pages of two, each of which is full but the last.
async fn all(cloud: &Cloud, filter: &str) -> Vec<String> {
    let mut path = format!("/v2.1/servers?sort_key=display_name&sort_dir=asc&limit=2&{filter}");
    let mut found = Vec::new();
    loop {
        let page = cloud.get("alice", "2.26", &path).await;
        let here = names(&page);
        found.extend(here.iter().map(|n| n.to_string()));
        let Some(next) = page["servers_links"][0]["href"].as_str() else {
            return found;
        };
        assert_eq!(here.len(), 2, "{filter}: a page with a next one is full");
        path = next.replace("http://nova:8774", "");
    }
}

#[tokio::test]
async fn addresses_and_tags_are_asked_of_the_database() {
    let cloud = Cloud::new().await;
    for (name, ips, tags) in [
        ("a", vec!["10.0.0.5"], vec!["red"]),
        ("b", vec!["192.168.7.5", "fd00::5"], vec!["blue", "re"]),
        ("c", vec!["10.0.0.6"], vec!["red", "blue"]),
        ("d", vec!["192.168.7.6"], vec![]),
        ("e", vec!["10.0.0.7", "fd00::7"], vec!["red", r#"da"rk"#]),
        ("f", vec!["172.16.0.1"], vec!["100%"]),
    ] {
        cloud
            .server(|s| {
                s.display_name = name.into();
                s.network_info = base::Json(vec![port(&ips)]);
                s.tags = base::Json(tags.iter().map(|t| t.to_string()).collect());
            })
            .await;
    }
    for (filter, wanted) in [
        ("ip=10.0.0", "a c e"),
        ("ip=%5E192%5C.168%5C.", "b d"),
        ("ip6=fd00", "b e"),
        ("ip=fd00", ""),
        ("tags=red", "a c e"),
        ("tags=red,blue", "c"),
        ("tags-any=red,blue", "a b c e"),
        ("not-tags=red,blue", "a b d e f"),
        ("not-tags-any=red,blue", "d f"),
        ("tags=re", "b"),
        ("tags=rk", ""),
        (r#"tags=da%22rk"#, "e"),
        ("tags=1__%25", ""),
        ("tags=100%25", "f"),
        ("ip=10.0.0&tags-any=blue", "c"),
    ] {
        assert_eq!(all(&cloud, filter).await.join(" "), wanted, "{filter}");
    }
}

#[tokio::test]
async fn names_are_regular_expressions() {
    let cloud = Cloud::new().await;
    for name in [
        "db-1", "db-2", "web-1", "web-10", "web.1", "Web", "100%", "a_b",
    ] {
        cloud.server(|s| s.display_name = name.into()).await;
    }
    cloud
        .server(|s| {
            s.display_name = "web-2".into();
            s.project_id = "p2".into();
        })
        .await;
    for (filter, wanted) in [
        ("name=web", "web-1 web-10 web.1"),
        ("name=%5Eweb-1$", "web-1"),
        ("name=%5Eweb", "web-1 web-10 web.1"),
        ("name=1$", "db-1 web-1 web.1"),
        ("name=%5E(db%7Cweb)-%5B0-9%5D$", "db-1 db-2 web-1"),
        ("name=web.1", "web-1 web-10 web.1"),
        ("name=web%5C.1", "web.1"),
        ("name=%5E.eb$", "Web"),
        ("name=%5E%5BA-Z%5D", "Web"),
        ("name=%25", "100%"),
        ("name=a_b", "a_b"),
        ("name=nothing", ""),
        ("name=(a%2B)%2B$", ""),
    ] {
        assert_eq!(all(&cloud, filter).await.join(" "), wanted, "{filter}");
    }
    let path = "/v2.1/servers?name=%5Bweb";
    let (status, words) = cloud.refused("alice", "2.1", "GET", path, None).await;
    assert_eq!(status, 400);
    assert!(words.contains("'[web'"), "{words}");
}

#[tokio::test]
async fn a_server_is_unpinned_from_its_zone_and_pinned_to_it_again() {
    let cloud = Cloud::new().await;
    let row = cloud
        .server(|s| s.requested_zone = Some("nova".into()))
        .await;
    let path = format!("/v2.1/servers/{}", row.id);
    let put = async |zone: Value| {
        let body = json!({"server": {"pinned_availability_zone": zone}});
        cloud.ask("alice", "2.104", "PUT", &path, Some(body)).await
    };
    for zone in [Value::Null, Value::Null, json!("nova"), json!("nova")] {
        let (status, answer) = put(zone.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["server"]["pinned_availability_zone"], zone);
        let shown = cloud.get("alice", "2.104", &path).await;
        assert_eq!(shown["server"]["pinned_availability_zone"], zone);
        assert_eq!(shown["server"]["OS-EXT-AZ:availability_zone"], "nova");
    }
    assert_eq!(put(json!("moon")).await.0, 409);
    let shown = cloud.get("alice", "2.104", &path).await;
    assert_eq!(shown["server"]["pinned_availability_zone"], "nova");
}

#[tokio::test]
async fn an_address_that_changed_is_found_and_the_old_one_is_not() {
    let cloud = Cloud::new().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let name = format!("s{n}");
        let row = cloud
            .server(|s| {
                s.display_name = name;
                s.network_info = base::Json(Vec::new());
            })
            .await;
        cloud.neighbours.port(&row.id);
        ids.push(row.id);
    }
    cloud.neighbours.wire();
    cloud.neighbours.asked("");
    let event = |id: &String| json!({"name": "network-changed", "server_uuid": id});
    let events: Vec<Value> = ids.iter().map(event).collect();
    let path = "/v2.1/os-server-external-events";
    let answer = cloud
        .post("admin", "2.1", path, json!({"events": events}))
        .await;
    assert!(
        answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .all(|e| e["code"] == 200 && e.get("tag").is_none())
    );
    let list = "/v2.1/servers?ip=10.0.0.&sort_key=display_name&sort_dir=asc";
    let seen = |page: &Value| (names(page) == ["s0", "s1", "s2"]).then_some(());
    cloud.wait("alice", list, seen).await;
    // However many servers, neutron is asked once for all of their ports.
    let asked = cloud.neighbours.asked("network GET /v2.0/ports?");
    let whole = |line: &String| ids.iter().all(|id| line.contains(id));
    assert!(asked.iter().any(whole), "{asked:?}");

    // What was plugged in by the way is carried through as an attach, and shows.
    let ports = format!("/v2.1/servers/{}/os-interface", ids[0]);
    let ports = cloud.get("alice", "2.70", &ports).await;
    assert_eq!(
        ports["interfaceAttachments"][0]["net_id"],
        crate::neighbours::NETWORK
    );
}
