//! Names on the host, all derived from ids the way upstream derives them.

use base::{Error, Result, id};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A uuid in its usual spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// Reads a uuid.
    pub fn parse(text: &str) -> Result<Id> {
        id::parse_uuid(text).map(Id)
    }

    /// Its 36 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 11 characters, which names of devices carry.
    pub fn short(&self) -> &str {
        &self.0[..11]
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a network device: at most 15 harmless characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<IfName> {
        if harmless(text, 15) {
            Ok(IfName(text.to_string()))
        } else {
            Err(Error::bad_request(format!("'{text}' is not a device name")))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A network's bridge.
    pub fn bridge(network: &Id) -> IfName {
        IfName(format!("brq{}", network.short()))
    }

    /// The host's end of a port.
    pub fn tap(port: &Id) -> IfName {
        IfName(format!("tap{}", port.short()))
    }

    /// A network's tunnel.
    pub fn vxlan(vni: u32) -> IfName {
        IfName(format!("vxlan-{vni}"))
    }

    /// The DHCP server's end of its port.
    pub fn dhcp(port: &Id) -> IfName {
        IfName(format!("ns-{}", port.short()))
    }

    /// A router's end of a port inside.
    pub fn router_inside(port: &Id) -> IfName {
        IfName(format!("qr-{}", port.short()))
    }

    /// A router's end of its port outside.
    pub fn router_outside(port: &Id) -> IfName {
        IfName(format!("qg-{}", port.short()))
    }
}

/// The name of a network namespace below `/run/netns`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

impl Namespace {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Namespace> {
        if harmless(text, 64) {
            Ok(Namespace(text.to_string()))
        } else {
            Err(Error::bad_request(format!("'{text}' is not a namespace")))
        }
    }

    /// Where a network's DHCP server lives.
    pub fn dhcp(network: &Id) -> Namespace {
        Namespace(format!("qdhcp-{network}"))
    }

    /// Where a router lives.
    pub fn router(router: &Id) -> Namespace {
        Namespace(format!("qrouter-{router}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which cloud of this host something belongs to: part of the names of nft tables and the alias of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// Checks a tag.
    pub fn parse(text: &str) -> Result<Tag> {
        if harmless(text, 32) {
            Ok(Tag(text.to_string()))
        } else {
            Err(Error::bad_request(format!("'{text}' is not a tag")))
        }
    }

    /// The name of this cloud's nft tables.
    pub fn table(&self) -> String {
        format!("ferrostack-{}", self.0)
    }

    /// The alias of this cloud's devices.
    pub fn alias(&self) -> String {
        format!("ferrostack/{}", self.0)
    }
}

fn harmless(text: &str, longest: usize) -> bool {
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    first
        && text.len() <= longest
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

macro_rules! strings {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<$name> {
                $name::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
strings!(IfName, Namespace);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_upstream() {
        let id = Id::parse("3F2504E0-4F89-11D3-9A0C-0305E82C3301").unwrap();
        assert_eq!(IfName::tap(&id).as_str(), "tap3f2504e0-4f");
        assert_eq!(IfName::bridge(&id).as_str(), "brq3f2504e0-4f");
        assert_eq!(
            Namespace::router(&id).as_str(),
            "qrouter-3f2504e0-4f89-11d3-9a0c-0305e82c3301"
        );
        assert!(IfName::vxlan(16_777_215).as_str().len() <= 15);
    }

    #[test]
    fn nothing_clever_is_a_name() {
        for bad in [
            "",
            "-n",
            "a b",
            "a;b",
            "a\"",
            "a\nb",
            "../x",
            "sixteencharacter",
            "a/b",
        ] {
            assert!(IfName::parse(bad).is_err(), "{bad}");
        }
        assert!(Id::parse("3f2504e0-4f89-11d3-9a0c-0305e82c3301\n").is_err());
    }
}
