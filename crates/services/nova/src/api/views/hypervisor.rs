//! A hypervisor as the API shows it: from 2.53 by uuid, from 2.88 without the numbers that placement knows better.

use crate::db::compute_nodes::ComputeNodeRow;
use crate::db::instances::InstanceRow;
use crate::db::services::ServiceRow;
use crate::db::usage::Usage;
use base::Timestamp;
use oslo_http::Req;
use serde_json::{Value, json};

/// A hypervisor and what belongs to it.
pub struct Hypervisor {
    /// Its report.
    pub node: ComputeNodeRow,
    /// Its service.
    pub service: Option<ServiceRow>,
    /// Whether the service is up.
    pub up: bool,
    /// What its guests take.
    pub usage: Usage,
    /// Its guests, where asked for.
    pub servers: Option<Vec<InstanceRow>>,
}

impl Hypervisor {
    /// The id of the API.
    pub fn id(&self, req: &Req) -> Value {
        if req.at_least(2, 53) {
            json!(self.node.id)
        } else {
            json!(self.node.number)
        }
    }

    /// The short form.
    pub fn summary(&self, req: &Req) -> Value {
        let mut view = json!({
            "id": self.id(req),
            "hypervisor_hostname": self.node.hypervisor_hostname,
            "state": if self.up { "up" } else { "down" },
            "status": if self.service.as_ref().is_some_and(|s| s.disabled) { "disabled" } else { "enabled" },
        });
        if let Some(servers) = &self.servers
            && (!servers.is_empty() || req.at_least(2, 75))
        {
            view["servers"] = servers
                .iter()
                .map(|s| json!({"uuid": s.id, "name": s.display_name}))
                .collect();
        }
        view
    }

    /// The whole hypervisor.
    pub fn detail(&self, req: &Req, now: Timestamp) -> Value {
        let (node, used) = (&self.node, &self.usage);
        let mut view = self.summary(req);
        view["hypervisor_type"] = json!(node.hypervisor_type);
        view["hypervisor_version"] = json!(node.hypervisor_version);
        view["host_ip"] = json!(node.host_ip);
        let service = self.service.as_ref();
        view["service"] = json!({
            "id": service.map(|s| if req.at_least(2, 53) { json!(s.id) } else { json!(s.number) }),
            "host": node.host,
            "disabled_reason": service.and_then(|s| s.disabled_reason.as_ref()),
        });
        if req.at_least(2, 88) {
            view["uptime"] = if self.up {
                json!(self.uptime(now))
            } else {
                Value::Null
            };
            return view;
        }
        view["cpu_info"] = if req.at_least(2, 28) {
            node.cpu_info.0.clone()
        } else {
            json!(node.cpu_info.0.to_string())
        };
        view["vcpus"] = json!(node.vcpus);
        view["vcpus_used"] = json!(used.vcpus);
        view["memory_mb"] = json!(node.memory_mb);
        view["memory_mb_used"] = json!(used.memory_mb);
        view["free_ram_mb"] = json!(node.memory_mb - used.memory_mb);
        view["local_gb"] = json!(node.local_gb);
        view["local_gb_used"] = json!(used.disk_gb);
        view["free_disk_gb"] = json!(node.local_gb - used.disk_gb);
        view["disk_available_least"] = json!(node.disk_available_gb);
        view["running_vms"] = json!(used.instances);
        view["current_workload"] = json!(used.building);
        view
    }

    /// ` 08:32:11 up 93 days, 18:25`, the host's clock and uptime.
    pub fn uptime(&self, now: Timestamp) -> String {
        let since_report = self
            .node
            .updated_at
            .map_or(0, |t| now.since(t).as_secs() as i64);
        let seconds = self.node.uptime_s + since_report;
        let (days, hours, minutes) = (seconds / 86400, seconds % 86400 / 3600, seconds % 3600 / 60);
        format!(
            " {} up {days} days, {hours:2}:{minutes:02}",
            now.format("%H:%M:%S")
        )
    }
}
