//! What two requests do to each other on MariaDB, where each sees what the other has committed and nothing of what it has not.

use crate::house::{House, text};
use base::{Clock, Timestamp};
use futures::future::join_all;
use neutron::Conf;
use oslo_messaging::Bus;
use oslo_testing::db::MariaDb;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ROUNDS: usize = 12;

/// Two servers of one cloud.
struct Pair {
    _server: MariaDb,
    one: House,
    two: House,
}

impl Pair {
    async fn new() -> Pair {
        let server = MariaDb::start().await.unwrap();
        let url = server.database().await.unwrap();
        let bus = Bus::in_process();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let conf = || Conf {
            quota_port: -1,
            quota_network: -1,
            quota_subnet: -1,
            quota_router: -1,
            quota_security_group: -1,
            quota_floatingip: -1,
            ..Conf::default()
        };
        let house = |name| {
            let (bus, clock) = (bus.clone(), clock.clone());
            House::server(name, &url, bus, clock, conf(), None)
        };
        let pair = Pair {
            one: house("one").await,
            two: house("two").await,
            _server: server,
        };
        pair.one.agents("node1").await;
        pair
    }

    async fn ids(&self, path: &str, key: &str) -> BTreeSet<String> {
        let body = self.one.get("admin", path).await;
        let list = body[key].as_array().unwrap().iter();
        list.map(|item| text(&item["id"])).collect()
    }

    /// A network with a subnet.
    async fn network(&self, cidr: &str) -> (String, String) {
        let network = self.one.network("alice-p1", json!({})).await;
        let subnet = self.one.subnet("alice-p1", &network, cidr).await;
        (network, subnet)
    }

    async fn port(&self, body: Value) -> (u16, Value) {
        let body = Some(json!({"port": body}));
        self.two.call("alice-p1", "POST", "/v2.0/ports", body).await
    }

    async fn gone(&self, path: String) -> u16 {
        self.one.call("alice-p1", "DELETE", &path, None).await.0
    }

    /// A router with a way out, a network behind it, and the network outside.
    async fn routed(&self, cidr: &str, outside: &str) -> (String, String, String) {
        let (network, subnet) = self.network(cidr).await;
        let body = json!({"router": {"external_gateway_info": {"network_id": outside}}});
        let router = self.one.post("alice-p1", "/v2.0/routers", body).await;
        let router = text(&router["router"]["id"]);
        let (status, body) = self.interface(&self.one, &router, "add", &subnet).await;
        assert_eq!(status, 200, "{body}");
        (network, subnet, router)
    }

    async fn interface(
        &self,
        house: &House,
        router: &str,
        verb: &str,
        subnet: &str,
    ) -> (u16, Value) {
        let path = format!("/v2.0/routers/{router}/{verb}_router_interface");
        let body = Some(json!({"subnet_id": subnet}));
        house.call("alice-p1", "PUT", &path, body).await
    }

    async fn outside(&self) -> String {
        let body = json!({"router:external": true});
        let network = self.one.network("admin", body).await;
        self.one.subnet("admin", &network, "198.18.0.0/16").await;
        network
    }
}

/// What is deleted has nothing that is made in it at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_and_the_end_of_what_it_is_in() {
    let pair = Pair::new().await;
    let mut both = 0;
    for round in 0..ROUNDS {
        // Its subnet.
        let (network, subnet) = pair.network("10.0.0.0/24").await;
        let ports = || join_all((0..4).map(|_| pair.port(json!({"network_id": network}))));
        let (_, _) = tokio::join!(ports(), pair.gone(format!("/v2.0/subnets/{subnet}")));
        let subnets = pair.ids("/v2.0/subnets", "subnets").await;
        let path = format!("/v2.0/ports?network_id={network}");
        let found = pair.one.get("admin", &path).await;
        for port in found["ports"].as_array().unwrap() {
            for fixed in port["fixed_ips"].as_array().unwrap() {
                let subnet = text(&fixed["subnet_id"]);
                assert!(subnets.contains(&subnet), "{round}: {port} has no subnet");
            }
        }
        // Its network.
        let (network, _) = pair.network("10.0.0.0/24").await;
        let ports = || join_all((0..4).map(|_| pair.port(json!({"network_id": network}))));
        let (made, gone) = tokio::join!(ports(), pair.gone(format!("/v2.0/networks/{network}")));
        let made = made.iter().filter(|(status, _)| *status == 201).count();
        both += usize::from(made > 0 && gone == 204);
        let path = format!("/v2.0/ports?network_id={network}");
        let left = pair.ids(&path, "ports").await.len();
        assert!(gone != 204 || left == 0, "{round}: {left} ports of nothing");
        // Its group.
        let body = json!({"security_group": {"name": "g"}});
        let group = pair.one.post("alice-p1", "/v2.0/security-groups", body);
        let group = text(&group.await["security_group"]["id"]);
        let (network, _) = pair.network("10.0.0.0/24").await;
        let body = || json!({"network_id": network, "security_groups": [group]});
        let ports = join_all((0..4).map(|_| pair.port(body())));
        let path = format!("/v2.0/security-groups/{group}");
        let (made, gone) = tokio::join!(ports, pair.gone(path));
        let made = made.iter().filter(|(status, _)| *status == 201).count();
        assert!(
            gone != 204 || made == 0,
            "{round}: {made} ports in no group"
        );
    }
    assert_eq!(both, 0, "made in a network and gone with it");
}

/// A floating address never leads to what is gone, nor by a way that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_floating_address_and_the_end_of_what_it_leads_to() {
    let pair = Pair::new().await;
    let outside = pair.outside().await;
    let (network, subnet, router) = pair.routed("10.0.0.0/24", &outside).await;
    let mut floating = Vec::new();
    for _ in 0..4 {
        let body = json!({"floatingip": {"floating_network_id": outside}});
        let made = pair.one.post("alice-p1", "/v2.0/floatingips", body).await;
        floating.push(text(&made["floatingip"]["id"]));
    }
    let lead = async |id: &str, port: Value| {
        let body = Some(json!({"floatingip": {"port_id": port}}));
        let path = format!("/v2.0/floatingips/{id}");
        pair.two.call("alice-p1", "PUT", &path, body).await.0
    };
    for round in 0..ROUNDS {
        // The port.
        let made = join_all((0..4).map(|_| pair.port(json!({"network_id": network})))).await;
        let ports: Vec<String> = made.iter().map(|(_, b)| text(&b["port"]["id"])).collect();
        let leads = floating.iter().zip(&ports).map(|(f, p)| lead(f, json!(p)));
        let ends = ports.iter().map(|p| pair.gone(format!("/v2.0/ports/{p}")));
        tokio::join!(join_all(leads), join_all(ends));
        let left = pair.ids("/v2.0/ports", "ports").await;
        let found = pair.one.get("admin", "/v2.0/floatingips").await;
        for f in found["floatingips"].as_array().unwrap() {
            let to = f["port_id"].as_str();
            assert!(to.is_none_or(|p| left.contains(p)), "{round}: {f}");
        }
        // Two addresses for one port: one of them.
        let (_, made) = pair.port(json!({"network_id": network})).await;
        let port = made["port"]["id"].clone();
        let leads = join_all(floating.iter().map(|f| lead(f, port.clone()))).await;
        let won = leads.iter().filter(|s| **s == 200).count();
        assert_eq!(won, 1, "{round}: {leads:?}");
        join_all(floating.iter().map(|f| lead(f, Value::Null))).await;
        // The router's leg.
        let (led, (gone, _)) = tokio::join!(
            lead(&floating[0], port.clone()),
            pair.interface(&pair.one, &router, "remove", &subnet)
        );
        assert!(led != 200 || gone != 200, "{round}: an address by no way");
        lead(&floating[0], Value::Null).await;
        pair.gone(format!("/v2.0/ports/{}", text(&port))).await;
        if gone == 200 {
            let (status, body) = pair.interface(&pair.one, &router, "add", &subnet).await;
            assert_eq!(status, 200, "{body}");
        }
    }
}

/// Of those who ask at the same time for what only one may have, one has it.
#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_those_who_ask_at_once() {
    let pair = Pair::new().await;
    let won = |statuses: &[u16], good: u16| statuses.iter().filter(|s| **s == good).count();
    for round in 0..ROUNDS {
        // Networks of a router do not overlap.
        let (_, wide) = pair.network("10.0.0.0/16").await;
        let (_, narrow) = pair.network("10.0.7.0/24").await;
        let router = pair
            .one
            .post("alice-p1", "/v2.0/routers", json!({"router": {}}));
        let router = text(&router.await["router"]["id"]);
        let (a, b) = tokio::join!(
            pair.interface(&pair.one, &router, "add", &wide),
            pair.interface(&pair.two, &router, "add", &narrow)
        );
        let statuses = [a.0, b.0];
        assert_eq!(won(&statuses, 200), 1, "{round}: {statuses:?}");
        // A router is not deleted under a leg.
        let (_, other) = pair.network("10.9.0.0/24").await;
        let fresh = pair
            .one
            .post("alice-p1", "/v2.0/routers", json!({"router": {}}));
        let fresh = text(&fresh.await["router"]["id"]);
        let ((added, _), gone) = tokio::join!(
            pair.interface(&pair.two, &fresh, "add", &other),
            pair.gone(format!("/v2.0/routers/{fresh}"))
        );
        assert!(added != 200 || gone != 204, "{round}: a leg of nothing");
        // One project, many first ports: one default group.
        let project = format!("alice-new{round}");
        let network = pair.one.network(&project, json!({})).await;
        let body = Some(json!({"port": {"network_id": network}}));
        let ports = (0..6).map(|i| {
            let house = [&pair.one, &pair.two][i % 2];
            house.call(&project, "POST", "/v2.0/ports", body.clone())
        });
        let statuses: Vec<u16> = join_all(ports).await.iter().map(|(s, _)| *s).collect();
        assert_eq!(won(&statuses, 201), 6, "{statuses:?}");
        let groups = pair.one.get(&project, "/v2.0/security-groups").await;
        assert_eq!(groups["security_groups"].as_array().unwrap().len(), 1);
        // The same hardware address, the same address.
        let (network, _) = pair.network("10.0.0.0/24").await;
        for same in [
            json!({"network_id": network, "mac_address": "fa:16:3e:00:00:01"}),
            json!({"network_id": network, "fixed_ips": [{"ip_address": "10.0.0.77"}]}),
        ] {
            let made = join_all((0..4).map(|_| pair.port(same.clone()))).await;
            let statuses: Vec<u16> = made.iter().map(|(s, _)| *s).collect();
            assert_eq!(won(&statuses, 201), 1, "{round}: {statuses:?}");
            assert_eq!(won(&statuses, 409), 3, "{round}: {statuses:?}");
        }
    }
    // At most one external network is the default.
    let default = |i: usize| {
        let body = json!({"network": {"router:external": true, "is_default": true}});
        let house = [&pair.one, &pair.two][i % 2];
        house.call("admin", "POST", "/v2.0/networks", Some(body))
    };
    let statuses: Vec<u16> = join_all((0..6).map(default))
        .await
        .iter()
        .map(|r| r.0)
        .collect();
    assert_eq!(won(&statuses, 201), 1, "{statuses:?}");
    // One agent serves a network, also if several are named at once.
    for host in ["node22", "node333", "node4444"] {
        pair.one.agents(host).await;
    }
    let agents = pair
        .one
        .get("admin", "/v2.0/agents?agent_type=DHCP+agent")
        .await;
    let agents: Vec<String> = agents["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| text(&a["id"]))
        .collect();
    for round in 0..ROUNDS {
        let (network, _) = pair.network("10.0.0.0/24").await;
        let path = format!("/v2.0/networks/{network}/dhcp-agents");
        let serves = pair.ids(&path, "agents").await;
        let serves = serves.first().unwrap();
        let path = format!("/v2.0/agents/{serves}/dhcp-networks/{network}");
        pair.one.delete("admin", &path).await;
        let give = agents.iter().zip(0usize..).map(|(agent, i)| {
            let house = [&pair.one, &pair.two][i % 2];
            let path = format!("/v2.0/agents/{agent}/dhcp-networks");
            let body = Some(json!({"network_id": network}));
            async move { house.call("admin", "POST", &path, body).await.0 }
        });
        let statuses = join_all(give).await;
        assert_eq!(won(&statuses, 201), 1, "{round}: {statuses:?}");
        let path = format!("/v2.0/networks/{network}/dhcp-agents");
        assert_eq!(pair.ids(&path, "agents").await.len(), 1);
    }
}

/// What a project may have it gets, and not one more.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_against_a_crowd() {
    let pair = Pair::new().await;
    let limits = json!({"quota": {"port": 5, "security_group_rule": 7}});
    pair.one.put("admin", "/v2.0/quotas/p1", limits).await;
    let (network, _) = pair.network("10.0.0.0/24").await;
    // The DHCP server's port counts, as upstream's does.
    let has = pair.ids("/v2.0/ports?project_id=p1", "ports").await.len();
    let made = join_all((0..12).map(|_| pair.port(json!({"network_id": network})))).await;
    let made = made.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(made + has, 5);
    assert_eq!(
        pair.ids("/v2.0/ports?project_id=p1", "ports").await.len(),
        5
    );
}
