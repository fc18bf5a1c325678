//! The catalog of metadata definitions: what comes with glance, loaded once. What an administrator then changes or
//! deletes stays as it is, also when the service starts again.

use crate::db::metadefs::{CatalogRow, NamespaceRow, insert};
use crate::metadef::NamespaceBody;
use base::{Error, Result, Timestamp};
use glance_types::MetadefVisibility;
use oslo_db::{Db, Tx, everything, is_duplicate};
use std::collections::HashSet;

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../data/metadefs/", $name, ".json")))),*] };
}

const FILES: &[(&str, &str)] = files![
    "cim-processor-allocation-setting-data",
    "cim-resource-allocation-setting-data",
    "cim-storage-allocation-setting-data",
    "cim-virtual-system-setting-data",
    "compute-aggr-disk-filter",
    "compute-aggr-iops-filter",
    "compute-aggr-num-instances",
    "compute-cpu-mode",
    "compute-cpu-pinning",
    "compute-guest-memory-backing",
    "compute-guest-shutdown",
    "compute-host-capabilities",
    "compute-hypervisor",
    "compute-instance-data",
    "compute-libvirt-image",
    "compute-libvirt",
    "compute-quota",
    "compute-randomgen",
    "compute-vcputopology",
    "compute-vmware-flavor",
    "compute-vmware-quota-flavor",
    "compute-vmware",
    "compute-vtpm-hw",
    "compute-vtpm",
    "compute-watchdog",
    "compute-xenapi",
    "glance-common-image-props",
    "image-signature-verification",
    "operating-system",
    "software-databases",
    "software-runtimes",
    "software-webservers",
    "storage-volume-type",
];

/// Loads the files that this database has not seen. Several processes may do this at the same time.
pub async fn load(db: &Db, now: Timestamp) -> Result<()> {
    let seen = db.read(|tx| tx.select::<CatalogRow>(everything())).await?;
    let seen: HashSet<String> = seen.into_iter().map(|row| row.file).collect();
    let missing: Vec<_> = FILES.iter().filter(|f| !seen.contains(f.0)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut loaded = Vec::with_capacity(missing.len());
    for (file, text) in missing {
        let body: NamespaceBody = serde_json::from_str(text)
            .map_err(|e| Error::internal(format!("metadefs/{file}.json: {e}")))?;
        loaded.push((*file, body));
    }
    let write = move |tx: &mut Tx| {
        // The first process writes all of it; the next one finds these rows taken.
        let rows = loaded.iter().map(|(file, _)| CatalogRow {
            file: file.to_string(),
            loaded_at: now,
        });
        tx.insert_all(&rows.collect::<Vec<_>>())?;
        for (_, body) in &loaded {
            if tx.exists::<NamespaceRow>(oslo_db::eq("namespace", &body.namespace))? {
                continue;
            }
            // COMPAT: where a file does not say who sees it, upstream's column is null; it is a catalog for everybody.
            let visibility = body.visibility.unwrap_or(MetadefVisibility::Public);
            insert(tx, body, "admin", visibility, now)?;
        }
        Ok(())
    };
    match db.write(write).await {
        Err(e) if is_duplicate(&e) => Ok(()),
        other => other,
    }
}
