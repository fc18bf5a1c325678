//! Trusts: a user lets another act with some of their roles on a project.

use crate::db::{Extra, missing};
use base::{Dir, Json, Result, Timestamp};
use oslo_db::{Cond, Tx, all, any, eq, ge, gt, is_in, is_null, set};

oslo_db::table! {
    /// A trust.
    pub(crate) struct TrustRow in "identity_trusts" {
        pub id: String,
        pub trustor_user_id: String,
        pub trustee_user_id: String,
        pub project_id: Option<String>,
        pub impersonation: bool,
        pub expires_at: Option<Timestamp>,
        pub remaining_uses: Option<i64>,
        pub redelegated_trust_id: Option<String>,
        pub redelegation_count: i64,
        pub extra: Json<Extra>,
    }

    /// A role that one delegates.
    pub(crate) struct TrustRoleRow in "identity_trust_roles" {
        pub trust_id: String,
        pub role_id: String,
    }
}

/// Longer chains are none: `max_redelegation_count` is smaller, and a circle would have no end.
const LONGEST: usize = 64;

/// A trust that has not ended, used up or not: tokens made with its last use live on.
pub(crate) fn find_live(tx: &mut Tx, id: &str, now: Timestamp) -> Result<Option<TrustRow>> {
    let lives = any([is_null("expires_at"), ge("expires_at", now)]);
    tx.find(all([eq("id", id), lives]))
}

/// A trust, whatever became of it.
pub(crate) fn find_any(tx: &mut Tx, id: &str) -> Result<Option<TrustRow>> {
    tx.find(eq("id", id))
}

/// A trust that can be used.
pub(crate) fn find(tx: &mut Tx, id: &str, now: Timestamp) -> Result<Option<TrustRow>> {
    let found = find_live(tx, id, now)?;
    Ok(found.filter(|t| t.remaining_uses.is_none_or(|n| n > 0)))
}

pub(crate) fn get(tx: &mut Tx, id: &str, now: Timestamp) -> Result<TrustRow> {
    find(tx, id, now)?.ok_or_else(|| missing("trust", id))
}

pub(crate) fn list(tx: &mut Tx, cond: Cond) -> Result<Vec<TrustRow>> {
    tx.select_sorted(cond, &[("id", Dir::Asc)], None)
}

/// The trusts that this one was made by, nearest first; none if the chain is broken.
pub(crate) fn ancestors(tx: &mut Tx, trust: &TrustRow) -> Result<Option<Vec<TrustRow>>> {
    let mut above: Vec<TrustRow> = Vec::new();
    let mut next = trust.redelegated_trust_id.clone();
    while let Some(id) = next {
        let parent = find_any(tx, &id)?;
        let Some(parent) = parent.filter(|_| above.len() < LONGEST) else {
            return Ok(None);
        };
        next = parent.redelegated_trust_id.clone();
        above.push(parent);
    }
    Ok(Some(above))
}

pub(crate) fn role_ids(tx: &mut Tx, id: &str) -> Result<Vec<String>> {
    let rows: Vec<TrustRoleRow> = tx.select(eq("trust_id", id))?;
    Ok(rows.into_iter().map(|r| r.role_id).collect())
}

/// Takes one of the remaining uses; false if there is none.
pub(crate) fn consume(tx: &mut Tx, id: &str) -> Result<bool> {
    let Some(trust) = tx.find_for_update::<TrustRow>(eq("id", id))? else {
        return Ok(false);
    };
    let Some(left) = trust.remaining_uses else {
        return Ok(true);
    };
    let usable = all([
        eq("id", id),
        eq("remaining_uses", left),
        gt("remaining_uses", 0i64),
    ]);
    let taken = tx.update::<TrustRow>(usable, &[set("remaining_uses", left - 1)])?;
    Ok(taken == 1)
}

/// Deletes the trusts that match and all that were made by them.
pub(crate) fn delete(tx: &mut Tx, cond: Cond) -> Result<()> {
    let mut level: Vec<String> = tx
        .select::<TrustRow>(cond)?
        .into_iter()
        .map(|t| t.id)
        .collect();
    while !level.is_empty() {
        let mut below = Vec::new();
        for ids in level.chunks(5_000) {
            let made: Vec<TrustRow> = tx.select(is_in("redelegated_trust_id", ids.iter()))?;
            below.extend(made.into_iter().map(|t| t.id));
            tx.delete::<TrustRoleRow>(is_in("trust_id", ids.iter()))?;
            tx.delete::<TrustRow>(is_in("id", ids.iter()))?;
        }
        level = below;
    }
    Ok(())
}

/// Whatever users trusted or were trusted with.
pub(crate) fn delete_of_users(tx: &mut Tx, user_ids: &[String]) -> Result<()> {
    let theirs = any([
        is_in("trustor_user_id", user_ids.iter()),
        is_in("trustee_user_id", user_ids.iter()),
    ]);
    delete(tx, theirs)
}
