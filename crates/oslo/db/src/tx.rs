//! A transaction: typed verbs over tables, and two doors (`query`, `execute`) for statements built by hand.

use crate::cond::{Cond, all, is_in};
use crate::stats::Counters;
use crate::table::{Cells, Row, Table};
use crate::value::{AsCell, cell, from_value, owned, to_value};
use crate::{Dialect, mysql, sqlite};
use base::{Cell, CellValue, Dir, Error, Result};
use sea_query::{
    DeleteStatement, Expr, Func, InsertStatement, MysqlQueryBuilder, OnConflict, Order, Query,
    QueryStatementBuilder, SelectStatement, SqliteQueryBuilder, UpdateStatement, Values,
};
use std::borrow::Borrow;
use std::sync::Arc;

/// An open transaction. It ends when the closure that received it returns: `Ok` commits, `Err` rolls back.
pub struct Tx {
    pub(crate) conn: Conn,
    pub(crate) writable: bool,
    pub(crate) counters: Arc<Counters>,
}

pub(crate) enum Conn {
    Sqlite(sqlite::Conn),
    MySql(mysql::Conn),
}

/// Insert, update and delete statements, owned or borrowed.
pub trait Statement {
    /// The SQL and its parameters.
    fn sql(&self, dialect: Dialect) -> (String, Values);
}

fn build(statement: &impl QueryStatementBuilder, dialect: Dialect) -> (String, Values) {
    match dialect {
        Dialect::Sqlite => statement.build_any(&SqliteQueryBuilder),
        Dialect::MySql => statement.build_any(&MysqlQueryBuilder),
    }
}

macro_rules! statements {
    ($($t:ty),*) => {$(
        impl Statement for $t {
            fn sql(&self, dialect: Dialect) -> (String, Values) {
                build(self, dialect)
            }
        }
    )*};
}
statements!(InsertStatement, UpdateStatement, DeleteStatement);

impl<T: Statement> Statement for &T {
    fn sql(&self, dialect: Dialect) -> (String, Values) {
        (**self).sql(dialect)
    }
}

impl<T: Statement> Statement for &mut T {
    fn sql(&self, dialect: Dialect) -> (String, Values) {
        (**self).sql(dialect)
    }
}

/// Both databases take more parameters than this in one statement.
const MOST_PARAMETERS: usize = 8_000;

impl Tx {
    /// Which database this runs on, for the rare statement that must differ.
    pub fn dialect(&self) -> Dialect {
        match &self.conn {
            Conn::Sqlite(_) => Dialect::Sqlite,
            Conn::MySql(_) => Dialect::MySql,
        }
    }

    /// Inserts a row. A taken key is a conflict of class [`DUPLICATE`](crate::DUPLICATE).
    pub fn insert<T: Table>(&mut self, row: &T) -> Result<()> {
        self.insert_all(std::slice::from_ref(row))
    }

    /// Inserts rows, many in one statement.
    pub fn insert_all<T: Table>(&mut self, rows: &[T]) -> Result<()> {
        for chunk in rows.chunks((MOST_PARAMETERS / T::COLUMNS.len().max(1)).max(1)) {
            let mut insert = insert_into::<T>();
            for row in chunk {
                add_values(&mut insert, row)?;
            }
            self.execute(insert)?;
        }
        Ok(())
    }

    /// Inserts a row, or sets all its other columns where `key` (a unique key) is taken already.
    pub fn upsert<T: Table>(&mut self, row: &T, key: &[&'static str]) -> Result<()> {
        let rest: Vec<_> = T::COLUMNS
            .iter()
            .copied()
            .filter(|c| !key.contains(c))
            .collect();
        let mut conflict = OnConflict::columns(key.iter().copied());
        if rest.is_empty() {
            conflict.do_nothing_on(key.iter().copied());
        } else {
            conflict.update_columns(rest);
        }
        let mut insert = insert_into::<T>();
        add_values(&mut insert, row)?;
        self.execute(insert.on_conflict(conflict))?;
        Ok(())
    }

    /// The first row that matches, if any.
    pub fn find<T: Table>(&mut self, cond: Cond) -> Result<Option<T>> {
        let mut select = select_from::<T>(cond);
        Ok(self.rows(select.limit(1))?.pop())
    }

    /// Like [`Tx::find`], and no other transaction changes or locks the row until this one ends. Between the nodes of a
    /// Galera cluster the second of two that lock it runs again; one that changes it *without* this lock is noticed
    /// there only if this one changes it too.
    pub fn find_for_update<T: Table>(&mut self, cond: Cond) -> Result<Option<T>> {
        let mut select = select_from::<T>(cond);
        let found = self.rows::<T>(select.limit(1).lock_exclusive())?.pop();
        if let Some(row) = &found {
            self.publish_lock(row)?;
        }
        Ok(found)
    }

    /// The rows that match, in no particular order.
    pub fn select<T: Table>(&mut self, cond: Cond) -> Result<Vec<T>> {
        self.rows(select_from::<T>(cond))
    }

    /// The rows that match, in order (null before every value), at most `limit`.
    pub fn select_sorted<T: Table>(
        &mut self,
        cond: Cond,
        sort: &[(&'static str, Dir)],
        limit: Option<u64>,
    ) -> Result<Vec<T>> {
        let mut select = select_from::<T>(cond);
        for (column, dir) in sort {
            select.order_by(*column, order(*dir));
        }
        if let Some(limit) = limit {
            select.limit(limit);
        }
        self.rows(&select)
    }

    /// How many rows match.
    pub fn count<T: Table>(&mut self, cond: Cond) -> Result<u64> {
        let mut select = Query::select();
        select
            .expr(Func::count(Expr::val(1)))
            .from(T::NAME)
            .cond_where(cond);
        self.scalar(select).map(Option::unwrap_or_default)
    }

    /// The sum of a column of the rows that match; 0 without rows.
    pub fn sum<T: Table>(&mut self, column: &'static str, cond: Cond) -> Result<i64> {
        let mut select = Query::select();
        select
            .expr(Func::sum(Expr::col(column)))
            .from(T::NAME)
            .cond_where(cond);
        Ok(self
            .scalar::<Option<i64>>(select)?
            .flatten()
            .unwrap_or_default())
    }

    /// Sets columns of all rows that match and says how many matched. For compare-and-swap, put the old value
    /// into `cond` and check for 1, or use [`Tx::swap`].
    pub fn update<T: Table>(
        &mut self,
        cond: Cond,
        values: &[(&'static str, CellValue)],
    ) -> Result<u64> {
        if values.is_empty() {
            return self.count::<T>(cond);
        }
        let mut update = Query::update();
        update.table(T::NAME).cond_where(cond);
        for (column, value) in values {
            update.value(*column, to_value(value.clone()));
        }
        self.execute(update)
    }

    /// Compare-and-swap: sets `column` (and `extra`) of the row `identity` to `to` if it is now one of `from`.
    /// False means that somebody else was faster, or that there is no such row.
    pub fn swap<T: Table, S: Cell>(
        &mut self,
        identity: Cond,
        column: &'static str,
        from: &[S],
        to: S,
        extra: &[(&'static str, CellValue)],
    ) -> Result<bool> {
        let mut values = vec![(column, to.to_cell())];
        values.extend_from_slice(extra);
        Ok(self.update::<T>(all([identity, is_in(column, from.iter())]), &values)? > 0)
    }

    /// Deletes the rows that match and says how many.
    pub fn delete<T: Table>(&mut self, cond: Cond) -> Result<u64> {
        let mut delete = Query::delete();
        delete.from_table(T::NAME).cond_where(cond);
        self.execute(delete)
    }

    /// Runs a select built by hand (joins, groups).
    pub fn query(&mut self, select: impl Borrow<SelectStatement>) -> Result<Vec<Cells>> {
        let mut rows = Vec::new();
        self.fetch(select.borrow(), &mut |row, width| {
            let cells = (0..width)
                .map(|i| row.cell(i).map(owned))
                .collect::<Result<_>>()?;
            rows.push(Cells(cells));
            Ok(())
        })?;
        Ok(rows)
    }

    /// Runs a select built by hand that selects the columns of `T` in their order (`T::COLUMNS`) first.
    pub fn rows<T: Table>(&mut self, select: impl Borrow<SelectStatement>) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        self.fetch(select.borrow(), &mut |row, _| {
            rows.push(T::from_row(row)?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// The first column of the first row of a select built by hand.
    pub fn scalar<T: Cell>(&mut self, select: impl Borrow<SelectStatement>) -> Result<Option<T>> {
        self.query(select)?
            .first()
            .map(|cells| cells.get(0))
            .transpose()
    }

    /// Runs an insert, update or delete built by hand and says how many rows it touched.
    pub fn execute(&mut self, statement: impl Statement) -> Result<u64> {
        let (sql, values) = statement.sql(self.dialect());
        self.run(&sql, values)
    }

    fn fetch(
        &mut self,
        select: &SelectStatement,
        each: &mut dyn FnMut(&dyn Row, usize) -> Result<()>,
    ) -> Result<()> {
        let (sql, values) = build(select, self.dialect());
        let values = values
            .0
            .into_iter()
            .map(from_value)
            .collect::<Result<Vec<_>>>()?;
        self.counters.query();
        match &mut self.conn {
            Conn::Sqlite(conn) => conn.fetch(&sql, &values, each),
            Conn::MySql(conn) => conn.fetch(&sql, &values, each),
        }
    }

    fn run(&mut self, sql: &str, values: Values) -> Result<u64> {
        if !self.writable {
            return Err(Error::internal(format!(
                "a read transaction must not write: {sql}"
            )));
        }
        let values = values
            .0
            .into_iter()
            .map(from_value)
            .collect::<Result<Vec<_>>>()?;
        self.counters.query();
        match &mut self.conn {
            Conn::Sqlite(conn) => conn.run(sql, &values),
            Conn::MySql(conn) => conn.run(sql, &values),
        }
    }

    /// Whether a row matches.
    pub fn exists<T: Table>(&mut self, cond: Cond) -> Result<bool> {
        let mut select = Query::select();
        select
            .expr(Expr::val(1))
            .from(T::NAME)
            .cond_where(cond)
            .limit(1);
        Ok(!self.query(select)?.is_empty())
    }

    /// The row whose `column` is `value`, or a 404 with `message`.
    pub fn get<T: Table, How>(
        &mut self,
        column: &'static str,
        value: impl AsCell<How>,
        message: &str,
    ) -> Result<T> {
        let found = self.find::<T>(crate::eq(column, cell(value)))?;
        found.ok_or_else(|| Error::not_found(message))
    }
}

pub(crate) fn order(dir: Dir) -> Order {
    match dir {
        Dir::Asc => Order::Asc,
        Dir::Desc => Order::Desc,
    }
}

pub(crate) fn select_from<T: Table>(cond: Cond) -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(T::COLUMNS.iter().copied())
        .from(T::NAME)
        .cond_where(cond);
    select
}

pub(crate) fn insert_into<T: Table>() -> InsertStatement {
    let mut insert = Query::insert();
    insert
        .into_table(T::NAME)
        .columns(T::COLUMNS.iter().copied());
    insert
}

pub(crate) fn add_values<T: Table>(insert: &mut InsertStatement, row: &T) -> Result<()> {
    let values = row.values().into_iter().map(|v| Expr::val(to_value(v)));
    insert
        .values(values)
        .map_err(|e| Error::internal(format!("insert into {}: {e}", T::NAME)))?;
    Ok(())
}
