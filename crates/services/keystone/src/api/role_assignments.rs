//! `GET /v3/role_assignments`

use crate::Keystone;
use crate::api::base_url;
use crate::api::list::{collection, flag};
use crate::assignment::expand::{self, Entry, Place, Wanted};
use crate::db::groups::GroupRow;
use crate::db::projects::{self, ProjectRow};
use crate::db::roles::RoleRow;
use crate::db::users::UserRow;
use crate::policy::{Target, enforce};
use base::{Error, Result};
use oslo_db::{Tx, everything, is_in};
use oslo_http::{Query, Reply, Req};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn parse(query: &Query) -> Result<Wanted> {
    let id = |name: &str| {
        query
            .get(name)
            .filter(|v| !v.is_empty())
            .map(str::to_string)
    };
    let on = |name: &str| query.get(name).is_some_and(flag);
    let wanted = Wanted {
        user_id: id("user.id"),
        group_id: id("group.id"),
        role_id: id("role.id"),
        project_id: id("scope.project.id"),
        domain_id: id("scope.domain.id"),
        system: on("scope.system"),
        inherited_only: query.has("scope.OS-INHERIT:inherited_to"),
        effective: on("effective"),
        include_subtree: on("include_subtree"),
    };
    let bad = |why: &str| Err(Error::bad_request(why));
    if query
        .get("scope.OS-INHERIT:inherited_to")
        .is_some_and(|to| to != "projects")
    {
        return bad("The only value for scope.OS-INHERIT:inherited_to is projects");
    }
    if wanted.user_id.is_some() && wanted.group_id.is_some() {
        return bad("Specify a user or group, not both");
    }
    if wanted.effective && wanted.group_id.is_some() {
        return bad("Combining effective and group filter will always result in an empty list.");
    }
    let scopes = [
        wanted.project_id.is_some(),
        wanted.domain_id.is_some(),
        wanted.system,
    ];
    if scopes.iter().filter(|s| **s).count() > 1 {
        return bad("Specify a domain or project or system, not more than one of them");
    }
    if wanted.include_subtree && wanted.project_id.is_none() {
        return bad("scope.project.id must be specified if include_subtree is also specified");
    }
    if wanted.effective && wanted.inherited_only && wanted.domain_id.is_some() {
        return bad(
            "Combining effective, domain and inherited filters will always result in an empty list.",
        );
    }
    Ok(wanted)
}

/// Names for ids.
#[derive(Default)]
struct Names {
    users: BTreeMap<String, (String, String)>,
    groups: BTreeMap<String, (String, String)>,
    roles: BTreeMap<String, (String, Option<String>)>,
    projects: BTreeMap<String, ProjectRow>,
}

impl Names {
    fn read(tx: &mut Tx, entries: &[Entry]) -> Result<Names> {
        let mut names = Names::default();
        let users: BTreeSet<&String> = entries.iter().filter_map(|e| e.user_id.as_ref()).collect();
        let groups: BTreeSet<&String> =
            entries.iter().filter_map(|e| e.group_id.as_ref()).collect();
        let ids: Vec<&String> = users.into_iter().collect();
        for chunk in ids.chunks(5_000) {
            for u in tx.select::<UserRow>(is_in("id", chunk.iter().copied()))? {
                names.users.insert(u.id, (u.name, u.domain_id));
            }
        }
        for g in tx.select::<GroupRow>(is_in("id", groups))? {
            names.groups.insert(g.id, (g.name, g.domain_id));
        }
        for r in tx.select::<RoleRow>(everything())? {
            let domain_id = r.domain().map(str::to_string);
            names.roles.insert(r.id, (r.name, domain_id));
        }
        for p in tx.select::<ProjectRow>(everything())? {
            names.projects.insert(p.id.clone(), p);
        }
        Ok(names)
    }

    fn domain(&self, id: &str) -> Value {
        json!({"id": id, "name": self.projects.get(id).map_or("", |d| d.name.as_str())})
    }

    fn in_domain(&self, id: &str, found: Option<&(String, String)>) -> Value {
        match found {
            Some((name, domain_id)) => {
                json!({"id": id, "name": name, "domain": self.domain(domain_id)})
            }
            None => json!({"id": id, "name": "", "domain": {"id": "", "name": ""}}),
        }
    }

    fn role(&self, id: &str) -> Value {
        let mut shown = json!({"id": id});
        if let Some((name, domain_id)) = self.roles.get(id) {
            shown["name"] = json!(name);
            if let Some(domain_id) = domain_id {
                shown["domain"] = self.domain(domain_id);
            }
        }
        shown
    }

    fn project(&self, id: &str) -> Value {
        match self.projects.get(id) {
            Some(p) => json!({"id": id, "name": p.name, "domain": self.domain(&p.domain_id)}),
            None => json!({"id": id}),
        }
    }
}

fn view(base: &str, entry: &Entry, names: Option<&Names>) -> Value {
    let mut view = Map::new();
    let plain = |id: &str| json!({"id": id});
    let role = names.map_or_else(|| plain(&entry.role_id), |n| n.role(&entry.role_id));
    view.insert("role".into(), role);
    if let Some(id) = &entry.user_id {
        let user = names.map_or_else(|| plain(id), |n| n.in_domain(id, n.users.get(id)));
        view.insert("user".into(), user);
    }
    if let Some(id) = &entry.group_id {
        let group = names.map_or_else(|| plain(id), |n| n.in_domain(id, n.groups.get(id)));
        view.insert("group".into(), group);
    }
    let mut scope = match &entry.place {
        Place::Project(id) => {
            json!({"project": names.map_or_else(|| plain(id), |n| n.project(id))})
        }
        Place::Domain(id) => json!({"domain": names.map_or_else(|| plain(id), |n| n.domain(id))}),
        Place::System => json!({"system": {"all": true}}),
    };
    if entry.inherited {
        scope["OS-INHERIT:inherited_to"] = json!("projects");
    }
    view.insert("scope".into(), scope);
    let mut links = json!({"assignment": format!("{base}/{}", entry.assignment)});
    if let Some(path) = &entry.membership {
        links["membership"] = json!(format!("{base}/{path}"));
    }
    if let Some(path) = &entry.prior_role {
        links["prior_role"] = json!(format!("{base}/{path}"));
    }
    view.insert("links".into(), links);
    Value::Object(view)
}

/// The project above the tree. That it does not exist is told to everybody, as upstream has it.
async fn target_of_tree(keystone: &Keystone, query: &Query) -> Result<Target> {
    let Some(id) = query.get("scope.project.id").filter(|id| !id.is_empty()) else {
        return Ok(Target::new());
    };
    let id = id.to_string();
    let project = keystone.db.read(move |tx| projects::get(tx, &id)).await?;
    let target = Target::new().project(Some(&project));
    Ok(match project.domain() {
        Some(domain_id) => target.set("domain_id", domain_id),
        None => target,
    })
}

/// `GET /v3/role_assignments`: a domain's reader sees what is on that domain and its projects.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let own = req.ctx.domain_id.clone();
    if req.query.get("include_subtree").is_some_and(flag) {
        let target = target_of_tree(&keystone, &req.query).await?;
        enforce(&req, "identity:list_role_assignments_for_tree", target)?;
    } else {
        let target = own
            .as_deref()
            .map_or_else(Target::new, |id| Target::new().set("domain_id", id));
        enforce(&req, "identity:list_role_assignments", target)?;
    }
    let wanted = parse(&req.query)?;
    let with_names = req.query.get("include_names").is_some_and(flag);
    let (entries, names) = keystone
        .db
        .read(move |tx| {
            let mut entries = expand::list(tx, &wanted)?;
            let names = if with_names || own.is_some() {
                Some(Names::read(tx, &entries)?)
            } else {
                None
            };
            if let (Some(own), Some(names)) = (&own, &names) {
                entries.retain(|e| match &e.place {
                    Place::Domain(id) => id == own,
                    Place::Project(id) => {
                        names.projects.get(id).is_some_and(|p| p.domain_id == *own)
                    }
                    Place::System => false,
                });
            }
            Ok((entries, names))
        })
        .await?;
    let names = names.filter(|_| with_names);
    let base = base_url(&keystone, &req);
    let views = entries
        .iter()
        .map(|e| view(&base, e, names.as_ref()))
        .collect();
    collection(&base, &req, "role_assignments", views, None)
}
