//! Links as nova writes them: `self` with the version, `bookmark` without, `next` for pages.

use base::Page;
use oslo_http::{Req, next_link};
use serde_json::{Value, json};

/// The `self` and `bookmark` links of a resource.
pub fn resource(req: &Req, collection: &str, id: &str) -> Value {
    let base = &req.base_url;
    json!([
        {"rel": "self", "href": format!("{base}/v2.1/{collection}/{id}")},
        {"rel": "bookmark", "href": format!("{base}/{collection}/{id}")},
    ])
}

/// Adds `<key>: [{rel: next}]` to a list's body when more rows follow.
pub fn next<T>(body: &mut Value, key: &str, req: &Req, page: &Page<T>, id: impl Fn(&T) -> String) {
    if let Some(href) = next_link(req, page, id) {
        body[key] = json!([{"rel": "next", "href": href}]);
    }
}
