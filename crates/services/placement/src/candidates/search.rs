//! The search: tree by tree, so that a limit ends it early.
//!
//! A tree's candidates draw on its own providers and on sharing providers of its aggregates. The group without suffix
//! may be spread over several of them; a group with a suffix is served by one.

use super::params::Qualities;
use super::request::{Group, Request};
use crate::index::{Index, Provider};
use std::collections::{BTreeSet, HashMap, HashSet};

/// So much of a class from a provider.
pub type Part<'a> = (&'a Provider, &'a str, i64);
/// Suffix to the providers that serve the group.
pub type Mapping<'a> = (&'a str, Vec<&'a str>);

/// One way to serve the whole request.
pub struct Candidate<'a> {
    /// Sorted by provider and class, each pair once.
    pub parts: Vec<Part<'a>>,
    pub mappings: Vec<Mapping<'a>>,
}

impl<'a> Candidate<'a> {
    /// What makes two candidates the same.
    fn key(&self) -> Key<'a> {
        let part = |p: &Part<'a>| (p.0.id.as_str(), p.1, p.2);
        (self.parts.iter().map(part).collect(), self.mappings.clone())
    }
}

type Key<'a> = (Vec<(&'a str, &'a str, i64)>, Vec<Mapping<'a>>);

/// One way to serve one group. The providers are sorted, each once.
struct Choice<'a> {
    parts: Vec<Part<'a>>,
    providers: Vec<&'a str>,
}

fn same(a: &Provider, b: &Provider) -> bool {
    std::ptr::eq(a, b) || a.id == b.id
}

/// A hostile query must not keep a core busy: so many combinations are looked at, then no more.
const MOST_STEPS: usize = 500_000;

struct Search<'a> {
    index: &'a Index,
    request: &'a Request,
    /// Candidates that use sharing providers; several trees may find the same ones.
    seen: HashSet<Key<'a>>,
    found: Vec<Candidate<'a>>,
    limit: usize,
    steps: usize,
}

/// All candidates, or the first `limit` of them.
pub fn search<'a>(index: &'a Index, request: &'a Request) -> Vec<Candidate<'a>> {
    let mut lenders: HashMap<&str, Vec<&Provider>> = HashMap::new();
    for sharing in index.sharing() {
        let roots: BTreeSet<&str> = index.anchors(sharing).collect();
        for root in roots.into_iter().filter(|r| *r != sharing.root) {
            lenders.entry(root).or_default().push(sharing);
        }
    }
    let limit = request.limit.unwrap_or(usize::MAX);
    let mut search = Search {
        index,
        request,
        seen: HashSet::new(),
        found: Vec::new(),
        limit,
        steps: 0,
    };
    let nobody = Vec::new();
    for (root, tree) in index.trees() {
        if search.full() {
            break;
        }
        let lent = lenders.get(root.as_str()).unwrap_or(&nobody);
        let own = tree.values().map(|p| p.as_ref());
        search.tree(root, own.chain(lent.iter().copied()));
    }
    if search.steps >= MOST_STEPS {
        tracing::warn!("allocation candidates: stopped after {MOST_STEPS} combinations");
    }
    search.found
}

impl<'a> Search<'a> {
    fn full(&self) -> bool {
        self.found.len() >= self.limit || self.steps >= MOST_STEPS
    }

    fn tree(&mut self, root: &str, members: impl Iterator<Item = &'a Provider> + Clone) {
        let traits = &self.request.root;
        let Some(root) = self.index.get(root) else {
            return;
        };
        if !has_traits(root, &traits.required) || !lacks(root, &traits.forbidden) {
            return;
        }
        let mut choices = Vec::with_capacity(self.request.groups.len());
        for group in &self.request.groups {
            let options = if group.suffix.is_empty() {
                self.spread(group, root, members.clone())
            } else {
                self.alone(group, members.clone())
            };
            if options.is_empty() {
                return;
            }
            choices.push(options);
        }
        self.combine(&choices, &mut Vec::new());
    }

    /// Forbidden traits and tree: what each provider must satisfy by itself.
    fn admits(&self, group: &Group, provider: &Provider) -> bool {
        let in_tree = match &group.in_tree {
            Some(id) => self.index.get(id).is_some_and(|p| p.root == provider.root),
            None => true,
        };
        in_tree && lacks(provider, &group.qualities.forbidden)
    }

    fn alone(
        &self,
        group: &'a Group,
        members: impl Iterator<Item = &'a Provider>,
    ) -> Vec<Choice<'a>> {
        let serves = |p: &&Provider| {
            group
                .resources
                .iter()
                .all(|(class, amount)| p.fits(class, *amount))
                && self.admits(group, p)
                && in_aggregates(p, &group.qualities)
                && has_traits(p, &group.qualities.required)
        };
        let choice = |p: &'a Provider| Choice {
            parts: group
                .resources
                .iter()
                .map(|(c, n)| (p, c.as_str(), *n))
                .collect(),
            providers: vec![p.id.as_str()],
        };
        members.filter(serves).map(choice).collect()
    }

    fn spread(
        &mut self,
        group: &'a Group,
        root: &Provider,
        members: impl Iterator<Item = &'a Provider> + Clone,
    ) -> Vec<Choice<'a>> {
        let mut per_class: Vec<(&'a str, i64, Vec<&'a Provider>)> = Vec::new();
        for (class, amount) in &group.resources {
            let able: Vec<&Provider> = members
                .clone()
                .filter(|p| p.fits(class, *amount) && self.admits(group, p))
                .filter(|p| in_aggregates_of_tree(p, root, &group.qualities))
                .collect();
            if able.is_empty() {
                return Vec::new();
            }
            per_class.push((class, *amount, able));
        }
        let mut found = Vec::new();
        let mut picked = vec![0usize; per_class.len()];
        loop {
            self.steps += 1;
            if self.full() {
                return found;
            }
            let parts: Vec<Part<'a>> = per_class
                .iter()
                .zip(&picked)
                .map(|((c, n, able), i)| (able[*i], *c, *n))
                .collect();
            let together = |any: &Vec<String>| {
                any.iter()
                    .any(|t| parts.iter().any(|p| p.0.traits.contains(t)))
            };
            if group.qualities.required.iter().all(together) {
                let mut providers: Vec<&str> = parts.iter().map(|p| p.0.id.as_str()).collect();
                providers.sort_unstable();
                providers.dedup();
                found.push(Choice { parts, providers });
            }
            // The next combination, last class fastest.
            let mut at = per_class.len();
            loop {
                if at == 0 {
                    return found;
                }
                at -= 1;
                picked[at] += 1;
                if picked[at] < per_class[at].2.len() {
                    break;
                }
                picked[at] = 0;
            }
        }
    }

    fn combine(&mut self, choices: &[Vec<Choice<'a>>], picked: &mut Vec<usize>) {
        if picked.len() < choices.len() {
            for i in 0..choices[picked.len()].len() {
                if self.full() {
                    return;
                }
                picked.push(i);
                if !self.request.isolate || self.isolated(choices, picked) {
                    self.combine(choices, picked);
                }
                picked.pop();
            }
            return;
        }
        self.steps += 1;
        let picked: Vec<&Choice<'a>> = choices.iter().zip(picked).map(|(c, i)| &c[*i]).collect();
        let Some(candidate) = self.candidate(&picked) else {
            return;
        };
        // Only what is lent can be met in two trees.
        let lent = self.index.is_shared() && candidate.parts.iter().any(|p| p.0.is_sharing());
        if !lent || self.seen.insert(candidate.key()) {
            self.found.push(candidate);
        }
    }

    /// Whether the last picked choice shares no provider with another group that has a suffix.
    fn isolated(&self, choices: &[Vec<Choice<'a>>], picked: &[usize]) -> bool {
        let counts = |i: usize| !self.request.groups[i].suffix.is_empty();
        let last = picked.len() - 1;
        if !counts(last) {
            return true;
        }
        let mine = &choices[last][picked[last]].providers;
        let mut before = (0..last).filter(|i| counts(*i));
        before.all(|i| {
            let theirs = &choices[i][picked[i]].providers;
            !mine.iter().any(|id| theirs.contains(id))
        })
    }

    fn candidate(&self, picked: &[&Choice<'a>]) -> Option<Candidate<'a>> {
        let mut parts: Vec<Part<'a>> = picked.iter().flat_map(|c| &c.parts).copied().collect();
        parts.sort_unstable_by(|a, b| match same(a.0, b.0) {
            true => a.1.cmp(b.1),
            false => a.0.id.cmp(&b.0.id),
        });
        parts.dedup_by(|next, kept| {
            let merged = same(next.0, kept.0) && next.1 == kept.1;
            if merged {
                kept.2 += next.2;
            }
            merged
        });
        // Groups that fit one by one may be too much together.
        if picked.len() > 1 && !parts.iter().all(|(p, class, n)| p.fits(class, *n)) {
            return None;
        }
        if !self.request.nested {
            let involved = parts.chunk_by(|a, b| same(a.0, b.0));
            let mut roots = BTreeSet::new();
            if !involved.into_iter().all(|p| roots.insert(&p[0].0.root)) {
                return None;
            }
        }
        let groups = self.request.groups.iter().zip(picked);
        let mappings: Vec<Mapping<'a>> = groups
            .map(|(group, choice)| (group.suffix.as_str(), choice.providers.clone()))
            .collect();
        let together = |suffixes: &BTreeSet<String>| {
            let ids: BTreeSet<&str> = suffixes
                .iter()
                .filter_map(|s| mappings.iter().find(|m| m.0 == s))
                .flat_map(|m| m.1.iter().copied())
                .collect();
            ids.iter()
                .any(|top| ids.iter().all(|id| self.is_below(id, top)))
        };
        if !self.request.same_subtree.iter().all(together) {
            return None;
        }
        Some(Candidate { parts, mappings })
    }

    /// Whether `top` is `id` or one of its ancestors.
    fn is_below(&self, id: &str, top: &str) -> bool {
        let mut at = Some(id);
        while let Some(id) = at {
            if id == top {
                return true;
            }
            at = self.index.get(id).and_then(|p| p.parent.as_deref());
        }
        false
    }
}

pub fn has_traits(provider: &Provider, required: &[Vec<String>]) -> bool {
    required
        .iter()
        .all(|any| any.iter().any(|t| provider.traits.contains(t)))
}

pub fn lacks(provider: &Provider, forbidden: &[String]) -> bool {
    !forbidden.iter().any(|t| provider.traits.contains(t))
}

/// Whether the provider itself is in the aggregates asked for, and in none of the forbidden ones.
pub fn in_aggregates(provider: &Provider, qualities: &Qualities) -> bool {
    all_of(provider, &qualities.member_of) && none_of(provider, &qualities.not_member_of)
}

/// The same for a provider that serves a tree: what the root is in holds for its own tree, and what the root is kept out
/// of nobody brings to it. A sharing provider from elsewhere must itself be where the caller wants.
fn in_aggregates_of_tree(provider: &Provider, root: &Provider, qualities: &Qualities) -> bool {
    let wanted = &qualities.member_of;
    (all_of(provider, wanted) || (provider.root == root.id && all_of(root, wanted)))
        && none_of(provider, &qualities.not_member_of)
        && none_of(root, &qualities.not_member_of)
}

fn all_of(provider: &Provider, wanted: &[Vec<String>]) -> bool {
    wanted
        .iter()
        .all(|any| any.iter().any(|a| provider.aggregates.contains(a)))
}

fn none_of(provider: &Provider, forbidden: &[String]) -> bool {
    !forbidden.iter().any(|a| provider.aggregates.contains(a))
}
