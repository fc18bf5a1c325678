//! A network's DHCP server: namespace, wire, dnsmasq.

use crate::bridge::Links;
use crate::config::Settings;
use crate::leg;
use crate::plan::Dhcp;
use base::Result;
use host_netns::ns;

/// Makes it so, and tells the neighbours of what is new or, `again`, of all.
pub async fn ensure(dhcp: &Dhcp, links: &Links, settings: &Settings, again: bool) -> Result<()> {
    ns::ensure(&dhcp.namespace).await?;
    let legs = std::slice::from_ref(&dhcp.leg);
    let fresh = leg::ensure(&dhcp.namespace, legs, links, settings).await?;
    // It may have been on another host: guests that renew a lease must find it here.
    let told = if again { leg::all(legs) } else { fresh };
    leg::announce(&dhcp.namespace, told).await?;
    leg::ensure_routes(&dhcp.namespace, &dhcp.routes).await?;
    if dhcp.server.subnets.is_empty() {
        host_netns::dnsmasq::remove(&dhcp.server.folder).await
    } else {
        dhcp.server.ensure().await
    }
}
