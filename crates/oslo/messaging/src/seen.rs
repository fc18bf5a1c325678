//! Which messages a server has already taken: a redelivery after a lost acknowledgement must not run twice, and a caller
//! who asks again because the answer was lost gets the same answer.

use crate::dispatch::Answer;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Answers that are kept, of all messages that are remembered.
const ANSWERS: usize = 256;
/// Larger ones are not kept.
const LARGEST: usize = 64 << 10;

/// A bounded memory of unique ids; the oldest are forgotten first.
pub(crate) struct Seen {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashMap<String, Option<Answer>>,
    order: VecDeque<String>,
    answered: VecDeque<String>,
}

/// What is known of a message.
pub(crate) enum Known {
    /// Nothing; it is remembered from now on.
    New,
    /// It is worked on, or needs no answer, or that is forgotten.
    Taken,
    /// It was answered.
    Answered(Answer),
}

impl Seen {
    pub(crate) fn new(capacity: usize) -> Seen {
        Seen {
            capacity,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the id is new; it is remembered then. Messages without id are always new.
    pub(crate) fn look(&self, id: &str) -> Known {
        if id.is_empty() {
            return Known::New;
        }
        let mut inner = self.lock();
        match inner.known.get(id) {
            Some(Some(answer)) => return Known::Answered(answer.clone()),
            Some(None) => return Known::Taken,
            None => {}
        }
        inner.known.insert(id.to_string(), None);
        inner.order.push_back(id.to_string());
        if inner.order.len() > self.capacity
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
        Known::New
    }

    /// Whether the id is remembered.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.lock().known.contains_key(id)
    }

    /// Takes the id for a new one the next time.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().known.remove(id);
    }

    /// Keeps an answer, for those who ask again.
    pub(crate) fn answered(&self, id: &str, answer: &Answer) {
        if id.is_empty() || answer.body.len() > LARGEST {
            return;
        }
        let mut inner = self.lock();
        let Some(known) = inner.known.get_mut(id) else {
            return;
        };
        *known = Some(answer.clone());
        inner.answered.push_back(id.to_string());
        if inner.answered.len() > ANSWERS
            && let Some(oldest) = inner.answered.pop_front()
            && let Some(known) = inner.known.get_mut(&oldest)
        {
            *known = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(seen: &Seen, id: &str) -> bool {
        matches!(seen.look(id), Known::New)
    }

    #[test]
    fn remembers_the_last_few() {
        let seen = Seen::new(2);
        assert!(new(&seen, "a") && !new(&seen, "a") && new(&seen, "b"));
        assert!(new(&seen, "c"), "pushes a out");
        assert!(!new(&seen, "b") && new(&seen, "a"));
        assert!(new(&seen, "") && new(&seen, "") && !seen.knows(""));
        assert!(seen.knows("a"));
        seen.forget("a");
        assert!(!seen.knows("a") && new(&seen, "a"));
    }

    #[test]
    fn keeps_answers_for_a_while() {
        let answer = |body: Vec<u8>| Answer {
            reply_q: "q".into(),
            msg_id: "m".into(),
            body,
        };
        let seen = Seen::new(1000);
        assert!(new(&seen, "first") && new(&seen, "large"));
        assert!(matches!(seen.look("first"), Known::Taken));
        seen.answered("first", &answer(vec![1]));
        seen.answered("large", &answer(vec![0; LARGEST + 1]));
        seen.answered("never seen", &answer(vec![1]));
        assert!(matches!(seen.look("first"), Known::Answered(a) if a.body == [1]));
        assert!(matches!(seen.look("large"), Known::Taken));
        for n in 0..ANSWERS {
            let id = n.to_string();
            assert!(new(&seen, &id));
            seen.answered(&id, &answer(vec![2]));
        }
        assert!(matches!(seen.look("first"), Known::Taken), "once is enough");
        assert!(matches!(seen.look("0"), Known::Answered(_)));
        assert_eq!(seen.lock().answered.len(), ANSWERS);
    }
}
