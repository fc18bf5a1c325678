//! The programs that may be started, and where they are looked for.

use std::path::{Path, PathBuf};

macro_rules! programs {
    ($($(#[$meta:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// A program of the allow-list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Program { $(#[doc = $name] $variant),* }

        impl Program {
            /// Its file name.
            pub fn name(self) -> &'static str {
                match self { $(Program::$variant => $name),* }
            }
        }
    };
}

programs! {
    Arping = "arping",
    Blkid = "blkid",
    Bridge = "bridge",
    Conntrack = "conntrack",
    Cp = "cp",
    Cryptsetup = "cryptsetup",
    Dhclient = "dhclient",
    Dnsmasq = "dnsmasq",
    Genisoimage = "genisoimage",
    Ip = "ip",
    Iptables = "iptables",
    Libvirtd = "libvirtd",
    Losetup = "losetup",
    Lvm = "lvm",
    Mcopy = "mcopy",
    Mke2fs = "mke2fs",
    MkfsVfat = "mkfs.vfat",
    Mkswap = "mkswap",
    Mount = "mount",
    Nft = "nft",
    OvsOfctl = "ovs-ofctl",
    OvsVsctl = "ovs-vsctl",
    QemuImg = "qemu-img",
    QemuNbd = "qemu-nbd",
    QemuStorageDaemon = "qemu-storage-daemon",
    QemuSystem = "qemu-system-x86_64",
    Radvd = "radvd",
    Sysctl = "sysctl",
    Tc = "tc",
    Tgtadm = "tgtadm",
    Tgtd = "tgtd",
    Umount = "umount",
    Virsh = "virsh",
    Virtlogd = "virtlogd",
}

/// Administrators' folders come first: unprivileged accounts often lack them in `PATH`.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Program {
    /// Where it is installed.
    pub fn find(self) -> Option<PathBuf> {
        PATH.split(':')
            .map(|folder| Path::new(folder).join(self.name()))
            .find(|p| p.is_file())
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
