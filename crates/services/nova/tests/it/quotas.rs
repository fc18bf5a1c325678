//! Quotas, limits, usage, server groups and the action log.

use crate::harness::Cloud;
use nova::db::actions;
use nova::db::block_devices::BlockDeviceRow;
use oslo_context::RequestContext;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn quotas_are_set_shown_and_forgotten() {
    let cloud = Cloud::new().await;
    cloud.server(|_| {}).await;
    let path = "/v2.1/os-quota-sets/p1";
    let set = cloud.get("alice", "2.1", path).await["quota_set"].clone();
    assert_eq!(
        (&set["cores"], &set["floating_ips"], &set["injected_files"]),
        (&json!(20), &json!(-1), &json!(5))
    );
    let new = cloud.get("alice", "2.57", path).await["quota_set"].clone();
    assert!(new.get("floating_ips").is_none() && new.get("injected_files").is_none());
    assert_eq!(cloud.refused("bob", "2.57", "GET", path, None).await.0, 403);
    assert_eq!(
        cloud
            .refused(
                "alice",
                "2.57",
                "PUT",
                path,
                Some(json!({"quota_set": {"cores": 1}}))
            )
            .await
            .0,
        403
    );
    // Not below what is used, unless forced.
    assert_eq!(
        cloud
            .refused(
                "admin",
                "2.57",
                "PUT",
                path,
                Some(json!({"quota_set": {"cores": 1}}))
            )
            .await
            .0,
        400
    );
    let (status, forced) = cloud
        .ask(
            "admin",
            "2.57",
            "PUT",
            path,
            Some(json!({"quota_set": {"cores": 1, "force": true}})),
        )
        .await;
    assert_eq!((status, &forced["quota_set"]["cores"]), (200, &json!(1)));
    let detail = cloud.get("alice", "2.57", &format!("{path}/detail")).await["quota_set"].clone();
    assert_eq!(
        detail["cores"],
        json!({"limit": 1, "in_use": 2, "reserved": 0})
    );
    assert_eq!(
        cloud
            .get("alice", "2.57", &format!("{path}/defaults"))
            .await["quota_set"]["cores"],
        20
    );
    assert_eq!(
        cloud.ask("admin", "2.57", "DELETE", path, None).await.0,
        202
    );
    assert_eq!(
        cloud.get("alice", "2.57", path).await["quota_set"]["cores"],
        20
    );

    let class = "/v2.1/os-quota-class-sets/default";
    let (status, _) = cloud
        .ask(
            "admin",
            "2.57",
            "PUT",
            class,
            Some(json!({"quota_class_set": {"cores": 7}})),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        cloud.get("admin", "2.57", class).await["quota_class_set"]["cores"],
        7
    );
    let limits = cloud.get("alice", "2.57", "/v2.1/limits").await["limits"]["absolute"].clone();
    assert_eq!(
        (&limits["maxTotalCores"], &limits["totalCoresUsed"]),
        (&json!(7), &json!(2))
    );
    assert_eq!(
        cloud
            .refused("bob", "2.57", "GET", "/v2.1/limits?tenant_id=p1", None)
            .await
            .0,
        403
    );
    let seen =
        cloud.get("admin", "2.1", "/v2.1/limits?tenant_id=p1").await["limits"]["absolute"].clone();
    assert_eq!(
        (&seen["totalInstancesUsed"], &seen["maxImageMeta"]),
        (&json!(1), &json!(128))
    );
}

#[tokio::test]
async fn usage_counts_hours_within_the_period() {
    let cloud = Cloud::new().await;
    let start = cloud.clock.now();
    let server = cloud.server(|_| {}).await;
    cloud.clock.advance(Duration::from_secs(7200));
    let (from, to) = (
        start
            .plus(Duration::from_secs(1800))
            .format("%Y-%m-%dT%H:%M:%S"),
        cloud.clock.now().format("%Y-%m-%dT%H:%M:%S"),
    );
    let path = format!("/v2.1/os-simple-tenant-usage/p1?start={from}&end={to}");
    let usage = cloud.get("alice", "2.40", &path).await["tenant_usage"].clone();
    assert_eq!(
        (&usage["total_hours"], &usage["total_vcpus_usage"]),
        (&json!(1.5), &json!(3.0))
    );
    assert_eq!(
        (
            &usage["server_usages"][0]["instance_id"],
            &usage["server_usages"][0]["uptime"]
        ),
        (&json!(server.id), &json!(7200))
    );
    assert_eq!(
        cloud.refused("bob", "2.40", "GET", &path, None).await.0,
        403
    );
    let all = cloud
        .get(
            "admin",
            "2.1",
            &format!("/v2.1/os-simple-tenant-usage?start={from}&end={to}"),
        )
        .await;
    assert_eq!(all["tenant_usages"][0]["tenant_id"], "p1");
    assert!(all["tenant_usages"][0].get("server_usages").is_none());
    let backwards = format!("/v2.1/os-simple-tenant-usage/p1?start={to}&end={from}");
    assert_eq!(
        cloud
            .refused("alice", "2.40", "GET", &backwards, None)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn server_groups() {
    let cloud = Cloud::new().await;
    let path = "/v2.1/os-server-groups";
    let old = json!({"server_group": {"name": "g", "policies": ["anti-affinity"]}});
    let made = cloud.post("alice", "2.15", path, old).await["server_group"].clone();
    assert_eq!(
        (&made["policies"], &made["project_id"]),
        (&json!(["anti-affinity"]), &json!("p1"))
    );
    let group = made["id"].as_str().unwrap().to_string();
    let member = cloud
        .server(|s| s.server_group_id = Some(group.clone()))
        .await;
    let shown =
        cloud.get("alice", "2.64", &format!("{path}/{group}")).await["server_group"].clone();
    assert_eq!(
        (&shown["policy"], &shown["members"]),
        (&json!("anti-affinity"), &json!([member.id]))
    );
    let rules = json!({"server_group": {"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 2}}});
    assert_eq!(
        cloud
            .refused("alice", "2.64", "POST", path, Some(rules))
            .await
            .0,
        400
    );
    assert_eq!(
        cloud
            .refused("bob", "2.64", "GET", &format!("{path}/{group}"), None)
            .await
            .0,
        404
    );
    assert_eq!(
        cloud.get("admin", "2.64", path).await,
        json!({"server_groups": []})
    );
    assert_eq!(
        cloud
            .get("admin", "2.64", &format!("{path}?all_projects=True"))
            .await["server_groups"][0]["id"],
        group
    );
    assert_eq!(
        cloud
            .ask("alice", "2.64", "DELETE", &format!("{path}/{group}"), None)
            .await
            .0,
        204
    );
    assert_eq!(
        cloud
            .refused("alice", "2.64", "DELETE", &format!("{path}/{group}"), None)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn the_action_log() {
    let cloud = Cloud::new().await;
    let server = cloud.server(|_| {}).await;
    let ctx = RequestContext {
        user_id: Some("alice".into()),
        project_id: Some("p1".into()),
        ..RequestContext::anonymous()
    };
    let (id, now, request) = (server.id.clone(), cloud.clock.now(), ctx.request_id.clone());
    cloud
        .nova
        .db
        .write(move |tx| {
            actions::start(tx, &ctx, &id, "stop", now)?;
            actions::event(
                tx,
                &id,
                &ctx.request_id,
                "compute_stop_instance",
                Some("host1"),
                now,
                now,
                None,
            )?;
            actions::finish(tx, &id, &ctx.request_id, now, None)
        })
        .await
        .unwrap();
    let path = format!("/v2.1/servers/{}/os-instance-actions", server.id);
    let list = cloud.get("alice", "2.58", &path).await["instanceActions"].clone();
    assert_eq!(
        (&list[0]["action"], &list[0]["request_id"]),
        (&json!("stop"), &json!(request))
    );
    let one = format!("{path}/{request}");
    assert!(
        cloud.get("alice", "2.50", &one).await["instanceAction"]
            .get("events")
            .is_none()
    );
    let event = cloud.get("alice", "2.62", &one).await["instanceAction"]["events"][0].clone();
    assert!(event.get("host").is_none() && event.get("traceback").is_none());
    assert_eq!(
        (&event["result"], event["hostId"].as_str().unwrap().len()),
        (&json!("Success"), 56)
    );
    assert_eq!(
        cloud.get("admin", "2.84", &one).await["instanceAction"]["events"][0]["host"],
        "host1"
    );
    assert_eq!(
        cloud.refused("bob", "2.62", "GET", &path, None).await.0,
        404
    );
    assert_eq!(
        cloud
            .refused("alice", "2.62", "GET", &format!("{path}/req-none"), None)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn limits_of_nova_networks_time_are_kept_and_shown_as_long_as_they_were() {
    let cloud = Cloud::new().await;
    let body =
        json!({"quota_class_set": {"floating_ips": 17, "security_group_rules": 23, "cores": 30}});
    let path = "/v2.1/os-quota-class-sets/default";
    let (status, set) = cloud.ask("admin", "2.1", "PUT", path, Some(body)).await;
    let set = &set["quota_class_set"];
    assert_eq!(
        (status, &set["floating_ips"], &set["security_group_rules"]),
        (200, &json!(17), &json!(23)),
        "{set}"
    );
    assert_eq!((&set["fixed_ips"], &set["cores"]), (&json!(-1), &json!(30)));
    let new = cloud.get("admin", "2.50", path).await;
    assert!(new["quota_class_set"].get("floating_ips").is_none());

    // A project inherits them, has its own if set, and sees them among its limits.
    let own = json!({"quota_set": {"fixed_ips": 5}});
    let sets = "/v2.1/os-quota-sets/p1";
    let (status, set) = cloud.ask("admin", "2.35", "PUT", sets, Some(own)).await;
    let set = &set["quota_set"];
    assert_eq!(
        (status, &set["fixed_ips"], &set["floating_ips"]),
        (200, &json!(5), &json!(17)),
        "{set}"
    );
    let limits = cloud.get("alice", "2.35", "/v2.1/limits").await;
    let absolute = &limits["limits"]["absolute"];
    assert_eq!(
        (
            &absolute["maxTotalFloatingIps"],
            &absolute["totalFloatingIpsUsed"],
            &absolute["maxSecurityGroups"]
        ),
        (&json!(17), &json!(0), &json!(-1))
    );
    let limits = cloud.get("alice", "2.36", "/v2.1/limits").await;
    assert!(
        limits["limits"]["absolute"]
            .get("maxTotalFloatingIps")
            .is_none()
    );
}

#[tokio::test]
async fn the_usage_of_a_project_without_a_name_is_nobodys() {
    let cloud = Cloud::new().await;
    for (path, expected) in [
        ("/v2.1/os-simple-tenant-usage", 200),
        (
            "/v2.1/os-simple-tenant-usage/?start=2026-11-22T00:00:00",
            404,
        ),
        ("/v2.1/os-simple-tenant-usage/p1", 200),
    ] {
        let (status, body) = cloud.ask("admin", "2.1", "GET", path, None).await;
        assert_eq!(status, expected, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_volume_that_grew_is_in_the_action_log() {
    let cloud = Cloud::new().await;
    let server = cloud.server(|_| ()).await;
    let (id, volume) = (server.id.clone(), base::new_id());
    let device = BlockDeviceRow {
        id: base::new_id(),
        instance_id: id.clone(),
        volume_id: volume.clone(),
        attachment_id: None,
        device_name: "/dev/vdb".into(),
        boot_index: None,
        delete_on_termination: false,
        tag: None,
        size_gb: 1,
        connection_info: None,
        created_at: cloud.clock.now(),
    };
    cloud
        .nova
        .db
        .write(move |tx| tx.insert(&device))
        .await
        .unwrap();
    let event = json!({"events": [{"name": "volume-extended", "server_uuid": id, "tag": volume}]});
    let path = "/v2.1/os-server-external-events";
    let answer = cloud.post("admin", "2.51", path, event).await;
    assert_eq!(answer["events"][0]["code"], 200);
    let path = format!("/v2.1/servers/{id}/os-instance-actions");
    let list = cloud.get("alice", "2.62", &path).await;
    let action = &list["instanceActions"][0];
    assert_eq!(action["action"], "extend_volume");
    let path = format!("{path}/{}", action["request_id"].as_str().unwrap());
    let one = cloud.get("admin", "2.62", &path).await["instanceAction"].clone();
    let event = &one["events"][0];
    assert_eq!(
        (&event["event"], &event["result"], &event["host"]),
        (
            &json!("compute_extend_volume"),
            &json!("Success"),
            &json!("host1")
        )
    );
    assert!(event["finish_time"].is_string() && one["message"].is_null());
    let sizes = cloud
        .nova
        .db
        .read(|tx| tx.select::<BlockDeviceRow>(oslo_db::everything()))
        .await
        .unwrap();
    assert_eq!(sizes[0].size_gb, 7);
}
