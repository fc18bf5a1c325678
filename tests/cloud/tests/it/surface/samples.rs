//! Bodies that pass the schemas, for requests about somebody else's things.

use super::{NOBODY, Row};
use serde_json::{Value, json};

/// What follows the id in a row's path, without parameters' names: `/metadata/*`.
fn tail(path: &str) -> String {
    let below = path
        .split('/')
        .skip_while(|s| !s.starts_with('{') || *s == "{project_id}")
        .skip(1);
    let mut out = String::new();
    for segment in below {
        out.push('/');
        out.push_str(if segment.starts_with('{') {
            "*"
        } else {
            segment
        });
    }
    out
}

/// The body of a row, if there is a sample.
pub fn sample(row: &Row) -> Option<Value> {
    if let Some(action) = row.info.action {
        return Some(json!({action: arguments(action)}));
    }
    let (path, method) = (row.info.path, row.info.method.as_str());
    Some(match (row.service, method, tail(path).as_str()) {
        (_, "GET" | "DELETE", _) => return None,
        ("compute", "PUT", "") => json!({"server": {"name": "stolen"}}),
        ("compute" | "volumev3", _, "/metadata") => json!({"metadata": {"a": "b"}}),
        ("compute" | "volumev3", "PUT", "/metadata/*") => json!({"meta": {"x": "b"}}),
        ("compute" | "network", _, "/tags") => json!({"tags": ["x"]}),
        ("compute", "POST", "/os-interface") => json!({"interfaceAttachment": {}}),
        ("compute", "POST", "/os-volume_attachments") => {
            json!({"volumeAttachment": {"volumeId": NOBODY}})
        }
        ("compute", "POST", "/remote-consoles") => {
            json!({"remote_console": {"protocol": "vnc", "type": "novnc"}})
        }
        ("volumev3", "PUT", "") if path.contains("attachments") => {
            json!({"attachment": {"connector": {"host": "h"}}})
        }
        ("volumev3", "PUT", "") => {
            let key = ["snapshot", "backup"].iter().find(|k| path.contains(*k));
            json!({*key.unwrap_or(&"volume"): {"name": "stolen"}})
        }
        ("volumev3", "POST", "/restore") => json!({"restore": {}}),
        ("network", "PUT", "") => {
            let plural = path
                .trim_start_matches("/v2.0/")
                .split('/')
                .next()
                .unwrap_or("");
            let key = plural.trim_end_matches('s').replace('-', "_");
            json!({key: {"description": "stolen"}})
        }
        ("network", "PUT", "/add_router_interface" | "/remove_router_interface") => {
            json!({"subnet_id": NOBODY})
        }
        ("network", "PUT", "/add_extraroutes" | "/remove_extraroutes") => {
            json!({"router": {"routes": []}})
        }
        ("image", "PATCH", "") => json!([{"op": "replace", "path": "/name", "value": "stolen"}]),
        ("image", "POST", "/members") => json!({"member": NOBODY}),
        ("image", "PUT", "/members/*") => json!({"status": "accepted"}),
        ("image", "POST", "/import") => json!({"method": {"name": "glance-direct"}}),
        // Without a store that reads from the web every address is refused, whoever names it.
        ("image", "POST", "/locations") => return None,
        ("image", "POST", _) => json!({}),
        ("identity", "PATCH", "") if path.contains("users") => {
            json!({"user": {"description": "stolen"}})
        }
        ("identity", "PATCH", "") if path.contains("projects") => {
            json!({"project": {"description": "stolen"}})
        }
        ("identity", "PUT", "/tags") => json!({"tags": ["x"]}),
        _ => return None,
    })
}

fn arguments(action: &str) -> Value {
    match action {
        "reboot" => json!({"type": "HARD"}),
        "os-resetState" => json!({"state": "error"}),
        "os-getConsoleOutput" => json!({"length": 1}),
        "os-getVNCConsole" => json!({"type": "novnc"}),
        "addSecurityGroup" | "removeSecurityGroup" => json!({"name": "default"}),
        "os-extend" => json!({"new_size": 9}),
        "os-set_bootable" => json!({"bootable": true}),
        "os-update_readonly_flag" => json!({"readonly": true}),
        "os-attach" => json!({"instance_uuid": NOBODY, "mountpoint": "/dev/vdz"}),
        "os-initialize_connection" | "os-terminate_connection" => {
            json!({"connector": {"host": "h"}})
        }
        "os-volume_upload_image" => json!({"image_name": "stolen"}),
        "revert" => json!({"snapshot_id": NOBODY}),
        "os-update_snapshot_status" => json!({"status": "error"}),
        "os-set_image_metadata" => json!({"metadata": {"a": "b"}}),
        "os-unset_image_metadata" => json!({"key": "a"}),
        "os-reset_status" => json!({"status": "error"}),
        "os-detach" | "os-force_delete" | "os-complete" => json!({}),
        _ => Value::Null,
    }
}

/// A parameter after the first.
pub fn parameter(name: &str, port: &str, volume: &str) -> String {
    match name {
        "port_id" => port.to_string(),
        "volume_id" => volume.to_string(),
        "label" => "private".to_string(),
        "key" | "tag" | "tag_value" => "x".to_string(),
        _ => "x".to_string(),
    }
}
