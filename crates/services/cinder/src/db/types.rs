//! The tables of volume types and of who may use the private ones.

use base::{Error, Json, Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, any, eq};
use serde_json::{Map, Value};

oslo_db::table! {
    /// A volume type.
    pub struct TypeRow in "volume_types" {
        pub id: String,
        pub name: String,
        pub description: Option<String>,
        pub is_public: bool,
        pub extra_specs: Json<Map<String, Value>>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
        pub qos_specs_id: Option<String>,
    }
    /// A project that may use a private type.
    pub struct TypeAccessRow in "volume_type_access" {
        pub volume_type_id: String,
        pub project_id: String,
    }
}

impl TypeRow {
    /// Whether volumes of this type may be attached more than once.
    pub fn multiattach(&self) -> bool {
        self.extra_specs
            .0
            .get("multiattach")
            .and_then(Value::as_str)
            == Some("<is> True")
    }
}

pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Volume type {id} could not be found."))
}

/// Whether the caller may see the type.
pub fn visible(tx: &mut Tx, ctx: &RequestContext, row: &TypeRow) -> Result<bool> {
    let access = all([
        eq("volume_type_id", &row.id),
        eq("project_id", ctx.project()),
    ]);
    Ok(row.is_public || ctx.is_admin || tx.exists::<TypeAccessRow>(access)?)
}

/// The type, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<TypeRow> {
    match tx.find::<TypeRow>(eq("id", id))? {
        Some(row) if visible(tx, ctx, &row)? => Ok(row),
        _ => Err(not_found(id)),
    }
}

/// The type by id or name, if the caller may see it.
pub fn get_by_any(tx: &mut Tx, ctx: &RequestContext, text: &str) -> Result<TypeRow> {
    let found = tx.find::<TypeRow>(any([eq("id", text), eq("name", text)]))?;
    match found {
        Some(row) if visible(tx, ctx, &row)? => Ok(row),
        _ if base::id::is_uuid_like(text) => Err(not_found(text)),
        _ => Err(Error::not_found(format!(
            "Volume type with name {text} could not be found."
        ))),
    }
}
