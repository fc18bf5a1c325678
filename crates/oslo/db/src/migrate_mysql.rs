//! Migrations on MariaDB, also on several nodes of a Galera cluster at once. Schema statements commit by themselves there, so
//! the position inside a migration is saved after each, and a process that died half-way is continued by the next.
//! A row with an expiry keeps the others waiting: a named lock (`GET_LOCK`) holds on its own node only.

use crate::fault::{self, Trouble};
use crate::migrate::{CREATE, Migration, statements};
use crate::mysql::MySql;
use crate::{commit, lock};
use base::{Error, Result, Timestamp};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, Row};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long a service that starts waits for the database.
const START: Duration = Duration::from_secs(60);
/// How long it waits for another one that migrates.
const OTHERS: Duration = Duration::from_secs(120);
/// A process that is not heard of for so long does not migrate any more.
const LEASE: Duration = Duration::from_secs(15);

const LOCK: (&str, &str) = (
    "migration_lock",
    "CREATE TABLE IF NOT EXISTS migration_lock (
        id BIGINT NOT NULL PRIMARY KEY,
        owner VARCHAR(64) NOT NULL,
        expires_at BIGINT NOT NULL
    )",
);

/// What this crate itself needs in every database.
const TABLES: &[(&str, &str)] = &[("migrations", CREATE), commit::TABLE, lock::TABLE, LOCK];

/// An error, and whether trying again may help.
type Failed = (Error, Trouble);

/// Creates the database that a mysql url names, if it is missing.
pub async fn create_database(url: &str) -> Result<()> {
    let (server, name) = crate::mysql::server_of(url)?;
    let mut conn = patient_connect(&server).await?;
    let name = name.replace('`', "``");
    let sql =
        format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    raw(&mut conn, &sql).await.map_err(|(e, _)| e)?;
    let _ = conn.close().await;
    Ok(())
}

/// At the start of a cloud its services may come before the database.
async fn patient_connect(server: &sqlx::mysql::MySqlConnectOptions) -> Result<MySqlConnection> {
    let deadline = Instant::now() + START;
    let mut complained = false;
    loop {
        let (error, trouble) = match server.connect().await {
            Ok(conn) => return Ok(conn),
            Err(e) => fault::mysql(e, "connect"),
        };
        if trouble != Trouble::Broken || Instant::now() >= deadline {
            return Err(error);
        }
        if !complained {
            tracing::warn!("waiting for the database: {}", error.log_message());
            complained = true;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Applies what is missing; `pending` says whether anything is.
pub(crate) async fn migrate_mysql(
    db: &MySql,
    service: &str,
    migrations: &[Migration],
    pending: bool,
) -> Result<Vec<&'static str>> {
    let deadline = Instant::now() + OTHERS;
    let owner = base::new_hex_id();
    let mut done = Vec::new();
    loop {
        let Err((error, trouble)) =
            attempt(db, service, migrations, pending, &owner, &mut done).await
        else {
            db.markers.known.store(true, Relaxed);
            return Ok(done);
        };
        if trouble == Trouble::None || Instant::now() >= deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn attempt(
    db: &MySql,
    service: &str,
    migrations: &[Migration],
    pending: bool,
    owner: &str,
    done: &mut Vec<&'static str>,
) -> std::result::Result<(), Failed> {
    let pooled = db.pool.acquire().await;
    // Not back into the pool: the session's mode is changed.
    let mut conn = pooled.map_err(|e| fault::mysql(e, "connect"))?.detach();
    raw(
        &mut conn,
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')",
    )
    .await?;
    let there = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() \
                 AND table_name IN ('migrations', 'commit_markers', 'lock_slots', 'migration_lock')";
    if scalar(&mut conn, there, &[]).await? != Some(TABLES.len() as i64) {
        for (_, create) in TABLES {
            raw(&mut conn, &for_mariadb(create)).await?;
        }
    }
    raw(&mut conn, commit::PURGE).await?;
    if pending {
        take(&mut conn, owner).await?;
        let renewed = Renewed(tokio::spawn(renew(db.pool.clone(), owner.to_string())));
        let mut outcome = Ok(());
        for migration in migrations {
            match apply(&mut conn, service, migration).await {
                Ok(true) => done.push(migration.id),
                Ok(false) => {}
                Err(failed) => {
                    outcome = Err(failed);
                    break;
                }
            }
        }
        drop(renewed);
        let release = "UPDATE migration_lock SET owner = '', expires_at = 0 WHERE owner = ?";
        // Without this the others wait until it expires.
        let released = execute(&mut conn, release, &[owner]).await;
        outcome?;
        released?;
    }
    let _ = conn.close().await;
    Ok(())
}

/// Takes the lock or keeps it.
async fn take(conn: &mut MySqlConnection, owner: &str) -> std::result::Result<(), Failed> {
    let row = "INSERT IGNORE INTO migration_lock (id, owner, expires_at) VALUES (1, '', 0)";
    execute(conn, row, &[]).await?;
    let seconds = LEASE.as_secs();
    let take = format!(
        "UPDATE migration_lock SET owner = ?, expires_at = UNIX_TIMESTAMP() + {seconds} \
         WHERE id = 1 AND (owner = ? OR expires_at < UNIX_TIMESTAMP())"
    );
    if execute(conn, &take, &[owner, owner]).await? == 1 {
        return Ok(());
    }
    let error = Error::unavailable("Another process is migrating the database.");
    Err((error, Trouble::Retry))
}

/// Ends the renewal of the lock when it is dropped.
struct Renewed(tokio::task::JoinHandle<()>);

impl Drop for Renewed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn renew(pool: sqlx::MySqlPool, owner: String) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        if let Ok(mut conn) = pool.acquire().await {
            // If it was lost, the next save says so.
            let _ = take(&mut conn, &owner).await;
        }
    }
}

async fn apply(
    conn: &mut MySqlConnection,
    service: &str,
    migration: &Migration,
) -> std::result::Result<bool, Failed> {
    let key = [service, migration.id];
    let insert = "INSERT IGNORE INTO migrations (service, id, applied_at, statements) VALUES (?, ?, NULL, 0)";
    let begun_now = execute(conn, insert, &key).await? == 1;
    let finished = "SELECT COUNT(applied_at) FROM migrations WHERE service = ? AND id = ?";
    if scalar(conn, finished, &key).await? == Some(1) {
        return Ok(false);
    }
    let position = "SELECT statements FROM migrations WHERE service = ? AND id = ?";
    let start = scalar(conn, position, &key).await?.unwrap_or(0);
    for (at, sql) in statements(migration.sql)
        .iter()
        .enumerate()
        .skip(start as usize)
    {
        // Changes of data are made together with the note that they were made.
        let data = is_data(sql);
        if data {
            raw(conn, "START TRANSACTION").await?;
        }
        let done = sqlx::raw_sql(AssertSqlSafe(for_mariadb(sql)))
            .execute(&mut *conn)
            .await;
        // The one that the process before us may have finished without saying so.
        let resumed = !begun_now && at as i64 == start;
        match done {
            Err(e) if resumed && exists_already(&e) => {}
            Err(e) => return Err(fault::mysql(e, sql)),
            Ok(_) => {}
        }
        let save = format!(
            "UPDATE migrations SET statements = statements + 1 WHERE service = ? AND id = ? AND statements = {at}"
        );
        if execute(conn, &save, &key).await? != 1 {
            let error = Error::unavailable("Another process goes on with the migration.");
            return Err((error, Trouble::Retry));
        }
        if data {
            raw(conn, "COMMIT").await?;
        }
    }
    let now = Timestamp::now().0;
    let finish = format!(
        "UPDATE migrations SET applied_at = {now} WHERE service = ? AND id = ? AND applied_at IS NULL"
    );
    Ok(execute(conn, &finish, &key).await? == 1)
}

fn is_data(sql: &str) -> bool {
    let verb = sql.split_whitespace().next().unwrap_or_default();
    ["INSERT", "UPDATE", "DELETE", "REPLACE"]
        .iter()
        .any(|v| verb.eq_ignore_ascii_case(v))
}

/// Table, column or index exists; column or index is gone already.
fn exists_already(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(e) = error else {
        return false;
    };
    e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .is_some_and(|e| matches!(e.number(), 1050 | 1051 | 1060 | 1061 | 1091))
}

async fn raw(conn: &mut MySqlConnection, sql: &str) -> std::result::Result<(), Failed> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_string()))
        .execute(conn)
        .await;
    done.map(drop).map_err(|e| fault::mysql(e, sql))
}

async fn execute(
    conn: &mut MySqlConnection,
    sql: &str,
    texts: &[&str],
) -> std::result::Result<u64, Failed> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_string()));
    for text in texts {
        query = query.bind(*text);
    }
    let done = query.execute(conn).await;
    Ok(done.map_err(|e| fault::mysql(e, sql))?.rows_affected())
}

async fn scalar(
    conn: &mut MySqlConnection,
    sql: &str,
    texts: &[&str],
) -> std::result::Result<Option<i64>, Failed> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_string()));
    for text in texts {
        query = query.bind(*text);
    }
    let row = query.fetch_optional(conn).await;
    let value = row
        .map_err(|e| fault::mysql(e, sql))?
        .map(|r| r.try_get_unchecked(0))
        .transpose();
    value.map_err(|e| (Error::internal(e), Trouble::None))
}

/// Portable SQL as MariaDB likes it: large texts and blobs, and tables that compare text byte by byte.
fn for_mariadb(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 80);
    let mut quoted = None;
    let mut word = String::new();
    for c in sql.chars().chain([' ']) {
        if quoted.is_none() && (c.is_ascii_alphanumeric() || c == '_') {
            word.push(c);
            continue;
        }
        match word.to_ascii_uppercase().as_str() {
            "BLOB" => out.push_str("LONGBLOB"),
            "TEXT" => out.push_str("MEDIUMTEXT"),
            _ => out.push_str(&word),
        }
        word.clear();
        match quoted {
            Some(q) if q == c => quoted = None,
            None if matches!(c, '\'' | '"' | '`') => quoted = Some(c),
            _ => {}
        }
        out.push(c);
    }
    let mut out = out.trim_end().to_string();
    let head: Vec<_> = out
        .split_whitespace()
        .take(2)
        .map(str::to_ascii_uppercase)
        .collect();
    if head == ["CREATE", "TABLE"] && out.ends_with(')') {
        out.push_str(" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_are_rewritten() {
        let sql =
            "create table t (text_id BIGINT, a blob, b TEXT DEFAULT 'a TEXT', `text` VARCHAR(3))";
        let expected = "create table t (text_id BIGINT, a LONGBLOB, b MEDIUMTEXT DEFAULT 'a TEXT', \
                        `text` VARCHAR(3)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
        assert_eq!(for_mariadb(sql), expected);
        assert_eq!(
            for_mariadb("CREATE INDEX i ON t (a)"),
            "CREATE INDEX i ON t (a)"
        );
    }
}
