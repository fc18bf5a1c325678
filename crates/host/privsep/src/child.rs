//! Forking and what happens between fork and exec: namespaces, mounts, sessions, limits.
//!
//! Between fork and exec only system calls are made: everything that allocates is prepared before.

use crate::program::PATH;
use crate::{Limits, Output, Program};
use base::{Error, Kind, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};
use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Where a program runs.
#[derive(Clone, Default)]
pub(crate) struct Place {
    pub netns: Option<String>,
    pub limits: Option<Limits>,
    pub binds: Vec<(PathBuf, PathBuf)>,
    pub env: Vec<(String, OsString)>,
    /// Open files that it gets, under the numbers they have here.
    pub files: Vec<Arc<OwnedFd>>,
}

/// The same, prepared so that the child needs no memory of its own.
struct Prepared {
    netns: Option<File>,
    limits: Option<Limits>,
    binds: Vec<(CString, CString)>,
    files: Vec<Arc<OwnedFd>>,
}

impl Place {
    fn prepare(&self) -> Result<Prepared> {
        let netns = match &self.netns {
            None => None,
            Some(name) => {
                let path = Path::new("/run/netns").join(name);
                Some(File::open(&path).map_err(|e| {
                    Error::not_found(format!("network namespace {name}"))
                        .log(format!("{}: {e}", path.display()))
                })?)
            }
        };
        let c = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(Error::internal);
        let binds = self.binds.iter().map(|(from, to)| Ok((c(from)?, c(to)?)));
        Ok(Prepared {
            netns,
            limits: self.limits,
            binds: binds.collect::<Result<_>>()?,
            files: self.files.clone(),
        })
    }
}

impl Prepared {
    fn enter(&self) -> io::Result<()> {
        if let Some(netns) = &self.netns {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
        }
        if !self.binds.is_empty() {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none: Option<&str> = None;
            // A slave: our mounts stay ours, the host's later ones still arrive.
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
            for (from, to) in &self.binds {
                mount(
                    Some(from.as_c_str()),
                    to.as_c_str(),
                    none,
                    MsFlags::MS_BIND,
                    none,
                )?;
            }
        }
        for file in &self.files {
            fcntl(file.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        if let Some(limits) = self.limits {
            limit(libc::RLIMIT_CPU, limits.cpu_seconds)?;
            limit(libc::RLIMIT_AS, limits.address_space)?;
            if let Some(bytes) = limits.file_size {
                limit(libc::RLIMIT_FSIZE, bytes)?;
            }
        }
        Ok(())
    }
}

fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: a plain system call with a pointer to a live struct.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place in the house that starts programs"
)]
fn command(program: Program, args: Vec<OsString>, place: &Place, session: bool) -> Result<Command> {
    let path = program
        .find()
        .ok_or_else(|| Error::unavailable(format!("{program} is not installed on this host")))?;
    let prepared = place.prepare()?;
    let mut command = Command::new(path);
    command
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LC_ALL", "C");
    command
        .envs(place.env.iter().map(|(k, v)| (k, v)))
        .current_dir("/");
    if !session {
        // A group of its own, so that a time-out reaches its children too.
        command.process_group(0);
    }
    let enter = move || {
        if session {
            setsid()?;
        }
        prepared.enter()
    };
    // SAFETY: the closure makes system calls only; all memory it needs was allocated before the fork.
    unsafe { command.pre_exec(enter) };
    Ok(command)
}

pub(crate) async fn run(
    program: Program,
    args: Vec<OsString>,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
    place: &Place,
) -> Result<Output> {
    let mut command = command(program, args, place, false)?;
    command.stdin(if stdin.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|e| Error::internal(format!("cannot start: {e}")))?;
    let group = child.id().map(|id| Pid::from_raw(id as i32));

    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut pipe), Some(bytes)) = (input, stdin) {
            // A program may end without reading all; its exit code tells more than a broken pipe.
            let _ = pipe.write_all(&bytes).await;
        }
    };
    let work = async {
        let ((), stdout, stderr, status) =
            tokio::join!(feed, drain(output), drain(errors), child.wait());
        Ok::<_, Error>(Output {
            code: status?.code().unwrap_or(-1),
            stdout: stdout?,
            stderr: stderr?,
        })
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(output) => output,
        Err(_) => {
            if let Some(group) = group {
                let _ = killpg(group, Signal::SIGKILL);
            }
            let words = format!("killed after {} s without an end", timeout.as_secs_f32());
            Err(Error::new(Kind::Timeout, words))
        }
    }
}

async fn drain(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

pub(crate) fn spawn_daemon(
    program: Program,
    args: Vec<OsString>,
    log: &Path,
    place: &Place,
) -> Result<i32> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = command(program, args, place, true)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(false);
    // Dropping the child hands it to the runtime's queue of orphans, which reaps it when it ends.
    let child = command
        .spawn()
        .map_err(|e| Error::internal(format!("cannot start: {e}")))?;
    child
        .id()
        .map(|id| id as i32)
        .ok_or_else(|| Error::internal("ended at once"))
}
