//! What a boot costs, counted: queries.

use crate::house::{House, text};
use serde_json::json;

#[tokio::test]
async fn the_queries_of_a_boot() {
    let house = House::new().await;
    for n in 0..5 {
        house.agents(&format!("node{n}")).await;
    }
    let net = house.network("alice-p1", json!({})).await;
    house.subnet("alice-p1", &net, "10.0.0.0/16").await;
    let mut first = true;
    for n in 0..3 {
        let body = json!({"network_id": net, "project_id": "p1", "device_owner": "compute:nova",
            "device_id": base::new_id(), "binding:host_id": format!("node{n}")});
        let a = house.db.stats();
        let id = text(&house.port("service-service", body).await["id"]);
        let b = house.db.stats();
        house.up(&format!("node{n}"), &[&id]).await;
        let c = house.db.stats();
        house.state(&format!("node{n}")).await;
        let d = house.db.stats();
        house.agents(&format!("node{n}")).await;
        let e = house.db.stats();
        house
            .call(
                "service-service",
                "PUT",
                &format!("/v2.0/ports/{id}"),
                Some(json!({"port": {"binding:host_id": "node4"}})),
            )
            .await;
        let f = house.db.stats();
        house
            .call(
                "service-service",
                "GET",
                &format!("/v2.0/ports?device_id={id}"),
                None,
            )
            .await;
        let g = house.db.stats();
        house
            .call(
                "service-service",
                "DELETE",
                &format!("/v2.0/ports/{id}"),
                None,
            )
            .await;
        let h = house.db.stats();
        println!(
            "create {} up {} state {} beat(3 agents) {} rebind {} list {} delete {} (first {first})",
            b.queries - a.queries,
            c.queries - b.queries,
            d.queries - c.queries,
            e.queries - d.queries,
            f.queries - e.queries,
            g.queries - f.queries,
            h.queries - g.queries
        );
        first = false;
    }
}
