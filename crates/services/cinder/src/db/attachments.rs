//! The table of attachments.

use crate::db::volumes::scope;
use crate::volume::status::AttachStatus;
use base::{Error, Json, Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq};
use serde_json::Value;

oslo_db::table! {
    /// A server's (or host's) claim on a volume.
    pub struct AttachmentRow in "attachments" {
        pub id: String,
        pub volume_id: String,
        pub project_id: String,
        pub instance_id: Option<String>,
        pub host: Option<String>,
        pub mountpoint: Option<String>,
        pub status: AttachStatus,
        pub mode: Option<String>,
        pub connector: Json<Value>,
        pub connection_info: Json<Value>,
        pub attached_at: Option<Timestamp>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

impl AttachmentRow {
    /// Whether it reaches the volume over the network, where its size is what it was at the beginning.
    pub fn over_nbd(&self) -> bool {
        self.connection_info.0["driver_volume_type"] == "nbd"
    }
}

/// The attachment, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<AttachmentRow> {
    tx.find::<AttachmentRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| {
            Error::not_found(format!(
                "Volume attachment could not be found with filter: attachment_id = {id}."
            ))
        })
}

/// Those of a volume, oldest first.
pub fn of_volume(tx: &mut Tx, volume_id: &str) -> Result<Vec<AttachmentRow>> {
    let sort = [("created_at", base::Dir::Asc), ("id", base::Dir::Asc)];
    tx.select_sorted::<AttachmentRow>(eq("volume_id", volume_id), &sort, None)
}
