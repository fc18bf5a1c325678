//! Requests that a consumer signed: OAuth 1.0a (RFC 5849), with HMAC-SHA1.

use crate::api::fields::expecting;
use base::{Error, Result, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use oslo_http::{Query, percent_decode, percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// How far a request's time may be from ours.
pub(crate) const WINDOW: Duration = Duration::from_secs(600);
/// Longer values are no parameters.
const MAX_VALUE: usize = 1024;

/// A signed request, whoever signed it.
pub(crate) struct SignedRequest {
    method: String,
    /// The addresses by which this place is known; the signature is over one of them.
    urls: Vec<String>,
    oauth: BTreeMap<String, String>,
    /// What else was signed: the query's pairs, and a form's.
    params: Vec<(String, String)>,
}

fn failed(why: &str) -> Error {
    Error::bad_request(format!(
        "Validation failed with errors: invalid_request, detail message is: {why}."
    ))
}

impl SignedRequest {
    /// 400 unless the header is OAuth's.
    pub(crate) fn parse(
        authorization: Option<&str>,
        method: &str,
        urls: Vec<String>,
        params: Vec<(String, String)>,
    ) -> Result<SignedRequest> {
        let header = authorization.ok_or_else(|| failed("missing Authorization header"))?;
        let scheme = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("oauth"));
        let (_, rest) = scheme.ok_or_else(|| failed("the Authorization header is not OAuth's"))?;
        Ok(SignedRequest {
            method: method.to_string(),
            urls,
            oauth: parameters(rest)?,
            params,
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.oauth.get(name).map(String::as_str);
        value.filter(|v| !v.is_empty())
    }

    /// 400 if it is not there.
    pub(crate) fn required(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| expecting(name, "request"))
    }

    /// 400 unless all is there that makes a signature one of this time and of one use.
    pub(crate) fn check(&self, now: Timestamp) -> Result<()> {
        if self.required("oauth_signature_method")? != "HMAC-SHA1" {
            return Err(failed(
                "invalid signature method, only HMAC-SHA1 is supported",
            ));
        }
        if self.get("oauth_version").is_some_and(|v| v != "1.0") {
            return Err(failed("invalid OAuth version"));
        }
        self.required("oauth_nonce")?;
        self.required("oauth_signature")?;
        let seconds = self.required("oauth_timestamp")?.parse::<i64>();
        let seconds = seconds.map_err(|_| failed("invalid timestamp"))?;
        if seconds.abs_diff(now.seconds()) > WINDOW.as_secs() {
            return Err(failed("the timestamp differs by more than 600 seconds"));
        }
        Ok(())
    }

    /// Whether these secrets signed it.
    pub(crate) fn is_signed_by(&self, consumer_secret: &str, token_secret: &str) -> bool {
        let signature = self.get("oauth_signature").unwrap_or_default();
        let Ok(given) = STANDARD.decode(signature) else {
            return false;
        };
        let key = format!(
            "{}&{}",
            percent_encode(consumer_secret),
            percent_encode(token_secret)
        );
        let params = self.normalized();
        self.urls.iter().any(|url| {
            let text = format!(
                "{}&{}&{}",
                self.method,
                percent_encode(url),
                percent_encode(&params)
            );
            // Any length of key is a key to HMAC; the error cannot occur.
            let mut mac =
                Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap_or_else(|_| unreachable!());
            mac.update(text.as_bytes());
            mac.verify_slice(&given).is_ok()
        })
    }

    fn normalized(&self) -> String {
        let signed =
            |name: &&String| name.as_str() != "oauth_signature" && name.as_str() != "realm";
        let header = self.oauth.iter().filter(|(name, _)| signed(name));
        let header = header.map(|(n, v)| (percent_encode(n), percent_encode(v)));
        let other = self.params.iter();
        let other = other.map(|(n, v)| (percent_encode(n), percent_encode(v)));
        let mut pairs: Vec<(String, String)> = header.chain(other).collect();
        pairs.sort();
        let pairs: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.join("&")
    }

    /// What no two requests have in common.
    pub(crate) fn nonce_id(&self) -> String {
        let parts = [
            "oauth_consumer_key",
            "oauth_token",
            "oauth_timestamp",
            "oauth_nonce",
        ];
        let mut hash = Sha256::new();
        for part in parts {
            let value = self.get(part).unwrap_or_default();
            hash.update(percent_encode(value).as_bytes());
            hash.update(b"&");
        }
        format!("{:x}", hash.finalize())
    }
}

/// `a="b", c="d"`, each once.
fn parameters(mut rest: &str) -> Result<BTreeMap<String, String>> {
    let malformed = || failed("the Authorization header is malformed");
    let mut found = BTreeMap::new();
    rest = rest.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(malformed)?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(malformed)?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        let name = percent_decode(name.trim(), false)?;
        let value = percent_decode(value.trim(), false)?;
        if value.len() > MAX_VALUE || found.insert(name, value).is_some() {
            return Err(malformed());
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.is_empty() => after,
            None => return Err(malformed()),
        };
    }
    Ok(found)
}

/// The pairs of a form, if the body is one.
pub(crate) fn form(content_type: Option<&str>, body: &[u8]) -> Result<Vec<(String, String)>> {
    let is_form = content_type.is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
    match is_form {
        true => Ok(Query::decode(&String::from_utf8_lossy(body))?.0),
        false => Ok(vec![]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 5849, section 1.2, whose secrets and signatures are given there.
    #[test]
    fn the_standards_examples() {
        let token = concat!(
            r#"OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="hh5s93j4hdidpola","#,
            r#"oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_nonce="walatlh","#,
            r#"oauth_verifier="hfdp7dh39dks9884", oauth_signature="gKgrFCywp7rO0OXSjdot%2FIHF7IU%3D""#
        );
        let urls = vec![
            "http://elsewhere.example/".to_string(),
            "https://photos.example.net/token".to_string(),
        ];
        let request = SignedRequest::parse(Some(token), "POST", urls, vec![]).unwrap();
        assert!(request.is_signed_by("kd94hf93k423kf44", "hdhd0244k9j7ao03"));
        assert!(!request.is_signed_by("kd94hf93k423kf45", "hdhd0244k9j7ao03"));
        assert!(!request.is_signed_by("kd94hf93k423kf44", ""));
        let then = Timestamp::from_seconds(137_131_201 + 600);
        request.check(then).unwrap();
        assert!(request.check(then.plus(Duration::from_secs(1))).is_err());

        let photos = concat!(
            r#"OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="nnch734d00sl2jdk","#,
            r#"oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131202", oauth_nonce="chapoH","#,
            r#"oauth_signature="MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D""#
        );
        let get = |size: &str| {
            let pair = |n: &str, v: &str| (n.to_string(), v.to_string());
            let params = vec![pair("size", size), pair("file", "vacation.jpg")];
            let urls = vec!["http://photos.example.net/photos".to_string()];
            let request = SignedRequest::parse(Some(photos), "GET", urls, params).unwrap();
            request.is_signed_by("kd94hf93k423kf44", "pfkkdhi9sl3r4s00")
        };
        assert!(get("original") && !get("small"));
    }

    #[test]
    fn malformed_headers() {
        let parse = |header: &str| SignedRequest::parse(Some(header), "POST", vec![], vec![]);
        for bad in [
            "",
            "Basic eA==",
            "OAuth",
            "OAuth a",
            "OAuth a=\"b",
            "OAuth a=\"b\" c=\"d\"",
            "OAuth a=\"1\", a=\"2\"",
            "OAuth a=\"%zz\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("OAuth a=\"{}\"", "x".repeat(2000))).is_err());
        let fine = parse("oauth a=1,b=\"%2C\" , c=\"\"").unwrap();
        assert_eq!(
            (fine.get("a"), fine.get("b"), fine.get("c")),
            (Some("1"), Some(","), None)
        );
        assert!(SignedRequest::parse(None, "POST", vec![], vec![]).is_err());
    }
}
