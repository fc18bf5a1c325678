//! Stories through HTTP, in process.

mod assignments;
mod catalog;
mod cloud;
mod credentials;
mod hostile;
mod identity;
mod policy;
mod projects;
mod revocation;
mod tokens;
