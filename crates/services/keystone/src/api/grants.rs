//! Roles of a user or group on a project, a domain (both also inherited by what is below) or the system.
//!
//! One set of handlers serves all ten kinds of path; the names in the path say which it is.

use crate::Keystone;
use crate::api::list::collection;
use crate::api::{base_url, roles as role_views};
use crate::db::app_creds;
use crate::db::assignments::{AssignmentKind, AssignmentRow, SYSTEM, ensure};
use crate::db::groups::{self, GroupRow};
use crate::db::projects::{self, ProjectRow};
use crate::db::roles::{self, RoleRow};
use crate::db::users::{self, UserRow};
use crate::policy::{Target, enforce};
use base::{Error, Result};
use oslo_db::{Tx, all, eq, is_in};
use oslo_http::{Reply, Req};
use std::sync::Arc;

/// What a path says.
#[derive(Clone)]
struct Path {
    kind: AssignmentKind,
    actor_id: String,
    target_id: String,
    role_id: String,
    inherited: bool,
}

/// What the path names, as far as it exists.
struct Named {
    user: Option<UserRow>,
    group: Option<GroupRow>,
    project: Option<ProjectRow>,
    domain: Option<ProjectRow>,
    role: Option<RoleRow>,
}

impl Path {
    fn of(req: &Req) -> Path {
        let (user, group) = (req.param("user_id"), req.param("group_id"));
        let (project, domain) = (req.param("project_id"), req.param("domain_id"));
        let by_user = !user.is_empty();
        let kind = match (project.is_empty(), domain.is_empty(), by_user) {
            (false, _, true) => AssignmentKind::UserProject,
            (false, _, false) => AssignmentKind::GroupProject,
            (_, false, true) => AssignmentKind::UserDomain,
            (_, false, false) => AssignmentKind::GroupDomain,
            (_, _, true) => AssignmentKind::UserSystem,
            (_, _, false) => AssignmentKind::GroupSystem,
        };
        let target = if !project.is_empty() { project } else { domain };
        Path {
            kind,
            actor_id: if by_user { user } else { group }.to_string(),
            target_id: if target.is_empty() { SYSTEM } else { target }.to_string(),
            role_id: req.param("role_id").to_string(),
            inherited: req.path.contains("/OS-INHERIT/"),
        }
    }

    fn row(&self) -> AssignmentRow {
        AssignmentRow {
            kind: self.kind,
            actor_id: self.actor_id.clone(),
            target_id: self.target_id.clone(),
            role_id: self.role_id.clone(),
            inherited: self.inherited,
        }
    }

    fn is_system(&self) -> bool {
        matches!(
            self.kind,
            AssignmentKind::UserSystem | AssignmentKind::GroupSystem
        )
    }

    /// Grants on the system have rules of their own.
    fn rule(&self, verb: &str) -> String {
        match self.kind {
            AssignmentKind::UserSystem => format!("identity:{verb}_system_grant_for_user"),
            AssignmentKind::GroupSystem => format!("identity:{verb}_system_grant_for_group"),
            _ => format!("identity:{verb}_grant"),
        }
    }

    /// Looks up what the path names. Upstream tells whoever asks what of it does not exist, except to a revoke.
    fn find(&self, tx: &mut Tx, lenient: bool) -> Result<Named> {
        let mut named = Named {
            user: None,
            group: None,
            project: None,
            domain: None,
            role: None,
        };
        if !self.role_id.is_empty() {
            named.role = or_lenient(roles::get(tx, &self.role_id), lenient)?;
        }
        match self.kind.is_group() {
            true => named.group = or_lenient(groups::get(tx, &self.actor_id), lenient)?,
            false => named.user = or_lenient(users::get(tx, &self.actor_id), lenient)?,
        }
        match self.kind {
            AssignmentKind::UserProject | AssignmentKind::GroupProject => {
                named.project = Some(projects::get(tx, &self.target_id)?);
            }
            AssignmentKind::UserDomain | AssignmentKind::GroupDomain => {
                named.domain = Some(projects::get_domain(tx, &self.target_id)?);
            }
            AssignmentKind::UserSystem | AssignmentKind::GroupSystem => {}
        }
        Ok(named)
    }

    fn not_found(&self) -> Error {
        Error::not_found(format!(
            "Could not find role assignment with role: {}, user or group: {}, project, domain, or system: {}.",
            self.role_id, self.actor_id, self.target_id
        ))
    }
}

fn or_lenient<T>(found: Result<T>, lenient: bool) -> Result<Option<T>> {
    match found {
        Err(e) if lenient && e.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

impl Named {
    fn target(&self) -> Target {
        Target::new()
            .user(self.user.as_ref())
            .group(self.group.as_ref())
            .project(self.project.as_ref())
            .domain(self.domain.as_ref().map(|d| d.id.as_str()))
            .role(self.role.as_ref())
    }
}

/// `GET …/roles`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let path = Path::of(&req);
    let (wanted, held) = (path.clone(), path.clone());
    let named = keystone.db.read(move |tx| wanted.find(tx, false)).await?;
    let rule = match path.kind {
        AssignmentKind::UserSystem => "identity:list_system_grants_for_user",
        AssignmentKind::GroupSystem => "identity:list_system_grants_for_group",
        _ => "identity:list_grants",
    };
    enforce(&req, rule, named.target())?;
    let rows = keystone
        .db
        .read(move |tx| {
            let same = all([
                eq("kind", held.kind),
                eq("actor_id", &held.actor_id),
                eq("target_id", &held.target_id),
                eq("inherited", held.inherited),
            ]);
            let ids: Vec<String> = tx
                .select::<AssignmentRow>(same)?
                .into_iter()
                .map(|a| a.role_id)
                .collect();
            tx.select::<RoleRow>(is_in("id", ids.iter()))
        })
        .await?;
    let base = base_url(&keystone, &req);
    collection(
        &base,
        &req,
        "roles",
        rows.iter().map(|r| role_views::view(&base, r)).collect(),
        None,
    )
}

/// `GET` and `HEAD …/roles/{role_id}`
pub(crate) async fn check(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let path = Path::of(&req);
    let wanted = path.clone();
    let named = keystone.db.read(move |tx| wanted.find(tx, false)).await?;
    enforce(&req, &path.rule("check"), named.target())?;
    let row = path.row();
    let found = keystone
        .db
        .read(move |tx| tx.exists::<AssignmentRow>(row.key()))
        .await?;
    if found {
        Ok(Reply::empty(204))
    } else {
        Err(path.not_found())
    }
}

/// `PUT …/roles/{role_id}`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let path = Path::of(&req);
    let wanted = path.clone();
    let named = keystone.db.read(move |tx| wanted.find(tx, false)).await?;
    enforce(&req, &path.rule("create"), named.target())?;
    let role_domain = named.role.as_ref().and_then(RoleRow::domain);
    if role_domain.is_some() && path.is_system() {
        return Err(Error::bad_request(format!(
            "Role {} is a domain-specific role. Unable to use a domain-specific role in a system assignment.",
            path.role_id
        )));
    }
    // COMPAT: of projects only; on another domain a domain's role gives nothing, but may be granted.
    if let Some(project) = &named.project
        && role_domain.is_some()
        && role_domain != project.domain()
    {
        return Err(Error::forbidden(format!(
            "Project {} must be in the same domain as the role {} being assigned.",
            path.target_id, path.role_id
        )));
    }
    keystone
        .write(move |tx| {
            // Whatever was deleted meanwhile is not granted anything.
            path.find(tx, false)?;
            ensure(tx, &path.row())
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `DELETE …/roles/{role_id}`
pub(crate) async fn revoke(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let path = Path::of(&req);
    let wanted = path.clone();
    let named = keystone.db.read(move |tx| wanted.find(tx, true)).await?;
    enforce(&req, &path.rule("revoke"), named.target())?;
    keystone
        .write(move |tx| {
            if tx.delete::<AssignmentRow>(path.row().key())? == 0 {
                return Err(path.not_found());
            }
            match path.kind {
                AssignmentKind::UserProject if !path.inherited => {
                    app_creds::delete_of_user_on(tx, &path.actor_id, &path.target_id)
                }
                _ => Ok(()),
            }
        })
        .await?;
    Ok(Reply::empty(204))
}
