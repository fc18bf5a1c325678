//! Programs that stay: found again by their pid file after a restart of ours, checked by their command line.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The process that `pid_file` names, if it lives and `needle` is part of its command line (pids are used again).
pub fn find(pid_file: &Path, needle: &str) -> Option<i32> {
    let pid: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&line)
        .contains(needle)
        .then_some(pid)
}

/// Asks it to read its files again.
pub fn reload(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGHUP);
}

/// Ends it: politely, after two seconds by force. Returns when it is gone.
pub async fn end(pid: i32) {
    let target = Pid::from_raw(pid);
    let _ = kill(target, Signal::SIGTERM);
    for round in 0..150 {
        if !lives(pid) {
            return;
        }
        if round == 100 {
            let _ = kill(target, Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Zombies count as gone: where nobody reaps orphans they stay in the table for ever.
fn lives(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    !stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .trim_start()
        .starts_with('Z')
}

/// Writes `text` unless the file holds it already, never half. Returns whether it changed.
pub fn write_if_changed(path: &Path, text: &str) -> base::Result<bool> {
    if fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(false);
    }
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::rename(&fresh, path)?;
    Ok(true)
}
