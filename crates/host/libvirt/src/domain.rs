//! A guest as libvirt is told of it. What is left out of the XML is left to libvirt on purpose.

use crate::element::Element;
use base::Result;
use std::path::{Path, PathBuf};

/// The namespace of nova's element in a domain's metadata.
pub(crate) const NOVA_URI: &str = "http://openstack.org/xmlns/libvirt/nova/1.1";

/// How a guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// By the processor.
    Kvm,
    /// By translation.
    Tcg,
}

impl Acceleration {
    /// libvirt's domain type.
    pub fn domain_type(self) -> &'static str {
        match self {
            Acceleration::Kvm => "kvm",
            Acceleration::Tcg => "qemu",
        }
    }
}

/// A guest.
#[derive(Clone, Debug)]
pub struct DomainSpec {
    /// `instance-0000002a`.
    pub name: String,
    /// The server's id.
    pub uuid: String,
    /// The name users gave it; for operators who look at the metadata.
    pub display_name: String,
    /// The flavor's name, likewise.
    pub flavor: String,
    /// Its project and user, likewise.
    pub owner: (String, String),
    /// Virtual processors.
    pub vcpus: u32,
    /// MiB.
    pub memory_mb: u64,
    /// How it runs.
    pub acceleration: Acceleration,
    /// Disks in boot order.
    pub disks: Vec<Disk>,
    /// The config drive.
    pub cdrom: Option<Cdrom>,
    /// Network devices.
    pub nics: Vec<Nic>,
    /// What it writes to its serial port goes here.
    pub console_log: PathBuf,
    /// Where its graphical console listens; none if empty.
    pub vnc_listen: String,
}

/// Where a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// A file.
    File(PathBuf),
    /// A block device of the host.
    Block(PathBuf),
    /// An NBD export: host (or path of a Unix socket), port, name.
    Nbd(String, u16, String),
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where its bytes are.
    pub source: DiskSource,
    /// `qcow2` or `raw`.
    pub format: String,
    /// `vda`.
    pub target: String,
    /// The volume's id; guests find it below `/dev/disk/by-id`.
    pub serial: Option<String>,
    /// Whether the guest must not write.
    pub read_only: bool,
    /// What the guest may do at most, by libvirt's names below `iotune`.
    pub limits: Vec<(&'static str, u64)>,
}

/// A read-only CD, for the config drive. IDE, because every guest can read that on machine `pc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdrom {
    /// The ISO image.
    pub path: PathBuf,
}

/// A network device on a tap that exists already (the agent makes it, the L2 agent wires it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The tap's name.
    pub tap: String,
    /// MAC address.
    pub mac: String,
    /// MTU told to the guest; 0 leaves it out.
    pub mtu: u32,
}

impl Disk {
    pub(crate) fn element(&self) -> Element {
        let (kind, source) = match &self.source {
            DiskSource::File(path) => ("file", Element::new("source").attr("file", path.display())),
            DiskSource::Block(path) => {
                ("block", Element::new("source").attr("dev", path.display()))
            }
            DiskSource::Nbd(host, port, export) => ("network", nbd(host, *port, export)),
        };
        let driver = Element::new("driver")
            .attr("name", "qemu")
            .attr("type", &self.format);
        let driver = driver.attr(
            "cache",
            if kind == "network" {
                "writeback"
            } else {
                "none"
            },
        );
        let mut disk = Element::new("disk")
            .attr("type", kind)
            .attr("device", "disk");
        disk = disk.with(driver.attr("discard", "unmap")).with(source);
        disk = disk.with(
            Element::new("target")
                .attr("dev", &self.target)
                .attr("bus", "virtio"),
        );
        if !self.limits.is_empty() {
            let each = self.limits.iter();
            let each = each.map(|(name, limit)| Element::new(name).text(limit.to_string()));
            disk = disk.with(Element::new("iotune").with_all(each));
        }
        if let Some(serial) = &self.serial {
            disk = disk.with(Element::new("serial").text(serial));
        }
        if self.read_only {
            disk.with(Element::new("readonly"))
        } else {
            disk
        }
    }

    /// For hot attachment.
    pub(crate) fn to_xml(&self) -> Result<String> {
        self.element().to_xml()
    }
}

fn nbd(host: &str, port: u16, export: &str) -> Element {
    let source = Element::new("source")
        .attr("protocol", "nbd")
        .attr("name", export);
    // Longer than any daemon needs to come back: the guest waits rather than sees its disk fail.
    let reconnect = Element::new("reconnect").attr("delay", 3600);
    let source = source.with(match host.starts_with('/') {
        true => Element::new("host")
            .attr("transport", "unix")
            .attr("socket", host),
        false => Element::new("host").attr("name", host).attr("port", port),
    });
    source.with(reconnect)
}

impl Nic {
    pub(crate) fn element(&self) -> Element {
        let target = Element::new("target")
            .attr("dev", &self.tap)
            .attr("managed", "no");
        let nic = Element::new("interface").attr("type", "ethernet");
        let nic = nic
            .with(Element::new("mac").attr("address", &self.mac))
            .with(target);
        let nic = nic.with(Element::new("model").attr("type", "virtio"));
        let nic = nic.with(Element::new("rom").attr("enabled", "no"));
        match self.mtu {
            0 => nic,
            mtu => nic.with(Element::new("mtu").attr("size", mtu)),
        }
    }

    pub(crate) fn to_xml(&self) -> Result<String> {
        self.element().to_xml()
    }
}

impl DomainSpec {
    /// libvirt's XML.
    pub fn to_xml(&self) -> Result<String> {
        let domain = Element::new("domain").attr("type", self.acceleration.domain_type());
        let domain = domain
            .with(Element::new("name").text(&self.name))
            .with(Element::new("uuid").text(&self.uuid))
            .with(Element::new("metadata").with(self.metadata()))
            .with(
                Element::new("memory")
                    .attr("unit", "MiB")
                    .text(self.memory_mb),
            )
            .with(Element::new("vcpu").text(self.vcpus))
            .with(self.smbios())
            .with(
                Element::new("os")
                    .with(
                        Element::new("type")
                            .attr("arch", "x86_64")
                            .attr("machine", "pc")
                            .text("hvm"),
                    )
                    .with(Element::new("boot").attr("dev", "hd"))
                    .with(Element::new("smbios").attr("mode", "sysinfo")),
            );
        let domain = domain.with_all(self.processor()).with(clock());
        let life = [
            ("on_poweroff", "destroy"),
            ("on_reboot", "restart"),
            ("on_crash", "destroy"),
        ];
        let domain = domain.with_all(life.map(|(event, action)| Element::new(event).text(action)));
        domain.with(self.devices()).to_xml()
    }

    fn metadata(&self) -> Element {
        let (project, user) = &self.owner;
        Element::new("nova:instance")
            .attr("xmlns:nova", NOVA_URI)
            .with(Element::new("nova:name").text(&self.display_name))
            .with(Element::new("nova:flavor").attr("name", &self.flavor))
            .with(
                Element::new("nova:owner")
                    .with(Element::new("nova:user").attr("uuid", user))
                    .with(Element::new("nova:project").attr("uuid", project)),
            )
    }

    fn smbios(&self) -> Element {
        // COMPAT: cloud-init and others recognise an OpenStack guest by these words.
        let entries = [
            ("manufacturer", "OpenStack Foundation"),
            ("product", "OpenStack Nova"),
            ("serial", &self.uuid),
            ("uuid", &self.uuid),
            ("family", "Virtual Machine"),
        ];
        let entries =
            entries.map(|(name, value)| Element::new("entry").attr("name", name).text(value));
        Element::new("sysinfo")
            .attr("type", "smbios")
            .with(Element::new("system").with_all(entries))
    }

    fn processor(&self) -> [Element; 2] {
        let features = Element::new("features")
            .with(Element::new("acpi"))
            .with(Element::new("apic"));
        match self.acceleration {
            Acceleration::Kvm => {
                let cpu = Element::new("cpu").attr("mode", "host-model");
                [features, cpu]
            }
            Acceleration::Tcg => {
                // QEMU's default cache of translated code is an eighth of the host's memory, per guest.
                let cache = Element::new("tb-cache").attr("unit", "MiB").text(64);
                // The plainest model boots fastest: every feature costs translation.
                let model = Element::new("model")
                    .attr("fallback", "forbid")
                    .text("qemu64");
                let cpu = Element::new("cpu")
                    .attr("mode", "custom")
                    .attr("match", "exact");
                [
                    features.with(Element::new("tcg").with(cache)),
                    cpu.with(model),
                ]
            }
        }
    }

    fn devices(&self) -> Element {
        let mut devices = Element::new("devices").with_all(self.disks.iter().map(Disk::element));
        if let Some(cdrom) = &self.cdrom {
            devices = devices.with(cdrom.element());
        }
        devices = devices.with_all(self.nics.iter().map(Nic::element));
        let log = self.console_log.as_path();
        devices = devices.with(serial(log));
        if !self.vnc_listen.is_empty() {
            let vnc = Element::new("graphics")
                .attr("type", "vnc")
                .attr("port", "-1");
            devices = devices.with(vnc.attr("autoport", "yes").attr("listen", &self.vnc_listen));
            let model = Element::new("model").attr("type", "cirrus");
            devices = devices.with(Element::new("video").with(model));
            devices = devices.with(
                Element::new("input")
                    .attr("type", "tablet")
                    .attr("bus", "usb"),
            );
        }
        let random = Element::new("backend")
            .attr("model", "random")
            .text("/dev/urandom");
        devices = devices.with(Element::new("rng").attr("model", "virtio").with(random));
        let period = Element::new("stats").attr("period", 10);
        devices.with(
            Element::new("memballoon")
                .attr("model", "virtio")
                .with(period),
        )
    }
}

impl Cdrom {
    fn element(&self) -> Element {
        Element::new("disk")
            .attr("type", "file")
            .attr("device", "cdrom")
            .with(
                Element::new("driver")
                    .attr("name", "qemu")
                    .attr("type", "raw"),
            )
            .with(Element::new("source").attr("file", self.path.display()))
            .with(Element::new("target").attr("dev", "hda").attr("bus", "ide"))
            .with(Element::new("readonly"))
    }
}

fn serial(log: &Path) -> Element {
    // virtlogd writes the file and turns it over before a chatty guest fills the disk.
    let source = Element::new("source")
        .attr("path", log.display())
        .attr("append", "on");
    let target = Element::new("target").attr("port", 0);
    Element::new("serial")
        .attr("type", "file")
        .with(source)
        .with(target)
}

fn clock() -> Element {
    let rtc = Element::new("timer")
        .attr("name", "rtc")
        .attr("tickpolicy", "catchup");
    let hpet = Element::new("timer")
        .attr("name", "hpet")
        .attr("present", "no");
    Element::new("clock")
        .attr("offset", "utc")
        .with(rtc)
        .with(hpet)
}
