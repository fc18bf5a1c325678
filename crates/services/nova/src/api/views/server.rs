//! A server as each microversion shows it.

use crate::db::block_devices::BlockDeviceRow;
use crate::db::instances::{CachedPort, InstanceRow};
use crate::instance::status::api_status;
use base::Microversion;
use oslo_http::Req;
use serde_json::{Map, Value, json};

/// What a view needs to know of the request.
pub struct Lens<'a> {
    /// `http://host:port`.
    pub base_url: &'a str,
    /// The microversion.
    pub version: Microversion,
    /// `os_compute_api:os-extended-server-attributes`.
    pub extended: bool,
    /// `os_compute_api:servers:show:flavor-extra-specs`.
    pub extra_specs: bool,
    /// `os_compute_api:servers:show:host_status`.
    pub host_status: bool,
    /// Whether the caller is an administrator (details of faults).
    pub admin: bool,
}

impl<'a> Lens<'a> {
    /// The lens of a request.
    pub fn of(req: &'a Req) -> Lens<'a> {
        let own = json!({"project_id": req.ctx.project_id, "user_id": req.ctx.user_id});
        Lens {
            base_url: &req.base_url,
            version: req.version,
            extended: req.permits("os_compute_api:os-extended-server-attributes", &own),
            extra_specs: req.permits("os_compute_api:servers:show:flavor-extra-specs", &own),
            host_status: req.permits("os_compute_api:servers:show:host_status", &own),
            admin: req.ctx.is_admin,
        }
    }

    fn at(&self, minor: u16) -> bool {
        self.version >= Microversion(2, minor)
    }
}

/// `links` of a server.
pub fn links(base_url: &str, id: &str) -> Value {
    json!([
        {"rel": "self", "href": format!("{base_url}/v2.1/servers/{id}")},
        {"rel": "bookmark", "href": format!("{base_url}/servers/{id}")},
    ])
}

/// `{id, name, links}`.
pub fn brief(lens: &Lens<'_>, i: &InstanceRow) -> Value {
    json!({"id": i.id, "name": i.display_name, "links": links(lens.base_url, &i.id)})
}

/// `hostId`: tells a project which of its servers share a host without naming the host.
pub fn host_id(i: &InstanceRow) -> String {
    let Some(host) = &i.host else {
        return String::new();
    };
    let digest = sha2_224(format!("{}{host}", i.project_id).as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

fn sha2_224(bytes: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha224};
    Sha224::digest(bytes).to_vec()
}

/// `addresses`.
pub fn addresses(ports: &[CachedPort], extended: bool) -> Map<String, Value> {
    let mut out: Map<String, Value> = Map::new();
    for port in ports {
        for a in &port.addresses {
            let list = out
                .entry(port.network_name.clone())
                .or_insert_with(|| json!([]));
            let mut push = |addr: &str, version: u8, kind: &str| {
                let mut entry = json!({"version": version, "addr": addr});
                if extended {
                    entry["OS-EXT-IPS:type"] = json!(kind);
                    entry["OS-EXT-IPS-MAC:mac_addr"] = json!(port.mac);
                }
                if let Value::Array(list) = list {
                    list.push(entry);
                }
            };
            push(&a.ip, a.version, "fixed");
            for f in &a.floating {
                push(f, 4, "floating");
            }
        }
    }
    out
}

fn flavor(lens: &Lens<'_>, i: &InstanceRow) -> Value {
    let f = &i.flavor.0;
    if !lens.at(47) {
        let link = json!([{"rel": "bookmark", "href": format!("{}/flavors/{}", lens.base_url, f.flavor_id)}]);
        return json!({"id": f.flavor_id, "links": link});
    }
    let mut out = json!({
        "vcpus": f.vcpus, "ram": f.memory_mb, "disk": f.root_gb, "ephemeral": f.ephemeral_gb, "swap": f.swap_mb, "original_name": f.name,
    });
    if lens.extra_specs {
        out["extra_specs"] = json!(f.extra_specs);
    }
    out
}

fn image(lens: &Lens<'_>, i: &InstanceRow) -> Value {
    let Some(id) = &i.image_ref else {
        return json!("");
    };
    let mut out = json!({"id": id, "links": [{"rel": "bookmark", "href": format!("{}/images/{id}", lens.base_url)}]});
    if lens.at(98) {
        let properties: Map<String, Value> = i
            .system_metadata
            .0
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix("image_")?.to_string(), json!(v))))
            .collect();
        out["properties"] = Value::Object(properties);
    }
    out
}

/// What PUT (below 2.75) answers, and the common part of everything else.
pub fn core(lens: &Lens<'_>, i: &InstanceRow) -> Map<String, Value> {
    let status = api_status(i.vm_state, i.task_state);
    let mut s = Map::new();
    let mut set = |k: &str, v: Value| {
        s.insert(k.to_string(), v);
    };
    set("id", json!(i.id));
    set("name", json!(i.display_name));
    set("status", json!(status));
    set("tenant_id", json!(i.project_id));
    set("user_id", json!(i.user_id));
    set("metadata", json!(i.metadata.0));
    set("hostId", json!(host_id(i)));
    set("image", image(lens, i));
    set("flavor", flavor(lens, i));
    set("created", json!(i.created_at.iso_z()));
    set(
        "updated",
        json!(i.updated_at.unwrap_or(i.created_at).iso_z()),
    );
    set(
        "addresses",
        Value::Object(addresses(&i.network_info.0, true)),
    );
    set(
        "accessIPv4",
        json!(i.access_ip_v4.clone().unwrap_or_default()),
    );
    set(
        "accessIPv6",
        json!(i.access_ip_v6.clone().unwrap_or_default()),
    );
    set("links", links(lens.base_url, &i.id));
    set("OS-DCF:diskConfig", json!(i.disk_config));
    if matches!(
        status,
        "ACTIVE" | "BUILD" | "REBUILD" | "RESIZE" | "VERIFY_RESIZE" | "MIGRATING"
    ) {
        set("progress", json!(i.progress));
    }
    if matches!(status, "ERROR" | "DELETED")
        && let Some(fault) = &i.fault
    {
        let fault = &fault.0;
        let mut out =
            json!({"code": fault.code, "created": fault.created.iso_z(), "message": fault.message});
        if let (Some(details), true) = (&fault.details, lens.admin || fault.code != 500) {
            out["details"] = json!(details);
        }
        set("fault", out);
    }
    if lens.at(9) {
        set("locked", json!(i.locked));
    }
    if lens.at(73) {
        set("locked_reason", json!(i.locked_reason));
    }
    if lens.at(19) {
        set("description", json!(i.description));
    }
    if lens.at(26) {
        set("tags", json!(i.tags.0));
    }
    if lens.at(63) {
        set("trusted_image_certificates", Value::Null);
    }
    s
}

/// The whole server.
pub fn full(
    lens: &Lens<'_>,
    i: &InstanceRow,
    volumes: &[BlockDeviceRow],
    host_status: &str,
) -> Value {
    let mut s = core(lens, i);
    let mut set = |k: &str, v: Value| {
        s.insert(k.to_string(), v);
    };
    set(
        "config_drive",
        json!(if i.config_drive { "True" } else { "" }),
    );
    set("key_name", json!(i.key_name));
    set(
        "OS-SRV-USG:launched_at",
        json!(i.launched_at.map(|t| t.iso_micros())),
    );
    set(
        "OS-SRV-USG:terminated_at",
        json!(i.terminated_at.map(|t| t.iso_micros())),
    );
    set(
        "OS-EXT-AZ:availability_zone",
        json!(
            i.availability_zone
                .clone()
                .or(i.requested_zone.clone())
                .unwrap_or_default()
        ),
    );
    if lens.at(96) {
        set("pinned_availability_zone", json!(i.requested_zone));
    }
    set("OS-EXT-STS:task_state", json!(i.task_state));
    set("OS-EXT-STS:vm_state", json!(i.vm_state));
    set("OS-EXT-STS:power_state", json!(i.power_state));
    let attached: Vec<Value> = volumes
        .iter()
        .map(|v| match lens.at(3) {
            true => json!({"id": v.volume_id, "delete_on_termination": v.delete_on_termination}),
            false => json!({"id": v.volume_id}),
        })
        .collect();
    set(
        "os-extended-volumes:volumes_attached",
        Value::Array(attached),
    );
    if !i.security_groups.0.is_empty() {
        set(
            "security_groups",
            Value::Array(
                i.security_groups
                    .0
                    .iter()
                    .map(|n| json!({"name": n}))
                    .collect(),
            ),
        );
    }
    if lens.extended {
        set("OS-EXT-SRV-ATTR:host", json!(i.host));
        set("OS-EXT-SRV-ATTR:hypervisor_hostname", json!(i.node));
        set("OS-EXT-SRV-ATTR:instance_name", json!(instance_name(i)));
        if lens.at(3) {
            set("OS-EXT-SRV-ATTR:reservation_id", json!(i.reservation_id));
            set("OS-EXT-SRV-ATTR:launch_index", json!(i.launch_index));
            set("OS-EXT-SRV-ATTR:kernel_id", json!(""));
            set("OS-EXT-SRV-ATTR:ramdisk_id", json!(""));
            set(
                "OS-EXT-SRV-ATTR:root_device_name",
                json!(i.root_device_name),
            );
            set("OS-EXT-SRV-ATTR:user_data", json!(i.user_data));
        }
    }
    if (lens.extended && lens.at(3)) || lens.at(90) {
        set("OS-EXT-SRV-ATTR:hostname", json!(i.hostname));
    }
    if lens.host_status && lens.at(16) {
        set("host_status", json!(host_status));
    }
    if lens.at(100) {
        let hints = i
            .system_metadata
            .0
            .get("scheduler_hints")
            .and_then(|h| serde_json::from_str::<Value>(h).ok());
        set("scheduler_hints", hints.unwrap_or_else(|| json!({})));
    }
    Value::Object(s)
}

/// `server_groups` of show and of update from 2.71 on.
pub fn with_group(mut server: Value, lens: &Lens<'_>, i: &InstanceRow) -> Value {
    if lens.at(71) {
        server["server_groups"] = json!(i.server_group_id.iter().collect::<Vec<_>>());
    }
    server
}

/// The name that administrators see of the guest on its host.
pub(crate) fn instance_name(i: &InstanceRow) -> String {
    format!("instance-{}", &i.id[..8])
}
