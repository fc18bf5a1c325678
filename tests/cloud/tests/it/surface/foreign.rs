//! What is one project's does not exist for another: every route below a resource, asked by a stranger.

use super::samples::{parameter, sample};
use super::{Row, report, rows};
use crate::client::{Answer, Client, text};
use crate::cloud::{Place, TestCloud};
use crate::project::{Project, Seed};
use crate::wait::wait_for;
use oslo_http::{Access, Body};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Somebody's things: (service, collection) to id.
struct Things {
    ids: BTreeMap<(&'static str, &'static str), String>,
    port: String,
    volume: String,
    server: String,
}

/// What cinder has of a volume beside it: a snapshot, a backup, and an offer of another one.
async fn kept(me: &Client, volume: &str) -> [((&'static str, &'static str), String); 4] {
    let settled = |collection: &'static str, key: &'static str, id: String| async move {
        let path = format!("/v3/{}/{collection}/{id}", me.project_id);
        let path = &path;
        wait_for(format!("{key} {id}"), || async move {
            let found = me.get("volumev3", path).await.expect(200).key(key);
            (found["status"] != "creating").then_some(())
        })
        .await;
        id
    };
    let make = |collection: &'static str, key: &'static str, body: Value| async move {
        let path = format!("/v3/{}/{collection}", me.project_id);
        let made = me.post("volumev3", &path, json!({key: body})).await;
        made.expect(202).id(key)
    };
    let snapshot = make("snapshots", "snapshot", json!({"volume_id": volume})).await;
    let snapshot = settled("snapshots", "snapshot", snapshot).await;
    // Hosts that are fake have no bytes to keep: it ends in error, and is there.
    let backup = make("backups", "backup", json!({"volume_id": volume})).await;
    let backup = settled("backups", "backup", backup).await;
    me.wait_volume(volume, "available").await;
    let offered = me.volume(1).await;
    let transfer = make(
        "os-volume-transfer",
        "transfer",
        json!({"volume_id": offered}),
    )
    .await;
    [
        (("volumev3", "snapshots"), snapshot),
        (("volumev3", "backups"), backup),
        (("volumev3", "volume-transfers"), transfer.clone()),
        (("volumev3", "os-volume-transfer"), transfer),
    ]
}

async fn things(cloud: &TestCloud, p: &Project, seed: &Seed) -> Things {
    let me = &p.member;
    let extra = json!({"metadata": {"x": "1"}, "tags": ["x"]});
    let server = me
        .create_server(seed, "mine", extra)
        .await
        .expect(202)
        .id("server");
    me.wait_server(&server, "ACTIVE").await;
    let (volume, attached) = (me.volume(1).await, me.volume(1).await);
    me.attach_volume(&server, &attached).await.expect(200);
    me.wait_volume(&attached, "in-use").await;
    let path = format!("/v3/{}/volumes/{volume}/metadata", p.id);
    me.post("volumev3", &path, json!({"metadata": {"x": "1"}}))
        .await
        .expect(200);
    let kept = kept(me, &volume).await;
    let attachments = me
        .get("volumev3", &format!("/v3/{}/attachments", p.id))
        .await
        .list("attachments");
    let body = json!({"server_group": {"name": "g", "policy": "affinity"}});
    let group = me
        .post("compute", "/v2.1/os-server-groups", body)
        .await
        .expect(200)
        .id("server_group");
    let port = text(&me.ports_of(&server).await[0], "id");
    let external = cloud.external().await;
    let body =
        json!({"router": {"name": "mine", "external_gateway_info": {"network_id": external}}});
    let router = me
        .post("network", "/v2.0/routers", body)
        .await
        .expect(201)
        .id("router");
    let body = json!({"floatingip": {"floating_network_id": external}});
    let floating = me
        .post("network", "/v2.0/floatingips", body)
        .await
        .expect(201)
        .id("floatingip");
    let body = json!({"security_group": {"name": "mine"}});
    let security = me
        .post("network", "/v2.0/security-groups", body)
        .await
        .expect(201)
        .key("security_group");
    let image = me.image("mine", "private").await;
    let ids = [
        (("compute", "servers"), server.clone()),
        (("compute", "os-server-groups"), group),
        (("volumev3", "volumes"), volume.clone()),
        (("volumev3", "attachments"), text(&attachments[0], "id")),
        (("network", "networks"), seed.network.clone()),
        (("network", "subnets"), seed.subnet.clone()),
        (("network", "ports"), port.clone()),
        (("network", "routers"), router),
        (("network", "floatingips"), floating),
        (("network", "security-groups"), text(&security, "id")),
        (
            ("network", "security-group-rules"),
            text(&security["security_group_rules"][0], "id"),
        ),
        (("image", "images"), image),
        (("identity", "projects"), p.id.clone()),
        (("identity", "users"), p.member.user_id.clone()),
    ];
    Things {
        ids: ids.into_iter().chain(kept).collect(),
        port,
        volume: attached,
        server,
    }
}

/// The id that the row's first parameter asks for, and the path, if the row is about such a thing.
fn aim(row: &Row, things: &Things, who: &Client) -> Option<String> {
    let segments: Vec<&str> = row.info.path.split('/').collect();
    let is_own = |s: &&str| row.service == "volumev3" && *s == "{project_id}";
    let at = segments
        .iter()
        .position(|s| s.starts_with('{') && !is_own(s))?;
    let collection = *segments.get(at.checked_sub(1)?)?;
    let key = things
        .ids
        .keys()
        .find(|(s, c)| *s == row.service && *c == collection)?;
    let first = segments[at].trim_matches(['{', '}']);
    Some(row.path(|name| match name {
        name if name == first => things.ids[key].clone(),
        "project_id" => who.project_id.clone(),
        name => parameter(name, &things.port, &things.volume),
    }))
}

async fn ask(row: &Row, who: &Client, path: &str) -> (Answer, bool) {
    let (who, method) = (row.at(who), row.info.method.as_str());
    let bytes = path.ends_with("/file") || path.ends_with("/stage");
    if row.service == "image" && method == "PUT" && bytes {
        return (who.upload("image", path, vec![1; 16]).await, true);
    }
    let body = sample(row);
    let sampled = body.is_some() || matches!(method, "GET" | "DELETE");
    if row.service == "image" && method == "PATCH" {
        let request = who.request("image", method, path).header(
            "content-type",
            "application/openstack-images-v2.1-json-patch",
        );
        let body = Body::from(body.unwrap_or_default().to_string());
        return (
            who.send("image", request.body(body).expect("a request"))
                .await,
            true,
        );
    }
    let empty = matches!(method, "POST" | "PUT" | "PATCH").then(|| json!({}));
    let body = body.or(empty.filter(|_| !path.ends_with("/x")));
    (who.call(row.service, method, path, body).await, sampled)
}

/// Everything of the owner's, as the owner sees it, without what changes by itself.
async fn picture(p: &Project, things: &Things) -> Vec<Value> {
    let mut all = Vec::new();
    for ((service, collection), id) in &things.ids {
        let path = match *service {
            "compute" => format!("/v2.1/{collection}/{id}"),
            // The offer by its other name.
            "volumev3" if *collection == "volume-transfers" => continue,
            "volumev3" => format!("/v3/{}/{collection}/{id}", p.id),
            "network" => format!("/v2.0/{collection}/{id}"),
            "image" => format!("/v2/{collection}/{id}"),
            _ => continue,
        };
        all.push(p.member.get(service, &path).await.expect(200).body);
    }
    all
}

pub async fn another_projects_things_do_not_exist(place: Place) {
    let cloud = TestCloud::start(place).await;
    let (a, b) = (cloud.project("alpha").await, cloud.project("beta").await);
    let seed = cloud.seed(&a).await;
    let things = things(&cloud, &a, &seed).await;
    let before = picture(&a, &things).await;
    let (mut complaints, mut bare) = (BTreeSet::new(), BTreeSet::new());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (role, who) in [
        ("reader", &b.reader),
        ("member", &b.member),
        ("manager", &b.manager),
    ] {
        for row in rows(&cloud.endpoints) {
            if row.info.access == Access::Public {
                continue;
            }
            let Some(path) = aim(&row, &things, who) else {
                continue;
            };
            *counts.entry(row.service).or_default() += 1;
            let (answer, sampled) = ask(&row, who, &path).await;
            match answer.status {
                403 | 404 => {}
                400 if !sampled => drop(bare.insert(row.name())),
                status => drop(complaints.insert(format!(
                    "{}: {status} for a foreign {role}: {}",
                    row.name(),
                    answer.body
                ))),
            }
        }
    }
    // The owner's project in the URL helps nobody.
    let path = format!("/v3/{}/volumes/{}", a.id, things.volume);
    let status = b.member.get("volumev3", &path).await.status;
    assert!(matches!(status, 400 | 403 | 404), "{status}");
    println!("{counts:?}; without a sample body: {bare:?}");
    report(&complaints);
    assert_eq!(picture(&a, &things).await, before);
    a.member.wait_server(&things.server, "ACTIVE").await;

    // Lists are as blind.
    for (service, path, key) in [
        ("compute", "/v2.1/servers/detail".to_string(), "servers"),
        (
            "compute",
            "/v2.1/os-server-groups".to_string(),
            "server_groups",
        ),
        (
            "volumev3",
            format!("/v3/{}/volumes/detail", b.id),
            "volumes",
        ),
        (
            "volumev3",
            format!("/v3/{}/attachments", b.id),
            "attachments",
        ),
        ("network", "/v2.0/ports".to_string(), "ports"),
        ("network", "/v2.0/routers".to_string(), "routers"),
        ("network", "/v2.0/floatingips".to_string(), "floatingips"),
        (
            "network",
            "/v2.0/networks?router:external=false".to_string(),
            "networks",
        ),
    ] {
        let list = b.member.get(service, &path).await.expect(200).list(key);
        assert!(list.is_empty(), "{path}: {list:?}");
    }
    let images = b
        .member
        .get("image", "/v2/images")
        .await
        .expect(200)
        .list("images");
    assert!(
        images.iter().all(|i| i["visibility"] == "public"),
        "{images:?}"
    );
}
