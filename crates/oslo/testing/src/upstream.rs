//! Upstream's own libraries: at the other end of the bus (`tests/compat/bus.py`), or asked a question (`tests/compat/*.py`), in
//! the environments that `script/install` makes.

use base::{Error, Result};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A script at work. Killed when dropped.
pub struct Upstream {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Starts a script of `tests/compat` in one of the environments.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's other end, and where script/install puts it"
)]
fn spawn(environment: &str, script: &str, arguments: &[&str]) -> Result<Child> {
    // As script/lib.sh has it.
    let home = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = home("FERROSTACK_CACHE")
        .or_else(|| home("XDG_CACHE_HOME").map(|c| c.join("ferrostack")))
        .or_else(|| home("HOME").map(|h| h.join(".cache/ferrostack")))
        .unwrap_or_default();
    let python = cache.join(environment).join("bin/python");
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/compat");
    let missing = |e: std::io::Error| {
        let python = python.display();
        Error::internal(format!(
            "cannot start {python} ({e}): script/install makes it"
        ))
    };
    Command::new(&python)
        .arg(PathBuf::from(scripts).join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(missing)
}

/// What a script answers to a question, both JSON.
pub async fn ask(environment: &str, script: &str, question: &Value) -> Result<Value> {
    let mut child = spawn(environment, script, &[])?;
    let stdin = child.stdin.take();
    let mut stdin = stdin.ok_or_else(|| Error::internal("no input of the script"))?;
    stdin.write_all(question.to_string().as_bytes()).await?;
    drop(stdin);
    let done = tokio::time::timeout(Duration::from_secs(100), child.wait_with_output()).await;
    let done = done.map_err(|_| Error::internal("the script does not end"))??;
    match done.status.success() {
        true => Ok(serde_json::from_slice(&done.stdout)?),
        false => Err(Error::internal(format!(
            "the script failed: {}",
            done.status
        ))),
    }
}

impl Upstream {
    /// Starts oslo.messaging's script.
    pub fn start(arguments: &[&str]) -> Result<Upstream> {
        Upstream::run("bus", "bus.py", arguments)
    }

    /// Starts a script of `tests/compat` in one of the environments.
    pub fn run(environment: &str, script: &str, arguments: &[&str]) -> Result<Upstream> {
        let mut child = spawn(environment, script, arguments)?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| Error::internal("no output of the script"))?;
        Ok(Upstream {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// What it says next; each line is JSON.
    pub async fn line(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => Ok(serde_json::from_str(&line)?),
            Ok(Ok(None)) => Err(Error::internal("the script has ended")),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::internal("the script says nothing")),
        }
    }

    /// Ends its input, and waits for its end.
    pub async fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        match ended {
            Ok(status) if status.as_ref().is_ok_and(|s| s.success()) => Ok(()),
            other => Err(Error::internal(format!(
                "the script did not end well: {other:?}"
            ))),
        }
    }
}
