//! What is limited, and upstream's words for what would be too much.

use crate::config::CinderConf;
use crate::db::{TypeRow, backups, snapshots, type_limits, volumes};
use base::{Error, Kind, Result};
use oslo_db::Tx;
use oslo_limit::{Exceeded, Limits, Resource};

fn none(_: &mut Tx, _: &str) -> Result<u64> {
    Ok(0)
}

fn all_gigabytes(tx: &mut Tx, project: &str) -> Result<u64> {
    Ok(volumes::gigabytes(tx, project)? + snapshots::gigabytes(tx, project)?)
}

/// The limits of this cloud. What is not built has no use, but its limits can be read and set.
pub fn limits(conf: &CinderConf) -> Limits {
    let resource = |name, default, count| Resource {
        name,
        default,
        count,
    };
    Limits::new(
        "cinder",
        vec![
            resource(
                "volumes",
                conf.quota_volumes,
                volumes::count as oslo_limit::Count,
            ),
            resource("per_volume_gigabytes", conf.per_volume_size_limit, none),
            resource("snapshots", conf.quota_snapshots, snapshots::count),
            resource(
                "gigabytes",
                conf.quota_gigabytes,
                if conf.no_snapshot_gb_quota {
                    volumes::gigabytes
                } else {
                    all_gigabytes
                },
            ),
            resource("backups", conf.quota_backups, backups::count),
            resource(
                "backup_gigabytes",
                conf.quota_backup_gigabytes,
                backups::gigabytes,
            ),
            resource("groups", conf.quota_groups, none),
        ],
    )
}

/// Room for `volumes` new ones of `size` GiB.
pub fn reserve_volume(
    limits: &Limits,
    tx: &mut Tx,
    conf: &CinderConf,
    project: &str,
    kind: &TypeRow,
    volumes: i64,
    size: i64,
) -> Result<()> {
    check_size(limits, tx, project, size)?;
    let exceeded = limits.check(tx, project, &[("volumes", volumes), ("gigabytes", size)])?;
    refuse(&exceeded)?;
    check_type(tx, conf, project, kind, ("volumes", volumes), size)
}

/// Room for a snapshot of a volume of `size` GiB.
pub fn reserve_snapshot(
    limits: &Limits,
    tx: &mut Tx,
    conf: &CinderConf,
    project: &str,
    kind: Option<&TypeRow>,
    size: i64,
) -> Result<()> {
    let size = if conf.no_snapshot_gb_quota { 0 } else { size };
    let wanted = [("snapshots", 1), ("gigabytes", size)];
    refuse(&limits.check(tx, project, &wanted)?)?;
    kind.map_or(Ok(()), |kind| {
        check_type(tx, conf, project, kind, ("snapshots", 1), size)
    })
}

/// The limits of the volume's type for so many more of one kind; the project's lock is held already.
fn check_type(
    tx: &mut Tx,
    conf: &CinderConf,
    project: &str,
    kind: &TypeRow,
    (what, more): (&str, i64),
    size: i64,
) -> Result<()> {
    let owners = [
        type_limits::class(oslo_limit::DEFAULT_CLASS),
        type_limits::project(project),
    ];
    let limits = type_limits::of(tx, &owners)?;
    let name = |what: &str| format!("{what}_{}", kind.name);
    let limit = |what: &str| limits.get(&name(what)).copied().unwrap_or(-1);
    let (most, room) = (limit(what), limit("gigabytes"));
    if most < 0 && room < 0 {
        return Ok(());
    }
    let used = type_limits::used(tx, project, &kind.id, !conf.no_snapshot_gb_quota)?;
    if room >= 0 && size > 0 && used.gigabytes + size > room {
        return Err(no_room(size, room, used.gigabytes));
    }
    let number = match what {
        "snapshots" => used.snapshots,
        _ => used.volumes,
    };
    if most >= 0 && more > 0 && number + more > most {
        return Err(too_many(most, &name(what)));
    }
    Ok(())
}

/// Room for a volume that grows by `growing` to `size`.
pub fn reserve_growth(
    limits: &Limits,
    tx: &mut Tx,
    conf: &CinderConf,
    project: &str,
    kind: Option<&TypeRow>,
    size: i64,
    growing: i64,
) -> Result<()> {
    check_size(limits, tx, project, size)?;
    let exceeded = limits.check(tx, project, &[("gigabytes", growing)])?;
    refuse(&exceeded)?;
    kind.map_or(Ok(()), |kind| {
        check_type(tx, conf, project, kind, ("volumes", 0), growing)
    })
}

/// Room for a backup of `size` GiB.
pub fn reserve_backup(limits: &Limits, tx: &mut Tx, project: &str, size: i64) -> Result<()> {
    let wanted = [("backups", 1), ("backup_gigabytes", size)];
    let exceeded = limits.check(tx, project, &wanted)?;
    if let Some(e) = exceeded.iter().find(|e| e.resource == "backup_gigabytes") {
        let words = format!(
            "Requested backup exceeds allowed Backup gigabytes quota. Requested {}G, quota is {}G and {}G has been \
             consumed.",
            e.requested, e.limit, e.used
        );
        return Err(over("VolumeBackupSizeExceedsAvailableQuota", words));
    }
    if let Some(e) = exceeded.first() {
        let words = format!("Maximum number of backups allowed ({}) exceeded", e.limit);
        return Err(over("BackupLimitExceeded", words));
    }
    Ok(())
}

fn over(class: &str, words: String) -> Error {
    Error::new(Kind::OverQuota, format!("{class}: {words}")).class(class)
}

fn check_size(limits: &Limits, tx: &mut Tx, project: &str, size: i64) -> Result<()> {
    let limit = limits
        .get(tx, project)?
        .get("per_volume_gigabytes")
        .copied()
        .unwrap_or(-1);
    if limit >= 0 && size > limit {
        return Err(over(
            "VolumeSizeExceedsLimit",
            format!("Requested volume size {size} is larger than maximum allowed limit {limit}."),
        ));
    }
    Ok(())
}

fn refuse(exceeded: &[Exceeded]) -> Result<()> {
    if let Some(e) = exceeded.iter().find(|e| e.resource == "gigabytes") {
        return Err(no_room(e.requested, e.limit, e.used as i64));
    }
    if let Some(e) = exceeded.first() {
        return Err(too_many(e.limit, e.resource));
    }
    Ok(())
}

fn no_room(requested: i64, limit: i64, used: i64) -> Error {
    let words = format!(
        "Requested volume or snapshot exceeds allowed gigabytes quota. Requested {requested}G, quota is {limit}G and \
         {used}G has been consumed."
    );
    over("VolumeSizeExceedsAvailableQuota", words)
}

fn too_many(limit: i64, resource: &str) -> Error {
    if resource.starts_with("snapshots") {
        let words = format!("Maximum number of snapshots allowed ({limit}) exceeded");
        return over("SnapshotLimitExceeded", words);
    }
    let words =
        format!("Maximum number of volumes allowed ({limit}) exceeded for quota '{resource}'.");
    over("VolumeLimitExceeded", words)
}
