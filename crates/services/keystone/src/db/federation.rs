//! Identity providers, what they speak, how what they say is read; and the clouds that believe what this one says.

use crate::db::missing;
use crate::db::users::UserRow;
use base::{Dir, Error, Json, Result};
use oslo_db::{Tx, all, eq, in_rows, is_duplicate, is_in, not_null, set};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

oslo_db::table! {
    /// An identity provider; its users live in its domain.
    pub(crate) struct IdpRow in "identity_idps" {
        pub id: String,
        pub domain_id: String,
        pub enabled: bool,
        pub description: Option<String>,
        /// How many minutes memberships that a mapping gave hold.
        pub authorization_ttl: Option<i64>,
    }
    /// A name by which a provider calls itself.
    pub(crate) struct RemoteIdRow in "identity_idp_remote_ids" {
        pub remote_id: String,
        pub idp_id: String,
    }
    /// A way to come from a provider, and the mapping that reads what it says.
    pub(crate) struct ProtocolRow in "identity_federation_protocols" {
        pub idp_id: String,
        pub id: String,
        pub mapping_id: String,
        pub remote_id_attribute: Option<String>,
    }
    /// Rules, as they were sent.
    pub(crate) struct MappingRow in "identity_mappings" {
        pub id: String,
        pub rules: Json<Value>,
        pub schema_version: String,
    }
    /// A cloud that takes this one's word for who somebody is.
    pub(crate) struct ServiceProviderRow in "identity_service_providers" {
        pub id: String,
        pub enabled: bool,
        pub description: Option<String>,
        pub auth_url: String,
        pub sp_url: String,
        pub relay_state_prefix: String,
    }
    /// Who a provider's user is here.
    pub(crate) struct FederatedUserRow in "identity_federated_users" {
        pub idp_id: String,
        pub protocol_id: String,
        pub unique_id: String,
        pub user_id: String,
        /// The groups that it put them in when they last came.
        pub group_ids: Json<Vec<String>>,
    }
}

/// A provider with the names by which it calls itself, sorted.
pub(crate) struct Idp {
    pub row: IdpRow,
    pub remote_ids: Vec<String>,
}

pub(crate) fn find_idp(tx: &mut Tx, id: &str) -> Result<Option<Idp>> {
    let Some(row) = tx.find::<IdpRow>(eq("id", id))? else {
        return Ok(None);
    };
    let names: Vec<RemoteIdRow> = tx.select(eq("idp_id", id))?;
    let mut remote_ids: Vec<String> = names.into_iter().map(|n| n.remote_id).collect();
    remote_ids.sort();
    Ok(Some(Idp { row, remote_ids }))
}

pub(crate) fn get_idp(tx: &mut Tx, id: &str) -> Result<Idp> {
    find_idp(tx, id)?.ok_or_else(|| missing("Identity Provider", id))
}

/// Adds to rows the names of each: one question for all.
pub(crate) fn with_remote_ids(tx: &mut Tx, rows: Vec<IdpRow>) -> Result<Vec<Idp>> {
    let ids = rows.iter().map(|r| r.id.as_str());
    let by_name = [("remote_id", Dir::Asc)];
    let names: Vec<RemoteIdRow> = tx.select_sorted(is_in("idp_id", ids), &by_name, None)?;
    let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names {
        of.entry(name.idp_id).or_default().push(name.remote_id);
    }
    let whole = rows.into_iter().map(|row| Idp {
        remote_ids: of.remove(&row.id).unwrap_or_default(),
        row,
    });
    Ok(whole.collect())
}

/// Makes these the names of a provider. 409 if another has one of them.
pub(crate) fn set_remote_ids(tx: &mut Tx, idp_id: &str, remote_ids: &[String]) -> Result<()> {
    tx.delete::<RemoteIdRow>(eq("idp_id", idp_id))?;
    for remote_id in remote_ids {
        let row = RemoteIdRow {
            remote_id: remote_id.clone(),
            idp_id: idp_id.into(),
        };
        tx.insert(&row).map_err(|e| match is_duplicate(&e) {
            true => Error::conflict(format!(
                "Conflict occurred attempting to store identity_provider - Duplicate remote ID: {remote_id}."
            )),
            false => e,
        })?;
    }
    Ok(())
}

pub(crate) fn save_idp(tx: &mut Tx, row: &IdpRow) -> Result<()> {
    let values = [
        set("enabled", row.enabled),
        set("description", &row.description),
        set("authorization_ttl", row.authorization_ttl),
    ];
    tx.update::<IdpRow>(eq("id", &row.id), &values).map(drop)
}

/// `Could not find federated protocol …`
pub(crate) fn missing_protocol(idp_id: &str, id: &str) -> Error {
    Error::not_found(format!(
        "Could not find federated protocol {id} for Identity Provider: {idp_id}."
    ))
}

pub(crate) fn find_protocol(tx: &mut Tx, idp_id: &str, id: &str) -> Result<Option<ProtocolRow>> {
    tx.find(all([eq("idp_id", idp_id), eq("id", id)]))
}

pub(crate) fn get_protocol(tx: &mut Tx, idp_id: &str, id: &str) -> Result<ProtocolRow> {
    find_protocol(tx, idp_id, id)?.ok_or_else(|| missing_protocol(idp_id, id))
}

pub(crate) fn get_mapping(tx: &mut Tx, id: &str) -> Result<MappingRow> {
    tx.find(eq("id", id))?.ok_or_else(|| missing("mapping", id))
}

pub(crate) fn get_service_provider(tx: &mut Tx, id: &str) -> Result<ServiceProviderRow> {
    tx.find(eq("id", id))?
        .ok_or_else(|| missing("Service Provider", id))
}

/// Users for whom somebody no longer vouches.
#[derive(Default)]
pub(crate) struct Forsaken {
    /// All of them: what they had by that word must not come back with it.
    pub all: Vec<String>,
    /// Those for whom nobody does any more.
    pub alone: Vec<String>,
}

/// Takes a provider away with all that hangs on it.
pub(crate) fn delete_idp(tx: &mut Tx, id: &str) -> Result<Forsaken> {
    tx.delete::<ProtocolRow>(eq("idp_id", id))?;
    tx.delete::<RemoteIdRow>(eq("idp_id", id))?;
    tx.delete::<crate::db::memberships::MembershipRow>(eq("idp_id", id))?;
    tx.delete::<IdpRow>(eq("id", id))?;
    forsake(tx, eq("idp_id", id))
}

/// Takes a protocol away.
pub(crate) fn delete_protocol(tx: &mut Tx, idp_id: &str, id: &str) -> Result<Forsaken> {
    tx.delete::<ProtocolRow>(all([eq("idp_id", idp_id), eq("id", id)]))?;
    forsake(tx, all([eq("idp_id", idp_id), eq("protocol_id", id)]))
}

fn forsake(tx: &mut Tx, cond: oslo_db::Cond) -> Result<Forsaken> {
    let gone: Vec<FederatedUserRow> = tx.select(cond.clone())?;
    tx.delete::<FederatedUserRow>(cond)?;
    let ids: BTreeSet<String> = gone.into_iter().map(|f| f.user_id).collect();
    let mut forsaken = Forsaken {
        all: ids.into_iter().collect(),
        alone: vec![],
    };
    for some in forsaken.all.chunks(5_000) {
        let left: Vec<FederatedUserRow> = tx.select(is_in("user_id", some.iter()))?;
        let kept: BTreeSet<String> = left.into_iter().map(|f| f.user_id).collect();
        // Somebody with a name of their own in the cloud's directory stays.
        let alone = some.iter().filter(|id| !kept.contains(*id));
        let shadows: Vec<UserRow> =
            tx.select(all([is_in("id", alone), not_null("display_name")]))?;
        forsaken.alone.extend(shadows.into_iter().map(|u| u.id));
    }
    Ok(forsaken)
}

/// Who a user is at identity providers.
pub(crate) fn links_of(tx: &mut Tx, user_id: &str) -> Result<Vec<FederatedUserRow>> {
    let by_id = ["idp_id", "protocol_id", "unique_id"].map(|column| (column, Dir::Asc));
    tx.select_sorted(eq("user_id", user_id), &by_id, None)
}

/// 409 if somebody is known by it already.
pub(crate) fn insert_link(tx: &mut Tx, row: &FederatedUserRow) -> Result<()> {
    tx.insert(row).map_err(|e| match is_duplicate(&e) {
        true => Error::conflict(
            "Conflict occurred attempting to store federated_user - Duplicate entry.",
        ),
        false => e,
    })
}

pub(crate) fn delete_link(tx: &mut Tx, row: &FederatedUserRow) -> Result<()> {
    let key = all([
        eq("idp_id", &row.idp_id),
        eq("protocol_id", &row.protocol_id),
        eq("unique_id", &row.unique_id),
    ]);
    tx.delete::<FederatedUserRow>(key).map(drop)
}

/// The providers whose users live in a domain that goes away; the users go with the domain.
pub(crate) fn delete_of_domain(tx: &mut Tx, domain_id: &str) -> Result<()> {
    let theirs = |column| in_rows::<IdpRow>(column, "id", eq("domain_id", domain_id));
    tx.delete::<ProtocolRow>(theirs("idp_id"))?;
    tx.delete::<RemoteIdRow>(theirs("idp_id"))?;
    tx.delete::<FederatedUserRow>(theirs("idp_id"))?;
    tx.delete::<IdpRow>(eq("domain_id", domain_id)).map(drop)
}

/// What providers say of users who go away.
pub(crate) fn delete_of_users(tx: &mut Tx, user_ids: &[String]) -> Result<()> {
    tx.delete::<FederatedUserRow>(is_in("user_id", user_ids.iter()))
        .map(drop)
}
