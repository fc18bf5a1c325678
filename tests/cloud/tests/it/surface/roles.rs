//! Reader, member, manager, administrator: each enters exactly where the policy data lets them.

use super::{enforcers, report, rows};
use crate::client::Client;
use crate::cloud::{Place, TestCloud};
use oslo_context::RequestContext;
use oslo_http::Access;
use oslo_policy::Enforcer;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn context(enforcer: &Enforcer, who: &Client) -> RequestContext {
    let mut ctx = RequestContext {
        user_id: Some(who.user_id.clone()),
        project_id: Some(who.project_id.clone()),
        roles: who.roles.clone(),
        ..RequestContext::anonymous()
    };
    enforcer.mark_admin(&mut ctx);
    ctx
}

/// Something that is the caller's own in every way a rule may ask.
fn own(who: &Client) -> Value {
    let (user, project) = (&who.user_id, &who.project_id);
    json!({
        "project_id": project, "tenant_id": project, "user_id": user, "owner": project, "domain_id": null,
        "network:project_id": project, "network:tenant_id": project,
        "target": {"user": {"id": user}, "project": {"id": project}, "token": {"user_id": user}},
    })
}

pub async fn every_role_enters_where_policy_says(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    assert_eq!(p.reader.roles, ["reader"]);
    let enforcers = enforcers();
    let people = [
        ("reader", &p.reader),
        ("member", &p.member),
        ("manager", &p.manager),
        ("admin", &p.admin),
    ];
    let mut complaints = BTreeSet::new();
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (role, who) in people {
        for row in rows(&cloud.endpoints) {
            let (Some(rule), Some(enforcer)) = (row.rule(), enforcers.get(row.service)) else {
                continue;
            };
            let name = row.name();
            if !enforcer.has_rule(rule) && !enforcer.has_rule("default") {
                complaints.insert(format!("{name}: there is no rule {rule}"));
                continue;
            }
            let allowed = enforcer.check(rule, &context(enforcer, who), &own(who));
            let answer = row.ask(who).await;
            let status = answer.status;
            let count = counts.entry(row.service).or_default();
            let wrong = match row.info.access {
                Access::Rule(_) => {
                    count[usize::from(!allowed)] += 1;
                    match allowed {
                        true => status == 403,
                        false => status != 403,
                    }
                }
                // The handler asks about a resource that is not there; what it must not do is to do it.
                _ => {
                    count[2] += 1;
                    !allowed && (200..300).contains(&status) && row.info.method != "GET"
                }
            };
            if wrong || matches!(status, 401 | 500) {
                let may = if allowed { "may" } else { "may not" };
                complaints.insert(format!(
                    "{name}: {status} for {role}, who {may} by {rule}: {}",
                    answer.body
                ));
            }
        }
    }
    for (service, [may, may_not, inside]) in &counts {
        println!("{service}: {may} let in, {may_not} refused, {inside} judged inside");
    }
    report(&complaints);
}
