//! Receipts: what callers get who have given some of the proofs that are asked of them, to come back with the rest.
//!
//! Sealed as tokens are, with keys made of theirs, so that neither is ever taken for the other and both rotate at once.

use crate::Keystone;
use crate::api::unauthorized;
use crate::token::fernet::{self, Key};
use crate::token::msgpack::Pack;
use crate::token::payload::{method_bits, methods_of, pack_id, unpack_id};
use crate::token::revocations::Subject;
use base::{Error, Result, Timestamp};
use std::time::Duration;

const VERSION: i64 = 0;
const PURPOSE: &str = "receipt";

/// What a receipt says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Receipt {
    pub user_id: String,
    pub methods: Vec<&'static str>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

fn write(receipt: &Receipt) -> Vec<u8> {
    let items = vec![
        Pack::Int(VERSION),
        pack_id(&receipt.user_id),
        Pack::Int(method_bits(&receipt.methods)),
        Pack::Float(receipt.expires_at.0 as f64 / 1e6),
        Pack::Int(receipt.issued_at.0),
    ];
    let mut out = Vec::with_capacity(64);
    Pack::Array(items).write(&mut out);
    out
}

fn read(mut bytes: &[u8]) -> Option<Receipt> {
    let Some(Pack::Array(items)) = Pack::read(&mut bytes) else {
        return None;
    };
    let [
        Pack::Int(VERSION),
        user_id,
        Pack::Int(methods),
        Pack::Float(expires),
        Pack::Int(issued_at),
    ] = &items[..]
    else {
        return None;
    };
    Some(Receipt {
        user_id: unpack_id(user_id)?,
        methods: methods_of(*methods),
        issued_at: Timestamp(*issued_at),
        expires_at: Timestamp((expires * 1e6).round() as i64),
    })
}

impl Keystone {
    fn receipt_keys(&self) -> Vec<Key> {
        let keys = self.keys.all();
        keys.iter().map(|key| key.derived(PURPOSE)).collect()
    }

    /// A receipt for these methods, and its text.
    pub(crate) fn issue_receipt(
        &self,
        user_id: String,
        methods: Vec<&'static str>,
    ) -> Result<(String, Receipt)> {
        let now = self.clock.now();
        let lasts = Duration::from_secs(self.conf.receipt.expiration);
        let receipt = Receipt {
            user_id,
            methods,
            issued_at: now,
            expires_at: Timestamp::from_seconds(now.seconds()).plus(lasts),
        };
        let seconds = u64::try_from(now.seconds()).map_err(Error::internal)?;
        let keys = self.receipt_keys();
        let primary = keys
            .first()
            .ok_or_else(|| Error::internal("no token keys"))?;
        Ok((primary.seal(&write(&receipt), seconds), receipt))
    }

    /// 401 for what is no receipt, or no longer one: what ends the user's tokens, a new password say, ends what was
    /// proven before it too.
    pub(crate) fn read_receipt(&self, text: &str) -> Result<Receipt> {
        let opened = fernet::open(&self.receipt_keys(), text);
        let receipt = opened.and_then(|(bytes, _)| read(&bytes));
        let lives = |r: &Receipt| r.expires_at > self.clock.now();
        let receipt = receipt.filter(lives).ok_or_else(unauthorized)?;
        let subject = Subject {
            audit_id: "",
            user_ids: [Some(&receipt.user_id), None],
            project_id: None,
            domain_ids: [None; 4],
            issued_at: receipt.issued_at,
        };
        match self.is_revoked(&subject) {
            true => Err(unauthorized()),
            false => Ok(receipt),
        }
    }
}
