//! Security group rules: what they may say, and that no two of a group say the same.

use crate::convert::PROTOCOLS;
use crate::db::{GroupRow, RuleRow};
use crate::noun::{Body, BodyExt, Call, Fields, Noun, View, within};
use crate::topics::Topic;
use crate::{crud, fault, groups, standard};
use base::{Error, Result, id};
use ipnet::IpNet;
use oslo_db::{Cond, Tx, all, eq, eq_or_null, is_in};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) struct Rules;

pub(crate) fn fields(row: &RuleRow) -> Fields {
    let mut fields = Fields::new();
    standard!(row).put(&mut fields);
    fields.put("security_group_id", json!(row.security_group_id));
    fields.put("direction", json!(row.direction));
    fields.put("ethertype", json!(row.ethertype));
    fields.put("protocol", json!(row.protocol));
    fields.put("port_range_min", json!(row.port_range_min));
    fields.put("port_range_max", json!(row.port_range_max));
    fields.put("remote_ip_prefix", json!(row.remote_ip_prefix));
    fields.put("remote_group_id", json!(row.remote_group_id));
    let net = row
        .remote_ip_prefix
        .as_deref()
        .and_then(|p| p.parse::<IpNet>().ok());
    fields.put("normalized_cidr", json!(net.map(|n| n.trunc().to_string())));
    fields
}

/// A rule without port or protocol.
pub(crate) fn any_rule(
    call: &Call,
    group: &GroupRow,
    direction: &str,
    ethertype: &str,
    remote: Option<String>,
) -> RuleRow {
    RuleRow {
        id: id::new_id(),
        project_id: group.project_id.clone(),
        security_group_id: group.id.clone(),
        direction: direction.into(),
        ethertype: ethertype.into(),
        protocol: None,
        port_range_min: None,
        port_range_max: None,
        remote_ip_prefix: None,
        remote_group_id: remote,
        description: String::new(),
        created_at: call.now,
        updated_at: call.now,
        revision_number: 1,
    }
}

fn owner(project: &str) -> Body {
    let mut parent = Body::new();
    for key in [
        "security_group:tenant_id",
        "security_group:project_id",
        "ext_parent:tenant_id",
        "ext_parent:project_id",
    ] {
        parent.insert(key.into(), json!(project));
    }
    parent
}

impl Noun for Rules {
    type Row = RuleRow;
    const MEMBER: &'static str = "security_group_rule";
    const PLURAL: &'static str = "security_group_rules";
    const TAGS: bool = false;

    fn id(row: &RuleRow) -> &str {
        &row.id
    }

    fn revision(row: &RuleRow) -> Option<i64> {
        Some(row.revision_number)
    }

    fn visible(call: &Call) -> Cond {
        within::<GroupRow>(
            "security_group_id",
            "id",
            eq("project_id", call.ctx.project()),
        )
    }

    fn views(tx: &mut Tx, _: &Call, rows: Vec<RuleRow>) -> Result<Vec<View>> {
        let groups = tx.select::<GroupRow>(is_in(
            "id",
            rows.iter().map(|r| r.security_group_id.as_str()),
        ))?;
        let owners: HashMap<&str, &str> = groups
            .iter()
            .map(|g| (g.id.as_str(), g.project_id.as_str()))
            .collect();
        let parent = |r: &RuleRow| {
            owner(
                owners
                    .get(r.security_group_id.as_str())
                    .copied()
                    .unwrap_or_default(),
            )
        };
        Ok(rows
            .iter()
            .map(|r| View {
                fields: fields(r),
                parent: Arc::new(parent(r)),
            })
            .collect())
    }

    fn parent(tx: &mut Tx, call: &Call, body: &Body) -> Result<Body> {
        let group = group(tx, call, &body.text("security_group_id"))?;
        Ok(owner(&group.project_id))
    }

    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<RuleRow> {
        let (group, _) = crud::take::<groups::Groups>(tx, call, &body.text("security_group_id"))?;
        let row = RuleRow {
            id: id::new_id(),
            project_id: group.project_id.clone(),
            security_group_id: group.id.clone(),
            direction: body.text("direction"),
            ethertype: body.text("ethertype"),
            protocol: body
                .maybe_text("protocol")
                .map(|p| if p == "icmpv6" { "ipv6-icmp".into() } else { p }),
            port_range_min: body.int("port_range_min"),
            port_range_max: body.int("port_range_max"),
            remote_ip_prefix: body.maybe_text("remote_ip_prefix"),
            remote_group_id: body.maybe_text("remote_group_id"),
            description: body.text("description"),
            created_at: call.now,
            updated_at: call.now,
            revision_number: 1,
        };
        sensible(&row)?;
        if let Some(remote) = &row.remote_group_id
            && !groups::exists_for(tx, call, remote)?
        {
            return Err(fault::not_found("security_group", remote));
        }
        let same = all([
            eq("security_group_id", row.security_group_id.as_str()),
            eq("direction", row.direction.as_str()),
            eq("ethertype", row.ethertype.as_str()),
            eq_or_null("protocol", row.protocol.clone()),
            eq_or_null("port_range_min", row.port_range_min),
            eq_or_null("port_range_max", row.port_range_max),
            eq_or_null("remote_group_id", row.remote_group_id.clone()),
        ]);
        for other in tx.select::<RuleRow>(same)? {
            if prefix(&other) == prefix(&row) {
                let words = format!(
                    "Security group rule already exists. Rule id is {}.",
                    other.id
                );
                return Err(fault::conflict("SecurityGroupRuleExists", words));
            }
        }
        tx.insert(&row)?;
        grown(tx, call, &group)?;
        Ok(row)
    }

    /// Not routed: a rule is what it was made.
    fn update(_: &mut Tx, _: &Call, _: RuleRow, _: &Body) -> Result<RuleRow> {
        Err(Error::not_found("The resource could not be found."))
    }

    fn delete(tx: &mut Tx, call: &Call, row: RuleRow) -> Result<()> {
        tx.delete::<RuleRow>(eq("id", row.id.as_str()))?;
        let group = eq("id", row.security_group_id.as_str());
        if let Some(group) = tx.find_for_update::<GroupRow>(group)? {
            grown(tx, call, &group)?;
        }
        Ok(())
    }
}

/// A group is newer when its rules changed.
fn grown(tx: &mut Tx, call: &Call, group: &GroupRow) -> Result<()> {
    let mut group = group.clone();
    crate::revise!(group, call);
    crate::noun::save(tx, &group)?;
    call.touch(Topic::Group(group.id));
    Ok(())
}

fn group(tx: &mut Tx, call: &Call, id: &str) -> Result<GroupRow> {
    let cond = all([eq("id", id), crud::scope::<groups::Groups>(call)]);
    tx.find(cond)?
        .ok_or_else(|| fault::not_found("security_group", id))
}

/// No prefix and the prefix of everything mean the same.
fn prefix(row: &RuleRow) -> Option<&str> {
    row.remote_ip_prefix
        .as_deref()
        .filter(|p| !matches!(*p, "0.0.0.0/0" | "::/0"))
}

fn protocol_number(protocol: &str) -> Option<i64> {
    let named = PROTOCOLS
        .iter()
        .find(|(name, _)| *name == protocol)
        .map(|(_, n)| *n);
    named.or_else(|| protocol.parse().ok())
}

fn sensible(row: &RuleRow) -> Result<()> {
    if row.remote_ip_prefix.is_some() && row.remote_group_id.is_some() {
        let words = "Only one remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.";
        return Err(fault::refused("SecurityGroupMultipleRemoteEntites", words));
    }
    if let Some(prefix) = &row.remote_ip_prefix {
        let v6 = prefix
            .parse::<IpNet>()
            .is_ok_and(|n| matches!(n, IpNet::V6(_)));
        if v6 != (row.ethertype == "IPv6") {
            let words = format!(
                "Conflicting value ethertype {} for CIDR {prefix}",
                row.ethertype
            );
            return Err(fault::refused("SecurityGroupRuleParameterConflict", words));
        }
    }
    let (low, high) = (row.port_range_min, row.port_range_max);
    let Some(protocol) = &row.protocol else {
        if low.is_some() || high.is_some() {
            let words = "Must also specify protocol if port range is given.";
            return Err(fault::refused(
                "SecurityGroupProtocolRequiredWithPorts",
                words,
            ));
        }
        return Ok(());
    };
    let number = protocol_number(protocol).unwrap_or(-1);
    if row.ethertype == "IPv4"
        && matches!(number, 41 | 43 | 44 | 58 | 59 | 60)
        && protocol.starts_with("ipv6")
    {
        let words = format!(
            "Invalid ethertype {} for protocol {protocol}.",
            row.ethertype
        );
        return Err(fault::refused(
            "SecurityGroupEthertypeConflictWithProtocol",
            words,
        ));
    }
    match number {
        6 | 17 | 33 | 132 | 136 => match (low, high) {
            (None, None) => Ok(()),
            (Some(0), _) | (_, Some(0)) if matches!(number, 6 | 17) => {
                let words = format!(
                    "Invalid port range for {}: port 0 is not allowed",
                    protocol.to_uppercase()
                );
                Err(fault::refused("SecurityGroupInvalidPortValue", words))
            }
            (Some(low), Some(high)) if low <= high => Ok(()),
            _ => {
                let words = "For TCP/UDP protocols, port_range_min must be <= port_range_max";
                Err(fault::refused("SecurityGroupInvalidPortRange", words))
            }
        },
        1 | 58 => {
            for (field, name, value) in [
                ("port-range-min", "type", low),
                ("port-range-max", "code", high),
            ] {
                if let Some(value) = value.filter(|v| !(0..=255).contains(v)) {
                    let words = format!(
                        "Invalid value for ICMP {name} ({field}) {value}. It must be 0 to 255."
                    );
                    return Err(fault::refused("SecurityGroupInvalidIcmpValue", words));
                }
            }
            if let (None, Some(code)) = (low, high) {
                let words = format!(
                    "ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."
                );
                return Err(fault::refused("SecurityGroupMissingIcmpType", words));
            }
            Ok(())
        }
        _ if low.is_some() || high.is_some() => {
            let words = format!(
                "Invalid protocol {protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP."
            );
            Err(fault::refused("SecurityGroupInvalidProtocolForPort", words))
        }
        _ => Ok(()),
    }
}
