//! Rows to replies, by microversion.

use crate::api::time;
use crate::db::{self, AttachmentRow, TypeRow, VolumeRow};
use crate::volume::status::AttachStatus;
use base::Result;
use oslo_db::{Tx, everything, is_in};
use oslo_http::Req;
use oslo_policy::Target;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A volume with what its view needs.
pub struct Loaded {
    pub volume: VolumeRow,
    pub attachments: Vec<AttachmentRow>,
    pub type_name: Option<String>,
}

/// Adds attachments and type names to rows.
pub fn load(tx: &mut Tx, volumes: Vec<VolumeRow>) -> Result<Vec<Loaded>> {
    if volumes.is_empty() {
        return Ok(Vec::new());
    }
    let names: HashMap<String, String> = tx
        .select::<TypeRow>(everything())?
        .into_iter()
        .map(|t| (t.id, t.name))
        .collect();
    let mut by_volume: HashMap<String, Vec<AttachmentRow>> = HashMap::new();
    let ids = volumes.iter().map(|v| &v.id);
    for attachment in tx.select::<AttachmentRow>(is_in("volume_id", ids))? {
        by_volume
            .entry(attachment.volume_id.clone())
            .or_default()
            .push(attachment);
    }
    let full = |volume: VolumeRow| Loaded {
        attachments: by_volume.remove(&volume.id).unwrap_or_default(),
        type_name: names.get(&volume.volume_type_id).cloned(),
        volume,
    };
    Ok(volumes.into_iter().map(full).collect())
}

fn links(req: &Req, id: &str) -> Value {
    let (base, project) = (&req.base_url, req.ctx.project());
    json!([
        {"rel": "self", "href": format!("{base}/v3/{project}/volumes/{id}")},
        {"rel": "bookmark", "href": format!("{base}/{project}/volumes/{id}")},
    ])
}

/// `{id, name, links}`.
pub fn summary(req: &Req, volume: &VolumeRow) -> Value {
    json!({"id": volume.id, "name": volume.name, "links": links(req, &volume.id)})
}

/// The answer of create and update.
pub fn volume(req: &Req, loaded: &Loaded) -> Map<String, Value> {
    let v = &loaded.volume;
    let admin = req.ctx.is_admin;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_string(), value));
    put("id", json!(v.id));
    put("status", json!(v.status));
    put("size", json!(v.size));
    put("availability_zone", json!(v.availability_zone));
    put("created_at", time(Some(v.created_at)));
    put("updated_at", time(v.updated_at));
    put("name", json!(v.name));
    put("description", json!(v.description));
    put("volume_type", json!(loaded.type_name));
    put("snapshot_id", Value::Null);
    put("source_volid", Value::Null);
    put("metadata", Value::Object(v.metadata.0.clone()));
    put("links", links(req, &v.id));
    put("user_id", json!(v.user_id));
    put("bootable", json!(v.bootable.to_string()));
    put("encrypted", json!(false));
    put("replication_status", Value::Null);
    put("consistencygroup_id", Value::Null);
    put("multiattach", json!(v.multiattach));
    let attached =
        |a: &&AttachmentRow| matches!(a.status, AttachStatus::Attached | AttachStatus::Detaching);
    let attachments: Vec<Value> = loaded
        .attachments
        .iter()
        .filter(attached)
        .map(|a| {
            json!({"id": a.volume_id, "attachment_id": a.id, "volume_id": a.volume_id,
                "server_id": a.instance_id, "host_name": a.host.as_ref().filter(|_| admin),
                "device": a.mountpoint, "attached_at": time(a.attached_at)})
        })
        .collect();
    put("attachments", Value::Array(attachments));
    if admin {
        put("migration_status", Value::Null);
    }
    if req.at_least(3, 13) {
        put("group_id", Value::Null);
    }
    if req.at_least(3, 21) && admin {
        put("provider_id", json!(v.provider_id));
    }
    if req.at_least(3, 48) {
        put("service_uuid", json!(v.service_id));
        // No driver here shares targets; 3.69 says so by null.
        put(
            "shared_targets",
            if req.at_least(3, 69) {
                Value::Null
            } else {
                json!(false)
            },
        );
    }
    if req.at_least(3, 61) && admin {
        put("cluster_name", Value::Null);
    }
    if req.at_least(3, 63) {
        put("volume_type_id", json!(v.volume_type_id));
    }
    if req.at_least(3, 65) {
        put("consumes_quota", json!(true));
    }
    out
}

/// The answer of show and detail: with what extensions add.
pub fn detail(req: &Req, loaded: &Loaded) -> Value {
    let v = &loaded.volume;
    let mut out = volume(req, loaded);
    let target = Target::owned(&v.project_id, &v.user_id);
    if req.permits("volume_extension:volume_host_attribute", &target) {
        out.insert("os-vol-host-attr:host".into(), json!(v.host));
    }
    if req.permits("volume_extension:volume_tenant_attribute", &target) {
        out.insert("os-vol-tenant-attr:tenant_id".into(), json!(v.project_id));
    }
    if req.permits("volume_extension:volume_mig_status_attribute", &target) {
        out.insert("os-vol-mig-status-attr:migstat".into(), Value::Null);
        out.insert("os-vol-mig-status-attr:name_id".into(), Value::Null);
    }
    if !v.image_metadata.0.is_empty() {
        out.insert("volume_image_metadata".into(), json!(v.image_metadata.0));
    }
    if let (Some(read_only), Some(Value::Object(metadata))) = (v.read_only, out.get_mut("metadata"))
    {
        let word = if read_only { "True" } else { "False" };
        metadata.insert("readonly".into(), json!(word));
    }
    Value::Object(out)
}

/// An attachment in full.
pub fn attachment(a: &AttachmentRow) -> Value {
    json!({
        "id": a.id,
        "status": a.status,
        "instance": a.instance_id,
        "volume_id": a.volume_id,
        "attached_at": a.attached_at.map_or(json!(""), |t| json!(t.iso_micros())),
        "detached_at": "",
        "attach_mode": a.mode,
        "connection_info": a.connection_info.0,
    })
}

/// An attachment in a list.
pub fn attachment_summary(a: &AttachmentRow) -> Value {
    json!({"id": a.id, "status": a.status, "instance": a.instance_id, "volume_id": a.volume_id})
}

/// What users may see of extra specs who may not see all.
const VISIBLE_SPECS: &[&str] = &[
    "multiattach",
    "RESKEY:availability_zones",
    "replication_enabled",
];

/// A type's extra specs, as far as the caller may see them.
pub fn extra_specs(req: &Req, row: &TypeRow) -> Value {
    let all = req.permits(
        "volume_extension:types_extra_specs:read_sensitive",
        &Target::project(req.ctx.project()),
    );
    let mut specs = row.extra_specs.0.clone();
    specs.retain(|key, _| all || VISIBLE_SPECS.contains(&key.as_str()));
    Value::Object(specs)
}

/// A volume type; `access` adds the extension's attribute, `qos` the (always empty) QoS specification.
pub fn volume_type(req: &Req, row: &TypeRow, access: bool, qos: bool) -> Value {
    let own = Target::project(req.ctx.project());
    let mut out = json!({"id": row.id, "name": row.name, "description": row.description,
        "is_public": row.is_public});
    if access {
        out["os-volume-type-access:is_public"] = json!(row.is_public);
    }
    if req.permits("volume_extension:access_types_extra_specs", &own) {
        out["extra_specs"] = extra_specs(req, row);
    }
    if qos && req.permits("volume_extension:access_types_qos_specs_id", &own) {
        out["qos_specs_id"] = Value::Null;
    }
    out
}

/// The volume with what its view needs, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &oslo_context::RequestContext, id: &str) -> Result<Loaded> {
    let volume = db::volumes::get(tx, ctx, id)?;
    load(tx, vec![volume])?
        .pop()
        .ok_or_else(|| db::volumes::not_found(id))
}
