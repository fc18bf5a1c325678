//! What the database says of users who exist by an identity provider's word: themselves, their groups, their projects.

use crate::db::assignments::{AssignmentKind, AssignmentRow, ensure};
use crate::db::federation::FederatedUserRow;
use crate::db::groups::GroupRow;
use crate::db::memberships::MembershipRow;
use crate::db::missing;
use crate::db::projects::{self, ProjectRow, ROOT};
use crate::db::roles::RoleRow;
use crate::db::users::{self, UserRow};
use crate::federation::mapping::{Domain, Group, Project};
use base::{Error, Json, Result, Timestamp, new_hex_id};
use oslo_db::{Tx, all, eq, is_in, is_null, not_in, set};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What it shall say of one.
pub(crate) struct Wanted {
    pub idp_id: String,
    pub protocol_id: String,
    pub mapping_id: String,
    /// Their id at the provider.
    pub unique_id: String,
    pub name: String,
    pub email: Option<String>,
    /// The domain that the mapping puts them in; the provider's, if none.
    pub domain: Option<Domain>,
    pub idp_domain_id: String,
    pub group_ids: Vec<String>,
    pub groups: Vec<Group>,
    pub projects: Option<Vec<Project>>,
    /// Whether roles on projects that the provider does not name are taken away.
    pub sync: bool,
}

/// Who they are, and in which groups.
pub(crate) struct Settled {
    pub user_id: String,
    pub group_ids: Vec<String>,
}

fn refused(words: impl Into<String>) -> Error {
    Error::unauthorized(words)
}

/// Upstream's id of a user of a directory or a provider.
fn public_id(domain_id: &str, local_id: &str) -> String {
    format!("{:x}", Sha256::digest(format!("{domain_id}user{local_id}")))
}

fn find_domain(tx: &mut Tx, domain: &Domain) -> Result<Option<ProjectRow>> {
    match (&domain.id, &domain.name) {
        (Some(id), _) => projects::find_domain(tx, id),
        (None, Some(name)) => projects::find_named(tx, ROOT, name),
        (None, None) => Ok(None),
    }
}

fn domain_id_of(tx: &mut Tx, domain: Option<&Domain>, default: &str) -> Result<String> {
    let Some(domain) = domain else {
        return Ok(default.to_string());
    };
    let found = find_domain(tx, domain)?;
    let name = domain.id.as_ref().or(domain.name.as_ref());
    found
        .map(|d| d.id)
        .ok_or_else(|| missing("domain", name.map_or("", String::as_str)))
}

/// The ids of all groups, which must be there if named by id, and are left out if named by name and gone.
fn find_groups(tx: &mut Tx, wanted: &Wanted) -> Result<Vec<String>> {
    let known: Vec<GroupRow> = tx.select(is_in("id", wanted.group_ids.iter()))?;
    let mut ids: BTreeSet<String> = known.into_iter().map(|g| g.id).collect();
    if let Some(id) = wanted.group_ids.iter().find(|id| !ids.contains(*id)) {
        return Err(refused(format!(
            "Group {id} returned by mapping {} was not found in the backend.",
            wanted.mapping_id
        )));
    }
    // A question for each domain, not for each group.
    let mut by_domain: BTreeMap<(Option<&str>, Option<&str>), Vec<&str>> = BTreeMap::new();
    for group in &wanted.groups {
        let domain = (group.domain.id.as_deref(), group.domain.name.as_deref());
        by_domain.entry(domain).or_default().push(&group.name);
    }
    for ((id, name), names) in by_domain {
        let domain = Domain {
            id: id.map(str::to_string),
            name: name.map(str::to_string),
        };
        if let Some(domain) = find_domain(tx, &domain)? {
            let named = all([eq("domain_id", &domain.id), is_in("name", names)]);
            let found: Vec<GroupRow> = tx.select(named)?;
            ids.extend(found.into_iter().map(|g| g.id));
        }
    }
    Ok(ids.into_iter().collect())
}

fn find_row(tx: &mut Tx, wanted: &Wanted) -> Result<Option<FederatedUserRow>> {
    tx.find(key(wanted))
}

fn key(wanted: &Wanted) -> oslo_db::Cond {
    all([
        eq("idp_id", &wanted.idp_id),
        eq("protocol_id", &wanted.protocol_id),
        eq("unique_id", &wanted.unique_id),
    ])
}

/// What a project and its roles are here, if all is there.
struct Place {
    project_id: Option<String>,
    name: String,
    domain_id: String,
    role_ids: Vec<String>,
}

/// 404 for roles that are not there, 403 for those of another domain; projects may be missing.
fn find_places(tx: &mut Tx, wanted: &Wanted, user_domain_id: &str) -> Result<Vec<Place>> {
    let projects = wanted.projects.as_deref().unwrap_or_default();
    let names: BTreeSet<&str> = projects
        .iter()
        .flat_map(|p| p.roles.iter().map(String::as_str))
        .collect();
    let roles: Vec<RoleRow> = tx.select(is_in("name", names))?;
    let mut places = Vec::new();
    for project in projects {
        let domain_id = domain_id_of(tx, project.domain.as_ref(), &wanted.idp_domain_id)?;
        let name = project.name.trim().to_string();
        if name.is_empty() || name.chars().count() > 64 {
            return Err(refused(format!(
                "Mapping {} returned a project without a proper name.",
                wanted.mapping_id
            )));
        }
        let found = projects::find_named(tx, &domain_id, &name)?;
        let mut role_ids = Vec::new();
        for role in &project.roles {
            let mut same = roles.iter().filter(|r| r.name == *role);
            let fits = |r: &&RoleRow| r.domain().is_none_or(|d| d == user_domain_id);
            let first = same.clone().next().ok_or_else(|| missing("role", role))?;
            let fitting = same.find(fits).ok_or_else(|| {
                Error::forbidden(format!(
                    "role: {} must be within the same domain as the identity provider: {}.",
                    first.name, wanted.idp_id
                ))
            })?;
            role_ids.push(fitting.id.clone());
        }
        places.push(Place {
            project_id: found.map(|p| p.id),
            name,
            domain_id,
            role_ids,
        });
    }
    Ok(places)
}

/// The roles on projects that are the user's own.
fn own_roles(tx: &mut Tx, user_id: &str) -> Result<Vec<AssignmentRow>> {
    tx.select(all([
        eq("kind", AssignmentKind::UserProject),
        eq("actor_id", user_id),
        eq("inherited", false),
    ]))
}

/// The pairs of project and role that the places mean, if all projects are there.
fn pairs(places: &[Place]) -> Option<BTreeSet<(String, String)>> {
    let mut pairs = BTreeSet::new();
    for place in places {
        let id = place.project_id.as_ref()?;
        pairs.extend(place.role_ids.iter().map(|r| (id.clone(), r.clone())));
    }
    Some(pairs)
}

/// Who they are, if the database says all that it shall already.
pub(crate) fn find_settled(tx: &mut Tx, wanted: &Wanted, keeps: bool) -> Result<Option<Settled>> {
    let Some(row) = find_row(tx, wanted)? else {
        return Ok(None);
    };
    let Some(user) = users::find(tx, &row.user_id)? else {
        return Ok(None);
    };
    let group_ids = find_groups(tx, wanted)?;
    let email = user.extra.0.get("email").and_then(|e| e.as_str());
    let same_email = wanted.email.is_none() || wanted.email.as_deref() == email;
    if user.shown_name() != wanted.name || !same_email || row.group_ids.0 != group_ids {
        return Ok(None);
    }
    let held: Vec<MembershipRow> = tx.select(eq("user_id", &user.id))?;
    let from_here = |m: &&MembershipRow| m.idp_id.as_deref() == Some(&wanted.idp_id);
    let stale = held
        .iter()
        .filter(from_here)
        .any(|m| !keeps || !group_ids.contains(&m.group_id));
    let lacking = keeps
        && group_ids
            .iter()
            .any(|id| held.iter().all(|m| m.group_id != *id));
    if stale || lacking {
        return Ok(None);
    }
    if wanted.projects.is_some() {
        let places = find_places(tx, wanted, &user.domain_id)?;
        let Some(pairs) = pairs(&places) else {
            return Ok(None);
        };
        let held = own_roles(tx, &user.id)?;
        let held: BTreeSet<(String, String)> =
            held.into_iter().map(|a| (a.target_id, a.role_id)).collect();
        let settled = match wanted.sync {
            true => held == pairs,
            false => held.is_superset(&pairs),
        };
        if !settled {
            return Ok(None);
        }
    }
    Ok(Some(Settled {
        user_id: user.id,
        group_ids,
    }))
}

/// Makes the database say it.
pub(crate) fn settle(
    tx: &mut Tx,
    wanted: &Wanted,
    now: Timestamp,
    end: Option<Timestamp>,
) -> Result<Settled> {
    let group_ids = find_groups(tx, wanted)?;
    let user = match find_row(tx, wanted)? {
        Some(row) => update_user(tx, wanted, &row.user_id)?,
        None => insert_user(tx, wanted, now)?,
    };
    let values = [set("group_ids", Json(group_ids.clone()))];
    tx.update::<FederatedUserRow>(key(wanted), &values)?;
    settle_memberships(tx, &user.id, &wanted.idp_id, &group_ids, end)?;
    if wanted.projects.is_some() {
        let places = find_places(tx, wanted, &user.domain_id)?;
        settle_projects(tx, &user.id, places, wanted.sync)?;
    }
    Ok(Settled {
        user_id: user.id,
        group_ids,
    })
}

fn update_user(tx: &mut Tx, wanted: &Wanted, id: &str) -> Result<UserRow> {
    let mut user = users::get(tx, id)?;
    if let Some(email) = &wanted.email {
        user.extra.0.insert("email".into(), email.as_str().into());
    }
    let mut values = vec![set("extra", &user.extra)];
    // One that the cloud's directory names is called what it says there.
    if user.display_name.is_some() {
        user.display_name = Some(wanted.name.clone());
        values.push(set("display_name", &user.display_name));
    }
    tx.update::<UserRow>(eq("id", id), &values)?;
    Ok(user)
}

fn insert_user(tx: &mut Tx, wanted: &Wanted, now: Timestamp) -> Result<UserRow> {
    let domain_id = domain_id_of(tx, wanted.domain.as_ref(), &wanted.idp_domain_id)?;
    let id = public_id(&domain_id, &wanted.unique_id);
    let user = match users::find(tx, &id)? {
        // The same provider knows them by another protocol. Another provider's user of that name is somebody else.
        Some(user) => {
            let known: Vec<FederatedUserRow> = tx.select(eq("user_id", &id))?;
            let same = !known.is_empty() && known.iter().all(|f| f.idp_id == wanted.idp_id);
            if !same || user.display_name.is_none() {
                return Err(Error::conflict(
                    "Conflict occurred attempting to store federated_user - Duplicate entry.",
                ));
            }
            update_user(tx, wanted, &id)?
        }
        None => {
            let mut user = UserRow {
                id: id.clone(),
                name: id.clone(),
                domain_id,
                enabled: true,
                created_at: Some(now),
                display_name: Some(wanted.name.clone()),
                ..UserRow::default()
            };
            if let Some(email) = &wanted.email {
                user.extra.0.insert("email".into(), email.as_str().into());
            }
            tx.insert(&user)?;
            user
        }
    };
    tx.insert(&FederatedUserRow {
        idp_id: wanted.idp_id.clone(),
        protocol_id: wanted.protocol_id.clone(),
        unique_id: wanted.unique_id.clone(),
        user_id: id,
        group_ids: Json(vec![]),
    })?;
    Ok(user)
}

fn settle_memberships(
    tx: &mut Tx,
    user_id: &str,
    idp_id: &str,
    group_ids: &[String],
    end: Option<Timestamp>,
) -> Result<()> {
    let from_here = all([eq("user_id", user_id), eq("idp_id", idp_id)]);
    let Some(end) = end else {
        return tx.delete::<MembershipRow>(from_here).map(drop);
    };
    tx.delete::<MembershipRow>(all([from_here, not_in("group_id", group_ids.iter())]))?;
    let held: Vec<MembershipRow> = tx.select(eq("user_id", user_id))?;
    for group_id in group_ids {
        if held.iter().all(|m| m.group_id != *group_id) {
            tx.insert(&MembershipRow {
                user_id: user_id.to_string(),
                group_id: group_id.clone(),
                idp_id: Some(idp_id.to_string()),
                expires_at: Some(end),
            })?;
        }
    }
    Ok(())
}

/// Memberships that a provider gave hold until then.
pub(crate) fn prolong(tx: &mut Tx, user_id: &str, idp_id: &str, end: Timestamp) -> Result<()> {
    let from_here = all([eq("user_id", user_id), eq("idp_id", idp_id)]);
    tx.update::<MembershipRow>(from_here, &[set("expires_at", end)])
        .map(drop)
}

fn settle_projects(tx: &mut Tx, user_id: &str, places: Vec<Place>, sync: bool) -> Result<()> {
    let mut pairs = BTreeSet::new();
    for place in places {
        let found = match place.project_id {
            Some(id) => Some(id),
            // One of the same name may stand earlier in the list.
            None => projects::find_named(tx, &place.domain_id, &place.name)?.map(|p| p.id),
        };
        let project_id = match found {
            Some(id) => id,
            None => {
                let row = ProjectRow {
                    id: new_hex_id(),
                    name: place.name,
                    parent_id: Some(place.domain_id.clone()),
                    domain_id: place.domain_id,
                    is_domain: false,
                    enabled: true,
                    description: Some(String::new()),
                    tags: Json(vec![]),
                    options: Json::default(),
                    extra: Json::default(),
                };
                tx.insert(&row)?;
                row.id
            }
        };
        for role_id in place.role_ids {
            pairs.insert((project_id.clone(), role_id));
        }
    }
    for (target_id, role_id) in &pairs {
        let row = AssignmentRow {
            kind: AssignmentKind::UserProject,
            actor_id: user_id.to_string(),
            target_id: target_id.clone(),
            role_id: role_id.clone(),
            inherited: false,
        };
        ensure(tx, &row)?;
    }
    if sync {
        for row in own_roles(tx, user_id)? {
            if !pairs.contains(&(row.target_id.clone(), row.role_id.clone())) {
                tx.delete::<AssignmentRow>(row.key())?;
            }
        }
    }
    Ok(())
}

/// The groups among these in which a user still is, by the word of who vouches; `None` if nobody does.
pub(crate) fn still_vouched(
    tx: &mut Tx,
    user_id: &str,
    idp_id: &str,
    protocol_id: &str,
    group_ids: &[String],
) -> Result<Option<Vec<String>>> {
    let cond = all([
        eq("idp_id", idp_id),
        eq("protocol_id", protocol_id),
        eq("user_id", user_id),
    ]);
    let rows: Vec<FederatedUserRow> = tx.select(cond)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let said = |id: &&String| rows.iter().any(|row| row.group_ids.0.contains(id));
    let said: Vec<&String> = group_ids.iter().filter(said).collect();
    let there: Vec<GroupRow> = tx.select(is_in("id", said))?;
    let mut ids: Vec<String> = there.into_iter().map(|g| g.id).collect();
    ids.sort();
    Ok(Some(ids))
}

/// Memberships that a time was set to, and it has come.
pub(crate) fn end_memberships(tx: &mut Tx, now: Timestamp) -> Result<u64> {
    tx.delete::<MembershipRow>(oslo_db::le("expires_at", now))
}

/// The next time at which one ends.
pub(crate) fn next_end(tx: &mut Tx) -> Result<Option<Timestamp>> {
    let timed = oslo_db::not(is_null("expires_at"));
    let first =
        tx.select_sorted::<MembershipRow>(timed, &[("expires_at", base::Dir::Asc)], Some(1))?;
    Ok(first.into_iter().next().and_then(|m| m.expires_at))
}
