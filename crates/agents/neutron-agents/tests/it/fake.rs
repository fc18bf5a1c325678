//! The driver that touches nothing still tells the whole story.

use crate::server::{Net, Server, conf};
use neutron_types::rpc::{AgentClient, AgentKind, HostState, PortState, Revisions, agent_server};
use oslo_context::RequestContext;
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

/// One process stands for many hosts. Each is woken for itself, and what they say at the same time is few messages.
#[tokio::test]
async fn many_hosts_of_one_process() {
    const HOSTS: usize = 200;
    let bus = Bus::in_process();
    let server = Server::default();
    // Nobody asks unless it is woken, however long this takes.
    server.0.lock().unwrap().state.look_again_secs = 3600;
    let _serving = server.serve(&bus).await;
    let conf = neutron_agents::NeutronAgentsConf {
        l2_driver: "fake".into(),
        host: "rack".into(),
        fake_hosts: HOSTS as u32,
        ..conf("fake-many")
    };
    let agents = Supervisor::new();
    neutron_agents::start_some(&bus, &conf, &["l2"], &agents).unwrap();
    server.until("all hosts", |t| t.alive.len() == HOSTS).await;
    let last = format!("rack-{HOSTS}");
    {
        let told = server.0.lock().unwrap();
        assert!(told.alive.contains("rack-1") && told.alive.contains(&last));
        assert!(told.heartbeats <= HOSTS / 4, "{}", told.heartbeats);
    }

    // A port on one of them: only that one asks.
    let net = Net::new("10.78.0");
    let port = net.port(5, "compute:nova", &[]);
    let wants = |port: &PortState| HostState {
        networks: vec![net.state(false)],
        ports: vec![port.clone()],
        look_again_secs: 3600,
        ..HostState::default()
    };
    let asked = || server.0.lock().unwrap().asked.clone();
    let quiet = async || {
        // Each asks once more after its first heartbeat.
        server
            .until("quiet", |t| t.asked.values().all(|n| *n >= 2))
            .await;
        asked()
    };
    let before = quiet().await;
    {
        let mut told = server.0.lock().unwrap();
        told.revision += 1;
        told.hosts.insert(last.clone(), wants(&port));
    }
    let moved = |revision: i64| Revisions::from([("all".to_string(), revision)]);
    let (ctx, wake) = (RequestContext::internal(), AgentClient::new(bus.clone()));
    let at = agent_server(&last, AgentKind::L2);
    wake.server(&at)
        .state_changed(&ctx, moved(1))
        .await
        .unwrap();
    server.until("the port", |t| t.up.contains(&port.id)).await;
    let others = |asked: &std::collections::BTreeMap<String, usize>| {
        let others = asked.iter().filter(|(host, _)| **host != last);
        others.map(|(_, n)| n).sum::<usize>()
    };
    assert_eq!(others(&asked()), others(&before), "nobody else asked");
    // What it knows already is no reason to ask.
    let before = asked()[&last];
    wake.server(&at)
        .state_changed(&ctx, moved(1))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(asked()[&last], before);

    // All of them at once.
    let messages = server.0.lock().unwrap().messages;
    let ports: Vec<PortState> = (1..=HOSTS)
        .map(|n| {
            let port = net.port((n % 250) as u8, "compute:nova", &[]);
            let mut told = server.0.lock().unwrap();
            told.hosts.insert(format!("rack-{n}"), wants(&port));
            port
        })
        .collect();
    server.want(&bus, |_| ()).await;
    server
        .until("all ports", |t| ports.iter().all(|p| t.up.contains(&p.id)))
        .await;
    let messages = server.0.lock().unwrap().messages - messages;
    println!("{HOSTS} ports up in {messages} messages");
    assert!(messages < HOSTS, "gathered: {messages}");
    assert!(agents.stop(Duration::from_secs(10)).await);
    std::fs::remove_dir_all(&conf.state_path).unwrap();
}

#[test]
fn only_fake_hosts_are_many() {
    let conf = neutron_agents::NeutronAgentsConf {
        fake_hosts: 2,
        ..conf("fake-not")
    };
    let refused = conf.settings().unwrap_err();
    assert!(refused.message().contains("fake_hosts"), "{refused}");
}
