//! What everything has cost so far, and the difference between two moments.

use super::world::World;
use crate::http::{Client, request};
use anyhow::{Context, Result, anyhow};
use oslo_db::is_in;
use oslo_db::sea_query::Query;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Heartbeats and looks that go on whether anybody boots or not.
const STEADY: &[&str] = &["report_host", "report_agents", "host_state"];

/// A moment.
pub struct Snapshot {
    taken: Instant,
    /// Of each process: CPU seconds, and what it holds in memory (MiB).
    processes: BTreeMap<String, (f64, f64)>,
    /// Counters of the processes' `/metrics`, added up.
    counters: BTreeMap<String, f64>,
    /// MariaDB's own.
    questions: BTreeMap<String, f64>,
}

/// What happened between two moments.
pub struct Spent {
    seconds: f64,
    processes: BTreeMap<String, (f64, f64)>,
    counters: BTreeMap<String, f64>,
    questions: BTreeMap<String, f64>,
}

impl Snapshot {
    pub async fn take(world: &mut World) -> Result<Snapshot> {
        let mut processes = BTreeMap::new();
        let mut counters = BTreeMap::new();
        for process in world.processes() {
            let cost = cost(process.pid).with_context(|| format!("{} is gone", process.name))?;
            processes.insert(process.name.clone(), cost);
            read_metrics(&process.metrics, &mut counters).await?;
        }
        for (name, pid) in servers()? {
            if let Some(cost) = cost(pid) {
                processes.insert(name, cost);
            }
        }
        let db = world.database("nova").await?;
        let status = db.read(|tx| {
            let names = [
                "QUESTIONS",
                "COM_COMMIT",
                "COM_ROLLBACK",
                "COM_SELECT",
                "COM_INSERT",
                "COM_UPDATE",
                "COM_DELETE",
            ];
            let mut select = Query::select();
            select
                .columns(["VARIABLE_NAME", "VARIABLE_VALUE"])
                .from(("information_schema", "GLOBAL_STATUS"))
                .cond_where(is_in("VARIABLE_NAME", names));
            let rows = tx.query(&select)?;
            let row = |r: &oslo_db::Cells| -> base::Result<(String, f64)> {
                Ok((
                    r.get::<String>(0)?.to_lowercase(),
                    r.get::<String>(1)?.parse().unwrap_or(0.0),
                ))
            };
            rows.iter()
                .map(row)
                .collect::<base::Result<BTreeMap<_, _>>>()
        });
        Ok(Snapshot {
            taken: Instant::now(),
            processes,
            counters,
            questions: status.await.map_err(|e| anyhow!("{}", e.log_message()))?,
        })
    }

    pub fn since(self, before: &Snapshot) -> Spent {
        let less = |now: BTreeMap<String, f64>, before: &BTreeMap<String, f64>| {
            let less = |(k, v): (String, f64)| {
                let before = before.get(&k).copied().unwrap_or(0.0);
                (k, v - before)
            };
            now.into_iter().map(less).collect()
        };
        let processes = self.processes.into_iter().map(|(name, (cpu, rss))| {
            let before = before.processes.get(&name).map_or(0.0, |(cpu, _)| *cpu);
            (name, (cpu - before, rss))
        });
        Spent {
            seconds: (self.taken - before.taken).as_secs_f64(),
            processes: processes.collect(),
            counters: less(self.counters, &before.counters),
            questions: less(self.questions, &before.questions),
        }
    }
}

impl Spent {
    fn counter(&self, name: &str, wanted: impl Fn(&str) -> bool) -> f64 {
        let ours = |key: &&String| {
            key.split('{').next() == Some(name) && wanted(label(key, "method").unwrap_or(""))
        };
        self.counters
            .keys()
            .filter(ours)
            .map(|k| self.counters[k])
            .sum()
    }

    /// Messages that somebody sent: a call is two, its question and its answer.
    fn sent(&self, wanted: impl Fn(&str) -> bool + Copy) -> f64 {
        2.0 * self.counter("ferrostack_rpc_calls_total", wanted)
            + self.counter("ferrostack_rpc_casts_total", wanted)
    }

    /// Messages that somebody got: one that fans out is many.
    fn delivered(&self, wanted: impl Fn(&str) -> bool + Copy) -> f64 {
        self.counter("ferrostack_rpc_served_total", wanted)
            + self.counter("ferrostack_rpc_calls_total", wanted)
    }

    /// What the cloud costs while nobody asks it for anything.
    pub fn idle(&self) -> Value {
        let cpu = self.processes.iter().map(|(name, (cpu, rss))| {
            let text = format!("{:>6.1} % CPU {rss:>7.0} MiB", cpu / self.seconds * 100.0);
            (name.clone(), json!(text))
        });
        json!({"name": "idle", "seconds": self.seconds,
            "messages_sent_per_s": self.sent(|_| true) / self.seconds,
            "messages_delivered_per_s": self.delivered(|_| true) / self.seconds,
            "database_questions_per_s": self.questions["questions"] / self.seconds,
            "processes": cpu.collect::<Map<_, _>>()})
    }
}

/// Things that were done, and what that cost.
pub struct Measured<'a> {
    pub count: usize,
    pub seconds: f64,
    pub busy: &'a Spent,
    pub idle: &'a Spent,
}

impl Measured<'_> {
    /// Per thing, without what the idle cloud would have cost in the meantime.
    fn net(&self, busy: f64, idle: f64) -> f64 {
        (busy - idle / self.idle.seconds * self.busy.seconds) / self.count as f64
    }

    pub fn summary(&self, name: &str) -> Value {
        let other = |method: &str| !STEADY.contains(&method);
        let cpu = |name: &str| {
            let of = |s: &Spent| s.processes.get(name).map_or(0.0, |(cpu, _)| *cpu * 1000.0);
            (of(self.busy), of(self.idle))
        };
        let decisions = self.busy.counter("ferrostack_rpc_served_total", |m| {
            m == "select_destinations"
        });
        let (busy, idle) = cpu("nova-scheduler");
        let scheduler = busy - idle / self.idle.seconds * self.busy.seconds;
        let questions = |s: &Spent| s.questions["questions"];
        let all = |s: &Spent| {
            s.processes
                .values()
                .map(|(cpu, _)| cpu * 1000.0)
                .sum::<f64>()
        };
        let n = self.count as f64;
        let mut line = json!({"name": name, "servers": self.count, "seconds": self.seconds,
            "per_second": n / self.seconds,
            "cpu_ms_each_all_processes": self.net(all(self.busy), all(self.idle)),
            "messages_sent_each": self.busy.sent(other) / n,
            "messages_delivered_each": self.busy.delivered(other) / n,
            "messages_sent_each_with_heartbeats": self.busy.sent(|_| true) / n,
            "database_questions_each": self.net(questions(self.busy), questions(self.idle)),
            "database_questions_each_with_heartbeats": questions(self.busy) / n,
        });
        if decisions > 0.0 {
            line["scheduler_decisions"] = json!(decisions);
            line["scheduler_cpu_ms_per_decision"] = json!(scheduler / decisions);
        }
        line
    }

    /// By process, method, database and kind of statement.
    pub fn parts(&self) -> Vec<Value> {
        let n = self.count as f64;
        let processes = self.busy.processes.iter().map(|(name, (cpu, rss))| {
            let idle = self.idle.processes.get(name).map_or(0.0, |(cpu, _)| *cpu);
            let ms = self.net(cpu * 1000.0, idle * 1000.0);
            let share = cpu / self.busy.seconds * 100.0;
            let text = format!("{ms:>7.2} CPU-ms each {share:>6.1} % CPU {rss:>7.0} MiB");
            (name.clone(), json!(text))
        });
        let each = |name: &str, by: &str| {
            let mut sums = BTreeMap::<String, f64>::new();
            for (key, value) in &self.busy.counters {
                if key.split('{').next() == Some(name) {
                    *sums
                        .entry(label(key, by).unwrap_or("").to_string())
                        .or_default() += value;
                }
            }
            let sums = sums.into_iter().filter(|(_, v)| *v / n >= 0.005);
            sums.map(|(k, v)| (k, json!(v / n))).collect::<Map<_, _>>()
        };
        let statements = self
            .busy
            .questions
            .iter()
            .map(|(k, v)| (k.clone(), json!(v / n)));
        vec![
            json!({"name": "boot: processes", "processes": processes.collect::<Map<_, _>>()}),
            json!({"name": "boot: messages, each", "calls": each("ferrostack_rpc_calls_total", "method"),
                "casts": each("ferrostack_rpc_casts_total", "method"),
                "served": each("ferrostack_rpc_served_total", "method")}),
            json!({"name": "boot: statements, each", "by kind": statements.collect::<Map<_, _>>(),
                "in transactions, by database": each("ferrostack_db_queries_total", "database")}),
            json!({"name": "boot: requests, each", "by service": each("ferrostack_http_requests_total", "service"),
                "by route": each("ferrostack_http_requests_total", "route")}),
        ]
    }
}

fn label<'a>(key: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = key.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// Adds the counters of a process to what others counted.
async fn read_metrics(url: &str, into: &mut BTreeMap<String, f64>) -> Result<()> {
    let base = url.trim_end_matches("/metrics");
    let mut client = Client::connect(base).await?;
    let answer = client
        .send(&request("GET", "/metrics", "", &[], None))
        .await?;
    for line in String::from_utf8_lossy(&answer.body).lines() {
        let counter = line.starts_with("ferrostack_") && line.contains("_total");
        if let Some((key, value)) = line.rsplit_once(' ').filter(|_| counter) {
            *into.entry(key.to_string()).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
    }
    Ok(())
}

/// CPU seconds (user and system) and MiB of a process.
fn cost(pid: u32) -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let pages: f64 = fields.get(21)?.parse().ok()?;
    Some((ticks / 100.0, pages * 4096.0 / 1_048_576.0))
}

/// Database, broker and cache among the children of this process, and the load itself.
fn servers() -> Result<Vec<(String, u32)>> {
    let ours = std::process::id();
    let mut found = vec![("(the load itself)".to_string(), ours)];
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let program = stat.split(['(', ')']).nth(1).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent == Some(ours) && ["mariadbd", "beam.smp", "memcached"].contains(&program) {
            let program = if program == "beam.smp" {
                "rabbitmq"
            } else {
                program
            };
            found.push((program.to_string(), pid));
        }
    }
    Ok(found)
}

/// Sorted seconds.
pub struct Times(pub Vec<f64>);

impl Times {
    pub fn at(&self, quantile: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = ((self.0.len() as f64 * quantile) as usize).min(last);
        self.0.get(at).copied().unwrap_or(0.0)
    }
}

/// How long is waited for anything.
pub const PATIENCE: Duration = Duration::from_secs(300);
