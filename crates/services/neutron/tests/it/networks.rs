//! Networks and subnets: who sees them, what they may be, pages of them.

use crate::house::{House, text};
use serde_json::{Value, json};

#[tokio::test]
async fn a_member_makes_a_network_and_strangers_do_not_see_it() {
    let house = House::new().await;
    let reply = house
        .post(
            "alice-p1",
            "/v2.0/networks",
            json!({"network": {"name": "n", "admin_state_up": "true"}}),
        )
        .await;
    let network = &reply["network"];
    assert_eq!(network["project_id"], "p1");
    assert_eq!(network["tenant_id"], "p1");
    assert_eq!(network["mtu"], 1450);
    assert_eq!(
        (&network["shared"], &network["router:external"]),
        (&json!(false), &json!(false))
    );
    assert!(
        network.get("provider:network_type").is_none(),
        "members do not see segments"
    );
    let path = format!("/v2.0/networks/{}", text(&network["id"]));
    assert_eq!(
        house.get("admin", &path).await["network"]["provider:network_type"],
        "vxlan"
    );
    assert_eq!(
        house.refused("bob-p2", "GET", &path, None).await.1,
        "NetworkNotFound"
    );
    assert_eq!(house.refused("bob-p2", "DELETE", &path, None).await.0, 404);
    assert_eq!(
        house.get("bob-p2", "/v2.0/networks").await["networks"],
        json!([])
    );
    assert_eq!(
        house.refused("reader-p1", "DELETE", &path, None).await.1,
        "PolicyNotAuthorized"
    );
    let fields = house
        .get("alice-p1", &format!("{path}?fields=name&fields=mtu"))
        .await;
    assert_eq!(fields["network"], json!({"name": "n", "mtu": 1450}));
    house.delete("alice-p1", &path).await;
}

/// The operator shows segments to the owners of networks: in one list some rows have them and others not.
#[tokio::test]
async fn lists_hide_attributes_row_by_row() {
    let name = format!("neutron-policy-{}.yaml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let rule = "get_network:provider:network_type: rule:admin_only or project_id:%(project_id)s\n";
    std::fs::write(&file, rule).unwrap();
    let house = House::ruled(
        "sqlite::memory:",
        neutron::Conf::default(),
        Some(file.clone()),
    )
    .await;
    house.network("alice-p1", json!({"name": "own"})).await;
    house
        .network("admin", json!({"name": "theirs", "shared": true}))
        .await;
    let list = |reply: Value| -> Vec<(String, Value, Value)> {
        let of = |n: &Value| {
            let shown = |key: &str| n.get(key).cloned().unwrap_or_default();
            let segment = shown("provider:segmentation_id").is_number();
            (
                text(&n["name"]),
                shown("provider:network_type"),
                json!(segment),
            )
        };
        let mut found: Vec<_> = reply["networks"]
            .as_array()
            .unwrap()
            .iter()
            .map(of)
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    };
    let row = |name: &str, kind: Value, segment: bool| (name.to_string(), kind, json!(segment));
    assert_eq!(
        list(house.get("alice-p1", "/v2.0/networks").await),
        [
            row("own", json!("vxlan"), false),
            row("theirs", Value::Null, false)
        ]
    );
    assert_eq!(
        list(house.get("admin", "/v2.0/networks").await),
        [
            row("own", json!("vxlan"), true),
            row("theirs", json!("vxlan"), true)
        ]
    );
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn bodies_are_checked_with_upstreams_words() {
    let house = House::new().await;
    let bad = async |body: Value| {
        house
            .refused("alice-p1", "POST", "/v2.0/networks", Some(body))
            .await
    };
    assert_eq!(
        bad(json!({"network": {"nam": 1}})).await,
        (
            400,
            "HTTPBadRequest".into(),
            "Unrecognized attribute(s) 'nam'".into()
        )
    );
    assert_eq!(
        bad(json!({"network": {"name": 1}})).await.2,
        "Invalid input for name. Reason: '1' is not a valid string."
    );
    assert_eq!(
        bad(json!({"network": {"status": "x"}})).await.2,
        "Attribute 'status' not allowed in POST"
    );
    assert_eq!(
        bad(json!({"network": {"admin_state_up": "maybe"}})).await.1,
        "InvalidInput"
    );
    assert_eq!(
        bad(json!({"network": {"shared": true}})).await.1,
        "PolicyNotAuthorized"
    );
    assert_eq!(bad(json!({"network": {"tenant_id": "p2"}})).await.0, 400);
    assert_eq!(bad(json!({"subnet": {}})).await.0, 400);
    let missing = house
        .refused("alice-p1", "POST", "/v2.0/ports", Some(json!({"port": {}})))
        .await;
    assert_eq!(
        missing.2,
        "Failed to parse request. Required attribute 'network_id' not specified"
    );
    assert_eq!(
        house
            .refused("alice-p1", "GET", "/v2.0/networks?nam=1", None)
            .await
            .2,
        "['nam'] is invalid attribute for filtering"
    );
}

#[tokio::test]
async fn shared_networks_are_seen_and_used_by_others() {
    let house = House::new().await;
    let net = house
        .network("admin", json!({"shared": true, "name": "everyones"}))
        .await;
    house.subnet("admin", &net, "10.9.0.0/24").await;
    assert_eq!(
        house.get("bob-p2", "/v2.0/networks?shared=True").await["networks"][0]["shared"],
        true
    );
    assert_eq!(
        house.get("bob-p2", "/v2.0/subnets").await["subnets"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let port = house.port("bob-p2", json!({"network_id": net})).await;
    assert_eq!(port["project_id"], "p2");
    let path = format!("/v2.0/networks/{net}");
    let refused = house
        .refused(
            "admin",
            "PUT",
            &path,
            Some(json!({"network": {"shared": false}})),
        )
        .await;
    assert_eq!(
        (refused.0, refused.1.as_str()),
        (409, "InvalidSharedSetting")
    );
    house
        .delete("bob-p2", &format!("/v2.0/ports/{}", text(&port["id"])))
        .await;
    house
        .put("admin", &path, json!({"network": {"shared": false}}))
        .await;
    assert_eq!(house.refused("bob-p2", "GET", &path, None).await.0, 404);
    let share = json!({"rbac_policy": {"object_type": "network", "object_id": net, "action": "access_as_shared", "target_tenant": "p2"}});
    house.post("admin", "/v2.0/rbac-policies", share).await;
    assert_eq!(house.get("bob-p2", &path).await["network"]["shared"], true);
    assert_eq!(house.refused("carol-p3", "GET", &path, None).await.0, 404);
}

#[tokio::test]
async fn subnets_do_not_overlap_and_know_their_pools() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    let body = json!({"subnet": {"network_id": net, "cidr": "10.0.0.0/24", "ip_version": 4, "dns_nameservers": ["8.8.8.8"]}});
    let subnet = house.post("alice-p1", "/v2.0/subnets", body).await["subnet"].clone();
    assert_eq!(subnet["gateway_ip"], "10.0.0.1");
    assert_eq!(
        subnet["allocation_pools"],
        json!([{"start": "10.0.0.2", "end": "10.0.0.254"}])
    );
    assert_eq!(subnet["enable_dhcp"], true);
    let create = async |body: Value| {
        house
            .refused(
                "alice-p1",
                "POST",
                "/v2.0/subnets",
                Some(json!({"subnet": body})),
            )
            .await
    };
    let again = create(json!({"network_id": net, "cidr": "10.0.0.128/25", "ip_version": 4})).await;
    assert_eq!(again.0, 400);
    assert!(
        again.2.contains("overlaps with another subnet"),
        "{}",
        again.2
    );
    assert_eq!(
        create(json!({"network_id": net, "cidr": "10.1.0.0/24", "ip_version": 6}))
            .await
            .1,
        "InvalidInput"
    );
    let inside = json!([{"start": "10.1.0.1", "end": "10.1.0.9"}]);
    let conflict = create(json!({"network_id": net, "cidr": "10.1.0.0/24", "ip_version": 4, "allocation_pools": inside, "gateway_ip": "10.1.0.1"})).await;
    assert_eq!(
        (conflict.0, conflict.1.as_str()),
        (409, "GatewayConflictWithAllocationPools")
    );
    let outside = json!([{"start": "10.1.0.1", "end": "10.2.0.9"}]);
    assert_eq!(create(json!({"network_id": net, "cidr": "10.1.0.0/24", "ip_version": 4, "allocation_pools": outside})).await.1, "OutOfBoundsAllocationPool");
    assert_eq!(
        house
            .get("alice-p1", &format!("/v2.0/networks/{net}"))
            .await["network"]["subnets"],
        json!([subnet["id"]])
    );
    let path = format!("/v2.0/subnets/{}", text(&subnet["id"]));
    let changed = house.put("alice-p1", &path, json!({"subnet": {"gateway_ip": null, "host_routes": [{"destination": "10.5.0.0/24", "nexthop": "10.0.0.9"}]}})).await;
    assert_eq!(
        (
            &changed["subnet"]["gateway_ip"],
            &changed["subnet"]["revision_number"]
        ),
        (&Value::Null, &json!(2))
    );
}

#[tokio::test]
async fn provider_networks_claim_their_segment() {
    let house = House::new().await;
    let flat = json!({"provider:network_type": "flat", "provider:physical_network": "physnet1", "router:external": true});
    house.network("admin", flat.clone()).await;
    let again = house
        .refused(
            "admin",
            "POST",
            "/v2.0/networks",
            Some(json!({"network": flat})),
        )
        .await;
    assert_eq!((again.0, again.1.as_str()), (409, "FlatNetworkInUse"));
    house
        .network(
            "admin",
            json!({"provider:network_type": "vxlan", "provider:segmentation_id": 77}),
        )
        .await;
    let taken =
        json!({"network": {"provider:network_type": "vxlan", "provider:segmentation_id": 77}});
    assert_eq!(
        house
            .refused("admin", "POST", "/v2.0/networks", Some(taken))
            .await
            .1,
        "TunnelIdInUse"
    );
    let member = json!({"network": {"provider:network_type": "local"}});
    assert_eq!(
        house
            .refused("alice-p1", "POST", "/v2.0/networks", Some(member))
            .await
            .0,
        403
    );
    assert_eq!(
        house
            .get("alice-p1", "/v2.0/networks?router:external=true")
            .await["networks"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn pages_link_to_their_neighbours() {
    let house = House::new().await;
    let many: Vec<Value> = (0..5).map(|i| json!({"name": format!("n{i}")})).collect();
    let made = house
        .post("alice-p1", "/v2.0/networks", json!({"networks": many}))
        .await;
    assert_eq!(made["networks"].as_array().unwrap().len(), 5);
    let names = |page: &Value| {
        page["networks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| text(&n["name"]))
            .collect::<Vec<_>>()
    };
    let link = |page: &Value, rel: &str| {
        let found = page["networks_links"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|l| l["rel"] == rel);
        found.map(|l| {
            text(&l["href"])
                .trim_start_matches("http://net:9696")
                .to_string()
        })
    };
    let first = house
        .get(
            "alice-p1",
            "/v2.0/networks?limit=2&sort_key=name&sort_dir=asc",
        )
        .await;
    assert_eq!(names(&first), ["n0", "n1"]);
    let second = house.get("alice-p1", &link(&first, "next").unwrap()).await;
    assert_eq!(names(&second), ["n2", "n3"]);
    let third = house.get("alice-p1", &link(&second, "next").unwrap()).await;
    assert_eq!(names(&third), ["n4"]);
    assert_eq!(link(&third, "next"), None);
    let back = house
        .get("alice-p1", &link(&third, "previous").unwrap())
        .await;
    assert_eq!(names(&back), ["n2", "n3"]);
    let reverse = house
        .get(
            "alice-p1",
            "/v2.0/networks?limit=2&sort_key=name&sort_dir=asc&page_reverse=True",
        )
        .await;
    assert_eq!(names(&reverse), ["n3", "n4"]);
    assert!(
        house
            .get("alice-p1", "/v2.0/networks")
            .await
            .get("networks_links")
            .is_none()
    );
    assert_eq!(
        house
            .get("alice-p1", "/v2.0/networks?name=n1&name=n3")
            .await["networks"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn quotas_hold_and_can_be_moved() {
    let house = House::new().await;
    house
        .put("admin", "/v2.0/quotas/p1", json!({"quota": {"network": 1}}))
        .await;
    house.network("alice-p1", json!({})).await;
    let over = house
        .refused(
            "alice-p1",
            "POST",
            "/v2.0/networks",
            Some(json!({"network": {}})),
        )
        .await;
    assert_eq!(
        over,
        (
            409,
            "OverQuota".into(),
            "Quota exceeded for resources: ['network'].".into()
        )
    );
    let details = house.get("admin", "/v2.0/quotas/p1/details").await;
    assert_eq!(
        details["quota"]["network"],
        json!({"limit": 1, "used": 1, "reserved": 0})
    );
    assert_eq!(
        house.get("admin", "/v2.0/quotas").await["quotas"][0]["network"],
        1
    );
    assert_eq!(
        house
            .refused(
                "alice-p1",
                "PUT",
                "/v2.0/quotas/p1",
                Some(json!({"quota": {"network": 9}}))
            )
            .await
            .0,
        403
    );
    house.delete("admin", "/v2.0/quotas/p1").await;
    house.network("alice-p1", json!({})).await;
}

#[tokio::test]
async fn tags_and_revisions() {
    let house = House::new().await;
    let net = house
        .network("alice-p1", json!({"tags": ["red", "blue"]}))
        .await;
    house.network("alice-p1", json!({"tags": ["red"]})).await;
    let path = format!("/v2.0/networks/{net}");
    let count = async |q: &str| {
        house.get("alice-p1", &format!("/v2.0/networks?{q}")).await["networks"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        (count("tags=red").await, count("tags=red,blue").await),
        (2, 1)
    );
    assert_eq!(
        (
            count("not-tags=blue").await,
            count("tags-any=blue,green").await
        ),
        (1, 1)
    );
    assert_eq!(
        house
            .call("alice-p1", "PUT", &format!("{path}/tags/green"), None)
            .await
            .0,
        201
    );
    assert_eq!(
        house.get("alice-p1", &format!("{path}/tags")).await["tags"],
        json!(["blue", "green", "red"])
    );
    assert_eq!(
        house
            .refused("alice-p1", "DELETE", &format!("{path}/tags/black"), None)
            .await
            .1,
        "TagNotFound"
    );
    assert_eq!(
        house
            .put("alice-p1", &format!("{path}/tags"), json!({"tags": ["x"]}))
            .await["tags"],
        json!(["x"])
    );
    house.delete("alice-p1", &format!("{path}/tags")).await;
    let stale = http::Request::put(&path)
        .header("x-auth-token", "alice-p1")
        .header("if-match", "revision_number=9");
    let body = oslo_http::Body::from(json!({"network": {"name": "new"}}).to_string());
    assert_eq!(
        house
            .built
            .endpoint
            .call(stale.body(body).unwrap())
            .await
            .status,
        412
    );
}

#[tokio::test]
async fn version_documents_and_extensions() {
    let house = House::new().await;
    let versions = house.get("", "/").await;
    assert_eq!(versions["versions"][0]["id"], "v2.0");
    assert!(house.get("", "/v2.0").await["resources"].is_array());
    let extensions = house.get("alice-p1", "/v2.0/extensions").await;
    let aliases: Vec<String> = extensions["extensions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| text(&e["alias"]))
        .collect();
    assert!(aliases.contains(&"router".to_string()) && !aliases.contains(&"trunk".to_string()));
    assert_eq!(
        house
            .get("alice-p1", "/v2.0/extensions/port-security")
            .await["extension"]["name"],
        "Port Security"
    );
}
