//! Stories through HTTP, in process.

mod assignments;
mod catalog;
mod cloud;
mod credentials;
mod hostile;
mod identity;
mod keys;
mod mariadb;
mod policy;
mod processes;
mod projects;
mod revocation;
mod tokens;
