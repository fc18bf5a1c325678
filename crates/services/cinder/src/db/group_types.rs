//! The table of group types.

use base::{Error, Json, Result, Timestamp};
use oslo_context::RequestContext;
use oslo_db::{Cond, Tx, all, eq, everything};
use serde_json::{Map, Value};

oslo_db::table! {
    /// A group type.
    pub struct GroupTypeRow in "group_types" {
        pub id: String,
        pub name: String,
        pub description: Option<String>,
        pub is_public: bool,
        pub group_specs: Json<Map<String, Value>>,
        pub created_at: Timestamp,
        pub updated_at: Option<Timestamp>,
    }
}

/// Those that the caller may see: private ones are the operator's.
pub fn scope(ctx: &RequestContext) -> Cond {
    if ctx.is_admin {
        return everything();
    }
    eq("is_public", true)
}

/// No such type, or none that this caller may see.
pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("Group type {id} could not be found."))
}

/// The type, if the caller may see it.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<GroupTypeRow> {
    tx.find::<GroupTypeRow>(all([eq("id", id), scope(ctx)]))?
        .ok_or_else(|| not_found(id))
}

/// The type of that name.
pub fn find_by_name(tx: &mut Tx, name: &str) -> Result<Option<GroupTypeRow>> {
    tx.find::<GroupTypeRow>(eq("name", name))
}
