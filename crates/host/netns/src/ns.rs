//! Network namespaces by name, as `ip netns` keeps them.

use crate::{Namespace, run};
use base::{Error, Result};
use nix::sched::{CloneFlags, setns};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/run/netns";

/// The file that stands for the namespace.
pub fn path(namespace: &Namespace) -> PathBuf {
    Path::new(FOLDER).join(namespace.as_str())
}

/// Whether it exists (a left-over file without a namespace mounted on it does not count).
pub fn exists(namespace: &Namespace) -> bool {
    // Namespaces are files of nsfs; a plain file there is left from a host that lost power between two steps.
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).ok();
    let nsfs = device(Path::new("/proc/self/ns/net"));
    nsfs.is_some() && device(&path(namespace)) == nsfs
}

/// Names that begin with `prefix`.
pub fn list(prefix: &str) -> Vec<Namespace> {
    let Ok(entries) = fs::read_dir(FOLDER) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let mut found: Vec<Namespace> = names
        .filter(|n| n.starts_with(prefix))
        .filter_map(|n| Namespace::parse(&n).ok())
        .collect();
    found.sort();
    found
}

/// Makes it unless it exists, with its loopback up.
pub async fn ensure(namespace: &Namespace) -> Result<()> {
    if exists(namespace) {
        return Ok(());
    }
    if path(namespace).exists() {
        run::ip(&["netns", "delete", namespace.as_str()]).await?;
    }
    run::ip(&["netns", "add", namespace.as_str()]).await?;
    run::ip(&["-n", namespace.as_str(), "link", "set", "lo", "up"]).await?;
    Ok(())
}

/// Ends what runs in it and removes it; its devices go with it.
pub async fn delete(namespace: &Namespace) -> Result<()> {
    if !path(namespace).exists() {
        return Ok(());
    }
    for pid in pids(namespace) {
        crate::daemon::end(pid).await;
    }
    run::ip(&["netns", "delete", namespace.as_str()]).await?;
    Ok(())
}

/// Processes whose network is this namespace. Threads of ours that only visit it do not count.
pub fn pids(namespace: &Namespace) -> Vec<i32> {
    let key = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let Some(wanted) = key(&path(namespace)) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id() as i32;
    numbers
        .filter(|pid| *pid != own && key(Path::new(&format!("/proc/{pid}/ns/net"))) == Some(wanted))
        .collect()
}

/// Whether the process lives in this namespace (and not in one of the same name that was removed under it).
pub fn holds(namespace: &Namespace, pid: i32) -> bool {
    let key = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let place = key(&path(namespace));
    place.is_some() && key(Path::new(&format!("/proc/{pid}/ns/net"))) == place
}

/// Runs `work` on a thread of its own inside the namespace: sockets it opens stay there, the caller does not move.
pub async fn inside<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let file = fs::File::open(path(namespace)).map_err(|e| {
        Error::not_found(format!("namespace {namespace}"))
            .log(format!("namespace {namespace}: {e}"))
    })?;
    let (send, receive) = tokio::sync::oneshot::channel();
    // A thread that has changed its namespace must end, so this is never one of the runtime's pool.
    std::thread::Builder::new()
        .name("netns".into())
        .spawn(move || {
            let result = setns(&file, CloneFlags::CLONE_NEWNET)
                .map_err(Error::internal)
                .and_then(|()| work());
            let _ = send.send(result);
        })?;
    receive
        .await
        .map_err(|_| Error::internal("the visit to a namespace ended early"))?
}

/// Writes values below `/proc/sys/net` of the namespace, where they differ.
pub async fn sysctl(namespace: &Namespace, values: Vec<(String, &'static str)>) -> Result<()> {
    inside(namespace, move || {
        for (key, value) in values {
            write_sysctl(&key, value)?;
        }
        Ok(())
    })
    .await
}

/// Writes one value below `/proc/sys/net`, if it differs. Absent keys are passed over (IPv6 may be off).
pub fn write_sysctl(key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(key);
    match fs::read_to_string(&path) {
        Ok(now) if now.trim() == value => Ok(()),
        Ok(_) => {
            fs::write(&path, value).map_err(|e| Error::internal(format!("{}: {e}", path.display())))
        }
        Err(_) => Ok(()),
    }
}
