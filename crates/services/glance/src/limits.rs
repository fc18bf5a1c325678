//! How much a project may have: unified limits, which keystone keeps (`use_keystone_limits`), and `user_storage_quota`.
//!
//! Use is counted from live rows. Limits on sizes are asked before data arrives, when often nobody knows how much it will
//! be, so that a project can end above them by what it sends last: upstream's semantics, which its clients know. The
//! number of images, and the storage quota, are never exceeded.

use crate::Glance;
use crate::db::usage::{MIB, stored, used};
use base::{Error, Kind, Result};
use oslo_db::Tx;
use std::collections::BTreeMap;

base::str_enum! {
    /// What keystone may limit.
    pub enum Limited {
        /// Mebibytes of data in stores, each copy for itself.
        SizeTotal = "image_size_total",
        /// Mebibytes of data that waits for its import.
        StageTotal = "image_stage_total",
        /// Images.
        CountTotal = "image_count_total",
        /// Images whose data is on its way.
        CountUploading = "image_count_uploading",
    }
}

/// The limits of a project, as keystone had them a moment ago.
#[derive(Clone, Debug)]
pub struct Limits {
    project: String,
    /// Nothing if nobody is asked.
    limits: Option<BTreeMap<String, i64>>,
}

/// Whole mebibytes, as limits are counted.
pub fn mebibytes(bytes: Option<u64>) -> i64 {
    (bytes.unwrap_or_default() / MIB) as i64
}

impl Limits {
    /// Asks keystone, if that is how this cloud is configured. Nobody's images have no limits.
    pub async fn of(glance: &Glance, project: &str) -> Result<Limits> {
        let limits = match glance.conf.use_keystone_limits && !project.is_empty() {
            false => None,
            true => {
                let region = &glance.conf.endpoint_region_name;
                let asked = glance.sdk.unified_limits("image", region, project);
                Some(asked.await?)
            }
        };
        Ok(Limits {
            project: project.to_string(),
            limits,
        })
    }

    /// 413 if the project would have more than it may; a limit that nobody registered is 0, as in upstream.
    pub fn check(&self, tx: &mut Tx, what: Limited, delta: i64) -> Result<()> {
        let Some(limits) = &self.limits else {
            return Ok(());
        };
        let limit = limits.get(what.as_str()).copied().unwrap_or_default();
        if limit < 0 {
            return Ok(());
        }
        let used = used(tx, &self.project, what)?;
        if used.saturating_add(delta) <= limit {
            return Ok(());
        }
        Err(Error::new(
            Kind::TooLarge,
            format!(
                "Project {} is over a limit for [Resource {what} is over limit of {limit} due to current usage {used} and delta {delta}]",
                self.project
            ),
        ))
    }

    /// [`Limits::check`] by itself.
    pub async fn check_now(&self, glance: &Glance, what: Limited, delta: i64) -> Result<()> {
        if self.limits.is_none() {
            return Ok(());
        }
        let limits = self.clone();
        glance
            .db
            .read(move |tx| limits.check(tx, what, delta))
            .await
    }

    /// No limits, for what none is asked of.
    pub fn none() -> Limits {
        Limits {
            project: String::new(),
            limits: None,
        }
    }

    /// The same for one more image; nobody else of this project makes one before the transaction ends.
    pub fn reserve_image(&self, tx: &mut Tx) -> Result<()> {
        if self.limits.is_some() {
            tx.lock_names([format!("glance images of {}", self.project)])?;
        }
        self.check(tx, Limited::CountTotal, 1)
    }

    /// Limit and use of everything that is limited; nothing if nobody limits.
    pub fn usage(&self, tx: &mut Tx) -> Result<BTreeMap<Limited, (i64, i64)>> {
        let mut usage = BTreeMap::new();
        if let Some(limits) = &self.limits {
            for what in Limited::ALL {
                let limit = limits.get(what.as_str()).copied().unwrap_or_default();
                usage.insert(*what, (limit, used(tx, &self.project, *what)?));
            }
        }
        Ok(usage)
    }
}

fn quota_full(size: u64, left: i64) -> Error {
    Error::new(
        Kind::TooLarge,
        format!(
            "Image exceeds the storage quota: The size of the data {size} will exceed the limit. {left} bytes remaining."
        ),
    )
}

/// `1GB`: bytes that a project may have in stores; nothing for no quota.
pub fn parse_quota(text: &str) -> Result<Option<u64>> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_uppercase());
    let factor = match &text[digits.len()..] {
        "" | "B" => Some(1),
        "KB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        "GB" => Some(1 << 30),
        "TB" => Some(1u64 << 40),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(factor);
    let bytes = bytes.and_then(|(n, factor)| n.checked_mul(factor));
    let bytes = bytes.filter(|n| i64::try_from(*n).is_ok());
    match bytes {
        Some(0) => Ok(None),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Error::bad_request(format!(
            "[glance] user_storage_quota: '{text}' is no size such as 500MB or 2TB"
        ))),
    }
}

/// The most bytes that the project's next image may have: what the quota leaves of `image_size_cap`. 413 if `size` is
/// known and more.
pub async fn cap(glance: &Glance, project: &str, size: Option<u64>) -> Result<u64> {
    let cap = glance.conf.image_size_cap;
    let (Some(quota), false) = (glance.quota, project.is_empty()) else {
        return Ok(cap);
    };
    let owner = project.to_string();
    let stored = glance.db.read(move |tx| stored(tx, &owner)).await?;
    let left = quota as i64 - stored;
    match size {
        _ if left < 0 => Err(quota_full(size.unwrap_or_default(), left)),
        Some(size) if size > left as u64 => Err(quota_full(size, left)),
        _ => Ok(cap.min(left as u64)),
    }
}

/// Makes sure, in the transaction that stores one more copy, that the project stays within the quota.
pub fn keep_quota(tx: &mut Tx, quota: Option<u64>, project: &str, size: u64) -> Result<()> {
    let (Some(quota), false) = (quota, project.is_empty()) else {
        return Ok(());
    };
    tx.lock_names([format!("glance storage of {project}")])?;
    let left = quota as i64 - stored(tx, project)?;
    match size as i64 > left {
        true => Err(quota_full(size, left)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_sizes() {
        for (text, bytes) in [
            ("0", None),
            ("0GB", None),
            ("10", Some(10)),
            ("10B", Some(10)),
            ("3KB", Some(3072)),
            ("2MB", Some(2 << 20)),
            ("1TB", Some(1 << 40)),
        ] {
            assert_eq!(parse_quota(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "GB", "-1", "1.5GB", "10gb", "1 GB", "99999999999999TB"] {
            assert!(parse_quota(text).is_err(), "{text}");
        }
    }
}
