//! The database of every service: SQLite in one process or MariaDB behind many, with the same words.
//!
//! Transactions are synchronous closures on a database thread (`db.write(|tx| …).await`), so nothing is awaited
//! while a lock is held. Tables are structs ([`table!`]), conditions are functions ([`eq`], [`all`], …), pages
//! follow a marker ([`Tx::page`]), statuses change by compare-and-swap ([`Tx::swap`]), schemas by
//! [`Db::migrate`].

mod commit;
mod cond;
mod db;
mod fault;
mod lock;
mod migrate;
mod migrate_mysql;
mod mysql;
mod options;
mod page;
mod pause;
mod queue;
mod server;
mod sqlite;
mod stats;
mod table;
mod tx;
mod value;

#[doc(hidden)]
pub use base as __base;
pub use cond::{
    Cond, all, any, contains, eq, eq_ci, eq_or_null, everything, ge, gt, in_rows, is_in, is_null,
    le, like, like_ci, lt, ne, not, not_in, not_null, nothing, prefix,
};
pub use db::{Db, Dialect};
pub use fault::{
    COMMIT_UNKNOWN, DUPLICATE, MARKER_NOT_FOUND, NO_DATABASE, REFERENCE, is_commit_unknown,
    is_duplicate,
};
pub use migrate::Migration;
pub use migrate_mysql::create_database;
pub use options::{Options, Synchronous};
pub use sea_query;
pub use stats::{Pool, Stats};
pub use table::{Cells, Row, Table};
#[doc(hidden)]
pub use table::{Columns, column_name};
pub use tx::{Statement, Tx};
pub use value::{AsCell, bind, cell, set};
