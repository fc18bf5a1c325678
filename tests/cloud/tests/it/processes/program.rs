//! The program `ferrostack`, as cargo built it beside this test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// How long a process may take until it serves: several start at once, beside other tests.
const START: Duration = Duration::from_secs(90);
/// How long one may take to end in order.
const END: Duration = Duration::from_secs(30);

/// Where it is. `cargo nextest run --workspace` builds it together with the tests; after `-p cloud-tests` alone it may be
/// older than what is tested, which is told rather than overlooked.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test, not an option of the cloud"
)]
pub fn binary() -> PathBuf {
    if let Ok(named) = std::env::var("FERROSTACK_BINARY") {
        return named.into();
    }
    let test = std::env::current_exe().expect("this program");
    let folder = test.parent().and_then(Path::parent).expect("target/debug");
    let binary = folder.join("ferrostack");
    let built = modified(&binary)
        .unwrap_or_else(|| panic!("{} is missing: cargo build -p ferrostack", binary.display()));
    let tested = modified(&test).expect("this program");
    let sources = std::fs::read_to_string(binary.with_extension("d")).unwrap_or_default();
    for source in sources.split_whitespace().skip(1) {
        let changed = modified(Path::new(source)).unwrap_or(built);
        assert!(
            changed <= built || changed > tested,
            "{} is older than {source}, with which this test was built: cargo build -p ferrostack",
            binary.display()
        );
    }
    binary
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}

/// Runs a command of it to its end; what it said.
pub fn says(binary: &Path, arguments: &[&str]) -> String {
    let output = command(binary).args(arguments).output().expect("a program");
    let (out, err) = (&output.stdout, &output.stderr);
    let words = String::from_utf8_lossy(out).trim().to_string();
    let complaints = String::from_utf8_lossy(err);
    assert!(
        output.status.success(),
        "{arguments:?}: {words} {complaints}"
    );
    words
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test, as an operator starts it"
)]
fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.stdin(Stdio::null());
    command
}

/// `ferrostack run`. Killed when dropped.
pub struct Process {
    child: Child,
    ready: Option<oneshot::Receiver<String>>,
    name: String,
}

impl Process {
    /// Starts a process with this state folder and the configuration in it.
    pub fn start(binary: &Path, name: &str, state: &Path) -> Process {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(state.join("stderr"))
            .expect("a log");
        let mut child = command(binary)
            .arg("run")
            .arg("--state")
            .arg(state)
            .arg("--config")
            .arg(state.join("config.toml"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a process");
        let (sender, ready) = oneshot::channel();
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            let mut line = String::new();
            if out.read_line(&mut line).is_ok_and(|n| n > 0) {
                // Nobody listens if it was killed meanwhile.
                let _ = sender.send(line);
            }
        });
        Process {
            child,
            ready: Some(ready),
            name: name.to_string(),
        }
    }

    /// Waits for its line of readiness.
    pub async fn ready(&mut self) -> serde_json::Value {
        let Some(ready) = self.ready.take() else {
            return serde_json::Value::Null;
        };
        let line = tokio::time::timeout(START, ready).await;
        let line = line.unwrap_or_else(|_| panic!("{} does not start", self.name));
        let line = line.unwrap_or_else(|_| panic!("{} ended at its start", self.name));
        serde_json::from_str(&line).expect("a line of readiness")
    }

    /// SIGTERM, which is answered a moment later.
    pub fn ask_to_stop(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a process");
    }

    /// Waits until it has ended in order.
    pub async fn ended(mut self) {
        let end = tokio::time::Instant::now() + END;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            let late = tokio::time::Instant::now() > end;
            assert!(!late, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
