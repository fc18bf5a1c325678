//! Disk that guests were promised, per host. It lies in their flavors, which are JSON, so SQL cannot sum it.

use base::{Json, Result};
use nova_types::rpc::FlavorSpec;
use oslo_db::sea_query::Query;
use oslo_db::{Tx, all, is_null, not_null};
use std::collections::HashMap;

/// GiB of root and ephemeral disks of living instances.
pub fn disk_by_host(tx: &mut Tx) -> Result<HashMap<String, i64>> {
    let select = Query::select()
        .column("host")
        .column("flavor")
        .from("instances")
        .cond_where(all([is_null("deleted_at"), not_null("host")]))
        .to_owned();
    let mut disk: HashMap<String, i64> = HashMap::new();
    for row in tx.query(&select)? {
        let flavor = row.get::<Json<FlavorSpec>>(1)?.0;
        *disk.entry(row.get(0)?).or_default() += (flavor.root_gb + flavor.ephemeral_gb) as i64;
    }
    Ok(disk)
}
