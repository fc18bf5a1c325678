//! The verbs on a guest. All may be repeated: being there already is success.

use crate::{DomainSpec, Hypervisor};
use base::{Error, Result};
use std::time::{Duration, Instant};
use virt::domain::{Domain, DomainState};
use virt::sys;

/// What the hypervisor says of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestState {
    /// It runs.
    Running,
    /// Its processors are stopped.
    Paused,
    /// It is off.
    Off,
    /// Its memory is saved on disk.
    Saved,
    /// It ended by a fault.
    Crashed,
}

/// A guest's usage.
#[derive(Clone, Debug)]
pub struct GuestInfo {
    /// Its state.
    pub state: GuestState,
    /// Virtual processors.
    pub vcpus: u32,
    /// Nanoseconds of processor time, all processors together.
    pub cpu_time_ns: u64,
    /// What it may use, KiB.
    pub memory_max_kb: u64,
    /// What its balloon leaves it, KiB.
    pub memory_kb: u64,
}

/// What a disk has carried.
#[derive(Clone, Debug)]
pub struct DiskStats {
    /// `vda`.
    pub target: String,
    /// Bytes read, requests.
    pub read: (i64, i64),
    /// Bytes written, requests.
    pub write: (i64, i64),
    /// Errors.
    pub errors: i64,
}

/// What a network device has carried, as the guest sees it.
#[derive(Clone, Debug)]
pub struct NicStats {
    /// MAC address.
    pub mac: String,
    /// Bytes received, packets.
    pub rx: (i64, i64),
    /// Bytes sent, packets.
    pub tx: (i64, i64),
}

fn state_of(domain: &Domain) -> std::result::Result<GuestState, virt::error::Error> {
    let (state, _) = domain.state()?;
    Ok(match state.unwrap_or(DomainState::NoState) {
        DomainState::Running | DomainState::Blocked | DomainState::Shutdown => GuestState::Running,
        DomainState::Paused | DomainState::PMSuspended => GuestState::Paused,
        DomainState::Crashed => GuestState::Crashed,
        _ if domain.has_managed_save(0)? => GuestState::Saved,
        _ => GuestState::Off,
    })
}

impl Hypervisor {
    async fn on<T: Send + 'static>(
        &self,
        uuid: &str,
        work: impl Fn(&Domain) -> std::result::Result<T, virt::error::Error> + Send + Sync + 'static,
    ) -> Result<T> {
        let uuid = uuid.to_string();
        self.with(move |c| work(&c.lookup_domain_by_uuid_string(&uuid)?))
            .await
    }

    /// Makes the guest known (or its definition new, for its next start); does not start it.
    pub async fn define(&self, spec: &DomainSpec) -> Result<()> {
        let xml = spec.to_xml()?;
        self.with(move |c| c.define_domain_xml(&xml).map(drop))
            .await
    }

    /// Switches it on, from saved memory if there is any.
    pub async fn create(&self, uuid: &str) -> Result<()> {
        self.on(uuid, |d| if d.is_active()? { Ok(()) } else { d.create() })
            .await
    }

    /// Switches it off, at once. Saved memory is thrown away.
    pub async fn destroy(&self, uuid: &str) -> Result<()> {
        self.on(uuid, |d| {
            if d.has_managed_save(0)? {
                d.managed_save_remove(0)?;
            }
            // It may end by itself between the question and the command.
            match d.is_active()? {
                true => d
                    .destroy()
                    .or_else(|e| if d.is_active()? { Err(e) } else { Ok(()) }),
                false => Ok(()),
            }
        })
        .await
    }

    /// Makes it unknown; it must be off.
    pub async fn undefine(&self, uuid: &str) -> Result<()> {
        match self
            .on(uuid, |d| {
                d.undefine_flags(sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
            })
            .await
        {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Presses the power button and waits; `false` if the guest did not follow in time.
    pub async fn shutdown(&self, uuid: &str, patience: Duration) -> Result<bool> {
        let limit = Instant::now() + patience;
        let mut pressed: Option<Instant> = None;
        while self.is_active(uuid).await? {
            if Instant::now() >= limit {
                return Ok(false);
            }
            // A guest that still boots misses the button: press again from time to time.
            if pressed.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                let button = sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN;
                let asked = self.on(uuid, move |d| d.shutdown_flags(button)).await;
                if let Err(e) = asked
                    && self.is_active(uuid).await?
                {
                    return Err(e);
                }
                pressed = Some(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(true)
    }

    /// Stops its processors.
    pub async fn pause(&self, uuid: &str) -> Result<()> {
        self.on(uuid, |d| {
            if state_of(d)? == GuestState::Paused {
                Ok(())
            } else {
                d.suspend()
            }
        })
        .await
    }

    /// Lets them go on.
    pub async fn unpause(&self, uuid: &str) -> Result<()> {
        self.on(uuid, |d| {
            if state_of(d)? == GuestState::Running {
                Ok(())
            } else {
                d.resume()
            }
        })
        .await
    }

    /// Saves its memory to disk and switches it off.
    pub async fn save(&self, uuid: &str) -> Result<()> {
        self.on(uuid, |d| {
            if d.is_active()? {
                d.managed_save(0)
            } else {
                Ok(())
            }
        })
        .await
    }

    /// Whether it is on (paused is on).
    pub async fn is_active(&self, uuid: &str) -> Result<bool> {
        self.on(uuid, Domain::is_active).await
    }

    /// Its state; `None` if the hypervisor does not know it.
    pub async fn state(&self, uuid: &str) -> Result<Option<GuestState>> {
        match self.on(uuid, state_of).await {
            Ok(state) => Ok(Some(state)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All guests of this cloud on this host.
    pub async fn list(&self) -> Result<Vec<(String, GuestState)>> {
        self.with(|c| {
            let mut found = Vec::new();
            for domain in c.list_all_domains(0)? {
                // One that vanished meanwhile is not there.
                if let (Ok(uuid), Ok(state)) = (domain.uuid_string(), state_of(&domain)) {
                    found.push((uuid, state));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Its usage.
    pub async fn info(&self, uuid: &str) -> Result<GuestInfo> {
        self.on(uuid, |d| {
            let info = d.info()?;
            Ok(GuestInfo {
                state: state_of(d)?,
                vcpus: info.nr_virt_cpu,
                cpu_time_ns: info.cpu_time,
                memory_max_kb: info.max_mem,
                memory_kb: info.memory,
            })
        })
        .await
    }

    /// What its devices have carried; nothing if it is off.
    pub async fn stats(&self, uuid: &str) -> Result<(Vec<DiskStats>, Vec<NicStats>)> {
        if !self.is_active(uuid).await? {
            return Ok((Vec::new(), Vec::new()));
        }
        let (disks, taps) = (self.disk_targets(uuid).await?, self.taps(uuid).await?);
        self.on(uuid, move |d| {
            let disks = disks.iter().filter_map(|(target, _)| {
                let s = d.block_stats(target).ok()?;
                let (read, write) = ((s.rd_bytes, s.rd_req), (s.wr_bytes, s.wr_req));
                Some(DiskStats {
                    target: target.clone(),
                    read,
                    write,
                    errors: s.errs.max(0),
                })
            });
            // The host's side of a tap sends what the guest receives; libvirt has swapped that already.
            let nics = taps.iter().filter_map(|(tap, mac)| {
                let s = d.interface_stats(tap).ok()?;
                let (rx, tx) = ((s.rx_bytes, s.rx_packets), (s.tx_bytes, s.tx_packets));
                Some(NicStats {
                    mac: mac.clone(),
                    rx,
                    tx,
                })
            });
            Ok((disks.collect(), nics.collect()))
        })
        .await
    }

    /// Where its VNC console listens.
    pub async fn vnc(&self, uuid: &str) -> Result<(String, u16)> {
        let tree = self.tree(uuid, 0).await?;
        let devices = tree.child("devices").cloned().unwrap_or_default();
        let mut graphics = devices
            .all("graphics")
            .filter(|g| g.attribute("type") == Some("vnc"));
        let found = graphics.next().and_then(|g| {
            let port = g.attribute("port")?.parse::<u16>().ok()?;
            Some((
                g.attribute("listen").unwrap_or("127.0.0.1").to_string(),
                port,
            ))
        });
        found.ok_or_else(|| Error::conflict("The instance has no console now: it is not running."))
    }
}
