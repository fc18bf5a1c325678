//! Who may depend on whom: folders are ranks, and third-party crates have owners.

use super::Finding;
use crate::tree::File;
use toml::Table;

/// Third-party crates that one room owns, with the folders that may name them.
pub(crate) const OWNED: &[(&str, &[&str])] = &[
    ("rusqlite", &["crates/oslo/db/"]),
    ("sqlx", &["crates/oslo/db/"]),
    ("sea-query", &["crates/oslo/db/"]),
    ("axum", &["crates/oslo/http/"]),
    ("hyper", &["crates/oslo/http/"]),
    ("hyper-util", &["crates/oslo/http/"]),
    ("tower", &["crates/oslo/http/"]),
    ("lapin", &["crates/oslo/messaging/"]),
    ("ldap3", &["crates/services/keystone/"]),
    (
        "x509-parser",
        &["crates/services/glance/", "crates/services/keystone/"],
    ),
    ("metrics-exporter-prometheus", &["crates/ferrostack/"]),
    ("reqwest", &["crates/sdk/", "tests/"]),
    ("virt", &["crates/host/libvirt/"]),
];

/// Of the mechanisms, those that stand on a database; agents have none.
const DATABASE: &[&str] = &["oslo-db", "oslo-limit", "oslo-taskflow"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rank {
    Base,
    Oslo,
    Wire,
    Sdk,
    Host,
    Service,
    Agent,
    Top,
}

pub(super) fn look(files: &[File], found: &mut Vec<Finding>) {
    for file in files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
    {
        let manifest: Table = match file.text.parse() {
            Ok(manifest) => manifest,
            Err(_) => {
                found.push(Finding::new(&file.path, 1, "is not TOML"));
                continue;
            }
        };
        let Some(rank) = rank_of_folder(&file.path) else {
            continue;
        };
        for (section, dev) in [
            ("dependencies", false),
            ("build-dependencies", false),
            ("dev-dependencies", true),
        ] {
            let dependencies = manifest.get(section).and_then(|section| section.as_table());
            for name in dependencies.into_iter().flat_map(Table::keys) {
                if let Some(why) = refuse(&file.path, rank, name, dev) {
                    found.push(Finding::new(
                        &file.path,
                        line_of(&file.text, section, name),
                        format!("{name} {why}"),
                    ));
                }
            }
        }
    }
}

fn rank_of_folder(path: &str) -> Option<Rank> {
    let ranks = [
        ("crates/base/", Rank::Base),
        ("crates/oslo/", Rank::Oslo),
        ("crates/wire/", Rank::Wire),
        ("crates/sdk/", Rank::Sdk),
        ("crates/host/", Rank::Host),
        ("crates/services/", Rank::Service),
        ("crates/agents/", Rank::Agent),
        ("crates/ferrostack/", Rank::Top),
        ("tests/", Rank::Top),
    ];
    ranks
        .iter()
        .find(|(folder, _)| path.starts_with(folder))
        .map(|(_, rank)| *rank)
}

/// The rank of one of our own crates; `None` for those of third parties.
fn rank_of_crate(name: &str) -> Option<Rank> {
    match name {
        "base" => Some(Rank::Base),
        "sdk" => Some(Rank::Sdk),
        "ferrostack" => Some(Rank::Top),
        "nova-compute" | "neutron-agents" | "cinder-volume" => Some(Rank::Agent),
        "keystone" | "glance" | "placement" | "nova" | "neutron" | "cinder" => Some(Rank::Service),
        _ if name.starts_with("oslo-") => Some(Rank::Oslo),
        _ if name.starts_with("host-") => Some(Rank::Host),
        _ if name.ends_with("-types") => Some(Rank::Wire),
        _ => None,
    }
}

/// Why a crate of this rank may not depend on that one; `None` if it may.
fn refuse(path: &str, rank: Rank, name: &str, dev: bool) -> Option<String> {
    let Some(other) = rank_of_crate(name) else {
        let (_, owners) = OWNED.iter().find(|(owned, _)| *owned == name)?;
        let owned = owners.iter().any(|owner| path.starts_with(owner));
        return (!owned).then(|| format!("belongs to {} alone", owners[0]));
    };
    if name == "oslo-testing" && !dev && rank != Rank::Top {
        return Some("is for tests: put it under [dev-dependencies]".into());
    }
    let allowed = match rank {
        Rank::Base => false,
        Rank::Oslo => matches!(other, Rank::Base | Rank::Oslo),
        Rank::Wire => other == Rank::Base || matches!(name, "oslo-messaging" | "oslo-context"),
        Rank::Sdk => matches!(other, Rank::Base | Rank::Oslo | Rank::Wire),
        Rank::Host => matches!(other, Rank::Base | Rank::Oslo | Rank::Host),
        // A service's tests may hold a real host crate against the seam that the binary fills.
        Rank::Service => {
            matches!(other, Rank::Base | Rank::Oslo | Rank::Wire | Rank::Sdk)
                || (dev && other == Rank::Host)
        }
        Rank::Agent => {
            matches!(
                other,
                Rank::Base | Rank::Oslo | Rank::Wire | Rank::Sdk | Rank::Host
            ) && !DATABASE.contains(&name)
        }
        Rank::Top => true,
    };
    let why = match rank {
        Rank::Service => {
            "is out of reach: services share contracts (wire) and clients (sdk), nothing else"
        }
        Rank::Agent => "is out of reach: agents speak RPC and sdk, and have no database",
        Rank::Wire => {
            "is out of reach: a contract has no logic (oslo-messaging and oslo-context only for interface!)"
        }
        Rank::Oslo => "is out of reach: mechanisms know no service by name",
        _ => "is not above this crate in rank",
    };
    (!allowed).then(|| why.to_string())
}

/// Where a dependency stands in its manifest.
fn line_of(text: &str, section: &str, name: &str) -> usize {
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
            if line == format!("[{section}.{name}]") {
                return at + 1;
            }
        } else if inside
            && line
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        {
            return at + 1;
        }
    }
    1
}
