//! Glance as its callers see it, in process.

mod cloud;
mod data;
mod hostile;
mod imports;
mod mariadb;
mod members;
mod metadefs;
mod records;
mod web;
