//! Application credentials: secrets with some of a user's roles on a project, and the requests they are good for.

use base::{Dir, Result, Timestamp};
use oslo_db::{Cond, Tx, all, eq, in_rows, is_in};

oslo_db::table! {
    /// An application credential.
    pub(crate) struct AppCredRow in "identity_app_creds" {
        pub id: String,
        pub user_id: String,
        pub project_id: String,
        pub name: String,
        pub secret_hash: String,
        pub description: Option<String>,
        pub expires_at: Option<Timestamp>,
        pub unrestricted: bool,
    }

    /// A role of one.
    pub(crate) struct AppCredRoleRow in "identity_app_cred_roles" {
        pub app_cred_id: String,
        pub role_id: String,
    }

    /// A kind of request; all credentials of a user share one row for it.
    pub(crate) struct AccessRuleRow in "identity_access_rules" {
        pub id: String,
        pub user_id: String,
        pub service: String,
        pub path: String,
        pub method: String,
    }

    /// A credential with access rules is good for these only.
    pub(crate) struct AppCredRuleRow in "identity_app_cred_rules" {
        pub app_cred_id: String,
        pub access_rule_id: String,
    }
}

/// A credential with what belongs to it.
#[derive(Clone)]
pub(crate) struct AppCred {
    pub row: AppCredRow,
    pub role_ids: Vec<String>,
    /// None at all is no restriction.
    pub access_rules: Vec<AccessRuleRow>,
}

pub(crate) fn find(tx: &mut Tx, id: &str) -> Result<Option<AppCred>> {
    match tx.find::<AppCredRow>(eq("id", id))? {
        Some(row) => Ok(complete(tx, vec![row])?.pop()),
        None => Ok(None),
    }
}

/// Those that match, by name.
pub(crate) fn list(tx: &mut Tx, cond: Cond) -> Result<Vec<AppCred>> {
    let rows = tx.select_sorted(cond, &[("name", Dir::Asc), ("id", Dir::Asc)], None)?;
    complete(tx, rows)
}

/// Adds to rows what belongs to them: two questions for all.
fn complete(tx: &mut Tx, rows: Vec<AppCredRow>) -> Result<Vec<AppCred>> {
    let ids: Vec<&str> = rows.iter().map(|r| r.id.as_str()).collect();
    let roles: Vec<AppCredRoleRow> = tx.select(is_in("app_cred_id", ids.iter()))?;
    let links: Vec<AppCredRuleRow> = tx.select(is_in("app_cred_id", ids.iter()))?;
    let rules: Vec<AccessRuleRow> =
        tx.select(is_in("id", links.iter().map(|l| l.access_rule_id.as_str())))?;
    let with = |row: AppCredRow| {
        let mine = roles.iter().filter(|r| r.app_cred_id == row.id);
        let heeds = |rule: &&AccessRuleRow| {
            links
                .iter()
                .any(|l| l.app_cred_id == row.id && l.access_rule_id == rule.id)
        };
        let mut access_rules: Vec<AccessRuleRow> = rules.iter().filter(heeds).cloned().collect();
        access_rules.sort_by(|a, b| a.id.cmp(&b.id));
        AppCred {
            role_ids: mine.map(|r| r.role_id.clone()).collect(),
            access_rules,
            row,
        }
    };
    Ok(rows.into_iter().map(with).collect())
}

/// Deletes the credentials that match; access rules stay with their user.
pub(crate) fn delete(tx: &mut Tx, cond: Cond) -> Result<u64> {
    let of_these = |column| in_rows::<AppCredRow>(column, "id", cond.clone());
    tx.delete::<AppCredRoleRow>(of_these("app_cred_id"))?;
    tx.delete::<AppCredRuleRow>(of_these("app_cred_id"))?;
    tx.delete::<AppCredRow>(cond)
}

/// Everything of users.
pub(crate) fn delete_of_users(tx: &mut Tx, user_ids: &[String]) -> Result<()> {
    delete(tx, is_in("user_id", user_ids.iter()))?;
    tx.delete::<AccessRuleRow>(is_in("user_id", user_ids.iter()))?;
    Ok(())
}

/// A user lost a role on a project: what they made there with it is over, as upstream has it.
pub(crate) fn delete_of_user_on(tx: &mut Tx, user_id: &str, project_id: &str) -> Result<()> {
    let theirs = all([eq("user_id", user_id), eq("project_id", project_id)]);
    delete(tx, theirs).map(drop)
}

/// Credentials with a role that is going away.
pub(crate) fn delete_with_roles(tx: &mut Tx, role_ids: &[String]) -> Result<()> {
    let held: Vec<AppCredRoleRow> = tx.select(is_in("role_id", role_ids.iter()))?;
    let ids: Vec<&str> = held.iter().map(|r| r.app_cred_id.as_str()).collect();
    delete(tx, is_in("id", ids.iter())).map(drop)
}

pub(crate) fn find_rule(tx: &mut Tx, user_id: &str, id: &str) -> Result<Option<AccessRuleRow>> {
    tx.find(all([eq("id", id), eq("user_id", user_id)]))
}
