//! What a user effectively holds in a scope: direct, through groups, inherited from above, implied by other roles.

use crate::db::assignments::{AssignmentKind, AssignmentRow, SYSTEM};
use crate::db::projects::{self, ProjectRow};
use crate::db::roles::RoleRow;
use crate::db::{implied_roles, memberships};
use base::Result;
use oslo_db::{Cond, Tx, all, any, eq, is_in};
use std::collections::{BTreeMap, BTreeSet};

/// Whose roles are asked for.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    user_id: &'a str,
    /// Groups beside those that the database knows.
    more_groups: &'a [String],
}

impl<'a> Who<'a> {
    /// A user in groups that the database need not know of.
    pub(crate) fn within(user_id: &'a str, more_groups: &'a [String]) -> Who<'a> {
        Who {
            user_id,
            more_groups,
        }
    }
}

impl<'a> From<&'a str> for Who<'a> {
    fn from(user_id: &'a str) -> Who<'a> {
        Who::within(user_id, &[])
    }
}

impl<'a> From<&'a String> for Who<'a> {
    fn from(user_id: &'a String) -> Who<'a> {
        Who::within(user_id, &[])
    }
}

/// Everything that can hold roles for a user.
pub(crate) struct Actors {
    user_id: String,
    groups: Vec<String>,
}

impl Actors {
    pub(crate) fn of<'a>(tx: &mut Tx, who: impl Into<Who<'a>>) -> Result<Actors> {
        let who = who.into();
        let mut groups = memberships::groups_of(tx, who.user_id)?;
        groups.extend_from_slice(who.more_groups);
        Ok(Actors {
            user_id: who.user_id.to_string(),
            groups,
        })
    }

    /// Assignments of the user or their groups, on users' kind or groups' kind.
    fn held(&self, user: AssignmentKind, group: AssignmentKind) -> Cond {
        any([
            all([eq("kind", user), eq("actor_id", &self.user_id)]),
            all([eq("kind", group), is_in("actor_id", self.groups.iter())]),
        ])
    }

    fn on_projects(&self) -> Cond {
        self.held(AssignmentKind::UserProject, AssignmentKind::GroupProject)
    }

    fn on_domains(&self) -> Cond {
        self.held(AssignmentKind::UserDomain, AssignmentKind::GroupDomain)
    }

    fn on_system(&self) -> Cond {
        self.held(AssignmentKind::UserSystem, AssignmentKind::GroupSystem)
    }
}

/// Roles on a project (or on a domain that is asked for as a project).
pub(crate) fn on_project<'a>(
    tx: &mut Tx,
    who: impl Into<Who<'a>>,
    project: &ProjectRow,
) -> Result<Vec<RoleRow>> {
    let cond = held_on_project(tx, who.into(), project)?;
    held_roles(tx, cond)
}

/// The ids of the same roles, domains' own included.
pub(crate) fn ids_on_project<'a>(
    tx: &mut Tx,
    who: impl Into<Who<'a>>,
    project: &ProjectRow,
) -> Result<BTreeSet<String>> {
    let cond = held_on_project(tx, who.into(), project)?;
    held_ids(tx, cond)
}

fn held_on_project(tx: &mut Tx, who: Who<'_>, project: &ProjectRow) -> Result<Cond> {
    let actors = Actors::of(tx, who)?;
    let above = projects::ancestors(tx, project)?;
    let mut ways = vec![
        all([
            actors.on_projects(),
            eq("target_id", &project.id),
            eq("inherited", false),
        ]),
        all([
            actors.on_projects(),
            is_in("target_id", above.iter().map(|p| p.id.as_str())),
            eq("inherited", true),
        ]),
    ];
    if let Some(domain_id) = project.domain() {
        ways.push(all([
            actors.on_domains(),
            eq("target_id", domain_id),
            eq("inherited", true),
        ]));
    }
    Ok(any(ways))
}

/// Roles on a domain.
pub(crate) fn on_domain<'a>(
    tx: &mut Tx,
    who: impl Into<Who<'a>>,
    domain_id: &str,
) -> Result<Vec<RoleRow>> {
    let actors = Actors::of(tx, who)?;
    held_roles(
        tx,
        all([
            actors.on_domains(),
            eq("target_id", domain_id),
            eq("inherited", false),
        ]),
    )
}

/// Roles on the system.
pub(crate) fn on_system(tx: &mut Tx, user_id: &str) -> Result<Vec<RoleRow>> {
    let actors = Actors::of(tx, user_id)?;
    held_roles(
        tx,
        all([
            actors.on_system(),
            eq("target_id", SYSTEM),
            eq("inherited", false),
        ]),
    )
}

/// Roles of matching assignments with what they imply. Domains' own roles only count for what they imply.
fn held_roles(tx: &mut Tx, cond: Cond) -> Result<Vec<RoleRow>> {
    let ids = held_ids(tx, cond)?;
    named(tx, ids.iter())
}

fn held_ids(tx: &mut Tx, cond: Cond) -> Result<BTreeSet<String>> {
    let rows: Vec<AssignmentRow> = tx.select(cond)?;
    if rows.is_empty() {
        return Ok(BTreeSet::new());
    }
    Ok(with_implied(
        rows.into_iter().map(|r| r.role_id),
        &implied_roles::map(tx)?,
    ))
}

/// The cloud's roles among these, by name.
pub(crate) fn named<'i>(
    tx: &mut Tx,
    ids: impl ExactSizeIterator<Item = &'i String>,
) -> Result<Vec<RoleRow>> {
    if ids.len() == 0 {
        return Ok(Vec::new());
    }
    let mut roles: Vec<RoleRow> = tx.select(is_in("id", ids))?;
    roles.retain(|r| r.domain().is_none());
    roles.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(roles)
}

/// The ids given and all that they imply, directly or not.
pub(crate) fn with_implied(
    ids: impl Iterator<Item = String>,
    rules: &BTreeMap<String, Vec<String>>,
) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = ids.collect();
    let mut open: Vec<String> = known.iter().cloned().collect();
    while let Some(id) = open.pop() {
        for implied in rules.get(&id).into_iter().flatten() {
            if known.insert(implied.clone()) {
                open.push(implied.clone());
            }
        }
    }
    known
}

/// The projects on which a user holds any role.
pub(crate) fn projects_of<'a>(tx: &mut Tx, who: impl Into<Who<'a>>) -> Result<Vec<ProjectRow>> {
    let actors = Actors::of(tx, who)?;
    let on_projects: Vec<AssignmentRow> = tx.select(actors.on_projects())?;
    let on_domains: Vec<AssignmentRow> =
        tx.select(all([actors.on_domains(), eq("inherited", true)]))?;
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for row in on_projects {
        if row.inherited {
            ids.extend(
                projects::subtree(tx, &row.target_id)?
                    .into_iter()
                    .map(|p| p.id),
            );
        } else {
            ids.insert(row.target_id);
        }
    }
    let domains = on_domains.iter().map(|r| &r.target_id);
    let found: Vec<ProjectRow> = tx.select(all([
        eq("is_domain", false),
        any([is_in("id", ids.iter()), is_in("domain_id", domains)]),
    ]))?;
    Ok(found)
}

/// The domains on which a user holds any role.
pub(crate) fn domains_of<'a>(tx: &mut Tx, who: impl Into<Who<'a>>) -> Result<Vec<ProjectRow>> {
    let actors = Actors::of(tx, who)?;
    let rows: Vec<AssignmentRow> = tx.select(all([actors.on_domains(), eq("inherited", false)]))?;
    tx.select(all([
        eq("is_domain", true),
        is_in("id", rows.iter().map(|r| &r.target_id)),
    ]))
}

/// Whether a user holds any role on the system.
pub(crate) fn is_on_system<'a>(tx: &mut Tx, who: impl Into<Who<'a>>) -> Result<bool> {
    let actors = Actors::of(tx, who)?;
    tx.exists::<AssignmentRow>(actors.on_system())
}
