//! What a column of a table can hold, without naming any database.

use crate::{Error, Result};
use std::borrow::Cow;

/// A value on its way into a database.
#[derive(Clone, Debug, PartialEq)]
pub enum CellValue {
    /// SQL NULL.
    Null,
    /// Integers and booleans (0, 1).
    Int(i64),
    /// Floating point.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A value on its way out of a database.
#[derive(Clone, Debug)]
pub enum CellRef<'a> {
    /// SQL NULL.
    Null,
    /// Integers and booleans.
    Int(i64),
    /// Floating point.
    Real(f64),
    /// UTF-8 text.
    Text(Cow<'a, str>),
    /// Bytes.
    Blob(Cow<'a, [u8]>),
}

/// A type that a column can hold.
pub trait Cell: Sized {
    /// Reads the value; a value of another shape is an internal error (the schema and the code disagree).
    fn from_cell(cell: CellRef<'_>) -> Result<Self>;
    /// Writes the value.
    fn to_cell(&self) -> CellValue;
}

fn mismatch<T>(wanted: &str, cell: &CellRef<'_>) -> Result<T> {
    let found = match cell {
        CellRef::Null => "null",
        CellRef::Int(_) => "an integer",
        CellRef::Real(_) => "a float",
        CellRef::Text(_) => "text",
        CellRef::Blob(_) => "bytes",
    };
    Err(Error::internal(format!(
        "column holds {found}, wanted {wanted}"
    )))
}

macro_rules! integer_cell {
    ($($t:ty),*) => {$(
        impl Cell for $t {
            fn from_cell(cell: CellRef<'_>) -> Result<Self> {
                match cell {
                    CellRef::Int(i) => <$t>::try_from(i).map_err(|_| Error::internal(format!("{i} does not fit"))),
                    other => mismatch("an integer", &other),
                }
            }
            fn to_cell(&self) -> CellValue {
                CellValue::Int(*self as i64)
            }
        }
    )*};
}
integer_cell!(i64, i32, u32, u16, u64);

impl Cell for bool {
    fn from_cell(cell: CellRef<'_>) -> Result<Self> {
        i64::from_cell(cell).map(|i| i != 0)
    }
    fn to_cell(&self) -> CellValue {
        CellValue::Int(i64::from(*self))
    }
}

impl Cell for f64 {
    fn from_cell(cell: CellRef<'_>) -> Result<Self> {
        match cell {
            CellRef::Real(f) => Ok(f),
            CellRef::Int(i) => Ok(i as f64),
            other => mismatch("a float", &other),
        }
    }
    fn to_cell(&self) -> CellValue {
        CellValue::Real(*self)
    }
}

impl Cell for String {
    fn from_cell(cell: CellRef<'_>) -> Result<Self> {
        match cell {
            CellRef::Text(t) => Ok(t.into_owned()),
            CellRef::Blob(b) => String::from_utf8(b.into_owned()).map_err(Error::internal),
            other => mismatch("text", &other),
        }
    }
    fn to_cell(&self) -> CellValue {
        CellValue::Text(self.clone())
    }
}

impl Cell for Vec<u8> {
    fn from_cell(cell: CellRef<'_>) -> Result<Self> {
        match cell {
            CellRef::Blob(b) => Ok(b.into_owned()),
            CellRef::Text(t) => Ok(t.into_owned().into_bytes()),
            other => mismatch("bytes", &other),
        }
    }
    fn to_cell(&self) -> CellValue {
        CellValue::Blob(self.clone())
    }
}

impl<T: Cell> Cell for Option<T> {
    fn from_cell(cell: CellRef<'_>) -> Result<Self> {
        match cell {
            CellRef::Null => Ok(None),
            other => T::from_cell(other).map(Some),
        }
    }
    fn to_cell(&self) -> CellValue {
        self.as_ref().map_or(CellValue::Null, Cell::to_cell)
    }
}

/// A column that holds JSON text, for what the API itself leaves free-form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json<T>(pub T);

impl<T: serde::Serialize + serde::de::DeserializeOwned> Cell for Json<T> {
    fn from_cell(cell: CellRef<'_>) -> Result<Self> {
        match &cell {
            CellRef::Text(t) => Ok(Json(serde_json::from_str(t)?)),
            CellRef::Blob(b) => Ok(Json(serde_json::from_slice(b)?)),
            other => mismatch("json text", other),
        }
    }
    fn to_cell(&self) -> CellValue {
        CellValue::Text(serde_json::to_string(&self.0).unwrap_or_else(|_| "null".into()))
    }
}

/// An enum that is a string outside: `str_enum! { pub enum Status { Active = "active", … } }` gives `as_str`,
/// `parse` (400 on unknown words), `Display`, serde and [`Cell`].
#[macro_export]
macro_rules! str_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The word outside.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// Reads the word; unknown words are a 400.
            pub fn parse(text: &str) -> $crate::Result<$name> {
                match text {
                    $($text => Ok($name::$variant),)*
                    other => Err($crate::Error::bad_request(format!(
                        concat!("Invalid ", stringify!($name), ": {}"), other))),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::serde::Serialize for $name {
            fn serialize<S: $crate::serde::Serializer>(&self, s: S) -> ::std::result::Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> $crate::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(d: D) -> ::std::result::Result<Self, D::Error> {
                let text = <::std::string::String as $crate::serde::Deserialize>::deserialize(d)?;
                $name::parse(&text).map_err(|e| $crate::serde::de::Error::custom(e.message()))
            }
        }

        impl $crate::Cell for $name {
            fn from_cell(cell: $crate::CellRef<'_>) -> $crate::Result<Self> {
                let text = <::std::string::String as $crate::Cell>::from_cell(cell)?;
                $name::parse(&text).map_err(|e| $crate::Error::internal(e.message()))
            }
            fn to_cell(&self) -> $crate::CellValue {
                $crate::CellValue::Text(self.as_str().to_string())
            }
        }
    };
}
