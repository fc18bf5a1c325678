//! What the declarative tests expect to find: names in the environment, and providers.

use crate::cloud::Cloud;
use std::collections::HashMap;

pub async fn prepare(_cloud: &Cloud, names: &[&str]) -> Result<HashMap<String, String>, String> {
    let mut env: HashMap<String, String> = HashMap::new();
    let uuids = [
        "RP_UUID",
        "RP_UUID1",
        "RP_UUID2",
        "ALT_RP_UUID",
        "PARENT_PROVIDER_UUID",
        "ALT_PARENT_PROVIDER_UUID",
        "INSTANCE_UUID",
        "MIGRATION_UUID",
        "CONSUMER_UUID",
        "CONSUMER_ID",
        "ALT_CONSUMER_ID",
        "CONSUMER_0",
        "PROJECT_ID",
        "USER_ID",
        "PROJECT_ID_ALT",
        "USER_ID_ALT",
        "ALT_USER_ID",
        "AGGA_UUID",
        "AGGB_UUID",
        "AGGC_UUID",
        "ADMIN_PROJECT_ID",
        "SERVICE_PROJECT_ID",
        "CN1_UUID",
        "CN2_UUID",
        "SS_UUID",
    ];
    for name in uuids {
        env.insert(name.to_string(), base::new_id());
    }
    for name in ["RP_NAME", "ALT_RP_NAME"] {
        env.insert(name.to_string(), base::new_id());
    }
    env.insert("CUSTOM_RES_CLASS".into(), "CUSTOM_IRON_NFV".into());
    match names {
        ["APIFixture"] => Ok(env),
        other => Err(format!("no fixture {other:?}")),
    }
}
