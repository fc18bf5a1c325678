//! Revocations as this process knows them: read from the database when the generation moves.

use crate::db::revocations::RevocationRow;
use base::Timestamp;
use std::collections::HashMap;

/// Each thing revoked, with the newest time up to which its tokens are no longer good.
#[derive(Default)]
pub(crate) struct Revocations {
    tokens: HashMap<String, Timestamp>,
    users: HashMap<String, Timestamp>,
    projects: HashMap<String, Timestamp>,
    domains: HashMap<String, Timestamp>,
    newest: Timestamp,
}

/// What of a token revocations look at.
pub(crate) struct Subject<'a> {
    pub audit_id: &'a str,
    /// Who acts, and in whose name.
    pub user_ids: [Option<&'a str>; 2],
    pub project_id: Option<&'a str>,
    /// Of the user, of the project, of the scope, of the trustor.
    pub domain_ids: [Option<&'a str>; 4],
    pub issued_at: Timestamp,
}

impl Revocations {
    /// The time of the newest one known.
    pub(crate) fn newest(&self) -> Timestamp {
        self.newest
    }

    /// Takes up rows, known or new.
    pub(crate) fn absorb(&mut self, rows: Vec<RevocationRow>) {
        for row in rows {
            self.newest = self.newest.max(row.issued_before);
            let places = [
                (&mut self.tokens, row.audit_id),
                (&mut self.users, row.user_id),
                (&mut self.projects, row.project_id),
                (&mut self.domains, row.domain_id),
            ];
            for (place, id) in places {
                if let Some(id) = id {
                    let before = place.entry(id).or_insert(row.issued_before);
                    *before = (*before).max(row.issued_before);
                }
            }
        }
    }

    /// Drops those that no token can outlive.
    pub(crate) fn forget(&mut self, before: Timestamp) {
        for place in [
            &mut self.tokens,
            &mut self.users,
            &mut self.projects,
            &mut self.domains,
        ] {
            place.retain(|_, issued_before| *issued_before >= before);
        }
    }

    pub(crate) fn hit(&self, subject: &Subject<'_>) -> bool {
        let over = |place: &HashMap<String, Timestamp>, id: Option<&str>| {
            id.and_then(|id| place.get(id))
                .is_some_and(|before| subject.issued_at <= *before)
        };
        // An audit id is one token's, whenever it was made: the clock of the process that ended it may be behind.
        self.tokens.contains_key(subject.audit_id)
            || subject.user_ids.iter().any(|u| over(&self.users, *u))
            || over(&self.projects, subject.project_id)
            || subject.domain_ids.iter().any(|d| over(&self.domains, *d))
    }
}
