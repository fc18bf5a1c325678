//! `script/bench`: start-up, memory, and for each main request: requests/s, p50, p99 and CPU-ms per request.
//!
//! CPU is user and system time of the cloud's process, so it holds on a busy machine too; the load comes from this
//! other process. Absolute times are of one machine and one moment: quote the CPU column.

mod cloud;
mod http;
mod identity;
mod images;
mod scale;
mod seed;
mod volumes;

use anyhow::Result;
use clap::{Parser, Subcommand};
use cloud::Cloud;
use http::{Client, request};
use seed::{Seeded, ask, login, server};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Measures a cloud of fake hosts.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    other: Option<Other>,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/ferrostack")]
    binary: PathBuf,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Seconds for each request.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Connections at once.
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
}

#[derive(Subcommand)]
enum Other {
    /// The scaled shape with very many hosts: what a boot costs each process, in messages and in queries.
    Scale(scale::Options),
    /// Keystone: a login beside its hash, many at once, and a million users.
    Identity(identity::Options),
}

/// A row: name, target and upstream's figure (CPU-ms), and the request.
struct Row {
    name: &'static str,
    target: f64,
    upstream: f64,
    service: &'static str,
    request: Vec<u8>,
    expect: u16,
    /// At most so many: these change the cloud.
    at_most: usize,
}

struct Result1 {
    requests: usize,
    seconds: f64,
    p50: f64,
    p99: f64,
    cpu_ms: f64,
}

fn rows(cloud: &Cloud, s: &Seeded) -> Vec<Row> {
    let t = s.token.as_str();
    let get = |name, target, upstream, service, path: String, headers: &[(&str, &str)]| Row {
        name,
        target,
        upstream,
        service,
        request: request("GET", &path, t, headers, None),
        expect: 200,
        at_most: usize::MAX,
    };
    let by_token = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": t}}, "scope": {"project": {"id": s.project}}}});
    let candidates =
        "/allocation_candidates?resources=VCPU:1,MEMORY_MB:512,DISK_GB:1&limit=1000".to_string();
    let placement = [("openstack-api-version", "placement 1.36")];
    let post = |name, target, upstream, service, path: &str, body: Value, expect, at_most| Row {
        name,
        target,
        upstream,
        service,
        request: request("POST", path, t, &[], Some(&body)),
        expect,
        at_most,
    };
    let port = json!({"port": {"network_id": s.network}});
    vec![
        get(
            "token validate",
            0.05,
            9.6,
            "identity",
            "/v3/auth/tokens".into(),
            &[("x-subject-token", t)],
        ),
        post(
            "token by token",
            0.1,
            11.4,
            "identity",
            "/v3/auth/tokens",
            by_token,
            201,
            usize::MAX,
        ),
        post(
            "token by password",
            0.0,
            0.0,
            "identity",
            "/v3/auth/tokens",
            login(&cloud.password),
            201,
            200,
        ),
        get(
            "list 20 projects",
            0.3,
            20.0,
            "identity",
            "/v3/projects".into(),
            &[],
        ),
        get(
            "list 10 images",
            0.2,
            11.5,
            "image",
            "/v2/images?limit=10".into(),
            &[],
        ),
        images::one(s),
        get(
            "list 10 networks",
            0.3,
            28.0,
            "network",
            "/v2.0/networks?limit=10".into(),
            &[],
        ),
        get(
            "list 100 ports",
            1.5,
            102.0,
            "network",
            "/v2.0/ports?limit=100".into(),
            &[],
        ),
        get(
            "100 servers with detail",
            4.0,
            655.0,
            "compute",
            "/v2.1/servers/detail?limit=100".into(),
            &[],
        ),
        get(
            "list 100 volumes",
            1.5,
            102.0,
            "volumev3",
            format!("/v3/{}/volumes/detail?limit=100", s.project),
            &[],
        ),
        get(
            "allocation candidates, 1,000 hosts",
            2.0,
            162.0,
            "placement",
            candidates.clone(),
            &placement,
        ),
        post(
            "create port",
            3.0,
            238.0,
            "network",
            "/v2.0/ports",
            port,
            201,
            2000,
        ),
        get(
            "allocation candidates, 10,000 hosts",
            10.0,
            1742.0,
            "placement",
            candidates,
            &placement,
        ),
    ]
}

async fn measure(cloud: &Cloud, row: &Row, options: &Options) -> Result<Result1> {
    let mut warm = Client::connect(cloud.url(row.service)?).await?;
    for _ in 0..3 {
        let answer = warm.send(&row.request).await?;
        anyhow::ensure!(
            answer.status == row.expect,
            "{}: {} {}",
            row.name,
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
    let left = Arc::new(AtomicUsize::new(row.at_most));
    let cpu = cloud.cpu()?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(options.seconds);
    let mut tasks = Vec::new();
    for _ in 0..options.concurrency {
        let (url, bytes, left, expect) = (
            cloud.url(row.service)?.to_string(),
            row.request.clone(),
            Arc::clone(&left),
            row.expect,
        );
        tasks.push(tokio::spawn(async move {
            let mut client = Client::connect(&url).await?;
            let mut times = Vec::new();
            while Instant::now() < until
                && left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
            {
                let sent = Instant::now();
                let answer = client.send(&bytes).await?;
                anyhow::ensure!(
                    answer.status == expect,
                    "{} {}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                );
                times.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(times)
        }));
    }
    let mut times: Vec<f64> = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_ms = (cloud.cpu()? - cpu) * 1000.0 / times.len().max(1) as f64;
    times.sort_by(f64::total_cmp);
    let at = |q: f64| {
        times
            .get(((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    };
    Ok(Result1 {
        requests: times.len(),
        seconds,
        p50: at(0.5),
        p99: at(0.99),
        cpu_ms,
    })
}

/// Boots so many servers at once and waits until all are ACTIVE: everything a boot costs, not only its request.
async fn boots(cloud: &Cloud, s: &Seeded, count: usize) -> Result<Result1> {
    let before = ask(
        cloud,
        &s.token,
        "compute",
        "GET",
        "/v2.1/servers?status=ACTIVE&limit=1000",
        &[],
        None,
    )
    .await?;
    let before = before["servers"].as_array().map_or(0, Vec::len);
    let bytes = request("POST", "/v2.1/servers", &s.token, &[], Some(&server(s)));
    let cpu = cloud.cpu()?;
    let begun = Instant::now();
    let mut client = Client::connect(cloud.url("compute")?).await?;
    let mut times = Vec::new();
    for _ in 0..count {
        let sent = Instant::now();
        let answer = client.send(&bytes).await?;
        anyhow::ensure!(
            answer.status == 202,
            "boot: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        times.push(sent.elapsed().as_secs_f64() * 1000.0);
    }
    let all = move |v: &Value| {
        v["servers"]
            .as_array()
            .is_some_and(|list| list.len() >= before + count)
    };
    seed::wait_for(
        cloud,
        &s.token,
        "compute",
        "/v2.1/servers?status=ACTIVE&limit=1000",
        all,
    )
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_ms = (cloud.cpu()? - cpu) * 1000.0 / count as f64;
    times.sort_by(f64::total_cmp);
    Ok(Result1 {
        requests: count,
        seconds,
        p50: times[count / 2],
        p99: times[count - 1],
        cpu_ms,
    })
}

fn show(options: &Options, name: &str, r: &Result1, target: f64, upstream: f64) {
    let per_second = r.requests as f64 / r.seconds;
    if options.json {
        let line = json!({"name": name, "requests": r.requests, "per_second": per_second, "p50_ms": r.p50, "p99_ms": r.p99,
            "cpu_ms": r.cpu_ms, "target_cpu_ms": target, "upstream_cpu_ms": upstream});
        println!("{line}");
        return;
    }
    let goal = if target > 0.0 {
        format!(
            "{target:>8} {:>9} {:>6}",
            upstream,
            if r.cpu_ms <= target { "met" } else { "MISS" }
        )
    } else {
        String::new()
    };
    println!(
        "{name:<36} {per_second:>9.0} {:>9.2} {:>9.2} {:>9.3} {goal}",
        r.p50, r.p99, r.cpu_ms
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    match options.other {
        Some(Other::Scale(options)) => return scale::run(options).await,
        Some(Other::Identity(options)) => return identity::run(options).await,
        None => {}
    }
    let state = std::env::temp_dir().join(format!("ferrostack-bench-{}", std::process::id()));
    Cloud::start(&options.binary, &state).await?.stop().await?;
    let cloud = Cloud::start(&options.binary, &state).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (start, idle) = (cloud.start.as_secs_f64(), cloud.rss()?);
    if options.json {
        println!(
            "{}",
            json!({"name": "start", "seconds": start, "target_seconds": 1.0})
        );
        println!(
            "{}",
            json!({"name": "idle", "rss_mib": idle, "target_mib": 100})
        );
    } else {
        println!("from the process's start to every API answering: {start:.2} s (target 1)");
        println!("idle, whole cloud with fake hosts: {idle:.0} MiB (target 100)\n");
        println!(
            "{:<36} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9}",
            "request", "per s", "p50 ms", "p99 ms", "CPU ms", "target", "upstream"
        );
    }
    let seeded = seed::seed(&cloud).await?;
    if "boot a fake server with a port".contains(&options.only) {
        let r = boots(&cloud, &seeded, 100).await?;
        show(&options, "boot a fake server with a port", &r, 20.0, 2257.0);
    }
    let mut hosts = 0;
    for row in rows(&cloud, &seeded)
        .iter()
        .filter(|r| r.name.contains(&options.only))
    {
        let wanted = if row.name.contains("10,000") {
            10_000
        } else if row.name.contains("1,000 hosts") {
            1000
        } else {
            hosts
        };
        seed::providers(&cloud, &seeded.token, hosts, wanted).await?;
        hosts = hosts.max(wanted);
        let r = measure(&cloud, row, &options).await?;
        show(&options, row.name, &r, row.target, row.upstream);
    }
    if "a page of images, 100,000 in all".contains(&options.only) {
        images::pages(&cloud, &seeded, &options).await?;
    }
    volumes::run(&cloud, &seeded, &options, &state).await?;
    let loaded = cloud.rss()?;
    if !options.json {
        println!("\nafter all this: {loaded:.0} MiB");
    }
    cloud.stop().await?;
    let _ = std::fs::remove_dir_all(&state);
    Ok(())
}
