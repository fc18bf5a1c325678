//! The joining host's side: shows the ticket, writes `STATE/config.toml` and `STATE/secrets.json`.

use super::desk::{self, Ask, Given, set};
use super::ticket::Ticket;
use crate::config::Settings;
use crate::parts::Role;
use crate::private;
use base::{Error, Result};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Table;

/// What only the host itself knows.
pub struct Wish {
    /// Its name in the cloud.
    pub host: String,
    /// Its address on the management network; none: the one that reaches the controller.
    pub management_ip: Option<IpAddr>,
    /// Its address on the data network, for tunnels; none: the management address.
    pub data_ip: Option<IpAddr>,
    /// The interface on the external network, of a network host.
    pub external_interface: Option<String>,
}

/// A ticket for a host of these roles, made on a controller; the text to carry.
pub fn ticket(settings: &Settings, roles: Vec<Role>, lasts: Duration) -> Result<String> {
    let state = &settings.default.state_path;
    if settings.embedded() {
        let words = "This cloud lives in one process: without [DEFAULT] transport_url and [database] connection no other host can join it.";
        return Err(Error::bad_request(words));
    }
    let url = format!("https://{}", desk::address(settings));
    let fingerprint = desk::fingerprint(state)?;
    super::ticket::create(state, url, fingerprint, roles, lasts)?.show()
}

/// Joins; returns the roles and where the configuration is.
pub async fn join(state: &Path, text: &str, wish: Wish) -> Result<(Vec<Role>, PathBuf)> {
    let ticket = Ticket::parse(text)?;
    let path = state.join("config.toml");
    if path.exists() || state.join("secrets.json").exists() {
        return Err(Error::bad_request(format!(
            "{} is part of a cloud already: choose another --state, or `ferrostack reset` it.",
            state.display()
        )));
    }
    std::fs::create_dir_all(state)?;
    let management = match wish.management_ip {
        Some(ip) => ip,
        None => way_to(&ticket.url)?,
    };
    let ask = Ask {
        id: ticket.id.clone(),
        secret: ticket.secret.clone(),
        host: wish.host,
    };
    let url = format!("{}/v1/join", ticket.url);
    let given = sdk::post_pinned(&url, ticket.fingerprint, &serde_json::to_value(&ask)?).await?;
    let given: Given = serde_json::from_value(given)?;
    let mut config: Table = given.config.parse().map_err(Error::internal)?;
    let management = management.to_string();
    let data = wish.data_ip.map_or(management.clone(), |ip| ip.to_string());
    let has = |role: Role| given.roles.contains(&role);
    if has(Role::Controller) {
        set(&mut config, "api", "bind_host", management.as_str());
    }
    if has(Role::Compute) {
        set(&mut config, "nova_compute", "my_ip", management.as_str());
        set(
            &mut config,
            "nova_compute",
            "vnc_listen",
            management.as_str(),
        );
    }
    if has(Role::Compute) || has(Role::Network) {
        set(&mut config, "neutron_agents", "local_ip", data.as_str());
    }
    if let (true, Some(interface)) = (has(Role::Network), &wish.external_interface) {
        set(
            &mut config,
            "neutron_agents",
            "external_interface",
            interface.as_str(),
        );
    }
    if has(Role::Storage) {
        set(&mut config, "cinder_volume", "my_ip", management.as_str());
    }
    if let Some(ca) = &given.ca {
        let file = state.join("ca.pem");
        private::write(&file, ca)?;
        set(&mut config, "api", "cafile", &*file.to_string_lossy());
    }
    if let Some(front) = &given.front {
        let file = state.join("haproxy.pem");
        private::write(&file, front.expose())?;
        set(
            &mut config,
            "cluster",
            "tls_certificate",
            &*file.to_string_lossy(),
        );
    }
    let config = toml::to_string(&config).map_err(Error::internal)?;
    // The configuration last: with it the host has joined.
    private::create(
        &state.join("secrets.json"),
        &serde_json::to_string_pretty(&given.secrets)?,
    )?;
    private::create(&path, &config)?;
    Ok((given.roles, path))
}

/// The address from which this host reaches the controller; nothing is sent.
fn way_to(url: &str) -> Result<IpAddr> {
    let target = url.trim_start_matches("https://");
    let unspecified = if target.starts_with('[') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(unspecified)?;
    socket
        .connect(target)
        .map_err(|e| Error::unavailable(format!("There is no way to {target}: {e}")))?;
    Ok(socket.local_addr()?.ip())
}
