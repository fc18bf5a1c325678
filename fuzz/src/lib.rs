//! What the targets of `script/fuzz` do with their bytes, and what must be true of the outcome; see docs/fuzzing.md.
//!
//! The parsers of keystone and of oslo/policy are no part of their crates' surface, so their files are taken in here as
//! they are: those that are symbolic links. That also spares building a database, a bus and an HTTP server with a
//! fuzzer's flags.

#![allow(dead_code)]

pub mod image;
pub mod mappings;
pub mod memory;
pub mod policy;
pub mod signatures;
pub mod token;

// Of crates/services/keystone.
mod mapping;
mod signature;

// All of crates/oslo/policy; its files name each other by `crate::`.
mod check;
mod credentials;
mod enforcer;
mod overrides;
mod parse;
mod rule;
mod ruleset;
mod target;

use target::Target;

// What keystone's files name, and what stands in a crate with a database, or a bus, behind it.
extern crate self as keystone_types;

#[derive(serde::Serialize, serde::Deserialize)]
pub struct IdRef {
    pub id: String,
}

mod db {
    pub(crate) mod keys {
        pub(crate) struct KeyRow {
            pub purpose: String,
            pub number: i64,
            pub sealed: String,
        }
    }
}
