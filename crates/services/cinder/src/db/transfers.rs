//! The table of volumes that are offered to whoever has the key. Of the key it holds a hash.

use base::{Error, Result, Timestamp};
use oslo_context::{RequestContext, RowScope};
use oslo_db::{Cond, Tx, all, eq, everything};

oslo_db::table! {
    /// An offer of a volume.
    pub struct TransferRow in "transfers" {
        pub id: String,
        pub volume_id: String,
        pub name: Option<String>,
        pub salt: String,
        pub crypt_hash: String,
        pub no_snapshots: bool,
        pub source_project_id: String,
        pub created_at: Timestamp,
    }
}

/// The offers a caller may see: those of the own project.
pub fn scope(ctx: &RequestContext) -> Cond {
    match ctx.row_scope() {
        RowScope::All => everything(),
        RowScope::Project(project) => eq("source_project_id", project),
    }
}

/// No such offer, or none that this caller may see.
pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Transfer {id} could not be found."))
}

/// The offer, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<TransferRow> {
    tx.find::<TransferRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// What was offered of a volume that is gone.
pub fn forget(tx: &mut Tx, volume_id: &str) -> Result<()> {
    tx.delete::<TransferRow>(eq("volume_id", volume_id))
        .map(drop)
}
