//! Driver `fake`: touches nothing. Ports come up, one pass after they are first wanted; a JSON file says what would be there.

use crate::config::Settings;
use crate::driver::{Applied, Driver};
use crate::plan::plan;
use async_trait::async_trait;
use base::Result;
use host_netns::daemon;
use neutron_types::rpc::{FloatingIpStatus, HostState};
use serde::Serialize;

/// The driver.
pub struct FakeDriver {
    settings: Settings,
}

/// What would be on the host.
#[derive(Serialize)]
struct Picture {
    namespaces: Vec<String>,
    links: Vec<String>,
    ports: Vec<String>,
}

impl FakeDriver {
    /// Pictures go below the state path.
    pub fn new(settings: Settings) -> Result<FakeDriver> {
        std::fs::create_dir_all(&settings.state_path)?;
        Ok(FakeDriver { settings })
    }
}

#[async_trait]
impl Driver for FakeDriver {
    async fn apply(&self, state: &HostState, _everything: bool) -> Result<Applied> {
        let plan = plan(state, &self.settings);
        let mut applied = Applied {
            problems: plan.problems.clone(),
            ..Applied::default()
        };
        let (l2, dhcp, l3) = (self.settings.l2, self.settings.dhcp, self.settings.l3);
        let guests = plan.guests.iter().filter(|g| l2 && g.enabled);
        applied.up.extend(guests.map(|g| g.port.to_string()));
        let servers = plan.dhcp.iter().filter(|_| dhcp);
        applied.up.extend(servers.map(|d| d.leg.port.to_string()));
        for router in plan.routers.iter().filter(|_| l3) {
            let legs = router.legs.iter().map(|l| l.port.to_string());
            applied.up.extend(legs);
            let status = if router.on { "ACTIVE" } else { "DOWN" };
            let statuses = router.floating.iter().map(|id| FloatingIpStatus {
                id: id.clone(),
                status: status.into(),
            });
            applied.floating.extend(statuses);
        }
        let picture = Picture {
            namespaces: plan.namespaces().iter().map(|n| n.to_string()).collect(),
            links: plan.links().iter().map(|n| n.to_string()).collect(),
            ports: applied.up.iter().cloned().collect(),
        };
        daemon::write_if_changed(
            &self.settings.state_path.join("fake.json"),
            &serde_json::to_string_pretty(&picture)?,
        )?;
        Ok(applied)
    }

    fn fingerprint(&self, _state: &HostState) -> u64 {
        0
    }

    fn watches(&self) -> bool {
        false
    }

    fn minds_others(&self) -> bool {
        false
    }
}
