//! Cinder through its HTTP surface, in process, with a toy agent and toy neighbours.

mod attachments;
mod cloud;
mod crash;
mod listing;
mod manage;
mod quotas;
mod scaled;
mod snapshots;
mod types;
mod volumes;
