//! What a connection tells the hypervisor of a volume's limits.

use crate::db::QosRow;
use crate::db::qos_specs::Consumer;
use serde_json::{Map, Value, json};

/// What can be limited; by `…_per_gb` also in proportion to the volume's size.
const SCALED: &[&str] = &[
    "read_iops_sec",
    "read_bytes_sec",
    "write_iops_sec",
    "write_bytes_sec",
    "total_iops_sec",
    "total_bytes_sec",
];

fn number(specs: &Map<String, Value>, key: &str) -> Option<i64> {
    specs.get(key)?.as_str()?.trim().parse().ok()
}

/// The limits that the front end has to keep, of a volume of `size` GiB; null if there are none.
pub fn front_end(spec: Option<&QosRow>, size: i64) -> Value {
    let Some(spec) = spec.filter(|s| s.consumer != Consumer::BackEnd) else {
        return Value::Null;
    };
    let mut specs = spec.specs.0.clone();
    for option in SCALED {
        let per_gb = format!("{option}_per_gb");
        let Some(each) = number(&specs, &per_gb) else {
            continue;
        };
        let least = number(&specs, &format!("{per_gb}_min")).unwrap_or(0);
        let scaled = each.saturating_mul(size).max(least);
        let most = number(&specs, &format!("{option}_max")).unwrap_or(scaled);
        specs.retain(|key, _| !key.starts_with(per_gb.as_str()) && *key != format!("{option}_max"));
        specs.insert(option.to_string(), json!(scaled.min(most).to_string()));
    }
    Value::Object(specs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Json, Timestamp};

    #[test]
    fn limits_follow_size_between_least_and_most() {
        let row = |consumer, specs: Value| QosRow {
            id: "q".into(),
            name: "q".into(),
            consumer,
            specs: Json(specs.as_object().unwrap().clone()),
            created_at: Timestamp::from_seconds(0),
            updated_at: None,
        };
        let scaled = row(
            Consumer::Both,
            json!({"total_iops_sec_per_gb": "10", "total_iops_sec_per_gb_min": "50", "total_iops_sec_max": "90",
                "read_bytes_sec": "7"}),
        );
        for (size, iops) in [(1, "50"), (6, "60"), (20, "90")] {
            let told = front_end(Some(&scaled), size);
            assert_eq!(told, json!({"total_iops_sec": iops, "read_bytes_sec": "7"}));
        }
        let back = row(Consumer::BackEnd, json!({"total_iops_sec": "1"}));
        assert_eq!(front_end(Some(&back), 1), Value::Null);
        assert_eq!(front_end(None, 1), Value::Null);
    }
}
