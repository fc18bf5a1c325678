//! Ports: addresses under pressure, bindings, and what hosts are told.

use crate::house::{House, text};
use futures::future::join_all;
use neutron_types::rpc::HostNews;
use serde_json::json;
use std::collections::HashSet;

#[tokio::test]
async fn fifty_ports_at_once_get_fifty_addresses() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    let ports = join_all((0..50).map(|_| house.port("alice-p1", json!({"network_id": net})))).await;
    let ips: HashSet<String> = ports
        .iter()
        .map(|p| text(&p["fixed_ips"][0]["ip_address"]))
        .collect();
    let macs: HashSet<String> = ports.iter().map(|p| text(&p["mac_address"])).collect();
    assert_eq!((ips.len(), macs.len()), (50, 50));
    assert!(macs.iter().all(|m| m.starts_with("fa:16:3e:")));
    assert_eq!(ports[0]["status"], "DOWN");
    assert_eq!(ports[0]["security_groups"].as_array().unwrap().len(), 1);
    assert!(
        ports[0].get("binding:host_id").is_none(),
        "members do not see where a port is"
    );
}

/// On a database with many writers the unique key decides, and losers run again.
#[tokio::test]
async fn fifty_ports_at_once_on_mariadb() {
    let server = oslo_testing::db::MariaDb::start().await.unwrap();
    let house = House::on(&server.database().await.unwrap(), neutron::Conf::default()).await;
    house.agents("node1").await;
    let net = house.network("alice-p1", json!({})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    let ports = join_all((0..50).map(|_| house.port("alice-p1", json!({"network_id": net})))).await;
    let ips: HashSet<String> = ports
        .iter()
        .map(|p| text(&p["fixed_ips"][0]["ip_address"]))
        .collect();
    assert_eq!(ips.len(), 50);
    let state = house.state("node1").await;
    assert_eq!((state.dhcp_hosts.len(), state.ports.len()), (50, 1));
    let page = house
        .get(
            "alice-p1",
            "/v2.0/ports?limit=7&sort_key=mac_address&sort_dir=desc",
        )
        .await;
    assert_eq!(page["ports"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_full_subnet_says_so_and_recovers() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/30").await;
    let only = house.port("alice-p1", json!({"network_id": net})).await;
    assert_eq!(only["fixed_ips"][0]["ip_address"], "10.0.0.2");
    let full = house
        .refused(
            "alice-p1",
            "POST",
            "/v2.0/ports",
            Some(json!({"port": {"network_id": net}})),
        )
        .await;
    assert_eq!(
        full,
        (
            409,
            "IpAddressGenerationFailure".into(),
            format!("No more IP addresses available on network {net}.")
        )
    );
    house
        .delete("alice-p1", &format!("/v2.0/ports/{}", text(&only["id"])))
        .await;
    house.port("alice-p1", json!({"network_id": net})).await;
}

#[tokio::test]
async fn fixed_addresses_in_every_form() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    let one = house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    let two = house.subnet("alice-p1", &net, "10.0.1.0/24").await;
    let port = house.port("alice-p1", json!({"network_id": net, "fixed_ips": [{"ip_address": "10.0.1.7"}, {"subnet_id": one}]})).await;
    assert_eq!(
        port["fixed_ips"][0],
        json!({"subnet_id": two, "ip_address": "10.0.1.7"})
    );
    assert_eq!(port["fixed_ips"][1]["subnet_id"], json!(one));
    let create = async |ips: serde_json::Value| {
        house
            .refused(
                "alice-p1",
                "POST",
                "/v2.0/ports",
                Some(json!({"port": {"network_id": net, "fixed_ips": ips}})),
            )
            .await
    };
    assert_eq!(
        create(json!([{"ip_address": "10.0.1.7"}])).await.1,
        "IpAddressAlreadyAllocated"
    );
    assert_eq!(
        create(json!([{"ip_address": "10.7.1.7"}])).await.1,
        "InvalidIpForNetwork"
    );
    assert_eq!(
        create(json!([{"subnet_id": one, "ip_address": "10.0.1.9"}]))
            .await
            .1,
        "InvalidIpForSubnet"
    );
    assert!(
        house
            .port("alice-p1", json!({"network_id": net, "fixed_ips": []}))
            .await["fixed_ips"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let path = format!("/v2.0/ports/{}", text(&port["id"]));
    let moved = house
        .put(
            "alice-p1",
            &path,
            json!({"port": {"fixed_ips": [{"ip_address": "10.0.1.7"}]}}),
        )
        .await;
    assert_eq!(
        moved["port"]["fixed_ips"],
        json!([{"subnet_id": two, "ip_address": "10.0.1.7"}])
    );
    let found = house
        .get("alice-p1", "/v2.0/ports?fixed_ips=ip_address%3D10.0.1.7")
        .await;
    assert_eq!(found["ports"].as_array().unwrap().len(), 1);
    assert_eq!(
        house
            .refused("alice-p1", "DELETE", &format!("/v2.0/subnets/{two}"), None)
            .await
            .1,
        "SubnetInUse"
    );
    let busy = house
        .refused("alice-p1", "DELETE", &format!("/v2.0/networks/{net}"), None)
        .await;
    assert_eq!((busy.0, busy.1.as_str()), (409, "NetworkInUse"));
    assert!(
        busy.2
            .contains("There are one or more ports still in use on the network"),
        "{}",
        busy.2
    );
}

#[tokio::test]
async fn hosts_make_their_own_v6_addresses() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    let early = house
        .port(
            "alice-p1",
            json!({"network_id": net, "mac_address": "fa:16:3e:00:00:01"}),
        )
        .await;
    let body = json!({"network_id": net, "cidr": "2001:db8::/64", "ip_version": 6, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"});
    house
        .post("alice-p1", "/v2.0/subnets", json!({"subnet": body}))
        .await;
    let early = house
        .get("alice-p1", &format!("/v2.0/ports/{}", text(&early["id"])))
        .await;
    assert_eq!(
        early["port"]["fixed_ips"][0]["ip_address"],
        "2001:db8::f816:3eff:fe00:1"
    );
    let late = house
        .port(
            "alice-p1",
            json!({"network_id": net, "mac_address": "fa:16:3e:00:00:02"}),
        )
        .await;
    assert_eq!(
        late["fixed_ips"][0]["ip_address"],
        "2001:db8::f816:3eff:fe00:2"
    );
}

#[tokio::test]
async fn a_bound_port_reaches_its_host_and_becomes_active() {
    let house = House::new().await;
    house.agents("node1").await;
    let net = house.network("alice-p1", json!({})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    let before = house.state("node1").await;
    assert!(before.networks[0].dhcp_here && before.networks[0].subnets[0].isolated);
    assert_eq!(before.ports[0].device_owner, "network:dhcp");
    let body = json!({"network_id": net, "device_id": "vm1", "device_owner": "compute:nova", "binding:host_id": "node1",
        "tenant_id": "p1", "dns_name": "web", "allowed_address_pairs": [{"ip_address": "10.0.0.99"}]});
    let port = house.port("admin", body.clone()).await;
    assert_eq!(
        (&port["binding:vif_type"], &port["status"]),
        (&json!("bridge"), &json!("DOWN"))
    );
    assert_eq!(
        port["binding:vif_details"]["bridge_name"],
        format!("brq{}", &net[..11])
    );
    let id = text(&port["id"]);
    let state = house.state("node1").await;
    let news = house.news("node1", Some(&before.revisions)).await;
    assert_eq!(news, HostNews::All(state.clone()));
    let there = state.ports.iter().find(|p| p.id == id).unwrap();
    assert_eq!(there.allowed_address_pairs.len(), 1);
    assert_eq!(state.dhcp_hosts.len(), 1);
    assert_eq!(state.dhcp_hosts[0].hostname, "web");
    assert_eq!(state.security_groups.len(), 1);
    let group = &there.security_groups[0];
    assert_eq!(
        state.remote_groups[group].len(),
        2,
        "the address and its pair: {:?}",
        state.remote_groups
    );
    let same = house.news("node1", Some(&state.revisions)).await;
    assert_eq!(same, HostNews::Nothing);
    let internal = oslo_context::RequestContext::internal();
    house.up("node2", &[&id]).await;
    let path = format!("/v2.0/ports/{id}");
    assert_eq!(
        house.get("alice-p1", &path).await["port"]["status"],
        "DOWN",
        "another host's word does not count"
    );
    house.up("node1", &[&id]).await;
    assert_eq!(
        house.get("alice-p1", &path).await["port"]["status"],
        "ACTIVE"
    );
    let events = house.compute_heard(1).await;
    let event = json!({"name": "network-vif-plugged", "server_uuid": "vm1", "tag": id, "status": "completed"});
    assert_eq!(events, [json!({"events": [event]})]);
    let source = neutron_types::rpc::MetadataSource::Network(net.clone());
    let ip = there.fixed_ips[0].ip_address;
    let owner = house
        .plugin()
        .metadata_lookup(&internal, source, ip)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (owner.instance_id.as_str(), owner.project_id.as_str()),
        ("vm1", "p1")
    );
    let nowhere = house
        .port(
            "admin",
            json!({"network_id": net, "binding:host_id": "node9"}),
        )
        .await;
    assert_eq!(nowhere["binding:vif_type"], "binding_failed");
    let hidden = house
        .refused(
            "alice-p1",
            "POST",
            "/v2.0/ports",
            Some(json!({"port": {"network_id": net, "binding:host_id": "node1"}})),
        )
        .await;
    assert_eq!(hidden.0, 403);
    house.delete("admin", &path).await;
    assert!(house.state("node1").await.ports.iter().all(|p| p.id != id));
}

#[tokio::test]
async fn dhcp_moves_away_from_a_dead_agent() {
    let house = House::new().await;
    house.agents("node1").await;
    let net = house.network("alice-p1", json!({})).await;
    let subnet = house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    assert_eq!(house.state("node1").await.networks.len(), 1);
    house.clock.advance(std::time::Duration::from_secs(100));
    house.agents("node22").await;
    let state = house.state("node22").await;
    assert_eq!(state.networks.len(), 1);
    assert!(state.networks[0].dhcp_here);
    assert!(
        state.networks[0].tunnel_peers.is_empty(),
        "nothing of the network is left on node1"
    );
    assert!(house.state("node1").await.networks.is_empty());
    let agents = house.get("admin", "/v2.0/agents?alive=false").await;
    assert_eq!(agents["agents"].as_array().unwrap().len(), 3);
    assert_eq!(
        house
            .refused(
                "alice-p1",
                "GET",
                &format!("/v2.0/networks/{net}/dhcp-agents"),
                None
            )
            .await
            .0,
        403
    );
    let hosting = house
        .get("admin", &format!("/v2.0/networks/{net}/dhcp-agents"))
        .await;
    assert_eq!(hosting["agents"][0]["host"], "node22");
    let zones = house.get("alice-p1", "/v2.0/availability_zones").await;
    assert_eq!(zones["availability_zones"][0]["name"], "nova");
    let left = house
        .get("admin", &format!("/v2.0/network-ip-availabilities/{net}"))
        .await;
    assert_eq!(left["network_ip_availability"]["used_ips"], 1);
    house
        .put(
            "alice-p1",
            &format!("/v2.0/subnets/{subnet}"),
            json!({"subnet": {"enable_dhcp": false}}),
        )
        .await;
    assert!(
        house.state("node22").await.networks.is_empty(),
        "nobody needs DHCP any more"
    );
    house
        .delete("alice-p1", &format!("/v2.0/networks/{net}"))
        .await;
}

#[tokio::test]
async fn neighbours_use_ports_through_the_sdk() {
    let house = House::new().await;
    let ctx = oslo_context::RequestContext {
        token: Some("alice-p1".into()),
        ..Default::default()
    };
    let alice = || sdk::Caller::User(&ctx);
    let net = house.network("alice-p1", json!({"name": "mine"})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    let neutron = house.sdk.neutron();
    assert_eq!(neutron.network(alice(), &net).await.unwrap().name, "mine");
    assert_eq!(
        neutron
            .subnets_of(alice(), std::slice::from_ref(&net))
            .await
            .unwrap()[0]
            .cidr,
        "10.0.0.0/24"
    );
    let wanted = neutron_types::rest::PortRequest {
        network_id: Some(net),
        device_id: Some("vm1".into()),
        ..Default::default()
    };
    let port = neutron.create_port(alice(), &wanted).await.unwrap();
    let renamed = neutron_types::rest::PortRequest {
        name: Some("eth0".into()),
        ..Default::default()
    };
    assert_eq!(
        neutron
            .update_port(alice(), &port.id, &renamed)
            .await
            .unwrap()
            .name,
        "eth0"
    );
    let group = neutron
        .security_group(alice(), "p1", "default")
        .await
        .unwrap();
    assert_eq!(port.security_groups, [group]);
    neutron.delete_ports_of(alice(), "vm1").await.unwrap();
    assert!(
        neutron
            .ports_of(alice(), &["vm1".to_string()])
            .await
            .unwrap()
            .is_empty()
    );
    neutron.delete_port(alice(), &port.id).await.unwrap();
    house.agents("node1").await;
    let bound = neutron_types::rest::PortRequest {
        project_id: Some("p1".into()),
        host: Some("node1".into()),
        ..wanted
    };
    let bound = neutron
        .create_port(sdk::Caller::Service, &bound)
        .await
        .unwrap();
    assert_eq!(
        (bound.vif_type.as_str(), bound.project_id.as_str()),
        ("bridge", "p1")
    );
}

#[tokio::test]
async fn concurrent_changes_of_one_port_are_all_kept() {
    let house = House::new().await;
    let net = house.network("alice-p1", json!({})).await;
    let port = house.port("alice-p1", json!({"network_id": net})).await;
    let path = format!("/v2.0/ports/{}", text(&port["id"]));
    let changes = [
        json!({"name": "a"}),
        json!({"description": "b"}),
        json!({"admin_state_up": false}),
    ];
    join_all(
        changes
            .iter()
            .map(|c| house.put("alice-p1", &path, json!({"port": c}))),
    )
    .await;
    let after = house.get("alice-p1", &path).await["port"].clone();
    assert_eq!(
        (&after["name"], &after["description"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(
        (&after["admin_state_up"], &after["revision_number"]),
        (&json!(false), &json!(4))
    );
}
