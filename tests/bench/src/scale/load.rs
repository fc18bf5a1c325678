//! What is done to the cloud, and what is looked at afterwards.

use super::Options;
use super::measure::{PATIENCE, Times};
use super::world::World;
use crate::http::{Client, request};
use crate::seed::login;
use anyhow::{Context, Result, anyhow, bail};
use oslo_db::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use oslo_db::{Db, is_null};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Connections of the load.
const CONNECTIONS: usize = 8;

/// What boots need.
pub struct Seeded {
    token: String,
    body: Value,
}

async fn ask(
    world: &World,
    token: &str,
    service: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Result<Value> {
    let mut client = Client::connect(world.url(service)?).await?;
    let version = match service {
        "compute" => ("openstack-api-version", "compute 2.53"),
        _ => ("openstack-api-version", "placement 1.36"),
    };
    let answer = client
        .send(&request(method, path, token, &[version], body.as_ref()))
        .await?;
    if !(200..300).contains(&answer.status) {
        let words = String::from_utf8_lossy(&answer.body);
        bail!("{method} {service} {path}: {} {words}", answer.status);
    }
    let mut value = answer.json();
    if let (Some(token), Some(map)) = (answer.header("x-subject-token"), value.as_object_mut()) {
        map.insert("subject".into(), json!(token));
    }
    Ok(value)
}

/// A network, a flavor and an image.
pub async fn seed(world: &World) -> Result<Seeded> {
    let text = |v: &Value| v.as_str().unwrap_or("").to_string();
    let body = ask(
        world,
        "",
        "identity",
        "POST",
        "/v3/auth/tokens",
        Some(login(&world.password)),
    )
    .await?;
    let token = text(&body["subject"]);
    let make = |service: &'static str, path: &'static str, body: Value| {
        ask(world, &token, service, "POST", path, Some(body))
    };
    let image = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    let image = text(&make("image", "/v2/images", image).await?["id"]);
    upload(world, &token, &image).await?;
    let network = make(
        "network",
        "/v2.0/networks",
        json!({"network": {"name": "n"}}),
    )
    .await?;
    let network = text(&network["network"]["id"]);
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}});
    make("network", "/v2.0/subnets", subnet).await?;
    let flavor = json!({"flavor": {"name": "f", "ram": 512, "vcpus": 1, "disk": 1}});
    let flavor = text(&make("compute", "/v2.1/flavors", flavor).await?["flavor"]["id"]);
    let body = json!({"server": {"name": "s", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}]}});
    Ok(Seeded { token, body })
}

async fn upload(world: &World, token: &str, image: &str) -> Result<()> {
    let mut client = Client::connect(world.url("image")?).await?;
    let head = format!(
        "PUT /v2/images/{image}/file HTTP/1.1\r\nhost: bench\r\nx-auth-token: {token}\r\n\
         content-type: application/octet-stream\r\ncontent-length: 1024\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&[0u8; 1024]);
    let answer = client.send(&bytes).await?;
    anyhow::ensure!(answer.status == 204, "upload: {}", answer.status);
    Ok(())
}

/// Until every host is a compute service that is up, has an L2 agent that is alive, and a provider in placement.
pub async fn wait_for_hosts(world: &World, seeded: &Seeded, hosts: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let count = |v: &Value, list: &str, good: &dyn Fn(&Value) -> bool| {
        let list = v[list].as_array();
        list.map_or(0, |l| l.iter().filter(|e| good(e)).count())
    };
    loop {
        let t = &seeded.token;
        let services = ask(
            world,
            t,
            "compute",
            "GET",
            "/v2.1/os-services?binary=nova-compute",
            None,
        )
        .await?;
        let up = count(&services, "services", &|s| s["state"] == "up");
        let agents = ask(
            world,
            t,
            "network",
            "GET",
            "/v2.0/agents?fields=alive&fields=agent_type",
            None,
        )
        .await?;
        let alive = count(&agents, "agents", &|a| {
            a["alive"] == true && a["agent_type"] == "Linux bridge agent"
        });
        let providers = ask(world, t, "placement", "GET", "/resource_providers", None).await?;
        let known = count(&providers, "resource_providers", &|_| true);
        if [up, alive, known].iter().all(|n| *n >= hosts as usize) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "of {hosts} hosts {up} are up, {alive} have an agent, {known} a provider, after {PATIENCE:?}"
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn words(error: base::Error) -> anyhow::Error {
    anyhow!("{}", error.log_message())
}

async fn count(db: &Db, select: SelectStatement) -> Result<i64> {
    let found = db
        .read(move |tx| tx.scalar::<i64>(&select))
        .await
        .map_err(words)?;
    Ok(found.unwrap_or(0))
}

fn counting(table: &'static str) -> SelectStatement {
    Query::select()
        .expr(Expr::val(1).count())
        .from(table)
        .to_owned()
}

fn in_state(state: Option<&str>) -> SelectStatement {
    let mut select = counting("instances");
    select.cond_where(is_null("deleted_at"));
    if let Some(state) = state {
        select.and_where(Expr::col("vm_state").eq(state));
    }
    select
}

/// Asks for all servers, never more than `outstanding` beyond those that came to an end, and waits for the last.
pub async fn boot(world: &mut World, seeded: &Seeded, options: &Options) -> Result<()> {
    let db = world.database("nova").await?;
    let url = world.url("compute")?.to_string();
    let bytes = Arc::new(request(
        "POST",
        "/v2.1/servers",
        &seeded.token,
        &[],
        Some(&seeded.body),
    ));
    let left = Arc::new(AtomicUsize::new(options.servers));
    let room = Arc::new(Semaphore::new(options.outstanding));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (url, bytes, left, room) = (url.clone(), bytes.clone(), left.clone(), room.clone());
        askers.spawn(async move {
            let mut client = Client::connect(&url).await?;
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                room.acquire().await?.forget();
                let answer = client.send(&bytes).await?;
                let words = String::from_utf8_lossy(&answer.body);
                anyhow::ensure!(answer.status == 202, "boot: {} {words}", answer.status);
            }
            Ok(())
        });
    }
    let mut ended = 0;
    let mut progress = Instant::now();
    while ended < options.servers {
        while let Some(done) = askers.try_join_next() {
            done??;
        }
        let now = count(&db, ended_ones()).await? as usize;
        room.add_permits(now - ended.min(now));
        if now > ended {
            progress = Instant::now();
        }
        ended = now;
        if progress.elapsed() > PATIENCE {
            bail!(
                "{ended} of {} servers, and then nothing for {PATIENCE:?}",
                options.servers
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failed = count(&db, in_state(Some("error"))).await?;
    if failed > 0 {
        bail!(
            "{failed} servers are in ERROR; the first says: {}",
            first_fault(&db).await?
        );
    }
    let active = count(&db, in_state(Some("active"))).await?;
    anyhow::ensure!(
        active as usize == options.servers,
        "{active} servers are ACTIVE"
    );
    Ok(())
}

fn ended_ones() -> SelectStatement {
    let mut select = in_state(None);
    select.and_where(Expr::col("vm_state").ne("building"));
    select
}

async fn first_fault(db: &Db) -> Result<String> {
    let mut select = Query::select();
    select
        .column("fault")
        .from("instances")
        .and_where(Expr::col("vm_state").eq("error"))
        .limit(1);
    let fault = db
        .read(move |tx| tx.scalar::<Option<String>>(&select))
        .await
        .map_err(words)?;
    Ok(fault.flatten().unwrap_or_default())
}

/// From the request to ACTIVE, by the rows of the servers.
pub async fn times(world: &mut World) -> Result<Times> {
    let db = world.database("nova").await?;
    let rows = db.read(|tx| {
        let mut select = Query::select();
        select
            .columns(["created_at", "launched_at"])
            .from("instances")
            .cond_where(is_null("deleted_at"));
        let rows = tx.query(&select)?;
        rows.iter()
            .map(|r| Ok((r.get::<i64>(0)?, r.get::<Option<i64>>(1)?)))
            .collect::<base::Result<Vec<_>>>()
    });
    let rows = rows.await.map_err(words)?;
    let took = |(created, launched): (i64, Option<i64>)| Some((launched? - created) as f64 / 1e6);
    let mut times: Vec<f64> = rows.into_iter().filter_map(took).collect();
    times.sort_by(f64::total_cmp);
    Ok(Times(times))
}

/// How many hosts have a server, and how many the fullest has.
pub async fn hosts_used(world: &mut World) -> Result<Value> {
    let db = world.database("nova").await?;
    let rows = db.read(|tx| {
        let mut select = Query::select();
        select
            .column("host")
            .expr(Expr::val(1).count())
            .from("instances")
            .cond_where(is_null("deleted_at"))
            .group_by_col("host");
        let rows = tx.query(&select)?;
        rows.iter()
            .map(|r| r.get::<i64>(1))
            .collect::<base::Result<Vec<_>>>()
    });
    let rows = rows.await.map_err(words)?;
    Ok(json!({"hosts": rows.len(), "most on one": rows.iter().max()}))
}

/// Deletes every server through the API and waits until none is left.
pub async fn delete_all(world: &mut World, seeded: &Seeded, options: &Options) -> Result<()> {
    let db = world.database("nova").await?;
    let ids = db.read(|tx| {
        let mut select = Query::select();
        select
            .column("id")
            .from("instances")
            .cond_where(is_null("deleted_at"));
        let rows = tx.query(&select)?;
        rows.iter()
            .map(|r| r.get::<String>(0))
            .collect::<base::Result<Vec<_>>>()
    });
    let ids = ids.await.map_err(words)?;
    let url = world.url("compute")?.to_string();
    let room = Arc::new(Semaphore::new(options.outstanding));
    let mut askers = tokio::task::JoinSet::new();
    for part in ids.chunks(ids.len().div_ceil(CONNECTIONS).max(1)) {
        let (url, room, token, part) = (
            url.clone(),
            room.clone(),
            seeded.token.clone(),
            part.to_vec(),
        );
        askers.spawn(async move {
            let mut client = Client::connect(&url).await?;
            for id in part {
                room.acquire().await?.forget();
                let path = format!("/v2.1/servers/{id}");
                let answer = client
                    .send(&request("DELETE", &path, &token, &[], None))
                    .await?;
                anyhow::ensure!(answer.status == 204, "delete: {}", answer.status);
            }
            Ok(())
        });
    }
    let (mut left, mut progress) = (ids.len(), Instant::now());
    while left > 0 {
        while let Some(done) = askers.try_join_next() {
            done??;
        }
        let now = count(&db, in_state(None)).await? as usize;
        room.add_permits(left.saturating_sub(now));
        if now < left {
            progress = Instant::now();
        }
        left = now;
        anyhow::ensure!(
            progress.elapsed() < PATIENCE,
            "{left} servers are not deleted"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What should not be there any more, and is.
pub async fn left_over(world: &mut World, seeded: &Seeded) -> Result<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut left = Vec::new();
        let nova = world.database("nova").await?;
        let placement = world.database("placement").await?;
        let ports = ask(
            world,
            &seeded.token,
            "network",
            "GET",
            "/v2.0/ports?device_owner=compute:nova&fields=id",
            None,
        )
        .await?;
        let ports = ports["ports"].as_array().context("ports")?.len() as i64;
        for (what, n) in [
            ("servers", count(&nova, in_state(None)).await?),
            ("flows", count(&nova, counting("flows")).await?),
            (
                "allocations",
                count(&placement, counting("allocations")).await?,
            ),
            ("consumers", count(&placement, counting("consumers")).await?),
            ("ports", ports),
            ("guests", world.guests() as i64),
        ] {
            if n > 0 {
                left.push(format!("{n} {what}"));
            }
        }
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
