//! oslo.policy's check language: upstream's rules and defaults as data, an operator's `policy.yaml` over them.
//!
//! A service embeds its `policy.yaml`, builds one [`Enforcer`] and asks it by rule name. Whatever cannot be
//! decided (an unknown rule, a malformed check, a cycle, an `http:` check) denies, also under `not`. What a check is about
//! is anything that finds attributes by name ([`Lookup`]), a JSON object for example.
//!
//! ```
//! use oslo_policy::{Enforcer, target};
//! let enforcer = Enforcer::new(
//!     "- {name: 'volume:get', check_str: 'role:reader and project_id:%(project_id)s', scope_types: [project]}",
//!     None,
//! )?;
//! let mut ctx = oslo_context::RequestContext::anonymous();
//! (ctx.project_id, ctx.roles) = (Some("p1".into()), vec!["reader".into()]);
//! enforcer.enforce("volume:get", &ctx, &target(&[("project_id", "p1")]))?;
//! assert!(!enforcer.check("volume:get", &ctx, &target(&[("project_id", "p2")])));
//! # Ok::<(), base::Error>(())
//! ```

mod check;
mod credentials;
mod enforcer;
mod overrides;
mod parse;
mod rule;
mod ruleset;
mod target;

pub use enforcer::Enforcer;
pub use rule::{DeprecatedRule, Operation, Rule, ScopeType};
pub use target::{Lookup, Target, target};
