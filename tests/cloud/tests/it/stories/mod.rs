//! Stories: what people do with a cloud, one kind to a file.

mod boot;
mod floating_ip;
mod groups;
mod interfaces;
mod lock;
mod metadata;
mod power;
mod quota;
mod restart;
mod volumes;
