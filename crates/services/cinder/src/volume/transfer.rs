//! Giving a volume to another project: it is offered, and whoever has the key takes it.

use super::invalid_volume;
use super::status::{Verb, VolumeStatus, transition};
use crate::config::CinderConf;
use crate::db::transfers::{self, TransferRow};
use crate::db::{self, SnapshotRow, TypeRow, VolumeRow};
use crate::snapshot::invalid_snapshot;
use crate::snapshot::status::SnapshotStatus;
use crate::{Cinder, quota};
use base::{Error, Result, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use oslo_context::RequestContext;
use oslo_db::{Tx, eq, set};
use oslo_limit::Limits;
use sha2::Sha256;

/// 64 random bits in words that a person can type.
fn random() -> String {
    let (a, b) = (base::id::new_hex_id(), base::id::new_hex_id());
    format!("{}{}", &a[20..], &b[28..])
}

fn keyed(salt: &str, key: &str) -> Result<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(salt.as_bytes()).map_err(Error::internal)?;
    Ok(mac.chain_update(key.as_bytes()))
}

fn hash(salt: &str, key: &str) -> Result<String> {
    Ok(STANDARD.encode(keyed(salt, key)?.finalize().into_bytes()))
}

/// Compares in constant time.
fn fits(transfer: &TransferRow, key: &str) -> Result<bool> {
    let known = STANDARD.decode(&transfer.crypt_hash).unwrap_or_default();
    Ok(keyed(&transfer.salt, key)?.verify_slice(&known).is_ok())
}

/// Offers a volume; nobody else can do anything with it until it is taken or the offer is withdrawn.
pub async fn create(
    cinder: &Cinder,
    ctx: &RequestContext,
    volume_id: &str,
    name: Option<String>,
    no_snapshots: bool,
) -> Result<(TransferRow, Secret)> {
    let (ctx, volume_id, now) = (ctx.clone(), volume_id.to_string(), cinder.clock.now());
    let (salt, key) = (random(), random());
    let crypt_hash = hash(&salt, &key)?;
    let row = cinder
        .db
        .write(move |tx| {
            let volume = db::volumes::lock(tx, &ctx, &volume_id)?;
            if !transition(tx, &volume.id, Verb::Offer, now, &[])? {
                return Err(invalid_volume("status must be available"));
            }
            // What an administrator's reset of the status left behind.
            transfers::forget(tx, &volume.id)?;
            if !no_snapshots {
                let all = db::snapshots::of_volume(tx, &volume.id)?;
                let busy = all.iter().find(|s| s.status != SnapshotStatus::Available);
                if let Some(busy) = busy {
                    return Err(invalid_snapshot(format!(
                        "snapshot: {} status must be available",
                        busy.id
                    )));
                }
            }
            let row = TransferRow {
                id: base::new_id(),
                volume_id: volume.id,
                name: name.clone(),
                salt: salt.clone(),
                crypt_hash: crypt_hash.clone(),
                no_snapshots,
                source_project_id: volume.project_id,
                created_at: now,
            };
            tx.insert(&row)?;
            Ok(row)
        })
        .await?;
    tracing::info!(volume.id = %row.volume_id, transfer.id = %row.id, "volume offered");
    Ok((row, Secret::new(key)))
}

/// Takes a volume: ownership, quota and status change in one transaction, for one of those who try at once.
pub async fn accept(
    cinder: &Cinder,
    ctx: &RequestContext,
    id: &str,
    key: &Secret,
) -> Result<TransferRow> {
    let (ctx, id, key, now) = (ctx.clone(), id.to_string(), key.clone(), cinder.clock.now());
    let (limits, conf) = (cinder.limits.clone(), cinder.conf.clone());
    let row = cinder
        .db
        .write(move |tx| {
            let transfer = tx
                .find_for_update::<TransferRow>(eq("id", &id))?
                .ok_or_else(|| transfers::not_found(&id))?;
            if !fits(&transfer, key.expose())? {
                return Err(Error::bad_request(format!(
                    "Invalid auth key: Attempt to transfer {id} with invalid auth key."
                ))
                .class("InvalidAuthKey"));
            }
            let volume = tx
                .find_for_update::<VolumeRow>(eq("id", &transfer.volume_id))?
                .ok_or_else(|| db::volumes::not_found(&transfer.volume_id))?;
            let kind = tx
                .find::<TypeRow>(eq("id", &volume.volume_type_id))?
                .ok_or_else(|| db::types::not_found(&volume.volume_type_id))?;
            quota::reserve_volume(&limits, tx, &conf, ctx.project(), &kind, 1, volume.size)?;
            let owner = [set("project_id", ctx.project()), set("user_id", ctx.user())];
            if !transition(tx, &volume.id, Verb::OfferEnds, now, &owner)? {
                return Err(invalid_volume(format!(
                    "Transfer {id}: Volume id {} in unexpected state {}, expected {}",
                    volume.id,
                    volume.status,
                    VolumeStatus::AwaitingTransfer
                )));
            }
            if !transfer.no_snapshots {
                take_snapshots(tx, &limits, &conf, &ctx, &kind, &volume.id)?;
            }
            tx.delete::<TransferRow>(eq("id", &id))?;
            Ok(transfer)
        })
        .await?;
    tracing::info!(volume.id = %row.volume_id, transfer.id = %row.id, "volume taken over");
    Ok(row)
}

/// The volume's snapshots go with it; each is counted before it counts.
fn take_snapshots(
    tx: &mut Tx,
    limits: &Limits,
    conf: &CinderConf,
    ctx: &RequestContext,
    kind: &TypeRow,
    volume_id: &str,
) -> Result<()> {
    for snapshot in db::snapshots::of_volume(tx, volume_id)? {
        quota::reserve_snapshot(limits, tx, conf, ctx.project(), Some(kind), snapshot.size)?;
        let owner = [set("project_id", ctx.project()), set("user_id", ctx.user())];
        tx.update::<SnapshotRow>(eq("id", &snapshot.id), &owner)?;
    }
    Ok(())
}

/// Withdraws an offer.
pub async fn delete(cinder: &Cinder, ctx: &RequestContext, id: &str) -> Result<()> {
    let (ctx, id, now) = (ctx.clone(), id.to_string(), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            let transfer = transfers::get(tx, &ctx, &id)?;
            // Nobody takes it at the same time: who does has this lock, and then it is gone.
            tx.find_for_update::<TransferRow>(eq("id", &id))?
                .ok_or_else(|| transfers::not_found(&id))?;
            tx.delete::<TransferRow>(eq("id", &id))?;
            transition(tx, &transfer.volume_id, Verb::OfferEnds, now, &[]).map(drop)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_random_and_only_their_hash_is_kept() {
        let (salt, key) = (random(), random());
        assert_eq!((key.len(), salt == key), (16, false));
        assert!(key.chars().all(|c| c.is_ascii_hexdigit()));
        let crypt_hash = hash(&salt, &key).unwrap();
        assert!(!crypt_hash.contains(&key));
        let row = TransferRow {
            id: String::new(),
            volume_id: String::new(),
            name: None,
            salt,
            crypt_hash,
            no_snapshots: false,
            source_project_id: String::new(),
            created_at: base::Timestamp::from_seconds(0),
        };
        assert!(fits(&row, &key).unwrap());
        assert!(!fits(&row, &random()).unwrap());
        assert!(!fits(&row, "").unwrap());
    }
}
