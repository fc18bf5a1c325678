//! Many things at once, chosen by the seed, until the end comes.

use super::child::Scene;
use crate::client::{Answer, Client, id};
use crate::processes::LOST;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Busy hands.
const HANDS: u64 = 6;

pub async fn run(member: &Client, scene: &Scene, seed: u64) {
    let hands = (0..HANDS).map(|hand| {
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(hand));
        work(member, scene, rng, hand)
    });
    futures::future::join_all(hands).await;
}

async fn work(member: &Client, scene: &Scene, mut rng: StdRng, hand: u64) {
    for n in 0.. {
        let answer = one(member, scene, &mut rng, &format!("new-{hand}-{n}")).await;
        // Refusals are part of life (states collide all the time), and so are answers that died with who was asked; our
        // own faults are not.
        if answer.status >= 500 && answer.header(LOST).is_empty() {
            println!("FAIL {}: {} {}", answer.asked, answer.status, answer.body);
        }
    }
}

async fn pick(
    member: &Client,
    service: &str,
    path: &str,
    key: &str,
    rng: &mut StdRng,
) -> Option<Value> {
    let answer = member.get(service, path).await;
    let list = answer.body[key].as_array().cloned().unwrap_or_default();
    (!list.is_empty()).then(|| list[rng.random_range(0..list.len())].clone())
}

async fn one(member: &Client, scene: &Scene, rng: &mut StdRng, name: &str) -> Answer {
    let volumes = format!("/v3/{}/volumes", member.project_id);
    let server = pick(member, "compute", "/v2.1/servers", "servers", rng)
        .await
        .map(|s| id(&s));
    let volume = pick(member, "volumev3", &volumes, "volumes", rng)
        .await
        .map(|v| id(&v));
    let (server, volume) = (server.unwrap_or_default(), volume.unwrap_or_default());
    match rng.random_range(0..100) {
        0..20 => member.create_server(&scene.seed, name, json!({})).await,
        20..25 => {
            member
                .create_server(&scene.seed, name, json!({"min_count": 2, "max_count": 3}))
                .await
        }
        25..33 => {
            let disks = json!([{"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": scene.seed.image},
                {"source_type": "volume", "destination_type": "volume", "boot_index": -1, "uuid": volume,
                 "delete_on_termination": rng.random_bool(0.5)}]);
            member
                .create_server(&scene.seed, name, json!({"block_device_mapping_v2": disks}))
                .await
        }
        33..50 => {
            member
                .delete("compute", &format!("/v2.1/servers/{server}"))
                .await
        }
        50..64 => member.attach_volume(&server, &volume).await,
        64..74 => {
            let path = format!("/v2.1/servers/{server}/os-volume_attachments");
            match pick(member, "compute", &path, "volumeAttachments", rng).await {
                Some(a) => {
                    member
                        .detach_volume(&server, a["volumeId"].as_str().unwrap_or(""))
                        .await
                }
                None => {
                    member
                        .volume_action(
                            &volume,
                            "os-extend",
                            json!({"new_size": rng.random_range(2..5)}),
                        )
                        .await
                }
            }
        }
        74..80 => {
            member
                .post("volumev3", &volumes, json!({"volume": {"size": 1}}))
                .await
        }
        80..84 => member.delete_volume(&volume).await,
        84..88 => {
            let body = json!({"interfaceAttachment": {"net_id": scene.second}});
            member
                .post(
                    "compute",
                    &format!("/v2.1/servers/{server}/os-interface"),
                    body,
                )
                .await
        }
        88..91 => {
            let path = format!("/v2.1/servers/{server}/os-interface");
            match pick(member, "compute", &path, "interfaceAttachments", rng).await {
                Some(card) => {
                    member
                        .delete(
                            "compute",
                            &format!("{path}/{}", card["port_id"].as_str().unwrap_or("")),
                        )
                        .await
                }
                None => member.get("compute", &path).await,
            }
        }
        91..95 => member.act(&server, "os-stop", Value::Null).await,
        95..97 => member.act(&server, "os-start", Value::Null).await,
        _ => member.act(&server, "reboot", json!({"type": "HARD"})).await,
    }
}
