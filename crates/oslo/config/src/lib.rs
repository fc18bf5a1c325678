//! Configuration: one TOML file, environment variables over it, and options that document themselves.
//!
//! Tables are top-level and named as upstream's sections (`[database]`, `[keystone]`, `[nova]`, …), options as
//! upstream's options. Every option has a default, so that an empty file makes a laptop work. A crate declares
//! the options it needs with [`section!`] and takes them with [`Config::section`]; when all are taken, the
//! binary calls [`Config::finish`], which refuses tables and options that nobody knows.
//! `FERROSTACK_NOVA__CPU_ALLOCATION_RATIO=8` goes over `cpu_allocation_ratio` in `[nova]`.
//!
//! ```
//! oslo_config::section! {
//!     /// How nova fills hosts.
//!     pub struct NovaConf in "nova" {
//!         /// How many virtual CPUs one core carries.
//!         pub cpu_allocation_ratio: f64 = 4.0,
//!     }
//! }
//! let env = [("FERROSTACK_NOVA__CPU_ALLOCATION_RATIO".to_string(), "8".to_string())];
//! let config = oslo_config::Config::parse("[nova]\n", env)?;
//! assert_eq!(config.section::<NovaConf>()?.cpu_allocation_ratio, 8.0);
//! config.finish()?;
//! # Ok::<(), base::Error>(())
//! ```

mod config;
mod nearest;
mod reference;
mod section;
mod value;

pub use config::{Config, ENV_PREFIX, environment, variable};
pub use reference::{example_toml, reference};
pub use section::{OptionDoc, Reader, Section, doc_text};
pub use value::OptionValue;

#[doc(hidden)]
pub use toml::Value as TomlValue;
