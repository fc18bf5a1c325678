//! Values on their way between `base::CellValue`, the statement builder and the two drivers.

use base::{Cell, CellRef, CellValue, Error, Result};
use sea_query::Value;
use std::borrow::Cow;

/// What a condition compares a column with: any [`Cell`], a reference to one, or borrowed text.
///
/// `How` only keeps the implementations apart; it is always inferred.
pub trait AsCell<How> {
    /// The value for the database.
    fn as_cell(&self) -> CellValue;
}

/// A cell by value.
pub struct ByValue;
/// A reference to a cell.
pub struct ByRef;
/// Borrowed text.
pub struct ByText;
/// A value that was converted before.
pub struct Ready;

impl<T: Cell> AsCell<ByValue> for T {
    fn as_cell(&self) -> CellValue {
        self.to_cell()
    }
}

impl<T: Cell> AsCell<ByRef> for &T {
    fn as_cell(&self) -> CellValue {
        (*self).to_cell()
    }
}

impl AsCell<ByText> for &str {
    fn as_cell(&self) -> CellValue {
        CellValue::Text(self.to_string())
    }
}

impl AsCell<(ByText, ByRef)> for &&str {
    fn as_cell(&self) -> CellValue {
        CellValue::Text(self.to_string())
    }
}

impl AsCell<(ByText, ByValue)> for Option<&str> {
    fn as_cell(&self) -> CellValue {
        self.map_or(CellValue::Null, |t| CellValue::Text(t.to_string()))
    }
}

impl AsCell<Ready> for CellValue {
    fn as_cell(&self) -> CellValue {
        self.clone()
    }
}

/// Converts anything a condition takes: `cell("text")`, `cell(7i64)`, `cell(&row.status)`.
pub fn cell<How>(value: impl AsCell<How>) -> CellValue {
    value.as_cell()
}

/// One assignment of an update: `set("status", "available")`.
pub fn set<How>(column: &'static str, value: impl AsCell<How>) -> (&'static str, CellValue) {
    (column, value.as_cell())
}

/// Makes a bound parameter for hand-built statements.
pub fn bind<How>(value: impl AsCell<How>) -> Value {
    to_value(value.as_cell())
}

pub(crate) fn to_value(cell: CellValue) -> Value {
    match cell {
        CellValue::Null => Value::String(None),
        CellValue::Int(i) => Value::BigInt(Some(i)),
        CellValue::Real(f) => Value::Double(Some(f)),
        CellValue::Text(t) => Value::String(Some(t)),
        CellValue::Blob(b) => Value::Bytes(Some(b)),
    }
}

/// Numbers of every width become the one integer that cells know.
pub(crate) fn from_value(value: Value) -> Result<CellValue> {
    let int = |i: Option<i64>| i.map_or(CellValue::Null, CellValue::Int);
    Ok(match value {
        Value::Bool(v) => int(v.map(i64::from)),
        Value::TinyInt(v) => int(v.map(i64::from)),
        Value::SmallInt(v) => int(v.map(i64::from)),
        Value::Int(v) => int(v.map(i64::from)),
        Value::BigInt(v) => int(v),
        Value::TinyUnsigned(v) => int(v.map(i64::from)),
        Value::SmallUnsigned(v) => int(v.map(i64::from)),
        Value::Unsigned(v) => int(v.map(i64::from)),
        Value::BigUnsigned(None) => CellValue::Null,
        Value::BigUnsigned(Some(v)) => CellValue::Int(
            i64::try_from(v)
                .map_err(|_| Error::internal(format!("{v} is too large for a column")))?,
        ),
        Value::Float(v) => v.map_or(CellValue::Null, |f| CellValue::Real(f64::from(f))),
        Value::Double(v) => v.map_or(CellValue::Null, CellValue::Real),
        Value::String(v) => v.map_or(CellValue::Null, CellValue::Text),
        Value::Char(v) => v.map_or(CellValue::Null, |c| CellValue::Text(c.to_string())),
        Value::Bytes(v) => v.map_or(CellValue::Null, CellValue::Blob),
        other => return Err(Error::internal(format!("no column holds {other:?}"))),
    })
}

pub(crate) fn owned(cell: CellRef<'_>) -> CellValue {
    match cell {
        CellRef::Null => CellValue::Null,
        CellRef::Int(i) => CellValue::Int(i),
        CellRef::Real(f) => CellValue::Real(f),
        CellRef::Text(t) => CellValue::Text(t.into_owned()),
        CellRef::Blob(b) => CellValue::Blob(b.into_owned()),
    }
}

pub(crate) fn borrowed(cell: &CellValue) -> CellRef<'_> {
    match cell {
        CellValue::Null => CellRef::Null,
        CellValue::Int(i) => CellRef::Int(*i),
        CellValue::Real(f) => CellRef::Real(*f),
        CellValue::Text(t) => CellRef::Text(Cow::Borrowed(t)),
        CellValue::Blob(b) => CellRef::Blob(Cow::Borrowed(b)),
    }
}
