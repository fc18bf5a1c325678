//! The host's end of a port. The agent makes the device before the guest starts, so that the L2 agent can wire
//! it in the meantime and the guest's first packet already passes.

use base::Result;
use host_privsep::{Privsep, Program};
use nova_types::rpc::PortSpec;
use std::path::Path;

/// Makes the tap unless it exists.
pub(super) async fn ensure(privsep: &Privsep, port: &PortSpec) -> Result<()> {
    let tap = port.tap();
    if exists(&tap) {
        return Ok(());
    }
    let add = ["tuntap", "add", "dev", &tap, "mode", "tap", "vnet_hdr"];
    if let Err(e) = privsep.run(Program::Ip, add).await
        && !exists(&tap)
    {
        return Err(e);
    }
    let mut set = vec!["link".to_string(), "set".into(), "dev".into(), tap];
    // A bridge takes the lowest address of its members; with fe it never takes that of a guest's tap.
    if let Some((_, rest)) = port.mac.split_once(':') {
        set.extend(["address".into(), format!("fe:{rest}")]);
    }
    if port.mtu > 0 {
        set.extend(["mtu".into(), port.mtu.to_string()]);
    }
    set.push("up".into());
    privsep.run(Program::Ip, set).await.map(drop)
}

/// Removes it; absent is success.
pub(super) async fn remove(privsep: &Privsep, tap: &str) -> Result<()> {
    if !exists(tap) {
        return Ok(());
    }
    match privsep.run(Program::Ip, ["link", "delete", tap]).await {
        Err(e) if exists(tap) => Err(e),
        _ => Ok(()),
    }
}

fn exists(tap: &str) -> bool {
    Path::new("/sys/class/net").join(tap).exists()
}
