//! AWS Signature Version 4 in the `Authorization` header: no signature ever stands in an address that a log may show.

use base::{Error, Result, Secret, Timestamp};
use hmac::{Hmac, Mac};
use oslo_http::{Body, percent_encode};
use sha2::{Digest, Sha256};

/// The body is not part of the signature; its MD5 goes along where it is worth it.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

pub struct Key {
    pub access: Secret,
    pub secret: Secret,
    pub region: String,
}

/// A request before it is signed. `path` is encoded already.
pub struct Unsigned<'a> {
    pub method: &'a str,
    /// `https://host:port`.
    pub server: &'a str,
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'a str, &'a str)],
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    crate::upload::hex(bytes)
}

impl Key {
    /// The request with its signature, good for some minutes from `now`.
    pub fn sign(
        &self,
        request: &Unsigned<'_>,
        body: Body,
        now: Timestamp,
    ) -> Result<http::Request<Body>> {
        let host = request
            .server
            .split_once("://")
            .map_or(request.server, |(_, host)| host);
        let date = now.format("%Y%m%dT%H%M%SZ");
        let mut query: Vec<String> = request
            .query
            .iter()
            .map(|(k, v)| format!("{}={}", percent_encode(k), percent_encode(v)))
            .collect();
        query.sort();
        let query = query.join("&");
        let mut headers = vec![
            ("host", host),
            ("x-amz-content-sha256", UNSIGNED),
            ("x-amz-date", &date),
        ];
        headers.extend_from_slice(request.headers);
        headers.sort();
        let canonical: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical = format!(
            "{}\n{}\n{query}\n{canonical}\n{names}\n{UNSIGNED}",
            request.method, request.path
        );
        let day = &date[..8];
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
        let mut key = format!("AWS4{}", self.secret.expose()).into_bytes();
        for part in [day, &self.region, "s3", "aws4_request"] {
            key = hmac(&key, part)?;
        }
        let signature = hex(&hmac(&key, &text)?);
        let access = self.access.expose();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        let mark = if query.is_empty() { "" } else { "?" };
        let mut signed = http::Request::builder()
            .method(request.method)
            .uri(format!("{}{}{mark}{query}", request.server, request.path))
            .header("authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            signed = signed.header(*name, *value);
        }
        signed.body(body).map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_everything_but_the_body() {
        let key = Key {
            access: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
        };
        let now = Timestamp::parse("2013-05-24T00:00:00Z").unwrap();
        let sign = |method, query: &[(&str, &str)], headers: &[(&str, &str)]| {
            let request = Unsigned {
                method,
                server: "https://examplebucket.s3.amazonaws.com",
                path: "/test.txt",
                query,
                headers,
            };
            let signed = key.sign(&request, Body::Empty, now).unwrap();
            let header = signed.headers()["authorization"].to_str().unwrap();
            header.to_string()
        };
        let plain = sign("GET", &[], &[]);
        assert!(
            plain.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
            ),
            "{plain}"
        );
        assert!(!plain.contains("wJalr"));
        assert_eq!(plain, sign("GET", &[], &[]));
        assert_ne!(plain, sign("PUT", &[], &[]));
        assert_ne!(plain, sign("GET", &[("uploads", "")], &[]));
        assert_ne!(plain, sign("GET", &[], &[("range", "bytes=0-9")]));
        // In whatever order they are given.
        let two = [("a", "1"), ("b", "2")];
        assert_eq!(sign("GET", &two, &[]), sign("GET", &[two[1], two[0]], &[]));
    }
}
