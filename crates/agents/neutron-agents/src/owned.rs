//! What the agents made on this host: written before it is made, so that a killed agent's successor, and `teardown`, find it.

use base::{Error, Result};
use host_netns::{IfName, Namespace, daemon};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
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

/// Makes this process the only one whose agents look after the host: of two, each would remove what the other makes. Ends
/// with the process or the returned value.
pub fn claim(state_path: &Path) -> Result<Flock<File>> {
    std::fs::create_dir_all(state_path)?;
    let path = state_path.join("lock");
    let file = File::options().create(true).append(true).open(&path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| {
        Error::conflict(format!(
            "neutron's agents of this host run in another process ({}: {e}); name them all in one: --service \
             neutron-linuxbridge-agent,neutron-dhcp-agent,neutron-l3-agent,neutron-metadata-agent",
            path.display()
        ))
    })
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
