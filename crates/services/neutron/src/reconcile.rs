//! Mends what a crash, a dead agent or a race left behind.

use crate::db::{AllocationRow, FloatingIpRow, NetworkRow, PortGroupRow, PortRow};
use crate::noun::{Call, within};
use crate::topics::Topic;
use crate::{Neutron, floatingips, ports, schedule};
use async_trait::async_trait;
use base::Result;
use oslo_db::{Cond, Tx, all, everything, not, not_null};
use oslo_service::{Reconciler, Report};
use std::sync::Arc;
use std::time::Duration;

/// Moves networks and routers away from dead agents, and gives back what nobody holds any more.
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
        let inner = call.clone();
        // Looking costs no write transaction; nearly always there is nothing to mend.
        let (pending, orphans) = self
            .neutron
            .db
            .read(move |tx| Ok((schedule::pending(tx, &inner)?, orphaned(tx)?)))
            .await?;
        let examined = pending.examined;
        if pending.is_empty() && !orphans {
            return Ok(Report {
                examined,
                changed: 0,
            });
        }
        self.neutron
            .change(&call, move |tx, call| {
                let mut changed = schedule::mend(tx, call, &pending)?;
                for port in tx.select::<PortRow>(homeless())? {
                    ports::remove(tx, call, &port)?;
                    changed += 1;
                }
                changed += tx.delete::<AllocationRow>(unheld())?;
                for member in tx.select::<PortGroupRow>(unheld())? {
                    call.touch(Topic::Members(member.security_group_id));
                }
                changed += tx.delete::<PortGroupRow>(unheld())?;
                changed += floatingips::release(tx, call, stray())?;
                Ok(Report { examined, changed })
            })
            .await
    }
}

/// Addresses and memberships of ports that are gone.
fn unheld() -> Cond {
    not(within::<PortRow>("port_id", "id", everything()))
}

/// Floating addresses that lead to ports that are gone.
fn stray() -> Cond {
    all([not_null("port_id"), unheld()])
}

/// Ports of networks that are gone.
fn homeless() -> Cond {
    not(within::<NetworkRow>("network_id", "id", everything()))
}

fn orphaned(tx: &mut Tx) -> Result<bool> {
    Ok(tx.exists::<PortRow>(homeless())?
        || tx.exists::<AllocationRow>(unheld())?
        || tx.exists::<PortGroupRow>(unheld())?
        || tx.exists::<FloatingIpRow>(stray())?)
}
