//! Glance as its callers see it, in process.

mod cloud;
mod data;
mod members;
mod records;
