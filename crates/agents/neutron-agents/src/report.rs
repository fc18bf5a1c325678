//! Heartbeats: what `network agent list` shows.

use crate::config::Settings;
use neutron_types::rpc::{AgentReport, HostState};
use serde_json::{Map, Value};

/// A report of each agent that runs here.
pub fn reports(settings: &Settings, state: &HostState, start_flag: bool) -> Vec<AgentReport> {
    let report = |agent_type: &str,
                  binary: &str,
                  topic: &str,
                  configurations: Vec<(&str, Value)>| AgentReport {
        agent_type: agent_type.into(),
        binary: binary.into(),
        topic: topic.into(),
        availability_zone: Some("nova".into()),
        configurations: configurations
            .into_iter()
            .map(|(k, v)| (k.to_string(), v))
            .collect::<Map<_, _>>(),
        start_flag,
    };
    let mut all = Vec::new();
    if settings.l2 {
        let tunnels = if settings.local_ip.is_some() {
            vec!["vxlan".into()]
        } else {
            Vec::new()
        };
        let mappings: Map<String, Value> = [(
            settings.physical_network.clone(),
            settings.external_bridge.to_string().into(),
        )]
        .into_iter()
        .collect();
        all.push(report(
            "Linux bridge agent",
            "neutron-linuxbridge-agent",
            "N/A",
            vec![
                ("bridge_mappings", mappings.into()),
                ("tunnel_types", Value::Array(tunnels)),
                (
                    "tunneling_ip",
                    settings
                        .local_ip
                        .map_or(Value::Null, |ip| ip.to_string().into()),
                ),
                ("devices", state.ports.len().into()),
                ("interface_mappings", Map::new().into()),
                ("extensions", Value::Array(Vec::new())),
            ],
        ));
    }
    if settings.dhcp {
        let served = state.networks.iter().filter(|n| n.dhcp_here);
        all.push(report(
            "DHCP agent",
            "neutron-dhcp-agent",
            "dhcp_agent",
            vec![
                ("dhcp_driver", "neutron.agent.linux.dhcp.Dnsmasq".into()),
                ("dhcp_lease_duration", settings.lease_seconds.into()),
                ("networks", served.clone().count().into()),
                (
                    "subnets",
                    served.map(|n| n.subnets.len()).sum::<usize>().into(),
                ),
                ("ports", state.dhcp_hosts.len().into()),
            ],
        ));
    }
    if settings.l3 {
        all.push(report(
            "L3 agent",
            "neutron-l3-agent",
            "l3_agent",
            vec![
                ("agent_mode", "legacy".into()),
                ("routers", state.routers.len().into()),
                (
                    "ex_gw_ports",
                    state
                        .routers
                        .iter()
                        .filter(|r| r.gateway.is_some())
                        .count()
                        .into(),
                ),
                (
                    "interfaces",
                    state
                        .routers
                        .iter()
                        .map(|r| r.interfaces.len())
                        .sum::<usize>()
                        .into(),
                ),
                (
                    "floating_ips",
                    state
                        .routers
                        .iter()
                        .map(|r| r.floating_ips.len())
                        .sum::<usize>()
                        .into(),
                ),
                ("interface_driver", "linuxbridge".into()),
            ],
        ));
    }
    if settings.metadata {
        all.push(report(
            "Metadata agent",
            "neutron-metadata-agent",
            "N/A",
            vec![
                ("nova_metadata_host", settings.nova.host().into()),
                ("log_agent_heartbeats", false.into()),
            ],
        ));
    }
    all
}
