//! What a trusted front end says of a user, in headers. Nobody else's headers say anything.
//!
//! Apache with mod_auth_openidc, mod_auth_mellon or mod_shib stands before keystone, speaks OpenID Connect or SAML with
//! browsers and identity providers, and hands on what they said. Addresses would be no proof of who sends it: behind a
//! load balancer everybody has the same. So the front end sends a secret, and takes away what clients send under the
//! names that it uses.

use crate::api::unauthorized;
use crate::config::FederationConf;
use crate::identity::certificate::Certificate;
use crate::identity::same_secret;
use base::Result;
use http::HeaderMap;
use std::collections::BTreeMap;

/// Where the secret is.
const SECRET: &str = "x-federation-secret";
/// Where a client's certificate is, if the front end asked for one.
const CERTIFICATE: &str = "ssl-client-cert";
/// Never attributes, whoever sends them.
const NEVER: &[&str] = &[
    SECRET,
    "authorization",
    "cookie",
    "x-auth-token",
    "x-service-token",
    "x-subject-token",
];

/// Attributes under their names in lower case, with `-` for `_`.
#[derive(Debug, Default)]
pub(crate) struct Attributes(BTreeMap<String, Option<String>>);

/// Names as Apache's environment has them (`HTTP_OIDC_ISS`, `MELLON_IDP`), and as headers have them.
fn normal(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    match name.strip_prefix("http-") {
        Some(rest) => rest.to_string(),
        None => name,
    }
}

fn is_front_end(conf: &FederationConf, headers: &HeaderMap) -> bool {
    let wanted = conf.front_end_secret.expose();
    let given = headers.get(SECRET).and_then(|v| v.to_str().ok());
    !wanted.is_empty() && given.is_some_and(|given| same_secret(wanted, given))
}

/// The certificate by which a client proved to the front end who it is; `None` if it showed none, 401 if what is there can
/// not be read or is there twice. Others than the front end may send what they like.
pub(crate) fn certificate(
    conf: &FederationConf,
    headers: &HeaderMap,
) -> Result<Option<Certificate>> {
    let mut given = headers.get_all(CERTIFICATE).iter();
    let Some(first) = given.next().filter(|_| is_front_end(conf, headers)) else {
        return Ok(None);
    };
    let text = first.to_str().map_err(|_| unauthorized())?.trim();
    if given.next().is_some() {
        return Err(unauthorized());
    }
    // What Apache says of a variable that is not set.
    if text.is_empty() || text == "(null)" {
        return Ok(None);
    }
    Certificate::of_header(text)
        .map(Some)
        .ok_or_else(unauthorized)
}

impl Attributes {
    /// 401 unless the front end's secret is among the headers. An attribute that is there twice is none: one of the two
    /// would be the client's.
    pub(crate) fn of(conf: &FederationConf, headers: &HeaderMap) -> Result<Attributes> {
        if !is_front_end(conf, headers) {
            return Err(unauthorized());
        }
        let prefixes: Vec<String> = conf.assertion_prefix.iter().map(|p| normal(p)).collect();
        let mut attributes = BTreeMap::new();
        for (name, value) in headers {
            let name = name.as_str();
            // A name with `_` is no header's that a front end makes, but looks like one's with `-`.
            let believed = !name.contains('_')
                && !NEVER.contains(&name)
                && (prefixes.is_empty() || prefixes.iter().any(|p| name.starts_with(p)));
            if !believed {
                continue;
            }
            let text = match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => text.to_string(),
                Err(_) => value.as_bytes().iter().map(|b| char::from(*b)).collect(),
            };
            let twice = attributes.contains_key(name);
            attributes.insert(name.to_string(), (!twice).then_some(text));
        }
        Ok(Attributes(attributes))
    }

    /// The attribute of that name, in any spelling; an empty one is none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(&normal(name))?.as_deref();
        value.filter(|v| !v.is_empty())
    }

    /// Those among the names that are there, spelled as asked for.
    pub(crate) fn among<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
    ) -> BTreeMap<String, String> {
        let found = |name: &'n str| Some((name.to_string(), self.get(name)?.to_string()));
        names.filter_map(found).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Secret;
    use http::{HeaderName, HeaderValue};

    fn of(prefix: &[&str], secret: &str, headers: &[(&str, &[u8])]) -> Result<Attributes> {
        let conf = FederationConf {
            front_end_secret: Secret::new(secret),
            assertion_prefix: prefix.iter().map(|p| p.to_string()).collect(),
            ..FederationConf::default()
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        Attributes::of(&conf, &map)
    }

    #[test]
    fn names_and_values() {
        let sent: &[(&str, &[u8])] = &[
            ("X-Federation-Secret", b"s"),
            ("OIDC-Email", b"a@b"),
            ("OIDC-name", "Ñandú".as_bytes()),
            ("OIDC-old", b"Jos\xe9"),
            ("OIDC-empty", b""),
            ("OIDC_email", b"forged"),
            ("other", b"x"),
            ("authorization", b"x"),
        ];
        let found = of(&["HTTP_OIDC_"], "s", sent).unwrap();
        for name in ["HTTP_OIDC_EMAIL", "OIDC-email", "OIDC_email"] {
            assert_eq!(found.get(name), Some("a@b"), "{name}");
        }
        assert_eq!(found.get("OIDC-name"), Some("Ñandú"));
        assert_eq!(found.get("OIDC-old"), Some("José"));
        for none in [
            "OIDC-empty",
            "other",
            "authorization",
            "x-federation-secret",
        ] {
            assert_eq!(found.get(none), None, "{none}");
        }
        assert_eq!(of(&[], "s", sent).unwrap().get("other"), Some("x"));
        let asked = found.among(["OIDC_name", "none"].into_iter());
        assert_eq!(
            asked.into_iter().collect::<Vec<_>>(),
            [("OIDC_name".to_string(), "Ñandú".to_string())]
        );
    }

    #[test]
    fn only_from_who_knows_the_secret() {
        let attribute: (&str, &[u8]) = ("OIDC-email", b"a@b");
        assert!(of(&["OIDC-"], "s", &[attribute]).is_err());
        assert!(of(&["OIDC-"], "s", &[attribute, ("X-Federation-Secret", b"t")]).is_err());
        assert!(of(&["OIDC-"], "s", &[attribute, ("X-Federation-Secret", b"")]).is_err());
        // Without a secret there is no front end.
        assert!(of(&["OIDC-"], "", &[attribute, ("X-Federation-Secret", b"")]).is_err());
        let twice: &[(&str, &[u8])] = &[
            attribute,
            ("oidc-EMAIL", b"c@d"),
            ("X-Federation-Secret", b"s"),
        ];
        assert_eq!(of(&["OIDC-"], "s", twice).unwrap().get("OIDC-email"), None);
    }
}
