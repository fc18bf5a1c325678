//! Reconcilers.

pub mod files;
pub mod tasks;
pub mod uploads;
