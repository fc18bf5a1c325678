//! Versioned notifications: what happened to a server, for billing and audit, in upstream's names and shapes.
//!
//! A step of a flow that runs again after a crash says it again: whoever counts goes by the request id.

use crate::Nova;
use crate::db::flavors::FlavorRow;
use crate::db::instances::InstanceRow;
use crate::db::keypairs::KeypairRow;
use crate::db::{actions, block_devices};
use base::{Error, Result, Timestamp};
use nova_types::rpc::PowerState;
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq};
use oslo_messaging::Priority;
use serde_json::{Value, json};

/// How far the action is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase<'a> {
    /// It begins.
    Start,
    /// It is done.
    End,
    /// It failed.
    Error(&'a Error),
}

impl Phase<'_> {
    fn word(self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::End => "end",
            Phase::Error(_) => "error",
        }
    }
}

/// Tells of `instance.create.*`.
pub(crate) async fn create(nova: &Nova, row: &InstanceRow, request_id: &str, phase: Phase<'_>) {
    tell(nova, row, request_id, "create", phase).await;
}

/// Tells of `instance.delete.*`.
pub(crate) async fn delete(nova: &Nova, row: &InstanceRow, request_id: &str, phase: Phase<'_>) {
    tell(nova, row, request_id, "delete", phase).await;
}

async fn tell(nova: &Nova, row: &InstanceRow, request_id: &str, what: &str, phase: Phase<'_>) {
    if nova.conf.notification_driver != "messagingv2" {
        return;
    }
    let (copy, request) = (row.clone(), request_id.to_string());
    let facts = nova.db.read(move |tx| Facts::of(tx, &copy, &request)).await;
    let event = format!("instance.{what}.{}", phase.word());
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => {
            tracing::warn!(server.id = row.id, %error, "the notification {event} was lost");
            return;
        }
    };
    let (priority, fault) = match phase {
        Phase::Error(error) => (Priority::Error, exception(error)),
        _ => (Priority::Info, Value::Null),
    };
    let payload = payload(row, &facts, request_id, what == "create", fault);
    let ctx = RequestContext {
        user_id: facts.user.clone(),
        project_id: facts.project.clone(),
        ..RequestContext::internal_for(request_id)
    };
    let host = row.host.as_deref().unwrap_or_default();
    let publisher = format!("nova-compute:{host}");
    nova.bus
        .notify(&ctx, &publisher, priority, &event, payload)
        .await;
}

/// What the row of the instance does not say.
struct Facts {
    devices: Vec<block_devices::BlockDeviceRow>,
    flavor: Option<FlavorRow>,
    key: Option<KeypairRow>,
    user: Option<String>,
    project: Option<String>,
}

impl Facts {
    fn of(tx: &mut Tx, row: &InstanceRow, request_id: &str) -> Result<Facts> {
        let action = actions::find(tx, &row.id, request_id)?;
        let (user, project) = action.map_or((None, None), |a| (a.user_id, a.project_id));
        let key = match &row.key_name {
            Some(name) => tx.find(all([eq("user_id", &row.user_id), eq("name", name)]))?,
            None => None,
        };
        Ok(Facts {
            devices: block_devices::of_instance(tx, &row.id)?,
            flavor: tx.find(eq("flavor_id", &row.flavor_id))?,
            key,
            user,
            project,
        })
    }
}

fn object(name: &str, version: &str, data: Value) -> Value {
    json!({"nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": version,
        "nova_object.data": data})
}

/// An error as upstream's listeners know it; there is no Python function to name, so the words say where it was.
fn exception(error: &Error) -> Value {
    let class = error.error_class().unwrap_or("NovaException");
    let data = json!({"exception": class, "exception_message": error.message(), "function_name": "boot_server",
        "module_name": "nova.flows.boot", "traceback": error.log_message()});
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
    let one = |d: &block_devices::BlockDeviceRow| {
        let data = json!({"boot_index": d.boot_index, "delete_on_termination": d.delete_on_termination,
            "device_name": d.device_name, "tag": d.tag, "volume_id": d.volume_id});
        object("BlockDevicePayload", "1.0", data)
    };
    facts.devices.iter().map(one).collect()
}

fn payload(
    row: &InstanceRow,
    facts: &Facts,
    request_id: &str,
    create: bool,
    fault: Value,
) -> Value {
    let time = |t: Option<Timestamp>| t.map(Timestamp::iso_z);
    let image = |name: &str| row.system_metadata.0.get(&format!("image_{name}")).cloned();
    let mut data = json!({
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
        "auto_disk_config": row.disk_config, "request_id": request_id,
        "action_initiator_user": facts.user, "action_initiator_project": facts.project,
        "shares": [], "fault": fault,
    });
    if !create {
        return object("InstanceActionPayload", "1.9", data);
    }
    let key = |k: &KeypairRow| {
        let data = json!({"user_id": k.user_id, "name": k.name, "fingerprint": k.fingerprint,
            "public_key": k.public_key, "type": k.r#type});
        object("KeypairPayload", "1.0", data)
    };
    data["keypairs"] = facts.key.iter().map(key).collect();
    data["tags"] = json!(row.tags.0);
    data["trusted_image_certificates"] = Value::Null;
    data["instance_name"] = json!(crate::api::views::server::instance_name(row));
    object("InstanceCreatePayload", "1.13", data)
}
