//! Reconcilers.

pub mod files;
pub mod uploads;
