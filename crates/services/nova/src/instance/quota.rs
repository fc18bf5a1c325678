//! What a project may have, counted from living rows.

use crate::config::Conf;
use crate::db::instances::InstanceRow;
use crate::db::keypairs::KeypairRow;
use crate::db::server_groups::ServerGroupRow;
use base::{Error, Result};
use oslo_db::{Tx, all, eq, is_null};
use oslo_limit::{Exceeded, Limits, Resource, UNLIMITED};

fn living(project: &str) -> oslo_db::Cond {
    all([eq("project_id", project), is_null("deleted_at")])
}

fn instances(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.count::<InstanceRow>(living(project))
}

fn cores(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.sum::<InstanceRow>("vcpus", living(project))
        .map(|n| n as u64)
}

fn ram(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.sum::<InstanceRow>("memory_mb", living(project))
        .map(|n| n as u64)
}

fn key_pairs(tx: &mut Tx, user: &str) -> Result<u64> {
    tx.count::<KeypairRow>(eq("user_id", user))
}

fn server_groups(tx: &mut Tx, project: &str) -> Result<u64> {
    tx.count::<ServerGroupRow>(eq("project_id", project))
}

/// Limits per thing (metadata items of one server) are compared, never counted over a project.
fn per_thing(_: &mut Tx, _: &str) -> Result<u64> {
    Ok(0)
}

/// nova's resources with upstream's names.
pub fn limits(conf: &Conf) -> Limits {
    let resource = |name, default, count| Resource {
        name,
        default,
        count,
    };
    Limits::new(
        "nova",
        vec![
            resource("instances", conf.quota_instances, instances),
            resource("cores", conf.quota_cores, cores),
            resource("ram", conf.quota_ram, ram),
            resource("metadata_items", conf.quota_metadata_items, per_thing),
            resource("injected_files", 5, per_thing),
            resource("injected_file_content_bytes", 10240, per_thing),
            resource("injected_file_path_bytes", 255, per_thing),
            resource("key_pairs", conf.quota_key_pairs, key_pairs),
            resource("server_groups", conf.quota_server_groups, server_groups),
            resource(
                "server_group_members",
                conf.quota_server_group_members,
                per_thing,
            ),
            // What nova-network's time left behind: shown up to 2.35, kept if set, and never limiting anything.
            resource("fixed_ips", UNLIMITED, per_thing),
            resource("floating_ips", UNLIMITED, per_thing),
            resource("security_groups", UNLIMITED, per_thing),
            resource("security_group_rules", UNLIMITED, per_thing),
        ],
    )
}

/// Upstream's sentence: `Quota exceeded for instances, ram: Requested 1, 2048, but already used 10, 51200 of 10, 51200 instances, ram`.
pub fn exceeded(list: &[Exceeded]) -> Error {
    let join = |f: &dyn Fn(&Exceeded) -> String| list.iter().map(f).collect::<Vec<_>>().join(", ");
    let names = join(&|e| e.resource.to_string());
    Error::over_quota(format!(
        "Quota exceeded for {names}: Requested {}, but already used {} of {} {names}",
        join(&|e| e.requested.to_string()),
        join(&|e| e.used.to_string()),
        join(&|e| e.limit.to_string()),
    ))
}
