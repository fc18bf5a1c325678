//! Driver `bridge`: a kernel bridge per network, VXLAN between hosts, nft for what may pass.
//!
//! One pass goes outside in: bridges, filters, then whatever is plugged into them; so a device never forwards unfiltered.

use crate::config::Settings;
use crate::driver::{Applied, Driver};
use crate::owned::{self, List, Owned};
use crate::plan::{Bridge, Leg, Plan, Tunnel, plan};
use crate::{dhcp, l3};
use async_trait::async_trait;
use base::{Error, Result};
use host_netns::firewall::{self, Firewall};
use host_netns::link::{self, Batch, FloodBatch, Link};
use host_netns::nft::{self, Family};
use host_netns::{Id, IfName, ns};
use ipnet::IpNet;
use neutron_types::rpc::{FloatingIpStatus, HostState, MetadataSource};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::sync::Mutex;

/// The driver.
pub struct BridgeDriver {
    settings: Settings,
    memory: Mutex<Memory>,
}

/// What is known from one pass to the next; nothing here is needed to be right, only to be quick.
struct Memory {
    owned: Owned,
    numbers: HashMap<IfName, u16>,
    filters: String,
    judged: HashMap<IfName, String>,
}

/// Devices by name.
pub type Links = BTreeMap<String, Link>;

impl BridgeDriver {
    /// Reads what earlier runs made.
    pub fn new(settings: Settings) -> Result<BridgeDriver> {
        let owned = Owned::load(&settings.state_path)?;
        let memory = Memory {
            owned,
            numbers: HashMap::new(),
            filters: String::new(),
            judged: HashMap::new(),
        };
        Ok(BridgeDriver {
            settings,
            memory: Mutex::new(memory),
        })
    }
}

/// The devices of our own namespace, or of another.
pub async fn links(namespace: Option<&host_netns::Namespace>) -> Result<Links> {
    Ok(link::list(namespace)
        .await?
        .into_iter()
        .map(|l| (l.name.clone(), l))
        .collect())
}

#[async_trait]
impl Driver for BridgeDriver {
    async fn apply(&self, state: &HostState, everything: bool) -> Result<Applied> {
        let mut memory = self.memory.lock().await;
        let mut plan = plan(state, &self.settings);
        let mut applied = Applied {
            problems: std::mem::take(&mut plan.problems),
            ..Applied::default()
        };
        let mut links = links(None).await?;
        // A bridge that was there before us is used, but stays when we go.
        let adopted: BTreeSet<IfName> = plan
            .bridges
            .keys()
            .filter(|n| is_foreign(&links, n, &self.settings))
            .cloned()
            .collect();
        let made: BTreeSet<IfName> = plan.links().difference(&adopted).cloned().collect();
        memory.owned.add(plan.namespaces(), made.clone())?;
        bridges(&plan, &links, &self.settings).await?;
        if let Err(e) = borrow(&mut memory.owned, &plan, &links, &self.settings).await {
            applied.problems.push(e.to_string());
        }
        if self.settings.l2 {
            if let Err(e) = tunnels(&plan).await {
                applied.problems.push(format!("tunnels: {e}"));
            }
            filters(&mut memory, &mut plan.firewall, &self.settings, everything).await?;
        }
        remove_unwanted(
            &mut memory,
            &plan,
            &made,
            &links,
            &self.settings,
            &mut applied,
        )
        .await;
        links = self::links(None).await?;
        let ready = |leg: &Leg| links.contains_key(leg.bridge.as_str());
        for dhcp in plan.dhcp.iter().filter(|_| self.settings.dhcp) {
            if !ready(&dhcp.leg) {
                applied.incomplete = true;
                continue;
            }
            match dhcp::ensure(dhcp, &links, &self.settings, everything).await {
                Ok(()) => drop(applied.up.insert(dhcp.leg.port.to_string())),
                Err(e) => applied
                    .problems
                    .push(format!("DHCP of network {}: {e}", dhcp.network)),
            }
        }
        for router in plan.routers.iter().filter(|_| self.settings.l3) {
            if !router.legs.iter().all(ready) {
                applied.incomplete = true;
                continue;
            }
            let result = l3::ensure(router, &links, &self.settings, everything).await;
            let status = match (&result, router.on) {
                (Ok(()), true) => "ACTIVE",
                (Ok(()), false) => "DOWN",
                (Err(_), _) => "ERROR",
            };
            applied
                .floating
                .extend(router.floating.iter().map(|id| FloatingIpStatus {
                    id: id.clone(),
                    status: status.into(),
                }));
            match result {
                Ok(()) => applied
                    .up
                    .extend(router.legs.iter().map(|l| l.port.to_string())),
                Err(e) => applied.problems.push(format!("router {}: {e}", router.id)),
            }
        }
        if self.settings.metadata {
            metadata(&plan, &mut applied);
        }
        if self.settings.l2 {
            guests(&plan, &links, &mut applied).await;
        }
        Ok(applied)
    }

    fn fingerprint(&self, state: &HostState) -> u64 {
        let mut hasher = DefaultHasher::new();
        for port in state
            .ports
            .iter()
            .filter(|p| !p.device_owner.starts_with("network:"))
        {
            let tap = Id::parse(&port.id).map(|id| IfName::tap(&id));
            tap.ok().and_then(|t| link::index(&t)).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn is_foreign(links: &Links, name: &IfName, settings: &Settings) -> bool {
    links
        .get(name.as_str())
        .is_some_and(|l| l.alias.as_deref() != Some(&settings.tag.alias()))
}

async fn bridges(plan: &Plan, links: &Links, settings: &Settings) -> Result<()> {
    let mut batch = Batch::new();
    // Networks' bridges are the layer 2 agent's alone, so that it never takes one away that another agent counts on.
    let ours = |b: &&Bridge| settings.l2 || (settings.l3 && b.external);
    for bridge in plan.bridges.values().filter(ours) {
        let name = &bridge.name;
        let now = links.get(name.as_str());
        if now.is_none() {
            batch.add_bridge(name, true);
            batch.set_alias(name, &settings.tag);
            if !bridge.external {
                batch.no_addresses(name);
            }
        }
        // An adopted bridge keeps its packet size and addresses, apart from those we are told to add.
        let ours = !is_foreign(links, name, settings);
        if ours && now.is_none_or(|l| l.mtu != bridge.mtu) {
            batch.set_mtu(name, bridge.mtu);
        }
        if now.is_none_or(|l| !l.up) {
            batch.set_up(name);
        }
        if bridge.external && settings.l3 {
            for address in &settings.external_addresses {
                if now.is_none_or(|l| !l.addresses.contains(address)) {
                    batch.add_address(name, address);
                }
            }
        }
        if let (
            Some(Tunnel {
                name: tunnel, vni, ..
            }),
            Some(local),
        ) = (&bridge.tunnel, settings.local_ip)
        {
            let there = links.get(tunnel.as_str());
            let right = there.is_some_and(|l| l.local == Some(local));
            if there.is_some() && !right {
                batch.delete(tunnel);
            }
            if !right {
                batch.add_vxlan(tunnel, *vni, local, settings.vxlan_port);
                batch.set_alias(tunnel, &settings.tag);
                batch.no_addresses(tunnel);
            }
            let there = there.filter(|_| right);
            plug(&mut batch, there, tunnel, name, bridge.mtu);
        }
    }
    batch.run(None).await?;
    let outside = settings.l3 && plan.bridges.contains_key(&settings.external_bridge);
    if outside && settings.external_masquerade {
        masquerade(settings).await?;
    }
    Ok(())
}

/// Puts a device on its bridge, where it differs.
pub fn plug(batch: &mut Batch, now: Option<&Link>, name: &IfName, bridge: &IfName, mtu: u32) {
    if now.is_none_or(|l| l.mtu != mtu) {
        batch.set_mtu(name, mtu);
    }
    if now.is_none_or(|l| l.master.as_deref() != Some(bridge.as_str())) {
        batch.set_master(name, bridge);
    }
    if now.is_none_or(|l| !l.up) {
        batch.set_up(name);
    }
}

async fn masquerade(settings: &Settings) -> Result<()> {
    let bridge = &settings.external_bridge;
    let sources: Vec<String> = settings
        .external_addresses
        .iter()
        .filter(|a| matches!(a, IpNet::V4(_)))
        .map(|a| a.trunc().to_string())
        .collect();
    if sources.is_empty() {
        return Ok(());
    }
    ns::write_sysctl("ipv4/ip_forward", "1")?;
    let body = format!(
        "  chain postrouting {{ type nat hook postrouting priority srcnat; policy accept;\n    ip saddr {{ {} }} oifname != {{ \"{bridge}\", \"lo\" }} masquerade\n  }}\n",
        sources.join(", ")
    );
    nft::apply(
        None,
        &nft::replacing(Family::Ip, &settings.tag.table(), &body),
    )
    .await
}

/// Has every tunnel flood to the hosts of its network and to no others.
async fn tunnels(plan: &Plan) -> Result<()> {
    let tunnels = plan.bridges.values().filter_map(|b| b.tunnel.as_ref());
    let tunnels: Vec<&Tunnel> = tunnels.collect();
    if tunnels.is_empty() {
        return Ok(());
    }
    let mut now = link::tunnel_entries().await?;
    let mut batch = FloodBatch::new();
    for tunnel in tunnels {
        let now = now.remove(tunnel.name.as_str()).unwrap_or_default();
        for peer in tunnel.peers.difference(&now.peers) {
            batch.add(&tunnel.name, *peer);
        }
        for peer in now.peers.difference(&tunnel.peers) {
            // What was there is elsewhere now, or nowhere: ask everybody again.
            for (mac, _) in now.learnt.iter().filter(|(_, end)| end == peer) {
                batch.forget(&tunnel.name, mac, *peer);
            }
            batch.remove(&tunnel.name, *peer);
        }
    }
    batch.run().await
}

/// Puts the operator's interface into the external bridge, and takes out what is no longer to be there.
async fn borrow(owned: &mut Owned, plan: &Plan, links: &Links, settings: &Settings) -> Result<()> {
    let bridge = plan.bridges.get(&settings.external_bridge);
    // The layer 3 agent's bridge may be there for reasons that this process does not see.
    if bridge.is_none() && !settings.l3 {
        return Ok(());
    }
    let wanted = settings
        .external_interface
        .as_ref()
        .filter(|_| bridge.is_some());
    let old: Vec<IfName> = owned.list.borrowed.iter().cloned().collect();
    for name in old.iter().filter(|n| Some(*n) != wanted) {
        give_back(name, links, settings).await?;
        owned.change(|list| {
            list.borrowed.remove(name);
        })?;
    }
    let Some(name) = wanted else { return Ok(()) };
    let Some(now) = links.get(name.as_str()) else {
        let words = format!("the external interface {name} is not on this host");
        return Err(Error::not_found(words));
    };
    let inside = now.master.as_deref() == Some(settings.external_bridge.as_str());
    if inside && now.up {
        return Ok(());
    }
    // In a bridge they would no longer answer: somebody would lose the way to this host.
    if let Some(address) = now.addresses.first() {
        let words = format!(
            "the external interface {name} has addresses ({address}); take them away first"
        );
        return Err(Error::bad_request(words));
    }
    if let Some(other) = now.master.as_deref().filter(|_| !inside) {
        let words = format!("the external interface {name} belongs to {other}; take it out first");
        return Err(Error::bad_request(words));
    }
    let mut batch = Batch::new();
    if !inside {
        owned.change(|list| {
            list.borrowed.insert(name.clone());
        })?;
        batch.set_master(name, &settings.external_bridge);
    }
    batch.set_up(name);
    batch.run(None).await
}

/// Takes an interface out of the external bridge, if it is still there.
async fn give_back(name: &IfName, links: &Links, settings: &Settings) -> Result<()> {
    let now = links.get(name.as_str()).and_then(|l| l.master.as_deref());
    if now != Some(settings.external_bridge.as_str()) {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.no_master(name);
    batch.run(None).await
}

async fn filters(
    memory: &mut Memory,
    wanted: &mut Firewall,
    settings: &Settings,
    everything: bool,
) -> Result<()> {
    memory
        .numbers
        .retain(|tap, _| wanted.ports.iter().any(|p| p.tap == *tap));
    for port in &mut wanted.ports {
        port.number = match memory.numbers.get(&port.tap) {
            Some(number) => *number,
            None => {
                let free = (1..u16::MAX).find(|n| !memory.numbers.values().any(|used| used == n));
                let number =
                    free.ok_or_else(|| Error::internal("more ports on one host than numbers"))?;
                memory.numbers.insert(port.tap.clone(), number);
                number
            }
        };
    }
    let text = firewall::transaction(&settings.tag, wanted);
    if text == memory.filters && !everything {
        return Ok(());
    }
    nft::apply(None, &text).await?;
    // Connections that an old rule allowed end with it.
    let zones: HashMap<&IfName, u16> = wanted
        .bridges
        .iter()
        .filter_map(|b| Some((&b.name, b.zone?)))
        .collect();
    let mut judged = HashMap::new();
    for port in &wanted.ports {
        let groups: Vec<_> = wanted
            .groups
            .iter()
            .filter(|g| port.groups.contains(&g.id))
            .collect();
        let rules = format!("{} {groups:?}", port.enabled);
        let before = memory.judged.get(&port.tap);
        if before.is_some_and(|b| *b != rules) {
            for address in port
                .pairs
                .iter()
                .filter_map(|(_, net)| firewall::single(net))
            {
                for zone in zones.values() {
                    nft::forget_connections(*zone, address).await;
                }
            }
        }
        judged.insert(port.tap.clone(), rules);
    }
    memory.judged = judged;
    memory.filters = text;
    Ok(())
}

async fn remove_unwanted(
    memory: &mut Memory,
    plan: &Plan,
    made: &BTreeSet<IfName>,
    links: &Links,
    settings: &Settings,
    applied: &mut Applied,
) {
    let namespaces = plan.namespaces();
    let mine = |name: &str| {
        (settings.dhcp && name.starts_with("qdhcp-"))
            || (settings.l3 && name.starts_with("qrouter-"))
    };
    let stale: Vec<_> = memory
        .owned
        .list
        .namespaces
        .difference(&namespaces)
        .filter(|n| mine(n.as_str()))
        .cloned()
        .collect();
    let (mut spaces_gone, mut links_gone) = (BTreeSet::new(), BTreeSet::new());
    for namespace in stale {
        let name = namespace.as_str();
        let result = async {
            if let Some(id) = name.strip_prefix("qdhcp-") {
                host_netns::dnsmasq::remove(&settings.state_path.join("dhcp").join(id)).await?;
            }
            if let Some(id) = name.strip_prefix("qrouter-") {
                host_netns::radvd::remove(&settings.state_path.join("routers").join(id)).await?;
            }
            ns::delete(&namespace).await
        };
        match result.await {
            Ok(()) => drop(spaces_gone.insert(namespace)),
            Err(e) => applied.problems.push(format!("removing {name}: {e}")),
        }
    }
    // Ports that are no longer wanted leave their bridge even though the device is not ours to remove.
    let bridges: BTreeSet<&str> = plan
        .bridges
        .values()
        .filter(|b| !b.external)
        .map(|b| b.name.as_str())
        .collect();
    let wanted: BTreeSet<&IfName> = plan.guests.iter().map(|g| &g.tap).chain(made).collect();
    let alias = settings.tag.alias();
    let mut batch = Batch::new();
    for link in links
        .values()
        .filter(|l| settings.l2 && l.alias.as_deref() != Some(&alias))
        .filter(|l| l.master.as_deref().is_some_and(|m| bridges.contains(m)))
    {
        if let Ok(name) = IfName::parse(&link.name)
            && name.as_str().starts_with("tap")
            && !wanted.contains(&name)
            && !memory.owned.list.links.contains(&name)
        {
            batch.no_master(&name);
        }
    }
    if let Err(e) = batch.run(None).await {
        applied.problems.push(format!("unplugging: {e}"));
    }
    let tagged = links
        .values()
        .filter(|l| l.alias.as_deref() == Some(&alias))
        .filter_map(|l| IfName::parse(&l.name).ok());
    // Beside other agents only what is certainly this one's: they may know more of the network than is known here.
    let others = ["dhcp", "l3"].iter();
    let alone = !others
        .into_iter()
        .any(|a| !settings.here().contains(a) && owned::is_elsewhere(&settings.state_path, a));
    let removes = |name: &IfName| {
        let text = name.as_str();
        alone
            || text.starts_with("brq")
            || text.starts_with("vxlan-")
            || link::index(name).is_none()
    };
    let stale: BTreeSet<IfName> = memory
        .owned
        .list
        .links
        .iter()
        .cloned()
        .chain(tagged)
        .filter(|n| settings.l2 && !made.contains(n) && removes(n))
        .collect();
    for name in stale {
        match delete_link(&name).await {
            Ok(()) => drop(links_gone.insert(name)),
            Err(e) => applied.problems.push(format!("removing {name}: {e}")),
        }
    }
    let written = memory.owned.change(|list| {
        list.namespaces.retain(|n| !spaces_gone.contains(n));
        list.links.retain(|n| !links_gone.contains(n));
    });
    if let Err(e) = written {
        applied
            .problems
            .push(format!("the list of what was made: {e}"));
    }
}

async fn delete_link(name: &IfName) -> Result<()> {
    if link::index(name).is_none() {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.delete(name);
    match batch.run(None).await {
        // It may have gone with its namespace meanwhile.
        Err(_) if link::index(name).is_none() => Ok(()),
        other => other,
    }
}

/// Where metadata must be served: in namespaces that are there, this process's or another's.
fn metadata(plan: &Plan, applied: &mut Applied) {
    let networks = plan.dhcp.iter().filter(|d| d.metadata).map(|d| {
        let source = MetadataSource::Network(d.network.to_string());
        (d.namespace.clone(), source)
    });
    let routers = plan.routers.iter().filter(|r| r.on).map(|r| {
        let source = MetadataSource::Router(r.id.to_string());
        (r.namespace.clone(), source)
    });
    let (there, absent): (Vec<_>, Vec<_>) =
        networks.chain(routers).partition(|(n, _)| ns::exists(n));
    applied.incomplete |= !absent.is_empty();
    applied.metadata = there;
}

async fn guests(plan: &Plan, links: &Links, applied: &mut Applied) {
    for guest in &plan.guests {
        let Some(now) = links.get(guest.tap.as_str()) else {
            applied.missing.insert(guest.port.to_string());
            continue;
        };
        let mut batch = Batch::new();
        plug(&mut batch, Some(now), &guest.tap, &guest.bridge, guest.mtu);
        match batch.run(None).await {
            Ok(()) if !guest.enabled => {}
            Ok(()) => drop(applied.up.insert(guest.port.to_string())),
            Err(e) => {
                applied.missing.insert(guest.port.to_string());
                applied.problems.push(format!("port {}: {e}", guest.port));
            }
        }
    }
}

/// Removes everything that the agents of this configuration ever made on this host and did not remove.
pub async fn teardown(settings: &Settings) -> Result<()> {
    let mut owned = Owned::load(&settings.state_path)?;
    for (folder, is_dhcp) in [("dhcp", true), ("routers", false)] {
        let Ok(entries) = std::fs::read_dir(settings.state_path.join(folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            if is_dhcp {
                host_netns::dnsmasq::remove(&entry.path()).await?;
            } else {
                host_netns::radvd::remove(&entry.path()).await?;
            }
        }
        std::fs::remove_dir_all(settings.state_path.join(folder))?;
    }
    for namespace in std::mem::take(&mut owned.list.namespaces) {
        ns::delete(&namespace).await?;
    }
    let links = links(None).await?;
    for name in std::mem::take(&mut owned.list.borrowed) {
        give_back(&name, &links, settings).await?;
    }
    let alias = settings.tag.alias();
    let tagged = links
        .values()
        .filter(|l| l.alias.as_deref() == Some(&alias))
        .filter_map(|l| IfName::parse(&l.name).ok());
    let listed: BTreeSet<IfName> = std::mem::take(&mut owned.list.links)
        .into_iter()
        .chain(tagged)
        .collect();
    for name in listed {
        delete_link(&name).await?;
    }
    let mut tables: Vec<(Family, String)> = firewall::tables(&settings.tag).into();
    tables.push((Family::Ip, settings.tag.table()));
    let tables: Vec<(Family, &str)> = tables.iter().map(|(f, n)| (*f, n.as_str())).collect();
    nft::delete(&tables).await?;
    owned.change(|list| *list = List::default())
}
