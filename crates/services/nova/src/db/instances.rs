//! Instances. A deleted one keeps its row (`deleted_at`), as upstream's API shows it to administrators.

use super::addresses;
use crate::instance::status::{TaskState, VmState};
use base::{Cell, CellValue, Error, Json, Result, Timestamp};
use nova_types::rpc::FlavorSpec;
use oslo_context::RowScope;
use oslo_db::{Cond, Tx, all, contains, eq, is_in, is_null, ne};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Why an instance is in ERROR, as `fault` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// HTTP-like code: 500, or 400 for what the user can change.
    pub code: u16,
    /// The reason in words.
    pub message: String,
    /// Shown to administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// When.
    pub created: Timestamp,
}

/// A port as the instance's row remembers it (upstream's info cache): lists need no call to neutron.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CachedPort {
    /// Neutron's port.
    pub id: String,
    /// Its network.
    pub network_id: String,
    /// That network's name: the key in `addresses`.
    pub network_name: String,
    /// MAC.
    pub mac: String,
    /// MTU of the network.
    pub mtu: u32,
    /// (address, subnet, floating addresses).
    pub addresses: Vec<CachedAddress>,
    /// Whether nova made the port and deletes it with the instance.
    pub created_by_nova: bool,
    /// `bridge`…
    pub vif_type: String,
    /// A device tag.
    pub tag: Option<String>,
}

/// An address of a cached port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CachedAddress {
    /// The fixed address.
    pub ip: String,
    /// 4 or 6.
    pub version: u8,
    /// Subnet facts that config drive and metadata need.
    pub subnet_id: String,
    /// CIDR.
    pub cidr: String,
    /// Gateway.
    pub gateway: Option<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Whether the guest learns it by DHCP.
    pub dhcp: bool,
    /// Floating addresses that lead here.
    pub floating: Vec<String>,
}

oslo_db::table! {
    /// An instance.
    pub struct InstanceRow in "instances" {
        pub id: String,
        pub project_id: String,
        pub user_id: String,
        pub display_name: String,
        pub description: Option<String>,
        pub hostname: String,
        pub vm_state: VmState,
        pub task_state: Option<TaskState>,
        pub power_state: i64,
        pub host: Option<String>,
        pub node: Option<String>,
        pub image_ref: Option<String>,
        pub flavor_id: String,
        pub flavor: Json<FlavorSpec>,
        pub vcpus: i64,
        pub memory_mb: i64,
        pub disk_gb: i64,
        pub key_name: Option<String>,
        pub key_data: Option<String>,
        pub user_data: Option<String>,
        pub metadata: Json<Map<String, Value>>,
        pub system_metadata: Json<BTreeMap<String, String>>,
        pub tags: Json<Vec<String>>,
        pub network_info: Json<Vec<CachedPort>>,
        pub security_groups: Json<Vec<String>>,
        pub config_drive: bool,
        pub availability_zone: Option<String>,
        pub requested_zone: Option<String>,
        pub root_device_name: Option<String>,
        pub disk_config: String,
        pub access_ip_v4: Option<String>,
        pub access_ip_v6: Option<String>,
        pub reservation_id: String,
        pub launch_index: i64,
        pub progress: i64,
        pub locked: bool,
        pub locked_by: Option<String>,
        pub locked_reason: Option<String>,
        pub fault: Option<Json<Fault>>,
        pub server_group_id: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
        pub launched_at: Option<Timestamp>,
        pub terminated_at: Option<Timestamp>,
        pub deleted_at: Option<Timestamp>,
    }
}

oslo_db::table! {
    /// What reports of hosts are compared with; there are many of them, and instances have much else.
    pub struct PowerRow in "instances" {
        pub id: String,
        pub vm_state: VmState,
        pub task_state: Option<TaskState>,
        pub power_state: i64,
        pub host: Option<String>,
        pub updated_at: Option<Timestamp>,
    }
}

/// 404 in upstream's words.
pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Instance {id} could not be found.")).class("InstanceNotFound")
}

/// The condition that limits rows to what the caller may see.
pub fn scope(scope: RowScope<'_>) -> Cond {
    match scope {
        RowScope::All => oslo_db::everything(),
        RowScope::Project(p) => eq("project_id", p),
    }
}

/// A living instance within `scope_`; 404 otherwise.
pub fn get(tx: &mut Tx, id: &str, scope_: RowScope<'_>) -> Result<InstanceRow> {
    tx.find(all([eq("id", id), is_null("deleted_at"), scope(scope_)]))?
        .ok_or_else(|| not_found(id))
}

/// A living instance, whoever asks; flows and agents use it.
pub fn find(tx: &mut Tx, id: &str) -> Result<Option<InstanceRow>> {
    tx.find(all([eq("id", id), is_null("deleted_at")]))
}

/// The same as [`get`], and nobody else changes it until the transaction ends: what is written may depend on what was read.
pub fn get_held(tx: &mut Tx, id: &str, scope_: RowScope<'_>) -> Result<InstanceRow> {
    tx.find_for_update(all([eq("id", id), is_null("deleted_at"), scope(scope_)]))?
        .ok_or_else(|| not_found(id))
}

/// The same as [`find`], and nobody else changes it until the transaction ends.
pub fn hold(tx: &mut Tx, id: &str) -> Result<Option<InstanceRow>> {
    tx.find_for_update(all([eq("id", id), is_null("deleted_at")]))
}

/// Living instances that are, or are about to be, on a host.
pub fn on_host(tx: &mut Tx, host: &str) -> Result<Vec<InstanceRow>> {
    tx.select(all([eq("host", host), is_null("deleted_at")]))
}

/// The same, as far as reports need them.
pub fn powers_on_host(tx: &mut Tx, host: &str) -> Result<Vec<PowerRow>> {
    tx.select(all([eq("host", host), is_null("deleted_at")]))
}

/// A living instance, as far as reports need it.
pub fn find_power(tx: &mut Tx, id: &str) -> Result<Option<PowerRow>> {
    tx.find(all([eq("id", id), is_null("deleted_at")]))
}

/// Moves `task_state` (and, with it, what else changes) if the instance is in one of `vm_states` with one of
/// `tasks`; false if it is not: somebody else was quicker.
pub fn transition(
    tx: &mut Tx,
    id: &str,
    vm_states: &[VmState],
    tasks: &[Option<TaskState>],
    set: &[(&'static str, CellValue)],
) -> Result<bool> {
    let states: Vec<String> = vm_states.iter().map(|s| s.to_string()).collect();
    let named: Vec<String> = tasks.iter().flatten().map(|t| t.to_string()).collect();
    let mut task_conditions = Vec::new();
    if tasks.contains(&None) {
        task_conditions.push(is_null("task_state"));
    }
    if !named.is_empty() {
        task_conditions.push(is_in("task_state", named));
    }
    let cond = all([
        eq("id", id),
        is_null("deleted_at"),
        is_in("vm_state", states),
        oslo_db::any(task_conditions),
    ]);
    Ok(tx.update::<InstanceRow>(cond, set)? == 1)
}

/// Writes what a flow came to. False: the instance is being deleted meanwhile, and that must not be written over.
pub fn go_on(tx: &mut Tx, id: &str, set: &[(&'static str, CellValue)]) -> Result<bool> {
    let others = ne("task_state", TaskState::Deleting);
    let free = oslo_db::any([is_null("task_state"), others]);
    let cond = all([eq("id", id), is_null("deleted_at"), free]);
    Ok(tx.update::<InstanceRow>(cond, set)? == 1)
}

/// Writes columns of an instance, whatever its state.
pub fn update(tx: &mut Tx, id: &str, set: &[(&'static str, CellValue)]) -> Result<()> {
    tx.update::<InstanceRow>(eq("id", id), set)?;
    Ok(())
}

/// Writes what the row remembers of its ports, and by which addresses it is found.
pub fn save_ports(tx: &mut Tx, id: &str, ports: &[CachedPort]) -> Result<()> {
    update(tx, id, &[("network_info", Json(ports.to_vec()).to_cell())])?;
    addresses::replace(tx, id, ports)
}

/// Instances that have the tag. The column is a JSON list of strings that hold no comma (the API's schema), so
/// that a tag stands after `[` or `,` and nowhere else.
pub fn tagged(tag: &str) -> Cond {
    let name = Value::String(tag.to_string());
    let spots = [format!("[{name}"), format!(",{name}")];
    oslo_db::any(spots.map(|spot| contains("tags", &spot)))
}

/// `Cell` of an optional task state, for transitions.
pub fn task(state: Option<TaskState>) -> CellValue {
    state.to_cell()
}
