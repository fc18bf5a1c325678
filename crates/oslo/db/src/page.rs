//! Keyset paging: a page starts after its marker's sort values, so rows that come and go meanwhile never shift
//! the rest. Null sorts before every value, which both databases agree on.

use crate::cond::{Cond, all, any, eq, gt, is_null, lt, not_null, nothing};
use crate::fault::MARKER_NOT_FOUND;
use crate::table::Table;
use crate::tx::{Tx, order, select_from};
use base::{CellValue, Dir, Error, Page, Paging, Result};
use sea_query::Query;

impl Tx {
    /// A page of the rows that match; the marker is an `id`. An unknown marker is a 400 of class
    /// [`MARKER_NOT_FOUND`](crate::MARKER_NOT_FOUND).
    pub fn page<T: Table>(&mut self, cond: Cond, paging: &Paging) -> Result<Page<T>> {
        self.page_by_key("id", cond, paging)
    }

    /// Like [`Tx::page`], for tables whose unique column has another name than `id`. Where the sort does not
    /// name that column it is added as the last one, so the order is always total.
    pub fn page_by_key<T: Table>(
        &mut self,
        key: &'static str,
        cond: Cond,
        paging: &Paging,
    ) -> Result<Page<T>> {
        let mut sort = paging.sort.clone();
        if let Some((column, _)) = sort.iter().find(|(c, _)| !T::COLUMNS.contains(c)) {
            return Err(Error::internal(format!(
                "{} has no column {column}",
                T::NAME
            )));
        }
        // What follows the unique key cannot change the order any more.
        match sort.iter().position(|(c, _)| *c == key) {
            Some(at) => sort.truncate(at + 1),
            None => sort.push((key, sort.last().map_or(Dir::Asc, |(_, d)| *d))),
        }
        if paging.reverse {
            sort.iter_mut().for_each(|(_, dir)| *dir = dir.flip());
        }

        let mut select = select_from::<T>(cond);
        if let Some(marker) = &paging.marker {
            let values = self.marker_values::<T>(key, marker, &sort)?;
            select.cond_where(after(&sort, &values));
        }
        for (column, dir) in &sort {
            select.order_by(*column, order(*dir));
        }
        match (paging.limit, paging.offset) {
            (Some(limit), _) => {
                select.limit(limit.saturating_add(1).min(i64::MAX as u64));
            }
            // Neither database takes an offset without a limit.
            (None, Some(_)) => {
                select.limit(i64::MAX as u64);
            }
            (None, None) => {}
        }
        if let Some(offset) = paging.offset {
            select.offset(offset);
        }

        let mut items = self.rows::<T>(&select)?;
        let wanted = paging
            .limit
            .map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
        let more = items.len() > wanted;
        items.truncate(wanted);
        if paging.reverse {
            items.reverse();
        }
        Ok(Page { items, more })
    }

    fn marker_values<T: Table>(
        &mut self,
        key: &'static str,
        marker: &str,
        sort: &[(&'static str, Dir)],
    ) -> Result<Vec<CellValue>> {
        let mut select = Query::select();
        select
            .columns(sort.iter().map(|(c, _)| *c))
            .from(T::NAME)
            .cond_where(eq(key, marker));
        match self.query(select)?.pop() {
            Some(cells) => Ok(cells.0),
            None => {
                Err(Error::bad_request(format!("marker [{marker}] not found"))
                    .class(MARKER_NOT_FOUND))
            }
        }
    }
}

/// `(a, b, c)` after the marker: `a` after, or `a` equal and `b` after, or …
fn after(sort: &[(&'static str, Dir)], marker: &[CellValue]) -> Cond {
    let mut ways = Vec::new();
    let mut equal_so_far: Vec<Cond> = Vec::new();
    for ((column, dir), value) in sort.iter().copied().zip(marker) {
        let next = match (dir, value) {
            (Dir::Asc, CellValue::Null) => not_null(column),
            (Dir::Asc, value) => gt(column, value.clone()),
            (Dir::Desc, CellValue::Null) => nothing(),
            (Dir::Desc, value) => any([lt(column, value.clone()), is_null(column)]),
        };
        ways.push(all(equal_so_far.iter().cloned().chain([next])));
        equal_so_far.push(crate::eq_or_null(column, value.clone()));
    }
    any(ways)
}
