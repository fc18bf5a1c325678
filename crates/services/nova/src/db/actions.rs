//! What was done to an instance, by whom, and how it ended (`openstack server event list`).

use base::{Cell, Result, Timestamp, new_id};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, is_in, is_null};

oslo_db::table! {
    /// An action.
    pub struct ActionRow in "instance_actions" {
        pub id: String,
        pub instance_id: String,
        pub action: String,
        pub request_id: String,
        pub user_id: Option<String>,
        pub project_id: Option<String>,
        pub message: Option<String>,
        pub start_time: Timestamp,
        pub finish_time: Option<Timestamp>,
        pub updated_at: Timestamp,
    }
}

oslo_db::table! {
    /// A part of an action.
    pub struct ActionEventRow in "instance_action_events" {
        pub id: String,
        pub action_id: String,
        pub event: String,
        pub host: Option<String>,
        pub start_time: Timestamp,
        pub finish_time: Option<Timestamp>,
        pub result: Option<String>,
        pub details: Option<String>,
    }
}

/// Starts an action, in the transaction that starts the work.
pub fn start(
    tx: &mut Tx,
    ctx: &RequestContext,
    instance_id: &str,
    action: &str,
    now: Timestamp,
) -> Result<()> {
    tx.insert(&ActionRow {
        id: new_id(),
        instance_id: instance_id.into(),
        action: action.into(),
        request_id: ctx.request_id.clone(),
        user_id: ctx.user_id.clone(),
        project_id: ctx.project_id.clone(),
        message: None,
        start_time: now,
        finish_time: None,
        updated_at: now,
    })
}

/// The action that `request_id` started.
pub fn find(tx: &mut Tx, instance_id: &str, request_id: &str) -> Result<Option<ActionRow>> {
    tx.find(all([
        eq("instance_id", instance_id),
        eq("request_id", request_id),
    ]))
}

/// Whether one of these actions is under way on the instance.
pub fn under_way(tx: &mut Tx, instance_id: &str, actions: &[&str]) -> Result<bool> {
    tx.exists::<ActionRow>(all([
        eq("instance_id", instance_id),
        is_in("action", actions.iter().copied()),
        is_null("finish_time"),
    ]))
}

/// Records a finished part of the action that `request_id` started; `error` None means success.
pub fn event(
    tx: &mut Tx,
    instance_id: &str,
    request_id: &str,
    event: &str,
    host: Option<&str>,
    started: Timestamp,
    now: Timestamp,
    error: Option<&str>,
) -> Result<()> {
    let Some(action) = find(tx, instance_id, request_id)? else {
        return Ok(());
    };
    tx.insert(&ActionEventRow {
        id: new_id(),
        action_id: action.id,
        event: event.into(),
        host: host.map(str::to_string),
        start_time: started,
        finish_time: Some(now),
        result: Some(if error.is_some() { "Error" } else { "Success" }.into()),
        details: error.map(str::to_string),
    })
}

/// Ends the action that `request_id` started.
pub fn finish(
    tx: &mut Tx,
    instance_id: &str,
    request_id: &str,
    now: Timestamp,
    error: Option<&str>,
) -> Result<()> {
    let Some(action) = find(tx, instance_id, request_id)? else {
        return Ok(());
    };
    let message = error.map(|_| "Error".to_string());
    tx.update::<ActionRow>(
        eq("id", action.id.as_str()),
        &[
            ("finish_time", now.to_cell()),
            ("updated_at", now.to_cell()),
            ("message", message.to_cell()),
        ],
    )?;
    Ok(())
}
