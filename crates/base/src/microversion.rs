//! `MAJOR.MINOR`, compared as numbers: 2.10 comes after 2.9.

use crate::{Error, Result};
use std::fmt;

/// A microversion of a service's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microversion(pub u16, pub u16);

impl Microversion {
    /// Reads `2.87`; no sign, no leading zero, no `latest` (the HTTP layer knows what latest is).
    pub fn parse(text: &str) -> Result<Microversion> {
        let bad = || {
            Error::bad_request(format!(
                "API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
            ))
        };
        let (major, minor) = text.split_once('.').ok_or_else(bad)?;
        let number = |t: &str| -> Option<u16> {
            let plain = !t.is_empty()
                && t.bytes().all(|b| b.is_ascii_digit())
                && (t == "0" || !t.starts_with('0'));
            if plain { t.parse().ok() } else { None }
        };
        match (number(major), number(minor)) {
            (Some(major), Some(minor)) if major > 0 => Ok(Microversion(major, minor)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_not_letters() {
        assert!(Microversion::parse("2.10").unwrap() > Microversion::parse("2.9").unwrap());
        for bad in [
            "2", "2.", ".1", "2.01", "02.1", "2.1.1", "two.one", "0.1", "+2.1", "2.65536",
        ] {
            assert!(Microversion::parse(bad).is_err(), "{bad}");
        }
    }
}
