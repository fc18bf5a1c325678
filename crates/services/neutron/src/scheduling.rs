//! The schedule as the API shows and changes it: networks of DHCP agents, routers of L3 agents.

use crate::agents::{self, Agents};
use crate::db::{AgentRow, DhcpBindingRow, L3BindingRow, NetworkRow, PortRow, RouterRow};
use crate::networks::Networks;
use crate::noun::{Call, Noun, within};
use crate::routers::Routers;
use crate::topics::{Change, Topic};
use crate::{Neutron, crud, fault, ports, schedule};
use base::{Error, Result};
use oslo_db::{Cond, Tx, all, eq, is_in};
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

async fn rows<N: Noun>(neutron: Arc<Neutron>, req: Req, cond: Cond) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let inner = call.clone();
    let views = neutron
        .db
        .read(move |tx| {
            let found = tx.select::<N::Row>(cond.clone())?;
            crud::views::<N>(tx, &inner, found)
        })
        .await?;
    let shown = crud::Shown::new::<N>(&call, Vec::new())?;
    let items: Vec<_> = views.into_iter().map(|v| shown.show(v)).collect();
    Reply::ok(&crud::wrap(N::PLURAL, items))
}

pub(crate) async fn agents_of_network(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_dhcp-agents")?;
    let cond = within::<DhcpBindingRow>("id", "agent_id", eq("network_id", req.param("id")));
    rows::<Agents>(neutron, req, cond).await
}

pub(crate) async fn agents_of_router(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_l3-agents")?;
    let cond = within::<L3BindingRow>("id", "agent_id", eq("router_id", req.param("id")));
    rows::<Agents>(neutron, req, cond).await
}

pub(crate) async fn networks_of_agent(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_dhcp-networks")?;
    let cond = within::<DhcpBindingRow>("id", "network_id", eq("agent_id", req.param("id")));
    rows::<Networks>(neutron, req, cond).await
}

pub(crate) async fn routers_of_agent(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "get_l3-routers")?;
    let cond = within::<L3BindingRow>("id", "router_id", eq("agent_id", req.param("id")));
    rows::<Routers>(neutron, req, cond).await
}

fn named(req: &Req, key: &str) -> Result<String> {
    let id = req
        .json
        .as_ref()
        .and_then(|b| b.get(key))
        .and_then(Value::as_str);
    id.map(str::to_string)
        .ok_or_else(|| Error::bad_request(format!("Unable to find '{key}' in request body")))
}

pub(crate) async fn add_network(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "create_dhcp-network")?;
    let call = Call::of(&neutron, &req);
    let (agent, network) = (req.param("id").to_string(), named(&req, "network_id")?);
    neutron
        .change(&call, move |tx, call| {
            let agent: AgentRow = agents::of_kind(tx, &agent, agents::DHCP)?;
            crate::networks::alone(tx, call, &network)?;
            if tx.exists::<DhcpBindingRow>(eq("network_id", network.as_str()))? {
                let words = format!(
                    "The network {network} has been already hosted by the DHCP Agent {}.",
                    agent.id
                );
                return Err(fault::conflict("NetworkHostedByDHCPAgent", words));
            }
            tx.insert(&DhcpBindingRow {
                network_id: network.clone(),
                agent_id: agent.id,
            })?;
            call.touch(Topic::Host(agent.host));
            schedule::dhcp(tx, call, &network)?;
            Ok(())
        })
        .await?;
    Reply::json(201, &Value::Null)
}

pub(crate) async fn remove_network(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "delete_dhcp-network")?;
    let call = Call::of(&neutron, &req);
    let (agent, network) = (req.param("id").to_string(), req.param("other").to_string());
    neutron
        .change(&call, move |tx, call| {
            // Nobody schedules it meanwhile.
            tx.find_for_update::<NetworkRow>(eq("id", network.as_str()))?;
            touch(tx, call, &agent)?;
            let bound = all([
                eq("agent_id", agent.as_str()),
                eq("network_id", network.as_str()),
            ]);
            if tx.delete::<DhcpBindingRow>(bound)? == 0 {
                let words =
                    format!("The network {network} is not hosted by the DHCP agent {agent}.");
                return Err(fault::conflict("NetworkNotHostedByDhcpAgent", words));
            }
            let served = all([
                eq("network_id", network.as_str()),
                eq("device_owner", ports::DHCP),
            ]);
            for port in tx.select::<PortRow>(served)? {
                ports::remove(tx, call, &port)?;
            }
            Ok(())
        })
        .await?;
    Ok(Reply::empty(204))
}

pub(crate) async fn add_router(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "create_l3-router")?;
    let call = Call::of(&neutron, &req);
    let (agent, router) = (req.param("id").to_string(), named(&req, "router_id")?);
    neutron
        .change(&call, move |tx, call| {
            let agent = agents::of_kind(tx, &agent, agents::L3)?;
            crud::take::<Routers>(tx, call, &router)?;
            match tx.find::<L3BindingRow>(eq("router_id", router.as_str()))? {
                Some(held) if held.agent_id == agent.id => return Ok(()),
                Some(held) => {
                    let words = format!(
                        "The router {router} has been already hosted by the L3 Agent {}.",
                        held.agent_id
                    );
                    return Err(fault::conflict("RouterHostedByL3Agent", words));
                }
                None => {}
            }
            tx.insert(&L3BindingRow {
                router_id: router.clone(),
                agent_id: agent.id,
            })?;
            call.touch(Topic::Host(agent.host));
            schedule::l3(tx, call, &router)?;
            Ok(())
        })
        .await?;
    Reply::json(201, &Value::Null)
}

pub(crate) async fn remove_router(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    enforce(&req, "delete_l3-router")?;
    let call = Call::of(&neutron, &req);
    let (agent, router) = (req.param("id").to_string(), req.param("other").to_string());
    neutron
        .change(&call, move |tx, call| {
            tx.find_for_update::<RouterRow>(eq("id", router.as_str()))?;
            touch(tx, call, &agent)?;
            let bound = all([
                eq("agent_id", agent.as_str()),
                eq("router_id", router.as_str()),
            ]);
            if tx.delete::<L3BindingRow>(bound)? == 0 {
                let words = format!("The router {router} is not hosted by L3 agent {agent}.");
                return Err(fault::conflict("RouterNotHostedByL3Agent", words));
            }
            unhost(tx, call, &router)
        })
        .await?;
    Ok(Reply::empty(204))
}

/// The host of an agent has less to do.
fn touch(tx: &mut Tx, call: &Call, agent: &str) -> Result<()> {
    if let Some(agent) = tx.find::<AgentRow>(eq("id", agent))? {
        call.touch(Topic::Host(agent.host));
    }
    Ok(())
}

/// The legs of a router that no agent serves are nowhere.
fn unhost(tx: &mut Tx, call: &Call, router: &str) -> Result<()> {
    let legs = all([
        eq("device_id", router),
        is_in("device_owner", [ports::INTERFACE, ports::GATEWAY]),
    ]);
    for mut leg in tx.select::<PortRow>(legs)? {
        call.touch_port(&leg, [], Change::PLACE);
        leg.host = String::new();
        leg.status = "DOWN".into();
        ports::bind(tx, call, &mut leg)?;
        crate::revise!(leg, call);
        crate::noun::save(tx, &leg)?;
    }
    Ok(())
}
