//! What a project has, counted from live rows.

use super::{ImageRow, LocationStatus, PropertyRow};
use crate::import::IMPORTING;
use crate::limits::Limited;
use base::Result;
use glance_types::ImageStatus;
use oslo_db::sea_query::{Expr, ExprTrait, Func, Query};
use oslo_db::{Cond, Tx, all, eq, in_rows, is_in, is_null, ne, not_in};

pub const MIB: u64 = 1 << 20;
const MOVING: [ImageStatus; 3] = [
    ImageStatus::Saving,
    ImageStatus::Uploading,
    ImageStatus::Importing,
];

fn live(project: &str) -> Cond {
    all([eq("owner", project), is_null("deleted_at")])
}

/// Images that are being copied to further stores.
fn copying() -> Cond {
    let importing = all([eq("name", IMPORTING), ne("value", "")]);
    all([
        not_in("status", MOVING),
        in_rows::<PropertyRow>("id", "image", importing),
    ])
}

/// How much of something a project has.
pub fn used(tx: &mut Tx, project: &str, what: Limited) -> Result<i64> {
    let live = || live(project);
    match what {
        Limited::SizeTotal => Ok(stored(tx, project)? / MIB as i64),
        Limited::StageTotal => {
            let staged = [ImageStatus::Uploading, ImageStatus::Importing];
            let staged = all([live(), is_in("status", staged)]);
            let bytes = tx.sum::<ImageRow>("size", staged)?
                + tx.sum::<ImageRow>("size", all([live(), copying()]))?;
            Ok(bytes / MIB as i64)
        }
        Limited::CountTotal => Ok(tx.count::<ImageRow>(live())? as i64),
        Limited::CountUploading => {
            let moving = all([live(), is_in("status", MOVING)]);
            let moving = tx.count::<ImageRow>(moving)?;
            Ok((moving + tx.count::<ImageRow>(all([live(), copying()]))?) as i64)
        }
    }
}

/// Bytes of a project in all stores.
pub fn stored(tx: &mut Tx, project: &str) -> Result<i64> {
    let mut select = Query::select();
    select
        .expr(Func::sum(Expr::col(("images", "size"))))
        .from("images")
        .inner_join(
            "image_locations",
            Expr::col(("image_locations", "image")).equals(("images", "id")),
        )
        .cond_where(all([
            eq(("images", "owner"), project),
            is_null(("images", "deleted_at")),
            eq(("image_locations", "status"), LocationStatus::Active),
        ]));
    let sum = tx.scalar::<Option<i64>>(select)?;
    Ok(sum.flatten().unwrap_or_default())
}
