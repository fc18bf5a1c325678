//! The config drive: what the metadata service would say, on a CD labelled `config-2`.

use super::folder::Folder;
use base::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use host_privsep::{Privsep, Program};
use nova_types::rpc::{AddressSpec, InstanceSpec, PortSpec};
use serde_json::{Map, Value, json};
use std::path::Path;
use tokio::fs;

/// Makes the ISO unless it is there. It is not made anew later: it holds the password of the first boot.
pub(super) async fn ensure(privsep: &Privsep, spec: &InstanceSpec, folder: &Folder) -> Result<()> {
    if folder.config_drive().exists() {
        return Ok(());
    }
    let tree = folder.path().join("config-drive.d");
    let _ = fs::remove_dir_all(&tree).await;
    write_tree(spec, &tree).await?;
    let fresh = folder.path().join("config.new");
    let made = privsep
        .command(Program::Genisoimage)
        .args([
            "-quiet",
            "-J",
            "-r",
            "-V",
            "config-2",
            "-ldots",
            "-allow-lowercase",
        ])
        .args(["-allow-multidot", "-l", "-publisher", "Ferrostack", "-o"])
        .arg(&fresh)
        .arg(&tree)
        .run()
        .await;
    // It may hold a password: gone whatever happened.
    fs::remove_dir_all(&tree).await?;
    made?;
    fs::rename(fresh, folder.config_drive()).await?;
    Ok(())
}

async fn write_tree(spec: &InstanceSpec, tree: &Path) -> Result<()> {
    let (openstack, ec2) = (tree.join("openstack/latest"), tree.join("ec2/latest"));
    fs::create_dir_all(&openstack).await?;
    fs::create_dir_all(&ec2).await?;
    let user_data = match &spec.user_data {
        None => None,
        Some(text) => {
            let bare: String = text.split_whitespace().collect();
            let bytes = STANDARD.decode(bare);
            Some(bytes.map_err(|_| Error::bad_request("User data is not valid base64."))?)
        }
    };
    let documents = [
        ("meta_data.json", meta_data(spec)),
        ("network_data.json", network_data(&spec.ports)),
        ("vendor_data.json", json!({})),
        ("vendor_data2.json", json!({})),
    ];
    for (name, value) in documents {
        fs::write(openstack.join(name), serde_json::to_vec(&value)?).await?;
    }
    fs::write(
        ec2.join("meta-data.json"),
        serde_json::to_vec(&ec2_data(spec))?,
    )
    .await?;
    if let Some(bytes) = user_data {
        fs::write(openstack.join("user_data"), &bytes).await?;
        fs::write(ec2.join("user-data"), &bytes).await?;
    }
    Ok(())
}

fn meta_data(spec: &InstanceSpec) -> Value {
    let mut seed = vec![0; 512];
    rand::fill(seed.as_mut_slice());
    let mut data = json!({
        "uuid": spec.uuid,
        "name": spec.name,
        "hostname": spec.hostname,
        "launch_index": spec.launch_index,
        "availability_zone": spec.availability_zone,
        "project_id": spec.project_id,
        "random_seed": STANDARD.encode(seed),
        "devices": devices(spec),
        "dedicated_cpus": [],
    });
    if let Some(map) = data.as_object_mut() {
        if !spec.metadata.is_empty() {
            map.insert("meta".into(), Value::Object(spec.metadata.clone()));
        }
        if let Some((name, key)) = &spec.key {
            let keys: Map<String, Value> =
                [(name.clone(), key.clone().into())].into_iter().collect();
            map.insert("public_keys".into(), Value::Object(keys));
            map.insert(
                "keys".into(),
                json!([{"name": name, "type": "ssh", "data": key}]),
            );
        }
        if let Some(password) = &spec.admin_pass {
            map.insert("admin_pass".into(), password.expose().into());
        }
    }
    data
}

fn devices(spec: &InstanceSpec) -> Vec<Value> {
    let nics = spec.ports.iter().filter_map(|p| {
        let tag = p.tag.as_ref()?;
        Some(json!({"type": "nic", "bus": "none", "address": "none", "mac": p.mac, "tags": [tag]}))
    });
    let disks = spec.volumes.iter().filter_map(|v| {
        let tag = v.tag.as_ref()?;
        Some(
            json!({"type": "disk", "bus": "none", "address": "none", "serial": v.volume_id,
            "path": format!("/dev/{}", v.device.trim_start_matches("/dev/")), "tags": [tag]}),
        )
    });
    nics.chain(disks).collect()
}

fn network_data(ports: &[PortSpec]) -> Value {
    let (mut links, mut networks, mut services) = (Vec::new(), Vec::new(), Vec::<Value>::new());
    for port in ports {
        let tap = port.tap();
        links.push(
            json!({"id": tap, "vif_id": port.id, "type": port.vif_type, "mtu": port.mtu,
            "ethernet_mac_address": port.mac}),
        );
        for address in &port.addresses {
            let id = format!("network{}", networks.len());
            networks.push(network(&id, &tap, port, address));
            for server in &address.dns {
                let service = json!({"type": "dns", "address": server});
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
    }
    json!({"links": links, "networks": networks, "services": services})
}

fn network(id: &str, link: &str, port: &PortSpec, address: &AddressSpec) -> Value {
    let v6 = address.ip.contains(':');
    let family = if v6 { "ipv6" } else { "ipv4" };
    if address.dhcp {
        let kind = format!("{family}_dhcp");
        return json!({"id": id, "link": link, "type": kind, "network_id": port.network_id});
    }
    let bits: u32 = address
        .cidr
        .rsplit('/')
        .next()
        .and_then(|b| b.parse().ok())
        .unwrap_or(0);
    let mut routes: Vec<Value> = Vec::new();
    if let Some(gateway) = &address.gateway {
        let any = if v6 { "::" } else { "0.0.0.0" };
        routes.push(json!({"network": any, "netmask": any, "gateway": gateway}));
    }
    for (destination, hop) in &address.routes {
        let (net, bits) = destination.split_once('/').unwrap_or((destination, "32"));
        let mask = netmask(bits.parse().unwrap_or(32), net.contains(':'));
        routes.push(json!({"network": net, "netmask": mask, "gateway": hop}));
    }
    json!({"id": id, "link": link, "type": family, "network_id": port.network_id,
        "ip_address": address.ip, "netmask": netmask(bits, v6), "routes": routes,
        "services": address.dns.iter().map(|d| json!({"type": "dns", "address": d})).collect::<Vec<_>>()})
}

fn netmask(bits: u32, v6: bool) -> String {
    if v6 {
        let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
        return std::net::Ipv6Addr::from(mask).to_string();
    }
    let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
    std::net::Ipv4Addr::from(mask).to_string()
}

fn ec2_data(spec: &InstanceSpec) -> Value {
    let first = spec
        .ports
        .iter()
        .flat_map(|p| &p.addresses)
        .find(|a| !a.ip.contains(':'));
    let mut data = json!({
        "instance-id": spec.uuid,
        "hostname": spec.hostname,
        "local-hostname": spec.hostname,
        "ami-launch-index": spec.launch_index,
        "reservation-id": spec.reservation_id,
        "instance-type": spec.flavor.name,
        "local-ipv4": first.map(|a| a.ip.as_str()).unwrap_or(""),
        "placement": {"availability-zone": spec.availability_zone},
    });
    if let (Some((name, key)), Some(map)) = (&spec.key, data.as_object_mut()) {
        let entry = json!({"_name": format!("0={name}"), "openssh-key": key});
        map.insert("public-keys".into(), json!({"0": entry}));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(netmask(24, false), "255.255.255.0");
        assert_eq!(netmask(0, false), "0.0.0.0");
        assert_eq!(netmask(32, false), "255.255.255.255");
        assert_eq!(netmask(64, true), "ffff:ffff:ffff:ffff::");
    }
}
