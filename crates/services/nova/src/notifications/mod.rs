//! Versioned notifications: what happened to a server, for billing and audit, in upstream's names and shapes.
//!
//! They are written in the transaction that does what they tell of, and sent by a conductor: at least once, each time
//! with the same id.

mod outbox;
mod payload;

pub(crate) use outbox::Deliver;

use crate::Nova;
use crate::config::Conf;
use crate::db::actions::{self, ActionRow};
use crate::db::instances::InstanceRow;
use base::{Error, Result};
use oslo_context::RequestContext;
use oslo_db::{Tx, eq};
use oslo_messaging::{Notification, Priority};
use oslo_taskflow::Flow;
use payload::{Actor, Facts};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// How far a verb is.
#[derive(Clone, Copy, Debug)]
enum Phase<'a> {
    /// It begins.
    Start,
    /// It is done.
    End,
    /// It failed.
    Error(&'a Error),
    /// It has no phases.
    Once,
}

/// Which phases a verb has, as upstream's.
#[derive(Clone, Copy, PartialEq)]
enum Phases {
    Once,
    StartEnd,
    StartEndError,
}

/// The action log's word, and the event's.
const VERBS: &[(&str, &str, Phases)] = &[
    (
        "attach_interface",
        "interface_attach",
        Phases::StartEndError,
    ),
    ("attach_volume", "volume_attach", Phases::StartEndError),
    ("create", "create", Phases::StartEndError),
    ("delete", "delete", Phases::StartEnd),
    ("detach_interface", "interface_detach", Phases::StartEnd),
    ("detach_volume", "volume_detach", Phases::StartEnd),
    ("forceDelete", "delete", Phases::StartEnd),
    ("lock", "lock", Phases::Once),
    ("pause", "pause", Phases::StartEnd),
    ("reboot", "reboot", Phases::StartEndError),
    ("resume", "resume", Phases::StartEnd),
    ("start", "power_on", Phases::StartEnd),
    ("stop", "power_off", Phases::StartEnd),
    ("suspend", "suspend", Phases::StartEnd),
    ("unlock", "unlock", Phases::Once),
    ("unpause", "unpause", Phases::StartEnd),
];

/// What is told: an action of the log, and the volume that it is about, if it is about one.
#[derive(Clone)]
pub(crate) struct About {
    instance_id: String,
    request_id: String,
    volume_id: Option<String>,
}

impl About {
    /// What a flow works on.
    pub(crate) fn flow(flow: &impl Flow) -> About {
        // Whatever is attached or detached says in its flow's state what it is.
        let state = serde_json::to_value(flow).unwrap_or_default();
        About {
            volume_id: state["volume_id"].as_str().map(str::to_string),
            ..About::action(flow.resource_id(), flow.request_id())
        }
    }

    /// What a request did to an instance.
    pub(crate) fn action(instance_id: &str, request_id: &str) -> About {
        About {
            instance_id: instance_id.to_string(),
            request_id: request_id.to_string(),
            volume_id: None,
        }
    }
}

/// Tells, or does not: with `notification_driver = "noop"` nothing is even looked up.
#[derive(Clone)]
pub(crate) struct Teller(Option<Arc<Voice>>);

struct Voice {
    /// Who says what is not done on a compute host: `nova-api:host`.
    api: String,
    with_devices: bool,
    last: AtomicI64,
}

impl Teller {
    pub(crate) fn new(conf: &Conf, host: &str) -> Teller {
        let voice = || Voice {
            api: format!("nova-api:{host}"),
            with_devices: conf.bdms_in_notifications,
            last: AtomicI64::new(0),
        };
        let on = conf.notification_driver == "messagingv2";
        Teller(on.then(|| Arc::new(voice())))
    }

    /// Whether anybody is told.
    pub(crate) fn tells(&self) -> bool {
        self.0.is_some()
    }

    /// That an action began. After `actions::start`, or, for a boot, when it has a host.
    pub(crate) fn began(&self, tx: &mut Tx, about: &About) -> Result<()> {
        let Some((voice, action, verb, phases)) = self.verb(tx, about)? else {
            return Ok(());
        };
        let phase = match phases {
            Phases::Once => Phase::Once,
            _ => Phase::Start,
        };
        voice.verb(tx, about, &action, verb, phase)
    }

    /// That an action ended, well or not; once. Before `actions::finish`.
    pub(crate) fn ended(&self, tx: &mut Tx, about: &About, error: Option<&Error>) -> Result<()> {
        let Some((voice, action, verb, phases)) = self.verb(tx, about)? else {
            return Ok(());
        };
        if action.finish_time.is_some() {
            // The step of a flow that runs a second time.
            return Ok(());
        }
        match error {
            // Of a boot without a host no compute host ever heard.
            Some(e) if e.error_class() == Some("NoValidHost") => Ok(()),
            Some(e) if phases == Phases::StartEndError => {
                voice.verb(tx, about, &action, verb, Phase::Error(e))
            }
            None if phases != Phases::Once => voice.verb(tx, about, &action, verb, Phase::End),
            _ => Ok(()),
        }
    }

    /// That an action failed on one host, and goes on on another.
    pub(crate) fn failed_here(&self, tx: &mut Tx, about: &About, error: &Error) -> Result<()> {
        match self.verb(tx, about)? {
            Some((voice, action, verb, _)) => {
                voice.verb(tx, about, &action, verb, Phase::Error(error))
            }
            None => Ok(()),
        }
    }

    /// That the guest of a server that is deleted is about to be taken from its host (`done`: that it was).
    pub(crate) async fn shutdown(&self, nova: &Nova, about: About, done: bool) -> Result<()> {
        let Some(voice) = self.0.clone() else {
            return Ok(());
        };
        let phase = if done { Phase::End } else { Phase::Start };
        let tell = nova.db.write(move |tx| {
            match actions::find(tx, &about.instance_id, &about.request_id)? {
                Some(action) => voice.verb(tx, &about, &action, "shutdown", phase),
                None => Ok(()),
            }
        });
        tell.await
    }

    /// That what a server is called, or its tags, changed; after the change.
    pub(crate) fn updated(
        &self,
        tx: &mut Tx,
        ctx: &RequestContext,
        instance_id: &str,
        old_name: Option<&str>,
    ) -> Result<()> {
        let (Some(voice), Some(row)) = (&self.0, row(tx, instance_id)?) else {
            return Ok(());
        };
        let actor = Actor {
            user: ctx.user_id.clone(),
            project: ctx.project_id.clone(),
            request_id: ctx.request_id.clone(),
        };
        // Upstream's sample has none, whatever `bdms_in_notifications` says.
        let facts = Facts::of(tx, &row, false)?;
        let payload = payload::update(&row, &facts, &actor, old_name);
        voice.say(
            tx,
            &actor,
            &voice.api,
            "instance.update",
            Priority::Info,
            payload,
        )
    }

    fn verb(
        &self,
        tx: &mut Tx,
        about: &About,
    ) -> Result<Option<(&Voice, ActionRow, &'static str, Phases)>> {
        let Some(voice) = &self.0 else {
            return Ok(None);
        };
        let Some(action) = actions::find(tx, &about.instance_id, &about.request_id)? else {
            return Ok(None);
        };
        let verb = VERBS.iter().find(|(word, _, _)| *word == action.action);
        Ok(verb.map(|(_, event, phases)| (&**voice, action, *event, *phases)))
    }
}

/// A server, living or deleted.
fn row(tx: &mut Tx, id: &str) -> Result<Option<InstanceRow>> {
    let mut row: Option<InstanceRow> = tx.find(eq("id", id))?;
    if let Some(row) = row.as_mut().filter(|row| row.deleted_at.is_some()) {
        row.network_info.0.clear();
    }
    Ok(row)
}

impl Voice {
    fn verb(
        &self,
        tx: &mut Tx,
        about: &About,
        action: &ActionRow,
        verb: &str,
        phase: Phase<'_>,
    ) -> Result<()> {
        let Some(row) = row(tx, &about.instance_id)? else {
            return Ok(());
        };
        let actor = Actor {
            user: action.user_id.clone(),
            project: action.project_id.clone(),
            request_id: action.request_id.clone(),
        };
        let (suffix, priority, fault) = match phase {
            Phase::Start => (".start", Priority::Info, Value::Null),
            Phase::End => (".end", Priority::Info, Value::Null),
            Phase::Error(error) => (".error", Priority::Error, payload::exception(error, verb)),
            Phase::Once => ("", Priority::Info, Value::Null),
        };
        // Upstream's create has none, whatever `bdms_in_notifications` says.
        let facts = Facts::of(tx, &row, self.with_devices && verb != "create")?;
        let payload = match (verb, &about.volume_id) {
            ("create", _) => payload::create(&row, &facts, &actor, fault),
            (_, Some(volume)) => payload::volume(&row, &facts, &actor, fault, volume),
            (_, None) => payload::action(&row, &facts, &actor, fault),
        };
        let publisher = match (phase, &row.host) {
            (Phase::Once, _) | (_, None) => self.api.clone(),
            (_, Some(host)) => format!("nova-compute:{host}"),
        };
        let event = format!("instance.{verb}{suffix}");
        self.say(tx, &actor, &publisher, &event, priority, payload)
    }

    fn say(
        &self,
        tx: &mut Tx,
        actor: &Actor,
        publisher: &str,
        event: &str,
        priority: Priority,
        payload: Value,
    ) -> Result<()> {
        let ctx = RequestContext {
            user_id: actor.user.clone(),
            project_id: actor.project.clone(),
            ..RequestContext::internal_for(&actor.request_id)
        };
        let notification = Notification::new(publisher, priority, event, payload);
        outbox::put(tx, &self.last, &ctx, &notification)
    }
}
