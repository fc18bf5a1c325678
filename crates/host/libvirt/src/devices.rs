//! Devices of a guest that exists: what it has, hot attachment, and detachment that waits for the guest.

use crate::element::Element;
use crate::{Disk, Hypervisor, Nic};
use base::{Error, Kind, Result};
use std::time::{Duration, Instant};
use virt::sys;

const LIVE: u32 = sys::VIR_DOMAIN_AFFECT_LIVE;
const CONFIG: u32 = sys::VIR_DOMAIN_AFFECT_CONFIG;
/// A guest that boots or is busy hears of a detachment late, or loses the first request.
const DETACH_TRIES: u32 = 8;
const DETACH_WAIT: Duration = Duration::from_secs(15);

/// Which device.
#[derive(Clone)]
enum Wanted {
    /// The disk with this serial number.
    Disk(String),
    /// The network device with this MAC address.
    Nic(String),
}

impl Wanted {
    fn matches(&self, device: &Element) -> bool {
        match self {
            Wanted::Disk(serial) => {
                device.name == "disk" && device.child("serial").is_some_and(|s| s.text == *serial)
            }
            Wanted::Nic(mac) => {
                let found = device.find("mac", "address");
                device.name == "interface" && found.is_some_and(|m| m.eq_ignore_ascii_case(mac))
            }
        }
    }
}

impl Hypervisor {
    /// Attaches a disk, to the running guest and for later starts. A disk with its serial being there is success.
    pub async fn attach_disk(&self, uuid: &str, disk: &Disk) -> Result<()> {
        let serial = disk
            .serial
            .clone()
            .ok_or_else(|| Error::internal("a disk without serial"))?;
        self.attach(uuid, Wanted::Disk(serial), disk.to_xml()?)
            .await
    }

    /// Detaches the disk with that serial number; returns when the guest has let go. Absent is success.
    pub async fn detach_disk(&self, uuid: &str, serial: &str) -> Result<()> {
        self.detach(uuid, Wanted::Disk(serial.into())).await
    }

    /// Attaches a network device on a tap that exists. Its MAC being there is success.
    pub async fn attach_nic(&self, uuid: &str, nic: &Nic) -> Result<()> {
        self.attach(uuid, Wanted::Nic(nic.mac.clone()), nic.to_xml()?)
            .await
    }

    /// Detaches the network device with that MAC; returns when the guest has let go. Absent is success.
    pub async fn detach_nic(&self, uuid: &str, mac: &str) -> Result<()> {
        self.detach(uuid, Wanted::Nic(mac.into())).await
    }

    /// Tells a running guest the new size of a disk, bytes.
    pub async fn resize_disk(&self, uuid: &str, serial: &str, bytes: u64) -> Result<()> {
        let Some(device) = self
            .device(uuid, &Wanted::Disk(serial.into()), LIVE)
            .await?
        else {
            return Err(Error::not_found(
                "The volume is not attached to this instance.",
            ));
        };
        let target = device.find("target", "dev").unwrap_or("").to_string();
        let uuid = uuid.to_string();
        self.with(move |c| {
            let domain = c.lookup_domain_by_uuid_string(&uuid)?;
            domain.block_resize(&target, bytes, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        })
        .await
    }

    /// Targets of its disks (`vda`), with their serial numbers.
    pub async fn disk_targets(&self, uuid: &str) -> Result<Vec<(String, Option<String>)>> {
        let mut found = Vec::new();
        for device in self.devices(uuid, CONFIG).await? {
            if let ("disk", Some(target)) = (device.name.as_str(), device.find("target", "dev")) {
                let serial = device.child("serial").map(|s| s.text.clone());
                found.push((target.to_string(), serial));
            }
        }
        Ok(found)
    }

    /// What the running guest may do at most with the disk of that serial number, by libvirt's names.
    pub async fn disk_limits(&self, uuid: &str, serial: &str) -> Result<Vec<(String, String)>> {
        let disk = self
            .device(uuid, &Wanted::Disk(serial.to_string()), LIVE)
            .await?;
        let limits = disk.as_ref().and_then(|d| d.child("iotune"));
        let each = limits.into_iter().flat_map(|l| &l.children);
        Ok(each.map(|l| (l.name.clone(), l.text.clone())).collect())
    }

    /// Host devices of its network devices, with their MAC addresses.
    pub async fn taps(&self, uuid: &str) -> Result<Vec<(String, String)>> {
        let devices = self.devices(uuid, CONFIG).await?;
        let nics = devices.iter().filter(|d| d.name == "interface");
        let both = nics.filter_map(|n| Some((n.find("target", "dev")?, n.find("mac", "address")?)));
        Ok(both
            .map(|(tap, mac)| (tap.to_string(), mac.to_string()))
            .collect())
    }

    async fn attach(&self, uuid: &str, wanted: Wanted, xml: String) -> Result<()> {
        let mut flags = 0;
        if self.device(uuid, &wanted, CONFIG).await?.is_none() {
            flags |= CONFIG;
        }
        if self.is_active(uuid).await? && self.device(uuid, &wanted, LIVE).await?.is_none() {
            flags |= LIVE;
        }
        if flags == 0 {
            return Ok(());
        }
        let uuid = uuid.to_string();
        self.with(move |c| {
            c.lookup_domain_by_uuid_string(&uuid)?
                .attach_device_flags(&xml, flags)
        })
        .await
    }

    async fn detach(&self, uuid: &str, wanted: Wanted) -> Result<()> {
        if let Some(device) = self.device(uuid, &wanted, CONFIG).await? {
            self.detach_now(uuid, &device, CONFIG).await?;
        }
        for _ in 0..DETACH_TRIES {
            if !self.is_active(uuid).await? {
                return Ok(());
            }
            let Some(device) = self.device(uuid, &wanted, LIVE).await? else {
                return Ok(());
            };
            self.detach_now(uuid, &device, LIVE).await?;
            let limit = Instant::now() + DETACH_WAIT;
            while Instant::now() < limit {
                if !self.is_active(uuid).await? || self.device(uuid, &wanted, LIVE).await?.is_none()
                {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Err(Error::new(
            Kind::Timeout,
            "The guest did not let go of the device.",
        ))
    }

    async fn detach_now(&self, uuid: &str, device: &Element, flags: u32) -> Result<()> {
        let (uuid, xml) = (uuid.to_string(), device.to_xml()?);
        let asked = self.with(move |c| {
            c.lookup_domain_by_uuid_string(&uuid)?
                .detach_device_flags(&xml, flags)
        });
        match asked.await {
            // Gone meanwhile; or the guest is still working on the last request, which is as good as a new one.
            Err(e) if e.is_not_found() || e.log_message().contains("in the process of unplug") => {
                Ok(())
            }
            other => other,
        }
    }

    async fn device(&self, uuid: &str, wanted: &Wanted, which: u32) -> Result<Option<Element>> {
        Ok(self
            .devices(uuid, which)
            .await?
            .into_iter()
            .find(|d| wanted.matches(d)))
    }

    /// Of the running guest, or of the definition for its next start.
    async fn devices(&self, uuid: &str, which: u32) -> Result<Vec<Element>> {
        let flags = if which == CONFIG {
            sys::VIR_DOMAIN_XML_INACTIVE
        } else {
            0
        };
        let tree = self.tree(uuid, flags).await?;
        Ok(tree
            .child("devices")
            .map(|d| d.children.clone())
            .unwrap_or_default())
    }

    pub(crate) async fn tree(&self, uuid: &str, flags: u32) -> Result<Element> {
        let uuid = uuid.to_string();
        let xml = self
            .with(move |c| c.lookup_domain_by_uuid_string(&uuid)?.xml_desc(flags))
            .await?;
        Element::parse(&xml)
    }
}
