//! Ports for tests.

use base::Result;
use std::net::TcpListener;

/// A port of 127.0.0.1 that is free now. Who asked binds it a moment later; little else on a test machine takes it meanwhile.
pub fn free() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The `[api]` table of a cloud of one process that takes free ports, for a configuration file.
pub const ANY_API_PORTS: &str = "[api]
identity_port = 0
image_port = 0
placement_port = 0
network_port = 0
compute_port = 0
metadata_port = 0
volume_port = 0
novnc_port = 0
";
