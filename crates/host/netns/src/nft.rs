//! Whole nft tables, replaced in one transaction: a packet sees the old table or the new one, never half of one.

use crate::{Namespace, run};
use base::Result;
use host_privsep::Program;

/// A table's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Frames on bridges.
    Bridge,
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
}

impl Family {
    fn word(self) -> &'static str {
        match self {
            Family::Bridge => "bridge",
            Family::Inet => "inet",
            Family::Ip => "ip",
        }
    }
}

/// The transaction that puts `body` in place of whatever table of that name there is.
pub fn replacing(family: Family, name: &str, body: &str) -> String {
    let table = format!("table {} {name}", family.word());
    format!("add {table}\ndelete {table}\n{table} {{\n{body}}}\n")
}

/// Runs a transaction.
pub async fn apply(namespace: Option<&Namespace>, transaction: &str) -> Result<()> {
    run::inside(namespace, Program::Nft, &["-f", "-"], transaction).await?;
    Ok(())
}

/// Removes tables, where they exist.
pub async fn delete(tables: &[(Family, &str)]) -> Result<()> {
    let lines = tables.iter().map(|(family, name)| {
        format!(
            "add table {0} {name}\ndelete table {0} {name}\n",
            family.word()
        )
    });
    apply(None, &lines.collect::<String>()).await
}

/// Forgets connections of an address in a zone, so that a rule that was taken away also ends what it had allowed.
/// Hosts without the `conntrack` program keep them until they end by themselves.
pub async fn forget_connections(zone: u16, address: std::net::IpAddr) {
    let (zone, address) = (zone.to_string(), address.to_string());
    let family = if address.contains(':') {
        "ipv6"
    } else {
        "ipv4"
    };
    for side in ["-s", "-d"] {
        let args = ["-D", "-f", family, "-w", &zone, side, &address];
        // Its exit code 1 means "none found", which is not told apart from a failure.
        let _ = run::program(Program::Conntrack, &args, "").await;
    }
}
