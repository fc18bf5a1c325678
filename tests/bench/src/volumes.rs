//! Rows about volumes: one, new ones, and pages of very many.

use crate::cloud::Cloud;
use crate::http::{Client, request};
use crate::seed::{Seeded, ask, wait_for};
use crate::{Options, Result1, Row, measure, show};
use anyhow::{Context, Result};
use cinder::db::VolumeRow;
use oslo_db::{Db, everything};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// As many as the project shall have.
const MANY: usize = 100_000;

fn list(s: &Seeded, name: &'static str, target: f64, query: &str) -> Row {
    let path = format!("/v3/{}/volumes/detail?limit=100{query}", s.project);
    Row {
        name,
        target,
        upstream: 102.0,
        service: "volumev3",
        request: request("GET", &path, &s.token, &[], None),
        expect: 200,
        at_most: usize::MAX,
    }
}

/// Makes so many volumes and waits until all are available: everything a volume costs, not only its request.
async fn creates(cloud: &Cloud, s: &Seeded, count: usize) -> Result<Result1> {
    let path = format!("/v3/{}/volumes", s.project);
    let available = format!("{path}?status=available&name=bench&limit=1000");
    let body = json!({"volume": {"name": "bench", "size": 1}});
    let bytes = request("POST", &path, &s.token, &[], Some(&body));
    let cpu = cloud.cpu()?;
    let begun = Instant::now();
    let mut client = Client::connect(cloud.url("volumev3")?).await?;
    let mut times = Vec::new();
    for _ in 0..count {
        let sent = Instant::now();
        let answer = client.send(&bytes).await?;
        anyhow::ensure!(answer.status == 202, "create a volume: {}", answer.status);
        times.push(sent.elapsed().as_secs_f64() * 1000.0);
    }
    let all = move |v: &Value| v["volumes"].as_array().is_some_and(|l| l.len() >= count);
    wait_for(cloud, &s.token, "volumev3", &available, all).await?;
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

/// Copies one volume's row until there are so many; each a second older than the one before.
async fn fill(state: &Path) -> Result<()> {
    let url = format!("sqlite:{}", state.join("db/cinder.sqlite").display());
    let wrong = |e: base::Error| anyhow::anyhow!("{e}");
    let db = Db::open(&url).await.map_err(wrong)?;
    let (model, there) = db
        .read(|tx| {
            Ok((
                tx.find::<VolumeRow>(everything())?,
                tx.count::<VolumeRow>(everything())?,
            ))
        })
        .await
        .map_err(wrong)?;
    let model = model.context("no volume was seeded")?;
    let mut made = there as usize;
    while made < MANY {
        let some = (MANY - made).min(2000);
        let rows: Vec<VolumeRow> = (0..some)
            .map(|i| {
                let mut row = model.clone();
                row.id = base::new_id();
                row.created_at = row.created_at.minus(Duration::from_secs((made + i) as u64));
                row
            })
            .collect();
        db.write(move |tx| tx.insert_all(&rows))
            .await
            .map_err(wrong)?;
        made += some;
    }
    Ok(())
}

/// All of them, as far as they are wanted.
pub async fn run(cloud: &Cloud, s: &Seeded, options: &Options, state: &Path) -> Result<()> {
    let wanted = |name: &str| name.contains(&options.only);
    let path = format!("/v3/{}/volumes?limit=1", s.project);
    let one = ask(cloud, &s.token, "volumev3", "GET", &path, &[], None).await?;
    let id = one["volumes"][0]["id"]
        .as_str()
        .context("no volume was seeded")?;
    if wanted("show a volume") {
        let path = format!("/v3/{}/volumes/{id}", s.project);
        let row = Row {
            name: "show a volume",
            target: 0.15,
            upstream: 18.6,
            service: "volumev3",
            request: request("GET", &path, &s.token, &[], None),
            expect: 200,
            at_most: usize::MAX,
        };
        let r = measure(cloud, &row, options).await?;
        show(options, row.name, &r, row.target, row.upstream);
    }
    if wanted("create a fake volume") {
        let r = creates(cloud, s, 200).await?;
        show(options, "create a fake volume", &r, 5.0, 263.0);
    }
    if wanted("100 of 100,000 volumes") {
        let few = list(s, "100 volumes, of few", 1.5, "");
        let few = measure(cloud, &few, options).await?;
        show(options, "100 volumes, of few", &few, 1.5, 102.0);
        fill(state).await?;
        // The same within a fifth, wherever the page is.
        let target = few.cpu_ms * 1.2;
        let first = list(s, "100 of 100,000 volumes, first", target, "");
        let r = measure(cloud, &first, options).await?;
        show(options, first.name, &r, target, first.upstream);
        let far = format!("/v3/{}/volumes?limit=1&offset={}", s.project, MANY / 2);
        let far = ask(cloud, &s.token, "volumev3", "GET", &far, &[], None).await?;
        let marker = far["volumes"][0]["id"]
            .as_str()
            .context("no volume in the middle")?;
        let query = format!("&marker={marker}");
        let middle = list(s, "100 of 100,000 volumes, middle", target, &query);
        let r = measure(cloud, &middle, options).await?;
        show(options, middle.name, &r, target, middle.upstream);
    }
    Ok(())
}
