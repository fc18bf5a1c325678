//! Logs: words on the terminal, JSON lines in `STATE/logs/NAME.log`, where `ferrostack trace` finds them again.

use base::{Error, Result};
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Starts logging of the process `name`. `filter` is `info`, `debug` or tracing's syntax; programs that run on the host, and RPC, are
/// always in the file, because a trace without them would end at the API.
pub fn start(state: &Path, name: &str, filter: &str) -> Result<()> {
    let dir = state.join("logs");
    std::fs::create_dir_all(&dir)?;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join(format!("{name}.log")))?;
    let parse = |text: String| {
        EnvFilter::try_new(&text)
            .map_err(|e| Error::bad_request(format!("[DEFAULT] log_filter: {e}")))
    };
    let in_file = parse(format!(
        "{filter},host_privsep=debug,oslo_messaging=debug,lapin=warn"
    ))?;
    let json = fmt::layer()
        .json()
        .with_current_span(false)
        .with_span_list(true)
        .with_target(true)
        .with_writer(Mutex::new(file));
    let words = fmt::layer()
        .compact()
        .with_target(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(json.with_filter(in_file))
        .with(words.with_filter(parse("warn".into())?))
        .try_init()
        .map_err(Error::internal)
}
