//! Files in a driver's folder that are not ours: which they are, and how they are named. A reference names a file in the
//! folder itself; nothing that leads elsewhere (a path, a link, a second name) is touched.

use base::{Error, Result, id::is_uuid_like};
use cinder_types::Noun;
use serde_json::Value;
use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What files are called that were ours.
const UNMANAGED: &str = "unmanaged-";
pub(super) const VOLUME: &str = "volume-";
pub(super) const SNAPSHOT: &str = "snapshot-";

pub(super) fn prefix(noun: Noun) -> &'static str {
    match noun {
        Noun::Volume => VOLUME,
        Noun::Snapshot => SNAPSHOT,
    }
}

fn refused(reference: &Value, why: &str) -> Error {
    Error::bad_request(format!(
        "Manage existing volume failed due to invalid backend reference {reference}: {why}"
    ))
    .class("ManageExistingInvalidReference")
}

/// What is behind `volume-` or `snapshot-`, if a file is named so.
pub(super) fn ours(name: &str) -> Option<(Noun, &str)> {
    let of = |noun| name.strip_prefix(prefix(noun)).map(|rest| (noun, rest));
    of(Noun::Volume).or_else(|| of(Noun::Snapshot))
}

/// Whether our own work made, or makes, the file.
fn is_ours(name: &str) -> bool {
    let id = |rest: &str| rest.get(..36).is_some_and(is_uuid_like);
    ours(name).is_some_and(|(_, rest)| id(rest))
}

/// The file that a reference names. `ending` is what the driver's files have behind the name.
pub(super) fn find(folder: &Path, reference: &Value, ending: &str) -> Result<(PathBuf, File)> {
    let name = reference["source-name"]
        .as_str()
        .ok_or_else(|| refused(reference, "Reference must contain source-name element."))?;
    // COMPAT: what was ours is found by the name that it had then, also in LVM's way of writing it.
    let older = name.strip_prefix('_').unwrap_or(name);
    let name = match is_ours(older) {
        true => format!("{UNMANAGED}{older}"),
        false => name.to_string(),
    };
    let plain = !name.is_empty()
        && name.len() < 200
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0']);
    if !plain {
        return Err(refused(
            reference,
            "It is no name of a file in the backend's folder.",
        ));
    }
    let path = folder.join(format!("{name}{ending}"));
    let file = open(&path).ok_or_else(|| {
        refused(
            reference,
            "There is no such file, or it is not a file by itself.",
        )
    })?;
    Ok((path, file))
}

/// A regular file with no other name; links are not followed.
pub(super) fn open(path: &Path) -> Option<File> {
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let single = |meta: &Metadata| meta.is_file() && meta.nlink() == 1;
    file.metadata().ok().filter(single).map(|_| file)
}

/// The names in the folder that end so and are somebody else's or finished volumes or snapshots of ours.
pub(super) fn names(
    folder: &Path,
    noun: Noun,
    ending: &str,
) -> Result<Vec<(String, Option<String>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().and_then(|n| n.strip_suffix(ending)) else {
            continue;
        };
        let id = match ours(name) {
            Some((of, rest)) if is_uuid_like(rest) && rest.len() == 36 && of == noun => {
                Some(rest.to_string())
            }
            _ if is_ours(name) || name.starts_with('.') => continue,
            _ => None,
        };
        found.push((name.to_string(), id));
    }
    found.sort();
    Ok(found)
}

/// Where what is ours goes when it is nobody's any more.
pub(super) fn aside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().and_then(|n| n.to_str());
    let name = name.ok_or_else(|| Error::internal("a file of ours without a name"))?;
    Ok(path.with_file_name(format!("{UNMANAGED}{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_outside_is_found() {
        let folder = std::env::temp_dir().join(format!("cinder-manage-{}", base::new_id()));
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(folder.join("good"), "x").unwrap();
        std::fs::write(folder.join("sub/inner"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        std::fs::write(folder.join("first"), "x").unwrap();
        std::fs::hard_link(folder.join("first"), folder.join("second")).unwrap();
        let id = base::new_id();
        let mine = format!("volume-{id}");
        std::fs::write(folder.join(&mine), "x").unwrap();
        std::fs::write(folder.join(format!("{mine}.partial")), "x").unwrap();
        std::fs::write(folder.join(format!("unmanaged-snapshot-{id}")), "x").unwrap();
        let found = |name: &str| find(&folder, &json!({"source-name": name}), "").is_ok();
        for name in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            "sub/inner",
            "sub",
            "link",
            "first",
            "second",
            "none",
            &mine,
            &format!("{mine}.partial"),
            "good\0",
        ] {
            assert!(!found(name), "{name}");
        }
        assert!(found("good") && found(&format!("_snapshot-{id}")));
        for odd in [json!("good"), json!({"source-id": "good"}), json!(null)] {
            assert!(find(&folder, &odd, "").is_err());
        }
        let listed = names(&folder, Noun::Volume, "").unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|(n, id)| (n.as_str(), id.is_some()))
            .collect();
        assert!(listed.contains(&(mine.as_str(), true)) && listed.contains(&("good", false)));
        assert!(
            !listed.iter().any(|(n, _)| n.contains("partial")),
            "{listed:?}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
