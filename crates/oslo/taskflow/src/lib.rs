//! Durable flows: work that spans processes, saved after every step, with undo beside do.
//!
//! A flow is one struct that is its own state. It is submitted inside the transaction that writes the rows it
//! works on, so either both exist or neither. An [`Engine`] runs it step by step; after a crash, it or another
//! engine goes on from the last saved step. So every step may run twice and must be idempotent, and every undo
//! must cope with a do that happened half or not at all. See docs/adr/2026-11-23-taskflow.md.

mod engine;
mod fault;
mod flow;
mod kind;
mod row;
mod run;
pub mod testkit;

pub use engine::{Builder, Engine, WakeElsewhere};
pub use flow::{Flow, FlowId, Step, StepFn};
pub use futures::future::BoxFuture;
pub use row::{Census, census};

/// The table of flows, for every database that flows are submitted to.
pub const MIGRATIONS: &[oslo_db::Migration] = &[
    oslo_db::Migration {
        id: "2026-11-23-taskflow",
        sql: include_str!("../migrations/2026-11-23-initial.sql"),
    },
    oslo_db::Migration {
        id: "2026-11-25-taskflow-share",
        sql: include_str!("../migrations/2026-11-25-share.sql"),
    },
];
