//! Cinder as nova needs it: attachments (microversion 3.44 and later), so that a volume's state is cinder's business.

use crate::Nova;
use crate::db::compute_nodes::ComputeNodeRow;
use base::{Error, Kind, Result};
use oslo_context::RequestContext;
use oslo_db::eq;
use oslo_http::percent_encode;
use sdk::{Caller, Method, Sdk};
use serde::Deserialize;
use serde_json::{Value, json};

/// A volume, as far as nova looks.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume {
    /// Id.
    pub id: String,
    /// Status.
    pub status: String,
    /// GiB.
    pub size: i64,
    /// Whether it may be attached more than once.
    #[serde(default)]
    pub multiattach: bool,
    /// `"true"` or `"false"`.
    #[serde(default)]
    pub bootable: String,
    /// Zone.
    #[serde(default)]
    pub availability_zone: Option<String>,
}

fn cinder(sdk: &Sdk) -> Sdk {
    sdk.with_version("3.44")
}

/// A volume, with the user's own eyes.
pub async fn get(sdk: &Sdk, ctx: &RequestContext, id: &str) -> Result<Volume> {
    let path = format!(
        "/v3/{}/volumes/{}",
        percent_encode(ctx.project()),
        percent_encode(id)
    );
    let answer = cinder(sdk)
        .request(Caller::User(ctx), "volumev3", Method::GET, &path, None)
        .await;
    match answer {
        Err(e) if e.kind() == Kind::NotFound => {
            Err(Error::not_found(format!("Volume {id} could not be found.")))
        }
        other => other?.key("volume"),
    }
}

/// Makes a volume in the user's name; it need not be finished.
pub async fn create(sdk: &Sdk, ctx: &RequestContext, volume: Value) -> Result<Volume> {
    let path = format!("/v3/{}/volumes", percent_encode(ctx.project()));
    let body = json!({"volume": volume});
    cinder(sdk)
        .request(
            Caller::User(ctx),
            "volumev3",
            Method::POST,
            &path,
            Some(body),
        )
        .await?
        .key("volume")
}

/// A volume, with the service's own eyes.
pub async fn show(sdk: &Sdk, id: &str) -> Result<Volume> {
    let path = format!("/v3/volumes/{}", percent_encode(id));
    sdk.with_version("3.67")
        .request(Caller::Service, "volumev3", Method::GET, &path, None)
        .await?
        .key("volume")
}

/// Deletes a volume that nobody will have; false if it is still being made, so that it must be tried again.
pub async fn discard(sdk: &Sdk, id: &str) -> Result<bool> {
    let found = match show(sdk, id).await {
        Err(e) if e.is_not_found() => return Ok(true),
        other => other?,
    };
    if matches!(found.status.as_str(), "creating" | "downloading") {
        return Ok(false);
    }
    let path = format!("/v3/volumes/{}", percent_encode(id));
    let gone = sdk
        .with_version("3.67")
        .request(Caller::Service, "volumev3", Method::DELETE, &path, None)
        .await;
    match gone {
        Err(e) if e.is_not_found() => Ok(true),
        Err(e) if matches!(e.kind(), Kind::BadRequest | Kind::Conflict) => {
            tracing::warn!(
                volume.id = id,
                "stays, though its server came to nothing: {e}"
            );
            Ok(true)
        }
        other => other.map(|_| true),
    }
}

/// The size of a volume, GiB, with the service's own eyes.
pub async fn size(sdk: &Sdk, project: &str, id: &str) -> Result<i64> {
    let path = format!(
        "/v3/{}/volumes/{}",
        percent_encode(project),
        percent_encode(id)
    );
    let volume: Volume = cinder(sdk)
        .request(Caller::Service, "volumev3", Method::GET, &path, None)
        .await?
        .key("volume")?;
    Ok(volume.size)
}

/// Reserves the volume for the server, in the user's name; the attachment's id.
pub async fn reserve(
    sdk: &Sdk,
    ctx: &RequestContext,
    volume_id: &str,
    instance_id: &str,
) -> Result<String> {
    let project = ctx.project();
    reserve_as(sdk, Caller::User(ctx), project, volume_id, instance_id).await
}

/// The same in the service's name.
pub async fn reserve_for(
    sdk: &Sdk,
    project: &str,
    volume_id: &str,
    instance_id: &str,
) -> Result<String> {
    // What an earlier try reserved and could not remember.
    release_all(sdk, volume_id, instance_id, None).await?;
    reserve_as(sdk, Caller::Service, project, volume_id, instance_id).await
}

async fn reserve_as(
    sdk: &Sdk,
    caller: Caller<'_>,
    project: &str,
    volume_id: &str,
    instance_id: &str,
) -> Result<String> {
    let body = json!({"attachment": {"volume_uuid": volume_id, "instance_uuid": instance_id, "connector": null}});
    let path = format!("/v3/{}/attachments", percent_encode(project));
    let attachment: Value = cinder(sdk)
        .request(caller, "volumev3", Method::POST, &path, Some(body))
        .await?
        .key("attachment")?;
    attachment["id"]
        .as_str()
        .map(str::to_string)
        .ok_or_else(|| Error::internal("an attachment without id"))
}

/// Tells cinder who connects; its answer says how to reach the volume.
pub async fn connect(
    nova: &Nova,
    sdk: &Sdk,
    project: &str,
    attachment_id: &str,
    host: &str,
    device: &str,
) -> Result<Value> {
    let name = host.to_string();
    let node = nova
        .db
        .read(move |tx| tx.find::<ComputeNodeRow>(eq("host", name.as_str())))
        .await?;
    let ip = node.map_or_else(|| "127.0.0.1".to_string(), |n| n.host_ip);
    let connector = json!({"host": host, "ip": ip, "initiator": format!("iqn.1993-08.org.debian:01:{host}"),
        "multipath": false, "platform": "x86_64", "os_type": "linux", "mountpoint": format!("/dev/{device}"), "mode": "rw"});
    let path = format!(
        "/v3/{}/attachments/{attachment_id}",
        percent_encode(project)
    );
    let body = json!({"attachment": {"connector": connector}});
    let attachment: Value = cinder(sdk)
        .request(Caller::Service, "volumev3", Method::PUT, &path, Some(body))
        .await?
        .key("attachment")?;
    Ok(attachment["connection_info"].clone())
}

/// Tells cinder that the guest has the volume.
pub async fn complete(sdk: &Sdk, project: &str, attachment_id: &str) -> Result<()> {
    let path = format!(
        "/v3/{}/attachments/{attachment_id}/action",
        percent_encode(project)
    );
    cinder(sdk)
        .request(
            Caller::Service,
            "volumev3",
            Method::POST,
            &path,
            Some(json!({"os-complete": {}})),
        )
        .await
        .map(|_| ())
}

/// Gives the volume back; success if there is no such attachment. Without a project in the path, because the server
/// (and with it what nova knows of its project) may be gone by now.
pub async fn release(sdk: &Sdk, attachment_id: &str) -> Result<()> {
    let path = format!("/v3/attachments/{attachment_id}");
    let gone = sdk
        .with_version("3.67")
        .request(Caller::Service, "volumev3", Method::DELETE, &path, None)
        .await;
    match gone {
        Err(e) if e.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Gives back whatever the server has reserved of the volume, whoever asked.
pub async fn release_all(
    sdk: &Sdk,
    volume_id: &str,
    instance_id: &str,
    except: Option<&str>,
) -> Result<()> {
    let sdk = sdk.with_version("3.67");
    let path = format!(
        "/v3/attachments?all_tenants=1&volume_id={}&instance_id={}",
        percent_encode(volume_id),
        percent_encode(instance_id)
    );
    let answer = sdk
        .request(Caller::Service, "volumev3", Method::GET, &path, None)
        .await?;
    let all: Vec<Value> = answer.key("attachments")?;
    for id in all
        .iter()
        .filter_map(|a| a["id"].as_str())
        .filter(|id| Some(*id) != except)
    {
        release(&sdk, id).await?;
    }
    Ok(())
}

/// Deletes a volume (`delete_on_termination`); success if there is none. One that cannot be deleted now (an earlier try
/// did it, somebody else has it) must not keep its server from being deleted, as upstream has it.
pub async fn delete(sdk: &Sdk, project: &str, volume_id: &str) -> Result<()> {
    let path = format!("/v3/{}/volumes/{volume_id}", percent_encode(project));
    match cinder(sdk)
        .request(Caller::Service, "volumev3", Method::DELETE, &path, None)
        .await
    {
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) if matches!(e.kind(), Kind::BadRequest | Kind::Conflict) => {
            tracing::warn!(
                volume.id = volume_id,
                "stays, though it ends with its server: {e}"
            );
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

/// connection_info without the wrapping that cinder adds for API users: `{driver_volume_type, data}`.
pub fn connection(info: &Value) -> Value {
    if info.get("data").is_some() {
        return info.clone();
    }
    let kind = info.get("driver_volume_type").cloned().unwrap_or_default();
    json!({"driver_volume_type": kind, "data": info})
}
