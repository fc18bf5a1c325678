//! An operator who writes a policy file is obeyed, by every service and without a restart.

use crate::cloud::{Place, TestCloud};
use crate::wait::wait_for;
use serde_json::{Value, json};

pub async fn an_operators_policy_file_is_obeyed_at_once(place: Place) {
    let cloud = TestCloud::start(place).await;
    let admin = &cloud.admin;
    let volumes = format!("/v3/{}/volumes", admin.project_id);
    let network = json!({"network": {"name": "n"}});
    let rows: [(&str, &str, &str, &str, Option<&Value>); 6] = [
        (
            "keystone",
            "identity:list_projects",
            "identity",
            "/v3/projects",
            None,
        ),
        ("glance", "get_images", "image", "/v2/images", None),
        (
            "placement",
            "placement:resource_providers:list",
            "placement",
            "/resource_providers",
            None,
        ),
        (
            "neutron",
            "create_network",
            "network",
            "/v2.0/networks",
            Some(&network),
        ),
        (
            "nova",
            "os_compute_api:servers:index",
            "compute",
            "/v2.1/servers",
            None,
        ),
        ("cinder", "volume:get_all", "volumev3", &volumes, None),
    ];
    let folder = cloud.state.join("policy");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (file, check, denied) in [
        (true, "!", true),
        (true, "role:admin", false),
        (false, "", false),
    ] {
        for (service, rule, ..) in rows {
            let path = folder.join(format!("{service}.yaml"));
            match file {
                true => std::fs::write(path, format!("\"{rule}\": \"{check}\"\n")),
                false => std::fs::remove_file(path),
            }
            .expect("a file");
        }
        for (service, _, kind, path, body) in rows {
            wait_for(format!("{service} to follow '{check}'"), || async move {
                let method = if body.is_some() { "POST" } else { "GET" };
                let answer = admin.call(kind, method, path, body.cloned()).await;
                assert!(matches!(answer.status, 200 | 201 | 403), "{}", answer.body);
                ((answer.status == 403) == denied).then_some(())
            })
            .await;
        }
    }
}
