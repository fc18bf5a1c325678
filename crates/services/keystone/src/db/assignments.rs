//! Who holds which role where.

use base::Result;
use oslo_db::{Cond, Tx, all, eq};

base::str_enum! {
    /// Who, on what; the words are those of upstream's database.
    pub(crate) enum AssignmentKind {
        UserProject = "UserProject",
        GroupProject = "GroupProject",
        UserDomain = "UserDomain",
        GroupDomain = "GroupDomain",
        UserSystem = "UserSystem",
        GroupSystem = "GroupSystem",
    }
}

impl AssignmentKind {
    pub(crate) fn is_group(self) -> bool {
        matches!(
            self,
            AssignmentKind::GroupProject
                | AssignmentKind::GroupDomain
                | AssignmentKind::GroupSystem
        )
    }
}

/// The target of assignments on the system.
pub(crate) const SYSTEM: &str = "system";

oslo_db::table! {
    /// An assignment; `inherited` ones hold below their target, not on it.
    pub(crate) struct AssignmentRow in "identity_assignments" {
        pub kind: AssignmentKind,
        pub actor_id: String,
        pub target_id: String,
        pub role_id: String,
        pub inherited: bool,
    }
}

impl AssignmentRow {
    pub(crate) fn key(&self) -> Cond {
        all([
            eq("kind", self.kind),
            eq("actor_id", &self.actor_id),
            eq("target_id", &self.target_id),
            eq("role_id", &self.role_id),
            eq("inherited", self.inherited),
        ])
    }
}

/// Adds an assignment; one that exists already is fine.
pub(crate) fn ensure(tx: &mut Tx, row: &AssignmentRow) -> Result<()> {
    tx.upsert(
        row,
        &["kind", "actor_id", "target_id", "role_id", "inherited"],
    )
}
