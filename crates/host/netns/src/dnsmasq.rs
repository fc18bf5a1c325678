//! The DHCP and DNS server of one network: its files, and the process kept in step with them.
//!
//! Host entries and options are read again on SIGHUP; anything else, or an entry that went away while its lease may live,
//! needs a new process (it is back in a few hundredths of a second, and leases are kept in a file).

use crate::{Id, IfName, Mac, Namespace, daemon, ns, run};
use base::Result;
use host_privsep::Program;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A network's server as wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Dnsmasq {
    /// Where it runs.
    pub namespace: Namespace,
    /// On which device.
    pub interface: IfName,
    /// Where its files are.
    pub folder: PathBuf,
    /// Domain of the hosts; empty for none.
    pub domain: String,
    /// Told to guests.
    pub mtu: u32,
    /// How long a lease lives.
    pub lease_seconds: u32,
    /// Where names it does not know are looked up; none means it knows only its hosts.
    pub forwarders: Vec<IpAddr>,
    /// Subnets served.
    pub subnets: Vec<Subnet>,
    /// Who gets what.
    pub hosts: Vec<Host>,
}

/// A subnet served.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    /// Its id.
    pub id: Id,
    /// Its addresses.
    pub cidr: IpNet,
    /// Its router, told to guests.
    pub gateway: Option<IpAddr>,
    /// Name servers; none means this server.
    pub name_servers: Vec<IpAddr>,
    /// Routes told to guests (the default route is added here).
    pub routes: Vec<(IpNet, IpAddr)>,
}

/// A port's entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The port.
    pub port: Id,
    /// Its hardware address.
    pub mac: Mac,
    /// Its addresses that are served here.
    pub addresses: Vec<IpAddr>,
    /// Its name.
    pub name: String,
    /// Name or number, value, and whether for IPv6.
    pub options: Vec<(String, String, bool)>,
}

impl Dnsmasq {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The main file: what needs a new process when it changes.
    pub fn conf(&self) -> String {
        let mut out = String::new();
        let folder = self.folder.display();
        let _ = write!(
            out,
            "no-hosts\nno-resolv\nstrict-order\nbind-dynamic\nuser=root\ngroup=root\ndhcp-authoritative\nquiet-dhcp\nquiet-dhcp6\ndhcp-no-override\n\
             interface={}\nexcept-interface=lo\npid-file={folder}/pid\ndhcp-hostsfile={folder}/hosts\ndhcp-optsfile={folder}/opts\n\
             addn-hosts={folder}/addn_hosts\ndhcp-leasefile={folder}/leases\ndhcp-option-force=option:mtu,{}\nlog-facility={folder}/log\n",
            self.interface, self.mtu
        );
        if let Some(domain) = domain(&self.domain) {
            let _ = writeln!(out, "domain={domain}\nlocal=/{domain}/");
        }
        for server in &self.forwarders {
            let _ = writeln!(out, "server={server}");
        }
        let mut leases = 0u64;
        for subnet in &self.subnets {
            let (id, lease) = (&subnet.id, self.lease_seconds);
            match subnet.cidr {
                IpNet::V4(net) => {
                    let _ = writeln!(
                        out,
                        "dhcp-range=set:subnet-{id},{},static,{},{lease}s",
                        net.network(),
                        net.netmask()
                    );
                }
                IpNet::V6(net) => {
                    let _ = writeln!(
                        out,
                        "dhcp-range=set:subnet-{id},{},static,{},{lease}s",
                        net.network(),
                        net.prefix_len().max(64)
                    );
                }
            }
            let bits = u32::from(subnet.cidr.max_prefix_len() - subnet.cidr.prefix_len()).min(24);
            leases += 1 << bits;
        }
        let _ = writeln!(out, "dhcp-lease-max={}", leases.min(1 << 24));
        out
    }

    /// Who gets what.
    pub fn hosts_file(&self) -> String {
        let mut out = String::new();
        for host in &self.hosts {
            let (mac, port) = (host.mac, &host.port);
            let name = self.host_name(host);
            let four = host.addresses.iter().find(|a| a.is_ipv4());
            let six: Vec<String> = host
                .addresses
                .iter()
                .filter(|a| a.is_ipv6())
                .map(|a| format!(",[{a}]"))
                .collect();
            let four = four.map(|a| format!(",{a}")).unwrap_or_default();
            let _ = writeln!(out, "{mac},set:port-{port},{name}{four}{}", six.concat());
        }
        out
    }

    /// Names the server resolves.
    pub fn names_file(&self) -> String {
        let mut out = String::new();
        for host in &self.hosts {
            let name = self.host_name(host);
            let full = domain(&self.domain)
                .map(|d| format!("{name}.{d} "))
                .unwrap_or_default();
            for address in &host.addresses {
                let _ = writeln!(out, "{address} {full}{name}");
            }
        }
        out
    }

    /// What guests are told.
    pub fn options_file(&self) -> String {
        let mut out = String::new();
        for subnet in &self.subnets {
            let tag = format!("tag:subnet-{}", subnet.id);
            let list = |addresses: &[IpAddr], six: bool| -> String {
                let right = addresses.iter().filter(|a| a.is_ipv6() == six);
                right
                    .map(|a| {
                        if six {
                            format!(",[{a}]")
                        } else {
                            format!(",{a}")
                        }
                    })
                    .collect()
            };
            if matches!(subnet.cidr, IpNet::V6(_)) {
                let servers = list(&subnet.name_servers, true);
                let servers = if servers.is_empty() {
                    ",[::]".to_string()
                } else {
                    servers
                };
                let _ = writeln!(out, "{tag},option6:dns-server{servers}");
                if let Some(domain) = domain(&self.domain) {
                    let _ = writeln!(out, "{tag},option6:domain-search,{domain}");
                }
                continue;
            }
            let servers = list(&subnet.name_servers, false);
            if !servers.is_empty() {
                let _ = writeln!(out, "{tag},option:dns-server{servers}");
            }
            // Clients that know option 121 ignore option 3, so the default route is among the classless ones.
            let mut routes: Vec<String> = subnet
                .routes
                .iter()
                .filter(|(to, _)| matches!(to, IpNet::V4(_)))
                .map(|(to, via)| format!(",{to},{via}"))
                .collect();
            match subnet.gateway {
                Some(gateway) => {
                    if !subnet.routes.iter().any(|(to, _)| to.prefix_len() == 0) {
                        routes.push(format!(",0.0.0.0/0,{gateway}"));
                    }
                    let _ = writeln!(out, "{tag},option:router,{gateway}");
                }
                // An empty option 3 keeps dnsmasq from naming itself the router.
                None => {
                    let _ = writeln!(out, "{tag},option:router");
                }
            }
            if !routes.is_empty() {
                let routes = routes.concat();
                let _ = writeln!(
                    out,
                    "{tag},option:classless-static-route{routes}\n{tag},249{routes}"
                );
            }
        }
        for host in &self.hosts {
            for (name, value, six) in &host.options {
                let plain = !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                if !plain || value.chars().any(char::is_control) {
                    continue;
                }
                let (word, name) = match (name.bytes().all(|b| b.is_ascii_digit()), six) {
                    (true, false) => ("", name.clone()),
                    (false, false) => ("option:", name.clone()),
                    (_, true) => ("option6:", name.clone()),
                };
                let _ = writeln!(out, "tag:port-{},{word}{name},{value}", host.port);
            }
        }
        out
    }

    /// A name that is one in DNS, or one made of the address as upstream does.
    fn host_name(&self, host: &Host) -> String {
        let good = !host.name.is_empty()
            && host.name.len() <= 63
            && host
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && host.name.as_bytes()[0] != b'-';
        match (good, host.addresses.first()) {
            (true, _) => host.name.to_ascii_lowercase(),
            (false, Some(address)) => format!(
                "host-{}",
                address
                    .to_string()
                    .replace(['.', ':'], "-")
                    .trim_end_matches('-')
            ),
            (false, None) => format!("host-{}", host.port.short()),
        }
    }

    /// Makes files and process so.
    pub async fn ensure(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let before = read_entries(&self.file("hosts"));
        let conf = daemon::write_if_changed(&self.file("conf"), &self.conf())?;
        let mut soft = daemon::write_if_changed(&self.file("hosts"), &self.hosts_file())?;
        soft |= daemon::write_if_changed(&self.file("addn_hosts"), &self.names_file())?;
        soft |= daemon::write_if_changed(&self.file("opts"), &self.options_file())?;
        let after = read_entries(&self.file("hosts"));
        let removed = before.iter().any(|e| !after.contains(e));
        let conf_path = self.file("conf");
        let running = daemon::find(&self.file("pid"), &conf_path.display().to_string());
        match running {
            Some(pid) if !conf && !removed && ns::holds(&self.namespace, pid) => {
                if soft {
                    daemon::reload(pid);
                }
                return Ok(());
            }
            Some(pid) => daemon::end(pid).await,
            None => {}
        }
        self.drop_stale_leases()?;
        let argument = format!("--conf-file={}", conf_path.display());
        run::inside(Some(&self.namespace), Program::Dnsmasq, &[&argument], "").await?;
        Ok(())
    }

    /// A lease of an address that now is another port's would keep that port from getting it.
    fn drop_stale_leases(&self) -> Result<()> {
        let path = self.file("leases");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(());
        };
        let holds = |mac: &str, address: &str| {
            let ip: Option<IpAddr> = address.parse().ok();
            self.hosts.iter().any(|h| {
                ip.is_some_and(|ip| h.addresses.contains(&ip))
                    && (mac == h.mac.to_string() || !mac.contains(':'))
            })
        };
        let keep = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.len() < 3 || words[0] == "duid" || holds(words[1], words[2])
        };
        let kept: String = text
            .lines()
            .filter(keep)
            .map(|l| format!("{l}\n"))
            .collect();
        daemon::write_if_changed(&path, &kept)?;
        Ok(())
    }
}

fn read_entries(path: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(str::to_string)
        .collect()
}

/// A domain without its dot at the end; one that is none is left out.
fn domain(text: &str) -> Option<&str> {
    let text = text.trim_end_matches('.');
    let good = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    good.then_some(text)
}

/// Ends the server whose files are in `folder`, and removes them.
pub async fn remove(folder: &Path) -> Result<()> {
    let conf = folder.join("conf").display().to_string();
    if let Some(pid) = daemon::find(&folder.join("pid"), &conf) {
        daemon::end(pid).await;
    }
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Dnsmasq {
        let id = Id::parse("3f2504e0-4f89-11d3-9a0c-0305e82c3301").unwrap();
        Dnsmasq {
            namespace: Namespace::dhcp(&id),
            interface: IfName::dhcp(&id),
            folder: "/var/lib/x".into(),
            domain: "cloud.example.".into(),
            mtu: 1450,
            lease_seconds: 86400,
            forwarders: Vec::new(),
            subnets: vec![Subnet {
                id: id.clone(),
                cidr: "10.0.0.0/24".parse().unwrap(),
                gateway: Some("10.0.0.1".parse().unwrap()),
                name_servers: Vec::new(),
                routes: vec![(
                    "169.254.169.254/32".parse().unwrap(),
                    "10.0.0.2".parse().unwrap(),
                )],
            }],
            hosts: vec![Host {
                port: id,
                mac: Mac::parse("fa:16:3e:00:00:01").unwrap(),
                addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
                name: "Web".into(),
                options: vec![
                    ("tftp-server".into(), "10.0.0.9".into(), false),
                    ("bad".into(), "a\ndhcp-script=/bin/sh".into(), false),
                ],
            }],
        }
    }

    #[test]
    fn files() {
        let s = server();
        assert!(s.conf().contains("dhcp-range=set:subnet-3f2504e0-4f89-11d3-9a0c-0305e82c3301,10.0.0.0,static,255.255.255.0,86400s\n"));
        assert!(s.conf().contains("domain=cloud.example\n"));
        assert_eq!(
            s.hosts_file(),
            "fa:16:3e:00:00:01,set:port-3f2504e0-4f89-11d3-9a0c-0305e82c3301,web,10.0.0.5,[fd00::5]\n"
        );
        let options = s.options_file();
        assert!(options.contains(
            "option:classless-static-route,169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1\n"
        ));
        assert!(options.contains("option:tftp-server,10.0.0.9\n"));
        assert!(
            !options.contains("dhcp-script"),
            "a value with a newline would be a line of its own"
        );
    }

    #[test]
    fn names_that_are_none_are_made_up() {
        let mut s = server();
        s.hosts[0].name = "a,set:evil".into();
        s.domain = "x\ndhcp-script=/bin/sh".into();
        assert!(s.hosts_file().contains(",host-10-0-0-5,"));
        assert!(!s.conf().contains("dhcp-script"));
    }
}
