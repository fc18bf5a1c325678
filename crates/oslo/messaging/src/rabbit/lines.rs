//! The connections that servers take messages over. Those of one topic share them: each costs a thread here, and its share
//! of the broker, and one process may be very many servers.

use super::{Shared, link};
use lapin::Connection;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tokio::sync::Mutex;

/// So many servers share a connection, with a channel each.
const SERVERS: usize = 64;

/// The connections there are, by topic.
#[derive(Default)]
pub(super) struct Lines(Mutex<HashMap<String, Vec<Weak<Connection>>>>);

/// A connection for one more server of the topic; for as long as it takes.
pub(super) async fn line(shared: &Shared, topic: &str) -> Arc<Connection> {
    // Held while connecting, so that those who wait share what comes of it.
    let mut lines = shared.lines.0.lock().await;
    let lines = lines.entry(topic.to_string()).or_default();
    lines.retain(|line| line.strong_count() > 0);
    let room = |line: &Arc<Connection>| {
        // One of them is ours.
        line.status().connected() && Arc::strong_count(line) <= SERVERS
    };
    if let Some(line) = lines.iter().filter_map(Weak::upgrade).find(room) {
        return line;
    }
    let line = Arc::new(link::connect(shared, topic).await);
    lines.push(Arc::downgrade(&line));
    line
}
