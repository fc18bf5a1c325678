//! The configurations of HAProxy and keepalived that stand before several controllers.
//!
//! HAProxy runs on each controller. It asks each controller's `/healthcheck`, sends a request that met a dead controller to
//! the next one, and takes a controller out before it stops, without cutting what still runs there; with `[cluster] databases`
//! it also leads the controller's own services to one node of Galera. keepalived moves the public address to another
//! controller when HAProxy there does not answer, or the host is gone (VRRP, RFC 5798).

use crate::config::Settings;
use base::{Error, Result};
use std::fmt::Write;

/// How often HAProxy looks at a controller, in milliseconds.
const CHECK_MS: u32 = 500;

/// `haproxy.cfg` for the controllers of `[cluster]`; it listens on `[api] public_host`.
pub fn haproxy(settings: &Settings) -> Result<String> {
    let (controllers, public) = cluster(settings)?;
    let (api, cluster) = (&settings.api, &settings.cluster);
    let tls = match &cluster.tls_certificate {
        Some(file) => format!(" ssl crt {}", file.display()),
        None => String::new(),
    };
    let mut text = format!(
        "# Made by `ferrostack haproxy`; change [cluster] and [api] of the configuration instead.\n\
         global\n    maxconn 8000\n    user haproxy\n    group haproxy\n    \
         ssl-default-bind-options ssl-min-ver TLSv1.2\n\n\
         defaults\n    mode http\n    timeout connect 1s\n    timeout client 120s\n    timeout server 120s\n    \
         timeout queue 30s\n    timeout check 2s\n    option redispatch 1\n    retries 4\n    \
         retry-on conn-failure empty-response response-timeout 0rtt-rejected\n    \
         option forwardfor\n    option http-server-close\n    balance leastconn\n    \
         default-server check inter {CHECK_MS} fall 2 rise 2\n\n\
         # What keepalived asks.\n\
         frontend alive\n    bind 127.0.0.1:{}\n    monitor-uri /\n\n",
        cluster.haproxy_check_port
    );
    for (name, port, kind) in [
        ("identity", api.identity_port, Kind::Api),
        ("image", api.image_port, Kind::Api),
        ("placement", api.placement_port, Kind::Api),
        ("network", api.network_port, Kind::Api),
        ("compute", api.compute_port, Kind::Api),
        ("metadata", api.metadata_port, Kind::Api),
        ("volume", api.volume_port, Kind::Api),
        // A console stays with one controller for as long as it is open; any of them can check its token.
        ("novnc", api.novnc_port, Kind::Console),
    ] {
        if port == 0 {
            return Err(Error::bad_request(format!(
                "[api] {name}_port is 0: behind HAProxy every port needs a number."
            )));
        }
        let bind = format!("{public}:{port} transparent{tls}");
        section(&mut text, name, &bind, controllers, port, kind).map_err(Error::internal)?;
    }
    if !cluster.databases.is_empty() {
        galera(&mut text, &cluster.databases).map_err(Error::internal)?;
    }
    Ok(text)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Api,
    Console,
}

/// `bind` is `transparent`: an HAProxy that waits for the public address listens there before it has it.
fn section(
    text: &mut String,
    name: &str,
    bind: &str,
    controllers: &[String],
    port: u16,
    kind: Kind,
) -> std::fmt::Result {
    writeln!(text, "listen {name}\n    bind {bind}")?;
    if bind.contains(" ssl ") {
        writeln!(text, "    http-request set-header X-Forwarded-Proto https")?;
    }
    match kind {
        Kind::Api => {
            writeln!(text, "    option httpchk GET /healthcheck")?;
            // Repeated only if no controller can have seen it: the others might have done the work.
            writeln!(
                text,
                "    http-request disable-l7-retry if !METH_GET !{{ method HEAD }}"
            )?;
        }
        Kind::Console => writeln!(text, "    timeout tunnel 1h")?,
    }
    for (n, address) in controllers.iter().enumerate() {
        writeln!(text, "    server controller{} {address}:{port}", n + 1)?;
    }
    writeln!(text)
}

/// All go to one node, and stay with the one they went to when a better one comes back; a node is asked, by a user without
/// password and rights, whether it is in step with the others.
fn galera(text: &mut String, nodes: &[String]) -> std::fmt::Result {
    let login = packet(1, &login(DATABASE_CHECK_USER));
    let question = packet(0, b"\x03SHOW STATUS LIKE 'wsrep_local_state'");
    let quit = packet(0, b"\x01");
    // The row of the answer: name and value, each after its length. 4 is "Synced".
    let synced = hex(b"wsrep_local_state\x014");
    writeln!(
        text,
        "listen database\n    bind 127.0.0.1:3306\n    mode tcp\n    timeout client 2h\n    timeout server 2h\n    \
         option clitcpka\n    option srvtcpka\n    \
         stick-table type ip size 1 nopurge\n    stick on dst\n    \
         option tcp-check\n    tcp-check connect\n    \
         tcp-check expect string mysql_native_password\n    \
         tcp-check send-binary {login}\n    \
         tcp-check expect binary 00000200\n    \
         tcp-check send-binary {question}\n    \
         tcp-check expect binary {synced}\n    \
         tcp-check send-binary {quit}\n    \
         default-server on-marked-down shutdown-sessions"
    )?;
    for (n, address) in nodes.iter().enumerate() {
        let backup = if n == 0 { "" } else { " backup" };
        writeln!(text, "    server db{} {address}{backup}", n + 1)?;
    }
    writeln!(text)
}

/// The user as whom HAProxy asks Galera's nodes.
const DATABASE_CHECK_USER: &str = "haproxy";

/// MariaDB's protocol: a packet has its length in three bytes and its number in one.
fn packet(number: u8, payload: &[u8]) -> String {
    let mut bytes = payload.len().to_le_bytes()[..3].to_vec();
    bytes.push(number);
    bytes.extend(payload);
    hex(&bytes)
}

/// The client's answer to the server's greeting, without a password.
fn login(user: &str) -> Vec<u8> {
    // Long passwords, protocol 4.1, authentication 4.1, names of authentication plugins.
    let capabilities = 0x0000_0001_u32 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000;
    let mut payload = capabilities.to_le_bytes().to_vec();
    payload.extend((1_u32 << 24).to_le_bytes());
    // utf8, and 23 bytes of nothing.
    payload.push(33);
    payload.extend([0; 23]);
    payload.extend(user.as_bytes());
    payload.extend([0, 0]);
    payload.extend(b"mysql_native_password\0");
    payload
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
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
    let port = settings.cluster.haproxy_check_port;
    // Whoever has the address keeps it (nopreempt): a controller that comes back does not interrupt anybody a second time.
    // The script has no weight, so that where HAProxy is dead the address is given up at once.
    Ok(format!(
        "# Made by `ferrostack keepalived`.\n\
         global_defs {{\n    vrrp_version 3\n    vrrp_garp_master_delay 1\n    vrrp_garp_master_refresh 10\n    \
         vrrp_priority -10\n    script_user nobody\n    enable_script_security\n}}\n\n\
         vrrp_script haproxy {{\n    script \"/usr/bin/curl -sf -m 1 -o /dev/null http://127.0.0.1:{port}/\"\n    \
         interval 1\n    timeout 2\n    fall 2\n    rise 2\n}}\n\n\
         vrrp_instance ferrostack {{\n    state BACKUP\n    nopreempt\n    interface {interface}\n    \
         virtual_router_id 51\n    priority {priority}\n    advert_int 0.5\n    unicast_src_ip {own}\n    \
         unicast_peer {{\n{peers}    }}\n    \
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        let text = format!(
            "[api]\npublic_host = \"192.0.2.10\"\n[cluster]\ncontrollers = [\"192.0.2.11\", \"192.0.2.12\"]\n{more}"
        );
        Settings::parse(&text).unwrap()
    }

    #[test]
    fn a_waiting_haproxy_listens_on_an_address_it_does_not_have() {
        let plain = haproxy(&settings("")).unwrap();
        assert!(plain.contains("bind 192.0.2.10:8774 transparent\n"));
        assert!(plain.contains("server controller2 192.0.2.12:8774\n"));
        assert!(!plain.contains("listen database") && !plain.contains("X-Forwarded-Proto"));
        let tls = haproxy(&settings("tls_certificate = \"/etc/front.pem\"")).unwrap();
        assert!(tls.contains("bind 192.0.2.10:5000 transparent ssl crt /etc/front.pem\n"));
        assert!(tls.contains("set-header X-Forwarded-Proto https"));
    }

    #[test]
    fn a_node_of_galera_is_asked_in_its_own_protocol() {
        let text = haproxy(&settings(
            "databases = [\"192.0.2.61:3306\", \"192.0.2.62:3306\"]",
        ))
        .unwrap();
        // 63 bytes, number 1; capabilities; …; the user's name ends with a zero.
        assert!(text.contains("send-binary 3f00000101820800"), "{text}");
        assert!(text.contains(&hex(b"haproxy\0\0mysql_native_password\0")));
        assert!(text.contains("server db1 192.0.2.61:3306\n"));
        assert!(text.contains("server db2 192.0.2.62:3306 backup\n"));
    }

    #[test]
    fn every_controller_has_its_own_place_in_the_queue() {
        let first = keepalived(&settings(""), 0, "eth0").unwrap();
        let second = keepalived(&settings(""), 1, "eth0").unwrap();
        assert!(first.contains("priority 150") && second.contains("priority 140"));
        assert!(
            second.contains("unicast_src_ip 192.0.2.12") && second.contains("        192.0.2.11\n")
        );
        assert!(keepalived(&settings(""), 2, "eth0").is_err());
    }
}
