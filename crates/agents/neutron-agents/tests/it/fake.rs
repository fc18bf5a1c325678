//! The driver that touches nothing still tells the whole story.

use crate::server::{Net, Server, conf};
use oslo_messaging::Bus;
use oslo_service::Supervisor;
use std::time::Duration;

#[tokio::test]
async fn ports_come_up_and_agents_are_seen() {
    let bus = Bus::in_process();
    let server = Server::default();
    let _serving = server.serve(&bus).await;
    let net = Net::new("10.77.0");
    let port = net.port(5, "compute:nova", &[]);
    let off = neutron_types::rpc::PortState {
        admin_state_up: false,
        ..net.port(6, "compute:nova", &[])
    };
    let conf = neutron_agents::NeutronAgentsConf {
        l2_driver: "fake".into(),
        ..conf("fake")
    };
    let agents = Supervisor::new();
    neutron_agents::start(&bus, &conf, &agents).unwrap();
    server
        .want(&bus, |s| {
            s.networks.push(net.state(false));
            s.ports.extend([port.clone(), off.clone()]);
        })
        .await;
    server.until("the port", |t| t.up.contains(&port.id)).await;
    server.until("four agents", |t| t.agents.len() == 4).await;
    assert!(
        !server.0.lock().unwrap().up.contains(&off.id),
        "a port that is administratively down is not up"
    );
    assert!(agents.stop(Duration::from_secs(10)).await);
    std::fs::remove_dir_all(&conf.state_path).unwrap();
}
