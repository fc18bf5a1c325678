//! The record: what its attributes may be, and how a patch changes them.

pub mod attributes;
pub mod locations;
pub mod patch;
