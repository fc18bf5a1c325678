//! Ports for tests.

use base::Result;
use std::net::TcpListener;

/// A port of 127.0.0.1 that is free now. Who asked binds it a moment later; little else on a test machine takes it meanwhile.
pub fn free() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
