//! Devices of a namespace: what is there, and batches of changes.

use crate::{IfName, Mac, Namespace, Tag, run};
use base::{Error, Result};
use host_privsep::Program;
use ipnet::IpNet;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

/// A device as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// Its number; a device made anew under the same name has another.
    pub index: u64,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub address: String,
    /// Largest packet.
    pub mtu: u32,
    /// Whether it was set up.
    pub up: bool,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// `bridge`, `veth`, `vxlan`, `tun`, …
    pub kind: Option<String>,
    /// Its alias; ours is [`Tag::alias`].
    pub alias: Option<String>,
    /// For tunnels, where they end here.
    pub local: Option<IpAddr>,
    /// Its addresses; link-local IPv6 ones are left out.
    pub addresses: Vec<IpNet>,
}

/// A route as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteEntry {
    /// Where to; `0.0.0.0/0` and `::/0` are the default routes.
    pub destination: IpNet,
    /// By which neighbour.
    pub via: IpAddr,
    /// Over which device.
    pub device: String,
}

/// All devices of a namespace (`None`: ours).
pub async fn list(namespace: Option<&Namespace>) -> Result<Vec<Link>> {
    let output = run::ip_json(namespace, &["-d", "addr", "show"]).await?;
    Ok(output.iter().filter_map(link).collect())
}

/// The number of a device of our namespace, if it is there: cheap enough to ask five times a second.
pub fn index(name: &IfName) -> Option<u32> {
    nix::net::if_::if_nametoindex(name.as_str()).ok()
}

/// The routes that lead through a neighbour, of both families.
pub async fn routes(namespace: Option<&Namespace>) -> Result<Vec<RouteEntry>> {
    let mut found = Vec::new();
    for family in ["-4", "-6"] {
        let output = run::ip_json(namespace, &[family, "route", "show"]).await?;
        found.extend(output.iter().filter_map(|v| route(v, family == "-6")));
    }
    Ok(found)
}

const ANYBODY: &str = "00:00:00:00:00:00";

/// What a tunnel knows about other hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TunnelEntries {
    /// Hosts that it floods to.
    pub peers: BTreeSet<IpAddr>,
    /// Hardware addresses that it learnt, and where they were.
    pub learnt: Vec<(Mac, IpAddr)>,
}

/// What each tunnel knows.
pub async fn tunnel_entries() -> Result<BTreeMap<String, TunnelEntries>> {
    let output = run::json(Program::Bridge, &["-j", "fdb", "show"]).await?;
    Ok(entries(&output))
}

fn entries(output: &[Value]) -> BTreeMap<String, TunnelEntries> {
    let mut found: BTreeMap<String, TunnelEntries> = BTreeMap::new();
    for entry in output {
        let end = entry["dst"].as_str().and_then(|t| t.parse().ok());
        let (Some(tunnel), Some(end)) = (entry["ifname"].as_str(), end) else {
            continue;
        };
        let known = found.entry(tunnel.to_string()).or_default();
        if entry["mac"] == ANYBODY {
            known.peers.insert(end);
        } else if let Some(mac) = entry["mac"].as_str().and_then(|t| Mac::parse(t).ok()) {
            known.learnt.push((mac, end));
        }
    }
    found
}

/// Changes to whom tunnels flood, sent to `bridge -batch` at once.
#[derive(Default)]
pub struct FloodBatch {
    lines: String,
}

impl FloodBatch {
    /// An empty one.
    pub fn new() -> FloodBatch {
        FloodBatch::default()
    }

    /// The tunnel floods to `peer` too.
    pub fn add(&mut self, tunnel: &IfName, peer: IpAddr) {
        self.lines
            .push_str(&format!("fdb append {ANYBODY} dev {tunnel} dst {peer}\n"));
    }

    /// The tunnel floods to `peer` no longer.
    pub fn remove(&mut self, tunnel: &IfName, peer: IpAddr) {
        self.lines
            .push_str(&format!("fdb delete {ANYBODY} dev {tunnel} dst {peer}\n"));
    }

    /// The tunnel forgets that `mac` was at `end`.
    pub fn forget(&mut self, tunnel: &IfName, mac: &Mac, end: IpAddr) {
        self.lines
            .push_str(&format!("fdb delete {mac} dev {tunnel} dst {end}\n"));
    }

    /// Does it all.
    pub async fn run(self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        run::program(Program::Bridge, &["-batch", "-"], &self.lines)
            .await
            .map(drop)
            .map_err(|e| Error::internal(format!("{e}; batch was: {}", self.lines)))
    }
}

fn link(v: &Value) -> Option<Link> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let flags = v["flags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let addresses = v["addr_info"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let usual = |a: &&Value| !(a["family"] == "inet6" && a["scope"] == "link");
    Some(Link {
        index: v["ifindex"].as_u64()?,
        name: text(&v["ifname"])?,
        address: text(&v["address"]).unwrap_or_default(),
        mtu: v["mtu"].as_u64().unwrap_or(0) as u32,
        up: flags.iter().any(|f| f == "UP"),
        master: text(&v["master"]),
        kind: text(&v["linkinfo"]["info_kind"]),
        alias: text(&v["ifalias"]),
        local: v["linkinfo"]["info_data"]["local"]
            .as_str()
            .and_then(|t| t.parse().ok()),
        addresses: addresses.iter().filter(usual).filter_map(address).collect(),
    })
}

fn address(v: &Value) -> Option<IpNet> {
    let ip: IpAddr = v["local"].as_str()?.parse().ok()?;
    IpNet::new(ip, v["prefixlen"].as_u64()? as u8).ok()
}

fn route(v: &Value, six: bool) -> Option<RouteEntry> {
    let destination = match v["dst"].as_str()? {
        "default" => if six { "::/0" } else { "0.0.0.0/0" }.parse().ok()?,
        text if text.contains('/') => text.parse().ok()?,
        text => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    let via = v["gateway"].as_str()?.parse().ok()?;
    Some(RouteEntry {
        destination,
        via,
        device: v["dev"].as_str()?.to_string(),
    })
}

/// Changes to devices, sent to `ip -batch` at once. Words come from types only, so none can hold a space or a newline.
#[derive(Default)]
pub struct Batch {
    lines: String,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn add(&mut self, line: impl Display) {
        self.lines.push_str(&line.to_string());
        self.lines.push('\n');
    }

    /// A bridge whose IPv4 and IPv6 packets pass the inet filters. Asked of this one bridge, so nothing global changes.
    pub fn add_bridge(&mut self, name: &IfName, filtered: bool) {
        let call = u8::from(filtered);
        self.add(format_args!(
            "link add {name} type bridge forward_delay 0 stp_state 0 mcast_snooping 0 nf_call_iptables {call} nf_call_ip6tables {call}"
        ));
    }

    /// A tunnel of a network.
    pub fn add_vxlan(&mut self, name: &IfName, vni: u32, local: IpAddr, port: u16) {
        self.add(format_args!(
            "link add {name} type vxlan id {vni} local {local} dstport {port}"
        ));
    }

    /// Two devices that are one wire; the other end is in `namespace`.
    pub fn add_veth(&mut self, name: &IfName, peer: &IfName, namespace: &Namespace) {
        self.add(format_args!(
            "link add {name} type veth peer name {peer} netns {namespace}"
        ));
    }

    /// Marks a device as this cloud's.
    pub fn set_alias(&mut self, name: &IfName, tag: &Tag) {
        self.add(format_args!("link set {name} alias {}", tag.alias()));
    }

    /// No address of its own: it only forwards.
    pub fn no_addresses(&mut self, name: &IfName) {
        self.add(format_args!("link set {name} addrgenmode none"));
    }

    /// Largest packet.
    pub fn set_mtu(&mut self, name: &IfName, mtu: u32) {
        self.add(format_args!("link set {name} mtu {mtu}"));
    }

    /// Hardware address.
    pub fn set_address(&mut self, name: &IfName, mac: &crate::Mac) {
        self.add(format_args!("link set {name} address {mac}"));
    }

    /// Makes it a port of a bridge.
    pub fn set_master(&mut self, name: &IfName, bridge: &IfName) {
        self.add(format_args!("link set {name} master {bridge}"));
    }

    /// Takes it off its bridge.
    pub fn no_master(&mut self, name: &IfName) {
        self.add(format_args!("link set {name} nomaster"));
    }

    /// Up.
    pub fn set_up(&mut self, name: &IfName) {
        self.add(format_args!("link set {name} up"));
    }

    /// Removes it (both ends of a veth).
    pub fn delete(&mut self, name: &IfName) {
        self.add(format_args!("link delete {name}"));
    }

    /// Gives it an address. IPv6 addresses are used at once: neutron has seen to it that nobody else holds them.
    pub fn add_address(&mut self, name: &IfName, address: &IpNet) {
        let nodad = if matches!(address, IpNet::V6(_)) {
            " nodad"
        } else {
            ""
        };
        self.add(format_args!("addr add {address} dev {name}{nodad}"));
    }

    /// Takes an address away.
    pub fn delete_address(&mut self, name: &IfName, address: &IpNet) {
        self.add(format_args!("addr del {address} dev {name}"));
    }

    /// A route; `onlink` because the neighbour of a /32 is not in a connected subnet.
    pub fn add_route(&mut self, route: &RouteEntry) {
        self.add(format_args!(
            "route replace {} via {} dev {} onlink",
            route.destination, route.via, route.device
        ));
    }

    /// No longer.
    pub fn delete_route(&mut self, route: &RouteEntry) {
        self.add(format_args!(
            "route del {} via {} dev {}",
            route.destination, route.via, route.device
        ));
    }

    /// Does it all, in order; stops at the first refusal.
    pub async fn run(self, namespace: Option<&Namespace>) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut args = Vec::new();
        if let Some(n) = namespace {
            args.extend(["-n", n.as_str()]);
        }
        args.extend(["-batch", "-"]);
        run::program(Program::Ip, &args, &self.lines)
            .await
            .map(|_| ())
            .map_err(|e| Error::internal(format!("{e}; batch was: {}", self.lines)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tunnels_know() {
        let v: Value = serde_json::from_str(
            r#"[{"mac":"33:33:00:00:00:01","ifname":"eth0","flags":["self"]},
            {"mac":"fa:16:3e:00:00:01","ifname":"vxlan-7","master":"brqa"},
            {"mac":"00:00:00:00:00:00","ifname":"vxlan-7","dst":"192.0.2.2","flags":["self"]},
            {"mac":"00:00:00:00:00:00","ifname":"vxlan-7","dst":"2001:db8::3","flags":["self"]},
            {"mac":"fa:16:3e:00:00:01","ifname":"vxlan-7","dst":"192.0.2.2","flags":["self"]}]"#,
        )
        .unwrap();
        let found = entries(v.as_array().unwrap());
        assert_eq!(found.len(), 1);
        let ends = ["192.0.2.2", "2001:db8::3"].map(|t| t.parse().unwrap());
        assert_eq!(found["vxlan-7"].peers, ends.into());
        let mac = Mac::parse("fa:16:3e:00:00:01").unwrap();
        assert_eq!(found["vxlan-7"].learnt, [(mac, ends[0])]);
    }

    #[test]
    fn reads_what_ip_says() {
        let v: Value = serde_json::from_str(
            r#"[{},{"ifindex":3,"ifname":"vxlan-7","flags":["BROADCAST","UP"],"mtu":1450,"master":"brqa","address":"1e:69:01:35:94:8b",
            "linkinfo":{"info_kind":"vxlan","info_data":{"id":7,"local":"127.0.0.1"}},"ifalias":"ferrostack/x",
            "addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24,"scope":"global"},{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"#,
        )
        .unwrap();
        let links: Vec<Link> = v.as_array().unwrap().iter().filter_map(link).collect();
        assert_eq!(links.len(), 1);
        assert_eq!(
            links[0].addresses,
            ["10.0.0.1/24".parse::<IpNet>().unwrap()]
        );
        assert_eq!(
            (links[0].up, links[0].master.as_deref(), links[0].mtu),
            (true, Some("brqa"), 1450)
        );
        let v: Value =
            serde_json::from_str(r#"{"dst":"default","gateway":"fe80::1","dev":"qg-1"}"#).unwrap();
        assert_eq!(route(&v, true).unwrap().destination.to_string(), "::/0");
        let v: Value =
            serde_json::from_str(r#"{"dst":"10.0.0.0/24","dev":"qr-1","scope":"link"}"#).unwrap();
        assert!(
            route(&v, false).is_none(),
            "connected routes are the kernel's"
        );
    }
}
