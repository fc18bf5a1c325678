//! Stories: what people do with a cloud, one kind to a file.

pub mod boot;
pub mod floating_ip;
pub mod groups;
pub mod interfaces;
pub mod lock;
pub mod many;
pub mod metadata;
pub mod policy;
pub mod power;
pub mod quota;
pub mod restart;
pub mod volumes;
