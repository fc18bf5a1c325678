//! Start, stop, reboot, pause, unpause, suspend, resume: one call to the host, then the state it reached.

use super::{event, give_up, host_of, spec, wanted};
use crate::Nova;
use crate::db::{actions, instances};
use crate::instance::status::VmState;
use crate::notifications::About;
use base::{Cell, Error, Kind, Result};
use nova_types::rpc::{PowerAction, PowerState};
use oslo_context::RequestContext;
use oslo_taskflow::{BoxFuture, Flow, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The state of a power change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangePower {
    /// The instance.
    pub instance_id: String,
    /// The request.
    pub request_id: String,
    /// What to do.
    pub action: PowerAction,
}

impl Flow for ChangePower {
    const NAME: &'static str = "change_power";
    type Deps = Nova;

    fn steps() -> Vec<Step<ChangePower>> {
        vec![Step::new("power", |f, n| Box::pin(power(f, n))).retries(3)]
    }

    fn resource_id(&self) -> &str {
        &self.instance_id
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn reverted(&self, nova: Arc<Nova>, error: Error) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            // A reboot that failed leaves a guest in an unknown state; the others leave it as it was.
            let reboot = matches!(
                self.action,
                PowerAction::RebootSoft | PowerAction::RebootHard
            );
            let state = (reboot && error.kind() != Kind::Unavailable).then_some(VmState::Error);
            give_up(&nova, self, &error, state).await
        })
    }
}

async fn power(flow: &mut ChangePower, nova: Arc<Nova>) -> Result<()> {
    let started = nova.clock.now();
    let instance = wanted(&nova, &flow.instance_id).await?;
    let host = host_of(&instance)?.to_string();
    let ctx = RequestContext::internal_for(&flow.request_id);
    let compute = nova.compute(&host);
    let reached = match compute
        .power(&ctx, flow.instance_id.clone(), flow.action)
        .await
    {
        // The guest vanished from the hypervisor (its host was rebuilt): starting or rebooting makes it anew from its disks.
        Err(e)
            if e.is_not_found()
                && matches!(
                    flow.action,
                    PowerAction::Start | PowerAction::RebootHard | PowerAction::RebootSoft
                ) =>
        {
            let guest = spec(&nova, &instance, image_of(&nova, &instance).await, true).await?;
            compute.ensure_instance(&ctx, guest).await?
        }
        other => other?,
    };
    let state = match reached {
        PowerState::Paused => VmState::Paused,
        PowerState::Suspended => VmState::Suspended,
        PowerState::Shutdown | PowerState::Crashed => VmState::Stopped,
        PowerState::Running | PowerState::NoState => VmState::Active,
    };
    let (id, request_id, now) = (
        flow.instance_id.clone(),
        flow.request_id.clone(),
        nova.clock.now(),
    );
    let name = event_name(flow.action);
    event(&nova, &id, &request_id, name, Some(host), started).await?;
    let (teller, about) = (nova.teller.clone(), About::flow(flow));
    nova.db
        .write(move |tx| {
            let set = [
                ("vm_state", state.to_cell()),
                ("task_state", instances::task(None)),
                ("power_state", reached.code().to_cell()),
                ("updated_at", Some(now).to_cell()),
            ];
            instances::go_on(tx, &id, &set)?;
            teller.ended(tx, &about, None)?;
            actions::finish(tx, &id, &request_id, now, None)
        })
        .await
}

async fn image_of(
    nova: &Nova,
    instance: &instances::InstanceRow,
) -> Option<nova_types::rpc::ImageSpec> {
    let id = instance.image_ref.as_deref()?;
    crate::image::get_spec(&nova.sdk, id).await.ok()
}

fn event_name(action: PowerAction) -> &'static str {
    match action {
        PowerAction::Start => "compute_start_instance",
        PowerAction::Stop { .. } => "compute_stop_instance",
        PowerAction::RebootSoft | PowerAction::RebootHard => "compute_reboot_instance",
        PowerAction::Pause => "compute_pause_instance",
        PowerAction::Unpause => "compute_unpause_instance",
        PowerAction::Suspend => "compute_suspend_instance",
        PowerAction::Resume => "compute_resume_instance",
    }
}
