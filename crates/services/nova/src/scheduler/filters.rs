//! The filters, with upstream's names. Each says in words why it refuses a host.

use super::{Host, RequestSpec};
use crate::config::Conf;
use oslo_scheduling::Filter;
use serde_json::Value;

type Passes = Box<dyn Fn(&Host, &RequestSpec) -> Result<(), String> + Send + Sync>;

struct Named(&'static str, Passes);

impl Filter<Host, RequestSpec> for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn passes(&self, host: &Host, request: &RequestSpec) -> Result<(), String> {
        (self.1)(host, request)
    }
}

fn check(ok: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if ok { Ok(()) } else { Err(reason()) }
}

/// The configured filters; names that are not known are logged and left out.
pub(super) fn enabled(conf: &Conf) -> Vec<Box<dyn Filter<Host, RequestSpec>>> {
    let mut filters: Vec<Box<dyn Filter<Host, RequestSpec>>> =
        vec![Box::new(Named("RequestedHost", Box::new(requested_host)))];
    for name in &conf.enabled_filters {
        let (ram, disk, cpu) = (
            conf.ram_allocation_ratio,
            conf.disk_allocation_ratio,
            conf.cpu_allocation_ratio,
        );
        let reserved = conf.reserved_host_memory_mb as i64;
        let filter = match name.as_str() {
            "RetryFilter" => Named("RetryFilter", Box::new(retry)),
            "AvailabilityZoneFilter" => Named("AvailabilityZoneFilter", Box::new(zone)),
            "RamFilter" => Named(
                "RamFilter",
                Box::new(move |h, r| {
                    let free = (h.memory_mb as f64 * ram) as i64 - reserved - h.memory_mb_used;
                    check(free >= r.flavor.memory_mb as i64, || {
                        format!("{} MiB wanted, {free} free", r.flavor.memory_mb)
                    })
                }),
            ),
            "DiskFilter" => Named(
                "DiskFilter",
                Box::new(move |h, r| {
                    let free = (h.local_gb as f64 * disk) as i64 - h.local_gb_used;
                    check(free >= r.disk_gb() as i64, || {
                        format!("{} GiB wanted, {free} free", r.disk_gb())
                    })
                }),
            ),
            "CoreFilter" => Named(
                "CoreFilter",
                Box::new(move |h, r| {
                    let wanted = i64::from(r.flavor.vcpus);
                    let free = (h.vcpus as f64 * cpu) as i64 - h.vcpus_used;
                    check(wanted <= h.vcpus, || {
                        format!("{wanted} processors wanted, the host has {}", h.vcpus)
                    })?;
                    check(free >= wanted, || {
                        format!("{wanted} processors wanted, {free} free")
                    })
                }),
            ),
            "ComputeFilter" => Named("ComputeFilter", Box::new(compute)),
            "ComputeCapabilitiesFilter" => {
                Named("ComputeCapabilitiesFilter", Box::new(capabilities))
            }
            "ImagePropertiesFilter" => Named("ImagePropertiesFilter", Box::new(image_properties)),
            "ServerGroupAntiAffinityFilter" => {
                Named("ServerGroupAntiAffinityFilter", Box::new(anti_affinity))
            }
            "ServerGroupAffinityFilter" => Named("ServerGroupAffinityFilter", Box::new(affinity)),
            other => {
                tracing::warn!("[nova] enabled_filters: {other} is not known and is left out");
                continue;
            }
        };
        filters.push(Box::new(filter));
    }
    filters
}

fn requested_host(h: &Host, r: &RequestSpec) -> Result<(), String> {
    match &r.force_host {
        Some(wanted) => check(h.host == *wanted || h.node == *wanted, || {
            format!("host {wanted} was asked for")
        }),
        None => Ok(()),
    }
}

fn retry(h: &Host, r: &RequestSpec) -> Result<(), String> {
    check(!r.tried.contains(&h.host), || {
        "the boot failed here before".to_string()
    })
}

fn zone(h: &Host, r: &RequestSpec) -> Result<(), String> {
    match &r.zone {
        Some(zone) => check(h.zone == *zone, || {
            format!("the host is in zone {}, wanted {zone}", h.zone)
        }),
        None => Ok(()),
    }
}

fn compute(h: &Host, _: &RequestSpec) -> Result<(), String> {
    if let Some(reason) = &h.disabled {
        return Err(format!("the service is disabled: {reason}"));
    }
    check(h.up, || "the service is down".to_string())
}

/// Extra specs `capabilities:NAME` (or plain NAME without scope): compared by oslo's extra-spec operators.
fn capabilities(h: &Host, r: &RequestSpec) -> Result<(), String> {
    for (key, wanted) in &r.flavor.extra_specs {
        let name = match key.split_once(':') {
            Some(("capabilities", name)) => name,
            Some(_) => continue,
            None => key,
        };
        let found =
            capability(h, name).ok_or_else(|| format!("the host has no capability {name}"))?;
        check(spec_matches(&found, wanted), || {
            format!("{name} is {found}, wanted {wanted}")
        })?;
    }
    Ok(())
}

fn capability(h: &Host, name: &str) -> Option<String> {
    match name {
        "hypervisor_type" => Some(h.hypervisor_type.clone()),
        "hypervisor_version" => Some(h.hypervisor_version.to_string()),
        "vcpus" | "vcpus_total" => Some(h.vcpus.to_string()),
        "total_usable_ram_mb" => Some(h.memory_mb.to_string()),
        "num_instances" => Some(h.num_instances.to_string()),
        "num_io_ops" => Some(h.num_io_ops.to_string()),
        _ => {
            let mut value = &h.cpu_info;
            for part in name.strip_prefix("cpu_info:").unwrap_or(name).split(':') {
                value = value.get(part)?;
            }
            Some(match value {
                Value::String(s) => s.clone(),
                Value::Array(list) => list
                    .iter()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(","),
                other => other.to_string(),
            })
        }
    }
}

/// oslo.utils' specs_matcher: `s==`, `>=`, `<in>`, `<or>` …, else equality.
fn spec_matches(value: &str, wanted: &str) -> bool {
    let (op, rest) = wanted.split_once(' ').unwrap_or(("", wanted));
    let rest = rest.trim();
    let numbers = || Some((value.parse::<f64>().ok()?, rest.parse::<f64>().ok()?));
    match op {
        "=" | ">=" => numbers().is_some_and(|(a, b)| a >= b),
        "==" => numbers().is_some_and(|(a, b)| a == b),
        "!=" => numbers().is_some_and(|(a, b)| a != b),
        "<=" => numbers().is_some_and(|(a, b)| a <= b),
        ">" => numbers().is_some_and(|(a, b)| a > b),
        "<" => numbers().is_some_and(|(a, b)| a < b),
        "s==" => value == rest,
        "s!=" => value != rest,
        "s<" => value < rest,
        "s<=" => value <= rest,
        "s>" => value > rest,
        "s>=" => value >= rest,
        "<in>" => value.contains(rest),
        "<all-in>" => rest.split("<all-in>").all(|r| value.contains(r.trim())),
        "<or>" => rest.split("<or>").any(|r| value == r.trim()),
        _ => value == wanted,
    }
}

fn image_properties(h: &Host, r: &RequestSpec) -> Result<(), String> {
    let wanted = |names: &[&str]| {
        names
            .iter()
            .find_map(|n| r.image_properties.get(*n))
            .map(|v| v.to_ascii_lowercase())
    };
    let arch = wanted(&["hw_architecture", "architecture"]);
    let kind = wanted(&["img_hv_type", "hypervisor_type"])
        .map(|k| if k == "kvm" { "qemu".to_string() } else { k });
    let mode = wanted(&["hw_vm_mode", "vm_mode"]);
    if arch.is_none() && kind.is_none() && mode.is_none() {
        return Ok(());
    }
    let fits = h.supported_instances.iter().any(|(a, k, m)| {
        let k = if k == "kvm" { "qemu" } else { k };
        arch.as_ref().is_none_or(|w| a == w)
            && kind.as_ref().is_none_or(|w| k == w)
            && mode.as_ref().is_none_or(|w| m == w)
    });
    check(fits, || {
        format!("the image wants architecture {arch:?}, hypervisor {kind:?}, mode {mode:?}")
    })
}

fn anti_affinity(h: &Host, r: &RequestSpec) -> Result<(), String> {
    if r.group_policy.as_deref() != Some("anti-affinity") {
        return Ok(());
    }
    let members = r.group_hosts.get(&h.host).copied().unwrap_or(0);
    check(members < r.group_max_per_host.max(1), || {
        format!("{members} members of the server group are here")
    })
}

fn affinity(h: &Host, r: &RequestSpec) -> Result<(), String> {
    if r.group_policy.as_deref() != Some("affinity") || r.group_hosts.is_empty() {
        return Ok(());
    }
    check(r.group_hosts.contains_key(&h.host), || {
        "the server group's members are elsewhere".to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_types::rpc::FlavorSpec;

    fn host() -> Host {
        Host {
            host: "c1".into(),
            node: "c1".into(),
            zone: "nova".into(),
            up: true,
            vcpus: 4,
            memory_mb: 4096,
            local_gb: 10,
            hypervisor_type: "QEMU".into(),
            supported_instances: vec![("x86_64".into(), "qemu".into(), "hvm".into())],
            ..Host::default()
        }
    }

    fn verdict(filter: &str, host: &Host, request: &RequestSpec) -> Result<(), String> {
        let conf = Conf {
            enabled_filters: vec![filter.into()],
            ..Conf::default()
        };
        enabled(&conf)
            .iter()
            .try_for_each(|f| f.passes(host, request))
    }

    fn flavor(vcpus: u32, memory_mb: u64, root_gb: u64) -> RequestSpec {
        RequestSpec {
            flavor: FlavorSpec {
                vcpus,
                memory_mb,
                root_gb,
                ..FlavorSpec::default()
            },
            local_root: true,
            ..RequestSpec::default()
        }
    }

    #[test]
    fn sizes() {
        assert!(verdict("RamFilter", &host(), &flavor(1, 3584, 0)).is_ok());
        assert_eq!(
            verdict("RamFilter", &host(), &flavor(1, 3585, 0)).unwrap_err(),
            "3585 MiB wanted, 3584 free"
        );
        assert!(
            verdict(
                "CoreFilter",
                &Host {
                    vcpus_used: 12,
                    ..host()
                },
                &flavor(4, 1, 0)
            )
            .is_ok()
        );
        assert!(
            verdict(
                "CoreFilter",
                &Host {
                    vcpus_used: 13,
                    ..host()
                },
                &flavor(4, 1, 0)
            )
            .is_err()
        );
        assert!(
            verdict("CoreFilter", &host(), &flavor(5, 1, 0)).is_err(),
            "a guest larger than the host"
        );
        assert!(verdict("DiskFilter", &host(), &flavor(1, 1, 11)).is_err());
    }

    #[test]
    fn the_rest() {
        let r = flavor(1, 1, 0);
        assert!(
            verdict(
                "ComputeFilter",
                &Host {
                    up: false,
                    ..host()
                },
                &r
            )
            .is_err()
        );
        assert!(
            verdict(
                "ComputeFilter",
                &Host {
                    disabled: Some("rack".into()),
                    ..host()
                },
                &r
            )
            .unwrap_err()
            .contains("rack")
        );
        assert!(
            verdict(
                "RetryFilter",
                &host(),
                &RequestSpec {
                    tried: vec!["c1".into()],
                    ..r.clone()
                }
            )
            .is_err()
        );
        assert!(
            verdict(
                "AvailabilityZoneFilter",
                &host(),
                &RequestSpec {
                    zone: Some("z2".into()),
                    ..r.clone()
                }
            )
            .is_err()
        );
        let arm = RequestSpec {
            image_properties: [("hw_architecture".to_string(), "aarch64".to_string())].into(),
            ..r.clone()
        };
        assert!(verdict("ImagePropertiesFilter", &host(), &arm).is_err());
        let kvm = RequestSpec {
            image_properties: [("img_hv_type".to_string(), "kvm".to_string())].into(),
            ..r.clone()
        };
        assert!(verdict("ImagePropertiesFilter", &host(), &kvm).is_ok());
        let anti = RequestSpec {
            group_policy: Some("anti-affinity".into()),
            group_hosts: [("c1".to_string(), 1)].into(),
            group_max_per_host: 1,
            ..r.clone()
        };
        assert!(verdict("ServerGroupAntiAffinityFilter", &host(), &anti).is_err());
        assert!(
            verdict(
                "ServerGroupAntiAffinityFilter",
                &host(),
                &RequestSpec {
                    group_max_per_host: 2,
                    ..anti
                }
            )
            .is_ok()
        );
        let near = RequestSpec {
            group_policy: Some("affinity".into()),
            group_hosts: [("c2".to_string(), 1)].into(),
            ..r.clone()
        };
        assert!(verdict("ServerGroupAffinityFilter", &host(), &near).is_err());
        let mut capable = r;
        capable
            .flavor
            .extra_specs
            .insert("capabilities:hypervisor_type".into(), "s== QEMU".into());
        capable
            .flavor
            .extra_specs
            .insert("hw:mem_page_size".into(), "large".into());
        assert!(verdict("ComputeCapabilitiesFilter", &host(), &capable).is_ok());
        capable
            .flavor
            .extra_specs
            .insert("hypervisor_version".into(), ">= 9".into());
        assert!(verdict("ComputeCapabilitiesFilter", &host(), &capable).is_err());
    }

    #[test]
    fn operators() {
        for (value, wanted, ok) in [
            ("8", ">= 7", true),
            ("abc", "<in> b", true),
            ("b", "<or> a <or> b", true),
            ("x", "x", true),
            ("1", "== 1.0", true),
            ("a", "s< b", true),
            ("6", ">= 7", false),
        ] {
            assert_eq!(spec_matches(value, wanted), ok, "{value} {wanted}");
        }
    }
}
