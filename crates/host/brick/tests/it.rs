//! A volume of one host on another: over TLS, through crashes of everything, to its end. The two hosts are network
//! namespaces where we may make them, else one.

use base::Secret;
use host_brick::{Brick, Export, Source, Target};
use host_privsep::{Privsep, Program};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// Two namespaces, joined by a cable; gone with this.
struct Hosts {
    privsep: Privsep,
    names: Option<[String; 2]>,
    folder: PathBuf,
}

impl Hosts {
    async fn new() -> Option<Hosts> {
        let privsep = Privsep::new();
        if !privsep.has(Program::QemuStorageDaemon) || !privsep.has(Program::QemuImg) {
            println!("skipped: needs qemu-utils and qemu-system-common");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("brick-{}", &base::new_hex_id()[..8]));
        std::fs::create_dir_all(&folder).unwrap();
        let mut hosts = Hosts {
            privsep,
            names: None,
            folder,
        };
        if !nix::unistd::geteuid().is_root() {
            println!("without root: both hosts are this one");
            return Some(hosts);
        }
        let tag = &base::new_hex_id()[..6];
        let [s, c] = [format!("bs{tag}"), format!("bc{tag}")];
        let lines = [
            format!("netns add {s}"),
            format!("netns add {c}"),
            format!("link add {s} netns {s} type veth peer name {c} netns {c}"),
            format!("-n {s} address add 10.9.8.1/24 dev {s}"),
            format!("-n {c} address add 10.9.8.2/24 dev {c}"),
            format!("-n {s} link set {s} up"),
            format!("-n {c} link set {c} up"),
        ];
        for line in lines {
            hosts
                .privsep
                .run(Program::Ip, line.split(' '))
                .await
                .unwrap();
        }
        hosts.names = Some([s, c]);
        Some(hosts)
    }

    fn address(&self) -> &'static str {
        match self.names {
            Some(_) => "10.9.8.1",
            None => "127.0.0.1",
        }
    }

    /// Runs work on a host, as a process there would.
    fn on<T: Send>(&self, host: usize, work: impl AsyncFnOnce() -> T + Send) -> T {
        let namespace = self.names.as_ref().map(|n| n[host].clone());
        let run = move || {
            if let Some(name) = namespace {
                let file = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            }
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(work())
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    fn target(&self) -> Target {
        let folder = self.folder.join("exports");
        Target::new(
            &folder,
            "s@file",
            self.address(),
            23000..=23999,
            self.privsep.clone(),
        )
    }

    fn brick(&self) -> Brick {
        Brick::new(&self.folder.join("nbd"), "c", self.privsep.clone())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // What a failed test left running has our folder in its command line.
        for pid in daemons(&self.folder.display().to_string()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for name in self.names.iter().flatten() {
            let privsep = self.privsep.clone();
            let name = name.clone();
            let remove = move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_all().build().unwrap();
                let _ = runtime.block_on(privsep.run(Program::Ip, ["netns", "delete", &name]));
            };
            let _ = std::thread::spawn(remove).join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Storage daemons with these words in their command lines.
fn daemons(words: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with("qemu-storage-daemon") || line.contains("/qemu-storage-daemon") {
            let pid: Option<i32> = entry.file_name().to_str().and_then(|n| n.parse().ok());
            found.extend(pid.filter(|_| line.contains(words)));
        }
    }
    found
}

fn uri(info: &Value, device: &host_brick::LocalDevice) -> String {
    let Source::Nbd {
        host,
        port: 0,
        psk: None,
        ..
    } = &device.source
    else {
        panic!("no socket: {device:?}");
    };
    format!(
        "nbd+unix:///{}?socket={host}",
        info["data"]["export"].as_str().unwrap()
    )
}

async fn write(privsep: &Privsep, from: &Path, to: &str) -> base::Result<()> {
    let from = from.display().to_string();
    let args = ["convert", "-n", "-f", "raw", "-O", "raw", &from, to];
    privsep.run(Program::QemuImg, args).await.map(drop)
}

async fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < limit, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_volume_of_another_host() {
    let Some(hosts) = Hosts::new().await else {
        return;
    };
    let (privsep, folder) = (hosts.privsep.clone(), hosts.folder.clone());
    let (file, bytes) = (folder.join("volume"), folder.join("bytes"));
    std::fs::write(&file, vec![0; 4 * MIB]).unwrap();
    std::fs::write(&bytes, &b"twelve bytes".repeat(4 * MIB / 12 + 1)[..4 * MIB]).unwrap();
    let export = Export {
        key: base::new_id(),
        volume_id: base::new_id(),
        path: file.display().to_string(),
        read_only: false,
    };

    let info = hosts.on(0, async || {
        let target = hosts.target();
        let info = target.create(&export).await.unwrap();
        assert_eq!(
            target.create(&export).await.unwrap(),
            info,
            "repeated, the same"
        );
        info
    });
    assert_eq!(daemons(&export.key).len(), 1);
    // Another cloud on this machine with hosts of the same names does not take it for its own.
    let other = Target::new(
        &folder.join("other"),
        "s@file",
        hosts.address(),
        23000..=23999,
        privsep.clone(),
    );
    assert_eq!(other.reconcile().await.unwrap(), 0);
    assert_eq!(daemons(&export.key).len(), 1);

    let socket = hosts.on(1, async || {
        let brick = hosts.brick();
        let device = brick.connect(&info).await.unwrap();
        assert_eq!(
            brick.connect(&info).await.unwrap(),
            device,
            "repeated, the same"
        );
        let uri = uri(&info, &device);
        write(&privsep, &bytes, &uri).await.unwrap();
        uri
    });
    assert!(std::fs::read(&file).unwrap() == std::fs::read(&bytes).unwrap());
    assert_eq!(daemons(&export.key).len(), 2, "one at either end");

    // Without the key, or with another one, nobody reads.
    hosts.on(1, async || {
        let (host, port) = (&info["data"]["host"], &info["data"]["port"]);
        let plain = format!(
            "nbd://{}:{port}/{}",
            host.as_str().unwrap(),
            export.volume_id
        );
        let refused = privsep
            .run(Program::QemuImg, ["info", &plain])
            .await
            .unwrap_err();
        assert!(refused.log_message().contains("TLS"), "{refused:?}");
        let mut forged = info.clone();
        forged["data"]["tls_psk"] = "00".repeat(32).into();
        forged["data"]["tls_username"] = base::new_id().into();
        let refused = hosts.brick().connect(&forged).await.unwrap_err();
        assert_eq!(refused.kind(), base::Kind::Unavailable, "{refused:?}");
        hosts.brick().disconnect(&forged).await.unwrap();
    });
    let psk = Secret::new(info["data"]["tls_psk"].as_str().unwrap());
    for pid in daemons(&export.key) {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(
            !line.contains(psk.expose()),
            "the key is not for everybody's eyes"
        );
    }

    // Both ends are killed, and what kept them has ended too: its next life brings back what is gone, and nothing twice.
    for pid in daemons(&export.key) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    wait("killed", || daemons(&export.key).is_empty()).await;
    hosts.on(0, async || {
        assert_eq!(hosts.target().reconcile().await.unwrap(), 1);
        assert_eq!(hosts.target().reconcile().await.unwrap(), 0);
        assert_eq!(
            hosts.target().create(&export).await.unwrap(),
            info,
            "the same port and key"
        );
    });
    hosts.on(1, async || {
        let brick = hosts.brick();
        brick.keep();
        wait("the proxy is back", || daemons(&export.key).len() == 2).await;
        brick.connect(&info).await.unwrap();
        let zeros = folder.join("zeros");
        std::fs::write(&zeros, vec![0; 4 * MIB]).unwrap();
        write(&privsep, &zeros, &socket).await.unwrap();
    });
    assert!(std::fs::read(&file).unwrap().iter().all(|b| *b == 0));

    // The export dies while a guest writes: the guest waits, and goes on.
    let exports = format!("{}/exports/", folder.display());
    let [server] = daemons(&exports)[..] else {
        panic!("one server");
    };
    kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
    wait("killed", || daemons(&exports).is_empty()).await;
    let writer = {
        let (privsep, bytes, socket) = (privsep.clone(), bytes.clone(), socket.clone());
        tokio::spawn(async move { write(&privsep, &bytes, &socket).await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!writer.is_finished(), "it waits");
    hosts.on(0, async || hosts.target().reconcile().await.unwrap());
    writer.await.unwrap().unwrap();
    assert!(std::fs::read(&file).unwrap() == std::fs::read(&bytes).unwrap());

    // Detached: no process, no port, no paper; repeated, the same.
    hosts.on(1, async || {
        for _ in 0..2 {
            hosts.brick().disconnect(&info).await.unwrap();
        }
    });
    hosts.on(0, async || {
        for _ in 0..2 {
            hosts.target().remove(&export.key).await.unwrap();
        }
        assert!(hosts.target().list().await.unwrap().is_empty());
        assert_eq!(hosts.target().reconcile().await.unwrap(), 0);
    });
    assert!(daemons(&export.key).is_empty());
    assert_eq!(
        std::fs::read_dir(folder.join("exports")).unwrap().count(),
        0
    );
    assert_eq!(std::fs::read_dir(folder.join("nbd")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_read_only_export_takes_no_writes() {
    let Some(hosts) = Hosts::new().await else {
        return;
    };
    let (privsep, file) = (hosts.privsep.clone(), hosts.folder.join("volume"));
    std::fs::write(&file, vec![7; MIB]).unwrap();
    let export = Export {
        key: base::new_id(),
        volume_id: base::new_id(),
        path: file.display().to_string(),
        read_only: true,
    };
    let info = hosts.on(0, async || hosts.target().create(&export).await.unwrap());
    let zeros = hosts.folder.join("zeros");
    std::fs::write(&zeros, vec![0; MIB]).unwrap();
    hosts.on(1, async || {
        let device = hosts.brick().connect(&info).await.unwrap();
        assert!(device.read_only);
        assert!(write(&privsep, &zeros, &uri(&info, &device)).await.is_err());
        hosts.brick().disconnect(&info).await.unwrap();
    });
    hosts.on(0, async || {
        hosts
            .target()
            .remove_volume(&export.volume_id)
            .await
            .unwrap()
    });
    assert!(std::fs::read(&file).unwrap().iter().all(|b| *b == 7));
    assert!(daemons(&export.key).is_empty());
}
