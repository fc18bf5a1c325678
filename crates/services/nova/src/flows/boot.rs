//! Boot: claim a host, make ports and attachments, prepare disks and taps, wait until the ports are wired, start.
//!
//! A host that fails is given back and another one tried (`[nova] max_attempts`), as upstream's RetryFilter does.

use super::{event, give_up, spec, wanted};
use crate::db::instances::{self, CachedPort, InstanceRow};
use crate::db::{actions, block_devices, reservations};
use crate::image;
use crate::instance::status::{TaskState, VmState};
use crate::network::{self, NewPort, RequestedNetwork};
use crate::notifications::About;
use crate::scheduler::{self, RequestSpec};
use crate::{Nova, volume};
use base::{Cell, Error, Json, Kind, Result, Secret, Timestamp};
use neutron_types::rest::Port;
use nova_types::rpc::{ImageSpec, PowerState};
use oslo_context::RequestContext;
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The state of a boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootServer {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// Cards wanted, in order.
    pub networks: Vec<RequestedNetwork>,
    /// Security groups (ids) for the ports nova makes; none means the project's default.
    pub security_groups: Vec<String>,
    /// What the scheduler is told beside the instance's row.
    pub spec: RequestSpec,
    /// For the config drive; saved with the flow and gone with it.
    pub admin_pass: Option<Secret>,
    /// Port of card `i`, once there is one.
    pub ports: Vec<Option<String>>,
    /// Ports that nova made.
    pub made: Vec<String>,
}

impl Flow for BootServer {
    const NAME: &'static str = "boot_server";
    type Deps = Nova;

    fn steps() -> Vec<Step<BootServer>> {
        vec![
            Step::new("schedule", |f, n| Box::pin(schedule(f, n)))
                .undo(|f, n| Box::pin(unschedule(f, n)))
                .retries(5),
            Step::new("ports", |f, n| Box::pin(ports(f, n)))
                .undo(|f, n| Box::pin(no_ports(f, n)))
                .retries(3),
            Step::new("volumes", |f, n| Box::pin(volumes(f, n)))
                .undo(|f, n| Box::pin(no_volumes(f, n)))
                .retries(3),
            Step::new("spawn", |f, n| Box::pin(spawn(f, n))).undo(|f, n| Box::pin(unspawn(f, n))),
            Step::new("finish", |f, n| Box::pin(finish(f, n))).retries(10),
        ]
    }

    fn resource_id(&self) -> &str {
        &self.instance_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, nova: Arc<Nova>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let state = Some(VmState::Error);
            give_up(&nova, self, &error, state).await?;
            // Once more: a scheduler that was slow to answer may have claimed until it saw the state.
            scheduler::release(&nova, &self.instance_id, &self.request_id).await
        })
    }
}

/// How often members of one server group may get in each other's way before a boot gives up.
const GROUP_ATTEMPTS: usize = 10;

async fn schedule(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    for _ in 0..GROUP_ATTEMPTS {
        let started = nova.clock.now();
        let instance = wanted(&nova, &flow.instance_id).await?;
        if instance.host.is_some() {
            // An earlier try got so far.
            return Ok(());
        }
        let (row, base) = (instance.clone(), flow.spec.clone());
        let request = nova
            .db
            .read(move |tx| scheduler::request_spec(tx, &row, &base))
            .await?;
        let chosen = scheduler::select(&nova, request, &flow.request_id).await?;
        let host = chosen.host.clone();
        if place(flow, &nova, instance, chosen, started).await? {
            tracing::info!(server.id = flow.instance_id, host, "scheduled");
            return Ok(());
        }
        scheduler::release(&nova, &flow.instance_id, &flow.request_id).await?;
    }
    Err(Error::unavailable(
        "The members of the server group keep getting in each other's way.",
    ))
}

/// Writes the choice down. False: another member of the server group was placed since the filters looked, and with it
/// the group's rule would not hold.
async fn place(
    flow: &BootServer,
    nova: &Arc<Nova>,
    instance: InstanceRow,
    chosen: scheduler::Destination,
    started: Timestamp,
) -> Result<bool> {
    let (request_id, base, now) = (flow.request_id.clone(), flow.spec.clone(), nova.clock.now());
    let state = Arc::clone(nova);
    let about = About::flow(flow);
    nova.db
        .write(move |tx| {
            if !scheduler::group_allows(&state, tx, &instance, &base, &chosen.host)? {
                return Ok(false);
            }
            let set = [
                ("host", Some(chosen.host.clone()).to_cell()),
                ("node", Some(chosen.node.clone()).to_cell()),
                ("availability_zone", Some(chosen.zone.clone()).to_cell()),
                ("task_state", instances::task(Some(TaskState::Networking))),
                ("updated_at", now.to_cell()),
            ];
            let tasks = [
                None,
                Some(TaskState::Scheduling),
                Some(TaskState::Networking),
                Some(TaskState::Spawning),
                Some(TaskState::BlockDeviceMapping),
            ];
            let id = &instance.id;
            if !instances::transition(tx, id, &[VmState::Building], &tasks, &set)? {
                return Err(Error::conflict(format!(
                    "Instance {id} was deleted meanwhile."
                )));
            }
            actions::event(
                tx,
                id,
                &request_id,
                "conductor_schedule_and_build_instances",
                Some(&chosen.host),
                started,
                now,
                None,
            )?;
            state.teller.began(tx, &about)?;
            Ok(true)
        })
        .await
}

async fn unschedule(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    scheduler::release(&nova, &flow.instance_id, &flow.request_id).await?;
    let (id, now) = (flow.instance_id.clone(), nova.clock.now());
    nova.db
        .write(move |tx| {
            instances::update(
                tx,
                &id,
                &[
                    ("host", None::<String>.to_cell()),
                    ("node", None::<String>.to_cell()),
                    ("updated_at", now.to_cell()),
                ],
            )
        })
        .await
}

async fn ports(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    let host = super::host_of(&instance)?.to_string();
    let zone = instance.availability_zone.clone().unwrap_or_default();
    let sdk = nova.sdk.for_request(&flow.request_id);
    // What an interrupted earlier try of this step left behind is found by the server's id, and used.
    let mut existing = if flow.networks.is_empty() {
        Vec::new()
    } else {
        network::ports_of(&sdk, &instance.id).await?
    };
    flow.ports.resize(flow.networks.len(), None);
    let mut bound: Vec<Port> = Vec::new();
    for (i, wanted) in flow.networks.clone().into_iter().enumerate() {
        let known = flow.ports[i].clone().or(wanted.port_id.clone());
        let port = match (known, &wanted.network_id) {
            (Some(id), _) => {
                existing.retain(|p| p.id != id);
                network::bind_port(&sdk, &id, &instance.id, &host, &zone).await?
            }
            (None, Some(network_id)) => {
                let claimed: Vec<String> = flow.ports.iter().flatten().cloned().collect();
                let asked = flow
                    .networks
                    .iter()
                    .filter_map(|n| n.port_id.clone())
                    .collect::<Vec<_>>();
                let left = existing.iter().position(|p| {
                    p.network_id == *network_id
                        && !claimed.contains(&p.id)
                        && !asked.contains(&p.id)
                });
                match left.map(|at| existing.remove(at)) {
                    Some(p) => network::bind_port(&sdk, &p.id, &instance.id, &host, &zone).await?,
                    None => {
                        let new = NewPort {
                            instance_id: &instance.id,
                            project_id: &instance.project_id,
                            network_id,
                            fixed_ip: wanted.fixed_ip.as_deref(),
                            host: &host,
                            zone: &zone,
                            security_groups: &flow.security_groups,
                        };
                        network::create_port(&sdk, &new).await?
                    }
                }
            }
            (None, None) => continue,
        };
        if wanted.port_id.is_none() && !flow.made.contains(&port.id) {
            flow.made.push(port.id.clone());
        }
        flow.ports[i] = Some(port.id.clone());
        if port.vif_type == "binding_failed" {
            return Err(Error::bad_request(format!(
                "Binding failed for port {}: no live L2 agent on host {host}.",
                port.id
            ))
            .class("PortBindingFailed"));
        }
        bound.push(port);
    }
    let tags: HashMap<String, String> = flow
        .networks
        .iter()
        .zip(&flow.ports)
        .filter_map(|(n, p)| Some((p.clone()?, n.tag.clone()?)))
        .collect();
    let cached = network::describe(&sdk, &bound, &flow.made, &tags).await?;
    let groups = network::group_names(&sdk, &bound).await?;
    save_ports(&nova, &flow.instance_id, cached, groups).await
}

async fn save_ports(
    nova: &Nova,
    id: &str,
    cached: Vec<CachedPort>,
    groups: Vec<String>,
) -> Result<()> {
    let id = id.to_string();
    nova.db
        .write(move |tx| {
            instances::save_ports(tx, &id, &cached)?;
            let groups = ("security_groups", Json(groups.clone()).to_cell());
            instances::update(tx, &id, &[groups])
        })
        .await
}

async fn no_ports(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    if flow.networks.is_empty() {
        return Ok(());
    }
    let sdk = nova.sdk.for_request(&flow.request_id);
    let asked: Vec<&String> = flow
        .networks
        .iter()
        .filter_map(|n| n.port_id.as_ref())
        .collect();
    for port in network::ports_of(&sdk, &flow.instance_id).await? {
        if asked.contains(&&port.id) {
            network::unbind_port(&sdk, &port.id).await?;
        } else {
            network::delete_port(&sdk, &port.id).await?;
        }
    }
    flow.ports.clear();
    flow.made.clear();
    save_ports(&nova, &flow.instance_id, Vec::new(), Vec::new()).await
}

async fn volumes(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    let host = super::host_of(&instance)?.to_string();
    let id = flow.instance_id.clone();
    let devices = nova
        .db
        .read(move |tx| block_devices::of_instance(tx, &id))
        .await?;
    for device in devices.into_iter().filter(|d| d.connection_info.is_none()) {
        let sdk = nova.sdk.for_request(&flow.request_id);
        let attachment = match device.attachment_id.clone() {
            Some(attachment) => attachment,
            None => await_volume(&nova, &sdk, &instance, &device).await?,
        };
        let info = volume::connect(
            &nova,
            &sdk,
            &instance.project_id,
            &attachment,
            &host,
            &device.device_name,
        )
        .await?;
        let info = volume::connection(&info);
        nova.db
            .write(move |tx| block_devices::connected(tx, &device.id, &attachment, &info))
            .await?;
    }
    Ok(())
}

/// Waits until a volume that is made for the server can be had, and reserves it.
async fn await_volume(
    nova: &Nova,
    sdk: &sdk::Sdk,
    instance: &InstanceRow,
    device: &block_devices::BlockDeviceRow,
) -> Result<String> {
    let id = &device.volume_id;
    let (tries, pause) = (
        nova.conf.block_device_allocate_retries,
        nova.conf.block_device_allocate_retries_interval,
    );
    let begun = tokio::time::Instant::now();
    let deadline = begun + Duration::from_secs(tries * pause);
    let mut pause = Duration::from_millis(20);
    loop {
        let found = volume::show(sdk, id).await?;
        match found.status.as_str() {
            "available" => break,
            "creating" | "downloading" if tokio::time::Instant::now() < deadline => {}
            status => {
                return Err(Error::bad_request(format!(
                    "Volume {id} did not finish being created even after we waited {} seconds. And its status is \
                     {status}.",
                    begun.elapsed().as_secs()
                ))
                .class("VolumeNotCreated"));
            }
        }
        wanted(nova, &instance.id).await?;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    let attachment = volume::reserve_for(sdk, &instance.project_id, id, &instance.id).await?;
    let (row, known) = (device.id.clone(), attachment.clone());
    let keep = move |tx: &mut oslo_db::Tx| {
        let values = [("attachment_id", Some(known.clone()).to_cell())];
        let same = oslo_db::eq("id", row.as_str());
        tx.update::<block_devices::BlockDeviceRow>(same, &values)
    };
    nova.db.write(keep).await?;
    Ok(attachment)
}

async fn no_volumes(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    let id = flow.instance_id.clone();
    let Some(instance) = nova.db.read(move |tx| instances::find(tx, &id)).await? else {
        return Ok(());
    };
    release_volumes(&nova, &instance.id, &instance.project_id, &flow.request_id).await
}

/// Gives back all volumes of an instance, deletes those that end with it, and forgets them.
pub(super) async fn release_volumes(
    nova: &Nova,
    instance_id: &str,
    project: &str,
    request_id: &str,
) -> Result<()> {
    let key = instance_id.to_string();
    let sdk = nova.sdk.for_request(request_id);
    for device in nova
        .db
        .read(move |tx| block_devices::of_instance(tx, &key))
        .await?
    {
        let unfinished = device.attachment_id.is_none();
        match &device.attachment_id {
            Some(attachment) => volume::release(&sdk, attachment).await?,
            // Reserved, perhaps, and not written down.
            None => volume::release_all(&sdk, &device.volume_id, instance_id, None).await?,
        }
        if device.delete_on_termination && !unfinished {
            volume::delete(&sdk, project, &device.volume_id).await?;
        }
        nova.db
            .write(move |tx| {
                if device.delete_on_termination && unfinished {
                    // It may still be in the making, and cannot be deleted before it is made.
                    reservations::discard(tx, &device.instance_id, &device.volume_id)?;
                }
                tx.delete::<block_devices::BlockDeviceRow>(oslo_db::eq("id", device.id.as_str()))
            })
            .await?;
    }
    Ok(())
}

async fn spawn(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    if wanted(&nova, &flow.instance_id).await?.host.is_none() {
        // An earlier try gave its host back, and got no further.
        reschedule(flow, &nova).await?;
    }
    loop {
        let Err(error) = spawn_here(flow, &nova).await else {
            return Ok(());
        };
        let gone = error.error_class() == Some("UnexpectedDeletingTaskStateError");
        let tried = flow.spec.tried.len() as u64 + 1;
        let id = flow.instance_id.clone();
        let host = nova
            .db
            .read(move |tx| instances::find(tx, &id))
            .await?
            .and_then(|i| i.host);
        let Some(host) = host
            .filter(|_| !gone && tried < nova.conf.max_attempts && flow.spec.force_host.is_none())
        else {
            return Err(error);
        };
        tracing::warn!(
            server.id = flow.instance_id,
            host,
            "the boot failed here, another host is tried: {error}"
        );
        let (teller, about, why) = (nova.teller.clone(), About::flow(flow), error.clone());
        if teller.tells() {
            let tell = nova
                .db
                .write(move |tx| teller.failed_here(tx, &about, &why));
            tell.await?;
        }
        flow.spec.tried.push(host);
        unspawn(flow, Arc::clone(&nova)).await?;
        // The volumes' connections belong to the host that failed.
        forget_connections(&nova, &flow.instance_id).await?;
        match reschedule(flow, &nova).await {
            Ok(()) => {}
            Err(e) if e.error_class() == Some("NoValidHost") => {
                let words = format!(
                    "{} The last host failed with: {}",
                    e.message(),
                    error.message()
                );
                return Err(Error::new(Kind::BadRequest, words)
                    .class("MaxRetriesExceeded")
                    .log(error.log_message()));
            }
            Err(e) => return Err(e),
        }
    }
}

async fn reschedule(flow: &mut BootServer, nova: &Arc<Nova>) -> Result<()> {
    unschedule(flow, Arc::clone(nova)).await?;
    schedule(flow, Arc::clone(nova)).await?;
    ports(flow, Arc::clone(nova)).await?;
    volumes(flow, Arc::clone(nova)).await
}

async fn forget_connections(nova: &Nova, instance_id: &str) -> Result<()> {
    let id = instance_id.to_string();
    nova.db
        .write(move |tx| {
            let none = oslo_db::eq("instance_id", id.as_str());
            tx.update::<block_devices::BlockDeviceRow>(
                none,
                &[("connection_info", base::CellValue::Null)],
            )
            .map(|_| ())
        })
        .await
}

async fn spawn_here(flow: &mut BootServer, nova: &Arc<Nova>) -> Result<()> {
    let started = nova.clock.now();
    let instance = wanted(nova, &flow.instance_id).await?;
    let host = super::host_of(&instance)?.to_string();
    let now = nova.clock.now();
    let id = flow.instance_id.clone();
    let begin = nova.db.write(move |tx| {
        let set = [
            ("task_state", instances::task(Some(TaskState::Spawning))),
            ("updated_at", now.to_cell()),
        ];
        instances::go_on(tx, &id, &set)
    });
    if !begin.await? {
        return Err(super::deleted_meanwhile(&flow.instance_id));
    }
    let image = image_spec(nova, &instance.image_ref, &flow.spec, &flow.request_id).await?;
    let mut guest = spec(nova, &instance, image, true).await?;
    guest.admin_pass = flow.admin_pass.clone();
    let ctx = RequestContext::internal_for(&flow.request_id);
    let compute = nova.compute(&host);
    compute.prepare_instance(&ctx, guest.clone()).await?;
    wait_for_ports(nova, flow).await?;
    wanted(nova, &flow.instance_id).await?;
    compute.ensure_instance(&ctx, guest).await?;
    event(
        nova,
        &flow.instance_id,
        &flow.request_id,
        "compute__do_build_and_run_instance",
        Some(host),
        started,
    )
    .await
}

async fn image_spec(
    nova: &Nova,
    image_ref: &Option<String>,
    spec: &RequestSpec,
    request_id: &str,
) -> Result<Option<ImageSpec>> {
    let Some(id) = image_ref.as_ref().filter(|_| spec.local_root) else {
        return Ok(None);
    };
    let sdk = nova.sdk.for_request(request_id);
    image::get_spec(&sdk, id).await.map(Some)
}

/// Waits until the L2 agent has wired every port: a guest that starts earlier may give up on DHCP.
async fn wait_for_ports(nova: &Nova, flow: &BootServer) -> Result<()> {
    let wanted_ports: Vec<&String> = flow.ports.iter().flatten().collect();
    let limit = Duration::from_secs(nova.conf.vif_plugging_timeout);
    if wanted_ports.is_empty() || limit.is_zero() {
        return Ok(());
    }
    let sdk = nova.sdk.for_request(&flow.request_id);
    let deadline = tokio::time::Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        let ports = network::ports_of(&sdk, &flow.instance_id).await?;
        let waiting: Vec<&str> = ports
            .iter()
            .filter(|p| p.status != "ACTIVE")
            .map(|p| p.id.as_str())
            .collect();
        if waiting.is_empty() && ports.len() >= wanted_ports.len() {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            if nova.conf.vif_plugging_is_fatal {
                return Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "Virtual Interface creation failed: port {} was not wired in time.",
                        waiting.join(", ")
                    ),
                )
                .class("VirtualInterfaceCreateException"));
            }
            return Ok(());
        }
        wanted(nova, &flow.instance_id).await?;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

async fn unspawn(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    let id = flow.instance_id.clone();
    let host = nova
        .db
        .read(move |tx| instances::find(tx, &id))
        .await?
        .and_then(|i| i.host);
    let Some(host) = host else { return Ok(()) };
    let ctx = RequestContext::internal_for(&flow.request_id);
    let compute = nova.compute(&host).timeout(Duration::from_secs(60));
    match compute
        .destroy_instance(&ctx, flow.instance_id.clone(), true)
        .await
    {
        // A host that is gone removes what it does not know (`report_host`) once it is back.
        Err(e) if matches!(e.kind(), Kind::Unavailable | Kind::Timeout) => {
            tracing::warn!(
                server.id = flow.instance_id,
                host,
                "left to the host's own clean-up: {e}"
            );
            Ok(())
        }
        other => other,
    }
}

async fn finish(flow: &mut BootServer, nova: Arc<Nova>) -> Result<()> {
    let instance = wanted(&nova, &flow.instance_id).await?;
    let devices = {
        let id = instance.id.clone();
        nova.db
            .read(move |tx| block_devices::of_instance(tx, &id))
            .await?
    };
    for attachment in devices.iter().filter_map(|d| d.attachment_id.as_deref()) {
        volume::complete(
            &nova.sdk.for_request(&flow.request_id),
            &instance.project_id,
            attachment,
        )
        .await?;
    }
    let (id, request_id, now) = (
        flow.instance_id.clone(),
        flow.request_id.clone(),
        nova.clock.now(),
    );
    let (teller, about) = (nova.teller.clone(), About::flow(flow));
    nova.db
        .write(move |tx| {
            let set = [
                ("vm_state", VmState::Active.to_cell()),
                ("task_state", instances::task(None)),
                ("power_state", PowerState::Running.code().to_cell()),
                ("launched_at", Some(now).to_cell()),
                ("updated_at", now.to_cell()),
                ("progress", 100i64.to_cell()),
                ("fault", base::CellValue::Null),
            ];
            let ours = [
                None,
                Some(TaskState::Spawning),
                Some(TaskState::Networking),
                Some(TaskState::Scheduling),
            ];
            if instances::transition(tx, &id, &[VmState::Building, VmState::Active], &ours, &set)? {
                teller.ended(tx, &about, None)?;
                actions::finish(tx, &id, &request_id, now, None)?;
            }
            Ok(())
        })
        .await?;
    tracing::info!(server.id = flow.instance_id, "active");
    Ok(())
}
