//! Allocation candidates: which providers could together serve a request. Pure functions over the [`crate::index`].

pub mod params;
pub mod request;
pub mod search;
pub mod view;
