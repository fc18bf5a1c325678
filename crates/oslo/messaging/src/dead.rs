//! Messages that must not be given to anybody again, and why.

use base::str_enum;

str_enum! {
    /// Why a message is dead.
    pub(crate) enum Reason {
        Unreadable = "unreadable",
        Panicked = "panicked",
        // The broker's own word, for the same thing.
        DeliveryLimit = "delivery_limit",
    }
}

/// The end of a message.
#[derive(Debug)]
pub(crate) struct Death {
    pub reason: Reason,
    /// For whoever looks at it.
    pub words: String,
}

impl Death {
    pub(crate) fn new(reason: Reason, words: impl std::fmt::Display) -> Death {
        Death {
            reason,
            words: words.to_string(),
        }
    }
}
