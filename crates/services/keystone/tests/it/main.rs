//! Stories through HTTP, in process.

mod cloud;
mod tokens;
