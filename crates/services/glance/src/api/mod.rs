//! HTTP in, HTTP out.

pub mod actions;
pub mod data;
pub mod filters;
pub mod images;
pub mod info;
pub mod members;
pub mod metadefs;
pub mod schemas;
pub mod tags;
pub mod versions;
pub mod views;
