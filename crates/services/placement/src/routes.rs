//! The whole HTTP surface.

use crate::api::{
    aggregates, allocations, candidates, classes, inventories, providers, reshaper, root, traits,
    usages,
};
use crate::{Conf, Placement};
use base::Microversion;
use oslo_http::{
    ApiConfig, PUBLIC, Route, VersionRange, delete, faults, get, inside, post, put, rule,
};

pub const MIN: Microversion = Microversion(1, 0);
pub const MAX: Microversion = Microversion(1, 39);

pub fn config(conf: &Conf) -> ApiConfig {
    ApiConfig {
        versions: Some(VersionRange {
            service_type: "placement",
            min: MIN,
            max: MAX,
            legacy_header: None,
        }),
        max_body: 16 << 20,
        identity_uri: conf.www_authenticate_uri.clone(),
        ..ApiConfig::new("placement", faults::listed)
    }
}

#[rustfmt::skip]
pub fn routes() -> Vec<Route<Placement>> {
    vec![
        get("/", PUBLIC, root::show),

        get("/resource_providers", rule("placement:resource_providers:list"), providers::list),
        post("/resource_providers", rule("placement:resource_providers:create"), providers::create),
        get("/resource_providers/{uuid}", rule("placement:resource_providers:show"), providers::show),
        put("/resource_providers/{uuid}", rule("placement:resource_providers:update"), providers::update),
        delete("/resource_providers/{uuid}", rule("placement:resource_providers:delete"), providers::delete),

        get("/resource_providers/{uuid}/inventories", rule("placement:resource_providers:inventories:list"), inventories::list),
        post("/resource_providers/{uuid}/inventories", rule("placement:resource_providers:inventories:create"), inventories::create),
        put("/resource_providers/{uuid}/inventories", rule("placement:resource_providers:inventories:update"), inventories::replace),
        delete("/resource_providers/{uuid}/inventories", rule("placement:resource_providers:inventories:delete"), inventories::delete_all).since(1, 5),
        delete("/resource_providers/{uuid}/inventories", rule("placement:resource_providers:inventories:delete"), inventories::no_delete_all).until(1, 4),
        get("/resource_providers/{uuid}/inventories/{resource_class}", rule("placement:resource_providers:inventories:show"), inventories::show),
        put("/resource_providers/{uuid}/inventories/{resource_class}", rule("placement:resource_providers:inventories:update"), inventories::update),
        delete("/resource_providers/{uuid}/inventories/{resource_class}", rule("placement:resource_providers:inventories:delete"), inventories::delete),

        get("/resource_providers/{uuid}/usages", rule("placement:resource_providers:usages"), usages::of_provider),
        get("/resource_providers/{uuid}/allocations", rule("placement:resource_providers:allocations:list"), allocations::of_provider),
        get("/resource_providers/{uuid}/aggregates", rule("placement:resource_providers:aggregates:list"), aggregates::show).since(1, 1),
        put("/resource_providers/{uuid}/aggregates", rule("placement:resource_providers:aggregates:update"), aggregates::replace).since(1, 1),
        get("/resource_providers/{uuid}/traits", rule("placement:resource_providers:traits:list"), traits::of_provider).since(1, 6),
        put("/resource_providers/{uuid}/traits", rule("placement:resource_providers:traits:update"), traits::replace).since(1, 6),
        delete("/resource_providers/{uuid}/traits", rule("placement:resource_providers:traits:delete"), traits::clear).since(1, 6),

        get("/resource_classes", rule("placement:resource_classes:list"), classes::list).since(1, 2),
        post("/resource_classes", rule("placement:resource_classes:create"), classes::create).since(1, 2),
        get("/resource_classes/{name}", rule("placement:resource_classes:show"), classes::show).since(1, 2),
        put("/resource_classes/{name}", rule("placement:resource_classes:update"), classes::rename).since(1, 2).until(1, 6),
        put("/resource_classes/{name}", rule("placement:resource_classes:update"), classes::ensure).since(1, 7),
        delete("/resource_classes/{name}", rule("placement:resource_classes:delete"), classes::delete).since(1, 2),

        get("/traits", rule("placement:traits:list"), traits::list).since(1, 6),
        get("/traits/{name}", rule("placement:traits:show"), traits::show).since(1, 6),
        put("/traits/{name}", rule("placement:traits:update"), traits::ensure).since(1, 6),
        delete("/traits/{name}", rule("placement:traits:delete"), traits::delete).since(1, 6),

        get("/usages", inside("placement:usages"), usages::of_project).since(1, 9),

        post("/allocations", rule("placement:allocations:manage"), allocations::manage).since(1, 13),
        get("/allocations/{consumer_uuid}", rule("placement:allocations:list"), allocations::show),
        put("/allocations/{consumer_uuid}", rule("placement:allocations:update"), allocations::update),
        delete("/allocations/{consumer_uuid}", rule("placement:allocations:delete"), allocations::delete),

        get("/allocation_candidates", rule("placement:allocation_candidates:list"), candidates::list).since(1, 10),
        post("/reshaper", rule("placement:reshaper:reshape"), reshaper::reshape).since(1, 30),
    ]
}
