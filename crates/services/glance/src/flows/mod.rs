//! Durable work on images.

mod import_image;

pub use import_image::{Claim, HASHES, ImportImage, Method, fail, row, to_staging};
