//! Tokens: the text that a stranger sends, and the payload behind it as if one of our keys had sealed it.

mod fernet;
mod jws;
pub(crate) mod keys;
mod msgpack;
mod payload;

use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fernet::Key;
use jws::Jws;
use payload::Scope;
use std::sync::LazyLock;

/// Keystone's, which stands beside what cannot be taken in here; a field that is missing does not build.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    pub user_id: String,
    pub methods: Vec<&'static str>,
    pub scope: Scope,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub audit_ids: Vec<String>,
}

/// Microseconds up to which a float of seconds tells each from the next: until 2033.
const EXACT: i64 = 2_000_000_000_000_000;

/// Eight bytes of time and a payload, or a text.
pub fn run(data: &[u8]) {
    let keys = [Key::of([1; 32]), Key::of([2; 32])];
    if let Ok(text) = std::str::from_utf8(data) {
        if let Some((bytes, seconds)) = fernet::open(&keys, text) {
            let _ = payload::read(&bytes, seconds);
        }
        if let Ok(key) = Key::parse(text) {
            assert!(Key::parse(&key.show()).is_ok_and(|same| same == key));
        }
    }
    let Some((seconds, bytes)) = data.split_first_chunk() else {
        return;
    };
    let seconds = u64::from_be_bytes(*seconds);
    let sealed = keys[1].seal(bytes, seconds);
    assert_eq!(
        fernet::open(&keys, &sealed),
        Some((bytes.to_vec(), seconds))
    );
    assert_eq!(fernet::open(&keys[..1], &sealed), None);
    let Some(claims) = payload::read(bytes, seconds) else {
        return;
    };
    // What was read can be written, and is then read as the same.
    let short = |id: &String| URL_SAFE_NO_PAD.decode(id).map_or(id.len(), |b| b.len()) < 256;
    let plain = (0..EXACT).contains(&claims.expires_at.0)
        && claims.audit_ids.iter().all(short);
    if plain {
        let again = payload::read(&payload::write(&claims), seconds);
        assert_eq!(again, Some(claims));
    }
}

/// A text with dots, which nobody signed; or the payload of a token of the other kind, which is then signed.
pub fn run_jws(data: &[u8]) {
    static KEYS: LazyLock<Jws> = LazyLock::new(|| Jws::of_process().expect("a pair of keys"));
    if let Ok(text) = std::str::from_utf8(data)
        && jws::looks_like(text)
    {
        assert_eq!(KEYS.read(text), None, "nobody signed it");
    }
    let Some((seconds, bytes)) = data.split_first_chunk() else {
        return;
    };
    let Some(mut claims) = payload::read(bytes, u64::from_be_bytes(*seconds)) else {
        return;
    };
    let token = KEYS.sign(&claims).expect("every claim has words");
    // The end has whole seconds here; those before the first that there is cannot be said.
    let Some(micros) = claims.expires_at.seconds().checked_mul(1_000_000) else {
        return;
    };
    claims.expires_at = Timestamp(micros);
    assert_eq!(KEYS.read(&token), Some(claims));
    let mut other = token.into_bytes();
    let at = data.iter().fold(7, |n, b| n * 31 % 65_521 + usize::from(*b)) % other.len();
    other[at] = if other[at] == b'A' { b'B' } else { b'A' };
    let other = String::from_utf8(other).expect("ASCII");
    assert_eq!(KEYS.read(&other), None, "{other} was changed");
}
