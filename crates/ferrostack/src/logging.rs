//! Logs: words on the terminal, JSON lines in `STATE/logs/NAME.log`, where `ferrostack trace` finds them again.

use base::{Error, Result};
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
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
        .with(json.with_filter(in_file.and(without_bodies())))
        .with(words.with_filter(parse("warn".into())?.and(without_bodies())))
        .try_init()
        .map_err(Error::internal)
}

/// Whatever is asked for, lapin's events that hold messages stay out: bodies have tokens and passwords in them. It warns of each
/// message that nobody listens for, with all its bytes, and traces frames.
fn without_bodies<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Filter<S> {
    filter_fn(|event| {
        let of_lapin = event.target().starts_with("lapin");
        !of_lapin || (*event.level() <= Level::WARN && event.target() != "lapin::returned_messages")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bodies_of_messages_are_not_logged_even_if_everything_is() {
        let written = Written::default();
        let to = written.clone();
        let all = EnvFilter::try_new("trace,lapin=trace").unwrap();
        let layer = fmt::layer().with_writer(move || to.clone());
        let subscriber =
            tracing_subscriber::registry().with(layer.with_filter(all.and(without_bodies())));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "lapin::returned_messages", "secret one");
            tracing::trace!(target: "lapin::channels", "secret two");
            tracing::error!(target: "lapin::io_loop", "lost the broker");
            tracing::trace!(target: "nova", "boots");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("lost the broker"), "{text}");
        assert!(text.contains("boots"), "{text}");
    }
}
