//! MariaDB and MySQL: closures run on tokio's blocking threads, at most as many as there are connections. A
//! closure that meets a deadlock (or a Galera certification failure), or whose connection breaks before the commit, is
//! rolled back and run again as a whole. When it breaks during the commit, it is found out whether the commit was made.

use crate::commit::{self, Marker, Markers};
use crate::fault::{self, Trouble};
use crate::options::Options;
use crate::pause::back_off;
use crate::server::Server;
use crate::stats::{Counters, Pool, Stats};
use crate::table::Row;
use crate::tx::{self, Tx};
use base::{CellRef, CellValue, Error, Result};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Executor, Row as _, Type, TypeInfo, ValueRef};
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// How often a closure that loses against others is begun, at most.
const ATTEMPTS: u32 = 8;
/// A connection idle for longer is asked whether it still lives before it is used.
const TRUSTED: Duration = Duration::from_secs(10);
/// Whoever does not answer a ping for so long is not there.
const PING: Duration = Duration::from_secs(1);
/// Longer than every lock is waited for: a server that is silent for so long is gone, whatever TCP thinks.
const STATEMENT: Duration = Duration::from_secs(75);

const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,\
     ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', \
     innodb_lock_wait_timeout = 10, lock_wait_timeout = 60 \
     /*M!100300 , idle_transaction_timeout = 60 */";
/// Locking reads and counts must see what others committed while we waited for a lock.
const BEGIN_WRITE: &str =
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE";
/// The same on Galera, where a transaction that another node's rolls back must take all that follows with it: with
/// `autocommit`, what a server runs after a rollback that nobody heard of would stay, bit by bit.
const BEGIN_WRITE_GALERA: &str = "SET SESSION autocommit = 0; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
     START TRANSACTION READ WRITE";
/// Ends the mode of [`BEGIN_WRITE_GALERA`]; there is no transaction any more.
const AUTOCOMMIT: &str = "; SET SESSION autocommit = 1";
/// One consistent view, as SQLite gives.
const BEGIN_READ: &str =
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY";

/// Galera: reads wait until they see what was committed on other nodes before.
const SYNC_WAIT: u32 = 1;

pub(crate) struct MySql {
    pub(crate) pool: sqlx::MySqlPool,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) server: Arc<Server>,
    pub(crate) markers: Arc<Markers>,
    patience: Duration,
}

impl MySql {
    pub(crate) fn open(url: &str, options: &Options) -> Result<MySql> {
        let connect = parse(url)?
            .charset("utf8mb4")
            .collation("utf8mb4_bin")
            .pipes_as_concat(false)
            .statement_cache_capacity(options.statement_cache)
            .disable_statement_logging();
        let sync_wait = options.wsrep_sync_wait.unwrap_or(SYNC_WAIT);
        // Once per handle, of which there are a few in a process.
        let session: &'static str = format!("SET SESSION wsrep_sync_wait = {sync_wait}").leak();
        let server = Arc::new(Server::default());
        let known = server.clone();
        let connected = server.clone();
        let pool = MySqlPoolOptions::new()
            .max_connections(options.pool_size.max(1))
            .acquire_timeout(options.pool_timeout)
            .idle_timeout(Duration::from_secs(300))
            .max_lifetime(options.max_lifetime)
            .test_before_acquire(false)
            .after_connect(move |conn, _| {
                let server = connected.clone();
                Box::pin(async move {
                    conn.execute(SESSION).await?;
                    let galera = is_galera(&mut *conn).await?;
                    server.galera.store(galera, Relaxed);
                    if galera {
                        conn.execute(session).await?;
                    }
                    Ok(())
                })
            })
            .before_acquire(move |conn, meta| {
                let trusted = meta.idle_for < TRUSTED && known.unbroken_for(meta.idle_for);
                Box::pin(async move {
                    let ping = sqlx::Connection::ping(conn);
                    Ok(trusted || matches!(tokio::time::timeout(PING, ping).await, Ok(Ok(()))))
                })
            })
            .connect_lazy_with(connect);
        Ok(MySql {
            pool,
            slots: Arc::new(Semaphore::new(options.pool_size.max(1) as usize)),
            waiting: AtomicUsize::new(0),
            counters: Arc::new(Counters::default()),
            server,
            markers: Arc::new(Markers::default()),
            patience: options.pool_timeout,
        })
    }

    pub(crate) async fn call<T, F>(&self, write: bool, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx) -> Result<T> + Send + Sync + 'static,
    {
        let waiting = Waiting::new(&self.waiting);
        let slot = self
            .slots
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| fault::closed())?;
        drop(waiting);
        let attempts = Attempts {
            pool: self.pool.clone(),
            counters: self.counters.clone(),
            server: self.server.clone(),
            markers: self.markers.clone(),
            write,
            patience: self.patience,
        };
        let run = move || {
            let _slot = slot;
            attempts.run(&closure)
        };
        tokio::task::spawn_blocking(run)
            .await
            .map_err(Error::internal)?
    }

    pub(crate) fn stats(&self) -> Stats {
        let (size, idle) = (self.pool.size() as u64, self.pool.num_idle() as u64);
        let pool = Pool {
            limit: u64::from(self.pool.options().get_max_connections()),
            idle: idle.min(size),
            in_use: size.saturating_sub(idle),
        };
        self.counters.read(self.waiting.load(Relaxed), pool)
    }

    pub(crate) async fn close(&self) {
        // Those at work hold their slots: taking all of them waits for the last.
        let all = self.pool.options().get_max_connections();
        let _ = self.slots.acquire_many(all).await;
        self.slots.close();
        self.pool.close().await;
    }
}

/// Whether a server replicates with others that take writes as well.
async fn is_galera(conn: &mut sqlx::MySqlConnection) -> std::result::Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("SHOW GLOBAL VARIABLES LIKE 'wsrep_on'")
        .fetch_optional(conn)
        .await?;
    let on = row
        .map(|r| r.try_get_unchecked::<String, _>(1))
        .transpose()?;
    Ok(on.is_some_and(|on| on.eq_ignore_ascii_case("ON")))
}

fn parse(url: &str) -> Result<MySqlConnectOptions> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    // The reason is left out: it could quote the password.
    MySqlConnectOptions::from_str(&format!("mysql://{rest}"))
        .map_err(|_| Error::bad_request("The mysql url is malformed."))
}

/// The server of a url, and the database it names.
pub(crate) fn server_of(url: &str) -> Result<(MySqlConnectOptions, String)> {
    let options = parse(url)?;
    let name = options.get_database().unwrap_or_default().to_string();
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = place.rsplit_once('/').map_or(place, |(host, _)| host);
    Ok((
        parse(&format!("mysql://{host}/?{query}"))?.disable_statement_logging(),
        name,
    ))
}

/// Counts a waiting caller, also one that gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Waiting<'a> {
        count.fetch_add(1, Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What a closure is run with.
struct Attempts {
    pool: sqlx::MySqlPool,
    counters: Arc<Counters>,
    server: Arc<Server>,
    markers: Arc<Markers>,
    write: bool,
    patience: Duration,
}

impl Attempts {
    fn run<T, F>(&self, closure: &F) -> Result<T>
    where
        F: Fn(&mut Tx) -> Result<T>,
    {
        let begun = Instant::now();
        let mut attempt = 1;
        loop {
            let (result, trouble) = self.once(closure);
            match trouble {
                Trouble::None if result.is_ok() => self.server.answered(),
                Trouble::Broken => self.server.broke(),
                _ => {}
            }
            let again = match trouble {
                Trouble::None => false,
                Trouble::Retry => attempt < ATTEMPTS && begun.elapsed() < STATEMENT,
                // A server that is started again needs some seconds.
                Trouble::Broken => begun.elapsed() < self.patience,
            };
            if !again {
                self.counters.closure(self.write);
                return result;
            }
            self.counters.retry();
            if let Err(e) = &result {
                tracing::debug!(error = %e, attempt, "running a database closure again");
            }
            back_off(attempt);
            attempt += 1;
        }
    }

    fn connect(&self) -> std::result::Result<Conn, (Error, Trouble)> {
        let handle = Handle::current();
        let inner = match handle.block_on(self.pool.acquire()) {
            Ok(inner) => inner,
            Err(sqlx::Error::PoolClosed) => return Err((fault::closed(), Trouble::None)),
            Err(e) => return Err(fault::mysql(e, "connect")),
        };
        Ok(Conn {
            inner,
            handle,
            trouble: Trouble::None,
            wrote: false,
            galera: self.server.galera.load(Relaxed),
            manual: false,
            marker: None,
            markers: self.markers.clone(),
        })
    }

    fn once<T, F>(&self, closure: &F) -> (Result<T>, Trouble)
    where
        F: Fn(&mut Tx) -> Result<T>,
    {
        let mut conn = match self.connect() {
            Ok(conn) => conn,
            Err((error, trouble)) => return (Err(error), trouble),
        };
        let begin = match (self.write, conn.galera) {
            (true, true) => BEGIN_WRITE_GALERA,
            (true, false) => BEGIN_WRITE,
            (false, _) => BEGIN_READ,
        };
        conn.manual = self.write && conn.galera;
        if let Err(e) = conn.script(begin) {
            conn.inner.close_on_drop();
            return (Err(e), conn.trouble);
        }
        self.inside(conn, closure)
    }

    fn inside<T, F>(&self, conn: Conn, closure: &F) -> (Result<T>, Trouble)
    where
        F: Fn(&mut Tx) -> Result<T>,
    {
        let mut tx = Tx {
            conn: tx::Conn::MySql(conn),
            writable: self.write,
            counters: self.counters.clone(),
        };
        let result = catch_unwind(AssertUnwindSafe(|| closure(&mut tx)))
            .unwrap_or_else(|panic| Err(fault::panicked(panic)));
        let tx::Conn::MySql(mut conn) = tx.conn else {
            return (
                Err(Error::internal("the connection changed its kind")),
                Trouble::None,
            );
        };

        // A closure may have swallowed the error, but part of its work is gone: it must not commit.
        if conn.trouble != Trouble::None {
            let trouble = conn.trouble;
            self.markers.not_made(conn.marker.take());
            conn.undo();
            let result = result.and_then(|_| Err(fault::closed()));
            return (result, trouble);
        }
        if result.is_err() {
            self.markers.not_made(conn.marker.take());
            conn.undo();
            return (result, Trouble::None);
        }
        let marker = match conn.wrote {
            true if conn.galera => conn.marker.take(),
            true => self.markers.next(false),
            false => None,
        };
        let Err(error) = conn.commit(marker.as_ref()) else {
            if self.write {
                self.counters.commit();
            }
            self.markers.made(marker);
            return (result, Trouble::None);
        };
        let trouble = conn.trouble;
        let wrote = conn.wrote;
        conn.undo();
        match (trouble, marker) {
            // What was read was read.
            (Trouble::Broken, _) if !wrote => {
                self.server.broke();
                (result, Trouble::None)
            }
            (Trouble::Broken, Some(marker)) => {
                self.server.broke();
                drop(conn);
                self.after_a_cut(result, marker, &error)
            }
            // Nobody knows whether it was committed, so it must not be run again.
            (Trouble::Broken, None) => {
                self.server.broke();
                self.counters.unknown();
                (Err(fault::commit_unknown(&error)), Trouble::None)
            }
            // There is no table of markers: once more, without.
            (Trouble::None, Some(_)) if fault::is_no_table(&error) => {
                self.markers.known.store(false, Relaxed);
                (Err(error), Trouble::Retry)
            }
            // Also Galera's certification; the transaction is rolled back and may be tried again.
            (trouble, marker) => {
                self.markers.not_made(marker);
                (Err(error), trouble)
            }
        }
    }

    /// What became of a transaction whose connection broke during its commit: its result, another attempt, or, if
    /// the database does not come back, an error that says that nobody knows.
    fn after_a_cut<T>(
        &self,
        result: Result<T>,
        marker: Marker,
        error: &Error,
    ) -> (Result<T>, Trouble) {
        self.counters.cut();
        let begun = Instant::now();
        let mut attempt = 1;
        while begun.elapsed() < self.patience {
            match self.was_made(&marker.id) {
                Some(true) => {
                    self.counters.commit();
                    self.markers.made(Some(marker));
                    return (result, Trouble::None);
                }
                Some(false) => {
                    self.markers.not_made(Some(marker));
                    return (result.and(Err(error.clone())), Trouble::Retry);
                }
                None => back_off(attempt),
            }
            attempt += 1;
        }
        self.counters.unknown();
        (Err(fault::commit_unknown(error)), Trouble::None)
    }

    /// Whether the transaction of a marker was made; if not, it never will be. `None`: ask again.
    fn was_made(&self, id: &str) -> Option<bool> {
        let mut conn = self.connect().ok()?;
        let Err(error) = conn.script(&commit::decide(id)) else {
            return Some(false);
        };
        let taken = conn.trouble == Trouble::None && fault::is_duplicate(&error);
        conn.undo();
        if !taken {
            return None;
        }
        // Or it is our own, of an earlier try whose end was not heard either.
        let mut made = None;
        let sql = "SELECT made FROM commit_markers WHERE id = ?";
        let value = [CellValue::Text(id.to_string())];
        let read = conn.fetch(sql, &value, &mut |row, _| {
            made = Some(matches!(row.cell(0)?, CellRef::Int(1)));
            Ok(())
        });
        if read.is_err() {
            conn.inner.close_on_drop();
        }
        read.ok().and(made)
    }
}

/// A connection, with the statements of a transaction.
pub(crate) struct Conn {
    inner: PoolConnection<sqlx::MySql>,
    handle: Handle,
    trouble: Trouble,
    wrote: bool,
    galera: bool,
    /// `autocommit` is off until the end of the transaction.
    manual: bool,
    /// On Galera, from the first write on.
    marker: Option<Marker>,
    markers: Arc<Markers>,
}

impl Conn {
    /// Whether row locks are known to one node of several only.
    pub(crate) fn is_galera(&self) -> bool {
        self.galera
    }

    pub(crate) fn fetch(
        &mut self,
        sql: &str,
        values: &[CellValue],
        each: &mut dyn FnMut(&dyn Row, usize) -> Result<()>,
    ) -> Result<()> {
        let query = bound(sql, values);
        let rows = patient(&self.handle, query.fetch_all(&mut *self.inner));
        for row in rows.map_err(|e| self.fault(e, sql))? {
            let width = row.len();
            each(&Columns(row), width)?;
        }
        Ok(())
    }

    pub(crate) fn run(&mut self, sql: &str, values: &[CellValue]) -> Result<u64> {
        if self.galera && !self.wrote {
            self.mark()?;
        }
        self.wrote = true;
        self.execute(sql, values)
    }

    fn execute(&mut self, sql: &str, values: &[CellValue]) -> Result<u64> {
        let query = bound(sql, values);
        let done = patient(&self.handle, query.execute(&mut *self.inner));
        Ok(done.map_err(|e| self.fault(e, sql))?.rows_affected())
    }

    fn script(&mut self, sql: &str) -> Result<()> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_string()));
        let done = patient(&self.handle, query.execute(&mut *self.inner));
        done.map(drop).map_err(|e| self.fault(e, sql))
    }

    /// Begins what is written with the marker, by which [`Conn::commit`] knows the transaction again.
    fn mark(&mut self) -> Result<()> {
        let Some(marker) = self.markers.next(true) else {
            return Ok(());
        };
        let id = CellValue::Text(marker.id.clone());
        let old = marker.old.first().cloned();
        self.marker = Some(marker);
        let mut marked = 0;
        if let Some(old) = old {
            marked = self.execute(commit::REPLACE, &[id.clone(), CellValue::Text(old)])?;
        }
        if marked == 0 {
            let inserted = self.execute(commit::INSERT, &[id]);
            if inserted.as_ref().is_err_and(fault::is_no_table) {
                // It comes with the first migration: once more, without.
                self.markers.known.store(false, Relaxed);
                self.trouble = Trouble::Retry;
            }
            inserted?;
        }
        Ok(())
    }

    fn commit(&mut self, marker: Option<&Marker>) -> Result<()> {
        if !self.galera {
            return self.script(&commit::end(marker));
        }
        if let Some(marker) = marker {
            let id = CellValue::Text(marker.id.clone());
            if self.execute(commit::CONFIRM, &[id])? != 1 {
                self.trouble = Trouble::Retry;
                tracing::warn!(
                    "a transaction was rolled back by another node's unheard; it is run again"
                );
                return Err(fault::unavailable(
                    "rolled back by another node, unheard".into(),
                ));
            }
        }
        let mode = if self.manual { AUTOCOMMIT } else { "" };
        self.script(&format!("COMMIT{mode}"))
    }

    fn undo(&mut self) {
        let mode = if self.manual { AUTOCOMMIT } else { "" };
        if self.trouble == Trouble::Broken || self.script(&format!("ROLLBACK{mode}")).is_err() {
            self.inner.close_on_drop();
        }
    }

    fn fault(&mut self, error: sqlx::Error, sql: &str) -> Error {
        let (error, trouble) = fault::mysql(error, sql);
        if trouble != Trouble::None {
            self.trouble = trouble;
        }
        error
    }
}

/// Waits for a statement, but not for ever.
fn patient<T>(
    handle: &Handle,
    statement: impl Future<Output = std::result::Result<T, sqlx::Error>>,
) -> std::result::Result<T, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    handle.block_on(async {
        let bounded = tokio::time::timeout(STATEMENT, statement).await;
        bounded.map_err(silent)?
    })
}

type Bound<'q> = sqlx::query::Query<'q, sqlx::MySql, sqlx::mysql::MySqlArguments>;

fn bound<'q>(sql: &str, values: &'q [CellValue]) -> Bound<'q> {
    // The text comes from the statement builder, which binds every value.
    let mut query = sqlx::query(AssertSqlSafe(sql.to_string()));
    for value in values {
        query = match value {
            CellValue::Null => query.bind(None::<String>),
            CellValue::Int(i) => query.bind(*i),
            CellValue::Real(f) => query.bind(*f),
            CellValue::Text(t) => query.bind(t.as_str()),
            CellValue::Blob(b) => query.bind(b.as_slice()),
        };
    }
    query
}

struct Columns(MySqlRow);

impl Row for Columns {
    fn cell(&self, index: usize) -> Result<CellRef<'_>> {
        let wrong = |e: sqlx::Error| Error::internal(format!("column {index}: {e}"));
        let raw = self.0.try_get_raw(index).map_err(wrong)?;
        if raw.is_null() {
            return Ok(CellRef::Null);
        }
        let info = self.0.column(index).type_info();
        // Asked first, because a column with a binary *collation* calls itself VARBINARY.
        if <str as Type<sqlx::MySql>>::compatible(info) {
            let text = self.0.try_get_unchecked::<&str, _>(index).map_err(wrong)?;
            return Ok(CellRef::Text(Cow::Borrowed(text)));
        }
        let name = info.name();
        if name.contains("INT") || name == "BOOLEAN" {
            return Ok(CellRef::Int(
                self.0.try_get_unchecked(index).map_err(wrong)?,
            ));
        }
        match name {
            "FLOAT" | "DOUBLE" => Ok(CellRef::Real(
                self.0.try_get_unchecked(index).map_err(wrong)?,
            )),
            // Sums of integers are decimals here.
            "DECIMAL" => {
                let text = self.0.try_get_unchecked::<&str, _>(index).map_err(wrong)?;
                match text.parse::<i64>() {
                    Ok(int) => Ok(CellRef::Int(int)),
                    Err(_) => Ok(CellRef::Real(text.parse().map_err(Error::internal)?)),
                }
            }
            "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => {
                let bytes = self.0.try_get_unchecked::<&[u8], _>(index).map_err(wrong)?;
                Ok(CellRef::Blob(Cow::Borrowed(bytes)))
            }
            other => Err(Error::internal(format!(
                "column {index} has the unknown type {other}"
            ))),
        }
    }
}
