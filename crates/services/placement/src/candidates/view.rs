//! Candidates as the microversions show them, straight from the index without copies.

use super::request::Request;
use super::search::Candidate;
use crate::index::{Index, Provider};
use base::Microversion;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
pub struct CandidatesView<'a> {
    allocation_requests: Vec<RequestView<'a>>,
    provider_summaries: BTreeMap<&'a str, SummaryView<'a>>,
}

#[derive(Serialize)]
struct RequestView<'a> {
    allocations: AllocationsView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mappings: Option<&'a BTreeMap<&'a str, BTreeSet<&'a str>>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AllocationsView<'a> {
    /// Below 1.12.
    List(Vec<ListedAllocation<'a>>),
    Map(BTreeMap<&'a str, ResourcesView<'a>>),
}

#[derive(Serialize)]
struct ListedAllocation<'a> {
    resource_provider: UuidView<'a>,
    resources: &'a BTreeMap<&'a str, i64>,
}

#[derive(Serialize)]
struct UuidView<'a> {
    uuid: &'a str,
}

#[derive(Serialize)]
struct ResourcesView<'a> {
    resources: &'a BTreeMap<&'a str, i64>,
}

#[derive(Serialize)]
struct SummaryView<'a> {
    resources: BTreeMap<&'a str, StockView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traits: Option<&'a BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_provider_uuid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_provider_uuid: Option<Option<&'a str>>,
}

#[derive(Serialize)]
struct StockView {
    capacity: i64,
    used: i64,
}

pub fn candidates<'a>(
    index: &'a Index,
    request: &'a Request,
    found: &'a [Candidate<'a>],
    version: Microversion,
) -> CandidatesView<'a> {
    let since = |minor| version >= Microversion(1, minor);
    let mut shown: BTreeMap<&str, &Provider> = BTreeMap::new();
    let mut trees: BTreeSet<&str> = BTreeSet::new();
    for provider in found
        .iter()
        .flat_map(|c| c.amounts.keys())
        .filter_map(|id| index.get(id))
    {
        shown.insert(&provider.id, provider);
        trees.insert(&provider.root);
    }
    if since(29) {
        // The whole tree of each provider involved, so that clients see where it hangs.
        for provider in trees.iter().flat_map(|root| index.tree(root)) {
            shown.insert(&provider.id, provider);
        }
    }
    let classes = request.classes();
    let summary = |p: &'a Provider| {
        let wanted = |class: &str| since(27) || classes.contains(class);
        let stock = p.inventories.iter().filter(|(class, _)| wanted(class));
        SummaryView {
            resources: stock
                .map(|(c, i)| {
                    (
                        c.as_str(),
                        StockView {
                            capacity: i.capacity(),
                            used: i.used,
                        },
                    )
                })
                .collect(),
            traits: since(17).then_some(&p.traits),
            root_provider_uuid: since(29).then_some(p.root.as_str()),
            parent_provider_uuid: since(29).then_some(p.parent.as_deref()),
        }
    };
    let one = |c: &'a Candidate<'a>| RequestView {
        allocations: if since(12) {
            AllocationsView::Map(
                c.amounts
                    .iter()
                    .map(|(id, r)| (*id, ResourcesView { resources: r }))
                    .collect(),
            )
        } else {
            let listed = c.amounts.iter().map(|(id, resources)| ListedAllocation {
                resource_provider: UuidView { uuid: id },
                resources,
            });
            AllocationsView::List(listed.collect())
        },
        mappings: since(34).then_some(&c.mappings),
    };
    CandidatesView {
        allocation_requests: found.iter().map(one).collect(),
        provider_summaries: shown.into_iter().map(|(id, p)| (id, summary(p))).collect(),
    }
}
