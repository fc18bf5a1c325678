//! A router: namespace, legs, forwarding, translation, routes, advertisements.

use crate::bridge::Links;
use crate::config::Settings;
use crate::leg;
use crate::plan::{Router, metadata_net};
use base::Result;
use host_netns::link::Batch;
use host_netns::{IfName, nat, nft, ns, radvd};

/// Makes it so, and tells the neighbours of what is new or, `again`, of all.
pub async fn ensure(
    router: &Router,
    links: &Links,
    settings: &Settings,
    again: bool,
) -> Result<()> {
    let namespace = &router.namespace;
    ns::ensure(namespace).await?;
    // Translation before forwarding: nothing may leave untranslated.
    nft::apply(Some(namespace), &nat::transaction(&router.nat)).await?;
    let forwards = if router.on { "1" } else { "0" };
    let forward =
        ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(|k| (k.to_string(), forwards));
    ns::sysctl(namespace, forward.into()).await?;
    if settings.metadata_on_host {
        let lo = IfName::parse("lo")?;
        let inner = crate::bridge::links(Some(namespace)).await?;
        if inner
            .get("lo")
            .is_none_or(|l| !l.addresses.contains(&metadata_net()))
        {
            let mut batch = Batch::new();
            batch.add_address(&lo, &metadata_net());
            batch.run(Some(namespace)).await?;
        }
    }
    let fresh = leg::ensure(namespace, &router.legs, links, settings).await?;
    leg::ensure_routes(namespace, &router.routes).await?;
    let told = if again { leg::all(&router.legs) } else { fresh };
    leg::announce(namespace, told).await?;
    match &router.radvd {
        Some(radvd) => radvd.ensure().await,
        None => radvd::remove(&settings.state_path.join("routers").join(router.id.as_str())).await,
    }
}
