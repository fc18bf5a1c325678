//! The configurations of HAProxy and keepalived that stand before several controllers.
//!
//! HAProxy asks each controller's `/healthcheck`, sends a request that met a dead controller to the next one, and takes a
//! controller out before it stops, without cutting what still runs there. keepalived moves the public address to another HAProxy when one dies (VRRP, RFC 5798).

use crate::config::Settings;
use base::{Error, Result};
use std::fmt::Write;

/// How often HAProxy looks at a controller, in milliseconds.
const CHECK_MS: u32 = 500;

/// `haproxy.cfg` for the controllers of `[cluster]`; it listens on `[api] public_host`.
pub fn haproxy(settings: &Settings) -> Result<String> {
    let (controllers, public) = cluster(settings)?;
    let api = &settings.api;
    let mut text = format!(
        "# Made by `ferrostack haproxy`; change [cluster] and [api] of the configuration instead.\n\
         global\n    maxconn 8000\n\n\
         defaults\n    mode http\n    timeout connect 1s\n    timeout client 120s\n    timeout server 120s\n    \
         timeout queue 30s\n    option redispatch 1\n    retries 4\n    \
         retry-on conn-failure empty-response response-timeout 0rtt-rejected\n    \
         option forwardfor\n    option http-server-close\n    balance leastconn\n    \
         default-server check inter {CHECK_MS} fall 2 rise 2\n\n"
    );
    for (name, port) in [
        ("identity", api.identity_port),
        ("image", api.image_port),
        ("placement", api.placement_port),
        ("network", api.network_port),
        ("compute", api.compute_port),
        ("metadata", api.metadata_port),
        ("volume", api.volume_port),
    ] {
        section(&mut text, name, public, port, controllers, true)?;
    }
    // A console stays with one controller for as long as it is open; any of them can check its token.
    section(
        &mut text,
        "novnc",
        public,
        api.novnc_port,
        controllers,
        false,
    )?;
    Ok(text)
}

fn section(
    text: &mut String,
    name: &str,
    public: &str,
    port: u16,
    controllers: &[String],
    health: bool,
) -> Result<()> {
    if port == 0 {
        return Err(Error::bad_request(format!(
            "[api] {name}_port is 0: behind HAProxy every port needs a number."
        )));
    }
    let mut put = || -> std::fmt::Result {
        writeln!(text, "listen {name}\n    bind {public}:{port}")?;
        if health {
            writeln!(text, "    option httpchk GET /healthcheck")?;
            // Repeated only if no controller can have seen it: the others might have done the work.
            writeln!(
                text,
                "    http-request disable-l7-retry if !METH_GET !{{ method HEAD }}"
            )?;
        }
        for (n, address) in controllers.iter().enumerate() {
            writeln!(text, "    server controller{} {address}:{port}", n + 1)?;
        }
        writeln!(text)
    };
    put().map_err(Error::internal)
}

/// `keepalived.conf` for the HAProxy of controller number `of` (from 0), on `interface`.
pub fn keepalived(settings: &Settings, of: usize, interface: &str) -> Result<String> {
    let (controllers, public) = cluster(settings)?;
    let Some(own) = controllers.get(of) else {
        let words = format!("[cluster] controllers has {} entries.", controllers.len());
        return Err(Error::bad_request(words));
    };
    let peers: String = controllers
        .iter()
        .filter(|c| *c != own)
        .map(|c| format!("        {c}\n"))
        .collect();
    let priority = 150 - 10 * of.min(14);
    Ok(format!(
        "# Made by `ferrostack keepalived`.\n\
         vrrp_script haproxy {{\n    script \"/usr/bin/pgrep -x haproxy\"\n    interval 1\n    fall 2\n    weight -50\n}}\n\n\
         vrrp_instance ferrostack {{\n    state BACKUP\n    interface {interface}\n    virtual_router_id 51\n    \
         priority {priority}\n    advert_int 0.5\n    unicast_src_ip {own}\n    unicast_peer {{\n{peers}    }}\n    \
         virtual_ipaddress {{\n        {public}\n    }}\n    track_script {{\n        haproxy\n    }}\n}}\n"
    ))
}

fn cluster(settings: &Settings) -> Result<(&[String], &str)> {
    let controllers = settings.cluster.controllers.as_slice();
    if controllers.is_empty() {
        return Err(Error::bad_request(
            "[cluster] controllers is empty: name the addresses of all controllers there.",
        ));
    }
    if settings.api.public_host.is_empty() {
        return Err(Error::bad_request(
            "[api] public_host is empty: HAProxy needs an address of its own.",
        ));
    }
    Ok((controllers, settings.api.public_host.as_str()))
}
