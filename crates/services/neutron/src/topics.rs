//! What hosts have to do, in pieces that move each for itself. A host's state depends on some dozens of them; a change says
//! which it moves, and only the hosts that depend on one of those are woken and have something to ask.

use crate::db::{PortRow, concerned};
use crate::noun::Call;
use crate::ports;
use base::Result;
use neutron_types::rpc::Revisions;
use oslo_db::Tx;
use std::collections::{BTreeMap, BTreeSet};

/// One piece.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// A group: its rules.
    Group(String),
    /// A host: the ports bound there, what its agents serve.
    Host(String),
    /// A group: its members' addresses, which rules of other groups name.
    Members(String),
    /// A network: itself, its subnets, which of them routers lead to.
    Network(String),
    /// A network: on which hosts it is, and where their tunnels end.
    Peers(String),
    /// A network: its ports as its DHCP server must know them.
    Ports(String),
    /// A router: itself, its floating addresses.
    Router(String),
}

use Topic::{Group, Host, Members, Network, Peers, Ports, Router};

impl Topic {
    /// Its name in the database and to agents.
    pub(crate) fn name(&self) -> String {
        let (kind, id) = match self {
            Group(id) => ("group", id),
            Host(id) => ("host", id),
            Members(id) => (MEMBERS, id),
            Network(id) => ("network", id),
            Peers(id) => (PEERS, id),
            Ports(id) => ("ports", id),
            Router(id) => ("router", id),
        };
        format!("{kind}/{id}")
    }

    /// Whether agents may hear of it a little later: it is about others, concerns many, and moves often.
    pub(crate) fn can_wait(&self) -> bool {
        matches!(self, Members(_) | Peers(_))
    }
}

const MEMBERS: &str = "members";
const PEERS: &str = "peers";

/// The groups and networks that these names are about, if they are about nothing but what others contribute.
pub(crate) fn around<'a>(
    names: impl Iterator<Item = &'a String>,
) -> Option<(Vec<String>, Vec<String>)> {
    let (mut groups, mut networks) = (Vec::new(), Vec::new());
    for name in names {
        match name.split_once('/')? {
            (MEMBERS, id) => groups.push(id.to_string()),
            (PEERS, id) => networks.push(id.to_string()),
            _ => return None,
        }
    }
    Some((groups, networks))
}

/// Names of topics.
pub(crate) fn names(topics: &BTreeSet<Topic>) -> Vec<String> {
    topics.iter().map(Topic::name).collect()
}

/// The hosts that topics concern, and of which of them each must hear.
pub(crate) fn hosts_of(
    tx: &mut Tx,
    topics: &BTreeSet<Topic>,
    revisions: &Revisions,
) -> Result<BTreeMap<String, Revisions>> {
    let mut found: BTreeMap<String, Revisions> = BTreeMap::new();
    let mut tell = |host: String, topic: Topic| {
        let name = topic.name();
        let revision = revisions.get(&name).copied().unwrap_or_default();
        found.entry(host).or_default().insert(name, revision);
    };
    let ids = |pick: fn(&Topic) -> Option<&String>| -> Vec<String> {
        topics.iter().filter_map(pick).cloned().collect()
    };
    for host in ids(|t| if let Host(h) = t { Some(h) } else { None }) {
        tell(host.clone(), Host(host));
    }
    let wanted = ids(|t| if let Network(n) = t { Some(n) } else { None });
    if !wanted.is_empty() {
        for (network, host) in concerned::of_networks(tx, &wanted)? {
            tell(host, Network(network));
        }
    }
    let wanted = ids(|t| if let Peers(n) = t { Some(n) } else { None });
    if !wanted.is_empty() {
        for (network, host) in concerned::of_networks(tx, &wanted)? {
            tell(host, Peers(network));
        }
    }
    let wanted = ids(|t| if let Ports(n) = t { Some(n) } else { None });
    if !wanted.is_empty() {
        for (network, host) in concerned::of_served(tx, &wanted)? {
            tell(host, Ports(network));
        }
    }
    let wanted = ids(|t| if let Router(r) = t { Some(r) } else { None });
    if !wanted.is_empty() {
        for (router, host) in concerned::of_routers(tx, &wanted)? {
            tell(host, Router(router));
        }
    }
    let wanted = ids(|t| if let Group(g) = t { Some(g) } else { None });
    if !wanted.is_empty() {
        for (group, host) in concerned::of_groups(tx, &wanted)? {
            tell(host, Group(group));
        }
    }
    let wanted = ids(|t| if let Members(g) = t { Some(g) } else { None });
    if !wanted.is_empty() {
        for (group, host) in concerned::of_members(tx, &wanted)? {
            tell(host, Members(group));
        }
    }
    Ok(found)
}

/// What of a port changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    /// It is on another host, or comes, or goes.
    pub place: bool,
    /// Its addresses, or the further ones it may use, or its groups.
    pub addresses: bool,
    /// What its DHCP server knows of it.
    pub lease: bool,
}

impl Change {
    /// It comes or goes.
    pub(crate) const ALL: Change = Change {
        place: true,
        addresses: true,
        lease: true,
    };
    /// Its addresses.
    pub(crate) const ADDRESSES: Change = Change {
        place: false,
        addresses: true,
        lease: true,
    };
    /// Its host.
    pub(crate) const PLACE: Change = Change {
        place: true,
        addresses: false,
        lease: false,
    };
}

impl Call {
    /// A port (as it was, or as it is now; both, if its host or groups are others) changes for who sees it.
    pub(crate) fn touch_port<'a>(
        &self,
        port: &PortRow,
        groups: impl IntoIterator<Item = &'a String>,
        change: Change,
    ) {
        let network = || port.network_id.clone();
        if !port.host.is_empty() {
            self.touch(Host(port.host.clone()));
            if change.place {
                self.touch(Peers(network()));
            }
        }
        if change.addresses {
            for group in groups {
                self.touch(Members(group.clone()));
            }
        }
        if (change.lease || change.addresses) && port.device_owner != ports::DHCP {
            self.touch(Ports(network()));
        }
        // Subnets whose gateway a router holds are not isolated.
        if port.device_owner == ports::INTERFACE && change.addresses {
            self.touch(Network(network()));
        }
    }
}
