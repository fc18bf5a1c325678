//! Create: everything that can be refused is refused here, before anything exists; then rows, quota and flow in one
//! transaction.

use super::quota;
use super::status::{TaskState, VmState};
use super::volumes::{self, BootVolume, Kept, VolumeSource};
use crate::Nova;
use crate::db::actions;
use crate::db::block_devices::BlockDeviceRow;
use crate::db::flavors::{FlavorAccessRow, FlavorRow};
use crate::db::instances::InstanceRow;
use crate::db::keypairs::KeypairRow;
use crate::db::reservations;
use crate::db::server_groups::{self, ServerGroupRow};
use crate::flows::boot::BootServer;
use crate::image;
use crate::network::{self, RequestedNetwork};
use crate::scheduler::RequestSpec;
use base::{Error, Json, Result, Secret, Timestamp, new_id};
use glance_types::Image;
use nova_types::rpc::FlavorSpec;
use oslo_context::RequestContext;
use oslo_db::{Tx, all, any, eq};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A create request, parsed.
#[derive(Clone, Debug, Default)]
pub struct CreateServer {
    /// Name.
    pub name: String,
    /// Image, unless it boots from a volume.
    pub image_ref: Option<String>,
    /// The flavor's API id.
    pub flavor_ref: String,
    /// Cards; `None` asks nova to choose.
    pub networks: Option<Vec<RequestedNetwork>>,
    /// Groups by name or id.
    pub security_groups: Vec<String>,
    /// Keypair of the user.
    pub key_name: Option<String>,
    /// base64.
    pub user_data: Option<String>,
    /// Metadata.
    pub metadata: Map<String, Value>,
    /// Config drive.
    pub config_drive: bool,
    /// At least so many.
    pub min_count: u64,
    /// At most so many.
    pub max_count: u64,
    /// Zone.
    pub zone: Option<String>,
    /// Host (administrators).
    pub force_host: Option<String>,
    /// Administrator's password in the guest.
    pub admin_pass: Secret,
    /// Shown and filtered on, no more.
    pub access_ip_v4: Option<String>,
    /// See above.
    pub access_ip_v6: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Name inside the guest.
    pub hostname: Option<String>,
    /// `AUTO` or `MANUAL`.
    pub disk_config: Option<String>,
    /// Volumes.
    pub volumes: Vec<BootVolume>,
    /// Hints.
    pub hints: Map<String, Value>,
    /// The group of the `group` hint.
    pub group: Option<String>,
}

struct Checked {
    image: Option<Image>,
    networks: Vec<RequestedNetwork>,
    groups: Vec<String>,
}

/// Creates; the ids of the new servers and their reservation.
pub async fn create(
    nova: &Arc<Nova>,
    ctx: &RequestContext,
    mut wanted: CreateServer,
) -> Result<(Vec<String>, String)> {
    wanted.max_count = wanted.max_count.max(wanted.min_count).max(1);
    let (flavor_ref, project, admin) = (
        wanted.flavor_ref.clone(),
        ctx.project().to_string(),
        ctx.is_admin,
    );
    let flavor = nova
        .db
        .read(move |tx| flavor(tx, &flavor_ref, &project, admin))
        .await?;
    let checked = Checked {
        image: check_image(nova, ctx, &wanted, &flavor).await?,
        networks: network::check_requested(
            &nova.sdk,
            ctx,
            wanted.networks.clone(),
            wanted.max_count as usize,
        )
        .await?,
        groups: network::resolve_groups(&nova.sdk, ctx, &wanted.security_groups).await?,
    };
    check_root_volume(&wanted)?;
    let ids: Vec<String> = (0..wanted.max_count).map(|_| new_id()).collect();
    let shared = |v: &BootVolume| matches!(v.source, VolumeSource::Volume(_));
    if wanted.max_count > 1 && wanted.volumes.iter().any(shared) {
        return Err(Error::bad_request(
            "Block Device Mapping is Invalid: volumes cannot be shared by several servers of one request.",
        ));
    }
    let mut kept: Vec<Vec<Kept>> = vec![Vec::new(); ids.len()];
    let done = async {
        for (id, kept) in ids.iter().zip(&mut kept) {
            for v in &wanted.volumes {
                kept.push(volumes::keep(nova, ctx, v, id).await?);
            }
        }
        write(nova, ctx, &wanted, &flavor, &checked, &kept, &ids).await
    };
    let done = done.await;
    // All if it failed, else those of servers that did not fit into the quota.
    let made = done.as_ref().map_or(0, |(ids, _)| ids.len());
    for (id, kept) in ids.iter().zip(&kept).skip(made) {
        volumes::release(nova, id, kept).await;
    }
    if done.is_ok() {
        nova.engine.wake();
    }
    done
}

/// A flavor that the project may use.
pub fn flavor(tx: &mut Tx, flavor_ref: &str, project: &str, admin: bool) -> Result<FlavorRow> {
    let bad = || Error::bad_request("Invalid flavorRef provided.").class("FlavorNotFound");
    let flavor = tx
        .find::<FlavorRow>(any([eq("flavor_id", flavor_ref), eq("id", flavor_ref)]))?
        .ok_or_else(bad)?;
    let access = all([
        eq("flavor_id", flavor.flavor_id.as_str()),
        eq("project_id", project),
    ]);
    if !flavor.is_public && !admin && !tx.exists::<FlavorAccessRow>(access)? {
        return Err(bad());
    }
    Ok(flavor)
}

async fn check_image(
    nova: &Nova,
    ctx: &RequestContext,
    wanted: &CreateServer,
    flavor: &FlavorRow,
) -> Result<Option<Image>> {
    let Some(id) = &wanted.image_ref else {
        return Ok(None);
    };
    let image = image::get_for_boot(&nova.sdk, ctx, id).await?;
    if (flavor.memory_mb as u64) < image.min_ram {
        return Err(Error::bad_request(
            "Flavor's memory is too small for requested image.",
        ));
    }
    let root_gb = flavor.root_gb as u64;
    let bytes = image.virtual_size.max(image.size).unwrap_or(0);
    if root_gb > 0 && (bytes > root_gb << 30 || image.min_disk > root_gb) {
        let need = image.min_disk.max(bytes.div_ceil(1 << 30));
        return Err(Error::bad_request(format!(
            "Flavor's disk is too small for requested image. Flavor disk is {} bytes, image is {} bytes.",
            root_gb << 30,
            need << 30
        )));
    }
    Ok(Some(image))
}

fn check_root_volume(wanted: &CreateServer) -> Result<()> {
    let root = wanted
        .volumes
        .iter()
        .filter(|v| v.boot_index == Some(0))
        .count();
    match (root, &wanted.image_ref) {
        (0, None) => Err(Error::bad_request("Invalid imageRef provided.")),
        (0 | 1, _) => Ok(()),
        _ => Err(Error::bad_request(
            "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.",
        )),
    }
}

fn flavor_spec(f: &FlavorRow) -> FlavorSpec {
    FlavorSpec {
        flavor_id: f.flavor_id.clone(),
        name: f.name.clone(),
        vcpus: f.vcpus as u32,
        memory_mb: f.memory_mb as u64,
        root_gb: f.root_gb as u64,
        ephemeral_gb: f.ephemeral_gb as u64,
        swap_mb: f.swap as u64,
        extra_specs: f.extra_specs.0.clone(),
    }
}

async fn write(
    nova: &Arc<Nova>,
    ctx: &RequestContext,
    wanted: &CreateServer,
    flavor: &FlavorRow,
    checked: &Checked,
    kept: &[Vec<Kept>],
    ids: &[String],
) -> Result<(Vec<String>, String)> {
    let reservation = format!("r-{}", &base::new_hex_id()[..8]);
    let (context, w, spec, ids, res) = (
        ctx.clone(),
        wanted.clone(),
        flavor_spec(flavor),
        ids.to_vec(),
        reservation.clone(),
    );
    let properties = checked
        .image
        .as_ref()
        .map(|i| image::spec(i).properties)
        .unwrap_or_default();
    let (networks, groups, kept) = (
        checked.networks.clone(),
        checked.groups.clone(),
        kept.to_vec(),
    );
    let (now, engine, limits) = (nova.clock.now(), nova.engine.clone(), nova.limits.clone());
    let ids = nova
        .db
        .write(move |tx| {
            let key = find_key(tx, &context, &w)?;
            let count = fit_quota(tx, &limits, &context, &w, &spec)?;
            let group = check_group(tx, &limits, &context, &w, count)?;
            for (index, id) in ids.iter().take(count as usize).enumerate() {
                let row = row(
                    &context,
                    &w,
                    &spec,
                    &properties,
                    key.as_ref(),
                    group.as_ref(),
                    id,
                    index,
                    count,
                    &res,
                    now,
                );
                tx.insert(&row)?;
                for (n, volume) in kept[index].iter().enumerate() {
                    tx.insert(&device(volume, id, n, w.image_ref.is_some(), now))?;
                    reservations::close(tx, id, &volume.volume_id)?;
                }
                actions::start(tx, &context, id, "create", now)?;
                let flow = BootServer {
                    instance_id: id.clone(),
                    request_id: context.request_id.clone(),
                    networks: networks.clone(),
                    security_groups: groups.clone(),
                    spec: RequestSpec {
                        local_root: w.image_ref.is_some()
                            && !w.volumes.iter().any(|v| v.boot_index == Some(0)),
                        image_properties: properties.clone(),
                        force_host: w.force_host.clone(),
                        hints: w.hints.clone(),
                        ..RequestSpec::default()
                    },
                    admin_pass: Some(w.admin_pass.clone()),
                    ports: Vec::new(),
                    made: Vec::new(),
                };
                engine.submit(tx, &flow)?;
            }
            Ok(ids[..count as usize].to_vec())
        })
        .await?;
    Ok((ids, reservation))
}

fn find_key(tx: &mut Tx, ctx: &RequestContext, w: &CreateServer) -> Result<Option<KeypairRow>> {
    let Some(name) = &w.key_name else {
        return Ok(None);
    };
    let key = tx.find::<KeypairRow>(all([eq("user_id", ctx.user()), eq("name", name.as_str())]))?;
    key.map(Some)
        .ok_or_else(|| Error::bad_request("Invalid key_name provided."))
}

/// As many as fit, at least `min_count`, as upstream does.
fn fit_quota(
    tx: &mut Tx,
    limits: &oslo_limit::Limits,
    ctx: &RequestContext,
    w: &CreateServer,
    f: &FlavorSpec,
) -> Result<u64> {
    let mut count = w.max_count;
    loop {
        let n = count as i64;
        let deltas = [
            ("instances", n),
            ("cores", n * i64::from(f.vcpus)),
            ("ram", n * f.memory_mb as i64),
        ];
        let over = limits.check(tx, ctx.project(), &deltas)?;
        if over.is_empty() {
            return Ok(count);
        }
        if count <= w.min_count {
            return Err(quota::exceeded(&over));
        }
        count -= 1;
    }
}

fn check_group(
    tx: &mut Tx,
    limits: &oslo_limit::Limits,
    ctx: &RequestContext,
    w: &CreateServer,
    count: u64,
) -> Result<Option<String>> {
    let Some(id) = &w.group else { return Ok(None) };
    let found = tx.find::<ServerGroupRow>(all([
        eq("id", id.as_str()),
        eq("project_id", ctx.project()),
    ]))?;
    let group = found
        .ok_or_else(|| Error::bad_request(format!("Instance group {id} could not be found.")))?;
    let limit = limits
        .get(tx, ctx.project())?
        .get("server_group_members")
        .copied()
        .unwrap_or(-1);
    let members = server_groups::members(tx, &group.id)?.len() as i64;
    if limit >= 0 && members + count as i64 > limit {
        return Err(Error::over_quota(
            "Quota exceeded, too many servers in group",
        ));
    }
    Ok(Some(group.id))
}

fn device(
    volume: &Kept,
    instance: &str,
    n: usize,
    has_image_root: bool,
    now: Timestamp,
) -> BlockDeviceRow {
    let first = if has_image_root { b'b' } else { b'a' };
    let v = &volume.wanted;
    let root = v.boot_index == Some(0);
    let letter = if root { 'a' } else { (first + n as u8) as char };
    BlockDeviceRow {
        id: new_id(),
        instance_id: instance.into(),
        volume_id: volume.volume_id.clone(),
        attachment_id: volume.attachment.clone(),
        device_name: format!("vd{letter}"),
        boot_index: v.boot_index,
        delete_on_termination: v.delete_on_termination,
        tag: v.tag.clone(),
        size_gb: volume.size,
        connection_info: None,
        created_at: now.plus(std::time::Duration::from_micros(n as u64)),
    }
}

/// GiB on the host: a root disk on a volume takes none there.
fn disk_gb(w: &CreateServer, f: &FlavorSpec) -> i64 {
    let on_volume = w.volumes.iter().any(|v| v.boot_index == Some(0));
    let root = if on_volume { 0 } else { f.root_gb };
    (root + f.ephemeral_gb + f.swap_mb.div_ceil(1024)) as i64
}

/// A name that DNS takes: upstream's sanitize_hostname.
pub fn hostname(name: &str, id: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| {
            if c.is_whitespace() || matches!(c, '_' | '.') {
                '-'
            } else {
                c
            }
        })
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect::<String>()
        .to_ascii_lowercase();
    out.truncate(63);
    let out = out.trim_matches('-').to_string();
    if out.is_empty() {
        format!("Server-{id}")
    } else {
        out
    }
}

fn row(
    ctx: &RequestContext,
    w: &CreateServer,
    f: &FlavorSpec,
    properties: &BTreeMap<String, String>,
    key: Option<&KeypairRow>,
    group: Option<&String>,
    id: &str,
    index: usize,
    count: u64,
    reservation: &str,
    now: Timestamp,
) -> InstanceRow {
    let name = if count > 1 {
        format!("{}-{}", w.name, index + 1)
    } else {
        w.name.clone()
    };
    let wished = w.hostname.as_ref().map(|h| {
        if count > 1 {
            format!("{h}-{}", index + 1)
        } else {
            h.clone()
        }
    });
    let mut system_metadata: BTreeMap<String, String> = properties
        .iter()
        .map(|(k, v)| (format!("image_{k}"), v.clone()))
        .collect();
    if !w.hints.is_empty() {
        system_metadata.insert(
            "scheduler_hints".into(),
            Value::Object(w.hints.clone()).to_string(),
        );
    }
    InstanceRow {
        id: id.into(),
        project_id: ctx.project().into(),
        user_id: ctx.user().into(),
        hostname: wished.unwrap_or_else(|| hostname(&name, id)),
        display_name: name,
        description: w.description.clone(),
        vm_state: VmState::Building,
        task_state: Some(TaskState::Scheduling),
        power_state: 0,
        host: None,
        node: None,
        image_ref: w.image_ref.clone(),
        flavor_id: f.flavor_id.clone(),
        flavor: Json(f.clone()),
        vcpus: i64::from(f.vcpus),
        memory_mb: f.memory_mb as i64,
        disk_gb: disk_gb(w, f),
        key_name: key.map(|k| k.name.clone()),
        key_data: key.map(|k| k.public_key.clone()),
        user_data: w.user_data.clone(),
        metadata: Json(w.metadata.clone()),
        system_metadata: Json(system_metadata),
        tags: Json(w.tags.clone()),
        network_info: Json(Vec::new()),
        security_groups: Json(if w.security_groups.is_empty() {
            vec!["default".into()]
        } else {
            w.security_groups.clone()
        }),
        config_drive: w.config_drive,
        availability_zone: None,
        requested_zone: w.zone.clone(),
        root_device_name: Some("/dev/vda".into()),
        disk_config: w.disk_config.clone().unwrap_or_else(|| "MANUAL".into()),
        access_ip_v4: w.access_ip_v4.clone(),
        access_ip_v6: w.access_ip_v6.clone(),
        reservation_id: reservation.into(),
        launch_index: index as i64,
        progress: 0,
        locked: false,
        locked_by: None,
        locked_reason: None,
        fault: None,
        server_group_id: group.cloned(),
        created_at: now,
        updated_at: Some(now),
        launched_at: None,
        terminated_at: None,
        deleted_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::hostname;

    #[test]
    fn hostnames() {
        assert_eq!(hostname("My Server_1.x", "i"), "my-server-1-x");
        assert_eq!(hostname("-тест-", "i"), "Server-i");
        assert_eq!(hostname(&"a".repeat(99), "i").len(), 63);
    }
}
