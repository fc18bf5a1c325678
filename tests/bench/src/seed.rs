//! What the lists are lists of.

use crate::cloud::Cloud;
use crate::http::{Client, request};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A cloud with things in it.
pub struct Seeded {
    pub token: String,
    pub project: String,
    pub network: String,
    pub flavor: String,
    pub image: String,
}

/// The body of a password login.
pub fn login(password: &str) -> Value {
    let domain = json!({"name": "Default"});
    json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "password": password, "domain": domain}}},
        "scope": {"project": {"name": "admin", "domain": domain}}}})
}

/// Asks once and insists on a 2xx.
pub async fn ask(
    cloud: &Cloud,
    token: &str,
    service: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Result<Value> {
    let mut client = Client::connect(cloud.url(service)?).await?;
    let answer = client
        .send(&request(method, path, token, headers, body.as_ref()))
        .await?;
    if !(200..300).contains(&answer.status) {
        bail!(
            "{method} {service} {path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
    let mut value = answer.json();
    if let (Some(token), Some(map)) = (answer.header("x-subject-token"), value.as_object_mut()) {
        map.insert("subject".into(), json!(token));
    }
    Ok(value)
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or("").to_string()
}

/// 20 projects, 10 images, 10 networks, 100 ports, 100 volumes, 100 servers.
pub async fn seed(cloud: &Cloud) -> Result<Seeded> {
    let body = ask(
        cloud,
        "",
        "identity",
        "POST",
        "/v3/auth/tokens",
        &[],
        Some(login(&cloud.password)),
    )
    .await?;
    let token = text(&body["subject"]);
    let project = text(&body["token"]["project"]["id"]);
    let t = token.as_str();
    for i in 0..18 {
        ask(
            cloud,
            t,
            "identity",
            "POST",
            "/v3/projects",
            &[],
            Some(json!({"project": {"name": format!("p{i}")}})),
        )
        .await?;
    }
    let mut image = String::new();
    for i in 0..10 {
        let made = ask(
            cloud,
            t,
            "image",
            "POST",
            "/v2/images",
            &[],
            Some(
                json!({"name": format!("i{i}"), "disk_format": "raw", "container_format": "bare"}),
            ),
        )
        .await?;
        image = text(&made["id"]);
    }
    upload(cloud, t, &image).await?;
    let mut network = String::new();
    for i in 0..10 {
        let made = ask(
            cloud,
            t,
            "network",
            "POST",
            "/v2.0/networks",
            &[],
            Some(json!({"network": {"name": format!("n{i}")}})),
        )
        .await?;
        network = text(&made["network"]["id"]);
    }
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}});
    ask(
        cloud,
        t,
        "network",
        "POST",
        "/v2.0/subnets",
        &[],
        Some(subnet),
    )
    .await?;
    let flavor = ask(
        cloud,
        t,
        "compute",
        "POST",
        "/v2.1/flavors",
        &[],
        Some(json!({"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1}})),
    )
    .await?;
    let flavor = text(&flavor["flavor"]["id"]);
    wait_for(
        cloud,
        t,
        "compute",
        "/v2.1/os-services?binary=nova-compute",
        |v| v["services"][0]["state"] == "up",
    )
    .await?;
    wait_for(cloud, t, "network", "/v2.0/agents", |v| {
        v["agents"].as_array().is_some_and(|a| a.len() >= 3)
    })
    .await?;
    let seeded = Seeded {
        token: token.clone(),
        project: project.clone(),
        network,
        flavor,
        image,
    };
    for _ in 0..100 {
        ask(
            cloud,
            t,
            "compute",
            "POST",
            "/v2.1/servers",
            &[],
            Some(server(&seeded)),
        )
        .await?;
    }
    for i in 0..100 {
        let body = json!({"volume": {"name": format!("v{i}"), "size": 1}});
        ask(
            cloud,
            t,
            "volumev3",
            "POST",
            &format!("/v3/{project}/volumes"),
            &[],
            Some(body),
        )
        .await?;
    }
    wait_for(cloud, t, "compute", "/v2.1/servers?status=ACTIVE", |v| {
        v["servers"].as_array().is_some_and(|s| s.len() >= 100)
    })
    .await?;
    Ok(seeded)
}

/// A boot request.
pub fn server(seeded: &Seeded) -> Value {
    json!({"server": {"name": "s", "imageRef": seeded.image, "flavorRef": seeded.flavor, "networks": [{"uuid": seeded.network}]}})
}

async fn upload(cloud: &Cloud, token: &str, image: &str) -> Result<()> {
    let mut client = Client::connect(cloud.url("image")?).await?;
    let head = format!(
        "PUT /v2/images/{image}/file HTTP/1.1\r\nhost: bench\r\nx-auth-token: {token}\r\ncontent-type: application/octet-stream\r\ncontent-length: 1024\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&[0u8; 1024]);
    let answer = client.send(&bytes).await?;
    if answer.status != 204 {
        bail!(
            "upload: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
    Ok(())
}

/// Asks until `good`.
pub async fn wait_for(
    cloud: &Cloud,
    token: &str,
    service: &str,
    path: &str,
    good: impl Fn(&Value) -> bool,
) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        if good(&ask(cloud, token, service, "GET", path, &[], None).await?) {
            return Ok(());
        }
        if Instant::now() > limit {
            bail!("{service} {path} did not become as expected within two minutes");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// So many hosts in placement.
pub async fn providers(cloud: &Cloud, token: &str, from: usize, to: usize) -> Result<()> {
    let mut client = Client::connect(cloud.url("placement")?).await?;
    let version = [("openstack-api-version", "placement 1.36")];
    for i in from..to {
        let body = json!({"name": format!("host{i}")});
        let made = client
            .send(&request(
                "POST",
                "/resource_providers",
                token,
                &version,
                Some(&body),
            ))
            .await?
            .json();
        let path = format!("/resource_providers/{}/inventories", text(&made["uuid"]));
        let one = |total: u64| json!({"total": total, "allocation_ratio": 4.0});
        let body = json!({"resource_provider_generation": made["generation"],
            "inventories": {"VCPU": one(32), "MEMORY_MB": one(131072), "DISK_GB": one(1000)}});
        let answer = client
            .send(&request("PUT", &path, token, &version, Some(&body)))
            .await?;
        if answer.status != 200 {
            bail!(
                "inventory: {} {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
    Ok(())
}
