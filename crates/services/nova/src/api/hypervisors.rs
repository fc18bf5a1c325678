//! Hypervisors: what the compute hosts reported, and what their guests take.

use super::views::hypervisor::Hypervisor;
use crate::Nova;
use crate::db::compute_nodes::ComputeNodeRow;
use crate::db::instances::on_host;
use crate::db::services::ServiceRow;
use crate::db::usage;
use base::{Dir, Error, Page, Paging, Result, id};
use oslo_db::{Cond, Tx, contains, eq, everything};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const BY_NUMBER: &[(&str, Dir)] = &[("number", Dir::Asc)];

/// What to load beside the nodes themselves.
#[derive(Clone, Copy)]
struct Wanted {
    usage: bool,
    servers: bool,
}

fn load(
    tx: &mut Tx,
    nova: &Now,
    cond: Cond,
    paging: &Paging,
    wanted: Wanted,
) -> Result<Page<Hypervisor>> {
    let page = tx.page_by_key::<ComputeNodeRow>(nova.key, cond, paging)?;
    let usage = if wanted.usage {
        usage::by_host(tx)?
    } else {
        HashMap::new()
    };
    let services: HashMap<String, ServiceRow> = tx
        .select::<ServiceRow>(eq("service_binary", "nova-compute"))?
        .into_iter()
        .map(|s| (s.host.clone(), s))
        .collect();
    let mut items = Vec::with_capacity(page.items.len());
    for node in page.items {
        let service = services.get(&node.host).cloned();
        items.push(Hypervisor {
            up: service
                .as_ref()
                .is_some_and(|s| s.is_up(nova.now, nova.down_after)),
            usage: usage.get(&node.host).cloned().unwrap_or_default(),
            servers: if wanted.servers {
                Some(on_host(tx, &node.host)?)
            } else {
                None
            },
            service,
            node,
        });
    }
    Ok(Page {
        items,
        more: page.more,
    })
}

#[derive(Clone, Copy)]
struct Now {
    now: base::Timestamp,
    down_after: std::time::Duration,
    key: &'static str,
}

fn now(nova: &Nova, req: &Req) -> Now {
    let key = if req.at_least(2, 53) { "id" } else { "number" };
    Now {
        now: nova.clock.now(),
        down_after: nova.down_after(),
        key,
    }
}

async fn page(nova: &Nova, req: &Req, detail: bool) -> Result<Page<Hypervisor>> {
    let pattern = req
        .query
        .get("hypervisor_hostname_pattern")
        .filter(|_| req.at_least(2, 53));
    if pattern.is_some() && (req.query.has("limit") || req.query.has("marker")) {
        return Err(Error::bad_request(
            "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.",
        ));
    }
    let rules = PagingRules {
        default_sort: BY_NUMBER,
        tie: "id",
        max_limit: nova.conf.max_limit,
        default_limit: Some(nova.conf.max_limit),
        ..PagingRules::new(&[])
    };
    let mut paging = match req.at_least(2, 33) {
        true => parse_paging(&req.query, &rules)?,
        false => Paging::default(),
    };
    paging.sort = vec![("number", Dir::Asc)];
    let servers = req.at_least(2, 53) && req.query.get("with_servers").is_some_and(is_true);
    let wanted = Wanted {
        usage: detail && !req.at_least(2, 88),
        servers,
    };
    search(nova, req, pattern, paging, wanted).await
}

async fn search(
    nova: &Nova,
    req: &Req,
    pattern: Option<&str>,
    paging: Paging,
    wanted: Wanted,
) -> Result<Page<Hypervisor>> {
    let (cond, now) = (
        pattern.map_or_else(everything, |p| contains("hypervisor_hostname", p)),
        now(nova, req),
    );
    let marker = paging.marker.clone().unwrap_or_default();
    let page = nova
        .db
        .read(move |tx| load(tx, &now, cond.clone(), &paging, wanted))
        .await
        .map_err(|e| match e.error_class() {
            Some(oslo_db::MARKER_NOT_FOUND) => {
                Error::bad_request(format!("marker [{marker}] not found"))
            }
            _ => e,
        })?;
    match pattern {
        Some(pattern) if page.items.is_empty() => Err(Error::not_found(format!(
            "No hypervisor matching '{pattern}' could be found."
        ))),
        _ => Ok(page),
    }
}

fn links(body: &mut Value, req: &Req, page: &Page<Hypervisor>) {
    let id = |h: &Hypervisor| {
        h.id(req)
            .as_str()
            .map_or_else(|| h.node.number.to_string(), str::to_string)
    };
    if let Some(href) = next_link(req, page, id).filter(|_| req.at_least(2, 33)) {
        body["hypervisors_links"] = json!([{"rel": "next", "href": href}]);
    }
}

/// `GET /os-hypervisors`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let page = page(&nova, &req, false).await?;
    let rows: Vec<Value> = page.items.iter().map(|h| h.summary(&req)).collect();
    let mut body = json!({"hypervisors": rows});
    links(&mut body, &req, &page);
    Reply::ok(&body)
}

/// `GET /os-hypervisors/detail`.
pub async fn detail(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let page = page(&nova, &req, true).await?;
    let now = nova.clock.now();
    let rows: Vec<Value> = page.items.iter().map(|h| h.detail(&req, now)).collect();
    let mut body = json!({"hypervisors": rows});
    links(&mut body, &req, &page);
    Reply::ok(&body)
}

async fn one(nova: &Nova, req: &Req, wanted: Wanted) -> Result<Hypervisor> {
    let text = req.param("id");
    let absent = || Error::not_found(format!("Hypervisor with ID '{text}' could not be found."));
    let cond = if req.at_least(2, 53) {
        if !id::is_uuid_like(text) {
            return Err(Error::bad_request(format!("Invalid uuid {text}")));
        }
        eq("id", text)
    } else {
        eq("number", text.parse::<i64>().map_err(|_| absent())?)
    };
    let now = now(nova, req);
    let paging = Paging {
        sort: vec![("number", Dir::Asc)],
        ..Paging::default()
    };
    let page = nova
        .db
        .read(move |tx| load(tx, &now, cond.clone(), &paging, wanted))
        .await?;
    page.items.into_iter().next().ok_or_else(absent)
}

/// `GET /os-hypervisors/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let servers = req.at_least(2, 53) && req.query.get("with_servers").is_some_and(is_true);
    let found = one(
        &nova,
        &req,
        Wanted {
            usage: !req.at_least(2, 88),
            servers,
        },
    )
    .await?;
    Reply::ok(&json!({"hypervisor": found.detail(&req, nova.clock.now())}))
}

/// `GET /os-hypervisors/{id}/uptime` (until 2.87).
pub async fn uptime(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let found = one(
        &nova,
        &req,
        Wanted {
            usage: false,
            servers: false,
        },
    )
    .await?;
    if !found.up {
        return Err(Error::bad_request(
            "Compute service is unavailable at this time.",
        ));
    }
    let mut view = found.summary(&req);
    view["uptime"] = json!(found.uptime(nova.clock.now()));
    Reply::ok(&json!({"hypervisor": view}))
}

async fn matching(nova: &Nova, req: &Req, servers: bool) -> Result<Reply> {
    let pattern = req.param("id").to_string();
    let paging = Paging {
        sort: vec![("number", Dir::Asc)],
        ..Paging::default()
    };
    let page = search(
        nova,
        req,
        Some(&pattern),
        paging,
        Wanted {
            usage: false,
            servers,
        },
    )
    .await?;
    let rows: Vec<Value> = page.items.iter().map(|h| h.summary(req)).collect();
    Reply::ok(&json!({"hypervisors": rows}))
}

/// `GET /os-hypervisors/{pattern}/search` (until 2.52).
pub async fn search_by_name(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    matching(&nova, &req, false).await
}

/// `GET /os-hypervisors/{pattern}/servers` (until 2.52).
pub async fn servers(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    matching(&nova, &req, true).await
}

/// `GET /os-hypervisors/statistics` (until 2.87): sums over all hosts.
pub async fn statistics(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let now = now(&nova, &req);
    let paging = Paging {
        sort: vec![("number", Dir::Asc)],
        ..Paging::default()
    };
    let wanted = Wanted {
        usage: true,
        servers: false,
    };
    let page = nova
        .db
        .read(move |tx| load(tx, &now, everything(), &paging, wanted))
        .await?;
    let sum = |f: &dyn Fn(&Hypervisor) -> i64| page.items.iter().map(f).sum::<i64>();
    let (memory, memory_used) = (sum(&|h| h.node.memory_mb), sum(&|h| h.usage.memory_mb));
    let (disk, disk_used) = (sum(&|h| h.node.local_gb), sum(&|h| h.usage.disk_gb));
    Reply::ok(&json!({"hypervisor_statistics": {
        "count": page.items.len(),
        "vcpus": sum(&|h| h.node.vcpus),
        "vcpus_used": sum(&|h| h.usage.vcpus),
        "memory_mb": memory,
        "memory_mb_used": memory_used,
        "free_ram_mb": memory - memory_used,
        "local_gb": disk,
        "local_gb_used": disk_used,
        "free_disk_gb": disk - disk_used,
        "disk_available_least": sum(&|h| h.node.disk_available_gb),
        "running_vms": sum(&|h| h.usage.instances),
        "current_workload": sum(&|h| h.usage.building),
    }}))
}
