//! What notifications hold: upstream's objects, field by field.

use crate::db::block_devices::{self, BlockDeviceRow};
use crate::db::flavors::FlavorRow;
use crate::db::instances::InstanceRow;
use crate::db::keypairs::KeypairRow;
use base::{Error, Result, Timestamp};
use nova_types::rpc::PowerState;
use oslo_db::{Tx, all, eq};
use serde_json::{Value, json};

/// Who did what is told.
pub(super) struct Actor {
    pub user: Option<String>,
    pub project: Option<String>,
    pub request_id: String,
}

/// What the row of the instance does not say.
pub(super) struct Facts {
    devices: Vec<BlockDeviceRow>,
    flavor: Option<FlavorRow>,
    key: Option<KeypairRow>,
}

impl Facts {
    pub(super) fn of(tx: &mut Tx, row: &InstanceRow, with_devices: bool) -> Result<Facts> {
        let key = match &row.key_name {
            Some(name) => tx.find(all([eq("user_id", &row.user_id), eq("name", name)]))?,
            None => None,
        };
        let devices = match with_devices {
            true => block_devices::of_instance(tx, &row.id)?,
            false => Vec::new(),
        };
        Ok(Facts {
            devices,
            flavor: tx.find(eq("flavor_id", &row.flavor_id))?,
            key,
        })
    }
}

fn object(name: &str, version: &str, data: Value) -> Value {
    json!({"nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": version,
        "nova_object.data": data})
}

/// An error as upstream's listeners know it; there is no Python function to name, so it is the verb.
pub(super) fn exception(error: &Error, verb: &str) -> Value {
    let class = error.error_class().unwrap_or("NovaException");
    let data = json!({"exception": class, "exception_message": error.message(), "function_name": verb,
        "module_name": "nova.flows", "traceback": error.log_message()});
    object("ExceptionPayload", "1.1", data)
}

fn power(code: i64) -> &'static str {
    match PowerState::from_code(code) {
        PowerState::NoState => "pending",
        PowerState::Running => "running",
        PowerState::Paused => "paused",
        PowerState::Shutdown => "shutdown",
        PowerState::Crashed => "crashed",
        PowerState::Suspended => "suspended",
    }
}

fn flavor(row: &InstanceRow, facts: &Facts) -> Value {
    let (own, now) = (&row.flavor.0, facts.flavor.as_ref());
    let data = json!({
        "flavorid": own.flavor_id, "name": own.name, "root_gb": own.root_gb, "vcpus": own.vcpus,
        "ephemeral_gb": own.ephemeral_gb, "memory_mb": own.memory_mb, "swap": own.swap_mb,
        "extra_specs": own.extra_specs, "projects": null, "vcpu_weight": 0,
        "disabled": now.is_some_and(|f| f.disabled), "rxtx_factor": now.map_or(1.0, |f| f.rxtx_factor),
        "is_public": now.is_none_or(|f| f.is_public), "description": now.and_then(|f| f.description.clone()),
    });
    object("FlavorPayload", "1.4", data)
}

fn addresses(row: &InstanceRow) -> Vec<Value> {
    let ports = row.network_info.0.iter();
    let all = ports.flat_map(|port| port.addresses.iter().map(move |a| (port, a)));
    all.map(|(port, a)| {
        let device = format!("tap{}", &port.id[..port.id.len().min(11)]);
        let data = json!({"mac": port.mac, "address": a.ip, "port_uuid": port.id, "meta": {},
            "version": a.version, "label": port.network_name, "device_name": device});
        object("IpPayload", "1.0", data)
    })
    .collect()
}

fn devices(facts: &Facts) -> Vec<Value> {
    let one = |d: &BlockDeviceRow| {
        let data = json!({"boot_index": d.boot_index, "delete_on_termination": d.delete_on_termination,
            "device_name": format!("/dev/{}", d.device_name), "tag": d.tag, "volume_id": d.volume_id});
        object("BlockDevicePayload", "1.0", data)
    };
    facts.devices.iter().map(one).collect()
}

/// What all of them hold.
fn instance(row: &InstanceRow, facts: &Facts, actor: &Actor) -> Value {
    let time = |t: Option<Timestamp>| t.map(Timestamp::iso_z);
    let image = |name: &str| row.system_metadata.0.get(&format!("image_{name}")).cloned();
    json!({
        "architecture": image("architecture"), "os_type": image("os_type"),
        "kernel_id": image("kernel_id").unwrap_or_default(),
        "ramdisk_id": image("ramdisk_id").unwrap_or_default(),
        "availability_zone": row.availability_zone, "host": row.host, "node": row.node,
        "block_devices": devices(facts), "ip_addresses": addresses(row), "flavor": flavor(row, facts),
        "created_at": row.created_at.iso_z(), "updated_at": time(row.updated_at),
        "launched_at": time(row.launched_at), "terminated_at": time(row.terminated_at),
        "deleted_at": time(row.deleted_at),
        "display_name": row.display_name, "display_description": row.description,
        "host_name": row.hostname, "image_uuid": row.image_ref.clone().unwrap_or_default(),
        "key_name": row.key_name, "metadata": row.metadata.0, "progress": row.progress,
        "locked": row.locked, "locked_reason": row.locked_reason, "reservation_id": row.reservation_id,
        "state": row.vm_state, "task_state": row.task_state, "power_state": power(row.power_state),
        "tenant_id": row.project_id, "user_id": row.user_id, "uuid": row.id,
        "auto_disk_config": row.disk_config, "request_id": actor.request_id,
        "action_initiator_user": actor.user, "action_initiator_project": actor.project,
        "shares": [],
    })
}

/// Most verbs.
pub(super) fn action(row: &InstanceRow, facts: &Facts, actor: &Actor, fault: Value) -> Value {
    let mut data = instance(row, facts, actor);
    data["fault"] = fault;
    object("InstanceActionPayload", "1.9", data)
}

/// A volume comes or goes.
pub(super) fn volume(
    row: &InstanceRow,
    facts: &Facts,
    actor: &Actor,
    fault: Value,
    volume_id: &str,
) -> Value {
    let mut data = instance(row, facts, actor);
    data["fault"] = fault;
    data["volume_id"] = json!(volume_id);
    object("InstanceActionVolumePayload", "1.7", data)
}

/// A boot.
pub(super) fn create(row: &InstanceRow, facts: &Facts, actor: &Actor, fault: Value) -> Value {
    let key = |k: &KeypairRow| {
        let data = json!({"user_id": k.user_id, "name": k.name, "fingerprint": k.fingerprint,
            "public_key": k.public_key, "type": k.r#type});
        object("KeypairPayload", "1.0", data)
    };
    let mut data = instance(row, facts, actor);
    data["fault"] = fault;
    data["keypairs"] = facts.key.iter().map(key).collect();
    data["tags"] = json!(row.tags.0);
    data["trusted_image_certificates"] = Value::Null;
    data["instance_name"] = json!(crate::api::views::server::instance_name(row));
    object("InstanceCreatePayload", "1.13", data)
}

/// What a server is called, and tagged with.
pub(super) fn update(
    row: &InstanceRow,
    facts: &Facts,
    actor: &Actor,
    old_name: Option<&str>,
) -> Value {
    let now = Timestamp::now();
    let month = json!({"audit_period_beginning": now.format("%Y-%m-01T00:00:00Z"),
        "audit_period_ending": now.iso_z()});
    let state = json!({"old_state": row.vm_state, "state": row.vm_state,
        "old_task_state": row.task_state, "new_task_state": row.task_state});
    let mut data = instance(row, facts, actor);
    data["audit_period"] = object("AuditPeriodPayload", "1.0", month);
    data["old_display_name"] = json!(old_name);
    data["state_update"] = object("InstanceStateUpdatePayload", "1.0", state);
    data["tags"] = json!(row.tags.0);
    object("InstanceUpdatePayload", "2.1", data)
}
