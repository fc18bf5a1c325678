//! Passcodes of six digits that change every thirty seconds (RFC 6238), from secrets that users keep as credentials of type
//! `totp`.

use hmac::{Hmac, Mac};
use sha1::Sha1;

const STEP: u64 = 30;
const DIGITS: u32 = 1_000_000;

/// RFC 4648's base 32, padded or not.
fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    for byte in text.trim().trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (!out.is_empty()).then_some(out)
}

fn passcode(secret: &[u8], step: u64) -> String {
    // Any length of key is a key to HMAC; the error cannot occur.
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).unwrap_or_else(|_| unreachable!());
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[digest.len() - 1] & 0x0f);
    let word = digest[at..at + 4]
        .iter()
        .fold(0u32, |n, b| n << 8 | u32::from(*b));
    format!("{:06}", (word & 0x7fff_ffff) % DIGITS)
}

/// Whether the passcode is that of now, or of one of so many windows before.
pub(crate) fn matches(secret: &str, given: &str, seconds: u64, previous: u64) -> bool {
    let Some(secret) = base32(secret) else {
        return false;
    };
    let now = seconds / STEP;
    let oldest = now.saturating_sub(previous);
    // All are looked at, so that time does not tell which came close.
    (oldest..=now).fold(false, |found, step| {
        found | same(&passcode(&secret, step), given)
    })
}

fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, of which six digits are taken here.
    #[test]
    fn specification() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(base32(secret).unwrap(), b"12345678901234567890");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert!(matches(secret, code, seconds, 0), "{seconds}");
            assert!(!matches(secret, code, seconds + 30, 0));
            assert!(matches(secret, code, seconds + 30, 1));
            assert!(!matches(secret, code, seconds - 30, 1));
        }
        for bad in ["", "28708", "2870821", "28708x"] {
            assert!(!matches(secret, bad, 59, 9), "{bad}");
        }
        for bad in ["", "=", "1", "a", "\u{e9}"] {
            assert!(!matches(bad, "287082", 59, 9), "{bad}");
        }
    }
}
