//! Cinder through its HTTP surface, in process, with a toy agent and toy neighbours.

mod attachments;
mod backups;
mod cloud;
mod crash;
mod group_types;
mod hosts;
mod listing;
mod manage;
mod messages;
mod qos;
mod quotas;
mod scaled;
mod scheduler;
mod snapshots;
mod transfers;
mod types;
mod uploads;
mod volumes;
