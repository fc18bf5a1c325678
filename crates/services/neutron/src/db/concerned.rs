//! Which hosts a topic concerns: pairs of what it is about and a host, each once.

use super::{AgentRow, DhcpBindingRow, L3BindingRow, PortGroupRow, PortPlaceRow, RuleRow};
use base::Result;
use oslo_db::sea_query::{Expr, ExprTrait, Func, Query, SelectStatement};
use oslo_db::{Table, Tx, is_in, ne};
use std::collections::HashMap;

type Pairs = Vec<(String, String)>;

fn pairs(tx: &mut Tx, select: &SelectStatement) -> Result<Pairs> {
    let rows = tx.query(select)?;
    rows.iter().map(|r| Ok((r.get(0)?, r.get(1)?))).collect()
}

/// Hosts that have ports of networks.
pub(crate) fn of_networks(tx: &mut Tx, networks: &[String]) -> Result<Pairs> {
    let mut select = Query::select();
    select
        .distinct()
        .columns(["network_id", "host"])
        .from(PortPlaceRow::NAME)
        .cond_where(is_in("network_id", networks))
        .cond_where(ne("host", ""));
    pairs(tx, &select)
}

/// Hosts that serve DHCP for networks.
pub(crate) fn of_served(tx: &mut Tx, networks: &[String]) -> Result<Pairs> {
    let (binding, agent) = (DhcpBindingRow::NAME, AgentRow::NAME);
    let mut select = Query::select();
    select
        .columns([(binding, "network_id"), (agent, "host")])
        .from(binding)
        .inner_join(
            agent,
            Expr::col((agent, "id")).equals((binding, "agent_id")),
        )
        .cond_where(is_in((binding, "network_id"), networks));
    pairs(tx, &select)
}

/// Hosts that have routers.
pub(crate) fn of_routers(tx: &mut Tx, routers: &[String]) -> Result<Pairs> {
    let (binding, agent) = (L3BindingRow::NAME, AgentRow::NAME);
    let mut select = Query::select();
    select
        .columns([(binding, "router_id"), (agent, "host")])
        .from(binding)
        .inner_join(
            agent,
            Expr::col((agent, "id")).equals((binding, "agent_id")),
        )
        .cond_where(is_in((binding, "router_id"), routers));
    pairs(tx, &select)
}

/// Hosts that have ports in groups.
pub(crate) fn of_groups(tx: &mut Tx, groups: &[String]) -> Result<Pairs> {
    let (member, port) = (PortGroupRow::NAME, PortPlaceRow::NAME);
    let mut select = Query::select();
    select
        .distinct()
        .columns([(member, "security_group_id"), (port, "host")])
        .from(member)
        .inner_join(port, Expr::col((port, "id")).equals((member, "port_id")))
        .cond_where(is_in((member, "security_group_id"), groups))
        .cond_where(ne((port, "host"), ""));
    pairs(tx, &select)
}

/// Hosts that have ports in groups whose rules name these groups as the other end.
pub(crate) fn of_members(tx: &mut Tx, groups: &[String]) -> Result<Pairs> {
    let (rule, member, port) = (RuleRow::NAME, PortGroupRow::NAME, PortPlaceRow::NAME);
    let mut select = Query::select();
    select
        .distinct()
        .columns([(rule, "remote_group_id"), (port, "host")])
        .from(rule)
        .inner_join(
            member,
            Expr::col((member, "security_group_id")).equals((rule, "security_group_id")),
        )
        .inner_join(port, Expr::col((port, "id")).equals((member, "port_id")))
        .cond_where(is_in((rule, "remote_group_id"), groups))
        .cond_where(ne((port, "host"), ""));
    pairs(tx, &select)
}

/// How many networks (or routers) each agent serves.
pub(crate) fn loads(tx: &mut Tx, dhcp: bool) -> Result<HashMap<String, i64>> {
    let bindings = match dhcp {
        true => DhcpBindingRow::NAME,
        false => L3BindingRow::NAME,
    };
    let mut select = Query::select();
    select
        .column("agent_id")
        .expr(Func::count(Expr::col("agent_id")))
        .from(bindings)
        .group_by_col("agent_id");
    let rows = tx.query(&select)?;
    rows.iter().map(|r| Ok((r.get(0)?, r.get(1)?))).collect()
}

/// Networks of which a host has ports.
pub(crate) fn networks_of(tx: &mut Tx, host: &str) -> Result<Vec<String>> {
    let mut select = Query::select();
    select
        .distinct()
        .column("network_id")
        .from(PortPlaceRow::NAME)
        .cond_where(oslo_db::eq("host", host));
    let rows = tx.query(&select)?;
    rows.iter().map(|r| r.get(0)).collect()
}

/// The addresses of groups' members: (group, port, address).
pub(crate) fn member_addresses(tx: &mut Tx, groups: &[String]) -> Result<Vec<(String, String)>> {
    let (member, held) = (PortGroupRow::NAME, super::AllocationRow::NAME);
    let mut select = Query::select();
    select
        .columns([(member, "security_group_id"), (held, "ip_address")])
        .from(member)
        .inner_join(
            held,
            Expr::col((held, "port_id")).equals((member, "port_id")),
        )
        .cond_where(is_in((member, "security_group_id"), groups));
    pairs(tx, &select)
}

/// The further addresses that groups' members may use: (group, pairs as JSON).
pub(crate) fn member_pairs(tx: &mut Tx, groups: &[String]) -> Result<Vec<(String, String)>> {
    let (member, port) = (PortGroupRow::NAME, super::PortRow::NAME);
    let mut select = Query::select();
    select
        .columns([
            (member, "security_group_id"),
            (port, "allowed_address_pairs"),
        ])
        .from(member)
        .inner_join(port, Expr::col((port, "id")).equals((member, "port_id")))
        .cond_where(is_in((member, "security_group_id"), groups))
        .cond_where(ne((port, "allowed_address_pairs"), "[]"));
    pairs(tx, &select)
}
