//! Certificates of clients (X.509), as a front end hands them on: whom they name, and the mark by which a token knows one.

use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use oslo_http::Query;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Short names of parts of names; others go by their numbers.
const PARTS: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// A certificate that could be read. Whether to believe it is the front end's affair.
pub(crate) struct Certificate {
    /// `SSL_CLIENT_SUBJECT_DN_CN` and its kin.
    pub attributes: BTreeMap<String, String>,
    pub thumbprint: String,
    starts: i64,
    ends: i64,
}

impl Certificate {
    /// From a header: PEM with blanks for its line ends (Apache), the same with `%` (nginx), bare base64 (HAProxy), or
    /// base64 between colons (RFC 9440).
    pub(crate) fn of_header(text: &str) -> Option<Certificate> {
        let mut text = text.trim().to_string();
        if text.contains('%') {
            text = Query::decode(&format!("c={text}"))
                .ok()?
                .get("c")?
                .to_string();
        }
        let body = match text.split_once(BEGIN) {
            Some(("", rest)) => {
                rest.split_once(END)
                    .filter(|(_, after)| after.trim().is_empty())?
                    .0
            }
            Some(_) => return None,
            None => text
                .strip_prefix(':')
                .and_then(|t| t.strip_suffix(':'))
                .unwrap_or(&text),
        };
        let body: String = body.split_ascii_whitespace().collect();
        Certificate::of_der(&STANDARD.decode(body).ok()?)
    }

    fn of_der(der: &[u8]) -> Option<Certificate> {
        let (rest, read) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut attributes = BTreeMap::new();
        add(&mut attributes, "SSL_CLIENT_SUBJECT_DN_", read.subject())?;
        add(&mut attributes, "SSL_CLIENT_ISSUER_DN_", read.issuer())?;
        Some(Certificate {
            attributes,
            thumbprint: thumbprint(der),
            starts: read.validity().not_before.timestamp(),
            ends: read.validity().not_after.timestamp(),
        })
    }

    pub(crate) fn is_of(&self, now: Timestamp) -> bool {
        (self.starts..=self.ends).contains(&now.seconds())
    }
}

/// Attributes by the parts of a name, several of one kind with semicolons between, as mappings have lists.
fn add(attributes: &mut BTreeMap<String, String>, prefix: &str, name: &X509Name<'_>) -> Option<()> {
    for part in name.iter_attributes() {
        let number = part.attr_type().to_id_string();
        let short = PARTS.iter().find(|(n, _)| *n == number);
        let short = short.map_or(number.as_str(), |(_, short)| short);
        // A mapping would take one with a semicolon for two.
        let value = part.as_str().ok().filter(|v| !v.contains(';'))?;
        attributes
            .entry(format!("{prefix}{short}"))
            .and_modify(|all| {
                all.push(';');
                all.push_str(value);
            })
            .or_insert_with(|| value.to_string());
    }
    Some(())
}

/// COMPAT: `x5t#S256` of RFC 8705 is the hash of the certificate's bytes; upstream, and the middleware that checks it, hash
/// its PEM text with OpenSSL's lines, and pad.
fn thumbprint(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut hash = Sha256::new();
    hash.update(BEGIN);
    for line in text.as_bytes().chunks(64) {
        hash.update(b"\n");
        hash.update(line);
    }
    hash.update("\n");
    hash.update(END);
    hash.update("\n");
    URL_SAFE.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl req -x509 -newkey ed25519 -nodes -days 36500 -subj /DC=org/DC=example/O=Smiths/CN=ann/emailAddress=ann@example.org`
    const PEM: &str = r"-----BEGIN CERTIFICATE-----
MIIB8TCCAaOgAwIBAgIUedCTpQodB7DAi7iNTp5SEmlHfmswBQYDK2VwMG0xEzAR
BgoJkiaJk/IsZAEZFgNvcmcxFzAVBgoJkiaJk/IsZAEZFgdleGFtcGxlMQ8wDQYD
VQQKDAZTbWl0aHMxDDAKBgNVBAMMA2FubjEeMBwGCSqGSIb3DQEJARYPYW5uQGV4
YW1wbGUub3JnMCAXDTI2MTEyNTIxMDMwOVoYDzIxMjYxMTAxMjEwMzA5WjBtMRMw
EQYKCZImiZPyLGQBGRYDb3JnMRcwFQYKCZImiZPyLGQBGRYHZXhhbXBsZTEPMA0G
A1UECgwGU21pdGhzMQwwCgYDVQQDDANhbm4xHjAcBgkqhkiG9w0BCQEWD2FubkBl
eGFtcGxlLm9yZzAqMAUGAytlcAMhALu3Ifutp54qLYvPlUF9hraHQg0YSTK39AJ9
MmfAB+AHo1MwUTAdBgNVHQ4EFgQUdoYLsVdvKSkoAEg6KEXfQ1nADkgwHwYDVR0j
BBgwFoAUdoYLsVdvKSkoAEg6KEXfQ1nADkgwDwYDVR0TAQH/BAUwAwEB/zAFBgMr
ZXADQQB1VIlMMbQzTdoq4NNpJEdjNT+EKYjdcxcoE5+84JUB5gErMNfOV0l9u1Rl
lqWMmNt+n5RZUzQsx+qxj76C6h4K
-----END CERTIFICATE-----
";

    #[test]
    fn every_way_to_hand_one_on() {
        let body: String = PEM.lines().filter(|l| !l.starts_with('-')).collect();
        let escaped: String = PEM.bytes().map(|b| format!("%{b:02X}")).collect();
        for text in [
            PEM.replace('\n', " "),
            escaped,
            body.clone(),
            format!(":{body}:"),
        ] {
            let found = Certificate::of_header(&text).unwrap();
            let of = |name: &str| found.attributes.get(name).map(String::as_str);
            assert_eq!(of("SSL_CLIENT_SUBJECT_DN_CN"), Some("ann"));
            assert_eq!(of("SSL_CLIENT_SUBJECT_DN_DC"), Some("org;example"));
            assert_eq!(
                of("SSL_CLIENT_SUBJECT_DN_EMAILADDRESS"),
                Some("ann@example.org")
            );
            assert_eq!(of("SSL_CLIENT_ISSUER_DN_O"), Some("Smiths"));
            // base64.urlsafe_b64encode(hashlib.sha256(ssl.DER_cert_to_PEM_cert(der).encode()).digest())
            assert_eq!(
                found.thumbprint,
                "nvrhJvGks0K5gYJ9xp4wz10YOpe73i8ZE0OHcpx6Nz8="
            );
            assert!(found.is_of(Timestamp::from_seconds(2_000_000_000)));
            assert!(!found.is_of(Timestamp::from_seconds(1_000_000_000)));
        }
    }

    #[test]
    fn nothing_else_is_one() {
        let body: String = PEM.lines().filter(|l| !l.starts_with('-')).collect();
        for text in [
            String::new(),
            "(null)".into(),
            "%".into(),
            "AAAA".into(),
            format!("{BEGIN} {END}"),
            format!("{BEGIN} {body}"),
            format!("x {BEGIN} {body} {END}"),
            format!("{BEGIN} {body} {END} {BEGIN} {body} {END}"),
            body[..body.len() - 4].to_string(),
            format!("{body}AAAA"),
        ] {
            assert!(Certificate::of_header(&text).is_none(), "{text}");
        }
    }
}
