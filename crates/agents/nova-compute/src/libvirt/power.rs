//! Power. A guest that starts cold is defined anew and gets its taps again: the host may have restarted.

use super::{LibvirtDriver, taps};
use base::{Error, Result};
use nova_types::rpc::{PowerAction, PowerState};
use std::time::Duration;

impl LibvirtDriver {
    pub(super) async fn change_power(&self, uuid: &str, action: PowerAction) -> Result<()> {
        let hypervisor = &self.hypervisor;
        match action {
            PowerAction::Start | PowerAction::Resume => self.switch_on(uuid).await,
            PowerAction::Stop { timeout_s } => {
                if self.power_state(uuid).await? == PowerState::Suspended {
                    return hypervisor.destroy(uuid).await;
                }
                self.shut_down(uuid, Duration::from_secs(timeout_s)).await
            }
            PowerAction::RebootSoft => {
                self.shut_down(uuid, self.soft_reboot).await?;
                self.switch_on(uuid).await
            }
            PowerAction::RebootHard => {
                hypervisor.destroy(uuid).await?;
                self.switch_on(uuid).await
            }
            PowerAction::Pause => hypervisor.pause(uuid).await,
            PowerAction::Unpause => hypervisor.unpause(uuid).await,
            PowerAction::Suspend => hypervisor.save(uuid).await,
        }
    }

    async fn switch_on(&self, uuid: &str) -> Result<()> {
        let state = self.power_state(uuid).await?;
        if state == PowerState::Paused {
            return self.hypervisor.unpause(uuid).await;
        }
        if state == PowerState::Running {
            return Ok(());
        }
        let spec = self.spec(uuid).await?;
        for port in &spec.ports {
            taps::ensure(&self.privsep, port).await?;
        }
        // Saved memory belongs to the devices of that time.
        if state != PowerState::Suspended {
            self.define(&spec).await?;
        }
        self.hypervisor.create(uuid).await
    }

    /// Politely, then by force. A paused guest hears nothing.
    async fn shut_down(&self, uuid: &str, patience: Duration) -> Result<()> {
        if !patience.is_zero() && self.power_state(uuid).await? == PowerState::Running {
            match self.hypervisor.shutdown(uuid, patience).await {
                Ok(true) => return Ok(()),
                Ok(false) => tracing::info!(
                    server.id = uuid,
                    "the guest did not shut down: switched off"
                ),
                Err(e) if e.is_not_found() => return Err(Error::not_found(e.message())),
                Err(e) => tracing::warn!(server.id = uuid, "cannot shut down, switched off: {e}"),
            }
        }
        self.hypervisor.destroy(uuid).await
    }
}
