//! How long which servers of which project ran, computed from the instances themselves.

use crate::Nova;
use crate::db::instances::InstanceRow;
use base::{Dir, Error, Page, Paging, Result, Timestamp};
use oslo_db::{all, any, eq, everything, ge, is_null, lt, not_null};
use oslo_http::{PagingRules, Reply, Req, next_link, parse_paging};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const SHOW: &str = "os_compute_api:os-simple-tenant-usage:show";

struct Period {
    start: Timestamp,
    stop: Timestamp,
    now: Timestamp,
}

fn period(nova: &Nova, req: &Req) -> Result<Period> {
    let now = nova.clock.now();
    let read = |name: &str| match req.query.get(name).filter(|t| !t.is_empty()) {
        None => Ok(now),
        Some(text) => {
            Timestamp::parse(text).map_err(|_| Error::bad_request("Datetime is in invalid format"))
        }
    };
    let (start, stop) = (read("start")?, read("end")?);
    if start > stop {
        return Err(Error::bad_request(
            "Invalid start time. The start time cannot occur after the end time.",
        ));
    }
    Ok(Period { start, stop, now })
}

#[derive(Default)]
struct Totals {
    hours: f64,
    local_gb: f64,
    memory_mb: f64,
    vcpus: f64,
    servers: Vec<Value>,
}

fn hours(i: &InstanceRow, period: &Period) -> f64 {
    let Some(launched) = i.launched_at else {
        return 0.0;
    };
    let ended = i
        .terminated_at
        .or(i.deleted_at)
        .unwrap_or(period.stop)
        .min(period.stop);
    ended.since(launched.max(period.start)).as_secs_f64() / 3600.0
}

fn add(totals: &mut Totals, i: &InstanceRow, period: &Period) {
    let flavor = &i.flavor.0;
    let (hours, local_gb) = (hours(i, period), flavor.root_gb + flavor.ephemeral_gb);
    totals.hours += hours;
    totals.local_gb += local_gb as f64 * hours;
    totals.memory_mb += i.memory_mb as f64 * hours;
    totals.vcpus += i.vcpus as f64 * hours;
    let ended = i.terminated_at.or(i.deleted_at);
    let launched = i.launched_at.unwrap_or(i.created_at);
    totals.servers.push(json!({
        "instance_id": i.id,
        "name": i.display_name,
        "tenant_id": i.project_id,
        "flavor": flavor.name,
        "vcpus": i.vcpus,
        "memory_mb": i.memory_mb,
        "local_gb": local_gb,
        "hours": hours,
        "started_at": launched.iso_micros(),
        "ended_at": ended.map(|t| t.iso_micros()),
        "state": if ended.is_some() { "terminated" } else { i.vm_state.as_str() },
        "uptime": ended.unwrap_or(period.now).since(launched).as_secs(),
    }));
}

fn view(project: &str, totals: Totals, period: &Period, detailed: bool) -> Value {
    let mut view = json!({
        "tenant_id": project,
        "start": period.start.iso_micros(),
        "stop": period.stop.iso_micros(),
        "total_hours": totals.hours,
        "total_local_gb_usage": totals.local_gb,
        "total_memory_mb_usage": totals.memory_mb,
        "total_vcpus_usage": totals.vcpus,
    });
    if detailed {
        view["server_usages"] = Value::Array(totals.servers);
    }
    view
}

async fn page(
    nova: &Nova,
    req: &Req,
    period: &Period,
    project: Option<String>,
) -> Result<Page<InstanceRow>> {
    let sort = vec![("project_id", Dir::Asc), ("id", Dir::Asc)];
    let mut paging = Paging::default();
    if req.at_least(2, 40) {
        let rules = PagingRules {
            max_limit: nova.conf.max_limit,
            default_limit: Some(nova.conf.max_limit),
            ..PagingRules::new(&[])
        };
        paging = parse_paging(&req.query, &rules)?;
    }
    paging.sort = sort;
    let (start, stop) = (period.start, period.stop);
    let marker = paging.marker.clone().unwrap_or_default();
    let page = nova.db.read(move |tx| {
        let alive = all([is_null("terminated_at"), is_null("deleted_at")]);
        let ended_later = any([
            ge("terminated_at", start),
            all([is_null("terminated_at"), ge("deleted_at", start)]),
        ]);
        let of = project
            .as_deref()
            .map_or_else(everything, |p| eq("project_id", p));
        tx.page::<InstanceRow>(
            all([
                of,
                not_null("launched_at"),
                lt("launched_at", stop),
                any([alive, ended_later]),
            ]),
            &paging,
        )
    });
    page.await.map_err(|e| match e.error_class() {
        Some(oslo_db::MARKER_NOT_FOUND) => {
            Error::bad_request(format!("marker [{marker}] not found"))
        }
        _ => e,
    })
}

fn link(body: &mut Value, key: &str, req: &Req, page: &Page<InstanceRow>) {
    if let Some(href) = next_link(req, page, |i| i.id.clone()).filter(|_| req.at_least(2, 40)) {
        body[key] = json!([{"rel": "next", "href": href}]);
    }
}

/// `GET /os-simple-tenant-usage`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    // COMPAT: the usage of a project without a name is not the usage of all.
    if req.path.ends_with('/') {
        return Err(Error::not_found("The resource could not be found."));
    }
    let period = period(&nova, &req)?;
    let detailed = req.query.get("detailed") == Some("1");
    let page = page(&nova, &req, &period, None).await?;
    // The order is by project, so each project's rows stand together.
    let mut projects: Vec<(String, Totals)> = Vec::new();
    for i in &page.items {
        if projects.last().is_none_or(|(p, _)| *p != i.project_id) {
            projects.push((i.project_id.clone(), Totals::default()));
        }
        if let Some((_, totals)) = projects.last_mut() {
            add(totals, i, &period);
        }
    }
    let rows: Vec<Value> = projects
        .into_iter()
        .map(|(p, t)| view(&p, t, &period, detailed))
        .collect();
    let mut body = json!({"tenant_usages": rows});
    link(&mut body, "tenant_usages_links", &req, &page);
    Reply::ok(&body)
}

/// `GET /os-simple-tenant-usage/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let project = req.param("id").to_string();
    req.enforce(SHOW, &json!({"project_id": project}))?;
    let period = period(&nova, &req)?;
    let page = page(&nova, &req, &period, Some(project.clone())).await?;
    let mut totals = Totals::default();
    page.items.iter().for_each(|i| add(&mut totals, i, &period));
    let usage = if page.items.is_empty() {
        Value::Object(Map::new())
    } else {
        view(&project, totals, &period, true)
    };
    let mut body = json!({"tenant_usage": usage});
    link(&mut body, "tenant_usage_links", &req, &page);
    Reply::ok(&body)
}
