//! Tokens' meanings in a cache that all API processes share. As with upstream's `memcache_security_strategy = MAC`: keys
//! are hashes of tokens, so nothing there opens a door, and what is read counts only with a code that nobody can make
//! who does not know the secret of the cloud.

use crate::Known;
use base::Secret;
use hmac::{Hmac, Mac};
use oslo_cache::Cache;
use sha2::Sha256;
use std::time::Duration;

const TAG: usize = 32;

pub(crate) struct Shared {
    cache: Cache,
    secret: Secret,
    ttl: Duration,
}

impl Shared {
    pub(crate) fn new(cache: Cache, secret: Secret, ttl: Duration) -> Shared {
        Shared { cache, secret, ttl }
    }

    /// What a process of this cloud wrote under this very token.
    pub(crate) async fn get(&self, token: &[u8; 32]) -> Option<Known> {
        let name = self.name(token);
        let bytes = self.cache.get(&name).await?;
        let (tag, payload) = bytes.split_at_checked(TAG)?;
        if self.mac(&name, payload).verify_slice(tag).is_err() {
            tracing::warn!(
                "what the cache holds of a token was not written with this cloud's secret"
            );
            return None;
        }
        serde_json::from_slice(payload).ok()
    }

    pub(crate) async fn set(&self, token: &[u8; 32], known: &Known) {
        let name = self.name(token);
        let Ok(payload) = serde_json::to_vec(known) else {
            return;
        };
        let mut bytes = self.mac(&name, &payload).finalize().into_bytes().to_vec();
        bytes.extend_from_slice(&payload);
        self.cache.set(&name, &bytes, self.ttl).await;
    }

    fn name(&self, token: &[u8; 32]) -> String {
        let hash = self.mac("name", token).finalize().into_bytes();
        format!("token/{hash:x}")
    }

    /// Over the name as well: a value moved to another token's name is none.
    fn mac(&self, name: &str, payload: &[u8]) -> Hmac<Sha256> {
        let secret = self.secret.expose().as_bytes();
        // Any length of key is a key to HMAC; the error cannot occur.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!());
        for part in [&b"oslo-auth"[..], name.as_bytes()] {
            mac.update(part);
            mac.update(&[0]);
        }
        mac.update(payload);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValidatedToken;
    use sha2::Digest;

    #[tokio::test]
    async fn only_what_this_cloud_wrote_under_this_token_counts() {
        let cache = Cache::memory(1 << 20);
        let ttl = Duration::from_secs(60);
        let ours = Shared::new(cache.clone(), "secret".into(), ttl);
        let theirs = Shared::new(cache.clone(), "guess".into(), ttl);
        let [ann, bob]: [[u8; 32]; 2] = ["ann", "bob"].map(|t| Sha256::digest(t).into());
        let known = Known {
            token: ValidatedToken {
                user_id: "ann".into(),
                roles: vec!["admin".into()],
                ..ValidatedToken::default()
            },
            generation: 7,
            late: false,
        };
        ours.set(&ann, &known).await;
        assert_eq!(ours.get(&ann).await.as_ref(), Some(&known));
        assert_eq!(ours.get(&bob).await, None);
        assert_eq!(theirs.get(&ann).await, None);

        let (name, other) = (ours.name(&ann), ours.name(&bob));
        let bytes = cache.get(&name).await.unwrap();
        let plain: String = format!("{:x}", Sha256::digest("ann"));
        assert!(!name.contains(&plain), "{name}");
        // Moved to another token, changed, cut, sealed by somebody else.
        cache.set(&other, &bytes, ttl).await;
        assert_eq!(ours.get(&bob).await, None);
        let changed =
            String::from_utf8_lossy(&bytes[TAG..]).replace("\"generation\":7", "\"generation\":9");
        let changed = [&bytes[..TAG], changed.as_bytes()].concat();
        for bad in [&changed[..], &bytes[..TAG], &bytes[..5], b""] {
            cache.set(&name, bad, ttl).await;
            assert_eq!(ours.get(&ann).await, None);
        }
        theirs.set(&ann, &known).await;
        let foreign = cache.get(&theirs.name(&ann)).await.unwrap();
        cache.set(&name, &foreign, ttl).await;
        assert_eq!(ours.get(&ann).await, None);
    }
}
