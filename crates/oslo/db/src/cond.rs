//! Conditions, as small functions that read like the sentence: `all([eq("project_id", p), is_null("deleted_at")])`.
//!
//! Text is compared byte by byte (case-sensitively) on both databases.

use crate::value::{AsCell, to_value};
use sea_query::{Condition, Expr, ExprTrait, Func, IntoColumnRef, LikeExpr};

/// A condition on rows.
pub type Cond = Condition;

fn cond(expr: Expr) -> Cond {
    Condition::all().add(expr)
}

/// `column = value`. A null value never matches; use [`eq_or_null`] or [`is_null`].
pub fn eq<How>(column: impl IntoColumnRef, value: impl AsCell<How>) -> Cond {
    cond(Expr::col(column).eq(to_value(value.as_cell())))
}

/// `column = value`, where null equals null.
pub fn eq_or_null<How>(column: impl IntoColumnRef, value: impl AsCell<How>) -> Cond {
    match value.as_cell() {
        base::CellValue::Null => is_null(column),
        value => cond(Expr::col(column).eq(to_value(value))),
    }
}

/// `column <> value` (null columns do not match).
pub fn ne<How>(column: impl IntoColumnRef, value: impl AsCell<How>) -> Cond {
    cond(Expr::col(column).ne(to_value(value.as_cell())))
}

/// `column < value`.
pub fn lt<How>(column: impl IntoColumnRef, value: impl AsCell<How>) -> Cond {
    cond(Expr::col(column).lt(to_value(value.as_cell())))
}

/// `column <= value`.
pub fn le<How>(column: impl IntoColumnRef, value: impl AsCell<How>) -> Cond {
    cond(Expr::col(column).lte(to_value(value.as_cell())))
}

/// `column > value`.
pub fn gt<How>(column: impl IntoColumnRef, value: impl AsCell<How>) -> Cond {
    cond(Expr::col(column).gt(to_value(value.as_cell())))
}

/// `column >= value`.
pub fn ge<How>(column: impl IntoColumnRef, value: impl AsCell<How>) -> Cond {
    cond(Expr::col(column).gte(to_value(value.as_cell())))
}

/// `column IS NULL`.
pub fn is_null(column: impl IntoColumnRef) -> Cond {
    cond(Expr::col(column).is_null())
}

/// `column IS NOT NULL`.
pub fn not_null(column: impl IntoColumnRef) -> Cond {
    cond(Expr::col(column).is_not_null())
}

/// `column IN (values)`; no values match nothing. Keep lists below some 10,000 values.
pub fn is_in<How, V: AsCell<How>>(
    column: impl IntoColumnRef,
    values: impl IntoIterator<Item = V>,
) -> Cond {
    cond(Expr::col(column).is_in(values.into_iter().map(|v| to_value(v.as_cell()))))
}

/// `column NOT IN (values)`; no values match everything.
pub fn not_in<How, V: AsCell<How>>(
    column: impl IntoColumnRef,
    values: impl IntoIterator<Item = V>,
) -> Cond {
    cond(Expr::col(column).is_not_in(values.into_iter().map(|v| to_value(v.as_cell()))))
}

/// SQL's LIKE with `%` and `_`; `!` escapes. User text goes through [`contains`] or [`prefix`] instead.
pub fn like(column: impl IntoColumnRef, pattern: &str) -> Cond {
    cond(Expr::col(column).like(LikeExpr::new(pattern).escape('!')))
}

/// Columns that hold `text` somewhere, taken literally.
pub fn contains(column: impl IntoColumnRef, text: &str) -> Cond {
    like(column, &format!("%{}%", escaped(text)))
}

/// Columns that start with `text`, taken literally.
pub fn prefix(column: impl IntoColumnRef, text: &str) -> Cond {
    like(column, &format!("{}%", escaped(text)))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            out.push('!');
        }
        out.push(c);
    }
    out
}

/// Equality without regard to the case of ASCII letters (SQLite knows no other).
pub fn eq_ci(column: impl IntoColumnRef, text: &str) -> Cond {
    let value = to_value(base::CellValue::Text(text.to_string()));
    cond(Expr::expr(Func::lower(Expr::col(column))).eq(Func::lower(Expr::val(value))))
}

/// Every one of the conditions; of none: everything.
pub fn all(conditions: impl IntoIterator<Item = Cond>) -> Cond {
    conditions
        .into_iter()
        .fold(Condition::all(), |all, c| all.add(c))
}

/// At least one of the conditions; of none: nothing.
pub fn any(conditions: impl IntoIterator<Item = Cond>) -> Cond {
    conditions
        .into_iter()
        .fold(Condition::any(), |any, c| any.add(c))
}

/// The opposite (SQL's: what is null on either side stays unmatched).
pub fn not(condition: Cond) -> Cond {
    Condition::all().add(condition).not()
}

/// All rows.
pub fn everything() -> Cond {
    Condition::all()
}

/// No row.
pub fn nothing() -> Cond {
    Condition::any()
}

/// Like [`like`], but letters match in either case (ASCII only on SQLite). `!` escapes.
pub fn like_ci(column: &'static str, pattern: &str) -> Cond {
    let pattern = LikeExpr::new(pattern.to_ascii_lowercase()).escape('!');
    Cond::all().add(Expr::expr(Func::lower(Expr::col(column))).like(pattern))
}

/// Rows whose `column` is among the `key`s of another table's rows.
pub fn in_rows<T: crate::Table>(column: &'static str, key: &'static str, cond: Cond) -> Cond {
    let mut select = sea_query::Query::select();
    select.column(key).from(T::NAME).cond_where(cond);
    Cond::all().add(Expr::col(column).in_subquery(select))
}
