//! The `[cinder_backup]` section.

use super::format::Algorithm;
use std::path::PathBuf;

base::str_enum! {
    /// What keeps backups.
    pub enum Driver {
        /// Nothing: this host makes none.
        None = "none",
        /// Files below a folder.
        Posix = "posix",
    }
}
oslo_config::choice!(Driver);

oslo_config::section! {
    /// Where backups of this host's volumes are kept.
    pub struct BackupConf in "cinder_backup" {
        /// What keeps them: posix, none.
        pub backup_driver: Driver = Driver::Posix,
        /// The folder of the posix driver. Where there are several storage hosts it is a share that all of them see, as a
        /// backup may be restored on another host than its volume's.
        pub backup_posix_path: PathBuf = "backups".into(),
        /// Bytes of an object, before it is made smaller.
        pub backup_file_size: u64 = 52_428_800,
        /// How objects are made smaller: zlib, none.
        pub backup_compression_algorithm: Algorithm = Algorithm::Zlib,
        /// How many volumes are read or written at once.
        pub backup_workers: usize = 2,
    }
}
