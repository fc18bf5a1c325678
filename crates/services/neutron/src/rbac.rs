//! Shares of networks with projects.

use crate::db::{NetworkRow, RbacRow};
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View};
use crate::{fault, networks};
use base::{Result, id};
use oslo_db::{Cond, Tx, all, any, eq};
use serde_json::json;

pub(crate) struct Rbac;

impl Noun for Rbac {
    type Row = RbacRow;
    const MEMBER: &'static str = "rbac_policy";
    const PLURAL: &'static str = "rbac_policies";
    const TAGS: bool = false;

    fn id(row: &RbacRow) -> &str {
        &row.id
    }

    fn column(attribute: &str) -> Option<&'static str> {
        (attribute == "target_tenant").then_some("target_project")
    }

    fn visible(call: &Call) -> Cond {
        any([
            eq("project_id", call.ctx.project()),
            eq("target_project", call.ctx.project()),
        ])
    }

    fn views(_: &mut Tx, _: &Call, rows: Vec<RbacRow>) -> Result<Vec<View>> {
        let view = |row: &RbacRow| {
            let mut fields = Fields::new();
            fields.put("id", json!(row.id));
            fields.put("tenant_id", json!(row.project_id));
            fields.put("project_id", json!(row.project_id));
            fields.put("object_type", json!(row.object_type));
            fields.put("object_id", json!(row.object_id));
            fields.put("action", json!(row.action));
            fields.put("target_tenant", json!(row.target_project));

            View::alone(fields)
        };
        Ok(rows.iter().map(view).collect())
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<RbacRow> {
        let action = body.text("action");
        if action != networks::SHARED {
            let words = format!(
                "Invalid action '{action}' for object type '{}'. Valid actions: {}",
                body.text("object_type"),
                networks::SHARED
            );
            return Err(fault::refused("InvalidActionForType", words));
        }
        let network = networks::get(tx, call, &body.text("object_id"))?;
        if !call.ctx.is_admin && network.project_id != call.ctx.project() {
            return Err(fault::denied("create_rbac_policy"));
        }
        let row = RbacRow {
            id: id::new_id(),
            project_id: body.text("tenant_id"),
            object_type: "network".into(),
            object_id: network.id,
            action,
            target_project: body.text("target_tenant"),
        };
        let same = all([
            eq("object_id", row.object_id.as_str()),
            eq("action", row.action.as_str()),
            eq("target_project", row.target_project.as_str()),
        ]);
        if tx.exists::<RbacRow>(same)? {
            return Err(fault::conflict(
                "DuplicateRbacPolicy",
                "An RBAC policy already exists with those values.",
            ));
        }
        tx.insert(&row)?;
        Ok(row)
    }

    fn update(tx: &mut Tx, _: &Call, mut row: RbacRow, changes: &Body) -> Result<RbacRow> {
        let target = changes.text("target_tenant");
        if !target.is_empty() && target != row.target_project {
            release(tx, &row)?;
            row.target_project = target;
            tx.upsert(&row, &["id"])?;
        }
        Ok(row)
    }

    fn delete(tx: &mut Tx, _: &Call, row: RbacRow) -> Result<()> {
        release(tx, &row)
    }
}

fn release(tx: &mut Tx, row: &RbacRow) -> Result<()> {
    // Whoever comes to live on it does so before, or not at all.
    let found = tx.find_for_update::<NetworkRow>(eq("id", row.object_id.as_str()))?;
    let Some(network) = found else {
        return tx.delete::<RbacRow>(eq("id", row.id.as_str())).map(drop);
    };
    networks::unshare(tx, &network, &row.target_project).map_err(|e| {
        let words = format!(
            "RBAC policy on object {} cannot be removed because other objects depend on it.\nDetails: {}",
            row.object_id,
            e.message()
        );
        fault::conflict("RbacPolicyInUse", words)
    })
}
