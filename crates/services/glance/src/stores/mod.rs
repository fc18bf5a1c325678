//! The stores of this cloud: folders of files, object stores, and the web, which is only read.

mod file;
mod s3;
mod sign;
mod store;
mod swift;
mod swift_auth;

pub use file::Folder;
pub use store::{Incoming, Store, StoreType, copy, pump};

use crate::Conf;
use crate::config::StoreConf;
use base::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Backend {
    pub id: String,
    pub kind: StoreType,
    /// Nothing for the web.
    store: Option<Arc<dyn Store>>,
    pub description: String,
    /// Stores of more weight are read first.
    pub weight: i64,
}

impl Backend {
    /// The store; a 400 for one that is only read.
    pub fn writable(&self) -> Result<&Arc<dyn Store>> {
        self.store
            .as_ref()
            .ok_or_else(|| Error::bad_request(format!("Store {} is read-only.", self.id)))
    }
}

pub struct Stores {
    all: Vec<Backend>,
    default: usize,
    /// What waits for its import.
    pub staging: Folder,
}

fn beside(folder: &Path, name: &str) -> PathBuf {
    let own = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!("{own}-{name}"))
}

impl Stores {
    /// Opens the stores; a mistake in the configuration is told in words for the operator. Nobody is spoken to yet.
    pub fn open(conf: &Conf) -> Result<Stores> {
        let folder = &conf.filesystem_store_datadir;
        let staging = Folder::open(&beside(folder, "staging"))?;
        let mut all = Vec::new();
        // The same folder twice would lose a file with the first of two copies.
        let mut folders = BTreeSet::from([staging.file("").canonicalize()?]);
        let none = StoreConf::default();
        if let Some(id) = conf
            .stores
            .keys()
            .find(|id| !conf.enabled_backends.contains_key(*id))
        {
            return Err(Error::bad_request(format!(
                "[glance.stores.{id}]: enabled_backends has no such store"
            )));
        }
        for (id, kind) in &conf.enabled_backends {
            let own = conf.stores.get(id).unwrap_or(&none);
            let bad =
                |why: Error| Error::bad_request(format!("[glance.stores.{id}] {}", why.message()));
            let kind = StoreType::parse(kind).map_err(|_| {
                let known: Vec<&str> = StoreType::ALL.iter().map(|k| k.as_str()).collect();
                Error::bad_request(format!(
                    "[glance] enabled_backends: {id} has the unknown type {kind}; there are {}",
                    known.join(", ")
                ))
            })?;
            let store: Option<Arc<dyn Store>> = match kind {
                StoreType::File => {
                    let own = conf.store_datadirs.get(id).map(PathBuf::from);
                    let own = own.unwrap_or_else(|| match *id == conf.default_backend {
                        true => folder.clone(),
                        false => beside(folder, id),
                    });
                    let store = Folder::open(&own)?;
                    if !folders.insert(own.canonicalize()?) {
                        return Err(Error::bad_request(format!(
                            "[glance] store_datadirs: {id} has the folder of another store, or that of staging"
                        )));
                    }
                    Some(Arc::new(store))
                }
                StoreType::Http => None,
                StoreType::S3 => Some(Arc::new(s3::Bucket::open(own).map_err(bad)?)),
                StoreType::Swift => Some(Arc::new(swift::Container::open(id, own).map_err(bad)?)),
            };
            let weight = conf.store_weights.get(id).map_or(Ok(0), |w| w.parse());
            all.push(Backend {
                id: id.clone(),
                kind,
                store,
                description: conf.store_descriptions.get(id).cloned().unwrap_or_default(),
                weight: weight.map_err(|e| {
                    Error::bad_request(format!("[glance] store_weights: {id}: {e}"))
                })?,
            });
        }
        let default = all
            .iter()
            .position(|b| b.id == conf.default_backend && b.writable().is_ok());
        let default = default.ok_or_else(|| {
            Error::bad_request(
                "[glance] default_backend is not one of enabled_backends that can be written to",
            )
        })?;
        Ok(Stores {
            all,
            default,
            staging,
        })
    }

    pub fn all(&self) -> &[Backend] {
        &self.all
    }

    pub fn default(&self) -> &Backend {
        &self.all[self.default]
    }

    /// The store of this name. Rows that are older than names have none: they are the default store's.
    pub fn find(&self, id: &str) -> Option<&Backend> {
        match id {
            "" => Some(self.default()),
            id => self.all.iter().find(|b| b.id == id),
        }
    }

    /// A store that can be written to, as a caller names it.
    pub fn chosen(&self, id: &str) -> Result<&Backend> {
        let found = self.all.iter().find(|b| b.id == id);
        let found = found.ok_or_else(|| {
            Error::bad_request(format!(
                "Unknown scheme '{id}' found in URI: there is no such store."
            ))
        })?;
        found.writable().map(|_| found)
    }

    /// Those that can be written to, the default first.
    pub fn writable(&self) -> impl Iterator<Item = (&Backend, &Arc<dyn Store>)> {
        let default = self.default();
        let rest = self.all.iter().filter(|b| b.id != default.id);
        std::iter::once(default)
            .chain(rest)
            .filter_map(|b| Some((b, b.writable().ok()?)))
    }
}
