//! A hardware address.

use base::{Error, Result};
use std::fmt;
use std::net::Ipv6Addr;

/// Six bytes, written `fa:16:3e:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// Reads six pairs of hex digits joined by `:` or `-`.
    pub fn parse(text: &str) -> Result<Mac> {
        let bad = || Error::bad_request(format!("'{text}' is not a valid MAC address"));
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            Err(bad())
        } else {
            Ok(Mac(bytes))
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; 6] {
        self.0
    }

    /// The link-local address that a host with this hardware address gives itself (EUI-64).
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            word(a ^ 2, b),
            word(c, 0xff),
            word(0xfe, d),
            word(e, f),
        )
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_derives() {
        let mac = Mac::parse("FA:16:3E:00:00:01").unwrap();
        assert_eq!(mac.to_string(), "fa:16:3e:00:00:01");
        assert_eq!(mac.link_local().to_string(), "fe80::f816:3eff:fe00:1");
        for bad in [
            "",
            "fa:16:3e:00:00",
            "fa:16:3e:00:00:01:02",
            "fa:16:3e:00:00:+1",
            "fa:16:3e:00:00:1} drop",
        ] {
            assert!(Mac::parse(bad).is_err(), "{bad}");
        }
    }
}
