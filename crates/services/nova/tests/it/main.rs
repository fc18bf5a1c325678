//! nova, driven through its HTTP surface.

mod aggregates;
mod boot;
mod console;
mod flavors;
mod harness;
mod interfaces;
mod keypairs;
mod lists;
mod metadata;
mod neighbours;
mod notifications;
mod quotas;
mod spread;
mod volumes;
