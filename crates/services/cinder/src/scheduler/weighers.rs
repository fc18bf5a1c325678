//! Upstream's weighers by upstream's names.

use super::Request;
use super::backend::Backend;
use super::filters::evaluate;
use crate::config::CinderConf;
use oslo_scheduling::{Weigher, expression};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The weigher of that name.
pub fn named(name: &str) -> Option<&'static dyn Weigher<Backend, Request>> {
    const ALL: &[&dyn Weigher<Backend, Request>] = &[
        &AllocatedCapacityWeigher,
        &CapacityWeigher,
        &ChanceWeigher,
        &GoodnessWeigher,
        &VolumeNumberWeigher,
    ];
    ALL.iter().copied().find(|w| w.name() == name)
}

/// How much each counts.
#[derive(Clone, Copy, Debug)]
pub struct Multipliers {
    capacity: f64,
    allocated_capacity: f64,
    volume_number: f64,
}

impl Multipliers {
    pub fn of(conf: &CinderConf) -> Multipliers {
        Multipliers {
            capacity: conf.capacity_weight_multiplier,
            allocated_capacity: conf.allocated_capacity_weight_multiplier,
            volume_number: conf.volume_number_multiplier,
        }
    }
}

struct CapacityWeigher;

impl Weigher<Backend, Request> for CapacityWeigher {
    fn name(&self) -> &'static str {
        "CapacityWeigher"
    }

    fn multiplier(&self, request: &Request) -> f64 {
        request.multipliers.capacity
    }

    fn weigh(&self, host: &Backend, request: &Request) -> f64 {
        host.virtual_free(request.over_subscription, request.thick())
    }
}

struct AllocatedCapacityWeigher;

impl Weigher<Backend, Request> for AllocatedCapacityWeigher {
    fn name(&self) -> &'static str {
        "AllocatedCapacityWeigher"
    }

    fn multiplier(&self, request: &Request) -> f64 {
        request.multipliers.allocated_capacity
    }

    fn weigh(&self, host: &Backend, _: &Request) -> f64 {
        host.provisioned as f64
    }
}

struct VolumeNumberWeigher;

impl Weigher<Backend, Request> for VolumeNumberWeigher {
    fn name(&self) -> &'static str {
        "VolumeNumberWeigher"
    }

    fn multiplier(&self, request: &Request) -> f64 {
        request.multipliers.volume_number
    }

    fn weigh(&self, host: &Backend, _: &Request) -> f64 {
        host.volumes as f64
    }
}

/// By chance, and yet the same each time that a volume is looked at.
struct ChanceWeigher;

impl Weigher<Backend, Request> for ChanceWeigher {
    fn name(&self) -> &'static str {
        "ChanceWeigher"
    }

    fn multiplier(&self, _: &Request) -> f64 {
        1.0
    }

    fn weigh(&self, host: &Backend, request: &Request) -> f64 {
        let mut hasher = DefaultHasher::new();
        (&request.volume_id, &host.name).hash(&mut hasher);
        hasher.finish() as f64
    }
}

/// What a backend says of itself, from 0 to 100.
struct GoodnessWeigher;

impl Weigher<Backend, Request> for GoodnessWeigher {
    fn name(&self) -> &'static str {
        "GoodnessWeigher"
    }

    fn multiplier(&self, _: &Request) -> f64 {
        1.0
    }

    fn weigh(&self, host: &Backend, request: &Request) -> f64 {
        let function = host.report.capabilities.get("goodness_function");
        let Some(function) = function.and_then(Value::as_str) else {
            return 0.0;
        };
        match evaluate(function, host, request) {
            Ok(expression::Value::Flag(true)) => 100.0,
            Ok(expression::Value::Number(n)) if (0.0..=100.0).contains(&n) => n,
            Ok(expression::Value::Flag(false)) => 0.0,
            Ok(other) => {
                tracing::warn!(backend = %host.name, "goodness_function is {other:?}, which is not between 0 and 100");
                0.0
            }
            Err(why) => {
                tracing::warn!(backend = %host.name, "goodness_function makes no sense: {why}");
                0.0
            }
        }
    }
}
