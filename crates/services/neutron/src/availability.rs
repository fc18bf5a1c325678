//! Views over what there is: availability zones, addresses left, service providers.

use crate::db::{AllocationRow, NetworkRow, SubnetRow};
use crate::noun::Call;
use crate::{Neutron, agents, fault, ipam};
use base::{Error, Result};
use oslo_db::{Cond, Tx, eq, everything, is_in};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn enforce(req: &Req, rule: &str) -> Result<()> {
    let own = json!({"project_id": req.ctx.project_id, "tenant_id": req.ctx.project_id});
    if req.permits(rule, &own) {
        Ok(())
    } else {
        Err(fault::denied(rule))
    }
}

pub(crate) async fn zones(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_availability_zone")?;
    let zones = neutron.db.read(agents::all_zones).await?;
    let views = zones
        .into_iter()
        .map(|(name, resource)| json!({"name": name, "resource": resource, "state": "available"}));
    let fits = |zone: &Value| {
        ["name", "resource", "state"]
            .iter()
            .all(|f| req.query.get(f).is_none_or(|w| zone[*f] == w))
    };
    Reply::ok(&json!({"availability_zones": views.filter(fits).collect::<Vec<_>>()}))
}

pub(crate) async fn providers(_: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_service_provider")?;
    Reply::ok(
        &json!({"service_providers": [{"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": true}]}),
    )
}

fn availability(tx: &mut Tx, _: &Call, networks: Cond, version: Option<i64>) -> Result<Vec<Value>> {
    let networks = tx.select_sorted::<NetworkRow>(networks, &[("id", base::Dir::Asc)], None)?;
    let ids = || networks.iter().map(|n| n.id.as_str());
    let subnets = tx.select::<SubnetRow>(is_in("network_id", ids()))?;
    let held = tx.select::<AllocationRow>(is_in("network_id", ids()))?;
    let mut views = Vec::new();
    for network in &networks {
        let (mut total, mut used, mut own) = (0u128, 0u128, Vec::new());
        for subnet in subnets
            .iter()
            .filter(|s| s.network_id == network.id && version.is_none_or(|v| v == s.ip_version))
        {
            let size = ipam::size(&subnet.allocation_pools.0);
            let taken = held.iter().filter(|a| a.subnet_id == subnet.id).count() as u128;
            total += size;
            used += taken;
            own.push(json!({
                "subnet_id": subnet.id, "subnet_name": subnet.name, "ip_version": subnet.ip_version, "cidr": subnet.cidr,
                "total_ips": number(size), "used_ips": number(taken),
            }));
        }
        views.push(json!({
            "network_id": network.id, "network_name": network.name, "tenant_id": network.project_id,
            "project_id": network.project_id, "total_ips": number(total), "used_ips": number(used), "subnet_ip_availability": own,
        }));
    }
    Ok(views)
}

/// IPv6 networks hold more addresses than a 64-bit integer counts; such a number is written as a float.
fn number(n: u128) -> Value {
    u64::try_from(n).map_or_else(|_| json!(n as f64), |n| json!(n))
}

pub(crate) async fn addresses(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_network_ip_availability")?;
    let call = Call::of(&neutron, &req);
    let mut conds = vec![everything()];
    for (name, column) in [
        ("network_id", "id"),
        ("network_name", "name"),
        ("tenant_id", "project_id"),
        ("project_id", "project_id"),
    ] {
        let wanted: Vec<&str> = req.query.all(name).collect();
        if !wanted.is_empty() {
            conds.push(is_in(column, wanted));
        }
    }
    let version = req.query.get("ip_version").and_then(|v| v.parse().ok());
    let views = neutron
        .db
        .read(move |tx| availability(tx, &call, oslo_db::all(conds.clone()), version))
        .await?;
    Reply::ok(&json!({"network_ip_availabilities": views}))
}

pub(crate) async fn addresses_of(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_network_ip_availability")?;
    let call = Call::of(&neutron, &req);
    let id = req.param("id").to_string();
    let views = neutron
        .db
        .read(move |tx| availability(tx, &call, eq("id", id.as_str()), None))
        .await?;
    match views.into_iter().next() {
        Some(view) => Reply::ok(&json!({"network_ip_availability": view})),
        None => Err(
            Error::not_found(format!("Network {} could not be found.", req.param("id")))
                .class("NetworkNotFound"),
        ),
    }
}
