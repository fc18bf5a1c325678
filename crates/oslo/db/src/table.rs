//! Tables as plain structs: [`table!`](crate::table) writes the struct and the two conversions.

use crate::value::borrowed;
use base::{Cell, CellRef, CellValue, Error, Result};

/// A row on its way out of the database, read by position.
pub trait Row {
    /// The value at `index`.
    fn cell(&self, index: usize) -> Result<CellRef<'_>>;
}

/// A struct that is a row of a table. Written by [`table!`](crate::table).
pub trait Table: Sized + Send + 'static {
    /// The table's name.
    const NAME: &'static str;
    /// The columns, in the order of the fields.
    const COLUMNS: &'static [&'static str];
    /// Reads the columns in their order.
    fn from_row(row: &dyn Row) -> Result<Self>;
    /// Writes the columns in their order.
    fn values(&self) -> Vec<CellValue>;
}

/// The values of one row of a hand-written select.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells(pub(crate) Vec<CellValue>);

impl Cells {
    /// The value at `index`, as the type that is wanted.
    pub fn get<T: Cell>(&self, index: usize) -> Result<T> {
        T::from_cell(self.cell(index)?).map_err(|e| Error::internal(format!("column {index}: {e}")))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values from `start` on as a row of a table (`select` its `COLUMNS` in order, after a join).
    pub fn row<T: Table>(&self, start: usize) -> Result<T> {
        let end = start + T::COLUMNS.len();
        let cells = self.0.get(start..end).ok_or_else(|| missing(end))?;
        T::from_row(&Cells(cells.to_vec()))
    }
}

impl Row for Cells {
    fn cell(&self, index: usize) -> Result<CellRef<'_>> {
        self.0
            .get(index)
            .map(borrowed)
            .ok_or_else(|| missing(index))
    }
}

fn missing(index: usize) -> Error {
    Error::internal(format!("the statement selects no column {index}"))
}

/// Reads a row column by column; used by [`table!`](crate::table).
#[doc(hidden)]
pub struct Columns<'a> {
    row: &'a dyn Row,
    table: &'static str,
    next: usize,
}

impl<'a> Columns<'a> {
    pub fn new(row: &'a dyn Row, table: &'static str) -> Columns<'a> {
        Columns {
            row,
            table,
            next: 0,
        }
    }

    pub fn take<T: Cell>(&mut self, column: &'static str) -> Result<T> {
        let index = self.next;
        self.next += 1;
        T::from_cell(self.row.cell(index)?)
            .map_err(|e| Error::internal(format!("{}.{column}: {e}", self.table)))
    }
}

/// The column of a field: `r#type` is `type`.
#[doc(hidden)]
pub const fn column_name(field: &'static str) -> &'static str {
    let bytes = field.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' {
        field.split_at(2).1
    } else {
        field
    }
}

/// Writes a row struct (`Clone`, `Debug`) and its [`Table`]; every field is a column of the same name and a
/// `base::Cell`:
///
/// ```
/// oslo_db::table! {
///     /// A key pair.
///     pub struct KeypairRow in "keypairs" { pub id: String, pub name: String, pub r#type: String }
/// }
/// ```
#[macro_export]
macro_rules! table {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident in $table:literal {
        $($(#[$fmeta:meta])* $fvis:vis $field:ident : $type:ty),* $(,)?
    })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $type),* }

        impl $crate::Table for $name {
            const NAME: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$($crate::column_name(stringify!($field))),*];

            fn from_row(row: &dyn $crate::Row) -> $crate::__base::Result<Self> {
                let mut columns = $crate::Columns::new(row, $table);
                Ok($name { $($field: columns.take(stringify!($field))?),* })
            }

            fn values(&self) -> ::std::vec::Vec<$crate::__base::CellValue> {
                ::std::vec![$($crate::__base::Cell::to_cell(&self.$field)),*]
            }
        }
    )+};
}
