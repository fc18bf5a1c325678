//! Which messages a server has already taken: a redelivery after a lost acknowledgement must not run twice.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// A bounded memory of unique ids; the oldest are forgotten first.
pub(crate) struct Seen {
    capacity: usize,
    inner: Mutex<(HashSet<String>, VecDeque<String>)>,
}

impl Seen {
    pub(crate) fn new(capacity: usize) -> Seen {
        Seen {
            capacity,
            inner: Mutex::default(),
        }
    }

    /// Whether the id is new; it is remembered then. Messages without id are always new.
    pub(crate) fn first_time(&self, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *inner;
        if !known.insert(id.to_string()) {
            return false;
        }
        order.push_back(id.to_string());
        if order.len() > self.capacity
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_few() {
        let seen = Seen::new(2);
        assert!(seen.first_time("a") && !seen.first_time("a") && seen.first_time("b"));
        assert!(seen.first_time("c"), "pushes a out");
        assert!(!seen.first_time("b") && seen.first_time("a"));
        assert!(seen.first_time("") && seen.first_time(""));
    }
}
