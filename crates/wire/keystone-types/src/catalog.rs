//! The service catalog, as it is part of a token.

use serde::{Deserialize, Serialize};

/// A service and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogService {
    /// Its addresses.
    pub endpoints: Vec<CatalogEndpoint>,
    /// The service's id.
    pub id: String,
    /// `compute`, `volumev3`, ….
    #[serde(rename = "type")]
    pub service_type: String,
    /// `nova`, `cinder`, ….
    pub name: String,
}

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEndpoint {
    /// The endpoint's id.
    pub id: String,
    /// `public`, `internal` or `admin`.
    pub interface: String,
    /// The region it is in.
    pub region_id: Option<String>,
    /// The address, with ids filled in.
    pub url: String,
    /// The region again, under its older name.
    pub region: Option<String>,
}
