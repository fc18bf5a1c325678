//! Candidates as the microversions show them: from the index and the search straight to bytes, without copies.

use super::request::Request;
use super::search::{Candidate, Part};
use crate::index::{Index, Provider};
use base::Microversion;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeSet;

/// The whole reply.
pub struct CandidatesView<'a> {
    found: &'a [Candidate<'a>],
    shown: Vec<&'a Provider>,
    /// Below 1.27 summaries show the classes asked for only.
    classes: Option<BTreeSet<&'a str>>,
    version: Microversion,
}

pub fn candidates<'a>(
    index: &'a Index,
    request: &'a Request,
    found: &'a [Candidate<'a>],
    version: Microversion,
) -> CandidatesView<'a> {
    let since = |minor| version >= Microversion(1, minor);
    let involved = found.iter().flat_map(|c| &c.parts).map(|part| part.0);
    let shown = if since(29) {
        // The whole tree of each provider involved, so that clients see where it hangs.
        let mut roots: Vec<&str> = involved.map(|p| p.root.as_str()).collect();
        roots.sort_unstable();
        roots.dedup();
        let trees = roots.into_iter().flat_map(|root| index.tree(root));
        trees.map(|p| p.as_ref()).collect()
    } else {
        let mut providers: Vec<&Provider> = involved.collect();
        providers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        providers.dedup_by(|a, b| a.id == b.id);
        providers
    };
    CandidatesView {
        found,
        shown,
        classes: (!since(27)).then(|| request.classes()),
        version,
    }
}

impl CandidatesView<'_> {
    fn since(&self, minor: u16) -> bool {
        self.version >= Microversion(1, minor)
    }
}

impl Serialize for CandidatesView<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry("allocation_requests", &Requests(self))?;
        map.serialize_entry("provider_summaries", &Summaries(self))?;
        map.end()
    }
}

struct Requests<'a>(&'a CandidatesView<'a>);

impl Serialize for Requests<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let all = self.0;
        let request = |candidate| RequestView { candidate, all };
        to.collect_seq(all.found.iter().map(request))
    }
}

struct RequestView<'a> {
    candidate: &'a Candidate<'a>,
    all: &'a CandidatesView<'a>,
}

impl Serialize for RequestView<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let parts = &self.candidate.parts;
        let mut map = to.serialize_map(None)?;
        if self.all.since(12) {
            map.serialize_entry("allocations", &Allocations(parts))?;
        } else {
            map.serialize_entry("allocations", &Listed(parts))?;
        }
        if self.all.since(34) {
            map.serialize_entry("mappings", &Pairs(&self.candidate.mappings))?;
        }
        map.end()
    }
}

/// The parts of each provider.
fn by_provider<'a>(parts: &'a [Part<'a>]) -> impl Iterator<Item = (&'a str, Resources<'a>)> {
    let providers = parts.chunk_by(|a, b| std::ptr::eq(a.0, b.0) || a.0.id == b.0.id);
    providers.map(|own| (own[0].0.id.as_str(), Resources(own)))
}

struct Allocations<'a>(&'a [Part<'a>]);

impl Serialize for Allocations<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(by_provider(self.0))
    }
}

/// Below 1.12.
struct Listed<'a>(&'a [Part<'a>]);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Entry<'a> {
            resource_provider: Uuid<'a>,
            resources: Amounts<'a>,
        }
        #[derive(serde::Serialize)]
        struct Uuid<'a> {
            uuid: &'a str,
        }
        to.collect_seq(by_provider(self.0).map(|(uuid, own)| Entry {
            resource_provider: Uuid { uuid },
            resources: Amounts(own.0),
        }))
    }
}

struct Resources<'a>(&'a [Part<'a>]);

impl Serialize for Resources<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map([("resources", Amounts(self.0))])
    }
}

struct Amounts<'a>(&'a [Part<'a>]);

impl Serialize for Amounts<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(_, class, amount)| (class, amount)))
    }
}

/// Pairs as an object.
struct Pairs<'a, K, V>(&'a [(K, V)]);

impl<K: Serialize, V: Serialize> Serialize for Pairs<'_, K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

struct Summaries<'a>(&'a CandidatesView<'a>);

impl Serialize for Summaries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let all = self.0;
        let summary = |provider| Summary { provider, all };
        to.collect_map(all.shown.iter().map(|p| (&p.id, summary(p))))
    }
}

struct Summary<'a> {
    provider: &'a Provider,
    all: &'a CandidatesView<'a>,
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (p, all) = (self.provider, self.all);
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("resources", &Stocks(p, all.classes.as_ref()))?;
        if all.since(17) {
            map.serialize_entry("traits", &p.traits)?;
        }
        if all.since(29) {
            map.serialize_entry("root_provider_uuid", &p.root)?;
            map.serialize_entry("parent_provider_uuid", &p.parent)?;
        }
        map.end()
    }
}

struct Stocks<'a>(&'a Provider, Option<&'a BTreeSet<&'a str>>);

impl Serialize for Stocks<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Stock {
            capacity: i64,
            used: i64,
        }
        let mut map = to.serialize_map(None)?;
        for (class, inventory) in &self.0.inventories {
            if self.1.is_none_or(|c| c.contains(class.as_str())) {
                let stock = Stock {
                    capacity: inventory.capacity(),
                    used: inventory.used,
                };
                map.serialize_entry(class, &stock)?;
            }
        }
        map.end()
    }
}
