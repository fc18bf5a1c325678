//! Every power verb in every state: done, or refused with 409 and nothing changed.

use crate::client::{Client, text};
use crate::cloud::{Place, TestCloud};
use serde_json::{Value, json};

/// (verb, arguments, [ACTIVE, PAUSED, SUSPENDED, SHUTOFF, ERROR] -> the state it leads to; "" is a refusal)
const VERBS: &[(&str, &str, [&str; 5])] = &[
    ("os-start", "null", ["", "", "", "ACTIVE", ""]),
    ("os-stop", "null", ["SHUTOFF", "", "", "", "SHUTOFF"]),
    ("pause", "null", ["PAUSED", "", "", "", ""]),
    ("unpause", "null", ["", "ACTIVE", "", "", ""]),
    ("suspend", "null", ["SUSPENDED", "", "", "", ""]),
    ("resume", "null", ["", "", "ACTIVE", "", ""]),
    ("reboot", r#"{"type": "SOFT"}"#, ["ACTIVE", "", "", "", ""]),
    (
        "reboot",
        r#"{"type": "HARD"}"#,
        ["ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE"],
    ),
];
const STATES: [&str; 5] = ["ACTIVE", "PAUSED", "SUSPENDED", "SHUTOFF", "ERROR"];

/// Brings an ACTIVE server to `state`.
async fn bring(admin: &Client, server: &str, state: &str) {
    let (verb, arguments) = match state {
        "ACTIVE" => return,
        "PAUSED" => ("pause", Value::Null),
        "SUSPENDED" => ("suspend", Value::Null),
        "SHUTOFF" => ("os-stop", Value::Null),
        _ => ("os-resetState", json!({"state": "error"})),
    };
    admin.act(server, verb, arguments).await.expect(202);
    admin.wait_server(server, state).await;
}

pub async fn every_power_verb_in_every_state(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let server = text(&p.member.boot(&seed, "web").await, "id");
    for (column, state) in STATES.iter().enumerate() {
        for (verb, arguments, leads_to) in VERBS {
            bring(&cloud.admin, &server, state).await;
            let arguments: Value = serde_json::from_str(arguments).expect("arguments");
            let answer = p.member.act(&server, verb, arguments.clone()).await;
            let what = format!("{verb} {arguments} in {state}: {}", answer.body);
            if leads_to[column].is_empty() {
                assert_eq!(answer.status, 409, "{what}");
                assert!(
                    answer.message().contains("while it is in vm_state"),
                    "{what}"
                );
                assert_eq!(p.member.server(&server).await["status"], **state, "{what}");
            } else {
                assert_eq!(answer.status, 202, "{what}");
                p.member.wait_server(&server, leads_to[column]).await;
            }
            // A hard reboot mends everything.
            cloud
                .admin
                .act(&server, "reboot", json!({"type": "HARD"}))
                .await
                .expect(202);
            cloud.admin.wait_server(&server, "ACTIVE").await;
        }
    }
    // What was done is written down, with who asked.
    let actions = p
        .member
        .get(
            "compute",
            &format!("/v2.1/servers/{server}/os-instance-actions"),
        )
        .await
        .list("instanceActions");
    for wanted in [
        "create", "stop", "start", "pause", "unpause", "suspend", "resume", "reboot",
    ] {
        assert!(
            actions.iter().any(|a| a["action"] == wanted),
            "no {wanted} among the actions"
        );
    }
}
