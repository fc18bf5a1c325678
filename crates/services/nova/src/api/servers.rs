//! List, show, update, delete; addresses and groups.

use super::names;
use super::security_groups::views as group_views;
use super::views::server::{self, Lens, brief, core, full, with_group};
use crate::Nova;
use crate::db::addresses;
use crate::db::block_devices::BlockDeviceRow;
use crate::db::instances::{self, InstanceRow};
use crate::db::services::ServiceRow;
use crate::instance::{self, status};
use crate::network;
use base::{Cell, Error, Page, Result, Timestamp};
use oslo_db::{Cond, all, any, eq, ge, is_in, is_null, not, not_null};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const SORT: &[(&str, &str)] = &[
    ("access_ip_v4", "access_ip_v4"),
    ("access_ip_v6", "access_ip_v6"),
    ("availability_zone", "availability_zone"),
    ("config_drive", "config_drive"),
    ("created_at", "created_at"),
    ("display_description", "description"),
    ("display_name", "display_name"),
    ("host", "host"),
    ("hostname", "hostname"),
    ("image_ref", "image_ref"),
    ("instance_type_id", "flavor_id"),
    ("key_name", "key_name"),
    ("launch_index", "launch_index"),
    ("launched_at", "launched_at"),
    ("locked", "locked"),
    ("locked_by", "locked_by"),
    ("node", "node"),
    ("power_state", "power_state"),
    ("progress", "progress"),
    ("project_id", "project_id"),
    ("root_device_name", "root_device_name"),
    ("task_state", "task_state"),
    ("terminated_at", "terminated_at"),
    ("updated_at", "updated_at"),
    ("user_id", "user_id"),
    ("uuid", "id"),
    ("vm_state", "vm_state"),
];
const RULES: PagingRules = PagingRules::new(SORT);

/// `GET /servers`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let page = select(&nova, &req, "os_compute_api:servers:index:get_all_tenants").await?;
    let lens = Lens::of(&req);
    collection(
        &req,
        &page,
        page.items.iter().map(|i| brief(&lens, i)).collect(),
    )
}

/// `GET /servers/detail`.
pub async fn detail(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let page = select(&nova, &req, "os_compute_api:servers:detail:get_all_tenants").await?;
    let lens = Lens::of(&req);
    let extra = extras(&nova, &page.items).await?;
    let views = page
        .items
        .iter()
        .map(|i| full(&lens, i, extra.volumes(i), extra.host_status(i)))
        .collect();
    collection(&req, &page, views)
}

fn collection(req: &Req, page: &Page<InstanceRow>, servers: Vec<Value>) -> Result<Reply> {
    let mut body = json!({"servers": servers});
    if let Some(next) = next_link(req, page, |i| i.id.clone()) {
        body["servers_links"] = json!([{"rel": "next", "href": next}]);
    }
    Reply::ok(&body)
}

struct Extras {
    volumes: HashMap<String, Vec<BlockDeviceRow>>,
    hosts: HashMap<String, &'static str>,
}

impl Extras {
    fn volumes(&self, i: &InstanceRow) -> &[BlockDeviceRow] {
        self.volumes.get(&i.id).map_or(&[], |v| v)
    }

    fn host_status(&self, i: &InstanceRow) -> &'static str {
        i.host
            .as_ref()
            .map_or("", |h| self.hosts.get(h).copied().unwrap_or("UNKNOWN"))
    }
}

/// Volumes and host states of a page of servers, in two queries.
async fn extras(nova: &Nova, rows: &[InstanceRow]) -> Result<Extras> {
    let ids: Vec<String> = rows.iter().map(|r| r.id.clone()).collect();
    let (now, down) = (nova.clock.now(), nova.down_after());
    nova.db
        .read(move |tx| {
            let mut volumes: HashMap<String, Vec<BlockDeviceRow>> = HashMap::new();
            for v in tx.select_sorted::<BlockDeviceRow>(
                is_in("instance_id", ids.clone()),
                &[("created_at", base::Dir::Asc)],
                None,
            )? {
                volumes.entry(v.instance_id.clone()).or_default().push(v);
            }
            let services = tx.select::<ServiceRow>(eq("service_binary", "nova-compute"))?;
            let status = |s: &ServiceRow| match (s.disabled, s.forced_down, s.is_up(now, down)) {
                (_, true, _) => "DOWN",
                (true, _, _) => "MAINTENANCE",
                (_, _, true) => "UP",
                _ => "UNKNOWN",
            };
            Ok(Extras {
                volumes,
                hosts: services
                    .iter()
                    .map(|s| (s.host.clone(), status(s)))
                    .collect(),
            })
        })
        .await
}

async fn select(nova: &Nova, req: &Req, all_rule: &str) -> Result<Page<InstanceRow>> {
    let q = &req.query;
    let all_tenants = q
        .get("all_tenants")
        .is_some_and(|v| v.is_empty() || is_true(v));
    let mut conds: Vec<Cond> = Vec::new();
    let own = json!({"project_id": req.ctx.project_id, "user_id": req.ctx.user_id});
    if all_tenants {
        req.enforce(all_rule, &own)?;
        if let Some(project) = q.get("project_id").or(q.get("tenant_id")) {
            conds.push(eq("project_id", project));
        }
    } else {
        conds.push(eq("project_id", req.ctx.project()));
    }
    let deleted = q.flag("deleted").unwrap_or(false);
    if deleted && !req.ctx.is_admin {
        return Err(Error::forbidden(
            "Only administrators may list deleted instances",
        ));
    }
    if let Some(since) = q.get("changes-since") {
        let since = Timestamp::parse(since)
            .map_err(|_| Error::bad_request("Invalid changes-since value"))?;
        conds.push(ge("updated_at", since));
    } else {
        conds.push(
            if deleted
                || q.get("status")
                    .is_some_and(|s| s.eq_ignore_ascii_case("deleted") && req.ctx.is_admin)
            {
                not_null("deleted_at")
            } else {
                is_null("deleted_at")
            },
        );
    }
    if let Some(before) = q.get("changes-before").filter(|_| req.at_least(2, 66)) {
        conds.push(oslo_db::le("updated_at", Timestamp::parse(before)?));
    }
    let statuses: Vec<&str> = q.all("status").collect();
    if !statuses.is_empty() {
        let mut wanted = Vec::new();
        for s in &statuses {
            let states: Vec<String> = status::states_of(s).iter().map(|s| s.to_string()).collect();
            let tasks: Vec<String> = status::tasks_of(s).iter().map(|t| t.to_string()).collect();
            if !tasks.is_empty() {
                wanted.push(is_in("task_state", tasks));
            } else if !states.is_empty() {
                wanted.push(is_in("vm_state", states));
            }
        }
        if wanted.is_empty() {
            return Ok(Page {
                items: Vec::new(),
                more: false,
            });
        }
        conds.push(any(wanted));
    }
    conds.extend(plain_filters(req)?);
    if let Some(pattern) = q.get("name") {
        let scope = all(conds.clone());
        conds.push(names::matching(nova, scope, pattern).await?);
    }
    conds.extend(address_and_tag_filters(req));
    let paging = parse_paging(q, &RULES)?;
    let cond = all(conds);
    nova.db
        .read(move |tx| tx.page::<InstanceRow>(cond.clone(), &paging))
        .await
}

/// `ip`/`ip6` match addresses by substring (upstream: regular expression), tags by name.
fn address_and_tag_filters(req: &Req) -> Vec<Cond> {
    let mut conds = Vec::new();
    for (name, version) in [("ip", 4), ("ip6", 6)] {
        if let Some(text) = req.query.get(name) {
            let text = text
                .trim_start_matches('^')
                .trim_end_matches('$')
                .replace("\\.", ".");
            conds.push(addresses::with(version, &text));
        }
    }
    if !req.at_least(2, 26) {
        return conds;
    }
    let tags = |name: &str| {
        let list = req.query.get(name)?;
        Some(list.split(',').map(instances::tagged).collect::<Vec<_>>())
    };
    conds.extend(tags("tags").map(all));
    conds.extend(tags("tags-any").map(any));
    conds.extend(tags("not-tags").map(|t| not(all(t))));
    conds.extend(tags("not-tags-any").map(|t| not(any(t))));
    conds
}

fn plain_filters(req: &Req) -> Result<Vec<Cond>> {
    let q = &req.query;
    let mut conds = Vec::new();
    for (name, column) in [
        ("image", "image_ref"),
        ("flavor", "flavor_id"),
        ("reservation_id", "reservation_id"),
        ("uuid", "id"),
    ] {
        if let Some(v) = q.get(name) {
            conds.push(eq(column, v));
        }
    }
    let user_filters = [
        ("availability_zone", "availability_zone"),
        ("key_name", "key_name"),
        ("user_id", "user_id"),
        ("hostname", "hostname"),
        ("description", "description"),
        ("vm_state", "vm_state"),
        ("task_state", "task_state"),
    ];
    let admin_filters = [
        ("host", "host"),
        ("node", "node"),
        ("root_device_name", "root_device_name"),
    ];
    // Below 2.83 these are for administrators only, and ignored for others.
    if req.ctx.is_admin || req.at_least(2, 83) {
        for (name, column) in user_filters {
            if let Some(v) = q.get(name) {
                conds.push(eq(column, v));
            }
        }
        if let Some(v) = q.get("config_drive") {
            conds.push(eq("config_drive", is_true(v)));
        }
        if let Some(v) = q.get("power_state").and_then(|v| v.parse::<i64>().ok()) {
            conds.push(eq("power_state", v));
        }
    }
    if req.ctx.is_admin {
        for (name, column) in admin_filters {
            if let Some(v) = q.get(name) {
                conds.push(eq(column, v));
            }
        }
    }
    if let Some(v) = q.get("locked").filter(|_| req.at_least(2, 73)) {
        conds.push(eq("locked", is_true(v)));
    }
    Ok(conds)
}

async fn view(nova: &Nova, req: &Req, row: &InstanceRow) -> Result<Value> {
    let extra = extras(nova, std::slice::from_ref(row)).await?;
    let lens = Lens::of(req);
    Ok(with_group(
        full(&lens, row, extra.volumes(row), extra.host_status(row)),
        &lens,
        row,
    ))
}

/// `GET /servers/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    Reply::ok(&json!({"server": view(&nova, &req, &row).await?}))
}

/// A server may be pinned to the zone that it is in, or to none.
fn pinnable(row: &InstanceRow, zone: Option<&str>) -> Result<()> {
    if zone.is_none() || zone == row.availability_zone.as_deref() {
        return Ok(());
    }
    let (zone, own) = (
        zone.unwrap_or_default(),
        row.availability_zone.as_deref().unwrap_or_default(),
    );
    let words = format!(
        "Cannot pin instance {} to availability zone '{zone}': it is in availability zone '{own}'.",
        row.id
    );
    Err(Error::conflict(words))
}

/// `PUT /servers/{id}`.
pub async fn update(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let body = req
        .json
        .as_ref()
        .and_then(|j| j.get("server"))
        .cloned()
        .unwrap_or_default();
    let text = |k: &str| {
        body.get(k)
            .map(|v| v.as_str().map(|s| s.trim().to_string()))
    };
    let mut set = vec![("updated_at", Some(nova.clock.now()).to_cell())];
    if let Some(Some(name)) = text("name") {
        set.push(("display_name", name.to_cell()));
    }
    if let Some(v) = text("description") {
        set.push(("description", v.to_cell()));
    }
    if let Some(v) = text("hostname") {
        set.push((
            "hostname",
            v.unwrap_or_else(|| row.hostname.clone()).to_cell(),
        ));
    }
    for (key, column) in [
        ("accessIPv4", "access_ip_v4"),
        ("accessIPv6", "access_ip_v6"),
    ] {
        if let Some(v) = text(key) {
            set.push((column, v.map(super::values::address).to_cell()));
        }
    }
    if let Some(Some(v)) = text("OS-DCF:diskConfig") {
        set.push(("disk_config", v.to_cell()));
    }
    if req.at_least(2, 104)
        && let Some(zone) = text("pinned_availability_zone")
    {
        pinnable(&row, zone.as_deref())?;
        set.push(("requested_zone", zone.to_cell()));
    }
    let (ctx, teller) = (Arc::clone(&req.ctx), nova.teller.clone());
    let (key, old_name) = (row.id.clone(), row.display_name.clone());
    let row = nova
        .db
        .write(move |tx| {
            instances::update(tx, &key, &set)?;
            let row = instances::get(tx, &key, ctx.row_scope())?;
            if row.display_name != old_name {
                teller.updated(tx, &ctx, &key, Some(&old_name))?;
            }
            Ok(row)
        })
        .await?;
    if req.at_least(2, 75) {
        return Reply::ok(&json!({"server": view(&nova, &req, &row).await?}));
    }
    let lens = Lens::of(&req);
    Reply::ok(&json!({"server": with_group(Value::Object(core(&lens, &row)), &lens, &row)}))
}

/// `DELETE /servers/{id}`.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let id = req.param("server_id");
    if !base::id::is_uuid_like(id) {
        return Err(instances::not_found(id));
    }
    instance::delete(&nova, &req.ctx, id, false).await?;
    Ok(Reply::empty(204))
}

/// `GET /servers/{id}/ips`.
pub async fn ips(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    Reply::ok(&json!({"addresses": server::addresses(&row.network_info.0, false)}))
}

/// `GET /servers/{id}/ips/{label}`.
pub async fn ips_of(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let label = req.param("label");
    let found = server::addresses(&row.network_info.0, false).remove(label);
    let list =
        found.ok_or_else(|| Error::not_found("Instance is not a member of specified network"))?;
    Reply::ok(&json!({label: list}))
}

/// `GET /servers/{id}/os-security-groups`: neutron's groups in nova's old spelling.
pub async fn security_groups(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let ports = network::ports_of(&nova.sdk, &row.id).await?;
    let groups = network::groups_of(&nova.sdk, &ports).await?;
    let views = group_views(&nova, sdk::Caller::Service, &groups).await?;
    Reply::ok(&json!({"security_groups": views}))
}
