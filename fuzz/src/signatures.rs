//! Signed requests as a service describes them in `POST /v3/ec2tokens`, and texts that were signed, of `/v3/s3tokens`.

use crate::signature::{Signed, verify_s3};
use serde_json::{Value, json};

/// JSON, or three lines: access key, text, signature.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(2, '\n');
    if let (Some(token), Some(signature)) = (lines.next(), lines.next()) {
        assert!(verify_s3("secret", token, signature).is_err());
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let Ok(signed) = Signed::parse(&value) else {
        return;
    };
    assert!(signed.verify("secret").is_err(), "nobody knows the secret");
    let time = signed.time().ok();
    // Of version 2 the parameters are signed, so no header tells when.
    if value["params"]["SignatureVersion"] == "2" {
        let mut forged = value.clone();
        forged["headers"] = json!({
            "Authorization": "AWS4-HMAC-SHA256 Credential=a", "X-Amz-Date": "20260102T030405Z",
        });
        if let Ok(forged) = Signed::parse(&forged) {
            assert_eq!(forged.time().ok(), time);
        }
    }
}
