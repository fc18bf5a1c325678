//! SQLite: one thread writes, a few read. Writers are committed in groups: up to 64 closures share one commit,
//! each in its own savepoint, and nobody is answered before the commit is done.

use crate::fault;
use crate::options::{Options, Synchronous};
use crate::pause::back_off;
use crate::queue::Queue;
use crate::stats::Counters;
use crate::table::Row;
use crate::tx::{self, Tx};
use base::{CellRef, CellValue, Error, Kind, Result};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql};
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const GROUP: usize = 64;

/// A closure on its way through a database thread.
pub(crate) trait Job: Send {
    /// Whether the closure may write.
    fn writes(&self) -> bool;
    /// Whether nobody waits for the answer any more; work that was not begun is then dropped.
    fn abandoned(&self) -> bool;
    /// Runs the closure and says whether it succeeded.
    fn run(&mut self, tx: &mut Tx) -> bool;
    /// Answers: what the closure returned, or why its success did not last.
    fn answer(self: Box<Self>, commit: Result<()>);
}

struct Call<T, F> {
    closure: F,
    write: bool,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: Fn(&mut Tx) -> Result<T> + Send> Job for Call<T, F> {
    fn writes(&self) -> bool {
        self.write
    }

    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, tx: &mut Tx) -> bool {
        let result = run(tx, self.write, &self.closure);
        let ok = result.is_ok();
        self.result = Some(result);
        ok
    }

    fn answer(self: Box<Self>, commit: Result<()>) {
        let result = match (self.result, commit) {
            (Some(Ok(_)) | None, Err(e)) => Err(e),
            (Some(result), _) => result,
            (None, Ok(())) => Err(Error::internal("a database closure was not run")),
        };
        // A caller that is gone does not want to know.
        let _ = self.reply.send(result);
    }
}

fn run<T>(tx: &mut Tx, write: bool, closure: impl Fn(&mut Tx) -> Result<T>) -> Result<T> {
    tx.writable = write;
    let result = catch_unwind(AssertUnwindSafe(|| closure(tx)));
    tx.counters.closure(write);
    result.unwrap_or_else(|panic| Err(fault::panicked(panic)))
}

type Jobs = Arc<Queue<Box<dyn Job>>>;

/// The threads of one SQLite file.
pub(crate) struct Sqlite {
    writes: Jobs,
    reads: Jobs,
    /// What peeks; none once it is closed, or for a database in memory.
    peeker: Mutex<Option<Tx>>,
    pub(crate) counters: Arc<Counters>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Sqlite {
    /// Opens `path`, or a database in memory.
    pub(crate) fn open(path: Option<&Path>, options: &Options) -> Result<Sqlite> {
        let counters = Arc::new(Counters::default());
        let writes: Jobs = Arc::new(Queue::new());
        let mut threads = Vec::new();

        let conn = connect(path, options, true)?;
        let (jobs, counted) = (writes.clone(), counters.clone());
        threads.push(thread("db-write", move || {
            write_loop(conn, &jobs, &counted)
        })?);

        // A database in memory lives in its one connection, which therefore reads too.
        let readers = if path.is_some() {
            options.readers.max(1)
        } else {
            0
        };
        let reads: Jobs = if readers == 0 {
            writes.clone()
        } else {
            Arc::new(Queue::new())
        };
        let peeker = match path {
            None => None,
            Some(_) => {
                let conn = connect(path, options, false)?;
                // It waits for nobody.
                conn.busy_timeout(Duration::ZERO)
                    .map_err(|e| fault::sqlite(e, "busy_timeout"))?;
                Some(Tx::of(conn, false, &counters))
            }
        };
        for _ in 0..readers {
            let conn = connect(path, options, false)?;
            let (jobs, counted) = (reads.clone(), counters.clone());
            threads.push(thread("db-read", move || read_loop(conn, &jobs, &counted))?);
        }
        Ok(Sqlite {
            writes,
            reads,
            peeker: peeker.into(),
            counters,
            threads: threads.into(),
        })
    }

    pub(crate) async fn call<T, F>(&self, write: bool, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Tx) -> Result<T> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = if write { &self.writes } else { &self.reads };
        let call = Box::new(Call {
            closure,
            write,
            result: None,
            reply,
        });
        queue.push(call).map_err(|_| fault::closed())?;
        answer
            .await
            .map_err(|_| Error::internal("a database thread died"))?
    }

    /// Runs a closure that reads at once and here; `None` if somebody would have to be waited for.
    pub(crate) fn peek<T>(&self, closure: impl Fn(&mut Tx) -> Result<T>) -> Option<Result<T>> {
        let mut peeker = self.peeker.try_lock().ok()?;
        let tx = peeker.as_mut()?;
        match tx.read(closure) {
            Err(e) if e.kind() == Kind::Unavailable => None,
            other => Some(other),
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn close(&self) -> Vec<JoinHandle<()>> {
        self.writes.close();
        self.reads.close();
        drop(self.peeker.lock().unwrap_or_else(|e| e.into_inner()).take());
        let mut threads = self.threads.lock().unwrap_or_else(|e| e.into_inner());
        std::mem::take(&mut *threads)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.close();
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Ok(std::thread::Builder::new().name(name.into()).spawn(body)?)
}

fn connect(path: Option<&Path>, options: &Options, writer: bool) -> Result<Connection> {
    let opened = match path {
        Some(path) => Connection::open(path),
        None => Connection::open_in_memory(),
    };
    let conn = opened.map_err(|e| fault::sqlite(e, "open"))?;
    conn.busy_timeout(options.busy_timeout)
        .map_err(|e| fault::sqlite(e, "busy_timeout"))?;
    // Or SQLite takes a misspelt column for text, and a condition silently matches nothing.
    for strict in [
        DbConfig::SQLITE_DBCONFIG_DQS_DML,
        DbConfig::SQLITE_DBCONFIG_DQS_DDL,
    ] {
        conn.set_db_config(strict, false)
            .map_err(|e| fault::sqlite(e, "strict quotes"))?;
    }
    // Or a bound LIMIT that differs from the last one makes SQLite prepare the statement anew.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(|e| fault::sqlite(e, "stable plans"))?;
    conn.set_prepared_statement_cache_capacity(options.statement_cache);
    let synchronous = match options.synchronous {
        Synchronous::Normal => "NORMAL",
        Synchronous::Full => "FULL",
    };
    let mut pragmas = String::new();
    if path.is_some() && writer {
        write_ahead(&conn, options.busy_timeout)?;
    }
    pragmas.push_str(&format!(
        "PRAGMA synchronous = {synchronous};
         PRAGMA foreign_keys = ON;
         PRAGMA case_sensitive_like = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{};
         PRAGMA journal_size_limit = 67108864;",
        options.cache_kib
    ));
    if !writer {
        pragmas.push_str("PRAGMA query_only = ON;");
    }
    conn.execute_batch(&pragmas)
        .map_err(|e| fault::sqlite(e, "pragmas"))?;
    Ok(conn)
}

/// Switches the file to a write-ahead log. For this alone SQLite does not wait while another process does the
/// same, so we do.
fn write_ahead(conn: &Connection, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    let mut attempt = 0;
    loop {
        let done = conn.execute_batch("PRAGMA journal_mode = WAL");
        match done.map_err(|e| fault::sqlite(e, "journal_mode")) {
            Err(e) if e.kind() == Kind::Unavailable && Instant::now() < deadline => {
                back_off(attempt);
                attempt += 1;
            }
            other => return other,
        }
    }
}

fn write_loop(conn: Connection, jobs: &Queue<Box<dyn Job>>, counters: &Arc<Counters>) {
    let mut tx = Tx::of(conn, true, counters);
    while let Some(mut group) = jobs.take(GROUP) {
        group.retain(|job| !job.abandoned());
        if group.is_empty() {
            continue;
        }
        let outcome = write_group(&mut tx, &mut group);
        if let Err(e) = &outcome {
            tracing::error!(error = %e, closures = group.len(), "a group of writes did not commit");
        }
        for job in group {
            job.answer(outcome.clone());
        }
    }
}

fn write_group(tx: &mut Tx, group: &mut [Box<dyn Job>]) -> Result<()> {
    let only_reads = group.iter().all(|job| !job.writes());
    tx.say(if only_reads {
        "BEGIN"
    } else {
        "BEGIN IMMEDIATE"
    })?;
    let alone = group.len() == 1;
    let mut lost = None;
    let mut changed = false;
    for job in group.iter_mut() {
        if alone {
            changed = job.run(tx);
        } else {
            if let Err(e) = tx.say("SAVEPOINT one") {
                lost = Some(e);
                break;
            }
            let ok = job.run(tx);
            changed |= ok;
            let undone = match ok {
                true => Ok(()),
                false => tx.say("ROLLBACK TO one"),
            };
            if let Err(e) = undone.and_then(|()| tx.say("RELEASE one")) {
                lost = Some(e);
                break;
            }
        }
        // Some failures (disk full, I/O) make SQLite roll back everything by itself.
        if tx.ended() {
            lost = Some(
                Error::unavailable("The database is not available; try again later.")
                    .log("sqlite rolled the whole transaction back"),
            );
            break;
        }
    }
    let end = match &lost {
        None if changed => tx.say("COMMIT"),
        _ => Ok(()),
    };
    if end.is_ok() && changed && lost.is_none() && !only_reads {
        tx.counters.commit();
    }
    tx.undo();
    lost.map_or(end, Err)
}

fn read_loop(conn: Connection, jobs: &Queue<Box<dyn Job>>, counters: &Arc<Counters>) {
    let mut tx = Tx::of(conn, false, counters);
    while let Some(group) = jobs.take(1) {
        for mut job in group {
            if job.abandoned() {
                continue;
            }
            let begun = tx.say("BEGIN");
            if begun.is_ok() {
                job.run(&mut tx);
            }
            tx.undo();
            job.answer(begun);
        }
    }
}

impl Tx {
    fn of(conn: Connection, writable: bool, counters: &Arc<Counters>) -> Tx {
        Tx {
            conn: tx::Conn::Sqlite(Conn(conn)),
            writable,
            counters: Arc::clone(counters),
        }
    }

    fn read<T>(&mut self, closure: impl Fn(&mut Tx) -> Result<T>) -> Result<T> {
        self.say("BEGIN")?;
        let result = run(self, false, closure);
        self.undo();
        result
    }

    /// Ends a transaction that is open; nothing that was not committed stays.
    fn undo(&self) {
        if !self.ended() {
            let _ = self.say("ROLLBACK");
        }
    }

    fn sqlite(&self) -> Option<&Connection> {
        match &self.conn {
            tx::Conn::Sqlite(conn) => Some(&conn.0),
            tx::Conn::MySql(_) => None,
        }
    }

    fn ended(&self) -> bool {
        self.sqlite().is_none_or(Connection::is_autocommit)
    }

    /// One of the few words that every transaction says.
    fn say(&self, sql: &str) -> Result<()> {
        let Some(conn) = self.sqlite() else {
            return Ok(());
        };
        let fault = |e| fault::sqlite(e, sql);
        let mut statement = conn.prepare_cached(sql).map_err(fault)?;
        statement.execute(()).map(drop).map_err(fault)
    }
}

/// A connection, with the statements of a transaction.
pub(crate) struct Conn(Connection);

struct Param<'a>(&'a CellValue);

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            CellValue::Null => ValueRef::Null,
            CellValue::Int(i) => ValueRef::Integer(*i),
            CellValue::Real(f) => ValueRef::Real(*f),
            CellValue::Text(t) => ValueRef::Text(t.as_bytes()),
            CellValue::Blob(b) => ValueRef::Blob(b),
        }))
    }
}

struct SqliteRow<'a, 's>(&'a rusqlite::Row<'s>);

impl Row for SqliteRow<'_, '_> {
    fn cell(&self, index: usize) -> Result<CellRef<'_>> {
        let value = self
            .0
            .get_ref(index)
            .map_err(|e| fault::sqlite(e, "read a column"))?;
        Ok(match value {
            ValueRef::Null => CellRef::Null,
            ValueRef::Integer(i) => CellRef::Int(i),
            ValueRef::Real(f) => CellRef::Real(f),
            ValueRef::Text(t) => {
                let text = std::str::from_utf8(t).map_err(Error::internal)?;
                CellRef::Text(Cow::Borrowed(text))
            }
            ValueRef::Blob(b) => CellRef::Blob(Cow::Borrowed(b)),
        })
    }
}

impl Conn {
    pub(crate) fn fetch(
        &mut self,
        sql: &str,
        values: &[CellValue],
        each: &mut dyn FnMut(&dyn Row, usize) -> Result<()>,
    ) -> Result<()> {
        let fault = |e| fault::sqlite(e, sql);
        let mut statement = self.0.prepare_cached(sql).map_err(fault)?;
        let width = statement.column_count();
        let params = rusqlite::params_from_iter(values.iter().map(Param));
        let mut rows = statement.query(params).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            each(&SqliteRow(row), width)?;
        }
        Ok(())
    }

    pub(crate) fn run(&mut self, sql: &str, values: &[CellValue]) -> Result<u64> {
        let fault = |e| fault::sqlite(e, sql);
        let mut statement = self.0.prepare_cached(sql).map_err(fault)?;
        let params = rusqlite::params_from_iter(values.iter().map(Param));
        Ok(statement.execute(params).map_err(fault)? as u64)
    }

    /// Runs statements as they are (migrations).
    pub(crate) fn script(&mut self, sql: &str) -> Result<()> {
        self.0.execute_batch(sql).map_err(|e| fault::sqlite(e, sql))
    }
}

/// The path of a `sqlite:` url; `None` is memory.
pub(crate) fn path(url: &str) -> Option<Result<Option<PathBuf>>> {
    let rest = url.strip_prefix("sqlite:")?;
    if rest == ":memory:" || rest == "//:memory:" {
        return Some(Ok(None));
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() {
        return Some(Err(Error::bad_request(
            "A sqlite url names a file: sqlite:///path/file.sqlite",
        )));
    }
    Some(Ok(Some(PathBuf::from(path))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn another_limit_does_not_prepare_a_statement_anew() {
        let conn = connect(None, &Options::default(), true).unwrap();
        conn.execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX i ON t (name);",
        )
        .unwrap();
        let anew = || {
            let sql = "SELECT id FROM t WHERE name > ?1 ORDER BY name, id LIMIT ?2";
            let mut statement = conn.prepare(sql).unwrap();
            for limit in [1, 2, 1000, 3, 50] {
                let rows = statement.query_map(("a", limit), |row| row.get::<_, i64>(0));
                assert_eq!(rows.unwrap().count(), 0);
            }
            statement.get_status(StatementStatus::RePrepare)
        };
        assert_eq!(anew(), 0);
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, false)
            .unwrap();
        assert!(anew() > 0, "or this test shows nothing");
    }
}
