//! `POST /servers/{id}/action`, a row per action.

use crate::Nova;
use crate::db::actions;
use crate::db::instances::{self, InstanceRow};
use crate::flows::power::ChangePower;
use crate::instance::status::{TaskState, VmState};
use crate::instance::{self, Verb, check_lock};
use crate::network;
use crate::notifications::About;
use base::{Cell, Error, Result};
use nova_types::rpc::PowerAction;
use oslo_http::{Reply, Req};
use sdk::Caller;
use serde_json::{Value, json};
use std::sync::Arc;

const FREE: &[Option<TaskState>] = &[None];

async fn change(
    nova: &Arc<Nova>,
    req: &Req,
    verb: &'static Verb,
    action: PowerAction,
) -> Result<Reply> {
    let row = instance::get(nova, &req.ctx, req.param("server_id")).await?;
    let flow = ChangePower {
        instance_id: row.id.clone(),
        request_id: req.ctx.request_id.clone(),
        action,
    };
    instance::submit(nova, &req.ctx, &row.id, verb, flow).await?;
    Ok(Reply::empty(202))
}

/// `os-start`.
pub async fn start(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    const VERB: Verb = Verb {
        name: "start",
        action: "start",
        states: &[VmState::Stopped],
        tasks: FREE,
        task: Some(TaskState::PoweringOn),
    };
    change(&nova, &req, &VERB, PowerAction::Start).await
}

/// `os-stop`.
pub async fn stop(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    const VERB: Verb = Verb {
        name: "stop",
        action: "stop",
        states: &[VmState::Active, VmState::Error],
        tasks: FREE,
        task: Some(TaskState::PoweringOff),
    };
    let timeout_s = nova.conf.shutdown_timeout;
    change(&nova, &req, &VERB, PowerAction::Stop { timeout_s }).await
}

/// `reboot`, soft or hard.
pub async fn reboot(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    const SOFT: Verb = Verb {
        name: "reboot",
        action: "reboot",
        states: &[VmState::Active],
        tasks: FREE,
        task: Some(TaskState::Rebooting),
    };
    const HARD: Verb = Verb {
        name: "reboot",
        action: "reboot",
        states: &[
            VmState::Active,
            VmState::Stopped,
            VmState::Paused,
            VmState::Suspended,
            VmState::Error,
        ],
        tasks: FREE,
        task: Some(TaskState::RebootingHard),
    };
    let kind = req
        .json
        .as_ref()
        .and_then(|j| j["reboot"]["type"].as_str())
        .unwrap_or("SOFT")
        .to_ascii_uppercase();
    match kind.as_str() {
        "HARD" => change(&nova, &req, &HARD, PowerAction::RebootHard).await,
        _ => change(&nova, &req, &SOFT, PowerAction::RebootSoft).await,
    }
}

/// `pause`.
pub async fn pause(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    const VERB: Verb = Verb {
        name: "pause",
        action: "pause",
        states: &[VmState::Active],
        tasks: FREE,
        task: Some(TaskState::Pausing),
    };
    change(&nova, &req, &VERB, PowerAction::Pause).await
}

/// `unpause`.
pub async fn unpause(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    const VERB: Verb = Verb {
        name: "unpause",
        action: "unpause",
        states: &[VmState::Paused],
        tasks: FREE,
        task: Some(TaskState::Unpausing),
    };
    change(&nova, &req, &VERB, PowerAction::Unpause).await
}

/// `suspend`.
pub async fn suspend(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    const VERB: Verb = Verb {
        name: "suspend",
        action: "suspend",
        states: &[VmState::Active],
        tasks: FREE,
        task: Some(TaskState::Suspending),
    };
    change(&nova, &req, &VERB, PowerAction::Suspend).await
}

/// `resume`.
pub async fn resume(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    const VERB: Verb = Verb {
        name: "resume",
        action: "resume",
        states: &[VmState::Suspended],
        tasks: FREE,
        task: Some(TaskState::Resuming),
    };
    change(&nova, &req, &VERB, PowerAction::Resume).await
}

async fn set(
    nova: &Nova,
    req: &Req,
    row: &InstanceRow,
    action: &'static str,
    set: Vec<(&'static str, base::CellValue)>,
) -> Result<()> {
    let (id, ctx, now) = (row.id.clone(), Arc::clone(&req.ctx), nova.clock.now());
    let teller = nova.teller.clone();
    nova.db
        .write(move |tx| {
            instances::update(tx, &id, &set)?;
            actions::start(tx, &ctx, &id, action, now)?;
            teller.began(tx, &About::action(&id, &ctx.request_id))?;
            actions::finish(tx, &id, &ctx.request_id, now, None)
        })
        .await
}

/// `lock`.
pub async fn lock(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let reason = req
        .json
        .as_ref()
        .and_then(|j| j["lock"]["locked_reason"].as_str())
        .map(str::to_string);
    let owner = row.project_id == req.ctx.project() && !req.ctx.is_admin;
    let by = if owner { "owner" } else { "admin" }.to_string();
    // A lock that an administrator set is not weakened by the owner's.
    if row.locked && row.locked_by.as_deref() == Some("admin") && owner {
        return Ok(Reply::empty(202));
    }
    let values = vec![
        ("locked", true.to_cell()),
        ("locked_by", Some(by).to_cell()),
        ("locked_reason", reason.to_cell()),
    ];
    set(&nova, &req, &row, "lock", values).await?;
    Ok(Reply::empty(202))
}

/// `unlock`.
pub async fn unlock(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    if row.locked_by.as_deref() == Some("admin") {
        let target = json!({"project_id": row.project_id, "user_id": row.user_id});
        req.enforce(
            "os_compute_api:os-lock-server:unlock:unlock_override",
            &target,
        )?;
    }
    let values = vec![
        ("locked", false.to_cell()),
        ("locked_by", None::<String>.to_cell()),
        ("locked_reason", None::<String>.to_cell()),
    ];
    set(&nova, &req, &row, "unlock", values).await?;
    Ok(Reply::empty(202))
}

/// `forceDelete`.
pub async fn force_delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    instance::delete(&nova, &req.ctx, &row.id, true).await?;
    Ok(Reply::empty(202))
}

/// `os-resetState`: the operator says what the instance is; a flow at work goes on and has the last word.
pub async fn reset_state(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let state = match req
        .json
        .as_ref()
        .and_then(|j| j["os-resetState"]["state"].as_str())
    {
        Some("active") => VmState::Active,
        _ => VmState::Error,
    };
    set(
        &nova,
        &req,
        &row,
        "resetState",
        vec![
            ("vm_state", state.to_cell()),
            ("task_state", instances::task(None)),
        ],
    )
    .await?;
    Ok(Reply::empty(202))
}

/// `os-getConsoleOutput`.
pub async fn console_output(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    let length = req
        .json
        .as_ref()
        .map(|j| &j["os-getConsoleOutput"]["length"]);
    let length = length.and_then(|v| {
        v.as_i64()
            .or_else(|| v.as_str().and_then(|s| s.parse().ok()))
    });
    let not_ready =
        || Error::conflict(format!("Instance {} is not ready", row.id)).class("InstanceNotReady");
    let host = row
        .host
        .as_deref()
        .filter(|_| row.vm_state != VmState::Building)
        .ok_or_else(not_ready)?;
    let output = nova
        .compute(host)
        .console_output(&req.ctx, row.id.clone(), length)
        .await
        .map_err(|e| if e.is_not_found() { not_ready() } else { e })?;
    // JSON carries no control characters but newline and tab, as upstream's fix for Launchpad bug 1229625.
    let clean: String = output
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r'))
        .collect();
    Reply::ok(&json!({"output": clean}))
}

/// `GET /servers/{id}/diagnostics`.
pub async fn diagnostics(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let row = instance::get(&nova, &req.ctx, req.param("server_id")).await?;
    if !matches!(row.vm_state, VmState::Active | VmState::Paused) {
        return Err(instance::invalid_state(
            &row,
            "get_diagnostics",
            &[row.task_state],
        ));
    }
    let host = row
        .host
        .as_deref()
        .ok_or_else(|| Error::conflict(format!("Instance {} is not ready", row.id)))?;
    let value: Value = nova
        .compute(host)
        .diagnostics(&req.ctx, row.id.clone())
        .await?;
    Reply::ok(&value)
}

async fn change_group(nova: &Arc<Nova>, req: &Req, key: &str, add: bool) -> Result<Reply> {
    let row = instance::get(nova, &req.ctx, req.param("server_id")).await?;
    check_lock(&req.ctx, &row)?;
    let name = req
        .json
        .as_ref()
        .and_then(|j| j[key]["name"].as_str())
        .unwrap_or("")
        .trim()
        .to_string();
    let (neutron, user) = (nova.sdk.neutron(), Caller::User(&req.ctx));
    let group = neutron
        .security_group(user, req.ctx.project(), &name)
        .await?;
    let ports = network::ports_of(&nova.sdk, &row.id).await?;
    let changed = network::change_group(&nova.sdk, &ports, &group, add).await?;
    if !changed && !add {
        return Err(Error::not_found(format!(
            "Security group {name} not associated with the instance {}",
            row.id
        )));
    }
    let ports = network::ports_of(&nova.sdk, &row.id).await?;
    let names = network::group_names(&nova.sdk, &ports).await?;
    let id = row.id.clone();
    nova.db
        .write(move |tx| {
            instances::update(
                tx,
                &id,
                &[("security_groups", base::Json(names.clone()).to_cell())],
            )
        })
        .await?;
    Ok(Reply::empty(202))
}

/// `addSecurityGroup`.
pub async fn add_security_group(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    change_group(&nova, &req, "addSecurityGroup", true).await
}

/// `removeSecurityGroup`.
pub async fn remove_security_group(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    change_group(&nova, &req, "removeSecurityGroup", false).await
}
