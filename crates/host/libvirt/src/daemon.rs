//! virtlogd and libvirtd of the cloud's own, without systemd and beside whatever libvirt the host has.
//!
//! libvirt's folders are compiled in, so both run in a mount namespace where those folders are ours. The
//! namespace shares everything else with the host (later mounts too), so disks and taps are where they are.

use base::{Error, Result};
use host_privsep::{Command, Privsep, Program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the daemons live.
#[derive(Clone, Debug)]
pub struct DaemonConf {
    /// A folder of the cloud's: `run`, `etc`, `lib`, `log`, `cache` are made in it. Guests are known here only.
    pub state: PathBuf,
    /// Capabilities of the emulators, shared between clouds of one host: asking for them takes 8 s.
    pub capability_cache: Option<PathBuf>,
}

/// The pair of daemons.
#[derive(Clone)]
pub struct Daemon {
    privsep: Privsep,
    conf: DaemonConf,
}

const FOLDERS: [(&str, &str); 5] = [
    ("run", "/run/libvirt"),
    ("etc", "/etc/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
];
const CAPABILITIES: &str = "qemu/capabilities";

const QEMU_CONF: &str = r#"user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
vnc_listen = "127.0.0.1"
stdio_handler = "logd"
max_core = 0
"#;

impl Daemon {
    /// Describes them; starts nothing.
    pub fn new(privsep: Privsep, conf: DaemonConf) -> Daemon {
        Daemon { privsep, conf }
    }

    /// What clients connect to.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        let plain = self.conf.state.join("run/libvirt-sock");
        // A Unix socket's path has 107 characters; through the daemon's own view it is always short.
        match self.pid("libvirtd") {
            Some(pid) if plain.as_os_str().len() > 100 => {
                PathBuf::from(format!("/proc/{pid}/root/run/libvirt/libvirt-sock"))
            }
            _ => plain,
        }
    }

    /// Starts what does not run; returns when libvirtd listens.
    pub async fn ensure_running(&self) -> Result<()> {
        if self.pid("libvirtd").is_none() || self.pid("virtlogd").is_none() {
            self.prepare()?;
        }
        if self.pid("virtlogd").is_none() {
            self.start(Program::Virtlogd, &[]).await?;
        }
        if self.pid("libvirtd").is_none() {
            // A socket left by a daemon that was killed would look like a living one.
            let _ = fs::remove_file(self.conf.state.join("run/libvirt-sock"));
            self.start(Program::Libvirtd, &["-f", "/etc/libvirt/libvirtd.conf"])
                .await?;
        }
        let limit = Instant::now() + Duration::from_secs(30);
        // The socket's file is there a moment before anybody listens on it.
        while UnixStream::connect(self.socket()).is_err() {
            if self.pid("libvirtd").is_none() || Instant::now() > limit {
                return Err(Error::unavailable("libvirtd did not start").log(self.complaint()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends both; guests go on. They are found again by the next start.
    pub async fn stop(&self) {
        for name in ["libvirtd", "virtlogd"] {
            let Some(pid) = self.pid(name) else { continue };
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let limit = Instant::now() + Duration::from_secs(10);
            while alive(pid, name) {
                if Instant::now() > limit {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// The process of a daemon, if it lives.
    pub fn pid(&self, name: &str) -> Option<i32> {
        let file = self.conf.state.join(format!("run/{name}.pid"));
        let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        alive(pid, name).then_some(pid)
    }

    /// Keeps what libvirtd has learnt about emulators for the next cloud on this host.
    pub(crate) fn keep_capabilities(&self) {
        if let Some(kept) = &self.conf.capability_cache {
            copy(
                &self.conf.state.join("cache").join(CAPABILITIES),
                kept,
                true,
            );
        }
    }

    fn prepare(&self) -> Result<()> {
        let state = &self.conf.state;
        for (own, real) in FOLDERS {
            fs::create_dir_all(state.join(own))?;
            // Mount points; empty on a host that has no libvirt of its own.
            fs::create_dir_all(real)?;
        }
        fs::write(state.join("etc/qemu.conf"), QEMU_CONF)?;
        fs::write(state.join("etc/libvirtd.conf"), self.libvirtd_conf()?)?;
        fs::write(
            state.join("etc/virtlogd.conf"),
            "max_size = 4194304\nmax_backups = 1\n",
        )?;
        if let Some(kept) = &self.conf.capability_cache {
            copy(kept, &state.join("cache").join(CAPABILITIES), false);
        }
        Ok(())
    }

    fn libvirtd_conf(&self) -> Result<String> {
        let file = self.conf.state.join("host-uuid");
        if !file.exists() {
            fs::write(&file, base::id::new_id())?;
        }
        let uuid = fs::read_to_string(file)?;
        let uuid = uuid.trim();
        Ok(format!(
            "host_uuid = \"{uuid}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
             unix_sock_rw_perms = \"0700\"\nunix_sock_ro_perms = \"0700\"\nunix_sock_dir = \"/run/libvirt\"\n\
             log_outputs = \"3:file:/var/log/libvirt/libvirtd.log\"\n"
        ))
    }

    async fn start(&self, program: Program, args: &[&str]) -> Result<()> {
        let name = program.name();
        let log = self.conf.state.join("log").join(format!("{name}.out"));
        let pid_file = format!("/run/libvirt/{name}.pid");
        // A file that names a dead process would be taken for the new one's.
        let own = self.conf.state.join(format!("run/{name}.pid"));
        let _ = fs::remove_file(&own);
        let mut command = self
            .privsep
            .command(program)
            .args(["-p", &pid_file])
            .args(args);
        for (own, real) in FOLDERS {
            command = command.bind(self.conf.state.join(own), real);
        }
        let pid = self.accounts(command)?.spawn_daemon(&log).await?;
        let limit = Instant::now() + Duration::from_secs(10);
        while self.pid(name).is_none() {
            if !exists(pid) || Instant::now() > limit {
                let words = format!("{name} did not start");
                return Err(Error::unavailable(words).log(self.complaint()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::info!(pid, "started {name}");
        Ok(())
    }

    /// libvirt refuses to start without the account that Debian's system package makes, even when told to run
    /// guests as root. Where it is missing, the daemons see a list of accounts that has it.
    fn accounts(&self, mut command: Command) -> Result<Command> {
        for (file, line) in [
            (
                "/etc/passwd",
                "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n",
            ),
            ("/etc/group", "libvirt-qemu:x:64055:\n"),
        ] {
            let mut text = fs::read_to_string(file)?;
            if text.lines().any(|l| l.starts_with("libvirt-qemu:")) {
                continue;
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(line);
            let own = self
                .conf
                .state
                .join(Path::new(file).file_name().unwrap_or_default());
            fs::write(&own, text)?;
            command = command.bind(own, file);
        }
        Ok(command)
    }

    fn complaint(&self) -> String {
        let read = |name: &str| {
            fs::read_to_string(self.conf.state.join("log").join(name)).unwrap_or_default()
        };
        let text = read("libvirtd.out") + &read("virtlogd.out") + &read("libvirtd.log");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("; ")
    }
}

/// Whether `pid` is that program (pids are used again) and no zombie.
fn alive(pid: i32, name: &str) -> bool {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
    exists(pid) && comm.is_ok_and(|c| c.trim() == name)
}

fn exists(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn copy(from: &Path, to: &Path, overwrite: bool) {
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    if fs::create_dir_all(to).is_err() {
        return;
    }
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        if overwrite || !target.exists() {
            // A cache: what cannot be copied is asked for again.
            let _ = fs::copy(entry.path(), target);
        }
    }
}
