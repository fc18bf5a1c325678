//! Which parts of the cloud a process is: all of them (the embedded shape), those of some roles, or some by name.

use base::{Error, Result};
use std::collections::BTreeSet;

base::str_enum! {
    /// One thing that may run as a process of its own; the names are upstream's.
    pub enum Part {
        /// Identity.
        Keystone = "keystone",
        /// Images.
        Glance = "glance-api",
        /// Inventories and allocations.
        Placement = "placement-api",
        /// Networks.
        NeutronServer = "neutron-server",
        /// The compute API.
        NovaApi = "nova-api",
        /// Runs the flows of servers, and speaks to the database for compute hosts.
        NovaConductor = "nova-conductor",
        /// Chooses hosts.
        NovaScheduler = "nova-scheduler",
        /// Tells guests who they are.
        NovaMetadata = "nova-api-metadata",
        /// Consoles in the browser.
        NovaNovncproxy = "nova-novncproxy",
        /// The volume API.
        CinderApi = "cinder-api",
        /// Runs the flows of volumes, and chooses backends.
        CinderScheduler = "cinder-scheduler",
        /// Keeps volumes.
        CinderVolume = "cinder-volume",
        /// Runs guests.
        NovaCompute = "nova-compute",
        /// Bridges, tunnels and security groups.
        L2Agent = "neutron-linuxbridge-agent",
        /// Addresses for guests.
        DhcpAgent = "neutron-dhcp-agent",
        /// Routers and floating addresses.
        L3Agent = "neutron-l3-agent",
        /// Carries guests' questions to nova-api-metadata.
        MetadataAgent = "neutron-metadata-agent",
    }
}

base::str_enum! {
    /// The four kinds of node.
    pub enum Role {
        /// APIs, schedulers, conductor.
        Controller = "controller",
        /// Guests.
        Compute = "compute",
        /// DHCP, routers, metadata.
        Network = "network",
        /// Volumes.
        Storage = "storage",
    }
}

impl Role {
    /// Roles by name.
    pub fn parse_all(names: &[String]) -> Result<Vec<Role>> {
        let parse = |name: &String| {
            let words = "is no role; there are controller, compute, network, storage";
            Role::parse(name).map_err(|_| Error::bad_request(format!("{name} {words}")))
        };
        names.iter().map(parse).collect()
    }

    /// What a node of this role runs.
    pub fn parts(self) -> &'static [Part] {
        match self {
            Role::Controller => &[
                Part::Keystone,
                Part::Glance,
                Part::Placement,
                Part::NeutronServer,
                Part::NovaApi,
                Part::NovaConductor,
                Part::NovaScheduler,
                Part::NovaMetadata,
                Part::NovaNovncproxy,
                Part::CinderApi,
                Part::CinderScheduler,
            ],
            Role::Compute => &[Part::NovaCompute, Part::L2Agent],
            Role::Network => &[
                Part::L2Agent,
                Part::DhcpAgent,
                Part::L3Agent,
                Part::MetadataAgent,
            ],
            Role::Storage => &[Part::CinderVolume],
        }
    }
}

/// The parts of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(BTreeSet<Part>);

impl Parts {
    /// The embedded shape.
    pub fn all() -> Parts {
        Parts::of(Role::ALL, &[])
    }

    /// Those of `roles`, and `parts` beside them.
    pub fn of(roles: &[Role], parts: &[Part]) -> Parts {
        let of_roles = roles.iter().flat_map(|r| r.parts());
        Parts(of_roles.chain(parts).copied().collect())
    }

    /// What the command line says: names of roles, names of parts; nothing at all means everything.
    pub fn parse(roles: &[String], parts: &[String]) -> Result<Parts> {
        if roles.is_empty() && parts.is_empty() {
            return Ok(Parts::all());
        }
        let roles = Role::parse_all(roles)?;
        let parts = parts.iter().map(|name| {
            let known: Vec<&str> = Part::ALL.iter().map(|p| p.as_str()).collect();
            let words = format!("{name} is no service; there are {}", known.join(", "));
            Part::parse(name).map_err(|_| Error::bad_request(words))
        });
        let parts: Vec<Part> = parts.collect::<Result<_>>()?;
        Ok(Parts::of(&roles, &parts))
    }

    /// Whether this process is that part.
    pub fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }

    /// Whether this process is any of them.
    pub fn any(&self, parts: &[Part]) -> bool {
        parts.iter().any(|p| self.has(*p))
    }

    /// Whether anything here needs a database: no agent does.
    pub fn need_database(&self) -> bool {
        self.any(Role::Controller.parts())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Part> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_names_add_up() {
        let text = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let all = Parts::parse(&[], &[]).unwrap();
        assert!(all.has(Part::Keystone) && all.has(Part::CinderVolume));
        let compute = Parts::parse(&text(&["compute"]), &[]).unwrap();
        assert!(compute.has(Part::NovaCompute) && !compute.need_database());
        let one = Parts::parse(&[], &text(&["nova-scheduler"])).unwrap();
        assert_eq!(one.iter().collect::<Vec<_>>(), [Part::NovaScheduler]);
        let both = Parts::parse(&text(&["storage"]), &text(&["nova-api"])).unwrap();
        assert!(both.has(Part::CinderVolume) && both.need_database() && !both.has(Part::Keystone));
        for (roles, parts) in [(&["king"][..], &[][..]), (&[], &["nova"])] {
            let error = Parts::parse(&text(roles), &text(parts)).unwrap_err();
            assert!(error.to_string().contains("there are"), "{error}");
        }
    }
}
