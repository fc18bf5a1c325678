//! Mends what a crash, a dead agent or a race left behind.

use crate::db::{AllocationRow, PortGroupRow, PortRow};
use crate::noun::{Call, within};
use crate::{Neutron, schedule};
use async_trait::async_trait;
use base::Result;
use oslo_db::{everything, not};
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

/// Moves networks and routers away from dead agents, and gives addresses back that no port holds.
pub(crate) struct Reschedule {
    neutron: Arc<Neutron>,
}

impl Reschedule {
    pub(crate) fn new(neutron: Arc<Neutron>) -> Reschedule {
        Reschedule { neutron }
    }
}

#[async_trait]
impl Reconciler for Reschedule {
    fn name(&self) -> &str {
        "neutron-reschedule"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(20)
    }

    async fn run(&self) -> Result<Report> {
        let call = Call::internal(&self.neutron);
        self.neutron
            .change(&call, |tx, call| {
                let (examined, mut changed) = schedule::everything(tx, call)?;
                let held = || not(within::<PortRow>("port_id", "id", everything()));
                changed += tx.delete::<AllocationRow>(held())?;
                changed += tx.delete::<PortGroupRow>(held())?;
                Ok(Report { examined, changed })
            })
            .await
    }
}
