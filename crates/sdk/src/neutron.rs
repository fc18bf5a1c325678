//! The network service, as its neighbours need it.

use crate::client::{Caller, Sdk};
use base::{Error, Result};
use http::Method;
use neutron_types::rest::{
    FloatingIp, Network, Port, PortRequest, SecurityGroup, SecurityGroupRule, Subnet,
};
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

    /// The networks of these ids that the caller may know of.
    pub async fn networks_by_id(&self, caller: Caller<'_>, ids: &[String]) -> Result<Vec<Network>> {
        self.by_ids(caller, "networks", "id", ids).await
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

    /// The floating addresses that lead to ports.
    pub async fn floating_ips_of(
        &self,
        caller: Caller<'_>,
        ports: &[String],
    ) -> Result<Vec<FloatingIp>> {
        self.by_ids(caller, "floatingips", "port_id", ports).await
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

    /// Security groups by (name, value) filters.
    pub async fn security_groups(
        &self,
        caller: Caller<'_>,
        filters: &[(&str, &str)],
    ) -> Result<Vec<SecurityGroup>> {
        self.list(caller, "security-groups", filters).await
    }

    /// The security groups of these ids that the caller may know of.
    pub async fn security_groups_by_id(
        &self,
        caller: Caller<'_>,
        ids: &[String],
    ) -> Result<Vec<SecurityGroup>> {
        self.by_ids(caller, "security-groups", "id", ids).await
    }

    /// The ids of a project's security groups, each given by its id or its name.
    pub async fn security_group_ids(
        &self,
        caller: Caller<'_>,
        project: &str,
        wanted: &[String],
    ) -> Result<Vec<String>> {
        let groups = self
            .security_groups(caller, &[("project_id", project)])
            .await?;
        let mut ids = Vec::new();
        for name_or_id in wanted {
            let id = one_group(&groups, project, name_or_id)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// The id of a project's security group, by its id or its name.
    pub async fn security_group(
        &self,
        caller: Caller<'_>,
        project: &str,
        name_or_id: &str,
    ) -> Result<String> {
        let groups = self
            .security_groups(caller, &[("project_id", project)])
            .await?;
        one_group(&groups, project, name_or_id)
    }

    /// A new security group of the caller's project. `attributes` is the API's own object (`name`, `description`).
    pub async fn create_security_group(
        &self,
        caller: Caller<'_>,
        attributes: Value,
    ) -> Result<SecurityGroup> {
        let body = json!({"security_group": attributes});
        self.send(caller, Method::POST, "security-groups", Some(body))
            .await?
            .key("security_group")
    }

    /// Changes a security group.
    pub async fn update_security_group(
        &self,
        caller: Caller<'_>,
        id: &str,
        attributes: Value,
    ) -> Result<SecurityGroup> {
        let path = format!("security-groups/{}", percent_encode(id));
        let body = json!({"security_group": attributes});
        self.send(caller, Method::PUT, &path, Some(body))
            .await?
            .key("security_group")
    }

    /// Deletes a security group that nothing uses.
    pub async fn delete_security_group(&self, caller: Caller<'_>, id: &str) -> Result<()> {
        let path = format!("security-groups/{}", percent_encode(id));
        self.send(caller, Method::DELETE, &path, None)
            .await
            .map(drop)
    }

    /// A new rule of a security group.
    pub async fn create_security_group_rule(
        &self,
        caller: Caller<'_>,
        rule: &SecurityGroupRule,
    ) -> Result<SecurityGroupRule> {
        let body = json!({"security_group_rule": rule});
        self.send(caller, Method::POST, "security-group-rules", Some(body))
            .await?
            .key("security_group_rule")
    }

    /// Deletes a rule.
    pub async fn delete_security_group_rule(&self, caller: Caller<'_>, id: &str) -> Result<()> {
        let path = format!("security-group-rules/{}", percent_encode(id));
        self.send(caller, Method::DELETE, &path, None)
            .await
            .map(drop)
    }
}

fn one_group(groups: &[SecurityGroup], project: &str, name_or_id: &str) -> Result<String> {
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
