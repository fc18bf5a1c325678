//! `ferrostack explain server ID`: every host, with the filter that refused it or the weights it got.

use crate::boot;
use crate::config::Settings;
use anyhow::{Context, Result};
use nova::db::instances::InstanceRow;
use nova::db::scheduling::SchedulingRow;
use oslo_db::eq;
use serde_json::Value;

/// Reads nova's database, whichever it is; works while the cloud runs and after it ended.
pub async fn server(settings: &Settings, id: &str) -> Result<()> {
    let path = settings.default.state_path.join("db/nova.sqlite");
    anyhow::ensure!(
        !settings.database.connection.is_empty() || path.exists(),
        "no database at {}; is --state right?",
        path.display()
    );
    let db = boot::database(settings, "nova")
        .await
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    let key = id.to_string();
    let (row, record) = db
        .read(move |tx| {
            Ok((
                tx.find::<InstanceRow>(eq("id", key.as_str()))?,
                tx.find::<SchedulingRow>(eq("instance_id", key.as_str()))?,
            ))
        })
        .await
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    let row = row.with_context(|| {
        format!("there is no server {id}; `openstack server list --all-projects` shows the ids")
    })?;
    println!(
        "server {} ({}): {} {}",
        row.id,
        row.display_name,
        row.vm_state,
        row.task_state.map(|t| t.to_string()).unwrap_or_default()
    );
    if let Some(fault) = &row.fault {
        println!("fault: {}", fault.0.message);
    }
    let Some(record) = record else {
        println!("It was not scheduled yet.");
        return Ok(());
    };
    let outcome = &record.outcome.0;
    println!(
        "scheduled at {} by request {}",
        record.created_at.iso_z(),
        record.request_id
    );
    let chosen = outcome["chosen"].as_str();
    println!("chosen: {}\n", chosen.unwrap_or("none"));
    let empty = Vec::new();
    for s in outcome["outcome"]["survivors"].as_array().unwrap_or(&empty) {
        let weights: Vec<String> = s["weights"]
            .as_array()
            .unwrap_or(&empty)
            .iter()
            .map(weight)
            .collect();
        let mark = if s["host"].as_str() == chosen {
            "*"
        } else {
            " "
        };
        println!(
            "{mark} {:<24} weight {:>7.3}   {}",
            s["host"].as_str().unwrap_or(""),
            s["total"].as_f64().unwrap_or(0.0),
            weights.join("  ")
        );
    }
    for r in outcome["outcome"]["rejected"].as_array().unwrap_or(&empty) {
        println!(
            "- {:<24} {:<32} {}",
            text(&r["host"]),
            text(&r["filter"]),
            text(&r["reason"])
        );
    }
    for (which, words) in [
        ("survivors", "that would do"),
        ("rejected", "that would not"),
    ] {
        let left_out = outcome["left_out"][which].as_u64().unwrap_or(0);
        if left_out > 0 {
            println!("… and {left_out} more {words}");
        }
    }
    Ok(())
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or("")
}

fn weight(pair: &Value) -> String {
    format!("{} {:.3}", text(&pair[0]), pair[1].as_f64().unwrap_or(0.0))
}
