//! Rows to replies, by microversion. Volumes, which are many, go from their rows straight to bytes.

use crate::db::{self, AttachmentRow, TypeRow, VolumeRow};
use crate::volume::status::{AttachStatus, VolumeStatus};
use base::Timestamp;
use oslo_db::{Tx, everything, is_in};
use oslo_http::Req;
use oslo_policy::Target;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A volume with what its view needs.
pub struct Loaded {
    pub volume: VolumeRow,
    pub attachments: Vec<AttachmentRow>,
    pub type_name: Option<String>,
}

/// Adds attachments and type names to rows.
pub fn load(tx: &mut Tx, volumes: Vec<VolumeRow>) -> base::Result<Vec<Loaded>> {
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

/// Both links of a volume.
struct Links<'a>(&'a Req, &'a str);

impl Serialize for Links<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (Links(req, id), project) = (self, self.0.ctx.project());
        let base = &req.base_url;
        to.collect_seq([
            Link {
                rel: "self",
                href: format_args!("{base}/v3/{project}/volumes/{id}"),
            },
            Link {
                rel: "bookmark",
                href: format_args!("{base}/{project}/volumes/{id}"),
            },
        ])
    }
}

#[derive(Serialize)]
struct Link<'a> {
    rel: &'static str,
    href: std::fmt::Arguments<'a>,
}

/// `{id, name, links}`.
#[derive(Serialize)]
pub struct SummaryView<'a> {
    id: &'a str,
    name: Option<&'a str>,
    links: Links<'a>,
}

pub fn summary<'a>(req: &'a Req, volume: &'a VolumeRow) -> SummaryView<'a> {
    SummaryView {
        id: &volume.id,
        name: volume.name.as_deref(),
        links: Links(req, &volume.id),
    }
}

/// A time as cinder writes it.
pub(super) struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.iso_micros())
    }
}

/// What this cloud never has; null in the reply.
#[derive(Serialize)]
struct Nothing;

/// A volume. Attributes that are left out belong to newer microversions, administrators or extensions.
#[derive(Serialize)]
pub struct VolumeView<'a> {
    id: &'a str,
    status: VolumeStatus,
    size: i64,
    availability_zone: &'a str,
    created_at: Time,
    updated_at: Option<Time>,
    name: Option<&'a str>,
    description: Option<&'a str>,
    volume_type: Option<&'a str>,
    snapshot_id: Option<&'a str>,
    source_volid: Option<&'a str>,
    metadata: Metadata<'a>,
    links: Links<'a>,
    user_id: &'a str,
    bootable: &'static str,
    encrypted: bool,
    replication_status: Nothing,
    consistencygroup_id: Nothing,
    multiattach: bool,
    attachments: Vec<AttachedView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    migration_status: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_uuid: Option<Option<&'a str>>,
    /// No driver here shares targets; 3.69 says so by null.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_targets: Option<Option<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_type_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumes_quota: Option<bool>,
    #[serde(
        rename = "os-vol-host-attr:host",
        skip_serializing_if = "Option::is_none"
    )]
    host: Option<Option<&'a str>>,
    #[serde(
        rename = "os-vol-tenant-attr:tenant_id",
        skip_serializing_if = "Option::is_none"
    )]
    tenant: Option<&'a str>,
    #[serde(
        rename = "os-vol-mig-status-attr:migstat",
        skip_serializing_if = "Option::is_none"
    )]
    migration: Option<Nothing>,
    #[serde(
        rename = "os-vol-mig-status-attr:name_id",
        skip_serializing_if = "Option::is_none"
    )]
    migration_name: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_image_metadata: Option<&'a Map<String, Value>>,
}

/// A server's hold on a volume, as the volume shows it.
#[derive(Serialize)]
struct AttachedView<'a> {
    id: &'a str,
    attachment_id: &'a str,
    volume_id: &'a str,
    server_id: Option<&'a str>,
    host_name: Option<&'a str>,
    device: Option<&'a str>,
    attached_at: Option<Time>,
}

/// The user's pairs, and `readonly` where that was ever said.
struct Metadata<'a> {
    own: &'a Map<String, Value>,
    read_only: Option<bool>,
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        let hidden = |key: &str| self.read_only.is_some() && key == "readonly";
        for (key, value) in self.own.iter().filter(|(key, _)| !hidden(key)) {
            map.serialize_entry(key, value)?;
        }
        if let Some(read_only) = self.read_only {
            map.serialize_entry("readonly", if read_only { "True" } else { "False" })?;
        }
        map.end()
    }
}

/// The answer of create and update.
pub fn volume<'a>(req: &'a Req, loaded: &'a Loaded) -> VolumeView<'a> {
    let v = &loaded.volume;
    let admin = req.ctx.is_admin;
    let since = |minor| req.at_least(3, minor);
    let attached =
        |a: &&AttachmentRow| matches!(a.status, AttachStatus::Attached | AttachStatus::Detaching);
    let attachment = |a: &'a AttachmentRow| AttachedView {
        id: &a.volume_id,
        attachment_id: &a.id,
        volume_id: &a.volume_id,
        server_id: a.instance_id.as_deref(),
        host_name: a.host.as_deref().filter(|_| admin),
        device: a.mountpoint.as_deref(),
        attached_at: a.attached_at.map(Time),
    };
    VolumeView {
        id: &v.id,
        status: v.status,
        size: v.size,
        availability_zone: &v.availability_zone,
        created_at: Time(v.created_at),
        updated_at: v.updated_at.map(Time),
        name: v.name.as_deref(),
        description: v.description.as_deref(),
        volume_type: loaded.type_name.as_deref(),
        snapshot_id: v.snapshot_id.as_deref(),
        source_volid: v.source_volid.as_deref(),
        metadata: Metadata {
            own: &v.metadata.0,
            read_only: None,
        },
        links: Links(req, &v.id),
        user_id: &v.user_id,
        bootable: if v.bootable { "true" } else { "false" },
        encrypted: false,
        replication_status: Nothing,
        consistencygroup_id: Nothing,
        multiattach: v.multiattach,
        attachments: loaded
            .attachments
            .iter()
            .filter(attached)
            .map(attachment)
            .collect(),
        migration_status: admin.then_some(Nothing),
        group_id: since(13).then_some(Nothing),
        provider_id: (since(21) && admin).then_some(v.provider_id.as_deref()),
        service_uuid: since(48).then_some(v.service_id.as_deref()),
        shared_targets: since(48).then_some((!since(69)).then_some(false)),
        cluster_name: (since(61) && admin).then_some(Nothing),
        volume_type_id: since(63).then_some(v.volume_type_id.as_str()),
        consumes_quota: since(65).then_some(true),
        host: None,
        tenant: None,
        migration: None,
        migration_name: None,
        volume_image_metadata: None,
    }
}

/// What extensions add for a caller who may see it.
#[derive(Clone, Copy)]
struct Extras {
    host: bool,
    tenant: bool,
    migration: bool,
}

/// Views of many volumes: what the rules say of one owner's volume they say of the next one of the same owner.
pub struct Details<'a> {
    req: &'a Req,
    last: Option<(&'a VolumeRow, Extras)>,
}

impl<'a> Details<'a> {
    pub fn new(req: &'a Req) -> Details<'a> {
        Details { req, last: None }
    }

    fn extras(&mut self, volume: &'a VolumeRow) -> Extras {
        if let Some((last, extras)) = self.last
            && (&last.project_id, &last.user_id) == (&volume.project_id, &volume.user_id)
        {
            return extras;
        }
        let target = Target::owned(&volume.project_id, &volume.user_id);
        let permits = |rule| self.req.permits(rule, &target);
        let extras = Extras {
            host: permits("volume_extension:volume_host_attribute"),
            tenant: permits("volume_extension:volume_tenant_attribute"),
            migration: permits("volume_extension:volume_mig_status_attribute"),
        };
        self.last = Some((volume, extras));
        extras
    }

    /// The answer of show and detail: with what extensions add.
    pub fn view(&mut self, loaded: &'a Loaded) -> VolumeView<'a> {
        let v = &loaded.volume;
        let extras = self.extras(v);
        let images = &v.image_metadata.0;
        let mut view = volume(self.req, loaded);
        view.metadata.read_only = v.read_only;
        view.host = extras.host.then_some(v.host.as_deref());
        view.tenant = extras.tenant.then_some(v.project_id.as_str());
        view.migration = extras.migration.then_some(Nothing);
        view.migration_name = extras.migration.then_some(Nothing);
        view.volume_image_metadata = (!images.is_empty()).then_some(images);
        view
    }
}

/// `{"volume": …}`.
#[derive(Serialize)]
pub struct Wrapped<T> {
    pub volume: T,
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

/// A volume type; `access` adds the extension's attribute, `qos` the QoS specification.
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
        out["qos_specs_id"] = json!(row.qos_specs_id);
    }
    out
}

/// The volume with what its view needs, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &oslo_context::RequestContext, id: &str) -> base::Result<Loaded> {
    let volume = db::volumes::get(tx, ctx, id)?;
    load(tx, vec![volume])?
        .pop()
        .ok_or_else(|| db::volumes::not_found(id))
}
