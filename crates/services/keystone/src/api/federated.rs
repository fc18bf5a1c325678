//! `federated` of a user: who they are at identity providers, as an administrator says.

use crate::api::fields::{Fields, expecting};
use crate::db::federation::{self, FederatedUserRow};
use base::{Error, Json, Result};
use oslo_db::{Cond, Tx, all, eq, everything, in_rows};
use oslo_http::Query;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a user is called at a provider.
#[derive(Clone, PartialEq)]
pub(crate) struct Link {
    idp_id: String,
    protocol_id: String,
    unique_id: String,
}

/// Takes the attribute out of a body. COMPAT: an empty list is none at all, so nobody's last link goes this way.
pub(crate) fn take(fields: &mut Fields) -> Result<Option<Vec<Link>>> {
    let mut links: Vec<Link> = Vec::new();
    for mut idp in fields.objects("federated")?.unwrap_or_default() {
        let idp_id = idp.required("idp_id", "federated")?;
        let protocols = idp.objects("protocols")?.filter(|p| !p.is_empty());
        for mut protocol in protocols.ok_or_else(|| expecting("protocols", "federated"))? {
            let link = Link {
                idp_id: idp_id.clone(),
                protocol_id: protocol.required("protocol_id", "protocols")?,
                unique_id: protocol.required("unique_id", "protocols")?,
            };
            if link.unique_id.is_empty() || link.unique_id.len() > 255 {
                return Err(Error::bad_request(
                    "Invalid input for field 'unique_id': it must have between 1 and 255 bytes",
                ));
            }
            links.push(link);
        }
    }
    Ok((!links.is_empty()).then_some(links))
}

/// Makes these the user's links, and says whether one went. 400 for providers and protocols that are not there, 409 for
/// what is somebody's already.
pub(crate) fn save(tx: &mut Tx, user_id: &str, links: &[Link]) -> Result<bool> {
    for link in links {
        let known = federation::get_idp(tx, &link.idp_id)
            .and_then(|_| federation::get_protocol(tx, &link.idp_id, &link.protocol_id));
        known.map_err(|e| match e.is_not_found() {
            true => Error::bad_request(e.to_string()),
            false => e,
        })?;
    }
    let mut lost = false;
    let mut kept = Vec::new();
    for row in federation::links_of(tx, user_id)? {
        let link = Link {
            idp_id: row.idp_id.clone(),
            protocol_id: row.protocol_id.clone(),
            unique_id: row.unique_id.clone(),
        };
        // What stays keeps what its provider last said.
        match links.contains(&link) {
            true => kept.push(link),
            false => {
                federation::delete_link(tx, &row)?;
                lost = true;
            }
        }
    }
    for link in links.iter().filter(|link| !kept.contains(link)) {
        federation::insert_link(
            tx,
            &FederatedUserRow {
                idp_id: link.idp_id.clone(),
                protocol_id: link.protocol_id.clone(),
                unique_id: link.unique_id.clone(),
                user_id: user_id.to_string(),
                group_ids: Json(vec![]),
            },
        )?;
    }
    Ok(lost)
}

/// Adds the links to what is shown of a user, if there are any.
pub(crate) fn show(view: &mut Value, rows: &[FederatedUserRow]) {
    let mut by_idp: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let protocol = json!({"protocol_id": row.protocol_id, "unique_id": row.unique_id});
        by_idp.entry(&row.idp_id).or_default().push(protocol);
    }
    let federated = by_idp
        .into_iter()
        .map(|(idp_id, protocols)| json!({"idp_id": idp_id, "protocols": protocols}));
    let federated: Vec<Value> = federated.collect();
    if !federated.is_empty() {
        view["federated"] = Value::Array(federated);
    }
}

/// The condition of `idp_id`, `protocol_id` and `unique_id`, all of one link.
pub(crate) fn filter(query: &Query) -> Cond {
    let asked = ["idp_id", "protocol_id", "unique_id"];
    let conditions: Vec<Cond> = asked
        .into_iter()
        .filter_map(|name| Some(eq(name, query.get(name)?)))
        .collect();
    match conditions.is_empty() {
        true => everything(),
        false => in_rows::<FederatedUserRow>("id", "user_id", all(conditions)),
    }
}
