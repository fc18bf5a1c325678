//! From cinder's connection info to a disk of this host, and back.
//!
//! Answers to os-brick. The protocols that are known are listed in [`Source`]; a volume of another type is
//! refused in words that name it.

use base::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How a volume's bytes are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or block device of this host.
    Path(PathBuf),
    /// An NBD export.
    Nbd {
        /// Host, or path of a Unix socket that begins with `/`.
        host: String,
        /// TCP port; 0 with a Unix socket.
        port: u16,
        /// The export's name.
        export: String,
    },
}

/// A volume as a hypervisor opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDevice {
    /// Where its bytes are.
    pub source: Source,
    /// `raw` or `qcow2`; always said, never guessed from bytes that a guest has written.
    pub format: String,
    /// Whether it is a block device (not a file).
    pub block: bool,
    /// Whether the guest must not write.
    pub read_only: bool,
}

impl LocalDevice {
    /// Its path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Path(path) => Some(path),
            Source::Nbd { .. } => None,
        }
    }
}

/// Makes the volume reachable from this host. Repeating it is harmless.
pub async fn connect(connection_info: &Value) -> Result<LocalDevice> {
    let device = parse(connection_info)?;
    if let Some(path) = device.path() {
        let path = path.to_path_buf();
        let meta = tokio::fs::metadata(&path).await.map_err(|e| {
            Error::not_found("The volume's data was not found on this host.")
                .log(format!("{}: {e}", path.display()))
        })?;
        let block = std::os::unix::fs::FileTypeExt::is_block_device(&meta.file_type());
        return Ok(LocalDevice { block, ..device });
    }
    Ok(device)
}

/// Undoes [`connect`]. Nothing stays behind for the types known today: their bytes are opened by the hypervisor.
pub async fn disconnect(connection_info: &Value) -> Result<()> {
    parse(connection_info).map(drop)
}

/// The size of the volume now, bytes; asked after cinder has extended it.
pub async fn size(device: &LocalDevice) -> Result<Option<u64>> {
    match device.path() {
        Some(path) if device.format == "raw" && !device.block => {
            Ok(Some(tokio::fs::metadata(path).await?.len()))
        }
        _ => Ok(None),
    }
}

/// Reads connection info without touching the host.
pub fn parse(connection_info: &Value) -> Result<LocalDevice> {
    let kind = connection_info["driver_volume_type"].as_str().unwrap_or("");
    let data = &connection_info["data"];
    let text = |key: &str| data[key].as_str().filter(|t| !t.is_empty());
    let missing =
        |key: &str| Error::bad_request(format!("connection info of type {kind} lacks {key}"));
    let source = match kind {
        "local" | "file" => {
            let path = text("path")
                .or_else(|| text("device_path"))
                .ok_or_else(|| missing("path"))?;
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(Error::bad_request(
                    "the volume's path is not absolute and plain",
                ));
            }
            Source::Path(path.into())
        }
        "nbd" => {
            let host = text("host")
                .or_else(|| text("socket"))
                .ok_or_else(|| missing("host"))?;
            let port = data["port"].as_u64().and_then(|p| u16::try_from(p).ok());
            if port.is_none() && !host.starts_with('/') {
                return Err(missing("port"));
            }
            let export = text("export").unwrap_or("").to_string();
            Source::Nbd {
                host: host.into(),
                port: port.unwrap_or(0),
                export,
            }
        }
        other => {
            let words = format!("Volumes of type '{other}' cannot be attached on this host.");
            return Err(Error::bad_request(words).class("InvalidVolumeType"));
        }
    };
    let format = text("format").unwrap_or("raw");
    if !matches!(format, "raw" | "qcow2") {
        return Err(Error::bad_request(format!(
            "a volume of format '{format}' cannot be attached"
        )));
    }
    let read_only = text("access_mode") == Some("ro");
    Ok(LocalDevice {
        source,
        format: format.into(),
        block: false,
        read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn files_are_found_or_missed() {
        let path = std::env::temp_dir().join(format!("brick-{}", std::process::id()));
        let info = json!({"driver_volume_type": "local", "data": {"path": path, "format": "raw"}});
        assert!(connect(&info).await.unwrap_err().is_not_found());
        std::fs::write(&path, [0; 1024]).unwrap();
        let device = connect(&info).await.unwrap();
        assert_eq!(device.path(), Some(path.as_path()));
        assert_eq!(size(&device).await.unwrap(), Some(1024));
        disconnect(&info).await.unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_cannot_be_attached_says_so() {
        for info in [
            json!({}),
            json!({"driver_volume_type": "iscsi", "data": {}}),
            json!({"driver_volume_type": "local", "data": {}}),
            json!({"driver_volume_type": "local", "data": {"path": "relative"}}),
            json!({"driver_volume_type": "local", "data": {"path": "/a/../etc/shadow"}}),
            json!({"driver_volume_type": "local", "data": {"path": "/a", "format": "vmdk"}}),
            json!({"driver_volume_type": "nbd", "data": {"host": "h"}}),
        ] {
            assert_eq!(
                parse(&info).unwrap_err().kind(),
                base::Kind::BadRequest,
                "{info}"
            );
        }
    }
}
