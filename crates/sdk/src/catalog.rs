//! What keystone knows beside tokens: where services are, in other regions too, and how much of something a project
//! may have.

use crate::client::{Caller, Sdk};
use crate::fault;
use crate::transport::{Http, Transport};
use base::{Error, Result, Secret};
use http::Method;
use oslo_http::{Body, percent_encode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Where a service is, as a token's catalog has it.
#[derive(Clone, Debug)]
pub struct CatalogEndpoint {
    /// The service's id.
    pub service_id: String,
    /// `RegionOne`.
    pub region: String,
    /// `public`, `internal`, `admin`.
    pub interface: String,
    /// Its address.
    pub url: String,
}

#[derive(Deserialize)]
struct Service {
    id: String,
    r#type: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    region_id: Option<String>,
    interface: String,
    url: String,
}

#[derive(Deserialize)]
struct RegisteredLimit {
    resource_name: String,
    region_id: Option<String>,
    default_limit: i64,
}

#[derive(Deserialize)]
struct Limit {
    resource_name: String,
    region_id: Option<String>,
    resource_limit: i64,
}

impl Sdk {
    /// The endpoints of a type of service in the catalog of the caller's token.
    pub async fn endpoints(
        &self,
        caller: Caller<'_>,
        service_type: &str,
    ) -> Result<Vec<CatalogEndpoint>> {
        let path = "/v3/auth/catalog";
        let answer = self.request(caller, "identity", Method::GET, path, None);
        let catalog: Vec<Service> = answer.await?.key("catalog")?;
        let services = catalog.into_iter().filter(|s| s.r#type == service_type);
        let endpoints = services.flat_map(|service| {
            let id = service.id;
            let endpoint = move |e: Endpoint| CatalogEndpoint {
                service_id: id.clone(),
                region: e.region_id.unwrap_or_default(),
                interface: e.interface,
                url: e.url,
            };
            service.endpoints.into_iter().map(endpoint)
        });
        Ok(endpoints.collect())
    }

    /// What a project may have of a service's resources in a region: its own limits, else those that are registered
    /// for all; those of the region, else those of no region. A resource that is absent has no limit registered.
    pub async fn unified_limits(
        &self,
        service_type: &str,
        region: &str,
        project: &str,
    ) -> Result<BTreeMap<String, i64>> {
        let endpoints = self.endpoints(Caller::Service, service_type).await?;
        let mut here = endpoints.iter().filter(|e| e.region == region);
        let service = here.next().ok_or_else(|| {
            Error::internal(format!(
                "the catalog has no {service_type} service in region {region}"
            ))
        })?;
        let service = percent_encode(&service.service_id);
        let registered = format!("/v3/registered_limits?service_id={service}");
        let own = format!(
            "/v3/limits?service_id={service}&project_id={}",
            percent_encode(project)
        );
        let get = |path: String| async move {
            let caller = Caller::Service;
            self.request(caller, "identity", Method::GET, &path, None)
                .await
        };
        let (registered, own) = tokio::try_join!(get(registered), get(own))?;
        let registered: Vec<RegisteredLimit> = registered.key("registered_limits")?;
        let own: Vec<Limit> = own.key("limits")?;
        let mut limits = BTreeMap::new();
        for place in [None, Some(region)] {
            let there = registered
                .iter()
                .filter(|l| l.region_id.as_deref() == place);
            limits.extend(there.map(|l| (l.resource_name.clone(), l.default_limit)));
            let there = own.iter().filter(|l| l.region_id.as_deref() == place);
            limits.extend(there.map(|l| (l.resource_name.clone(), l.resource_limit)));
        }
        Ok(limits)
    }
}

/// Asks an endpoint of another region, or of a service that is none of ours, with the user's token and nothing of ours; what the catalog says is the
/// operator's word. `ca`: authorities (PEM) that are trusted besides the machine's own.
pub async fn get_at(
    service: &str,
    endpoint: &str,
    ca: Option<&Path>,
    token: &Secret,
    path: &str,
    accept: &str,
) -> Result<Body> {
    let urls = [(service.to_string(), endpoint.to_string())].into();
    let there = Http::trusting(urls, ca)?;
    let request = http::Request::get(path)
        .header("x-auth-token", token.expose())
        .header("accept", accept)
        .body(Body::Empty)
        .map_err(Error::internal)?;
    let reply = there.send(service, request).await?;
    let status = reply.status.as_u16();
    if (200..300).contains(&status) {
        return Ok(reply.body);
    }
    let body = reply.body.collect(1 << 20).await?;
    Err(fault::parse(service, status, &body))
}
