//! One command: what to run, where, with which limits; and what came of it.

use crate::child::{self, Place};
use crate::{Program, Recorder};
use base::{Error, Kind, Result};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An argument; [`secret`] makes one that is shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Arg {
    pub(crate) value: OsString,
    pub(crate) secret: bool,
}

/// An argument that must not be seen in logs and errors.
pub fn secret(value: impl Into<OsString>) -> Arg {
    Arg {
        value: value.into(),
        secret: true,
    }
}

impl Arg {
    pub(crate) fn shown(&self) -> String {
        if self.secret {
            "***".into()
        } else {
            self.value.to_string_lossy().into_owned()
        }
    }
}

impl<T: AsRef<OsStr>> From<T> for Arg {
    fn from(value: T) -> Arg {
        Arg {
            value: value.as_ref().to_owned(),
            secret: false,
        }
    }
}

/// What a program may use at most: for programs that read files made by strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processor seconds.
    pub cpu_seconds: u64,
    /// Bytes of address space.
    pub address_space: u64,
    /// Bytes of any file that it writes.
    pub file_size: Option<u64>,
}

/// What a program left behind.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Whether it ended with exit code 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// A command being put together.
#[must_use]
pub struct Command {
    recorder: Option<Arc<Recorder>>,
    program: Program,
    args: Vec<Arg>,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
    accepted: Vec<i32>,
    pub(crate) place: Place,
}

impl Command {
    pub(crate) fn new(recorder: Option<Arc<Recorder>>, program: Program) -> Command {
        Command {
            recorder,
            program,
            args: Vec::new(),
            stdin: None,
            timeout: Duration::from_secs(60),
            accepted: vec![0],
            place: Place::default(),
        }
    }

    /// Adds an argument, perhaps a [`secret`] one.
    pub fn arg(mut self, arg: impl Into<Arg>) -> Command {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
        self.args.extend(args.into_iter().map(|a| Arg {
            value: a.into(),
            secret: false,
        }));
        self
    }

    /// What it reads from standard input; nothing by default.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.stdin = Some(bytes.into());
        self
    }

    /// After this time the program and its children are killed. A minute by default.
    pub fn timeout(mut self, timeout: Duration) -> Command {
        self.timeout = timeout;
        self
    }

    /// Runs it inside a named network namespace.
    pub fn netns(mut self, name: impl Into<String>) -> Command {
        self.place.netns = Some(name.into());
        self
    }

    /// Sets resource limits.
    pub fn limits(mut self, limits: Limits) -> Command {
        self.place.limits = Some(limits);
        self
    }

    /// Lets it see folder `from` at `to`, in a mount namespace of its own; later mounts of the host still reach it.
    pub fn bind(mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Command {
        self.place.binds.push((from.into(), to.into()));
        self
    }

    /// Lets it have an open file (a listening socket, say) under the number that the file has here.
    pub fn file(mut self, file: OwnedFd) -> Command {
        self.place.files.push(Arc::new(file));
        self
    }

    /// Sets an environment variable; nothing but `PATH`, `HOME` and `LC_ALL=C` is there otherwise.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Command {
        self.place.env.push((name.to_string(), value.into()));
        self
    }

    /// Takes these exit codes for success, beside 0.
    pub fn accept(mut self, codes: &[i32]) -> Command {
        self.accepted.extend_from_slice(codes);
        self
    }

    /// The command line as it may be shown.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.args.iter().map(Arg::shown).collect()
    }

    /// Runs it to its end. Exit codes that are not accepted and time-outs are errors.
    pub async fn run(self) -> Result<Output> {
        let started = Instant::now();
        let output = match &self.recorder {
            Some(recorder) => recorder.answer(&self.recorded()),
            None => {
                let args = self.args.iter().map(|a| a.value.clone()).collect();
                child::run(
                    self.program,
                    args,
                    self.stdin.clone(),
                    self.timeout,
                    &self.place,
                )
                .await
            }
        };
        let duration_ms = started.elapsed().as_millis() as u64;
        let output = output.map_err(|e| self.failure(e.kind(), e.log_message()))?;
        tracing::debug!(
            program = self.program.name(),
            args = ?self.shown(),
            netns = self.place.netns.as_deref(),
            code = output.code,
            duration_ms,
            "ran {}",
            self.program
        );
        if self.accepted.contains(&output.code) {
            return Ok(output);
        }
        let words = format!("exit code {}: {}", output.code, self.tail(&output.stderr));
        Err(self.failure(Kind::Internal, &words))
    }

    /// Starts it as a daemon in a session of its own, with output appended to `log`; returns its process id.
    /// It outlives us.
    pub async fn spawn_daemon(self, log: &Path) -> Result<i32> {
        let pid = match &self.recorder {
            Some(recorder) => recorder.answer(&self.recorded()).map(|_| 0),
            None => {
                let args = self.args.iter().map(|a| a.value.clone()).collect();
                child::spawn_daemon(self.program, args, log, &self.place)
            }
        };
        let pid = pid.map_err(|e| self.failure(e.kind(), e.log_message()))?;
        tracing::debug!(program = self.program.name(), args = ?self.shown(), pid, "started a daemon");
        Ok(pid)
    }

    fn recorded(&self) -> crate::Recorded {
        crate::Recorded {
            program: self.program,
            args: self.shown(),
            stdin: self.stdin.clone(),
            netns: self.place.netns.clone(),
            limits: self.place.limits,
        }
    }

    fn failure(&self, kind: Kind, words: &str) -> Error {
        let line = format!("{} {}", self.program, self.shown().join(" "));
        let place = self
            .place
            .netns
            .as_ref()
            .map(|n| format!(" (in {n})"))
            .unwrap_or_default();
        let log = format!("`{line}`{place}: {words}");
        match kind {
            Kind::Internal => Error::internal(log),
            // "Not installed" and "no answer" are worth telling; the command line is not.
            kind => Error::new(kind, format!("{}: {words}", self.program)).log(log),
        }
    }

    /// The end of what it complained about, secrets blanked in case it repeats its arguments.
    fn tail(&self, stderr: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(stderr).trim().to_string();
        for arg in self.args.iter().filter(|a| a.secret && !a.value.is_empty()) {
            text = text.replace(arg.value.to_string_lossy().as_ref(), "***");
        }
        let skip = text.chars().count().saturating_sub(1000);
        text.chars().skip(skip).collect()
    }
}
