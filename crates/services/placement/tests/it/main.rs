//! Placement as its callers see it, in process.

mod client;
mod cloud;
mod fixtures;
mod gabbi;
mod stories;
