//! nova, driven through its HTTP surface.

mod aggregates;
mod console;
mod flavors;
mod harness;
mod keypairs;
mod metadata;
mod quotas;
