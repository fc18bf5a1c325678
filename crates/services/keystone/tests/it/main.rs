//! Stories through HTTP, in process.

mod app_creds;
mod assignments;
mod catalog;
mod cloud;
mod compliance;
mod credentials;
mod delegation;
mod domain_configs;
mod ec2;
mod endpoints;
mod hostile;
mod identity;
mod jws;
mod keys;
mod limits;
mod mariadb;
mod passwords;
mod policy;
mod processes;
mod projects;
mod proofs;
mod python;
mod revocation;
mod tokens;
mod trusts;
