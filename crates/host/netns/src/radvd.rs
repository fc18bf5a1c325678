//! Router advertisements of one router, by `radvd`.

use crate::{IfName, Namespace, daemon, ns, run};
use base::Result;
use host_privsep::Program;
use ipnet::Ipv6Net;
use std::fmt::Write;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

/// A router's advertisements as wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Radvd {
    /// Where it runs.
    pub namespace: Namespace,
    /// Where its files are.
    pub folder: PathBuf,
    /// On which devices, with what.
    pub interfaces: Vec<Advertisement>,
}

/// What is advertised on one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Advertisement {
    /// The device.
    pub interface: IfName,
    /// Largest packet.
    pub mtu: u32,
    /// Prefix, and whether hosts make addresses of it themselves.
    pub prefixes: Vec<(Ipv6Net, bool)>,
    /// Addresses come by DHCPv6.
    pub managed: bool,
    /// Other things come by DHCPv6.
    pub other: bool,
    /// Name servers.
    pub name_servers: Vec<Ipv6Addr>,
}

impl Radvd {
    /// The configuration file.
    pub fn conf(&self) -> String {
        let mut out = String::new();
        let on = |b: bool| if b { "on" } else { "off" };
        for i in &self.interfaces {
            let _ = writeln!(
                out,
                "interface {} {{\n  AdvSendAdvert on;\n  MinRtrAdvInterval 10;\n  MaxRtrAdvInterval 30;\n  AdvLinkMTU {};\n  AdvManagedFlag {};\n  AdvOtherConfigFlag {};",
                i.interface,
                i.mtu,
                on(i.managed),
                on(i.other)
            );
            if !i.name_servers.is_empty() {
                let servers: Vec<String> = i.name_servers.iter().map(Ipv6Addr::to_string).collect();
                let _ = writeln!(out, "  RDNSS {} {{}};", servers.join(" "));
            }
            for (prefix, autonomous) in &i.prefixes {
                let _ = writeln!(
                    out,
                    "  prefix {} {{\n    AdvOnLink on;\n    AdvAutonomous {};\n  }};",
                    prefix.trunc(),
                    on(*autonomous)
                );
            }
            out.push_str("};\n");
        }
        out
    }

    /// Makes file and process so.
    pub async fn ensure(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let conf = self.folder.join("radvd.conf");
        let changed = daemon::write_if_changed(&conf, &self.conf())?;
        let (conf, pid_file) = (conf.display().to_string(), self.folder.join("radvd.pid"));
        match daemon::find(&pid_file, &conf) {
            Some(pid) if ns::holds(&self.namespace, pid) => {
                if changed {
                    daemon::reload(pid);
                }
                return Ok(());
            }
            Some(pid) => daemon::end(pid).await,
            None => {}
        }
        let _ = std::fs::remove_file(&pid_file);
        let (pid, log) = (
            pid_file.display().to_string(),
            self.folder.join("radvd.log").display().to_string(),
        );
        let args = ["-C", &conf, "-p", &pid, "-m", "logfile", "-l", &log];
        run::inside(Some(&self.namespace), Program::Radvd, &args, "").await?;
        Ok(())
    }
}

/// Ends the process whose files are in `folder`, and removes them.
pub async fn remove(folder: &Path) -> Result<()> {
    let conf = folder.join("radvd.conf");
    if let Some(pid) = daemon::find(&folder.join("radvd.pid"), &conf.display().to_string()) {
        daemon::end(pid).await;
    }
    let _ = std::fs::remove_file(conf);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_follow_the_mode() {
        let radvd = Radvd {
            namespace: Namespace::parse("qrouter-x").unwrap(),
            folder: "/x".into(),
            interfaces: vec![Advertisement {
                interface: IfName::parse("qr-1").unwrap(),
                mtu: 1450,
                prefixes: vec![("fd00::1/64".parse().unwrap(), false)],
                managed: true,
                other: true,
                name_servers: vec!["fd00::53".parse().unwrap()],
            }],
        };
        let conf = radvd.conf();
        for part in [
            "prefix fd00::/64 {",
            "AdvAutonomous off",
            "AdvManagedFlag on",
            "RDNSS fd00::53 {}",
        ] {
            assert!(conf.contains(part), "{part} in\n{conf}");
        }
    }
}
