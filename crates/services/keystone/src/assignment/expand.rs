//! Lists of assignments: as they were made, or as they take effect.

use crate::assignment::effective::with_implied;
use crate::db::assignments::{AssignmentKind, AssignmentRow, SYSTEM};
use crate::db::projects::{self, ProjectRow};
use crate::db::roles::{GLOBAL, RoleRow};
use crate::db::{implied_roles, memberships};
use base::Result;
use oslo_db::{Tx, all, eq, is_in, ne};
use std::collections::{BTreeMap, BTreeSet};

/// What a caller wants to see.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub user_id: Option<String>,
    pub group_id: Option<String>,
    pub role_id: Option<String>,
    pub project_id: Option<String>,
    pub domain_id: Option<String>,
    pub system: bool,
    pub inherited_only: bool,
    pub effective: bool,
    pub include_subtree: bool,
}

/// Where a role holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Project(String),
    Domain(String),
    System,
}

/// An assignment as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub role_id: String,
    pub user_id: Option<String>,
    pub group_id: Option<String>,
    pub place: Place,
    /// The assignment holds below its place only.
    pub inherited: bool,
    /// Paths below `/v3`: where the assignment was made, …
    pub assignment: String,
    /// … by which membership it reaches the user, …
    pub membership: Option<String>,
    /// … and which role implies this one.
    pub prior_role: Option<String>,
}

fn place(row: &AssignmentRow) -> Place {
    match row.kind {
        AssignmentKind::UserProject | AssignmentKind::GroupProject => {
            Place::Project(row.target_id.clone())
        }
        AssignmentKind::UserDomain | AssignmentKind::GroupDomain => {
            Place::Domain(row.target_id.clone())
        }
        AssignmentKind::UserSystem | AssignmentKind::GroupSystem => Place::System,
    }
}

/// Where the assignment can be deleted.
fn path(row: &AssignmentRow) -> String {
    let place = match place(row) {
        Place::Project(id) => format!("projects/{id}"),
        Place::Domain(id) => format!("domains/{id}"),
        Place::System => "system".to_string(),
    };
    let actors = if row.kind.is_group() {
        "groups"
    } else {
        "users"
    };
    let path = format!("{place}/{actors}/{}/roles/{}", row.actor_id, row.role_id);
    if row.inherited {
        format!("OS-INHERIT/{path}/inherited_to_projects")
    } else {
        path
    }
}

fn entry(row: &AssignmentRow) -> Entry {
    let actor = Some(row.actor_id.clone());
    let group = row.kind.is_group();
    Entry {
        role_id: row.role_id.clone(),
        user_id: if group { None } else { actor.clone() },
        group_id: if group { actor } else { None },
        place: place(row),
        inherited: row.inherited,
        assignment: path(row),
        membership: None,
        prior_role: None,
    }
}

const USER_KINDS: [AssignmentKind; 3] = [
    AssignmentKind::UserProject,
    AssignmentKind::UserDomain,
    AssignmentKind::UserSystem,
];
const GROUP_KINDS: [AssignmentKind; 3] = [
    AssignmentKind::GroupProject,
    AssignmentKind::GroupDomain,
    AssignmentKind::GroupSystem,
];
const PROJECT_KINDS: [AssignmentKind; 2] =
    [AssignmentKind::UserProject, AssignmentKind::GroupProject];
const DOMAIN_KINDS: [AssignmentKind; 2] = [AssignmentKind::UserDomain, AssignmentKind::GroupDomain];

/// All entries that match.
pub(crate) fn list(tx: &mut Tx, wanted: &Wanted) -> Result<Vec<Entry>> {
    let mut projects = wanted
        .project_id
        .iter()
        .cloned()
        .collect::<BTreeSet<String>>();
    if wanted.include_subtree {
        for id in projects.clone() {
            projects.extend(projects::subtree(tx, &id)?.into_iter().map(|p| p.id));
        }
    }
    if wanted.effective {
        effective(tx, wanted, &projects)
    } else {
        direct(tx, wanted, &projects)
    }
}

fn direct(tx: &mut Tx, wanted: &Wanted, projects: &BTreeSet<String>) -> Result<Vec<Entry>> {
    let mut conditions = Vec::new();
    if let Some(id) = &wanted.user_id {
        conditions.push(all([is_in("kind", USER_KINDS), eq("actor_id", id)]));
    }
    if let Some(id) = &wanted.group_id {
        conditions.push(all([is_in("kind", GROUP_KINDS), eq("actor_id", id)]));
    }
    if let Some(id) = &wanted.role_id {
        conditions.push(eq("role_id", id));
    }
    if !projects.is_empty() {
        conditions.push(all([
            is_in("kind", PROJECT_KINDS),
            is_in("target_id", projects.iter()),
        ]));
    }
    if let Some(id) = &wanted.domain_id {
        conditions.push(all([is_in("kind", DOMAIN_KINDS), eq("target_id", id)]));
    }
    if wanted.system {
        conditions.push(eq("target_id", SYSTEM));
    }
    if wanted.inherited_only {
        conditions.push(eq("inherited", true));
    }
    let rows: Vec<AssignmentRow> = tx.select(all(conditions))?;
    let mut entries: Vec<Entry> = rows.iter().map(entry).collect();
    entries.sort();
    Ok(entries)
}

/// Which rows can matter, narrowed as far as SQL can.
fn candidates(
    tx: &mut Tx,
    wanted: &Wanted,
    projects: &BTreeSet<String>,
) -> Result<Vec<AssignmentRow>> {
    let mut conditions = Vec::new();
    if let Some(id) = &wanted.user_id {
        let mut actors = memberships::groups_of(tx, id)?;
        actors.push(id.clone());
        conditions.push(is_in("actor_id", actors.iter()));
    }
    if !projects.is_empty() {
        let mut targets = projects.clone();
        for id in projects {
            let Some(project) = projects::find(tx, id)? else {
                continue;
            };
            targets.extend(projects::ancestors(tx, &project)?.into_iter().map(|p| p.id));
            targets.insert(project.domain_id);
        }
        conditions.push(is_in("target_id", targets.iter()));
    }
    if let Some(id) = &wanted.domain_id {
        conditions.push(all([
            is_in("kind", DOMAIN_KINDS),
            eq("target_id", id),
            eq("inherited", false),
        ]));
    }
    if wanted.system {
        conditions.push(eq("target_id", SYSTEM));
    }
    if wanted.inherited_only {
        conditions.push(eq("inherited", true));
    }
    tx.select(all(conditions))
}

fn effective(tx: &mut Tx, wanted: &Wanted, projects: &BTreeSet<String>) -> Result<Vec<Entry>> {
    let rules = implied_roles::map(tx)?;
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut below: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut entries = BTreeSet::new();
    for row in candidates(tx, wanted, projects)? {
        let places: Vec<Place> = if row.inherited {
            if !below.contains_key(&row.target_id) {
                let ids = projects_below(tx, &row)?;
                below.insert(row.target_id.clone(), ids);
            }
            below[&row.target_id]
                .iter()
                .cloned()
                .map(Place::Project)
                .collect()
        } else {
            vec![place(&row)]
        };
        let users: Vec<(String, Option<String>)> = if row.kind.is_group() {
            if !members.contains_key(&row.actor_id) {
                members.insert(
                    row.actor_id.clone(),
                    memberships::users_of(tx, &row.actor_id)?,
                );
            }
            let link = |user: &String| Some(format!("groups/{}/users/{user}", row.actor_id));
            members[&row.actor_id]
                .iter()
                .map(|u| (u.clone(), link(u)))
                .collect()
        } else {
            vec![(row.actor_id.clone(), None)]
        };
        for place in &places {
            let outside = |id: &String| !projects.is_empty() && !projects.contains(id);
            if matches!(place, Place::Project(id) if outside(id))
                || (!projects.is_empty() && !matches!(place, Place::Project(_)))
            {
                continue;
            }
            for (user, membership) in &users {
                if wanted.user_id.as_ref().is_some_and(|id| id != user) {
                    continue;
                }
                let own = Entry {
                    role_id: row.role_id.clone(),
                    user_id: Some(user.clone()),
                    group_id: None,
                    place: place.clone(),
                    inherited: row.inherited,
                    assignment: path(&row),
                    membership: membership.clone(),
                    prior_role: None,
                };
                for implied in with_implied(std::iter::once(row.role_id.clone()), &rules) {
                    let mut entry = own.clone();
                    if implied != row.role_id {
                        entry.prior_role = Some(format!("roles/{}", row.role_id));
                        entry.role_id = implied;
                    }
                    entries.insert(entry);
                }
            }
        }
    }
    // Domains' own roles take effect only through what they imply.
    let own: Vec<RoleRow> = tx.select(ne("domain_id", GLOBAL))?;
    entries.retain(|e| !own.iter().any(|r| r.id == e.role_id));
    entries.retain(|e| wanted.role_id.as_ref().is_none_or(|id| *id == e.role_id));
    Ok(entries.into_iter().collect())
}

/// The projects on which an inherited assignment takes effect.
fn projects_below(tx: &mut Tx, row: &AssignmentRow) -> Result<Vec<String>> {
    let rows = if matches!(
        row.kind,
        AssignmentKind::UserDomain | AssignmentKind::GroupDomain
    ) {
        tx.select::<ProjectRow>(eq("domain_id", &row.target_id))?
    } else {
        projects::subtree(tx, &row.target_id)?
    };
    Ok(rows.into_iter().map(|p| p.id).collect())
}
