//! From a guest to the world: routers, gateways, floating addresses.

use crate::house::{House, text};
use serde_json::{Value, json};

struct World {
    house: House,
    external: String,
    net: String,
    subnet: String,
    router: String,
}

async fn world() -> World {
    let house = House::new().await;
    house.agents("node1").await;
    let flat = json!({"provider:network_type": "flat", "provider:physical_network": "physnet1", "router:external": true});
    let external = house.network("admin", flat).await;
    let body = json!({"network_id": external, "cidr": "203.0.113.0/24", "ip_version": 4, "enable_dhcp": false});
    house
        .post("admin", "/v2.0/subnets", json!({"subnet": body}))
        .await;
    let net = house.network("alice-p1", json!({})).await;
    let subnet = house.subnet("alice-p1", &net, "10.0.0.0/24").await;
    let body = json!({"router": {"name": "r", "external_gateway_info": {"network_id": external}}});
    let router = house.post("alice-p1", "/v2.0/routers", body).await["router"].clone();
    assert_eq!(router["external_gateway_info"]["enable_snat"], true);
    World {
        house,
        external,
        net,
        subnet,
        router: text(&router["id"]),
    }
}

impl World {
    async fn router(&self, action: &str, body: Value) -> Value {
        self.house
            .put(
                "alice-p1",
                &format!("/v2.0/routers/{}/{action}", self.router),
                body,
            )
            .await
    }
}

#[tokio::test]
async fn a_guest_behind_a_router_gets_a_floating_address() {
    let w = world().await;
    let house = &w.house;
    let port = house.port("alice-p1", json!({"network_id": w.net})).await;
    let early = json!({"floatingip": {"floating_network_id": w.external, "port_id": port["id"]}});
    let unreachable = house
        .refused("alice-p1", "POST", "/v2.0/floatingips", Some(early.clone()))
        .await;
    assert_eq!(
        (unreachable.0, unreachable.1.as_str()),
        (404, "ExternalGatewayForFloatingIPNotFound")
    );

    let leg = w
        .router("add_router_interface", json!({"subnet_id": w.subnet}))
        .await;
    assert_eq!(leg["subnet_ids"], json!([w.subnet]));
    assert!(
        !house
            .state("node1")
            .await
            .networks
            .iter()
            .find(|n| n.id == w.net)
            .unwrap()
            .subnets[0]
            .isolated
    );

    let fip = house
        .post("alice-p1", "/v2.0/floatingips", early.clone())
        .await["floatingip"]
        .clone();
    assert_eq!(
        (&fip["fixed_ip_address"], &fip["router_id"]),
        (&port["fixed_ips"][0]["ip_address"], &json!(w.router))
    );
    assert_eq!(fip["port_details"]["mac_address"], port["mac_address"]);
    let second = house
        .refused("alice-p1", "POST", "/v2.0/floatingips", Some(early))
        .await;
    assert_eq!(
        (second.0, second.1.as_str()),
        (409, "FloatingIPPortAlreadyAssociated")
    );

    let state = house.state("node1").await;
    let router = &state.routers[0];
    assert_eq!(router.interfaces[0].addresses[0].to_string(), "10.0.0.1/24");
    let gateway = router.gateway.as_ref().unwrap();
    assert!(gateway.enable_snat);
    assert_eq!(gateway.nexthops[0].to_string(), "203.0.113.1");
    assert_eq!(
        router.floating_ips[0].floating_ip_address.to_string(),
        text(&fip["floating_ip_address"])
    );
    assert!(
        state.ports.iter().any(|p| p.id == gateway.port_id)
            && state
                .ports
                .iter()
                .any(|p| p.id == router.interfaces[0].port_id)
    );

    let path = format!("/v2.0/floatingips/{}", text(&fip["id"]));
    let status = neutron_types::rpc::FloatingIpStatus {
        id: text(&fip["id"]),
        status: "ACTIVE".into(),
    };
    house
        .plugin()
        .floatingips_status(
            &oslo_context::RequestContext::internal(),
            "node1".into(),
            vec![status],
        )
        .await
        .unwrap();
    assert_eq!(
        house.get("alice-p1", &path).await["floatingip"]["status"],
        "ACTIVE"
    );
    let refused = |token: &'static str, method: &'static str, path: String, body: Option<Value>| async move {
        house.refused(token, method, &path, body).await.1
    };
    let remove = format!("/v2.0/routers/{}/remove_router_interface", w.router);
    assert_eq!(
        refused(
            "alice-p1",
            "PUT",
            remove,
            Some(json!({"subnet_id": w.subnet}))
        )
        .await,
        "RouterInterfaceInUseByFloatingIP"
    );
    let no_gateway = json!({"router": {"external_gateway_info": {}}});
    assert_eq!(
        refused(
            "alice-p1",
            "PUT",
            format!("/v2.0/routers/{}", w.router),
            Some(no_gateway)
        )
        .await,
        "RouterExternalGatewayInUseByFloatingIp"
    );
    assert_eq!(
        refused("bob-p2", "DELETE", path.clone(), None).await,
        "FloatingIPNotFound"
    );

    let free = house
        .put("alice-p1", &path, json!({"floatingip": {"port_id": null}}))
        .await;
    assert_eq!(
        (
            &free["floatingip"]["router_id"],
            &free["floatingip"]["status"]
        ),
        (&Value::Null, &json!("DOWN"))
    );
    assert!(
        house.state("node1").await.routers[0]
            .floating_ips
            .is_empty()
    );
    house
        .put(
            "alice-p1",
            &path,
            json!({"floatingip": {"port_id": port["id"]}}),
        )
        .await;
    house
        .delete("alice-p1", &format!("/v2.0/ports/{}", text(&port["id"])))
        .await;
    assert_eq!(
        house.get("alice-p1", &path).await["floatingip"]["port_id"],
        Value::Null
    );
    house.delete("alice-p1", &path).await;
}

#[tokio::test]
async fn legs_keep_a_router_and_its_ports() {
    let w = world().await;
    let house = &w.house;
    let leg = w
        .router("add_router_interface", json!({"subnet_id": w.subnet}))
        .await;
    let twice = house
        .refused(
            "alice-p1",
            "PUT",
            &format!("/v2.0/routers/{}/add_router_interface", w.router),
            Some(json!({"subnet_id": w.subnet})),
        )
        .await;
    assert_eq!(twice.0, 400, "{twice:?}");
    let port = format!("/v2.0/ports/{}", text(&leg["port_id"]));
    assert_eq!(
        house.refused("alice-p1", "DELETE", &port, None).await.1,
        "ServicePortInUse"
    );
    let router = format!("/v2.0/routers/{}", w.router);
    assert_eq!(
        house.refused("alice-p1", "DELETE", &router, None).await.1,
        "RouterInUse"
    );
    assert_eq!(
        house
            .refused(
                "alice-p1",
                "DELETE",
                &format!("/v2.0/subnets/{}", w.subnet),
                None
            )
            .await
            .1,
        "SubnetInUse"
    );
    let gone = w
        .router("remove_router_interface", json!({"subnet_id": w.subnet}))
        .await;
    assert_eq!(gone["port_id"], leg["port_id"]);
    let none = house
        .refused(
            "alice-p1",
            "PUT",
            &format!("{router}/remove_router_interface"),
            Some(json!({"subnet_id": w.subnet})),
        )
        .await;
    assert_eq!(
        (none.0, none.1.as_str()),
        (404, "RouterInterfaceNotFoundForSubnet")
    );
    house.delete("alice-p1", &router).await;
    assert!(house.state("node1").await.routers.is_empty());
}

#[tokio::test]
async fn routes_lead_to_neighbours() {
    let w = world().await;
    w.router("add_router_interface", json!({"subnet_id": w.subnet}))
        .await;
    let route =
        |hop: &str| json!({"router": {"routes": [{"destination": "10.9.0.0/24", "nexthop": hop}]}});
    let path = format!("/v2.0/routers/{}", w.router);
    assert_eq!(
        w.house
            .refused("alice-p1", "PUT", &path, Some(route("10.8.0.1")))
            .await
            .1,
        "InvalidRoutes"
    );
    assert_eq!(
        w.house
            .refused("alice-p1", "PUT", &path, Some(route("10.0.0.1")))
            .await
            .1,
        "InvalidRoutes"
    );
    w.router("add_extraroutes", route("10.0.0.9")).await;
    assert_eq!(w.house.state("node1").await.routers[0].routes.len(), 1);
    let after = w.router("remove_extraroutes", route("10.0.0.9")).await;
    assert_eq!(after["router"]["routes"], json!([]));
    let snat = json!({"router": {"external_gateway_info": {"network_id": w.external, "enable_snat": false}}});
    assert_eq!(
        w.house
            .refused("alice-p1", "PUT", &path, Some(snat.clone()))
            .await
            .0,
        403
    );
    let changed = w.house.put("admin", &path, snat).await;
    assert_eq!(
        changed["router"]["external_gateway_info"]["enable_snat"],
        false
    );
    assert!(
        !w.house.state("node1").await.routers[0]
            .gateway
            .as_ref()
            .unwrap()
            .enable_snat
    );
}

/// A router's agent dies: another one takes it over, and what the old one says of it counts no more.
#[tokio::test]
async fn a_router_moves_away_from_a_dead_agent() {
    let w = world().await;
    let house = &w.house;
    w.router("add_router_interface", json!({"subnet_id": w.subnet}))
        .await;
    let port = house.port("alice-p1", json!({"network_id": w.net})).await;
    let body = json!({"floatingip": {"floating_network_id": w.external, "port_id": port["id"]}});
    let made = house.post("alice-p1", "/v2.0/floatingips", body).await;
    let id = text(&made["floatingip"]["id"]);
    let told = async |host: &str, status: &str| {
        let status = neutron_types::rpc::FloatingIpStatus {
            id: id.clone(),
            status: status.into(),
        };
        let ctx = oslo_context::RequestContext::internal();
        let told = house.plugin();
        told.floatingips_status(&ctx, host.into(), vec![status])
            .await
            .unwrap();
        let path = format!("/v2.0/floatingips/{id}");
        house.get("alice-p1", &path).await["floatingip"]["status"].clone()
    };
    assert_eq!(told("node1", "ACTIVE").await, "ACTIVE");

    house.clock.advance(std::time::Duration::from_secs(100));
    house.agents("node22").await;
    let state = house.state("node22").await;
    assert_eq!(state.routers[0].floating_ips[0].id, id);
    assert!(state.routers[0].gateway.is_some());
    // Both legs of the router, and the DHCP server of its network.
    assert_eq!(state.ports.len(), 3);
    let old = house.state("node1").await;
    assert!(old.routers.is_empty() && old.ports.is_empty());
    assert_eq!(told("node1", "ACTIVE").await, "DOWN", "it is not there");
    assert_eq!(told("node22", "ACTIVE").await, "ACTIVE");
    assert_eq!(told("node1", "ERROR").await, "ACTIVE");
    // It returns, and finds no work that is another's now.
    house.agents("node1").await;
    assert!(house.state("node1").await.routers.is_empty());
    assert_eq!(house.state("node22").await.routers.len(), 1);
}

/// An external network takes the floating addresses along that lead nowhere, and is kept by the others.
#[tokio::test]
async fn a_network_goes_with_its_idle_floating_addresses() {
    let w = world().await;
    let house = &w.house;
    let flat = json!({"router:external": true});
    let other = house.network("admin", flat).await;
    let body = json!({"network_id": other, "cidr": "198.51.100.0/24", "ip_version": 4, "enable_dhcp": false});
    house
        .post("admin", "/v2.0/subnets", json!({"subnet": body}))
        .await;
    let ip = json!({"floatingip": {"floating_network_id": other}});
    let made = house.post("alice-p1", "/v2.0/floatingips", ip).await;
    let path = format!("/v2.0/floatingips/{}", text(&made["floatingip"]["id"]));
    house
        .delete("admin", &format!("/v2.0/networks/{other}"))
        .await;
    let gone = house.refused("alice-p1", "GET", &path, None).await;
    assert_eq!(gone.1, "FloatingIPNotFound");
    let ports = format!("/v2.0/ports?network_id={other}");
    assert_eq!(house.get("admin", &ports).await["ports"], json!([]));

    w.router("add_router_interface", json!({"subnet_id": w.subnet}))
        .await;
    let port = house.port("alice-p1", json!({"network_id": w.net})).await;
    let ip = json!({"floatingip": {"floating_network_id": w.external, "port_id": port["id"]}});
    house.post("alice-p1", "/v2.0/floatingips", ip).await;
    let kept = house
        .refused(
            "admin",
            "DELETE",
            &format!("/v2.0/networks/{}", w.external),
            None,
        )
        .await;
    assert_eq!((kept.0, kept.1.as_str()), (409, "NetworkInUse"));
}
