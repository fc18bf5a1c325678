//! Durable work on instances. The conductor runs these; each step may run twice, each undo may find nothing.

pub mod boot;
pub mod delete;
pub mod device;
pub mod interface;
pub mod power;
pub mod volume;

use crate::Nova;
use crate::db::instances::{self, Fault, InstanceRow};
use crate::db::{actions, block_devices};
use crate::instance::status::{TaskState, VmState};
use crate::notifications::About;
use base::{Cell, Error, Json, Kind, Result, Timestamp};
use nova_types::rpc::{InstanceSpec, VolumeSpec};
use oslo_taskflow::Flow;
use std::sync::Arc;

/// Makes every kind of flow known to the engine.
pub fn register(nova: &Arc<Nova>) {
    nova.engine.register::<boot::BootServer>(Arc::clone(nova));
    nova.engine
        .register::<delete::DeleteServer>(Arc::clone(nova));
    nova.engine.register::<power::ChangePower>(Arc::clone(nova));
    plugs::<volume::Volume>(nova);
    plugs::<interface::Interface>(nova);
}

fn plugs<D: device::Device>(nova: &Arc<Nova>) {
    nova.engine.register::<device::Attach<D>>(Arc::clone(nova));
    nova.engine.register::<device::Detach<D>>(Arc::clone(nova));
}

/// The instance a flow works on. One that is gone, or is being deleted by somebody else, ends the flow.
pub(crate) async fn wanted(nova: &Nova, id: &str) -> Result<InstanceRow> {
    let key = id.to_string();
    let found = nova.db.read(move |tx| instances::find(tx, &key)).await?;
    match found {
        Some(i) if i.task_state != Some(TaskState::Deleting) => Ok(i),
        _ => Err(deleted_meanwhile(id)),
    }
}

pub(crate) fn deleted_meanwhile(id: &str) -> Error {
    Error::conflict(format!("Instance {id} was deleted meanwhile."))
        .class("UnexpectedDeletingTaskStateError")
}

/// The host of an instance that must have one.
pub(crate) fn host_of(instance: &InstanceRow) -> Result<&str> {
    instance.host.as_deref().ok_or_else(|| {
        Error::conflict(format!("Instance {} is not on any host.", instance.id))
            .class("InstanceNotReady")
    })
}

/// What `fault` says of an error: words for the user, details for the administrator.
pub(crate) fn fault(error: &Error, now: Timestamp) -> Fault {
    let code = if error.kind() == Kind::Internal {
        500
    } else {
        error.kind().status()
    };
    let message = match error.kind() {
        Kind::Internal => short(error.log_message()),
        _ => error.message().to_string(),
    };
    Fault {
        code,
        message,
        details: Some(error.log_message().to_string()),
        created: now,
    }
}

fn short(text: &str) -> String {
    text.chars().take(255).collect()
}

/// Ends a flow's work on an instance: the task is over, the action finished; with an error, the vm state is ERROR
/// and says why (`vm_state` given), or stays as it was (none given).
pub(crate) async fn give_up(
    nova: &Nova,
    flow: &impl Flow,
    error: &Error,
    vm_state: Option<VmState>,
) -> Result<()> {
    let (id, request_id) = (
        flow.resource_id().to_string(),
        flow.request_id().to_string(),
    );
    let (teller, about, now) = (nova.teller.clone(), About::flow(flow), nova.clock.now());
    let (fault, error) = (fault(error, now), error.clone());
    nova.db
        .write(move |tx| {
            let Some(instance) = instances::hold(tx, &id)? else {
                return Ok(());
            };
            teller.ended(tx, &about, Some(&error))?;
            actions::finish(tx, &id, &request_id, now, Some(&fault.message))?;
            if instance.task_state == Some(TaskState::Deleting) {
                return Ok(());
            }
            let mut set = vec![
                ("task_state", instances::task(None)),
                ("updated_at", now.to_cell()),
                ("fault", Some(Json(fault.clone())).to_cell()),
            ];
            if let Some(state) = vm_state {
                set.push(("vm_state", state.to_cell()));
            }
            instances::update(tx, &id, &set)
        })
        .await
}

/// Ends the action of a flow that owns no state of the instance.
pub(crate) async fn finish(nova: &Nova, flow: &impl Flow, error: Option<&Error>) -> Result<()> {
    let (id, request_id) = (
        flow.resource_id().to_string(),
        flow.request_id().to_string(),
    );
    let (teller, about, now) = (nova.teller.clone(), About::flow(flow), nova.clock.now());
    let error = error.cloned();
    nova.db
        .write(move |tx| {
            teller.ended(tx, &about, error.as_ref())?;
            let words = error.as_ref().map(Error::message);
            actions::finish(tx, &id, &request_id, now, words)
        })
        .await
}

/// Records a finished part of an action.
pub(crate) async fn event(
    nova: &Nova,
    instance_id: &str,
    request_id: &str,
    name: &'static str,
    host: Option<String>,
    started: Timestamp,
) -> Result<()> {
    let (id, request_id, now) = (
        instance_id.to_string(),
        request_id.to_string(),
        nova.clock.now(),
    );
    nova.db
        .write(move |tx| {
            actions::event(
                tx,
                &id,
                &request_id,
                name,
                host.as_deref(),
                started,
                now,
                None,
            )
        })
        .await
}

/// The guest as its compute host must know it, from what the database says.
pub(crate) async fn spec(
    nova: &Nova,
    instance: &InstanceRow,
    image: Option<nova_types::rpc::ImageSpec>,
    power_on: bool,
) -> Result<InstanceSpec> {
    let id = instance.id.clone();
    let devices = nova
        .db
        .read(move |tx| block_devices::of_instance(tx, &id))
        .await?;
    let volumes = devices
        .into_iter()
        .filter_map(|d| {
            Some(VolumeSpec {
                volume_id: d.volume_id,
                connection_info: d.connection_info?.0,
                device: d.device_name,
                boot_index: d.boot_index,
                size_gb: d.size_gb as u64,
                tag: d.tag,
            })
        })
        .collect();
    Ok(InstanceSpec {
        uuid: instance.id.clone(),
        name: instance.display_name.clone(),
        hostname: instance.hostname.clone(),
        project_id: instance.project_id.clone(),
        user_id: instance.user_id.clone(),
        flavor: instance.flavor.0.clone(),
        image,
        ports: instance
            .network_info
            .0
            .iter()
            .map(crate::network::spec)
            .collect(),
        volumes,
        config_drive: instance.config_drive,
        user_data: instance.user_data.clone(),
        key: instance.key_name.clone().zip(instance.key_data.clone()),
        metadata: instance.metadata.0.clone(),
        admin_pass: None,
        availability_zone: instance.availability_zone.clone().unwrap_or_default(),
        launch_index: instance.launch_index as u32,
        reservation_id: instance.reservation_id.clone(),
        power_on,
    })
}
