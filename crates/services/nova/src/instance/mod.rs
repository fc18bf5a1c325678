//! The instance: what may be done to it when, in upstream's words.

pub mod create;
pub mod quota;
pub mod reserve;
pub mod status;
pub mod volumes;

use crate::Nova;
use crate::db::actions;
use crate::db::instances::{self, InstanceRow};
use crate::notifications::About;
use base::{Cell, Error, Result};
use oslo_context::RequestContext;
use oslo_db::Tx;
use oslo_taskflow::Flow;
use status::{TaskState, VmState};
use std::sync::Arc;

/// An instance that the caller may see; 404 otherwise.
pub async fn get(nova: &Nova, ctx: &RequestContext, id: &str) -> Result<InstanceRow> {
    if !base::id::is_uuid_like(id) {
        return Err(instances::not_found(id));
    }
    let (id, ctx) = (id.to_string(), ctx.clone());
    nova.db
        .read(move |tx| instances::get(tx, &id, ctx.row_scope()))
        .await
}

/// A locked instance obeys administrators only.
pub fn check_lock(ctx: &RequestContext, instance: &InstanceRow) -> Result<()> {
    if instance.locked && !ctx.is_admin {
        return Err(
            Error::conflict(format!("Instance {} is locked", instance.id))
                .class("InstanceIsLocked"),
        );
    }
    Ok(())
}

/// The 409 for a verb in the wrong state.
pub fn invalid_state(instance: &InstanceRow, verb: &str, tasks: &[Option<TaskState>]) -> Error {
    let task_matters = !tasks.contains(&instance.task_state);
    let (attr, state) = match instance.task_state.filter(|_| task_matters) {
        Some(task) => ("task_state", task.to_string()),
        None => ("vm_state", instance.vm_state.to_string()),
    };
    Error::conflict(format!(
        "Cannot '{verb}' instance {} while it is in {attr} {state}",
        instance.id
    ))
    .class("InstanceInvalidState")
}

/// A verb that becomes a flow: from which states, into which task.
pub struct Verb {
    /// The word in refusals (`pause`).
    pub name: &'static str,
    /// The word in the action log (`pause`).
    pub action: &'static str,
    /// vm states in which it may be asked.
    pub states: &'static [VmState],
    /// tasks in which it may be asked.
    pub tasks: &'static [Option<TaskState>],
    /// The task meanwhile; none for verbs that do not own the instance (attach).
    pub task: Option<TaskState>,
}

impl Verb {
    /// Refuses at once what [`submit`] would refuse later, before anything is made elsewhere for its sake.
    pub fn check(&self, ctx: &RequestContext, instance: &InstanceRow) -> Result<()> {
        check_lock(ctx, instance)?;
        if self.states.contains(&instance.vm_state) && self.tasks.contains(&instance.task_state) {
            return Ok(());
        }
        Err(invalid_state(instance, self.name, self.tasks))
    }
}

/// Checks lock and state, takes the task by compare-and-swap, logs the action and submits the flow: all in one transaction.
pub async fn submit<F: Flow + Clone>(
    nova: &Arc<Nova>,
    ctx: &RequestContext,
    id: &str,
    verb: &'static Verb,
    flow: F,
) -> Result<()> {
    submit_with(nova, ctx, id, verb, flow, |_| Ok(())).await
}

/// The same, with `also` written in that transaction.
pub async fn submit_with<F: Flow + Clone>(
    nova: &Arc<Nova>,
    ctx: &RequestContext,
    id: &str,
    verb: &'static Verb,
    flow: F,
    also: impl Fn(&mut Tx) -> Result<()> + Send + Sync + 'static,
) -> Result<()> {
    let (id, context, now) = (id.to_string(), ctx.clone(), nova.clock.now());
    let (engine, teller) = (nova.engine.clone(), nova.teller.clone());
    let about = About::flow(&flow);
    nova.db
        .write(move |tx| {
            let instance = instances::get(tx, &id, context.row_scope())?;
            check_lock(&context, &instance)?;
            let mut set = vec![("updated_at", Some(now).to_cell())];
            if verb.task.is_some() {
                set.push(("task_state", instances::task(verb.task)));
            }
            if !instances::transition(tx, &id, verb.states, verb.tasks, &set)? {
                return Err(invalid_state(&instance, verb.name, verb.tasks));
            }
            also(tx)?;
            actions::start(tx, &context, &id, verb.action, now)?;
            teller.began(tx, &about)?;
            engine.submit(tx, &flow)?;
            Ok(())
        })
        .await?;
    nova.engine.wake();
    Ok(())
}

/// Starts the deletion of an instance, whatever it is doing; asking twice is fine.
pub async fn delete(nova: &Arc<Nova>, ctx: &RequestContext, id: &str, force: bool) -> Result<()> {
    let (id, context, now) = (id.to_string(), ctx.clone(), nova.clock.now());
    let (engine, teller) = (nova.engine.clone(), nova.teller.clone());
    nova.db
        .write(move |tx| {
            let instance = instances::get_held(tx, &id, context.row_scope())?;
            check_lock(&context, &instance)?;
            if instance.task_state == Some(TaskState::Deleting) {
                return Ok(());
            }
            let set = [
                ("task_state", instances::task(Some(TaskState::Deleting))),
                ("updated_at", Some(now).to_cell()),
                ("progress", 0i64.to_cell()),
            ];
            instances::update(tx, &id, &set)?;
            actions::start(
                tx,
                &context,
                &id,
                if force { "forceDelete" } else { "delete" },
                now,
            )?;
            let flow = crate::flows::delete::DeleteServer {
                instance_id: id.clone(),
                request_id: context.request_id.clone(),
            };
            teller.began(tx, &About::flow(&flow))?;
            engine.submit(tx, &flow)?;
            Ok(())
        })
        .await?;
    nova.engine.wake();
    Ok(())
}
