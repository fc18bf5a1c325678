//! The door: may this caller do this to that?

use crate::overrides::{Look, Overrides, Watched};
use crate::parse::parse;
use crate::rule::{Rule, ScopeType, parse_defaults};
use crate::ruleset::Ruleset;
use crate::target::Lookup;
use arc_swap::ArcSwap;
use base::{Error, Result};
use oslo_context::RequestContext;
use std::path::PathBuf;
use std::sync::Arc;

/// A service's rules. Reading is lock-free; share it in an `Arc`.
pub struct Enforcer {
    rules: Vec<Rule>,
    watched: Option<Watched>,
    enforce_scope: bool,
    enforce_new_defaults: bool,
    wording: fn(&str) -> String,
    class: Option<&'static str>,
    current: ArcSwap<Ruleset>,
}

impl Enforcer {
    /// The default rules (a list of `{name, check_str, scope_types, …}`) and, over them, the operator's file,
    /// which need not exist. A malformed default is an error; a malformed override denies.
    pub fn new(defaults_yaml: &str, overrides: Option<PathBuf>) -> Result<Enforcer> {
        Ok(Enforcer::from_defaults(defaults_yaml)?.with_overrides(overrides))
    }

    /// The default rules alone.
    pub fn from_defaults(defaults_yaml: &str) -> Result<Enforcer> {
        let rules = parse_defaults(defaults_yaml)?;
        for rule in &rules {
            let old = rule.deprecated_rule.as_ref().map(|old| &old.check_str);
            for check in [Some(&rule.check_str), old].into_iter().flatten() {
                parse(check).map_err(|why| {
                    Error::internal(format!("default policy rule {}: {why}", rule.name))
                })?;
            }
        }
        let current = ArcSwap::from_pointee(Ruleset::compile(&rules, &Overrides::new(), true));
        Ok(Enforcer {
            rules,
            watched: None,
            enforce_scope: true,
            enforce_new_defaults: true,
            wording: |rule| format!("Policy doesn't allow {rule} to be performed."),
            class: None,
            current,
        })
    }

    /// Takes the operator's file into account: YAML or JSON, a mapping from rule names to checks. It is looked at
    /// again at most every second; while it cannot be read, the rules stay as they were.
    pub fn with_overrides(mut self, path: Option<PathBuf>) -> Enforcer {
        self.watched = path.map(Watched::new);
        self.compile(&Overrides::new());
        self.refresh();
        self
    }

    /// Whether tokens of other scopes than a rule's `scope_types` are refused (oslo.policy's `enforce_scope`, on).
    pub fn with_enforce_scope(mut self, on: bool) -> Enforcer {
        self.enforce_scope = on;
        self
    }

    /// Whether only new defaults count (oslo.policy's `enforce_new_defaults`, on); off lets a rule's deprecated
    /// predecessor allow too.
    pub fn with_enforce_new_defaults(mut self, on: bool) -> Enforcer {
        self.enforce_new_defaults = on;
        let path = self
            .watched
            .as_ref()
            .map(|watched| watched.path().to_path_buf());
        self.with_overrides(path)
    }

    /// How this service says no, and under which error class, if clients know one.
    pub fn with_wording(
        mut self,
        wording: fn(&str) -> String,
        class: Option<&'static str>,
    ) -> Enforcer {
        (self.wording, self.class) = (wording, class);
        self
    }

    /// Whether the caller may. An unknown rule denies.
    pub fn check(&self, rule: &str, ctx: &RequestContext, target: &dyn Lookup) -> bool {
        self.decide(rule, ctx, target).is_ok()
    }

    /// 403 unless the caller may.
    pub fn enforce(&self, rule: &str, ctx: &RequestContext, target: &dyn Lookup) -> Result<()> {
        self.decide(rule, ctx, target).map_err(|no| {
            tracing::debug!(rule, request.id = ctx.request_id, "policy denies");
            let error = match no {
                No::Denied => Error::forbidden((self.wording)(rule)),
                No::Scope { wanted, token } => Error::forbidden(format!(
                    "{rule} requires a scope of {wanted}, request was made with {token} scope."
                )),
            };
            match self.class {
                Some(class) => error.class(class),
                None => error,
            }
        })
    }

    /// Sets `is_admin` if the service's `context_is_admin` rule says so, as upstream does when a request arrives.
    pub fn mark_admin(&self, ctx: &mut RequestContext) {
        if !ctx.is_admin {
            let own = crate::Target::owned(ctx.project(), ctx.user());
            ctx.is_admin = self.check("context_is_admin", ctx, &own);
        }
    }

    /// Whether a rule of this name is in force.
    pub fn has_rule(&self, rule: &str) -> bool {
        self.current.load().find(rule).is_some()
    }

    /// The default rules with their descriptions and operations, in upstream's order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Looks at the operator's file now. Requests do so by themselves once a second.
    pub fn refresh(&self) {
        let Some(watched) = &self.watched else { return };
        match watched.look() {
            Look::Same => {}
            Look::Changed(Ok(overrides)) => self.compile(&overrides),
            Look::Changed(Err(error)) => tracing::error!(
                "{} is not understood, the policy stays as it was: {error}",
                watched.path().display()
            ),
        }
    }

    fn compile(&self, overrides: &Overrides) {
        for name in overrides
            .keys()
            .filter(|name| !self.rules.iter().any(|r| r.name == **name))
        {
            tracing::debug!(rule = name, "policy override of a rule that has no default");
        }
        let ruleset = Ruleset::compile(&self.rules, overrides, self.enforce_new_defaults);
        self.current.store(Arc::new(ruleset));
    }

    fn decide(&self, rule: &str, ctx: &RequestContext, target: &dyn Lookup) -> Result<(), No> {
        if self.watched.as_ref().is_some_and(Watched::due) {
            self.refresh();
        }
        let rules = self.current.load();
        let Some(index) = rules.find(rule) else {
            tracing::warn!(rule, "policy rule does not exist");
            return Err(No::Denied);
        };
        let scopes = rules.scopes(index);
        let token = token_scope(ctx);
        if self.enforce_scope && !scopes.is_empty() && !scopes.contains(&token) && !is_internal(ctx)
        {
            let names: Vec<String> = scopes.iter().map(|s| format!("'{}'", s.name())).collect();
            return Err(No::Scope {
                wanted: format!("[{}]", names.join(", ")),
                token: token.name(),
            });
        }
        if rules.allows(index, ctx, target) {
            Ok(())
        } else {
            Err(No::Denied)
        }
    }
}

/// Why not.
enum No {
    Denied,
    Scope { wanted: String, token: &'static str },
}

/// What the token is scoped to. Unscoped tokens count as project tokens, as upstream has it.
fn token_scope(ctx: &RequestContext) -> ScopeType {
    if ctx.system_scope.is_some() {
        ScopeType::System
    } else if ctx.domain_id.is_some() {
        ScopeType::Domain
    } else {
        ScopeType::Project
    }
}

/// The cloud's own work carries no token, hence no scope.
fn is_internal(ctx: &RequestContext) -> bool {
    ctx.is_admin && ctx.user_id.is_none()
}
