//! Crashes: the cloud runs as a process of its own, works on many things at once, is killed with SIGKILL at a random
//! moment and started again. Once it is calm, nothing may be stuck and nothing may have leaked.
//!
//! `FERROSTACK_CRASH_ROUNDS=100` plays more rounds, `FERROSTACK_CRASH_SEED=n FERROSTACK_CRASH_ROUNDS=1` plays one
//! again: the same work, the same moment (as far as a clock tells). The process is this test binary itself.

mod checks;
mod child;
mod many;
mod work;

use crate::cloud::Folder;
use oslo_testing::bus::RabbitMq;
use oslo_testing::db::MariaDb;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// As many as pass in about a minute on two processors.
pub const ROUNDS: u64 = 25;
/// Rounds at the same time; most of a round is waiting.
const WORKERS: u64 = 3;

#[expect(
    clippy::disallowed_methods,
    reason = "switches of the test, not options of the cloud"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// A cloud's folder and, unless it has all in that, its database and its bus.
struct Stage {
    state: PathBuf,
    servers: Option<(String, String)>,
}

/// The cloud in a process: what it says arrives line by line.
struct Process {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a cloud that can be killed must be a process; privsep is for the cloud's own programs"
)]
fn run(role: &str, scene: &Stage, seed: u64) -> Process {
    let state = &scene.state;
    let log = std::fs::File::create(state.join(format!("{role}.log"))).expect("a log");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    if let Some((database, bus)) = &scene.servers {
        command.env(child::DATABASE, database).env(child::BUS, bus);
    }
    let mut child = command
        .args([
            "crash::child::the_cloud_as_a_process",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(child::ROLE, role)
        .env(child::STATE, state)
        .env(child::SEED, seed.to_string())
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("a process");
    let (sender, lines) = channel();
    let out = BufReader::new(child.stdout.take().expect("its output"));
    std::thread::spawn(move || {
        out.lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    Process {
        child,
        lines,
        said: Vec::new(),
    }
}

impl Process {
    /// Listens until it says `word`, it ends (false), or time is up (false).
    fn listen(&mut self, word: Option<&str>, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    // The harness writes the test's name before the first word.
                    let found = word.is_some_and(|w| line.trim_end().ends_with(w));
                    self.said.push(line);
                    if found {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
        while let Ok(line) = self.lines.recv() {
            self.said.push(line);
        }
        self.said
    }

    /// Waits until it has done what it is for; what it said, if it failed.
    fn end(mut self) -> Result<(), String> {
        let good = self.listen(Some("CALM"), Duration::from_secs(180));
        let said = self.kill();
        if good { Ok(()) } else { Err(said.join("\n")) }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match source.is_dir() {
            true => copy(&source, &target),
            false => drop(std::fs::copy(&source, &target).expect("a copy")),
        }
    }
}

/// One life, one death (sometimes two), one judgement.
fn round(template: &Path, seed: u64) -> Result<(), String> {
    let folder = Folder::new();
    copy(template, &folder.0);
    let scene = Stage {
        state: folder.0.clone(),
        servers: None,
    };
    live_and_die(&scene, seed)
}

fn live_and_die(scene: &Stage, seed: u64) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let alive = Duration::from_millis(rng.random_range(0..900));
    let mut cloud = run("work", scene, seed);
    if !cloud.listen(Some("GO"), Duration::from_secs(90)) {
        return Err(format!(
            "the cloud did not start:\n{}",
            cloud.kill().join("\n")
        ));
    }
    cloud.listen(None, alive);
    let said = cloud.kill();
    if let Some(line) = said.iter().find(|l| l.contains("FAIL ")) {
        return Err(line.clone());
    }
    // Recovery may be killed too, at its very beginning or in the middle.
    let deaths = [0, 0, 1, 2][rng.random_range(0..4)];
    for _ in 0..deaths {
        let mut cloud = run("recover", scene, seed);
        cloud.listen(Some("GO"), Duration::from_secs(90));
        cloud.listen(None, Duration::from_millis(rng.random_range(0..400)));
        cloud.kill();
    }
    let judged = run("check", scene, seed).end();
    judged.map_err(|said| {
        let words = said
            .lines()
            .filter(|l| l.contains("WRONG ") || l.contains("FAIL "));
        let words: Vec<&str> = words.collect();
        let words = if words.is_empty() {
            said
        } else {
            words.join("\n")
        };
        format!(
            "alive for {alive:?}, {deaths} more deaths{}\n{words}",
            keep(&scene.state, seed)
        )
    })
}

/// With `FERROSTACK_CRASH_KEEP=1` the state of a failed round stays for a look.
fn keep(state: &Path, seed: u64) -> String {
    if number("FERROSTACK_CRASH_KEEP").is_none() {
        return String::new();
    }
    let kept = std::env::temp_dir().join(format!("crash-{seed}"));
    let _ = std::fs::remove_dir_all(&kept);
    copy(state, &kept);
    format!(", state in {}", kept.display())
}

fn prepare(scene: &Stage) {
    if let Err(said) = run("prepare", scene, 0).end() {
        panic!("no cloud to begin with{}:\n{said}", keep(&scene.state, 0));
    }
}

/// One cloud that dies again and again: its servers live on, and what the broker did not hear acknowledged comes
/// again to the next life.
#[test]
fn a_cloud_on_mariadb_and_rabbitmq_mends_itself_too() {
    let rounds = number("FERROSTACK_CRASH_ROUNDS").unwrap_or(ROUNDS) / 5;
    let first =
        number("FERROSTACK_CRASH_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("FERROSTACK_CRASH_SEED={first}: {rounds} lives");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mariadb, rabbitmq) = runtime
        .block_on(async { tokio::try_join!(MariaDb::start(), RabbitMq::start()) })
        .expect("a MariaDB and a RabbitMQ");
    let folder = Folder::new();
    let scene = Stage {
        state: folder.0.clone(),
        servers: Some((mariadb.template(), rabbitmq.url())),
    };
    prepare(&scene);
    for seed in first..first + rounds {
        if let Err(why) = live_and_die(&scene, seed) {
            panic!("FERROSTACK_CRASH_SEED={seed}: {why}");
        }
    }
}

#[test]
fn a_killed_cloud_mends_itself() {
    let rounds = number("FERROSTACK_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let first =
        number("FERROSTACK_CRASH_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("FERROSTACK_CRASH_SEED={first}: {rounds} rounds");
    let template = Folder::new();
    prepare(&Stage {
        state: template.0.clone(),
        servers: None,
    });
    let (next, failed) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(rounds) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= rounds {
                        return;
                    }
                    if let Err(why) = round(&template.0, first + n) {
                        eprintln!("FERROSTACK_CRASH_SEED={}: {why}", first + n);
                        failed.lock().expect("a list").push(first + n);
                    }
                }
            });
        }
    });
    println!("{rounds} rounds in {:.1?}", began.elapsed());
    let failed = failed.lock().expect("a list");
    assert!(
        failed.is_empty(),
        "{} of {rounds} rounds failed: seeds {failed:?}",
        failed.len()
    );
}
