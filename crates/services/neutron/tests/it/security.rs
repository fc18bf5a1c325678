//! Security groups and their rules.

use crate::house::{House, text};
use serde_json::{Value, json};

#[tokio::test]
async fn every_project_has_a_default_group() {
    let house = House::new().await;
    let groups = house.get("alice-p1", "/v2.0/security-groups").await;
    let group = &groups["security_groups"][0];
    assert_eq!(group["name"], "default");
    let rules = group["security_group_rules"].as_array().unwrap();
    assert_eq!(rules.len(), 4);
    let ingress = rules
        .iter()
        .filter(|r| r["direction"] == "ingress")
        .collect::<Vec<_>>();
    assert!(ingress.iter().all(|r| r["remote_group_id"] == group["id"]));
    let path = format!("/v2.0/security-groups/{}", text(&group["id"]));
    assert_eq!(
        house.refused("alice-p1", "DELETE", &path, None).await.1,
        "SecurityGroupCannotRemoveDefault"
    );
    let again = json!({"security_group": {"name": "default"}});
    assert_eq!(
        house
            .refused("alice-p1", "POST", "/v2.0/security-groups", Some(again))
            .await
            .1,
        "SecurityGroupDefaultAlreadyExists"
    );
    assert_eq!(house.refused("bob-p2", "GET", &path, None).await.0, 404);
}

#[tokio::test]
async fn rules_are_sensible_and_said_once() {
    let house = House::new().await;
    let group = house
        .post(
            "alice-p1",
            "/v2.0/security-groups",
            json!({"security_group": {"name": "web"}}),
        )
        .await;
    assert_eq!(
        group["security_group"]["security_group_rules"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let id = text(&group["security_group"]["id"]);
    let rule = |more: Value| {
        let mut rule = json!({"security_group_id": id, "direction": "ingress"});
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"security_group_rule": rule})
    };
    let path = "/v2.0/security-group-rules";
    let http = rule(
        json!({"protocol": "TCP", "port_range_min": "80", "port_range_max": 80, "remote_ip_prefix": "10.0.0.0/8"}),
    );
    let made = house.post("alice-p1", path, http.clone()).await["security_group_rule"].clone();
    assert_eq!(
        (
            &made["protocol"],
            &made["port_range_min"],
            &made["ethertype"]
        ),
        (&json!("tcp"), &json!(80), &json!("IPv4"))
    );
    let bad = async |more: Value| {
        house
            .refused("alice-p1", "POST", path, Some(rule(more)))
            .await
    };
    let twice = house.refused("alice-p1", "POST", path, Some(http)).await;
    assert_eq!(
        (twice.0, twice.1.as_str()),
        (409, "SecurityGroupRuleExists")
    );
    assert!(
        bad(json!({"ethertype": "IPv6", "remote_ip_prefix": "10.0.0.0/8"}))
            .await
            .2
            .contains("Conflicting value ethertype")
    );
    assert_eq!(
        bad(json!({"protocol": "tcp", "port_range_min": 9, "port_range_max": 8}))
            .await
            .1,
        "SecurityGroupInvalidPortRange"
    );
    assert_eq!(
        bad(json!({"port_range_min": 9, "port_range_max": 9}))
            .await
            .1,
        "SecurityGroupProtocolRequiredWithPorts"
    );
    assert_eq!(
        bad(json!({"protocol": "nonsense"})).await.1,
        "SecurityGroupRuleInvalidProtocol"
    );
    assert_eq!(
        bad(json!({"protocol": "icmp", "port_range_min": 300}))
            .await
            .1,
        "SecurityGroupInvalidIcmpValue"
    );
    assert_eq!(
        bad(json!({"remote_group_id": id, "remote_ip_prefix": "10.0.0.0/8"}))
            .await
            .1,
        "SecurityGroupMultipleRemoteEntites"
    );
    // The words of upstream, which clients look for.
    for (low, high, words) in [
        (json!(1), json!(256), "Invalid value for ICMP code"),
        (json!(300), json!(1), "Invalid value for ICMP type"),
        (
            json!(null),
            json!(6),
            "ICMP type (port-range-min) is missing",
        ),
    ] {
        let rule = json!({"protocol": "icmp", "port_range_min": low, "port_range_max": high});
        let refused = bad(rule).await;
        assert!(refused.0 == 400 && refused.2.contains(words), "{refused:?}");
    }
    // A rule is what it was made: it can go, and not change.
    let one = format!("{path}/{}", text(&made["id"]));
    let change = json!({"security_group_rule": {"description": "d"}});
    assert_eq!(
        house.call("alice-p1", "PUT", &one, Some(change)).await.0,
        405
    );
    let foreign = house
        .refused("bob-p2", "POST", path, Some(rule(json!({}))))
        .await;
    assert_eq!(foreign.1, "SecurityGroupNotFound");
    house
        .delete("alice-p1", &format!("{path}/{}", text(&made["id"])))
        .await;
}

#[tokio::test]
async fn a_group_in_use_stays_and_port_security_excludes_groups() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    let group = house
        .post(
            "alice-p1",
            "/v2.0/security-groups",
            json!({"security_group": {"name": "web"}}),
        )
        .await;
    let id = text(&group["security_group"]["id"]);
    let port = house
        .port(
            "alice-p1",
            json!({"network_id": net, "security_groups": [id]}),
        )
        .await;
    assert_eq!(
        house
            .refused(
                "alice-p1",
                "DELETE",
                &format!("/v2.0/security-groups/{id}"),
                None
            )
            .await
            .1,
        "SecurityGroupInUse"
    );
    let path = format!("/v2.0/ports/{}", text(&port["id"]));
    let off = json!({"port": {"port_security_enabled": false}});
    assert_eq!(
        house.refused("alice-p1", "PUT", &path, Some(off)).await.1,
        "PortSecurityPortHasSecurityGroup"
    );
    let off = json!({"port": {"port_security_enabled": false, "security_groups": []}});
    assert_eq!(
        house.put("alice-p1", &path, off).await["port"]["port_security_enabled"],
        false
    );
    house
        .delete("alice-p1", &format!("/v2.0/security-groups/{id}"))
        .await;
    let missing = house
        .refused(
            "alice-p1",
            "PUT",
            &path,
            Some(json!({"port": {"security_groups": [id], "port_security_enabled": true}})),
        )
        .await;
    assert_eq!(
        (missing.0, missing.1.as_str()),
        (404, "SecurityGroupNotFound")
    );
}
