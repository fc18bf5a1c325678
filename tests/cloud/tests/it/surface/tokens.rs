//! Nobody enters without a valid token, but where everybody may.

use super::{report, rows};
use crate::client::Client;
use crate::cloud::{Place, TestCloud};
use oslo_http::Access;
use std::collections::{BTreeMap, BTreeSet};

pub async fn every_route_wants_a_token(place: Place) {
    let cloud = TestCloud::start(place).await;
    let nobody = Client::anonymous(&cloud.endpoints);
    let mut forged = cloud.admin.token.clone().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("text");
    let strangers = [
        ("no token", nobody.clone()),
        ("garbage", nobody.with_token("garbage")),
        ("a forged token", nobody.with_token(&forged)),
    ];
    let (mut names, mut complaints) = (BTreeSet::new(), BTreeSet::new());
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for row in rows(&cloud.endpoints) {
        let name = row.name();
        if !names.insert(name.clone()) {
            complaints.insert(format!("{name}: two rows of one name"));
        }
        let count = counts.entry(row.service).or_default();
        let public = row.info.access == Access::Public;
        count.0 += 1;
        count.1 += usize::from(public);
        for (what, who) in &strangers {
            let answer = row.ask(who).await;
            let challenge = !answer.header("www-authenticate").is_empty();
            match (public, answer.status) {
                (_, 500) => complaints.insert(format!("{name}: 500 with {what}")),
                (false, 401) if challenge => false,
                (false, 401) => {
                    complaints.insert(format!("{name}: 401 without WWW-Authenticate with {what}"))
                }
                (false, status) => complaints.insert(format!("{name}: {status} with {what}")),
                (true, _) => false,
            };
        }
    }
    for (service, (all, public)) in &counts {
        println!("{service}: {all} routes, {public} public");
    }
    assert!(names.len() > 300, "only {} routes", names.len());
    report(&complaints);
}
