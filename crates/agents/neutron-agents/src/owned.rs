//! What the agents made on this host: written before it is made, so that a killed agent's successor, and `teardown`, find it.

use base::{Error, Result};
use host_netns::{IfName, Namespace, daemon};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The list, and the file that holds it for all processes that are agents of this host.
#[derive(Debug, Default)]
pub struct Owned {
    folder: PathBuf,
    /// The list, as it was when it was last changed.
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

/// Makes this process the only one of the host that is these agents: of two, each would remove what the other makes. Ends
/// with the process or the returned value.
pub fn claim(state_path: &Path, agents: &[&str]) -> Result<Vec<Flock<File>>> {
    std::fs::create_dir_all(state_path)?;
    let claim = |agent: &&str| {
        let path = state_path.join(format!("{agent}.lock"));
        let file = File::options().create(true).append(true).open(&path)?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| {
            let path = path.display();
            Error::conflict(format!(
                "another process is this host's {agent} agent ({path}: {e})"
            ))
        })
    };
    agents.iter().map(claim).collect()
}

/// Whether another process is that agent.
pub fn is_elsewhere(state_path: &Path, agent: &str) -> bool {
    let Ok(file) = File::open(state_path.join(format!("{agent}.lock"))) else {
        return false;
    };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

impl Owned {
    /// Reads the list; a missing one is empty.
    pub fn load(state_path: &Path) -> Result<Owned> {
        std::fs::create_dir_all(state_path)?;
        let mut owned = Owned {
            folder: state_path.to_path_buf(),
            list: List::default(),
        };
        owned.change(|_| ())?;
        Ok(owned)
    }

    /// Adds names and writes them down.
    pub fn add(&mut self, namespaces: BTreeSet<Namespace>, links: BTreeSet<IfName>) -> Result<()> {
        self.change(|list| {
            list.namespaces.extend(namespaces);
            list.links.extend(links);
        })
    }

    /// Reads the list, changes it and writes it, while nobody else does.
    pub fn change(&mut self, change: impl FnOnce(&mut List)) -> Result<()> {
        let lock = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("owned.lock"))?;
        let _alone =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| Error::internal(e))?;
        let file = self.folder.join("owned.json");
        self.list = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => List::default(),
        };
        change(&mut self.list);
        daemon::write_if_changed(&file, &serde_json::to_string_pretty(&self.list)?)?;
        Ok(())
    }
}
