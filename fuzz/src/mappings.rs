//! Rules that make local users of what an identity provider says, and assertions: neither makes the engine run for long or
//! its outcome grow, nobody comes of nothing, and what no rule looks at changes nothing.

use crate::mapping::{Mapped, map};
use serde_json::Value;

/// What the engine promises at most.
const RESULTS: usize = 512;
const TEXT: usize = 64 << 10;

/// Rules and an assertion in JSON, with a zero byte between them.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (rules, assertion) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b"{}"));
    assert!(map(rules, b"{}").is_err(), "somebody came of nothing");
    let outcome = map(rules, assertion);
    if let Ok(mapped) = &outcome {
        bounded(mapped);
    }
    let Ok(Value::Object(mut more)) = serde_json::from_slice(assertion) else {
        return;
    };
    more.insert("no rule looks at this".into(), "x".into());
    let more = map(rules, Value::Object(more).to_string().as_bytes());
    if !String::from_utf8_lossy(rules).contains("no rule") {
        assert_eq!(more.is_ok(), outcome.is_ok());
        if let (Ok(one), Ok(other)) = (outcome, more) {
            assert_eq!(one, other);
        }
    }
}

fn bounded(mapped: &Mapped) {
    let projects = mapped.projects.iter().flatten();
    let user = &mapped.user;
    let texts = [&user.id, &user.name, &user.email].into_iter().flatten();
    let texts = texts
        .chain(&mapped.group_ids)
        .chain(mapped.groups.iter().map(|group| &group.name))
        .chain(projects.clone().map(|project| &project.name))
        .chain(projects.clone().flat_map(|project| &project.roles));
    for text in texts {
        assert!(text.len() <= TEXT);
    }
    assert!(mapped.group_ids.len() <= RESULTS && mapped.groups.len() <= RESULTS);
    assert!(projects.count() <= RESULTS);
}
