//! Images: one of them, and a page of their list among few and among very many.

use crate::cloud::Cloud;
use crate::http::{Client, request};
use crate::seed::Seeded;
use crate::{Options, Row, measure, show};
use anyhow::Result;
use serde_json::json;

/// So many images are many.
const MANY: usize = 100_000;
/// So many fill a page.
const PAGE: usize = 25;
/// What a page may cost among many, compared with one among few.
const SAME: f64 = 1.2;

fn get(s: &Seeded, name: &'static str, target: f64, upstream: f64, path: &str) -> Row {
    Row {
        name,
        target,
        upstream,
        service: "image",
        request: request("GET", path, &s.token, &[], None),
        expect: 200,
        at_most: usize::MAX,
    }
}

/// The row of a single image.
pub fn one(s: &Seeded) -> Row {
    let path = format!("/v2/images/{}", s.image);
    get(s, "show image", 0.1, 7.9, &path)
}

/// Pages of the list, at its beginning and in its middle: among few images, then among 100,000. What they cost among few, and
/// 20 % more, is what they may cost among many.
pub async fn pages(cloud: &Cloud, s: &Seeded, options: &Options) -> Result<()> {
    let middle = create(cloud, s, 2 * PAGE, options.concurrency).await?;
    let first = format!("/v2/images?limit={PAGE}");
    // Read from behind, so that a full page follows.
    let behind = |marker: &str| format!("{first}&sort=created_at:desc&marker={marker}");
    let later = behind(&middle);
    let few = ["a page of images", "a later page of images"];
    let many = [
        "a page of images, 100,000 in all",
        "a later page of images, 100,000",
    ];
    let mut targets = [0.0; 2];
    for (n, path) in [&first, &later].into_iter().enumerate() {
        let result = measure(cloud, &get(s, few[n], 0.0, 0.0, path), options).await?;
        show(options, few[n], &result, 0.0, 0.0);
        targets[n] = result.cpu_ms * SAME;
    }
    let later = behind(&create(cloud, s, MANY, options.concurrency).await?);
    for (n, path) in [&first, &later].into_iter().enumerate() {
        let result = measure(cloud, &get(s, many[n], targets[n], 0.0, path), options).await?;
        show(options, many[n], &result, targets[n], 0.0);
    }
    Ok(())
}

/// Makes images over several connections; the id of one from the middle.
async fn create(cloud: &Cloud, s: &Seeded, count: usize, connections: usize) -> Result<String> {
    let body = json!({"name": "one of many", "disk_format": "raw", "container_format": "bare"});
    let bytes = request("POST", "/v2/images", &s.token, &[], Some(&body));
    let share = count.div_ceil(connections.max(1));
    let mut tasks = Vec::new();
    for _ in 0..connections.max(1) {
        let (url, bytes) = (cloud.url("image")?.to_string(), bytes.clone());
        tasks.push(tokio::spawn(async move {
            let mut client = Client::connect(&url).await?;
            let mut middle = String::new();
            for n in 0..share {
                let answer = client.send(&bytes).await?;
                anyhow::ensure!(answer.status == 201, "create: {}", answer.status);
                if n == share / 2 {
                    middle = answer.json()["id"].as_str().unwrap_or_default().to_string();
                }
            }
            Ok(middle)
        }));
    }
    let mut middle = String::new();
    for task in tasks {
        middle = task.await??;
    }
    Ok(middle)
}
