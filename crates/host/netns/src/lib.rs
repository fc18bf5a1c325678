//! The host's network: namespaces, links, packet filters, DHCP servers and router advertisements.
//!
//! Everything that becomes part of a command, a rule or a file is a type that was parsed ([`Id`], [`IfName`], [`Mac`],
//! addresses, numbers), so that no text from outside can mean more than it says. Programs are started by `host-privsep`.

pub mod announce;
pub mod daemon;
pub mod dnsmasq;
pub mod firewall;
pub mod link;
mod mac;
mod names;
pub mod nat;
pub mod nft;
pub mod ns;
pub mod radvd;
mod run;

pub use mac::Mac;
pub use names::{Id, IfName, Namespace, Tag};
