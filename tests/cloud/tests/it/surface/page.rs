//! The page of all routes promises what there is, no more and no less.

use crate::cloud::{Place, TestCloud};
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_routes_is_fresh() {
    let cloud = TestCloud::start(Place::Embedded).await;
    let unexplained = ferrostack::docs::unexplained(&cloud.endpoints);
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let fresh = ferrostack::docs::routes(&cloud.endpoints);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/routes.md");
    let kept = std::fs::read_to_string(page).expect("docs/reference/routes.md");
    let stale = fresh.lines().find(|line| !kept.contains(line));
    assert!(
        fresh == kept,
        "docs/reference/routes.md is stale (first: {stale:?}): run `cargo xtask docs`"
    );
}
