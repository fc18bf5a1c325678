//! `ferrostack trace REQUEST-ID`: one request's path through API, flows, RPC and the programs on the host, with times.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

struct Line {
    at: String,
    service: String,
    words: String,
    duration: Option<String>,
}

fn ids(entry: &Value) -> (Option<String>, Option<String>) {
    let mut own = None;
    let mut global = None;
    let fields = entry["spans"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(std::iter::once(&entry["fields"]));
    for f in fields {
        let text = |k: &str| f[k].as_str().filter(|s| !s.is_empty()).map(str::to_string);
        own = text("request.id").or(own);
        global = text("request.global_id").or(global);
    }
    (own, global)
}

/// Prints the path; an id that never occurs is an error. Every log of the state directory is read, and of the folders in
/// `more`: those of other hosts.
pub fn run(state: &Path, more: &[PathBuf], id: &str) -> Result<()> {
    let folders = std::iter::once(state.join("logs")).chain(more.iter().cloned());
    let mut files = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("no logs at {}; is --state right?", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "log") {
                files.push(path);
            }
        }
    }
    // A request's neighbours have ids of their own, and name the first one as the global id. Whoever is named in one
    // file may be met in another that was read before: until nobody new is found.
    let mut family: BTreeSet<String> = [id.to_string()].into();
    let mut lines = loop {
        let known = family.len();
        let mut lines = Vec::new();
        for file in &files {
            related(file, &mut family, &mut lines)?;
        }
        if family.len() == known || files.len() == 1 {
            break lines;
        }
    };
    lines.sort_by(|a, b| a.at.cmp(&b.at));
    anyhow::ensure!(
        !lines.is_empty(),
        "the log knows no request {id}; ids look like req-7a1f… and are in every reply's x-openstack-request-id header"
    );
    for l in lines {
        println!(
            "{}  {:<12} {}{}",
            l.at,
            l.service,
            l.words,
            l.duration.map(|d| format!("  ({d})")).unwrap_or_default()
        );
    }
    Ok(())
}

/// The entries of one file that belong to the family, which they may enlarge.
fn related(file: &Path, family: &mut BTreeSet<String>, lines: &mut Vec<Line>) -> Result<()> {
    for line in BufReader::new(std::fs::File::open(file)?).lines() {
        let line = line?;
        if !line.contains("req-") {
            continue;
        }
        let Ok(entry) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let (own, global) = ids(&entry);
        let is_one = own.as_ref().is_some_and(|i| family.contains(i))
            || global.as_ref().is_some_and(|g| family.contains(g));
        if is_one {
            family.extend(own);
            lines.push(describe(&entry));
        }
    }
    Ok(())
}

fn describe(entry: &Value) -> Line {
    let f = &entry["fields"];
    let mut words = f["message"].as_str().unwrap_or("").to_string();
    for (key, value) in f.as_object().into_iter().flatten() {
        if !matches!(
            key.as_str(),
            "message" | "duration_us" | "duration_ms" | "request.id" | "request.global_id"
        ) {
            words.push_str(&format!(
                "  {key}={}",
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_string)
            ));
        }
    }
    let spans = entry["spans"].as_array().cloned().unwrap_or_default();
    let service = spans
        .iter()
        .rev()
        .find_map(|s| s["service"].as_str())
        .map(str::to_string);
    let target = entry["target"]
        .as_str()
        .unwrap_or("")
        .split("::")
        .next()
        .unwrap_or("")
        .to_string();
    let duration = f["duration_us"]
        .as_u64()
        .map(|u| format!("{:.1} ms", u as f64 / 1000.0))
        .or_else(|| f["duration_ms"].as_u64().map(|m| format!("{m} ms")));
    Line {
        at: entry["timestamp"].as_str().unwrap_or("").to_string(),
        service: if target.starts_with("oslo_http") {
            service.unwrap_or(target)
        } else {
            target
        },
        words,
        duration,
    }
}
