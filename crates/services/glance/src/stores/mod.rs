//! The stores of this cloud: folders of files, and the web, which is only read.

mod file;

pub use file::Store;

use crate::Conf;
use base::{Error, Result};
use std::path::{Path, PathBuf};

/// Where the bytes of a store are.
pub enum Kind {
    /// A folder.
    File(Store),
    /// Addresses that images name; nothing is ever written.
    Http,
}

pub struct Backend {
    pub id: String,
    pub kind: Kind,
    pub description: String,
    /// Stores of more weight are read first.
    pub weight: i64,
}

impl Backend {
    /// The folder; a 400 for a store that is only read.
    pub fn writable(&self) -> Result<&Store> {
        match &self.kind {
            Kind::File(store) => Ok(store),
            Kind::Http => Err(Error::bad_request(format!(
                "Store {} is read-only.",
                self.id
            ))),
        }
    }
}

pub struct Stores {
    all: Vec<Backend>,
    default: usize,
    /// What waits for its import.
    pub staging: Store,
}

fn beside(folder: &Path, name: &str) -> PathBuf {
    let own = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!("{own}-{name}"))
}

impl Stores {
    /// Opens the folders; a mistake in the configuration is told in words for the operator.
    pub fn open(conf: &Conf) -> Result<Stores> {
        let folder = &conf.filesystem_store_datadir;
        let mut all = Vec::new();
        for (id, kind) in &conf.enabled_backends {
            let kind = match kind.as_str() {
                "file" => {
                    let own = conf.store_datadirs.get(id).map(PathBuf::from);
                    let own = own.unwrap_or_else(|| match *id == conf.default_backend {
                        true => folder.clone(),
                        false => beside(folder, id),
                    });
                    Kind::File(Store::open(&own)?)
                }
                "http" => Kind::Http,
                other => {
                    return Err(Error::bad_request(format!(
                        "[glance] enabled_backends: {id} has the unknown type {other}; there are file and http"
                    )));
                }
            };
            let weight = conf.store_weights.get(id).map_or(Ok(0), |w| w.parse());
            all.push(Backend {
                id: id.clone(),
                kind,
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
            staging: Store::open(&beside(folder, "staging"))?,
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
    pub fn writable(&self) -> impl Iterator<Item = (&Backend, &Store)> {
        let default = self.default();
        let rest = self.all.iter().filter(|b| b.id != default.id);
        std::iter::once(default)
            .chain(rest)
            .filter_map(|b| Some((b, b.writable().ok()?)))
    }
}
