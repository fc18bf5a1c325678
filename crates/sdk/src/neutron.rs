//! The network service, as its neighbours need it.

use crate::client::{Caller, Sdk};
use base::{Error, Result};
use http::Method;
use neutron_types::rest::{Network, Port, PortRequest, SecurityGroup, Subnet};
use oslo_http::percent_encode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The network service's typed client, from [`Sdk::neutron`].
pub struct NeutronClient {
    sdk: Sdk,
}

impl Sdk {
    /// The network service.
    pub fn neutron(&self) -> NeutronClient {
        NeutronClient { sdk: self.clone() }
    }
}

/// Ids in one list request: they are in the URL, which must not grow without bound.
const IDS_AT_ONCE: usize = 100;

impl NeutronClient {
    async fn send(
        &self,
        caller: Caller<'_>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<crate::Answer> {
        let path = format!("/v2.0/{path}");
        self.sdk
            .request(caller, "network", method, &path, body)
            .await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        caller: Caller<'_>,
        plural: &str,
        filters: &[(&str, &str)],
    ) -> Result<Vec<T>> {
        let pair = |(name, value): &(&str, &str)| format!("{name}={}", percent_encode(value));
        let query = filters.iter().map(pair).collect::<Vec<_>>().join("&");
        let answer = self
            .send(caller, Method::GET, &format!("{plural}?{query}"), None)
            .await?;
        answer.key(&plural.replace('-', "_"))
    }

    async fn by_ids<T: DeserializeOwned>(
        &self,
        caller: Caller<'_>,
        plural: &str,
        name: &str,
        ids: &[String],
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        for some in ids.chunks(IDS_AT_ONCE) {
            let filters: Vec<(&str, &str)> = some.iter().map(|id| (name, id.as_str())).collect();
            found.extend(self.list::<T>(caller, plural, &filters).await?);
        }
        Ok(found)
    }

    /// A network; 404 if this caller may not know of it.
    pub async fn network(&self, caller: Caller<'_>, id: &str) -> Result<Network> {
        let path = format!("networks/{}", percent_encode(id));
        self.send(caller, Method::GET, &path, None)
            .await?
            .key("network")
    }

    /// Networks by (name, value) filters.
    pub async fn networks(
        &self,
        caller: Caller<'_>,
        filters: &[(&str, &str)],
    ) -> Result<Vec<Network>> {
        self.list(caller, "networks", filters).await
    }

    /// The subnets of networks.
    pub async fn subnets_of(&self, caller: Caller<'_>, networks: &[String]) -> Result<Vec<Subnet>> {
        self.by_ids(caller, "subnets", "network_id", networks).await
    }

    /// A port.
    pub async fn port(&self, caller: Caller<'_>, id: &str) -> Result<Port> {
        let path = format!("ports/{}", percent_encode(id));
        self.send(caller, Method::GET, &path, None)
            .await?
            .key("port")
    }

    /// The ports of devices.
    pub async fn ports_of(&self, caller: Caller<'_>, devices: &[String]) -> Result<Vec<Port>> {
        self.by_ids(caller, "ports", "device_id", devices).await
    }

    /// Makes a port.
    pub async fn create_port(&self, caller: Caller<'_>, port: &PortRequest) -> Result<Port> {
        let body = json!({"port": port});
        self.send(caller, Method::POST, "ports", Some(body))
            .await?
            .key("port")
    }

    /// Changes a port.
    pub async fn update_port(
        &self,
        caller: Caller<'_>,
        id: &str,
        port: &PortRequest,
    ) -> Result<Port> {
        let path = format!("ports/{}", percent_encode(id));
        let body = json!({"port": port});
        self.send(caller, Method::PUT, &path, Some(body))
            .await?
            .key("port")
    }

    /// Deletes a port; success if there is none.
    pub async fn delete_port(&self, caller: Caller<'_>, id: &str) -> Result<()> {
        let path = format!("ports/{}", percent_encode(id));
        match self.send(caller, Method::DELETE, &path, None).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Deletes every port of a device.
    pub async fn delete_ports_of(&self, caller: Caller<'_>, device: &str) -> Result<()> {
        for port in self.ports_of(caller, &[device.to_string()]).await? {
            self.delete_port(caller, &port.id).await?;
        }
        Ok(())
    }

    /// The id of a project's security group, by its id or its name.
    pub async fn security_group(
        &self,
        caller: Caller<'_>,
        project: &str,
        name_or_id: &str,
    ) -> Result<String> {
        let groups: Vec<SecurityGroup> = self
            .list(caller, "security-groups", &[("project_id", project)])
            .await?;
        let named: Vec<&SecurityGroup> = groups
            .iter()
            .filter(|g| g.id == name_or_id || g.name == name_or_id)
            .collect();
        let by_id = named.iter().find(|g| g.id == name_or_id);
        match (by_id, named.as_slice()) {
            (Some(group), _) => Ok(group.id.clone()),
            (None, [group]) => Ok(group.id.clone()),
            (None, []) => {
                let words = format!("Security group {name_or_id} not found for project {project}.");
                Err(Error::not_found(words).class("SecurityGroupNotFound"))
            }
            (None, _) => {
                let words = format!(
                    "Multiple security groups found matching '{name_or_id}'. Use an ID to be more specific."
                );
                Err(Error::conflict(words).class("NoUniqueMatch"))
            }
        }
    }
}
