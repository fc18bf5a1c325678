//! What keystone tells the processes of a cloud. Upstream has no such thing: there, what is remembered of a token ends
//! with its time to live.

oslo_messaging::interface! {
    /// Whoever believes tokens listens; keystones tell everybody by fanout. A message that is lost costs seconds: everybody
    /// also looks now and then.
    pub trait GenerationApi, client GenerationClient, topic "keystone-generation", exchange "keystone", version "1.0" {
        /// Something was written: tokens may mean something else, or nothing, from this generation on.
        cast fn moved(&self, generation: u64);
    }
}

/// The header in which `GET /v3/auth/tokens` says at which generation it looked.
pub const GENERATION_HEADER: &str = "x-identity-generation";

/// The header in which whoever asks about a token says that they heed its access rules; keystone does not show such
/// tokens to others.
pub const ACCESS_RULES_HEADER: &str = "openstack-identity-access-rules";
