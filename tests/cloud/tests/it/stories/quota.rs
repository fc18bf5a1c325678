//! What a project may have: refused in words when it is too much, given back when it goes.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use futures::future::join_all;
use serde_json::json;

pub async fn servers_cores_and_memory_have_limits(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let mut seed = cloud.seed(&p).await;
    let path = format!("/v2.1/os-quota-sets/{}", p.id);
    let set = async |limits: serde_json::Value| {
        cloud
            .admin
            .put("compute", &path, json!({"quota_set": limits}))
            .await
            .expect(200);
    };
    set(json!({"instances": 2})).await;

    // Ten at once: exactly two come through.
    let asked = join_all((0..10).map(|n| {
        let (member, seed) = (p.member.clone(), seed.clone());
        async move {
            member
                .create_server(&seed, &format!("s{n}"), json!({}))
                .await
        }
    }))
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(|a| a.status == 202);
    assert_eq!(
        made.len(),
        2,
        "{:?}",
        refused.iter().map(|r| &r.body).collect::<Vec<_>>()
    );
    for no in &refused {
        assert_eq!(no.status, 403, "{}", no.body);
        assert_eq!(
            no.message(),
            "Quota exceeded for instances: Requested 1, but already used 2 of 2 instances"
        );
    }
    let mut ids = Vec::new();
    for answer in made {
        let id = answer.id("server");
        p.member.wait_server(&id, "ACTIVE").await;
        ids.push(id);
    }
    let detail = p
        .member
        .get("compute", &format!("{path}/detail"))
        .await
        .expect(200)
        .key("quota_set");
    assert_eq!(
        detail["instances"],
        json!({"limit": 2, "in_use": 2, "reserved": 0})
    );

    p.member.delete_server(&ids[0]).await;
    p.member.boot(&seed, "again").await;

    set(json!({"instances": 10, "cores": 3})).await;
    seed.flavor = cloud.flavor("m1.two", 2, 64).await;
    let no = p
        .member
        .create_server(&seed, "cores", json!({}))
        .await
        .expect(403);
    assert!(
        no.message()
            .starts_with("Quota exceeded for cores: Requested 2, but already used 2 of 3"),
        "{}",
        no.body
    );
    set(json!({"cores": 10, "ram": 130})).await;
    let no = p
        .member
        .create_server(&seed, "ram", json!({}))
        .await
        .expect(403);
    assert!(
        no.message()
            .starts_with("Quota exceeded for ram: Requested 64, but already used 128 of 130"),
        "{}",
        no.body
    );
    assert_eq!(
        p.member
            .put("compute", &path, json!({"quota_set": {"ram": -1}}))
            .await
            .status,
        403
    );

    // Fewer than asked for, if the caller can live with fewer.
    set(json!({"ram": -1, "cores": 5})).await;
    let answer = p
        .member
        .create_server(&seed, "many", json!({"min_count": 1, "max_count": 5}))
        .await
        .expect(202);
    p.member
        .wait_server(&text(&answer["server"], "id"), "ACTIVE")
        .await;
    assert_eq!(
        p.member
            .get("compute", "/v2.1/servers")
            .await
            .list("servers")
            .len(),
        3
    );
}

pub async fn volumes_and_ports_have_limits(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let path = format!("/v3/{}/os-quota-sets/{}", cloud.admin.project_id, p.id);
    cloud
        .admin
        .put("volumev3", &path, json!({"quota_set": {"gigabytes": 3}}))
        .await
        .expect(200);
    let volume = p.member.volume(2).await;
    let body = json!({"volume": {"size": 2}});
    let no = p
        .member
        .post("volumev3", &format!("/v3/{}/volumes", p.id), body)
        .await
        .expect(413);
    assert!(no.message().contains("gigabytes"), "{}", no.body);
    assert_eq!(
        p.member
            .volume_action(&volume, "os-extend", json!({"new_size": 4}))
            .await
            .status,
        413
    );
    p.member.wait_volume(&volume, "available").await;

    let used = p
        .member
        .get("network", "/v2.0/ports")
        .await
        .list("ports")
        .len();
    let body = json!({"quota": {"port": used + 1}});
    cloud
        .admin
        .put("network", &format!("/v2.0/quotas/{}", p.id), body)
        .await
        .expect(200);
    let server = text(&p.member.boot(&seed, "one").await, "id");
    let second = p.member.create_server(&seed, "two", json!({})).await;
    if second.status == 202 {
        let id = second.id("server");
        let failed = p.member.wait_server(&id, "ERROR").await;
        assert!(
            text(&failed["fault"], "message")
                .to_lowercase()
                .contains("quota"),
            "{failed}"
        );
        assert!(cloud.allocation(&id).await.is_null());
    } else {
        assert_eq!(second.status, 403, "{}", second.body);
    }
    p.member.delete_server(&server).await;
}

pub async fn images_have_the_limits_that_keystone_keeps(place: Place) {
    let conf = |conf: crate::conf::Conf| conf.set("glance", "use_keystone_limits", true);
    let cloud = TestCloud::with(place, conf).await;
    let (admin, p) = (&cloud.admin, cloud.project("alpha").await);
    let services = admin.get("identity", "/v3/services?type=image").await;
    let service = text(&services.expect(200).list("services")[0], "id");
    let limit = |name: &str, number: &str, value: i64| json!({"service_id": service, "region_id": "RegionOne", "resource_name": name, number: value});
    let names = [
        "image_size_total",
        "image_stage_total",
        "image_count_total",
        "image_count_uploading",
    ];
    let all: Vec<_> = names.map(|n| limit(n, "default_limit", 10)).to_vec();
    let all = json!({"registered_limits": all});
    let path = "/v3/registered_limits";
    admin.post("identity", path, all).await.expect(201);
    let mut own = limit("image_count_total", "resource_limit", 2);
    own["project_id"] = json!(p.id);
    let own = json!({"limits": [own]});
    admin.post("identity", "/v3/limits", own).await.expect(201);

    // Ten at once: exactly two come through.
    let body = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    let asked = (0..10).map(|_| p.member.post("image", "/v2/images", body.clone()));
    let asked = join_all(asked).await;
    let (made, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(|a| a.status == 201);
    assert_eq!((made.len(), refused.len()), (2, 8));
    assert!(refused.iter().all(|no| no.status == 413));
    let usage = p.member.get("image", "/v2/info/usage").await.expect(200);
    assert_eq!(
        usage.key("usage")["image_count_total"],
        json!({"limit": 2, "usage": 2})
    );
    let image = format!("/v2/images/{}", text(&made[0].body, "id"));
    p.member.delete("image", &image).await.expect(204);
    p.member.image("again", "private").await;
}
