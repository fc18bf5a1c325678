//! What is limited, and upstream's words for what would be too much.

use crate::config::CinderConf;
use crate::db::volumes;
use base::{Error, Kind, Result};
use oslo_db::Tx;
use oslo_limit::{Exceeded, Limits, Resource};

fn none(_: &mut Tx, _: &str) -> Result<u64> {
    Ok(0)
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
            resource("snapshots", conf.quota_snapshots, none),
            resource("gigabytes", conf.quota_gigabytes, volumes::gigabytes),
            resource("backups", conf.quota_backups, none),
            resource("backup_gigabytes", conf.quota_backup_gigabytes, none),
            resource("groups", conf.quota_groups, none),
        ],
    )
}

/// Room for `volumes` new ones of `size` GiB.
pub fn reserve_volume(
    limits: &Limits,
    tx: &mut Tx,
    project: &str,
    volumes: i64,
    size: i64,
) -> Result<()> {
    check_size(limits, tx, project, size)?;
    let exceeded = limits.check(tx, project, &[("volumes", volumes), ("gigabytes", size)])?;
    refuse(&exceeded)
}

/// Room for a volume that grows by `growing` to `size`.
pub fn reserve_growth(
    limits: &Limits,
    tx: &mut Tx,
    project: &str,
    size: i64,
    growing: i64,
) -> Result<()> {
    check_size(limits, tx, project, size)?;
    let exceeded = limits.check(tx, project, &[("gigabytes", growing)])?;
    refuse(&exceeded)
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
        return Err(over(
            "VolumeSizeExceedsAvailableQuota",
            format!(
                "Requested volume or snapshot exceeds allowed gigabytes quota. Requested {}G, quota is {}G and \
                 {}G has been consumed.",
                e.requested, e.limit, e.used
            ),
        ));
    }
    if let Some(e) = exceeded.first() {
        return Err(over(
            "VolumeLimitExceeded",
            format!(
                "Maximum number of volumes allowed ({}) exceeded for quota '{}'.",
                e.limit, e.resource
            ),
        ));
    }
    Ok(())
}
