//! Reserving a volume in such a way that a process that dies in between leaves nothing reserved.

use crate::Nova;
use crate::db::reservations::{self, ReservationRow};
use crate::volume;
use base::{Kind, Result, new_id};
use oslo_context::RequestContext;

/// Reserves; the attachment's id. The caller ends the reservation with [`reservations::close`] or [`give_back`].
pub async fn reserve(
    nova: &Nova,
    ctx: &RequestContext,
    volume_id: &str,
    instance_id: &str,
) -> Result<String> {
    let row = ReservationRow {
        id: new_id(),
        instance_id: instance_id.into(),
        volume_id: volume_id.into(),
        given_up: false,
        made: false,
        created_at: nova.clock.now(),
    };
    nova.db.write(move |tx| tx.insert(&row)).await?;
    let reserved = volume::reserve(&nova.sdk, ctx, volume_id, instance_id).await;
    // A clear no leaves nothing; after anything else the reconciler looks.
    if let Err(e) = &reserved
        && !matches!(e.kind(), Kind::Unavailable | Kind::Timeout | Kind::Internal)
    {
        forget(nova, volume_id, instance_id).await?;
    }
    reserved
}

/// Gives a reservation back that came to nothing.
pub async fn give_back(
    nova: &Nova,
    attachment: &str,
    volume_id: &str,
    instance_id: &str,
) -> Result<()> {
    volume::release(&nova.sdk, attachment).await?;
    forget(nova, volume_id, instance_id).await
}

async fn forget(nova: &Nova, volume_id: &str, instance_id: &str) -> Result<()> {
    let (volume, instance) = (volume_id.to_string(), instance_id.to_string());
    let forget = nova
        .db
        .write(move |tx| reservations::forget(tx, &instance, &volume));
    forget.await.map(|_| ())
}
