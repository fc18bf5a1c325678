//! The database handle: two verbs, `read` and `write`, and a dialect chosen once by the url.

use crate::options::Options;
use crate::stats::{Pool, Stats};
use crate::tx::Tx;
use crate::{mysql, sqlite};
use base::{Error, Result};
use std::sync::Arc;

/// Which database stands behind a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// MariaDB or MySQL.
    MySql,
}

/// A database. Clones share everything.
#[derive(Clone)]
pub struct Db(Engine);

#[derive(Clone)]
pub(crate) enum Engine {
    Sqlite(Arc<sqlite::Sqlite>),
    MySql(Arc<mysql::MySql>),
}

impl Db {
    /// Opens `sqlite:///path/file.sqlite`, `sqlite::memory:` or `mysql://user:password@host/database`
    /// (also `mysql+pymysql://`, `mariadb://`), with default options.
    pub async fn open(url: &str) -> Result<Db> {
        Db::open_with(url, Options::default()).await
    }

    /// Opens a database. A server that does not answer yet is not an error here, only when it is used.
    pub async fn open_with(url: &str, options: Options) -> Result<Db> {
        if let Some(path) = sqlite::path(url) {
            let path = path?;
            let open = move || sqlite::Sqlite::open(path.as_deref(), &options);
            let opened = tokio::task::spawn_blocking(open)
                .await
                .map_err(Error::internal)??;
            return Ok(Db(Engine::Sqlite(Arc::new(opened))));
        }
        let scheme = url.split(':').next().unwrap_or_default();
        if matches!(scheme.split('+').next(), Some("mysql" | "mariadb")) {
            return Ok(Db(Engine::MySql(Arc::new(mysql::MySql::open(
                url, &options,
            )?))));
        }
        Err(Error::bad_request(format!(
            "'{scheme}' is not a kind of database we know"
        )))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0
    }

    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match &self.0 {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::MySql(_) => Dialect::MySql,
        }
    }

    /// Runs a closure on one consistent view of the data. The closure may be run again after a lost connection.
    pub async fn read<T, F>(&self, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx) -> Result<T> + Send + Sync + 'static,
    {
        match &self.0 {
            Engine::Sqlite(db) => db.call(false, closure).await,
            Engine::MySql(db) => db.call(false, closure).await,
        }
    }

    /// Like `read`, for a row or two by key that very many requests look at. On SQLite it runs on the calling thread,
    /// unless that would mean to wait for anybody: to change threads costs several times what such a look does. Never for
    /// what scans.
    pub async fn peek<T, F>(&self, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx) -> Result<T> + Send + Sync + 'static,
    {
        if let Engine::Sqlite(db) = &self.0
            && let Some(seen) = db.peek(&closure)
        {
            return seen;
        }
        self.read(closure).await
    }

    /// Runs a closure in a transaction: `Ok` is returned after the commit, `Err` rolls back. The closure may be
    /// run again after a deadlock, so it must have no effect but through `tx`.
    pub async fn write<T, F>(&self, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx) -> Result<T> + Send + Sync + 'static,
    {
        match &self.0 {
            Engine::Sqlite(db) => db.call(true, closure).await,
            Engine::MySql(db) => db.call(true, closure).await,
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.read(|tx| {
            let mut select = sea_query::Query::select();
            tx.query(select.expr(sea_query::Expr::val(1))).map(drop)
        })
        .await
    }

    /// Whether the database answers, without asking if it has just done so: one that is busy must not be taken for
    /// one that is away.
    pub async fn answers(&self) -> Result<()> {
        match &self.0 {
            Engine::MySql(db) if db.server.answered_within(std::time::Duration::from_secs(1)) => {
                Ok(())
            }
            _ => self.ping().await,
        }
    }

    /// What this handle has done so far.
    pub fn stats(&self) -> Stats {
        match &self.0 {
            Engine::Sqlite(db) => db.counters.read(db.queued(), Pool::default()),
            Engine::MySql(db) => db.stats(),
        }
    }

    /// Finishes what is queued and closes the files or connections. Later calls fail as unavailable.
    pub async fn close(&self) {
        match &self.0 {
            Engine::Sqlite(db) => {
                let threads = db.close();
                let join = move || threads.into_iter().for_each(|t| drop(t.join()));
                let _ = tokio::task::spawn_blocking(join).await;
            }
            Engine::MySql(db) => db.close().await,
        }
    }
}
