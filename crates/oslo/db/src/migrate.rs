//! Schemas grow by dated migrations of portable SQL, applied once and in order, by whichever process comes first.

use crate::db::{Db, Engine};
use crate::migrate_mysql::migrate_mysql;
use crate::tx::{Conn, Tx};
use base::{Error, Result, Timestamp};

/// One step of a schema. `sql` is portable: VARCHAR(n), TEXT, BIGINT, DOUBLE, BLOB, BOOLEAN; text in keys is
/// VARCHAR(255) at most; every statement ends with `;` at the end of a line. A published migration never changes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Date and words: `2026-11-23-initial`.
    pub id: &'static str,
    /// The statements.
    pub sql: &'static str,
}

pub(crate) const CREATE: &str = "CREATE TABLE IF NOT EXISTS migrations (
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
            Engine::MySql(db) => {
                let pending = !self.pending(service, migrations).await?.is_empty();
                migrate_mysql(db, service, migrations, pending).await
            }
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

/// Splits at `;` that ends a line; drops comment lines and empty statements.
pub(crate) fn statements(sql: &str) -> Vec<String> {
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
}
