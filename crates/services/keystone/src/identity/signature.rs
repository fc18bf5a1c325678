//! Signatures of Amazon's kinds over requests that somebody else received: version 2 and 4 of EC2, and S3's over a text.

use base::{Error, Result, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const V4: &str = "AWS4-HMAC-SHA256";

fn invalid() -> Error {
    Error::unauthorized("Invalid EC2 signature.")
}

fn hmac256(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    // Any length of key is a key to HMAC; the error cannot occur.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!());
    mac.update(message);
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let pairs = text.chunks(2).map(|pair| match pair {
        [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    });
    pairs.collect()
}

/// A request as whoever received it describes it.
pub(crate) struct Signed {
    pub access: String,
    signature: String,
    host: String,
    verb: String,
    path: String,
    params: BTreeMap<String, String>,
    /// By names in lower case.
    headers: BTreeMap<String, String>,
    body_hash: String,
}

fn pairs(value: &Value, lower: bool) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let map = value.as_object().into_iter().flatten();
    map.map(|(name, value)| match lower {
        true => (
            name.trim().to_ascii_lowercase(),
            text(value).trim().to_string(),
        ),
        false => (name.clone(), text(value)),
    })
    .collect()
}

impl Signed {
    /// 401 unless it names an access key and a signature.
    pub(crate) fn parse(value: &Value) -> Result<Signed> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_string();
        let signed = Signed {
            access: text("access"),
            signature: text("signature"),
            host: text("host"),
            verb: text("verb"),
            path: text("path"),
            params: pairs(&value["params"], false),
            headers: pairs(&value["headers"], true),
            body_hash: text("body_hash"),
        };
        if signed.access.is_empty() || signed.signature.is_empty() {
            return Err(Error::unauthorized("EC2 signature not supplied."));
        }
        Ok(signed)
    }

    fn is_v4(&self) -> bool {
        match self.headers.get("authorization") {
            Some(header) => header.starts_with(V4),
            None => self.params.get("X-Amz-Algorithm").is_some_and(|a| a == V4),
        }
    }

    fn signs_params(&self) -> bool {
        self.params
            .get("SignatureVersion")
            .is_some_and(|v| v == "2")
    }

    /// When it was signed, if the signature says so. Of the two ways to say it only the one counts that is signed,
    /// which is that of the version by which [`Signed::verify`] judges.
    pub(crate) fn time(&self) -> Result<Option<Timestamp>> {
        let text = match self.signs_params() {
            true => self.params.get("Timestamp").map(String::as_str),
            false => self.date(),
        };
        let Some(text) = text else { return Ok(None) };
        match parse_time(text) {
            Some(time) => Ok(Some(time)),
            None => Err(Error::unauthorized("Credential timestamp is invalid")),
        }
    }

    /// 401 unless this secret signed the request.
    pub(crate) fn verify(&self, secret: &str) -> Result<()> {
        let good = match self.signs_params() {
            true => {
                self.verify_params(secret, &self.host) || self.verify_params_without_port(secret)
            }
            // Versions 0 and 1 leave open what was signed.
            false => self.is_v4() && self.verify_request(secret).unwrap_or(false),
        };
        if good { Ok(()) } else { Err(invalid()) }
    }

    /// Some clients sign without the port.
    fn verify_params_without_port(&self, secret: &str) -> bool {
        let host = self.host.rsplit_once(':').map(|(host, _)| host);
        host.is_some_and(|host| self.verify_params(secret, host))
    }

    fn verify_params(&self, secret: &str, host: &str) -> bool {
        let mut params = self.params.clone();
        params.remove("Signature");
        params.insert("SignatureMethod".into(), "HmacSHA256".into());
        let text = format!(
            "{}\n{host}\n{}\n{}",
            self.verb,
            self.path,
            canonical(&params)
        );
        let Ok(given) = STANDARD.decode(&self.signature) else {
            return false;
        };
        hmac256(secret.as_bytes(), text.as_bytes())
            .verify_slice(&given)
            .is_ok()
    }

    /// `SignedHeaders`, `Credential`: in the header or the query.
    fn auth_param(&self, name: &str) -> Option<&str> {
        match self.headers.get("authorization") {
            Some(header) => {
                let (_, rest) = header.split_once(&format!("{name}="))?;
                rest.split(',').next().map(str::trim)
            }
            None => self
                .params
                .get(&format!("X-Amz-{name}"))
                .map(String::as_str),
        }
    }

    fn date(&self) -> Option<&str> {
        let header = self.headers.get("x-amz-date");
        let param = self.params.get("X-Amz-Date");
        header.or(param).map(String::as_str)
    }

    fn verify_request(&self, secret: &str) -> Option<bool> {
        let signed_headers = self.auth_param("SignedHeaders")?;
        let headers: String = signed_headers
            .split(';')
            .filter_map(|name| Some(format!("{name}:{}\n", self.headers.get(name)?)))
            .collect();
        let mut params = self.params.clone();
        params.remove("X-Amz-Signature");
        // What a POST carries is in its body.
        let query = match self.verb.eq_ignore_ascii_case("POST") {
            true => String::new(),
            false => canonical(&params),
        };
        let request = [
            &self.verb.to_ascii_uppercase(),
            &self.path,
            &query,
            &headers,
            signed_headers,
            &self.body_hash,
        ]
        .join("\n");
        let scope: Vec<&str> = self.auth_param("Credential")?.split('/').collect();
        let [_, day, region, service, ..] = scope[..] else {
            return None;
        };
        let date = self.date().filter(|date| date.starts_with(day))?;
        let text = format!(
            "{V4}\n{date}\n{}\n{:x}",
            scope[1..].join("/"),
            Sha256::digest(request.as_bytes())
        );
        let key = v4_key(secret, [day, region, service]);
        let given = unhex(&self.signature)?;
        Some(hmac256(&key, text.as_bytes()).verify_slice(&given).is_ok())
    }
}

fn v4_key(secret: &str, scope: [&str; 3]) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    let steps = scope.into_iter().chain(["aws4_request"]);
    steps.fold(first, |key, step| {
        hmac256(&key, step.as_bytes())
            .finalize()
            .into_bytes()
            .to_vec()
    })
}

/// `a=1&b=2`, by name, with everything escaped that Amazon wants escaped.
fn canonical(params: &BTreeMap<String, String>) -> String {
    let pairs = params
        .iter()
        .map(|(name, value)| format!("{}={}", quoted(name), quoted(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `2026-01-02T03:04:05Z` and `20260102T030405Z`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let plain =
        text.len() == 16 && text.is_ascii() && text.as_bytes()[8] == b'T' && text.ends_with('Z');
    if plain {
        let (d, t) = (&text[..8], &text[9..15]);
        let long = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &d[..4],
            &d[4..6],
            &d[6..],
            &t[..2],
            &t[2..4],
            &t[4..]
        );
        return Timestamp::parse(&long).ok();
    }
    Timestamp::parse(text).ok()
}

/// 401 unless this secret signed the text, which comes in base64 for URLs: S3's request, as the object store saw it.
pub(crate) fn verify_s3(secret: &str, token: &str, signature: &str) -> Result<()> {
    let mismatch = || Error::unauthorized("Credential signature mismatch");
    let text = URL_SAFE.decode(token).map_err(|_| mismatch())?;
    let good = match text.starts_with(b"AWS4") {
        true => {
            let key = s3_key(secret, &text).ok_or_else(invalid)?;
            let given = unhex(signature).ok_or_else(mismatch)?;
            hmac256(&key, &text).verify_slice(&given).is_ok()
        }
        false => {
            let given = STANDARD.decode(signature).map_err(|_| mismatch())?;
            let mut mac =
                Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| unreachable!());
            mac.update(&text);
            mac.verify_slice(&given).is_ok()
        }
    };
    if good { Ok(()) } else { Err(mismatch()) }
}

fn s3_key(secret: &str, text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let lines: Vec<&str> = text.split('\n').collect();
    let [V4, _, scope, _] = lines[..] else {
        return None;
    };
    let parts: Vec<&str> = scope.split('/').collect();
    let [
        day,
        region,
        service @ ("s3" | "iam" | "sts"),
        "aws4_request",
    ] = parts[..]
    else {
        return None;
    };
    Some(v4_key(secret, [day, region, service]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The example of Amazon's documentation of signature version 2.
    #[test]
    fn version_2() {
        let mut request = json!({
            "access": "AKIAIOSFODNN7EXAMPLE",
            "signature": "i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf/Mj6vPxyYIs=",
            "host": "elasticmapreduce.amazonaws.com",
            "verb": "GET",
            "path": "/",
            "params": {
                "AWSAccessKeyId": "AKIAIOSFODNN7EXAMPLE",
                "Action": "DescribeJobFlows",
                "SignatureMethod": "HmacSHA256",
                "SignatureVersion": "2",
                "Timestamp": "2011-10-03T15:19:30",
                "Version": "2009-03-31",
            },
        });
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let signed = Signed::parse(&request).unwrap();
        signed.verify(secret).unwrap();
        assert_eq!(
            signed.time().unwrap(),
            Some(Timestamp::from_seconds(1_317_655_170))
        );
        assert!(signed.verify("guess").is_err());
        request["host"] = json!("elasticmapreduce.amazonaws.com:8773");
        Signed::parse(&request).unwrap().verify(secret).unwrap();
        request["params"]["Action"] = json!("TerminateJobFlows");
        assert!(Signed::parse(&request).unwrap().verify(secret).is_err());
        for version in ["0", "1", "3"] {
            request["params"]["SignatureVersion"] = json!(version);
            assert!(Signed::parse(&request).unwrap().verify(secret).is_err());
        }
    }

    /// The `get-vanilla-query-order-key-case` request of Amazon's test suite of signature version 4.
    #[test]
    fn version_4() {
        let mut request = json!({
            "access": "AKIDEXAMPLE",
            "signature": "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            "host": "example.amazonaws.com",
            "verb": "GET",
            "path": "/",
            "params": {"Param2": "value2", "Param1": "value1"},
            "headers": {
                "Host": "example.amazonaws.com",
                "X-Amz-Date": "20150830T123600Z",
                "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            },
            "body_hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        });
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let signed = Signed::parse(&request).unwrap();
        signed.verify(secret).unwrap();
        assert_eq!(
            signed.time().unwrap(),
            Some(Timestamp::from_seconds(1_440_938_160))
        );
        assert!(signed.verify("guess").is_err());
        // A time beside the signed one says nothing.
        request["params"]["Timestamp"] = json!("2035-01-01T00:00:00Z");
        let signed = Signed::parse(&request).unwrap();
        assert!(signed.verify(secret).is_err());
        assert_eq!(
            signed.time().unwrap(),
            Some(Timestamp::from_seconds(1_440_938_160))
        );
        request["headers"]["X-Amz-Date"] = json!("20150831T123600Z");
        assert!(Signed::parse(&request).unwrap().verify(secret).is_err());
        assert!(Signed::parse(&json!({"access": "a"})).is_err());
    }

    #[test]
    fn s3() {
        // The example of Amazon's documentation of S3's signature version 2.
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let text = "GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/awsexamplebucket1/photos/puppy.jpg";
        let token = URL_SAFE.encode(text);
        verify_s3(secret, &token, "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=").unwrap();
        assert!(verify_s3("guess", &token, "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=").is_err());
        // And of version 4.
        let text = "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972";
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        verify_s3(secret, &URL_SAFE.encode(text), signature).unwrap();
        let other = text.replace("/s3/", "/ec2/");
        assert!(verify_s3(secret, &URL_SAFE.encode(other), signature).is_err());
        for bad in ["", "%", "AAAA"] {
            assert!(verify_s3(secret, bad, "").is_err());
        }
    }
}
