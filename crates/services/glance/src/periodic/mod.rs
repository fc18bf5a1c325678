//! Reconcilers.

pub mod cache;
pub mod files;
pub mod tasks;
pub mod uploads;
