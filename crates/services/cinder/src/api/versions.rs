//! Version documents and the list of extensions.

use crate::Cinder;
use crate::routes::{MAX, MIN};
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn document(req: &Req) -> Value {
    json!({"versions": [{
        "id": "v3.0",
        "status": "CURRENT",
        "version": MAX.to_string(),
        "min_version": MIN.to_string(),
        "updated": "2023-08-31T00:00:00Z",
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": format!("{}/v3/", req.base_url)},
        ],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.volume+json;version=3",
        }],
    }]})
}

pub async fn root(_: Arc<Cinder>, req: Req) -> Result<Reply> {
    Reply::json(300, &document(&req))
}

pub async fn show(_: Arc<Cinder>, req: Req) -> Result<Reply> {
    Reply::ok(&document(&req))
}

const EXTENSIONS: &[(&str, &str, &str)] = &[
    (
        "AvailabilityZones",
        "os-availability-zone",
        "Describe Availability Zones.",
    ),
    ("Qos_specs_manage", "qos-specs", "QoS specs support."),
    ("Quotas", "os-quota-sets", "Quota management support."),
    (
        "QuotaClasses",
        "os-quota-class-sets",
        "Quota classes management support.",
    ),
    (
        "Scheduler_stats",
        "scheduler-stats",
        "Scheduler stats support.",
    ),
    ("Services", "os-services", "Services support."),
    (
        "TypesExtraSpecs",
        "os-types-extra-specs",
        "Type extra specs support.",
    ),
    ("TypesManage", "os-types-manage", "Types manage support."),
    (
        "UsedLimits",
        "os-used-limits",
        "Provide data on limited resource that are being used.",
    ),
    (
        "VolumeActions",
        "os-volume-actions",
        "Enable volume actions.",
    ),
    ("AdminActions", "os-admin-actions", "Enable admin actions."),
    (
        "VolumeHostAttribute",
        "os-vol-host-attr",
        "Expose host as an attribute of a volume.",
    ),
    (
        "VolumeImageMetadata",
        "os-vol-image-meta",
        "Show image metadata associated with the volume.",
    ),
    (
        "VolumeTenantAttribute",
        "os-vol-tenant-attr",
        "Expose the internal project_id as an attribute of a volume.",
    ),
    (
        "VolumeEncryptionMetadata",
        "os-volume-encryption-metadata",
        "Volume encryption metadata retrieval support.",
    ),
    (
        "VolumeTypeEncryption",
        "encryption",
        "Encryption support for volume types.",
    ),
    (
        "VolumeTypeAccess",
        "os-volume-type-access",
        "Volume type access support.",
    ),
];

fn extension(entry: &(&str, &str, &str)) -> Value {
    let (name, alias, description) = entry;
    json!({"name": name, "alias": alias, "description": description,
        "updated": "2013-04-18T00:00:00+00:00", "links": []})
}

pub async fn extension_show(_: Arc<Cinder>, req: Req) -> Result<Reply> {
    let found = EXTENSIONS
        .iter()
        .find(|(_, alias, _)| *alias == req.param("id"))
        .ok_or_else(|| Error::not_found("The resource could not be found."))?;
    Reply::ok(&json!({"extension": extension(found)}))
}

pub async fn extensions(_: Arc<Cinder>, _: Req) -> Result<Reply> {
    let list: Vec<Value> = EXTENSIONS.iter().map(extension).collect();
    Reply::ok(&json!({"extensions": list}))
}
