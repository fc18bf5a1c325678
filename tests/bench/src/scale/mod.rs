//! `bench scale`: a cloud in the scaled shape, every controller service a process of its own over real MariaDB, RabbitMQ
//! and Memcached, and very many fake hosts in a few processes. Servers are booted and deleted through the API; what a boot
//! costs is told per process, per message and per query.

mod load;
mod measure;
mod servers;
mod world;

use anyhow::Result;
use clap::Args;
use measure::{Measured, Snapshot};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use world::World;

/// Boots servers on very many fake hosts.
#[derive(Args, Clone)]
pub struct Options {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/ferrostack")]
    binary: PathBuf,
    /// Fake hosts.
    #[arg(long, default_value_t = 1000)]
    hosts: u32,
    /// Servers to boot.
    #[arg(long, default_value_t = 2000)]
    servers: usize,
    /// Processes that the hosts are in.
    #[arg(long, default_value_t = 4)]
    processes: u32,
    /// Servers that are asked for and not yet ACTIVE, at most.
    #[arg(long, default_value_t = 32)]
    outstanding: usize,
    /// One JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// A line for the configuration of all processes, as `section.option=value`; several times.
    #[arg(long = "set", value_name = "SECTION.OPTION=VALUE")]
    set: Vec<String>,
    /// Leaves logs and configuration in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// How long the idle cloud is watched.
const IDLE: Duration = Duration::from_secs(20);

/// Runs the whole story; whatever it started is gone afterwards, also after Ctrl-C.
pub async fn run(options: Options) -> Result<()> {
    let mut world = World::new(&options)?;
    let outcome = tokio::select! {
        outcome = story(&options, &mut world) => outcome,
        signal = interrupted() => signal.and(Err(anyhow::anyhow!("interrupted"))),
    };
    world.end(options.keep.as_deref()).await;
    outcome
}

async fn interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut int, mut term) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
    Ok(())
}

async fn story(options: &Options, world: &mut World) -> Result<()> {
    let begun = Instant::now();
    world.start_servers().await?;
    world.start_controllers().await?;
    let seeded = load::seed(world).await?;
    let joined = Instant::now();
    world.start_hosts().await?;
    load::wait_for_hosts(world, &seeded, options.hosts).await?;
    let joined = joined.elapsed().as_secs_f64();
    say(
        options,
        json!({"name": "hosts", "hosts": options.hosts, "processes": options.processes, "joined_s": joined,
        "since_start_s": begun.elapsed().as_secs_f64()}),
    );
    // Joining is over when nothing is told to placement any more.
    tokio::time::sleep(Duration::from_secs(10)).await;

    let before = Snapshot::take(world).await?;
    tokio::time::sleep(IDLE).await;
    let idle = Snapshot::take(world).await?.since(&before);
    say(options, idle.idle());

    let before = Snapshot::take(world).await?;
    let begun = Instant::now();
    load::boot(world, &seeded, options).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let busy = Snapshot::take(world).await?.since(&before);
    let times = load::times(world).await?;
    let boots = Measured {
        count: options.servers,
        seconds,
        busy: &busy,
        idle: &idle,
    };
    let mut line = boots.summary("boot");
    line["p50_s"] = json!(times.at(0.5));
    line["p99_s"] = json!(times.at(0.99));
    line["hosts_used"] = json!(load::hosts_used(world).await?);
    say(options, line);
    for part in boots.parts() {
        say(options, part);
    }

    let before = Snapshot::take(world).await?;
    let begun = Instant::now();
    load::delete_all(world, &seeded, options).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let busy = Snapshot::take(world).await?.since(&before);
    let deletes = Measured {
        count: options.servers,
        seconds,
        busy: &busy,
        idle: &idle,
    };
    say(options, deletes.summary("delete"));
    let left = load::left_over(world, &seeded).await?;
    say(options, json!({"name": "left over", "things": left}));
    anyhow::ensure!(left.is_empty(), "something leaked: {}", left.join(", "));
    Ok(())
}

/// A result: for programs as it is, for people in columns.
fn say(options: &Options, line: Value) {
    if options.json {
        println!("{line}");
        return;
    }
    let Some(fields) = line.as_object() else {
        return;
    };
    println!("{}", line["name"].as_str().unwrap_or_default());
    for (name, value) in fields.iter().filter(|(name, _)| *name != "name") {
        match value {
            Value::Object(rows) => {
                println!("  {name}");
                for (row, value) in rows {
                    println!("    {row:<34} {}", cell(value));
                }
            }
            other => println!("  {name:<36} {}", cell(other)),
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() => format!("{f:>10.2}"),
            _ => format!("{n:>7}"),
        },
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "nothing".into(),
        other => other.to_string(),
    }
}
