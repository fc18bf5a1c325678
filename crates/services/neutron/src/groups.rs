//! Security groups; every project gets one called default when it first needs it.

use crate::db::{DefaultGroupRow, GroupRow, PortGroupRow, RuleRow, held};
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View};
use crate::topics::Topic;
use crate::{fault, revise, rules, standard};
use base::{Result, id};
use oslo_db::{Cond, Tx, all, any, eq, is_in, ne};
use serde_json::{Value, json};
use std::collections::HashMap;

pub(crate) struct Groups;

impl Noun for Groups {
    type Row = GroupRow;
    const MEMBER: &'static str = "security_group";
    const PLURAL: &'static str = "security_groups";

    fn id(row: &GroupRow) -> &str {
        &row.id
    }

    fn revision(row: &GroupRow) -> Option<i64> {
        Some(row.revision_number)
    }

    fn visible(call: &Call) -> Cond {
        eq("project_id", call.ctx.project())
    }

    fn views(tx: &mut Tx, _: &Call, rows: Vec<GroupRow>) -> Result<Vec<View>> {
        let mut rules: HashMap<String, Vec<Fields>> = HashMap::new();
        for rule in tx.select::<RuleRow>(is_in(
            "security_group_id",
            rows.iter().map(|r| r.id.as_str()),
        ))? {
            rules
                .entry(rule.security_group_id.clone())
                .or_default()
                .push(rules::fields(&rule));
        }
        let view = |row: &GroupRow| {
            let mut fields = Fields::new();
            standard!(row).put(&mut fields);
            fields.put("name", json!(row.name));
            fields.put("stateful", json!(row.stateful));
            fields.put_list(
                "security_group_rules",
                rules.remove(&row.id).unwrap_or_default(),
            );
            View::alone(fields)
        };
        Ok(rows.iter().map(view).collect())
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<GroupRow> {
        let project = body.text("tenant_id");
        ensure_default(tx, call, &project)?;
        let row = row(
            call,
            &project,
            &body.text("name"),
            &body.text("description"),
            body.flag("stateful"),
        );
        tx.insert(&row)?;
        let rule = |ethertype| rules::any_rule(call, &row, "egress", ethertype, None);
        tx.insert_all(&["IPv4", "IPv6"].map(rule))?;
        Ok(row)
    }

    fn update(tx: &mut Tx, call: &Call, mut row: GroupRow, changes: &Body) -> Result<GroupRow> {
        let is_default = tx.exists::<DefaultGroupRow>(eq("security_group_id", row.id.as_str()))?;
        if is_default && changes.contains_key("name") && changes.text("name") != row.name {
            return Err(fault::conflict(
                "SecurityGroupCannotUpdateDefault",
                "Updating default security group not allowed.",
            ));
        }
        if changes.contains_key("name") {
            row.name = changes.text("name");
        }
        if changes.contains_key("description") {
            row.description = changes.text("description");
        }
        if changes.contains_key("stateful") && changes.flag("stateful") != row.stateful {
            in_use(tx, &row)?;
            row.stateful = changes.flag("stateful");
        }
        revise!(row, call);
        crate::noun::save(tx, &row)?;
        call.touch(Topic::Group(row.id.clone()));
        Ok(row)
    }

    fn delete(tx: &mut Tx, call: &Call, row: GroupRow) -> Result<()> {
        let default = eq("security_group_id", row.id.as_str());
        if in_use(tx, &row)? {
            if !call.ctx.is_admin {
                let words = "Insufficient rights for removing default security group.";
                return Err(fault::conflict("SecurityGroupCannotRemoveDefault", words));
            }
            tx.delete::<DefaultGroupRow>(default)?;
        }
        let naming = eq("remote_group_id", row.id.as_str());
        for rule in tx.select::<RuleRow>(naming.clone())? {
            call.touch(Topic::Group(rule.security_group_id));
        }
        tx.delete::<RuleRow>(any([eq("security_group_id", row.id.as_str()), naming]))?;
        tx.delete::<GroupRow>(eq("id", row.id.as_str()))?;
        call.forget(Topic::Group(row.id.clone()));
        call.forget(Topic::Members(row.id));
        Ok(())
    }
}

/// Refuses if a port is in it, and none gets in before this transaction ends. Says whether it is the project's default.
fn in_use(tx: &mut Tx, row: &GroupRow) -> Result<bool> {
    // Ports that name no group hold this row instead of the group's.
    let default = eq("project_id", row.project_id.as_str());
    let default = tx.find_for_update::<DefaultGroupRow>(default)?;
    if tx.exists::<PortGroupRow>(eq("security_group_id", row.id.as_str()))? {
        return Err(fault::conflict(
            "SecurityGroupInUse",
            format!("Security Group {} in use.", row.id),
        ));
    }
    Ok(default.is_some_and(|d| d.security_group_id == row.id))
}

fn row(call: &Call, project: &str, name: &str, description: &str, stateful: bool) -> GroupRow {
    GroupRow {
        id: id::new_id(),
        project_id: project.into(),
        name: name.into(),
        stateful,
        description: description.into(),
        created_at: call.now,
        updated_at: call.now,
        revision_number: 1,
    }
}

/// The project's default group, made when it is first needed: everything out, and in from its own members.
pub(crate) fn ensure_default(tx: &mut Tx, call: &Call, project: &str) -> Result<String> {
    if let Some(found) = held::find::<DefaultGroupRow>(tx, eq("project_id", project))? {
        return Ok(found.security_group_id);
    }
    let row = row(call, project, "default", "Default security group", true);
    tx.insert(&DefaultGroupRow {
        project_id: project.into(),
        security_group_id: row.id.clone(),
    })?;
    tx.insert(&row)?;
    let rules = ["IPv4", "IPv6"].map(|ethertype| {
        let own = Some(row.id.clone());
        [
            rules::any_rule(call, &row, "egress", ethertype, None),
            rules::any_rule(call, &row, "ingress", ethertype, own),
        ]
    });
    tx.insert_all(rules.as_flattened())?;
    Ok(row.id)
}

/// The groups a port names, which must be there for its project, and stay until the transaction ends.
pub(crate) fn check(
    tx: &mut Tx,
    call: &Call,
    project: &str,
    wanted: &[Value],
) -> Result<Vec<String>> {
    let ids: Vec<String> = wanted
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect();
    let usable = if call.sees_all() {
        oslo_db::everything()
    } else {
        any([
            eq("project_id", project),
            eq("project_id", call.ctx.project()),
        ])
    };
    let found = held::all::<GroupRow>(tx, all([is_in("id", ids.iter()), usable]))?;
    match ids.iter().find(|id| !found.iter().any(|g| g.id == **id)) {
        Some(missing) => Err(fault::not_found("security_group", missing)),
        None => Ok(ids),
    }
}

/// Reading a project's groups makes its default group, as upstream does before each list.
pub(crate) async fn list(
    neutron: std::sync::Arc<crate::Neutron>,
    req: oslo_http::Req,
) -> Result<oslo_http::Reply> {
    let call = Call::of(&neutron, &req);
    let mut projects: Vec<String> = req
        .query
        .all("project_id")
        .chain(req.query.all("tenant_id"))
        .map(str::to_string)
        .collect();
    if !call.ctx.is_admin {
        projects.retain(|p| p == call.ctx.project());
    }
    projects.push(call.ctx.project().to_string());
    projects.retain(|p| !p.is_empty());
    let wanted = projects.clone();
    let have = neutron
        .db
        .read(move |tx| tx.select::<DefaultGroupRow>(is_in("project_id", wanted.iter())))
        .await?;
    projects.retain(|p| !have.iter().any(|h| h.project_id == *p));
    projects.dedup();
    if !projects.is_empty() {
        neutron
            .change(&call, move |tx, call| {
                projects
                    .iter()
                    .try_for_each(|p| ensure_default(tx, call, p).map(drop))
            })
            .await?;
    }
    crate::crud::list::<Groups>(neutron, req).await
}

/// Whether a rule may name this group as the other end. It stays until the transaction ends.
pub(crate) fn exists_for(tx: &mut Tx, call: &Call, id: &str) -> Result<bool> {
    let own = if call.sees_all() {
        ne("id", "")
    } else {
        eq("project_id", call.ctx.project())
    };
    let found = held::find::<GroupRow>(tx, all([eq("id", id), own]))?;
    Ok(found.is_some())
}
