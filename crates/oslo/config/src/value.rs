//! What an option may be: how it is read from TOML and from the environment, and how it is shown.

use crate::section::{OptionDoc, Reader, Section};
use base::Secret;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Value;

/// A type that an option can have.
pub trait OptionValue: Sized {
    /// Its name in the reference.
    fn type_name() -> String;

    /// Reads it from the file. The error completes "`[section] option`: …" and never shows a secret.
    fn from_toml(value: &Value) -> Result<Self, String>;

    /// Reads it from an environment variable.
    fn from_env(text: &str) -> Result<Self, String>;

    /// The value as TOML, or `None` if it is not set.
    fn show(&self) -> Option<String>;

    /// Whether it must never be shown.
    const SECRET: bool = false;

    /// Options of tables below this one.
    fn nested() -> Vec<OptionDoc> {
        Vec::new()
    }
}

/// TOML's own word for what was found; the value itself may be a secret.
fn expected(what: &str, found: &Value) -> String {
    format!("expected {what}, found {}", article(found.type_str()))
}

fn article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if an { "an" } else { "a" })
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl OptionValue for String {
    fn type_name() -> String {
        "string".into()
    }

    fn from_toml(value: &Value) -> Result<String, String> {
        value
            .as_str()
            .map(str::to_string)
            .ok_or_else(|| expected("a string", value))
    }

    fn from_env(text: &str) -> Result<String, String> {
        Ok(text.to_string())
    }

    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl OptionValue for PathBuf {
    fn type_name() -> String {
        "path".into()
    }

    fn from_toml(value: &Value) -> Result<PathBuf, String> {
        value
            .as_str()
            .map(PathBuf::from)
            .ok_or_else(|| expected("a path", value))
    }

    fn from_env(text: &str) -> Result<PathBuf, String> {
        Ok(PathBuf::from(text))
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl OptionValue for Secret {
    fn type_name() -> String {
        "secret".into()
    }

    fn from_toml(value: &Value) -> Result<Secret, String> {
        value
            .as_str()
            .map(Secret::new)
            .ok_or_else(|| expected("a string", value))
    }

    fn from_env(text: &str) -> Result<Secret, String> {
        Ok(Secret::new(text))
    }

    fn show(&self) -> Option<String> {
        (!self.is_empty()).then(|| quoted("***"))
    }

    const SECRET: bool = true;
}

impl OptionValue for bool {
    fn type_name() -> String {
        "boolean".into()
    }

    fn from_toml(value: &Value) -> Result<bool, String> {
        value
            .as_bool()
            .ok_or_else(|| expected("true or false", value))
    }

    fn from_env(text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("expected true or false".into()),
        }
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl OptionValue for f64 {
    fn type_name() -> String {
        "float".into()
    }

    fn from_toml(value: &Value) -> Result<f64, String> {
        match value {
            Value::Float(number) => Ok(*number),
            Value::Integer(number) => Ok(*number as f64),
            other => Err(expected("a number", other)),
        }
    }

    fn from_env(text: &str) -> Result<f64, String> {
        text.parse().map_err(|_| "expected a number".into())
    }

    fn show(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

macro_rules! integer {
    ($($kind:ty)*) => {
        $(impl OptionValue for $kind {
            fn type_name() -> String {
                "integer".into()
            }

            fn from_toml(value: &Value) -> Result<$kind, String> {
                let number = value.as_integer().ok_or_else(|| expected("an integer", value))?;
                <$kind>::try_from(number).map_err(|_| out_of_range::<$kind>(<$kind>::MIN, <$kind>::MAX))
            }

            fn from_env(text: &str) -> Result<$kind, String> {
                let number: i128 = text.parse().map_err(|_| "expected an integer".to_string())?;
                <$kind>::try_from(number).map_err(|_| out_of_range::<$kind>(<$kind>::MIN, <$kind>::MAX))
            }

            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        })*
    };
}

integer!(i64 u64 i32 u32 u16 u8 usize);

fn out_of_range<T: std::fmt::Display>(min: T, max: T) -> String {
    format!("expected an integer between {min} and {max}")
}

impl<T: OptionValue> OptionValue for Option<T> {
    fn type_name() -> String {
        T::type_name()
    }

    fn from_toml(value: &Value) -> Result<Option<T>, String> {
        T::from_toml(value).map(Some)
    }

    /// An empty variable unsets.
    fn from_env(text: &str) -> Result<Option<T>, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::from_env(text).map(Some)
        }
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }

    const SECRET: bool = T::SECRET;
}

/// An array; in the environment, and as upstream's files have it, also words separated by commas.
impl<T: OptionValue> OptionValue for Vec<T> {
    fn type_name() -> String {
        format!("list of {}", T::type_name())
    }

    fn from_toml(value: &Value) -> Result<Vec<T>, String> {
        match value {
            Value::Array(values) => values.iter().map(T::from_toml).collect(),
            Value::String(text) => Vec::<T>::from_env(text),
            other => Err(expected("a list", other)),
        }
    }

    fn from_env(text: &str) -> Result<Vec<T>, String> {
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(T::from_env)
            .collect()
    }

    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }

    const SECRET: bool = T::SECRET;
}

/// A table of texts; in the environment `key:value` separated by commas, as in neutron's `bridge_mappings`.
impl OptionValue for BTreeMap<String, String> {
    fn type_name() -> String {
        "table of strings".into()
    }

    fn from_toml(value: &Value) -> Result<BTreeMap<String, String>, String> {
        match value {
            Value::Table(table) => table
                .iter()
                .map(|(key, value)| Ok((key.clone(), String::from_toml(value)?)))
                .collect(),
            Value::String(text) => OptionValue::from_env(text),
            other => Err(expected("a table", other)),
        }
    }

    fn from_env(text: &str) -> Result<BTreeMap<String, String>, String> {
        let pairs = text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (key, value) = pair
                .split_once(':')
                .ok_or("expected key:value,key:value,…")?;
            Ok((key.trim().to_string(), value.trim().to_string()))
        });
        pairs.collect()
    }

    fn show(&self) -> Option<String> {
        let items: Vec<String> = self
            .iter()
            .map(|(key, value)| format!("{} = {}", quoted(key), quoted(value)))
            .collect();
        Some(if items.is_empty() {
            "{}".into()
        } else {
            format!("{{ {} }}", items.join(", "))
        })
    }
}

/// Named tables of the same options, such as cinder's backends: `[cinder.backends.lvm]`.
impl<T: Section> OptionValue for BTreeMap<String, T> {
    fn type_name() -> String {
        "named tables".into()
    }

    fn from_toml(value: &Value) -> Result<BTreeMap<String, T>, String> {
        let tables = value.as_table().ok_or_else(|| expected("tables", value))?;
        let mut all = BTreeMap::new();
        for (name, value) in tables {
            let table = value
                .as_table()
                .ok_or_else(|| format!("{name}: {}", expected("a table", value)))?;
            let mut reader = Reader::nested(name, table);
            let section = T::read(&mut reader);
            reader.refuse_unknown(T::NAME, &T::options());
            reader.done()?;
            all.insert(name.clone(), section);
        }
        Ok(all)
    }

    fn from_env(text: &str) -> Result<BTreeMap<String, T>, String> {
        let table: toml::Table =
            toml::from_str(text).map_err(|_| "expected TOML tables".to_string())?;
        OptionValue::from_toml(&Value::Table(table))
    }

    fn show(&self) -> Option<String> {
        None
    }

    fn nested() -> Vec<OptionDoc> {
        T::options()
    }
}

/// Lets a [`base::str_enum!`] be an option.
#[macro_export]
macro_rules! choice {
    ($name:ty) => {
        impl $crate::OptionValue for $name {
            fn type_name() -> ::std::string::String {
                let words: ::std::vec::Vec<_> =
                    <$name>::ALL.iter().map(|one| one.as_str()).collect();
                ::std::format!("one of {}", words.join(", "))
            }

            fn from_toml(
                value: &$crate::TomlValue,
            ) -> ::std::result::Result<Self, ::std::string::String> {
                match value.as_str() {
                    Some(text) => <$name as $crate::OptionValue>::from_env(text),
                    None => Err(::std::format!(
                        "expected {}",
                        <$name as $crate::OptionValue>::type_name()
                    )),
                }
            }

            fn from_env(text: &str) -> ::std::result::Result<Self, ::std::string::String> {
                <$name>::parse(text).map_err(|_| {
                    ::std::format!("expected {}", <$name as $crate::OptionValue>::type_name())
                })
            }

            fn show(&self) -> ::std::option::Option<::std::string::String> {
                Some(::std::format!("{:?}", self.as_str()))
            }
        }
    };
}
