//! Glance as its callers see it, in process.

mod answers;
mod cache;
mod cloud;
mod data;
mod ends;
mod hostile;
mod imports;
mod limits;
mod locations;
mod mariadb;
mod members;
mod metadefs;
mod plugins;
mod records;
mod regions;
mod signatures;
mod stores;
mod web;
