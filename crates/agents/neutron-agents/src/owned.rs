//! What the agents made on this host: written before it is made, so that a killed agent's successor, and `teardown`, find it.

use base::Result;
use host_netns::{IfName, Namespace, daemon};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The list, and the file that holds it.
#[derive(Debug, Default)]
pub struct Owned {
    file: PathBuf,
    /// The list.
    pub list: List,
}

/// Names of what was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct List {
    pub namespaces: BTreeSet<Namespace>,
    pub links: BTreeSet<IfName>,
    /// Devices of the operator's that are in the external bridge because of us.
    pub borrowed: BTreeSet<IfName>,
}

impl Owned {
    /// Reads the list; a missing one is empty.
    pub fn load(state_path: &Path) -> Result<Owned> {
        std::fs::create_dir_all(state_path)?;
        let file = state_path.join("owned.json");
        let list = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => List::default(),
        };
        Ok(Owned { file, list })
    }

    /// Adds names and writes them down.
    pub fn add(&mut self, namespaces: BTreeSet<Namespace>, links: BTreeSet<IfName>) -> Result<()> {
        self.list.namespaces.extend(namespaces);
        self.list.links.extend(links);
        self.save()
    }

    /// Writes the list.
    pub fn save(&self) -> Result<()> {
        daemon::write_if_changed(&self.file, &serde_json::to_string_pretty(&self.list)?)?;
        Ok(())
    }
}
