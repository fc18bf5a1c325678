//! A table of options as a plain struct that knows its own documentation.

use crate::nearest::hint;
use crate::value::OptionValue;
use toml::{Table, Value};

/// One option, for the generated reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionDoc {
    /// The table.
    pub section: String,
    /// The option.
    pub name: String,
    /// What it may be.
    pub type_name: String,
    /// Its default as TOML; `None` if it is not set.
    pub default: Option<String>,
    /// The doc comment.
    pub doc: String,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// What [`section!`](crate::section!) generates.
pub trait Section: Default {
    /// The table's name.
    const NAME: &'static str;

    /// Its options with their documentation, in the order of declaration.
    fn options() -> Vec<OptionDoc>;

    /// Reads it; problems gather in the reader.
    fn read(reader: &mut Reader<'_>) -> Self;
}

/// Hands out the values of one table and gathers what is wrong with them.
pub struct Reader<'c> {
    section: &'c str,
    table: Option<&'c Table>,
    env: &'c [(String, String)],
    problems: Vec<String>,
}

impl<'c> Reader<'c> {
    /// `env` holds (option, text) pairs that go over the table.
    pub(crate) fn new(
        section: &'c str,
        table: Option<&'c Table>,
        env: &'c [(String, String)],
    ) -> Reader<'c> {
        Reader {
            section,
            table,
            env,
            problems: Vec::new(),
        }
    }

    pub(crate) fn nested(name: &'c str, table: &'c Table) -> Reader<'c> {
        Reader::new(name, Some(table), &[])
    }

    /// The value of an option, or its default.
    pub fn take<T: OptionValue>(&mut self, name: &str, default: T) -> T {
        let env = self
            .env
            .iter()
            .find(|(option, _)| option.eq_ignore_ascii_case(name));
        let found = match (env, self.table.and_then(|table| table.get(name))) {
            (Some((_, text)), _) => {
                T::from_env(text).map_err(|e| format!("{e} (from the environment)"))
            }
            (None, Some(value)) => T::from_toml(value),
            (None, None) => return default,
        };
        found.unwrap_or_else(|why| {
            self.problems
                .push(format!("[{}] {name}: {why}", self.section));
            default
        })
    }

    /// `own` is the section's name in the documentation: `known` also holds what is below it.
    pub(crate) fn refuse_unknown(&mut self, own: &str, known: &[OptionDoc]) {
        for (name, value) in self.table.into_iter().flatten() {
            if !known
                .iter()
                .any(|option| option.name == *name && option.section == own)
            {
                let names = known.iter().map(|option| option.name.as_str());
                self.problems
                    .push(unknown_option(self.section, name, value, names));
            }
        }
    }

    pub(crate) fn done(self) -> Result<(), String> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.problems.join("\n"))
        }
    }
}

pub(crate) fn unknown_option<'n>(
    section: &str,
    name: &str,
    value: &Value,
    known: impl IntoIterator<Item = &'n str>,
) -> String {
    let what = if value.is_table() { "table" } else { "option" };
    format!(
        "[{section}] {name}: there is no such {what}{}",
        hint(name, known)
    )
}

/// Joins the lines of a doc comment.
pub fn doc_text(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines
        .iter()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n").trim().to_string()
}

/// Declares a table of options: struct, defaults, reading and documentation at once.
///
/// Types are those that implement [`OptionValue`]: `String`, `bool`, integers, `f64`, `PathBuf`, `base::Secret`,
/// `Option<_>`, `Vec<_>`, `BTreeMap<String, String>`, a [`base::str_enum!`] made an option by
/// [`choice!`](crate::choice!), and `BTreeMap<String, OtherSection>` for named tables below.
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $sdoc:expr])*
        $vis:vis struct $name:ident in $section:literal {
            $( $(#[doc = $doc:expr])* $fvis:vis $field:ident : $type:ty = $default:expr ),* $(,)?
        }
    ) => {
        $(#[doc = $sdoc])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $( $(#[doc = $doc])* $fvis $field: $type, )*
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                $name { $( $field: $default, )* }
            }
        }

        impl $crate::Section for $name {
            const NAME: &'static str = $section;

            fn options() -> ::std::vec::Vec<$crate::OptionDoc> {
                #[allow(unused_variables, reason = "a section may be empty")]
                let defaults = <$name as ::std::default::Default>::default();
                #[allow(unused_mut, reason = "a section may be empty")]
                let mut options = ::std::vec::Vec::new();
                $(
                    options.push($crate::OptionDoc {
                        section: $section.to_string(),
                        name: ::std::stringify!($field).to_string(),
                        type_name: <$type as $crate::OptionValue>::type_name(),
                        default: $crate::OptionValue::show(&defaults.$field),
                        doc: $crate::doc_text(&[$($doc),*]),
                        secret: <$type as $crate::OptionValue>::SECRET,
                    });
                    options.extend(<$type as $crate::OptionValue>::nested());
                )*
                options
            }

            #[allow(unused_variables, reason = "a section may be empty")]
            fn read(reader: &mut $crate::Reader<'_>) -> Self {
                let defaults = <$name as ::std::default::Default>::default();
                $name { $( $field: reader.take(::std::stringify!($field), defaults.$field), )* }
            }
        }
    };
}
