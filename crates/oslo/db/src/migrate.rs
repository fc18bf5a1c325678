//! Schemas grow by dated migrations of portable SQL, applied once and in order, by whichever process comes first.

use crate::db::{Db, Engine};
use crate::fault::{self, Trouble};
use crate::mysql::MySql;
use crate::tx::{Conn, Tx};
use base::{Error, Result, Timestamp};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, Row};
use std::time::{Duration, Instant};

/// How long a service that starts waits for the database.
const START: Duration = Duration::from_secs(60);

/// One step of a schema. `sql` is portable: VARCHAR(n), TEXT, BIGINT, DOUBLE, BLOB, BOOLEAN; text in keys is
/// VARCHAR(255) at most; every statement ends with `;` at the end of a line. A published migration never changes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Date and words: `2026-11-23-initial`.
    pub id: &'static str,
    /// The statements.
    pub sql: &'static str,
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS migrations (
    service VARCHAR(64) NOT NULL,
    id VARCHAR(190) NOT NULL,
    applied_at BIGINT,
    statements BIGINT NOT NULL,
    PRIMARY KEY (service, id)
)";

crate::table! {
    /// A migration that was begun (`applied_at` is null) or finished.
    struct Applied in "migrations" {
        service: String, id: String, applied_at: Option<Timestamp>, statements: i64,
    }
}

impl Db {
    /// Applies what is missing of a service's migrations, and gives the ids applied now. Several processes may
    /// do this at once.
    pub async fn migrate(
        &self,
        service: &str,
        migrations: &[Migration],
    ) -> Result<Vec<&'static str>> {
        let done = match self.engine() {
            Engine::Sqlite(_) => {
                let (service, migrations) = (service.to_string(), migrations.to_vec());
                self.write(move |tx| migrate_sqlite(tx, &service, &migrations))
                    .await
            }
            Engine::MySql(db) => migrate_mysql(db, service, migrations).await,
        }?;
        for id in &done {
            tracing::info!(service, migration = id, "applied a migration");
        }
        Ok(done)
    }

    /// Those of a service's migrations that are not applied yet, in order.
    pub async fn pending(
        &self,
        service: &str,
        migrations: &[Migration],
    ) -> Result<Vec<&'static str>> {
        let all = migrations.iter().map(|m| m.id);
        if !self.read(|tx| has_table(tx, "migrations")).await? {
            return Ok(all.collect());
        }
        let service = service.to_string();
        let applied = self.read(move |tx| {
            let of_service = crate::eq("service", service.as_str());
            tx.select::<Applied>(crate::all([of_service, crate::not_null("applied_at")]))
        });
        let applied = applied.await?;
        Ok(all
            .filter(|id| applied.iter().all(|a| a.id != *id))
            .collect())
    }

    /// The newest migration of a service that was applied; `None` before the first.
    pub async fn version(&self, service: &str) -> Result<Option<String>> {
        let service = service.to_string();
        // On a database that is quite new the table itself is missing.
        let exists = self.read(|tx| has_table(tx, "migrations")).await?;
        if !exists {
            return Ok(None);
        }
        self.read(move |tx| {
            let applied = crate::all([
                crate::eq("service", service.as_str()),
                crate::not_null("applied_at"),
            ]);
            let newest =
                tx.select_sorted::<Applied>(applied, &[("id", base::Dir::Desc)], Some(1))?;
            Ok(newest.into_iter().next().map(|a| a.id))
        })
        .await
    }
}

/// Creates the database that a mysql url names, if it is missing.
pub async fn create_database(url: &str) -> Result<()> {
    let (server, name) = crate::mysql::server_of(url)?;
    let mut conn = patient_connect(&server).await?;
    let name = name.replace('`', "``");
    let sql =
        format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    raw(&mut conn, &sql).await?;
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

fn has_table(tx: &mut Tx, name: &str) -> Result<bool> {
    use sea_query::{Expr, Query};
    let mut select = Query::select();
    select.expr(Expr::val(1));
    match tx.dialect() {
        crate::Dialect::Sqlite => {
            select.from("sqlite_master");
            select.cond_where(crate::all([
                crate::eq("type", "table"),
                crate::eq("name", name),
            ]));
        }
        crate::Dialect::MySql => {
            select.from(("information_schema", "tables"));
            select.cond_where(crate::eq("table_name", name));
            select.and_where(Expr::cust("table_schema = DATABASE()"));
        }
    }
    Ok(!tx.query(select)?.is_empty())
}

/// All in one transaction, which SQLite allows for schemas too.
fn migrate_sqlite(
    tx: &mut Tx,
    service: &str,
    migrations: &[Migration],
) -> Result<Vec<&'static str>> {
    let Conn::Sqlite(conn) = &mut tx.conn else {
        return Err(Error::internal("not SQLite"));
    };
    conn.script(CREATE)?;
    let mut done = Vec::new();
    for migration in migrations {
        let key = crate::all([crate::eq("service", service), crate::eq("id", migration.id)]);
        if tx.exists::<Applied>(key)? {
            continue;
        }
        let statements = statements(migration.sql);
        if let Conn::Sqlite(conn) = &mut tx.conn {
            for sql in &statements {
                conn.script(sql)?;
            }
        }
        tx.insert(&Applied {
            service: service.into(),
            id: migration.id.into(),
            applied_at: Some(Timestamp::now()),
            statements: statements.len() as i64,
        })?;
        done.push(migration.id);
    }
    Ok(done)
}

/// MariaDB commits every schema statement by itself, so the position inside a migration is saved after each and
/// a process that died half-way is continued by the next. A named lock keeps the others waiting meanwhile.
async fn migrate_mysql(
    db: &MySql,
    service: &str,
    migrations: &[Migration],
) -> Result<Vec<&'static str>> {
    let pooled = db
        .pool
        .acquire()
        .await
        .map_err(|e| fault::mysql(e, "connect").0)?;
    // Closing the connection at the end gives the lock back on every path and forgets the session's mode.
    let mut conn = pooled.detach();
    let mode = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')";
    raw(&mut conn, mode).await?;
    let lock =
        "SELECT CAST(COALESCE(GET_LOCK(CONCAT('ferrostack-', MD5(DATABASE())), 120), 0) AS SIGNED)";
    let locked: i64 = scalar(&mut conn, lock, &[]).await?.unwrap_or(0);
    if locked != 1 {
        return Err(Error::unavailable(
            "Another process is migrating the database.",
        ));
    }
    raw(&mut conn, &for_mariadb(CREATE)).await?;
    let mut done = Vec::new();
    for migration in migrations {
        if apply_mysql(&mut conn, service, migration).await? {
            done.push(migration.id);
        }
    }
    let _ = conn.close().await;
    Ok(done)
}

async fn apply_mysql(
    conn: &mut MySqlConnection,
    service: &str,
    migration: &Migration,
) -> Result<bool> {
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
        let done = sqlx::raw_sql(AssertSqlSafe(for_mariadb(sql)))
            .execute(&mut *conn)
            .await;
        // The one that the process before us may have finished without saying so.
        let resumed = !begun_now && at as i64 == start;
        match done {
            Err(e) if resumed && exists_already(&e) => {}
            Err(e) => return Err(fault::mysql(e, sql).0),
            Ok(_) => {}
        }
        let save = "UPDATE migrations SET statements = statements + 1 WHERE service = ? AND id = ?";
        execute(conn, save, &key).await?;
    }
    let now = Timestamp::now().0;
    let finish = format!("UPDATE migrations SET applied_at = {now} WHERE service = ? AND id = ?");
    execute(conn, &finish, &key).await?;
    Ok(true)
}

/// Table, column or index exists; column or index is gone already.
fn exists_already(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(e) = error else {
        return false;
    };
    e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .is_some_and(|e| matches!(e.number(), 1050 | 1051 | 1060 | 1061 | 1091))
}

async fn raw(conn: &mut MySqlConnection, sql: &str) -> Result<()> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_string()))
        .execute(conn)
        .await;
    done.map(drop).map_err(|e| fault::mysql(e, sql).0)
}

async fn execute(conn: &mut MySqlConnection, sql: &str, texts: &[&str]) -> Result<u64> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_string()));
    for text in texts {
        query = query.bind(*text);
    }
    Ok(query
        .execute(conn)
        .await
        .map_err(|e| fault::mysql(e, sql).0)?
        .rows_affected())
}

async fn scalar(conn: &mut MySqlConnection, sql: &str, texts: &[&str]) -> Result<Option<i64>> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_string()));
    for text in texts {
        query = query.bind(*text);
    }
    let row = query
        .fetch_optional(conn)
        .await
        .map_err(|e| fault::mysql(e, sql).0)?;
    row.map(|r| r.try_get_unchecked(0).map_err(Error::internal))
        .transpose()
}

/// Splits at `;` that ends a line; drops comment lines and empty statements.
fn statements(sql: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current = String::new();
    for line in sql.lines().filter(|l| !l.trim_start().starts_with("--")) {
        current.push_str(line);
        current.push('\n');
        if line.trim_end().ends_with(';') {
            out.push(std::mem::take(&mut current));
        }
    }
    out.push(current);
    out.iter()
        .map(|s| s.trim().trim_end_matches(';').trim_end().to_string())
        .filter(|s| !s.is_empty())
        .collect()
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
    fn statements_end_at_semicolons_that_end_a_line() {
        let sql = "-- words;\nCREATE TABLE a (\n  b TEXT DEFAULT 'x; y'\n);\n\nDROP TABLE c;\n";
        let expected = [
            "CREATE TABLE a (\n  b TEXT DEFAULT 'x; y'\n)",
            "DROP TABLE c",
        ];
        assert_eq!(statements(sql), expected);
    }

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
