//! `bench identity`: keystone's promises beside the CPU of a request: what a login costs beside the hash alone, how far the
//! slowest answers are from the usual ones when many ask at once, and that a million users slow nobody down.

use crate::cloud::Cloud;
use crate::http::request;
use crate::seed::{ask, login};
use crate::{Result1, Row, measure};
use anyhow::{Context, Result};
use clap::Args;
use oslo_db::Db;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Measures keystone with few users and with many.
#[derive(Args, Clone)]
pub struct Options {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/ferrostack")]
    binary: PathBuf,
    /// So many are many.
    #[arg(long, default_value_t = 1_000_000)]
    users: usize,
    /// Seconds for each request.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

/// So many are few: enough for a page.
const FEW: usize = 100;
const DOMAIN: &str = "default";

oslo_db::table! {
    /// A user, as far as one must be filled in.
    struct UserRow in "identity_users" {
        id: String,
        name: String,
        domain_id: String,
        enabled: bool,
        options: String,
        extra: String,
    }
}

/// Puts users into the database of a cloud that is not running.
async fn grow(state: &Path, from: usize, to: usize) -> Result<()> {
    let path = state.join("db/keystone.sqlite");
    let db = Db::open(&format!("sqlite://{}", path.display())).await?;
    let numbers: Vec<usize> = (from..to).collect();
    for some in numbers.chunks(20_000) {
        let rows: Vec<UserRow> = some
            .iter()
            .map(|n| UserRow {
                id: base::new_hex_id(),
                name: format!("user-{n}"),
                domain_id: DOMAIN.into(),
                enabled: true,
                options: "{}".into(),
                extra: "{}".into(),
            })
            .collect();
        db.write(move |tx| tx.insert_all(&rows)).await?;
    }
    Ok(())
}

/// CPU-ms of comparing a password with a hash of bcrypt's least cost, as the administrator's is, and nothing else.
fn bare_hash(seconds: f64) -> Result<f64> {
    const COST: u32 = 4;
    let hash = bcrypt::hash("a password", COST)?;
    let own = || -> Result<f64> {
        let text = std::fs::read_to_string("/proc/self/stat")?;
        let rest = text.rsplit(')').next().context("stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) * 10.0)
    };
    let (begun, mut count) = (own()?, 0u32);
    while own()? - begun < seconds * 1000.0 {
        for _ in 0..50 {
            anyhow::ensure!(bcrypt::verify("a password", &hash)?, "bcrypt");
        }
        count += 50;
    }
    Ok((own()? - begun) / f64::from(count))
}

struct Bench {
    options: Options,
    state: PathBuf,
}

impl Bench {
    async fn row(
        &self,
        cloud: &Cloud,
        concurrency: usize,
        name: &'static str,
        request: Vec<u8>,
        expect: u16,
    ) -> Result<Result1> {
        let row = Row {
            name,
            target: 0.0,
            upstream: 0.0,
            service: "identity",
            request,
            expect,
            at_most: usize::MAX,
        };
        let options = crate::Options {
            other: None,
            binary: self.options.binary.clone(),
            json: false,
            seconds: self.options.seconds,
            only: String::new(),
            concurrency,
        };
        measure(cloud, &row, &options).await
    }

    async fn token(&self, cloud: &Cloud) -> Result<String> {
        let body = Some(login(&cloud.password));
        let made = ask(cloud, "", "identity", "POST", "/v3/auth/tokens", &[], body).await?;
        Ok(made["subject"].as_str().context("a token")?.to_string())
    }

    /// CPU-ms of what must not depend on how many users there are.
    async fn alike(&self, cloud: &Cloud) -> Result<Vec<(&'static str, f64)>> {
        let token = self.token(cloud).await?;
        let t = token.as_str();
        let subject: &[(&str, &str)] = &[("x-subject-token", t)];
        let mut found = Vec::new();
        for (name, path, headers) in [
            ("token validate", "/v3/auth/tokens", subject),
            ("20 users", "/v3/users?limit=20", &[]),
            (
                "20 users of a domain",
                "/v3/users?limit=20&domain_id=default",
                &[],
            ),
            (
                "a user by name",
                "/v3/users?domain_id=default&name=user-7",
                &[],
            ),
        ] {
            let bytes = request("GET", path, t, headers, None);
            found.push((name, self.row(cloud, 4, name, bytes, 200).await?.cpu_ms));
        }
        let by_token = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": t}}}});
        let bytes = request("POST", "/v3/auth/tokens", "", &[], Some(&by_token));
        let name = "token by token";
        found.push((name, self.row(cloud, 4, name, bytes, 201).await?.cpu_ms));
        Ok(found)
    }

    async fn together(&self, cloud: &Cloud) -> Result<()> {
        let token = self.token(cloud).await?;
        let t = token.as_str();
        let by_token = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": t}}}});
        let get = |path: &str| request("GET", path, t, &[("x-subject-token", t)], None);
        for (name, bytes, expect) in [
            ("token validate", get("/v3/auth/tokens"), 200),
            (
                "token by token",
                request("POST", "/v3/auth/tokens", "", &[], Some(&by_token)),
                201,
            ),
            ("20 users", get("/v3/users?limit=20"), 200),
        ] {
            let r = self.row(cloud, 16, name, bytes, expect).await?;
            let times = r.p99 / r.p50;
            let verdict = if times <= 5.0 { "met" } else { "MISS" };
            println!(
                "{name:<24} p50 {:.2} ms, p99 {:.2} ms at 16 at once: {times:.1} times, target 5: {verdict}",
                r.p50, r.p99
            );
        }
        Ok(())
    }

    async fn password(&self, cloud: &Cloud) -> Result<()> {
        let bare = bare_hash(self.options.seconds)?;
        let bytes = request(
            "POST",
            "/v3/auth/tokens",
            "",
            &[],
            Some(&login(&cloud.password)),
        );
        let r = self.row(cloud, 2, "login", bytes, 201).await?;
        let times = r.cpu_ms / bare;
        let verdict = if times <= 1.1 { "met" } else { "MISS" };
        println!(
            "a login costs {:.3} CPU-ms, the hash alone {bare:.3} (bcrypt, cost 4): {times:.2} times, target 1.1: {verdict}",
            r.cpu_ms
        );
        Ok(())
    }

    async fn story(&self) -> Result<()> {
        let start = || Cloud::start(&self.options.binary, &self.state);
        start().await?.stop().await?;
        grow(&self.state, 0, FEW).await?;
        let cloud = start().await?;
        self.password(&cloud).await?;
        self.together(&cloud).await?;
        let few = self.alike(&cloud).await?;
        cloud.stop().await?;
        grow(&self.state, FEW, self.options.users).await?;
        let cloud = start().await?;
        let many = self.alike(&cloud).await?;
        cloud.stop().await?;
        for ((name, few), (_, many)) in few.into_iter().zip(many) {
            let times = many / few;
            let verdict = if times <= 1.2 { "met" } else { "MISS" };
            println!(
                "{name:<24} CPU-ms {few:.3} with {FEW} users, {many:.3} with {}: {times:.2} times, target 1.2: {verdict}",
                self.options.users
            );
        }
        Ok(())
    }
}

/// Runs it in a directory of its own, which is gone afterwards.
pub async fn run(options: Options) -> Result<()> {
    let state = std::env::temp_dir().join(format!("ferrostack-bench-{}", std::process::id()));
    let bench = Bench { options, state };
    let outcome = bench.story().await;
    let _ = std::fs::remove_dir_all(&bench.state);
    outcome
}
