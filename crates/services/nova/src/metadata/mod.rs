//! The metadata service (8775): what a guest may learn of itself. Requests come from neutron's metadata agent, which
//! signs whose guest is asking; there are no tokens here.

mod ec2;
mod network_data;
mod openstack;

pub use network_data::network_data;
pub use openstack::meta_data;

use crate::Nova;
use crate::db::block_devices::{self, BlockDeviceRow};
use crate::db::instances::{self, InstanceRow};
use base::{Error, Kind, Result};
use futures::future::BoxFuture;
use hmac::{Hmac, Mac as _};
use oslo_context::RequestContext;
use oslo_http::faults::FaultContext;
use oslo_http::{Api, ApiConfig, Authenticate, Endpoint, HeaderMap, PUBLIC, Reply, Req, get};
use oslo_policy::Enforcer;
use sha2::Sha256;
use std::sync::Arc;

/// All that the documents are made of.
struct Guest {
    instance: InstanceRow,
    volumes: Vec<BlockDeviceRow>,
    zone: String,
}

/// What a path leads to.
enum Found {
    /// A document, or a list of names.
    Text(String),
    /// A JSON document.
    Json(serde_json::Value),
    /// Bytes as the user gave them.
    Bytes(Vec<u8>),
}

/// Nobody has a token here, and every row is public.
struct Nobody;

impl Authenticate for Nobody {
    fn authenticate<'a>(&'a self, _: &'a HeaderMap) -> BoxFuture<'a, Result<RequestContext>> {
        Box::pin(async { Err(Error::unauthorized("The metadata service takes no tokens.")) })
    }
}

/// Guests' tools read plain words.
fn plain(error: &Error, _: &FaultContext<'_>) -> Reply {
    Reply::text(
        error.kind().status(),
        "text/plain; charset=utf-8",
        format!("{}\n", error.message()),
    )
}

/// The HTTP surface.
pub fn endpoint(nova: Arc<Nova>) -> Result<Arc<dyn Endpoint>> {
    let config = ApiConfig {
        auth_first: false,
        strict_content_type: false,
        ..ApiConfig::new("nova-metadata", plain)
    };
    let rows = vec![get("/", PUBLIC, serve), get("/{path*}", PUBLIC, serve)];
    let nobody = Arc::new(Enforcer::new("[]", None)?);
    Ok(Arc::new(Api::new(
        nova,
        config,
        rows,
        Arc::new(Nobody),
        nobody,
        None,
    )?))
}

fn not_found() -> Error {
    Error::not_found("The resource could not be found.")
}

async fn serve(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let path: Vec<String> = req
        .path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(|s| oslo_http::percent_decode(s, false))
        .collect::<Result<_>>()?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    // The list of versions is the same for everybody, so load balancers may ask for it.
    if path.is_empty() {
        return Ok(Reply::text(200, "text/plain", ec2::versions()));
    }
    let guest = guest(&nova, &req).await?;
    let found = match path.split_first() {
        Some((&"openstack", rest)) => openstack::lookup(&guest, rest),
        Some((version, rest)) => ec2::lookup(&guest, version, rest),
        None => None,
    };
    Ok(match found.ok_or_else(not_found)? {
        Found::Text(text) => Reply::text(200, "text/plain; charset=utf-8", text),
        Found::Json(value) => Reply::ok(&value)?,
        Found::Bytes(bytes) => Reply::text(200, "application/octet-stream", bytes),
    })
}

/// Whether `signature` is the agent's word for `instance_id`; compared in constant time.
fn signed(secret: &str, instance_id: &str, signature: &str) -> bool {
    let bytes: Option<Vec<u8>> = (0..signature.len())
        .step_by(2)
        .map(|i| {
            signature
                .get(i..i + 2)
                .and_then(|h| u8::from_str_radix(h, 16).ok())
        })
        .collect();
    let (Some(bytes), Ok(mut mac)) = (bytes, Hmac::<Sha256>::new_from_slice(secret.as_bytes()))
    else {
        return false;
    };
    mac.update(instance_id.as_bytes());
    !secret.is_empty() && mac.verify_slice(&bytes).is_ok()
}

async fn guest(nova: &Nova, req: &Req) -> Result<Guest> {
    let header = |name: &str| {
        let missing = || Error::bad_request(format!("{name} header is missing from request."));
        req.header(&name.to_ascii_lowercase())
            .filter(|v| !v.is_empty())
            .map(str::to_string)
            .ok_or_else(missing)
    };
    let (id, project) = (header("X-Instance-ID")?, header("X-Tenant-ID")?);
    let signature = req.header("x-instance-id-signature").unwrap_or("");
    if !signed(
        nova.conf.metadata_proxy_shared_secret.expose(),
        &id,
        signature,
    ) {
        tracing::warn!(instance = %id, "metadata request with a wrong signature");
        return Err(Error::new(
            Kind::Forbidden,
            "Invalid proxy request signature.",
        ));
    }
    let default_zone = nova.conf.default_availability_zone.clone();
    nova.db
        .read(move |tx| {
            let found = instances::find(tx, &id)?.filter(|i| i.project_id == project);
            let instance = found.ok_or_else(not_found)?;
            let volumes = block_devices::of_instance(tx, &instance.id)?;
            let zone = instance
                .availability_zone
                .clone()
                .unwrap_or_else(|| default_zone.clone());
            Ok(Guest {
                instance,
                volumes,
                zone,
            })
        })
        .await
}

/// The guest's own name with the domain that upstream's DHCP gives it.
fn fqdn(instance: &InstanceRow) -> String {
    format!("{}.novalocal", instance.hostname)
}

/// What the user gave at boot, decoded.
fn user_data(instance: &InstanceRow) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = instance.user_data.as_deref().filter(|t| !t.is_empty())?;
    let clean: String = text.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(clean).ok()
}

#[cfg(test)]
mod tests {
    use super::signed;

    #[test]
    fn signatures() {
        // printf i1 | openssl dgst -sha256 -hmac s3
        let good = "1fab4f0eee31fd9372478dc4d065d9f40017310e035616d508b1fea3f7432738";
        assert!(signed("s3", "i1", good));
        for bad in ["", "zz", "1fab", &good[..62]] {
            assert!(!signed("s3", "i1", bad), "{bad}");
        }
        assert!(!signed("s3", "i2", good));
        // Without a secret nobody can sign.
        assert!(!signed(
            "",
            "i1",
            "1c922e9901fd2035885891fd1437a511dcccb11e45cfbfbc8c088bfee4fa70ac"
        ));
    }
}
