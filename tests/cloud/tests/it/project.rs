//! A project with its people, and what they need before the first server: flavor, image, network.

use crate::client::{Answer, Client, id, text};
use crate::cloud::TestCloud;
use crate::wait::wait_for;
use serde_json::{Value, json};

/// A project and a user for each role on it.
pub struct Project {
    pub id: String,
    pub admin: Client,
    pub manager: Client,
    pub member: Client,
    pub reader: Client,
}

/// What a server is made of.
#[derive(Clone)]
pub struct Seed {
    pub flavor: String,
    pub image: String,
    pub network: String,
    pub subnet: String,
}

impl TestCloud {
    pub async fn project(&self, name: &str) -> Project {
        let body = json!({"project": {"name": name, "domain_id": "default"}});
        let id = self
            .admin
            .post("identity", "/v3/projects", body)
            .await
            .expect(201)
            .id("project");
        let user = async |role: &str| self.user(&format!("{name}-{role}"), &id, name, role).await;
        Project {
            admin: user("admin").await,
            manager: user("manager").await,
            member: user("member").await,
            reader: user("reader").await,
            id,
        }
    }

    /// Flavor `m1.tiny` and image `cirros` for everybody, and a network of the project's own.
    pub async fn seed(&self, project: &Project) -> Seed {
        let (network, subnet) = project.member.network("private", "10.1.0.0/24").await;
        Seed {
            flavor: self.flavor("m1.tiny", 1, 64).await,
            image: self.image("cirros").await,
            network,
            subnet,
        }
    }

    pub async fn flavor(&self, name: &str, vcpus: u64, ram: u64) -> String {
        let listed = self
            .admin
            .get("compute", "/v2.1/flavors?is_public=None")
            .await
            .list("flavors");
        if let Some(there) = listed.iter().find(|f| f["name"] == name) {
            return id(there);
        }
        let body = json!({"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": 1}});
        self.admin
            .post("compute", "/v2.1/flavors", body)
            .await
            .expect(200)
            .id("flavor")
    }

    pub async fn image(&self, name: &str) -> String {
        let listed = self
            .admin
            .get("image", &format!("/v2/images?name={name}"))
            .await
            .list("images");
        if let Some(there) = listed.first() {
            return id(there);
        }
        self.admin.image(name, "public").await
    }

    /// An external network with addresses to give away.
    pub async fn external(&self) -> String {
        let body = json!({"network": {"name": "public", "router:external": true,
            "provider:network_type": "flat", "provider:physical_network": "public"}});
        let network = self
            .admin
            .post("network", "/v2.0/networks", body)
            .await
            .expect(201)
            .id("network");
        let body = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "172.24.4.0/24", "enable_dhcp": false}});
        self.admin
            .post("network", "/v2.0/subnets", body)
            .await
            .expect(201);
        network
    }

    /// What placement has given to a consumer: resource class to amount.
    pub async fn allocation(&self, consumer: &str) -> Value {
        let answer = self
            .admin
            .get("placement", &format!("/allocations/{consumer}"))
            .await
            .expect(200);
        let all = answer["allocations"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        all.values()
            .next()
            .map_or(Value::Null, |a| a["resources"].clone())
    }
}

impl Client {
    /// A small raw image, uploaded.
    pub async fn image(&self, name: &str, visibility: &str) -> String {
        let body = json!({"name": name, "disk_format": "raw", "container_format": "bare", "visibility": visibility});
        let image = id(&self
            .post("image", "/v2/images", body)
            .await
            .expect(201)
            .body);
        self.upload("image", &format!("/v2/images/{image}/file"), vec![0; 4096])
            .await
            .expect(204);
        image
    }

    /// A network with a subnet.
    pub async fn network(&self, name: &str, cidr: &str) -> (String, String) {
        let body = json!({"network": {"name": name}});
        let network = self
            .post("network", "/v2.0/networks", body)
            .await
            .expect(201)
            .id("network");
        let body = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr}});
        let subnet = self
            .post("network", "/v2.0/subnets", body)
            .await
            .expect(201)
            .id("subnet");
        (network, subnet)
    }

    /// A create request for a server, with `extra` over the usual.
    pub async fn create_server(&self, seed: &Seed, name: &str, extra: Value) -> Answer {
        let mut server = json!({"name": name, "flavorRef": seed.flavor, "imageRef": seed.image,
            "networks": [{"uuid": seed.network}]});
        let mut body = json!({});
        for (key, value) in extra.as_object().into_iter().flatten() {
            match key.as_str() {
                "os:scheduler_hints" => body[key] = value.clone(),
                _ => server[key] = value.clone(),
            }
        }
        body["server"] = server;
        self.post("compute", "/v2.1/servers", body).await
    }

    /// A server that is ACTIVE.
    pub async fn boot(&self, seed: &Seed, name: &str) -> Value {
        let server = self
            .create_server(seed, name, json!({}))
            .await
            .expect(202)
            .id("server");
        self.wait_server(&server, "ACTIVE").await
    }

    pub async fn server(&self, id: &str) -> Value {
        self.get("compute", &format!("/v2.1/servers/{id}"))
            .await
            .expect(200)
            .key("server")
    }

    /// Waits until nobody works on the server any more; it must be in `status` then.
    pub async fn wait_server(&self, id: &str, status: &str) -> Value {
        let server = wait_for(format!("server {id} to be {status}"), || async move {
            let server = self.server(id).await;
            let quiet = server["OS-EXT-STS:task_state"].is_null() && server["status"] != "BUILD";
            quiet.then_some(server)
        })
        .await;
        assert_eq!(server["status"], status, "{}", server["fault"]);
        server
    }

    pub async fn wait_server_gone(&self, id: &str) {
        wait_for(format!("server {id} to be gone"), || async move {
            (self
                .get("compute", &format!("/v2.1/servers/{id}"))
                .await
                .status
                == 404)
                .then_some(())
        })
        .await;
    }

    pub async fn delete_server(&self, id: &str) {
        self.delete("compute", &format!("/v2.1/servers/{id}"))
            .await
            .expect(204);
        self.wait_server_gone(id).await;
    }

    /// `POST /servers/{id}/action`.
    pub async fn act(&self, server: &str, action: &str, arguments: Value) -> Answer {
        self.post(
            "compute",
            &format!("/v2.1/servers/{server}/action"),
            json!({action: arguments}),
        )
        .await
    }

    fn volumes(&self, rest: &str) -> String {
        format!("/v3/{}/volumes{rest}", self.project_id)
    }

    /// A volume that is available.
    pub async fn volume(&self, size: u64) -> String {
        let body = json!({"volume": {"size": size, "name": "data"}});
        let volume = self
            .post("volumev3", &self.volumes(""), body)
            .await
            .expect(202)
            .id("volume");
        self.wait_volume(&volume, "available").await;
        volume
    }

    pub async fn show_volume(&self, id: &str) -> Answer {
        self.get("volumev3", &self.volumes(&format!("/{id}"))).await
    }

    pub async fn volume_action(&self, id: &str, action: &str, arguments: Value) -> Answer {
        self.post(
            "volumev3",
            &self.volumes(&format!("/{id}/action")),
            json!({action: arguments}),
        )
        .await
    }

    pub async fn delete_volume(&self, id: &str) -> Answer {
        self.delete("volumev3", &self.volumes(&format!("/{id}")))
            .await
    }

    pub async fn wait_volume(&self, id: &str, status: &str) -> Value {
        wait_for(format!("volume {id} to be {status}"), || async move {
            let volume = self.show_volume(id).await.expect(200).key("volume");
            let failed = volume["status"]
                .as_str()
                .is_some_and(|s| s.starts_with("error"));
            assert!(!failed || status.starts_with("error"), "{volume}");
            (volume["status"] == status).then_some(volume)
        })
        .await
    }

    pub async fn attach_volume(&self, server: &str, volume: &str) -> Answer {
        let body = json!({"volumeAttachment": {"volumeId": volume}});
        self.post(
            "compute",
            &format!("/v2.1/servers/{server}/os-volume_attachments"),
            body,
        )
        .await
    }

    pub async fn detach_volume(&self, server: &str, volume: &str) -> Answer {
        self.delete(
            "compute",
            &format!("/v2.1/servers/{server}/os-volume_attachments/{volume}"),
        )
        .await
    }

    /// A server's ports.
    pub async fn ports_of(&self, server: &str) -> Vec<Value> {
        self.get("network", &format!("/v2.0/ports?device_id={server}"))
            .await
            .expect(200)
            .list("ports")
    }
}

/// (address, `fixed` or `floating`) of a server, sorted.
pub fn addresses(server: &Value) -> Vec<(String, String)> {
    let networks = server["addresses"].as_object().cloned().unwrap_or_default();
    let all = networks
        .values()
        .flat_map(|list| list.as_array().cloned().unwrap_or_default());
    let mut all: Vec<_> = all
        .map(|a| (text(&a, "addr"), text(&a, "OS-EXT-IPS:type")))
        .collect();
    all.sort();
    all
}
