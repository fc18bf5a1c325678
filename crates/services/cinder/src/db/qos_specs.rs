//! The table of QoS specifications. Which types are associated with one is a column of the types.

use crate::db::TypeRow;
use base::{Error, Json, Result, Timestamp};
use oslo_db::{Tx, eq};
use serde_json::{Map, Value};

base::str_enum! {
    /// Who sees to it that the limits hold.
    pub enum Consumer {
        FrontEnd = "front-end",
        BackEnd = "back-end",
        Both = "both",
    }
}

oslo_db::table! {
    /// What volumes may do.
    pub struct QosRow in "qos_specs" {
        pub id: String,
        pub name: String,
        pub consumer: Consumer,
        pub specs: Json<Map<String, Value>>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

fn not_found(id: &str) -> Error {
    Error::not_found(format!("No such QoS spec {id}."))
}

/// The specification, or a 404.
pub fn get(tx: &mut Tx, id: &str) -> Result<QosRow> {
    tx.find::<QosRow>(eq("id", id))?
        .ok_or_else(|| not_found(id))
}

/// Like [`get`], and nobody else changes it or its associations until the transaction ends.
pub fn lock(tx: &mut Tx, id: &str) -> Result<QosRow> {
    tx.find_for_update::<QosRow>(eq("id", id))?
        .ok_or_else(|| not_found(id))
}

/// The specification of a type, if it has one.
pub fn of_type(tx: &mut Tx, type_id: &str) -> Result<Option<QosRow>> {
    let kind = tx.find::<TypeRow>(eq("id", type_id))?;
    match kind.and_then(|k| k.qos_specs_id) {
        Some(id) => tx.find::<QosRow>(eq("id", &id)),
        None => Ok(None),
    }
}
