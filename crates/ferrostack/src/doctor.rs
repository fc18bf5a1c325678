//! `ferrostack doctor`: what this host lacks, and what to do about it.

use base::Result;
use host_privsep::{Privsep, Program};
use std::path::Path;

struct Check {
    what: &'static str,
    ok: bool,
    advice: String,
}

fn on_path(name: &str) -> bool {
    [
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
    ]
    .iter()
    .any(|d| Path::new(d).join(name).exists())
}

fn program(name: &'static str, package: &str) -> Check {
    Check {
        what: name,
        ok: on_path(name),
        advice: format!("apt-get install {package}"),
    }
}

/// Prints one line per need; false if something that real guests need is missing.
pub async fn run() -> Result<bool> {
    let mut checks = vec![
        program("libvirtd", "libvirt-daemon"),
        program("virtlogd", "libvirt-daemon"),
        program("qemu-system-x86_64", "qemu-system-x86"),
        program("qemu-img", "qemu-utils"),
        program("dnsmasq", "dnsmasq-base"),
        program("nft", "nftables"),
        program("ip", "iproute2"),
        program("radvd", "radvd"),
        program("genisoimage", "genisoimage"),
        program("conntrack", "conntrack"),
        Check {
            what: "noVNC pages",
            ok: Path::new("/usr/share/novnc/vnc_lite.html").exists(),
            advice: "apt-get install novnc (consoles in a browser)".into(),
        },
        Check {
            what: "/dev/net/tun",
            ok: Path::new("/dev/net/tun").exists(),
            advice: "modprobe tun".into(),
        },
        Check {
            what: "bridges",
            ok: Path::new("/proc/sys/net/bridge").exists(),
            advice: "modprobe br_netfilter (security groups on bridges)".into(),
        },
        Check {
            what: "root",
            ok: root(),
            advice: "run as root, or start with --fake".into(),
        },
    ];
    if on_path("nft") && root() {
        let probe = Privsep::new()
            .command(Program::Nft)
            .args(["list", "tables"])
            .run()
            .await;
        checks.push(Check {
            what: "nftables in the kernel",
            ok: probe.is_ok(),
            advice: "the kernel needs CONFIG_NF_TABLES".into(),
        });
    }
    let mut good = true;
    for c in checks {
        good &= c.ok;
        let advice = if c.ok {
            String::new()
        } else {
            format!("   {}", c.advice)
        };
        println!(
            "{:<4} {:<26}{advice}",
            if c.ok { "ok" } else { "MISS" },
            c.what
        );
    }
    let kvm = nova_compute::kvm_usable().await;
    println!(
        "{:<4} {:<26}{}",
        "info",
        "acceleration",
        if kvm {
            "KVM works: guests run at full speed"
        } else {
            "KVM is not usable here: guests run under TCG, about 10 times slower"
        }
    );
    let ovs = Path::new("/sys/module/openvswitch").exists();
    println!(
        "{:<4} {:<26}{}",
        "info",
        "openvswitch module",
        if ovs {
            "present"
        } else {
            "absent: networks use kernel bridges"
        }
    );
    Ok(good)
}

/// Whether this process may do anything to the host.
pub fn root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|s| {
        s.lines()
            .any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
    })
}
