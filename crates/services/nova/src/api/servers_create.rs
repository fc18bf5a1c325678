//! `POST /servers`: the body to a [`CreateServer`], and the short reply.

use super::views::server::links;
use crate::Nova;
use crate::instance::create::{CreateServer, create as create_server};
use crate::instance::volumes::{BootVolume, VolumeSource};
use crate::network::RequestedNetwork;
use base::{Error, Result, Secret};
use base64::Engine;
use oslo_http::{Reply, Req, is_true};
use rand::Rng;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `POST /servers`.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = req.json.clone().unwrap_or_default();
    let server = body.get("server").cloned().unwrap_or_default();
    let wanted = parse(&nova, &req, &body, &server)?;
    if wanted.volumes.is_empty() && wanted.image_ref.is_none() {
        return Err(Error::bad_request("Invalid imageRef provided."));
    }
    let password = wanted.admin_pass.clone();
    let many = flag(&server["return_reservation_id"]);
    let (ids, reservation) = create_server(&nova, &req.ctx, wanted).await?;
    if many {
        return Reply::json(202, &json!({"reservation_id": reservation}));
    }
    let id = &ids[0];
    let groups: Vec<Value> = group_names(&server)
        .iter()
        .map(|n| json!({"name": n}))
        .collect();
    let view = json!({
        "id": id,
        "links": links(&req.base_url, id),
        "OS-DCF:diskConfig": server["OS-DCF:diskConfig"].as_str().unwrap_or("MANUAL"),
        "security_groups": groups,
        "adminPass": password.expose(),
    });
    let location = format!("{}/v2.1/servers/{id}", req.base_url);
    Ok(Reply::json(202, &json!({"server": view}))?.header("location", location))
}

fn flag(v: &Value) -> bool {
    v.as_bool()
        .unwrap_or_else(|| v.as_str().is_some_and(is_true))
}

fn number(v: &Value) -> Option<u64> {
    v.as_u64()
        .or_else(|| v.as_str().and_then(|s| s.parse().ok()))
}

fn text(v: &Value) -> Option<String> {
    v.as_str().map(str::to_string)
}

fn group_names(server: &Value) -> Vec<String> {
    let list = server["security_groups"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut names: Vec<String> = list
        .iter()
        .filter_map(|g| text(&g["name"]))
        .filter(|n| !n.is_empty())
        .collect();
    names.dedup();
    if names.is_empty() {
        vec!["default".to_string()]
    } else {
        names
    }
}

fn parse(nova: &Nova, req: &Req, body: &Value, server: &Value) -> Result<CreateServer> {
    let (zone, host) = zone_and_host(req, server)?;
    let hints = body
        .get("os:scheduler_hints")
        .or(body.get("OS-SCH-HNT:scheduler_hints"))
        .or(server.get("os:scheduler_hints"));
    let hints: Map<String, Value> = hints
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let group = hints
        .get("group")
        .and_then(|g| text(g).or_else(|| g.get(0).and_then(text)));
    let metadata = server["metadata"].as_object().cloned().unwrap_or_default();
    if metadata.len() as i64 > nova.conf.quota_metadata_items && nova.conf.quota_metadata_items >= 0
    {
        return Err(Error::over_quota(format!(
            "Maximum number of metadata items exceeds {}",
            nova.conf.quota_metadata_items
        )));
    }
    let user_data = text(&server["user_data"]);
    if let Some(data) = &user_data {
        let clean: String = data.chars().filter(|c| !c.is_whitespace()).collect();
        base64::engine::general_purpose::STANDARD.decode(clean).map_err(|_| Error::bad_request("Invalid input for field/attribute user_data. User data needs to be valid base 64."))?;
        if data.len() > 65535 {
            return Err(Error::bad_request(
                "User data too large. User data must be no larger than 64KB once base64 encoded.",
            ));
        }
    }
    let min_count = number(&server["min_count"]).unwrap_or(1).max(1);
    let max_count = number(&server["max_count"]).unwrap_or(min_count).max(1);
    if server.get("max_count").is_some() && min_count > max_count {
        return Err(Error::bad_request("min_count must be <= max_count"));
    }
    let name = server["name"].as_str().unwrap_or("").trim().to_string();
    let password = text(&server["adminPass"])
        .map(Secret::new)
        .unwrap_or_else(generate_password);
    let volumes = volumes(server)?;
    Ok(CreateServer {
        name,
        image_ref: text(&server["imageRef"]).filter(|s| !s.is_empty()),
        flavor_ref: text(&server["flavorRef"])
            .or_else(|| server["flavorRef"].as_u64().map(|n| n.to_string()))
            .unwrap_or_default(),
        networks: networks(&server["networks"])?,
        security_groups: group_names(server),
        key_name: text(&server["key_name"]),
        user_data,
        metadata,
        config_drive: flag(&server["config_drive"]),
        min_count,
        max_count,
        zone,
        force_host: host,
        admin_pass: password,
        access_ip_v4: text(&server["accessIPv4"]),
        access_ip_v6: text(&server["accessIPv6"]).map(super::values::address),
        description: if req.at_least(2, 19) {
            text(&server["description"])
        } else {
            None
        },
        tags: server["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect(),
        hostname: text(&server["hostname"]),
        disk_config: text(&server["OS-DCF:diskConfig"]),
        volumes,
        hints,
        group,
    })
}

/// `zone`, or the administrator's `zone:host:node`; `host` and `hypervisor_hostname` from 2.74 on.
fn zone_and_host(req: &Req, server: &Value) -> Result<(Option<String>, Option<String>)> {
    let own = json!({"project_id": req.ctx.project_id, "user_id": req.ctx.user_id});
    let asked = text(&server["host"]).or_else(|| text(&server["hypervisor_hostname"]));
    if asked.is_some() {
        req.enforce("compute:servers:create:requested_destination", &own)?;
    }
    let Some(zone) = text(&server["availability_zone"]) else {
        return Ok((None, asked));
    };
    let mut parts = zone.splitn(3, ':');
    let name = parts.next().unwrap_or("").to_string();
    let (host, node) = (
        parts.next().filter(|s| !s.is_empty()),
        parts.next().filter(|s| !s.is_empty()),
    );
    let forced = node.or(host).map(str::to_string);
    if forced.is_some() {
        req.enforce("os_compute_api:servers:create:forced_host", &own)?;
    }
    Ok((Some(name).filter(|n| !n.is_empty()), forced.or(asked)))
}

fn networks(value: &Value) -> Result<Option<Vec<RequestedNetwork>>> {
    match value {
        Value::Null => Ok(None),
        Value::String(s) if s == "none" => Ok(Some(Vec::new())),
        Value::String(_) => Ok(None),
        Value::Array(list) => {
            let mut out: Vec<RequestedNetwork> = Vec::new();
            for item in list {
                let wanted = RequestedNetwork {
                    network_id: text(&item["uuid"]),
                    port_id: text(&item["port"]),
                    fixed_ip: text(&item["fixed_ip"]),
                    tag: text(&item["tag"]),
                };
                if wanted.port_id.is_some() && wanted.fixed_ip.is_some() {
                    let port = wanted.port_id.unwrap_or_default();
                    return Err(Error::bad_request(format!(
                        "Specified Fixed IP '{}' cannot be used with port '{port}': the two cannot be specified together.",
                        wanted.fixed_ip.unwrap_or_default()
                    )));
                }
                if wanted.port_id.is_none() && wanted.network_id.is_none() {
                    return Err(Error::bad_request("Bad network format: missing 'uuid'"));
                }
                let id = wanted
                    .network_id
                    .as_deref()
                    .filter(|_| wanted.port_id.is_none());
                if let Some(id) = id.filter(|id| !base::id::is_uuid_like(id)) {
                    return Err(Error::bad_request(format!(
                        "Bad networks format: network uuid is not in proper format ({id})"
                    )));
                }
                out.push(RequestedNetwork {
                    network_id: if wanted.port_id.is_some() {
                        None
                    } else {
                        wanted.network_id.clone()
                    },
                    ..wanted
                });
            }
            Ok(if out.is_empty() { None } else { Some(out) })
        }
        _ => Err(Error::bad_request("Invalid networks.")),
    }
}

/// `block_device_mapping_v2` (and the old form): volumes, and what volumes are made of. Local disks come from the flavor.
fn volumes(server: &Value) -> Result<Vec<BootVolume>> {
    let mut out = Vec::new();
    let list = |key: &str| server[key].as_array().cloned().unwrap_or_default();
    for bdm in list("block_device_mapping_v2") {
        if flag(&bdm["no_device"]) {
            continue;
        }
        let source = bdm["source_type"].as_str().unwrap_or("");
        let usual = match source {
            "volume" | "snapshot" => "volume",
            _ => "local",
        };
        let destination = bdm["destination_type"].as_str().unwrap_or(usual);
        if (source, destination) == ("image", "local") {
            continue;
        }
        let source = match (source, destination) {
            ("volume", "volume") => VolumeSource::Volume(bdm_id(&bdm, "volume_id")?),
            ("snapshot", "volume") => VolumeSource::Snapshot(
                bdm_id(&bdm, "snapshot_id")?,
                number(&bdm["volume_size"]).map(|n| n as i64),
            ),
            ("image", "volume") => VolumeSource::Image(
                bdm_id(&bdm, "image_id")?,
                bdm_size(
                    &bdm,
                    "Images with destination_type 'volume' need to have a non-zero size specified",
                )?,
            ),
            ("blank", "volume") => VolumeSource::Blank(bdm_size(
                &bdm,
                "Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size",
            )?),
            (source, destination) => {
                return Err(invalid_bdm(&format!(
                    "source_type {source} with destination_type {destination} is not supported by this cloud."
                )));
            }
        };
        let boot_index = bdm["boot_index"]
            .as_i64()
            .or_else(|| bdm["boot_index"].as_str().and_then(|s| s.parse().ok()));
        out.push(BootVolume {
            source,
            volume_type: text(&bdm["volume_type"]),
            boot_index: boot_index.filter(|i| *i >= 0),
            delete_on_termination: flag(&bdm["delete_on_termination"]),
            tag: text(&bdm["tag"]),
        });
    }
    for (n, bdm) in list("block_device_mapping").iter().enumerate() {
        let source = match (text(&bdm["volume_id"]), text(&bdm["snapshot_id"])) {
            (Some(id), _) => VolumeSource::Volume(id),
            (None, Some(id)) => {
                let size = number(&bdm["volume_size"]).map(|n| n as i64);
                VolumeSource::Snapshot(id, size)
            }
            (None, None) => return Err(invalid_bdm("neither volume_id nor snapshot_id is given.")),
        };
        let root = n == 0 && server["imageRef"].as_str().unwrap_or("").is_empty();
        out.push(BootVolume {
            source,
            volume_type: None,
            boot_index: root.then_some(0),
            delete_on_termination: flag(&bdm["delete_on_termination"]),
            tag: None,
        });
    }
    Ok(out)
}

fn invalid_bdm(words: &str) -> Error {
    Error::bad_request(format!("Block Device Mapping is Invalid: {words}"))
}

fn bdm_id(bdm: &Value, older: &str) -> Result<String> {
    text(&bdm["uuid"])
        .or_else(|| text(&bdm[older]))
        .ok_or_else(|| invalid_bdm("missing uuid."))
}

fn bdm_size(bdm: &Value, missing: &str) -> Result<i64> {
    let size = number(&bdm["volume_size"]).filter(|n| *n > 0);
    size.map(|n| n as i64).ok_or_else(|| invalid_bdm(missing))
}

/// 12 characters without those that look alike, as upstream's generator.
fn generate_password() -> Secret {
    const SYMBOLS: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut rng = rand::rng();
    Secret::new(
        (0..12)
            .map(|_| SYMBOLS[rng.random_range(0..SYMBOLS.len())] as char)
            .collect::<String>(),
    )
}
