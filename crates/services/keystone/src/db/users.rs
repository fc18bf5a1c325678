//! Users with their password.

use crate::db::{Extra, missing};
use base::{Dir, Json, Result, Timestamp, new_hex_id};
use oslo_db::sea_query::{Expr, ExprTrait, Query};
use oslo_db::{Table, Tx, all, eq, is_null, not_in};

oslo_db::table! {
    /// A user. Description and e-mail are `extra`, as upstream has it.
    #[derive(Default)]
    pub(crate) struct UserRow in "identity_users" {
        pub id: String,
        pub name: String,
        pub domain_id: String,
        pub enabled: bool,
        pub default_project_id: Option<String>,
        pub password_hash: Option<String>,
        pub password_changed_at: Option<Timestamp>,
        pub password_expires_at: Option<Timestamp>,
        /// Whether the user chose it, not an administrator.
        pub password_self_service: bool,
        pub failed_auth_count: i64,
        pub failed_auth_at: Option<Timestamp>,
        pub last_active_at: Option<Timestamp>,
        pub created_at: Option<Timestamp>,
        pub options: Json<Extra>,
        pub extra: Json<Extra>,
        /// What a user is called who exists by an identity provider's word; their `name` is their id.
        pub display_name: Option<String>,
    }
}

impl UserRow {
    /// What they are called.
    pub(crate) fn shown_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.name)
    }
}

oslo_db::table! {
    /// A password that was one.
    pub(crate) struct FormerPasswordRow in "identity_passwords" {
        pub id: String,
        pub user_id: String,
        pub password_hash: String,
        pub ended_at: Timestamp,
    }
}

/// The hashes of a user's last passwords, newest first.
pub(crate) fn former(tx: &mut Tx, user_id: &str, most: u64) -> Result<Vec<FormerPasswordRow>> {
    let newest = [("ended_at", Dir::Desc), ("id", Dir::Asc)];
    tx.select_sorted(eq("user_id", user_id), &newest, Some(most))
}

/// Keeps what was a password until now, and no more than so many.
pub(crate) fn retire(tx: &mut Tx, user: &UserRow, now: Timestamp, most: u64) -> Result<()> {
    if most == 0 {
        return Ok(());
    }
    if let Some(hash) = &user.password_hash {
        tx.insert(&FormerPasswordRow {
            id: new_hex_id(),
            user_id: user.id.clone(),
            password_hash: hash.clone(),
            ended_at: now,
        })?;
    }
    let kept = former(tx, &user.id, most)?;
    let kept = kept.iter().map(|p| p.id.as_str());
    let rest = all([eq("user_id", &user.id), not_in("id", kept)]);
    tx.delete::<FormerPasswordRow>(rest).map(drop)
}

/// Counts a failed login; as the first one, if those before no longer count.
pub(crate) fn count_failure(tx: &mut Tx, id: &str, afresh: bool, now: Timestamp) -> Result<()> {
    let mut update = Query::update();
    update.table(UserRow::NAME).cond_where(eq("id", id));
    match afresh {
        true => update.value("failed_auth_count", 1i64),
        false => update.value("failed_auth_count", Expr::col("failed_auth_count").add(1)),
    };
    update.value("failed_auth_at", now.0);
    tx.execute(&update).map(drop)
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<UserRow>> {
    tx.find(eq("id", id))
}

pub(crate) fn get(tx: &mut Tx, id: &str) -> Result<UserRow> {
    find(tx, id)?.ok_or_else(|| missing("user", id))
}

/// Users of that name, also those whom an identity provider calls so: their `name` is their id. Two questions, each of an
/// index; as one with `or` it would look at every user of the domain.
pub(crate) fn called(tx: &mut Tx, domain_id: Option<&str>, name: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let own = all([eq("name", name), is_null("display_name")]);
    for called in [own, eq("display_name", name)] {
        let mut conditions = vec![called];
        conditions.extend(domain_id.map(|id| eq("domain_id", id)));
        let found: Vec<UserRow> = tx.select(all(conditions))?;
        ids.extend(found.into_iter().map(|u| u.id));
    }
    Ok(ids)
}

pub(crate) fn find_named(tx: &mut Tx, domain_id: &str, name: &str) -> Result<Option<UserRow>> {
    tx.find(all([eq("domain_id", domain_id), eq("name", name)]))
}
