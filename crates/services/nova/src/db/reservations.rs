//! What requests are about to reserve with cinder: written before cinder is asked, removed with the row that remembers
//! the attachment. What stays was left by a request that never came to its end.

use base::{Error, Result, Timestamp};
use oslo_db::{Cond, Tx, all, eq, lt, set};

oslo_db::table! {
    /// A reservation on its way.
    pub struct ReservationRow in "volume_reservations" {
        pub id: String,
        pub instance_id: String,
        pub volume_id: String,
        pub given_up: bool,
        /// The volume was made for this server, and goes if the server does not come to be.
        pub made: bool,
        pub created_at: Timestamp,
    }
}

fn of(instance_id: &str, volume_id: &str) -> Cond {
    all([eq("instance_id", instance_id), eq("volume_id", volume_id)])
}

/// Ends it; whoever remembers the attachment does so in the same transaction. If it was given up, so is the attachment.
pub fn close(tx: &mut Tx, instance_id: &str, volume_id: &str) -> Result<()> {
    let cond = all([of(instance_id, volume_id), eq("given_up", false)]);
    if tx.delete::<ReservationRow>(cond)? == 0 {
        return Err(Error::conflict(format!(
            "The reservation of volume {volume_id} took too long."
        )));
    }
    Ok(())
}

/// Has the reconciler delete a volume that was made for a server which will not have it.
pub fn discard(tx: &mut Tx, instance_id: &str, volume_id: &str) -> Result<()> {
    forget(tx, instance_id, volume_id)?;
    tx.insert(&ReservationRow {
        id: base::new_id(),
        instance_id: instance_id.into(),
        volume_id: volume_id.into(),
        given_up: true,
        made: true,
        // Long ago: nobody is waited for.
        created_at: Timestamp(0),
    })
}

/// From now on [`close`] fails.
pub fn give_up(tx: &mut Tx, id: &str) -> Result<()> {
    tx.update::<ReservationRow>(eq("id", id), &[set("given_up", true)])
        .map(|_| ())
}

/// Ends it, if it is there.
pub fn forget(tx: &mut Tx, instance_id: &str, volume_id: &str) -> Result<u64> {
    tx.delete::<ReservationRow>(of(instance_id, volume_id))
}

/// Those that began before `then`.
pub fn older(tx: &mut Tx, then: Timestamp) -> Result<Vec<ReservationRow>> {
    tx.select(lt("created_at", then))
}
