//! The weighers, with upstream's names: which of the hosts that would do is best.

use super::{Host, RequestSpec};
use crate::config::Conf;
use oslo_scheduling::Weigher;

struct Named(&'static str, f64, fn(&Host, &RequestSpec) -> f64);

impl Weigher<Host, RequestSpec> for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn multiplier(&self, _: &RequestSpec) -> f64 {
        self.1
    }

    fn weigh(&self, host: &Host, request: &RequestSpec) -> f64 {
        (self.2)(host, request)
    }
}

pub(super) fn enabled(conf: &Conf) -> Vec<Box<dyn Weigher<Host, RequestSpec>>> {
    vec![
        Box::new(Named("RAMWeigher", conf.ram_weight_multiplier, |h, _| {
            (h.memory_mb - h.memory_mb_used) as f64
        })),
        Box::new(Named("CPUWeigher", conf.cpu_weight_multiplier, |h, _| {
            (h.vcpus - h.vcpus_used) as f64
        })),
        Box::new(Named("DiskWeigher", conf.disk_weight_multiplier, |h, _| {
            (h.local_gb - h.local_gb_used) as f64
        })),
        Box::new(Named(
            "IoOpsWeigher",
            conf.io_ops_weight_multiplier,
            |h, _| h.num_io_ops as f64,
        )),
        Box::new(Named("ServerGroupSoftAffinityWeigher", 1.0, |h, r| {
            members(h, r, "soft-affinity")
        })),
        Box::new(Named("ServerGroupSoftAntiAffinityWeigher", -1.0, |h, r| {
            members(h, r, "soft-anti-affinity")
        })),
    ]
}

fn members(h: &Host, r: &RequestSpec, policy: &str) -> f64 {
    if r.group_policy.as_deref() != Some(policy) {
        return 0.0;
    }
    r.group_hosts.get(&h.host).copied().unwrap_or(0) as f64
}
