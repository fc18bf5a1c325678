//! The table of projects' own default volume types.

use crate::db::{TypeRow, types};
use base::Result;
use oslo_context::RequestContext;
use oslo_db::{Tx, eq};

oslo_db::table! {
    /// A project's default volume type.
    pub struct DefaultTypeRow in "default_volume_types" {
        pub project_id: String,
        pub volume_type_id: String,
    }
}

/// The id of the type that the project's volumes have when none is asked for: its own, else the cloud's by name.
pub fn of_project(tx: &mut Tx, project: &str, cloud: &str) -> Result<String> {
    let own = tx.find::<DefaultTypeRow>(eq("project_id", project))?;
    if let Some(own) = own
        && tx.exists::<TypeRow>(eq("id", &own.volume_type_id))?
    {
        return Ok(own.volume_type_id);
    }
    Ok(cloud.to_string())
}

/// The type that was asked for by id or name, else the default one, if the caller may see it.
pub fn or_asked(
    tx: &mut Tx,
    ctx: &RequestContext,
    asked: Option<&str>,
    cloud: &str,
) -> Result<TypeRow> {
    let wanted = match asked {
        Some(asked) => asked.to_string(),
        None => of_project(tx, ctx.project(), cloud)?,
    };
    types::get_by_any(tx, ctx, &wanted)
}
