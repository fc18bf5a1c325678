//! The typed client that neighbours use, against this service in process.

use crate::cloud::Cloud;
use base::Kind;
use futures::future::BoxFuture;
use oslo_http::{Body, Endpoint, Reply, RouteInfo};
use placement_types::{AllocationRequest, Inventory, Resources};
use sdk::{Consumer, InProcess, PlacementClient, Sdk, ServiceCredentials};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Gives everybody the token `admin`.
struct Identity;

impl Endpoint for Identity {
    fn call(&self, _: http::Request<Body>) -> BoxFuture<'_, Reply> {
        let body = json!({"token": {"expires_at": "2999-01-01T00:00:00Z"}});
        let reply = Reply::json(201, &body)
            .unwrap()
            .header("x-subject-token", "admin");
        Box::pin(async move { reply })
    }

    fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        "identity"
    }
}

fn client(cloud: &Cloud) -> PlacementClient {
    let neighbours = InProcess::default();
    neighbours.register("identity", Arc::new(Identity));
    neighbours.register("placement", Arc::clone(&cloud.endpoint));
    Sdk::new(Arc::new(neighbours), ServiceCredentials::default()).placement()
}

fn consumer(id: &str) -> Consumer<'_> {
    Consumer {
        id,
        project_id: "p1",
        user_id: "u1",
        consumer_type: "INSTANCE",
    }
}

fn inventory(vcpus: i64) -> BTreeMap<String, Inventory> {
    [("VCPU".to_string(), Inventory::of(vcpus, 0, 1.0))].into()
}

#[tokio::test]
async fn a_host_reports_and_instances_claim() {
    let cloud = Cloud::new().await;
    let placement = client(&cloud);
    let host = base::new_id();
    for _ in 0..2 {
        let provider = placement
            .ensure_provider(&host, "host1", None)
            .await
            .unwrap();
        assert_eq!(
            (provider.uuid.as_str(), provider.name.as_str()),
            (host.as_str(), "host1")
        );
    }
    placement
        .ensure_provider(&host, "host1.example", None)
        .await
        .unwrap();
    for _ in 0..2 {
        placement.set_inventory(&host, &inventory(4)).await.unwrap();
    }
    let found = placement.find_provider(&host).await.unwrap().unwrap();
    assert_eq!(
        (found.name.as_str(), found.generation),
        ("host1.example", 1),
        "reporting the same changes nothing"
    );
    let traits: BTreeSet<String> = ["CUSTOM_GOLD", "HW_CPU_X86_AVX"].map(str::to_string).into();
    placement.set_traits(&host, &traits).await.unwrap();
    assert_eq!(placement.traits(&host).await.unwrap(), traits);
    let aggregate = base::new_id();
    placement
        .change_aggregates(&host, &[&aggregate], &[])
        .await
        .unwrap();
    let query = format!("resources=VCPU:2&required=CUSTOM_GOLD&member_of={aggregate}&limit=5");
    let candidates = placement.allocation_candidates(&query).await.unwrap();
    assert_eq!(
        candidates.provider_summaries[&host].resources["VCPU"].capacity,
        4
    );
    let request = &candidates.allocation_requests[0];
    let (one, two, three) = (base::new_id(), base::new_id(), base::new_id());
    placement.claim(consumer(&one), request).await.unwrap();
    placement.claim(consumer(&one), request).await.unwrap();
    placement.claim(consumer(&two), request).await.unwrap();
    let full = placement
        .claim(consumer(&three), request)
        .await
        .unwrap_err();
    assert_eq!(full.kind(), Kind::Conflict);
    assert_eq!(placement.usages("p1", None).await.unwrap()["VCPU"], 4);
    // A migration takes over, the instance claims anew elsewhere, and both end.
    placement
        .move_allocations(consumer(&one), consumer(&three))
        .await
        .unwrap();
    assert!(
        placement
            .allocations(&one)
            .await
            .unwrap()
            .allocations
            .is_empty()
    );
    assert_eq!(
        placement.provider_allocations(&host).await.unwrap().len(),
        2
    );
    let less = [(
        host.clone(),
        Resources {
            resources: [("VCPU".to_string(), 1)].into(),
        },
    )]
    .into();
    placement
        .replace_allocations(consumer(&two), &less)
        .await
        .unwrap();
    for id in [&one, &two, &three, &three] {
        placement.delete_allocations(id).await.unwrap();
    }
    placement
        .change_aggregates(&host, &[], &[&aggregate])
        .await
        .unwrap();
    assert!(placement.aggregates(&host).await.unwrap().is_empty());
    for _ in 0..2 {
        placement.delete_provider(&host).await.unwrap();
    }
    assert!(placement.find_provider(&host).await.unwrap().is_none());
}

#[tokio::test]
async fn reports_and_claims_at_once_do_not_lose_each_other() {
    let cloud = Cloud::new().await;
    let placement = client(&cloud);
    let host = base::new_id();
    placement
        .ensure_provider(&host, "host1", None)
        .await
        .unwrap();
    placement
        .set_inventory(&host, &inventory(100))
        .await
        .unwrap();
    let request = AllocationRequest {
        allocations: [(
            host.clone(),
            Resources {
                resources: [("VCPU".to_string(), 1)].into(),
            },
        )]
        .into(),
        ..AllocationRequest::default()
    };
    let claims = (0..20).map(async |_| placement.claim(consumer(&base::new_id()), &request).await);
    let reports = (0..3).map(async |i| placement.set_inventory(&host, &inventory(101 + i)).await);
    let (claims, reports) = futures::join!(
        futures::future::join_all(claims),
        futures::future::join_all(reports)
    );
    assert!(claims.iter().all(Result::is_ok), "{claims:?}");
    assert!(reports.iter().any(Result::is_ok), "{reports:?}");
    assert_eq!(
        placement.usages("p1", Some("u1")).await.unwrap()["VCPU"],
        20
    );
}
