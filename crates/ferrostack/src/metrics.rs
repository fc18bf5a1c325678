//! `/metrics` for Prometheus, on a listener of its own: what the mechanisms count, and what is looked at when it is asked
//! for (databases, flows, workers, the process).

use base::{Error, Result};
use futures::future::BoxFuture;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use oslo_db::Db;
use oslo_http::{Body, Endpoint, Method, Reply, RouteInfo};
use oslo_service::{Supervisor, WorkerState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Upper bounds of the times that are told apart, in seconds.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// How often what was recorded is put into buckets, so that it does not pile up while nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);
/// Databases in which flows live.
const WITH_FLOWS: &[&str] = &["nova", "cinder"];

/// A process has one recorder, however many clouds a test starts in it.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts to record; before anything that is to be measured.
pub(crate) fn record() -> Result<PrometheusHandle> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new().set_buckets(BUCKETS);
    let recorder = builder.map_err(Error::internal)?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|_| Error::internal("metrics are recorded twice"))?;
    Ok(RECORDER.get_or_init(|| handle).clone())
}

/// What is asked for numbers.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    databases: BTreeMap<&'static str, Db>,
    supervisor: Arc<Supervisor>,
    /// What was told of flows, so that those that ended become 0.
    flows: Mutex<BTreeSet<(&'static str, String, &'static str)>>,
}

impl Metrics {
    pub(crate) fn new(
        handle: PrometheusHandle,
        databases: BTreeMap<&'static str, Db>,
        supervisor: Arc<Supervisor>,
    ) -> Metrics {
        Metrics {
            handle,
            databases,
            supervisor,
            flows: Mutex::default(),
        }
    }

    /// Until `stop`.
    pub(crate) async fn upkeep(handle: PrometheusHandle, stop: CancellationToken) -> Result<()> {
        while stop
            .run_until_cancelled(tokio::time::sleep(UPKEEP))
            .await
            .is_some()
        {
            handle.run_upkeep();
        }
        Ok(())
    }

    async fn look(&self) {
        for (database, db) in &self.databases {
            of_database(database, db);
        }
        self.flows().await;
        for worker in self.supervisor.workers() {
            let up = f64::from(u8::from(worker.state == WorkerState::Running));
            gauge!("ferrostack_worker_up", "worker" => worker.name.clone()).set(up);
            counter!("ferrostack_worker_restarts_total", "worker" => worker.name)
                .absolute(worker.restarts);
        }
        of_process();
    }

    async fn flows(&self) {
        let mut now = BTreeMap::new();
        for database in WITH_FLOWS {
            let Some(db) = self.databases.get(database) else {
                continue;
            };
            match oslo_taskflow::census(db).await {
                Ok(census) => {
                    let counts = census
                        .into_iter()
                        .map(|c| ((*database, c.name, c.state), c.count));
                    now.extend(counts);
                }
                Err(error) => tracing::debug!(%error, "flows are not counted"),
            }
        }
        let mut told = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(now.keys().cloned());
        for key in told.iter() {
            let (service, flow, state) = key.clone();
            gauge!("ferrostack_flows", "service" => service, "flow" => flow, "state" => state)
                .set(now.get(key).copied().unwrap_or(0) as f64);
        }
    }
}

fn of_database(database: &'static str, db: &Db) {
    let stats = db.stats();
    for (name, value) in [
        ("ferrostack_db_queries_total", stats.queries),
        ("ferrostack_db_reads_total", stats.reads),
        ("ferrostack_db_writes_total", stats.writes),
        ("ferrostack_db_commits_total", stats.commits),
        ("ferrostack_db_retries_total", stats.retries),
        ("ferrostack_db_unknown_commits_total", stats.unknown_commits),
    ] {
        counter!(name, "database" => database).absolute(value);
    }
    for (name, value) in [
        ("ferrostack_db_waiting", stats.queued),
        ("ferrostack_db_connections_in_use", stats.pool.in_use),
        ("ferrostack_db_connections_idle", stats.pool.idle),
        ("ferrostack_db_connections_limit", stats.pool.limit),
    ] {
        gauge!(name, "database" => database).set(value as f64);
    }
}

/// Memory and time of this process, by Prometheus' own names for them.
fn of_process() {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    if let Some(pages) = read("statm").and_then(|t| t.split(' ').nth(1)?.parse::<f64>().ok()) {
        gauge!("process_resident_memory_bytes").set(pages * 4096.0);
    }
    // The name of the program may hold anything: fields are counted from the parenthesis behind it.
    let ticks = read("stat").and_then(|text| {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse::<f64>().ok();
        Some(number(11)? + number(12)?)
    });
    if let Some(ticks) = ticks {
        gauge!("process_cpu_seconds_total").set(ticks / 100.0);
    }
}

impl Endpoint for Metrics {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            if request.uri().path() != "/metrics" || request.method() != Method::GET {
                return Reply::empty(404);
            }
            self.look().await;
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Reply::text(200, kind, self.handle.render())
        })
    }

    fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        "metrics"
    }
}
