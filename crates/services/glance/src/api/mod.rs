//! HTTP in, HTTP out.

pub mod actions;
pub mod cache;
pub mod data;
pub mod filters;
pub mod images;
pub mod import;
pub mod info;
pub mod locations;
pub mod members;
pub mod metadefs;
pub mod schemas;
pub mod stores;
pub mod tags;
pub mod tasks;
pub mod versions;
pub mod views;
