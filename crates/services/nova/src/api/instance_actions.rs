//! What was done to a server, by whom, and how it ended.

use crate::Nova;
use crate::db::actions::{ActionEventRow, ActionRow};
use crate::db::instances::{self, InstanceRow};
use base::{Dir, Error, Page, Paging, Result, Timestamp};
use oslo_db::{all, eq, ge, is_null, le};
use oslo_http::{PagingRules, Reply, Req, next_link, parse_paging};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha224};
use std::sync::Arc;

const EVENTS: &str = "os_compute_api:os-instance-actions:events";
const DETAILS: &str = "os_compute_api:os-instance-actions:events:details";

/// The server; from 2.21 on also one that is gone.
async fn server(nova: &Nova, req: &Req) -> Result<InstanceRow> {
    let (id, ctx) = (req.param("server_id").to_string(), Arc::clone(&req.ctx));
    let with_deleted = req.at_least(2, 21);
    nova.db
        .read(move |tx| {
            let mut cond = vec![eq("id", &id), instances::scope(ctx.row_scope())];
            if !with_deleted {
                cond.push(is_null("deleted_at"));
            }
            tx.find::<InstanceRow>(all(cond))?
                .ok_or_else(|| instances::not_found(&id))
        })
        .await
}

fn view(req: &Req, action: &ActionRow) -> Value {
    let mut view = json!({
        "action": action.action,
        "instance_uuid": action.instance_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": action.start_time.iso_micros(),
        "message": action.message,
    });
    if req.at_least(2, 58) {
        view["updated_at"] = json!(action.updated_at.iso_micros());
    }
    view
}

fn time(req: &Req, name: &str) -> Result<Option<Timestamp>> {
    let bad = |text: &str| {
        let words = format!(
            "Invalid input for query parameters {name}. Value: {text}. '{text}' is not a 'date-time'"
        );
        Error::bad_request(words)
    };
    req.query
        .get(name)
        .map(|text| Timestamp::parse(text).map_err(|_| bad(text)))
        .transpose()
}

async fn page(nova: &Nova, req: &Req, server: &InstanceRow) -> Result<Page<ActionRow>> {
    let mut conditions = vec![eq("instance_id", &server.id)];
    let mut paging = Paging::default();
    if req.at_least(2, 58) {
        let rules = PagingRules {
            max_limit: nova.conf.max_limit,
            default_limit: Some(nova.conf.max_limit),
            ..PagingRules::new(&[])
        };
        paging = parse_paging(&req.query, &rules)?;
        let since = time(req, "changes-since")?;
        let before = if req.at_least(2, 66) {
            time(req, "changes-before")?
        } else {
            None
        };
        if let (Some(since), Some(before)) = (since, before)
            && since > before
        {
            return Err(Error::bad_request(
                "The value of changes-since must be less than or equal to changes-before.",
            ));
        }
        conditions.extend(since.map(|t| ge("updated_at", t)));
        conditions.extend(before.map(|t| le("updated_at", t)));
    }
    paging.sort = vec![("start_time", Dir::Desc), ("id", Dir::Desc)];
    let instance_id = server.id.clone();
    nova.db
        .read(move |tx| {
            let mut paging = paging.clone();
            // Callers know actions by request id.
            if let Some(request_id) = &paging.marker {
                let found = tx.find::<ActionRow>(all([
                    eq("instance_id", &instance_id),
                    eq("request_id", request_id),
                ]))?;
                let words = || Error::bad_request(format!("marker [{request_id}] not found"));
                paging.marker = Some(found.ok_or_else(words)?.id);
            }
            tx.page(all(conditions.clone()), &paging)
        })
        .await
}

/// `GET /servers/{server_id}/os-instance-actions`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let server = server(&nova, &req).await?;
    let page = page(&nova, &req, &server).await?;
    let rows: Vec<Value> = page.items.iter().map(|a| view(&req, a)).collect();
    let mut body = json!({"instanceActions": rows});
    if let Some(href) =
        next_link(&req, &page, |a| a.request_id.clone()).filter(|_| req.at_least(2, 58))
    {
        body["links"] = json!([{"rel": "next", "href": href}]);
    }
    Reply::ok(&body)
}

fn event(req: &Req, event: &ActionEventRow, project: &str, admin: bool, details: bool) -> Value {
    let mut view = json!({
        "event": event.event,
        "start_time": event.start_time.iso_micros(),
        "finish_time": event.finish_time.map(|t| t.iso_micros()),
        "result": event.result,
    });
    if admin {
        // Errors keep their words, not a stack: there is no traceback to show.
        view["traceback"] = Value::Null;
    }
    if req.at_least(2, 62) {
        let host = event.host.as_deref().unwrap_or("");
        if admin {
            view["host"] = json!(event.host);
        }
        view["hostId"] = json!(if host.is_empty() {
            String::new()
        } else {
            host_id(project, host)
        });
    }
    if req.at_least(2, 84) && details {
        view["details"] = json!(event.details);
    }
    view
}

fn host_id(project: &str, host: &str) -> String {
    let digest = Sha224::digest(format!("{project}{host}").as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// `GET /servers/{server_id}/os-instance-actions/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let server = server(&nova, &req).await?;
    let (instance_id, request_id) = (server.id.clone(), req.param("id").to_string());
    let words = format!("Action {request_id} not found");
    let (action, events) = nova
        .db
        .read(move |tx| {
            let cond = all([
                eq("instance_id", &instance_id),
                eq("request_id", &request_id),
            ]);
            let Some(action) = tx.find::<ActionRow>(cond)? else {
                return Err(Error::not_found(words.clone()));
            };
            let order = [("start_time", Dir::Desc), ("id", Dir::Desc)];
            let events =
                tx.select_sorted::<ActionEventRow>(eq("action_id", &action.id), &order, None)?;
            Ok((action, events))
        })
        .await?;
    let target = json!({"project_id": server.project_id});
    let admin = req.permits(EVENTS, &target);
    let details = req.permits(DETAILS, &target);
    let mut body = view(&req, &action);
    // Until 2.50 events are for administrators only.
    if admin || req.at_least(2, 51) {
        body["events"] = events
            .iter()
            .map(|e| event(&req, e, &server.project_id, admin, details))
            .collect();
    }
    Reply::ok(&json!({"instanceAction": body}))
}
