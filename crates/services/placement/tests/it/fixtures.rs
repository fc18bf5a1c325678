//! What the declarative tests expect to find: names in the environment, and layouts of providers.
//!
//! A layout has a provider per line: `name<parent $ENV @aggregate +TRAIT CLASS=total;max=n;used=n`.

use crate::cloud::Cloud;
use serde_json::{Value, json};
use std::collections::HashMap;

type Env = HashMap<String, String>;

const SHARED_STORAGE: &str = "
cn1 $CN1_UUID @AGG_UUID VCPU=24;ratio=16 MEMORY_MB=131072;ratio=1.5 +HW_CPU_X86_SSE +HW_CPU_X86_SSE2
cn2 $CN2_UUID @AGG_UUID VCPU=24;ratio=16 MEMORY_MB=131072;ratio=1.5 DISK_GB=2000;reserved=100
ss $SS_UUID @AGG_UUID DISK_GB=2000;reserved=100 +MISC_SHARES_VIA_AGGREGATE
ss2 $SS2_UUID @AGG_UUID DISK_GB=2000;reserved=100 +MISC_SHARES_VIA_AGGREGATE
numa1_1<cn1 $NUMA1_1_UUID
numa1_2<cn1 $NUMA1_2_UUID
numa2_1<cn2 $NUMA2_1_UUID
numa2_2<cn2 $NUMA2_2_UUID
pf1_1<numa1_1 $PF1_1_UUID SRIOV_NET_VF=8
pf1_2<numa1_2 $PF1_2_UUID SRIOV_NET_VF=8
pf2_1<numa2_1 $PF2_1_UUID SRIOV_NET_VF=8
pf2_2<numa2_2 $PF2_2_UUID SRIOV_NET_VF=8
";

const NUMA_AGGREGATE: &str = "
cn1 $CN1_UUID @AGGA_UUID
cn2 $CN2_UUID @AGGA_UUID @AGGB_UUID
ss1 $SS1_UUID @AGGA_UUID DISK_GB=2000;reserved=100 +MISC_SHARES_VIA_AGGREGATE
ss2 $SS2_UUID @AGGC_UUID DISK_GB=2000;reserved=100 +MISC_SHARES_VIA_AGGREGATE
numa1_1<cn1 $NUMA1_1_UUID @AGGC_UUID VCPU=24;ratio=16
numa1_2<cn1 $NUMA1_2_UUID VCPU=24;ratio=16
numa2_1<cn2 $NUMA2_1_UUID VCPU=24;ratio=16
numa2_2<cn2 $NUMA2_2_UUID VCPU=24;ratio=16
";

const ANCESTORS: &str = "
gp1
p1<gp1
p2<gp1
";

const NUMA_NETWORK: &str = "
ss1 $SS1_UUID @AGGA_UUID DISK_GB=2000 +MISC_SHARES_VIA_AGGREGATE
cn1 $CN1_UUID @AGGA_UUID +COMPUTE_VOLUME_MULTI_ATTACH
numa0<cn1 $NUMA0_UUID VCPU=4;used=2 MEMORY_MB=2048;min=512;step=256 +HW_NUMA_ROOT
numa1<cn1 $NUMA1_UUID VCPU=4 MEMORY_MB=2048;min=256;max=1024 +HW_NUMA_ROOT +CUSTOM_FOO
fpga0<numa0 $FPGA0_UUID FPGA=1
pgpu0<numa0 $PGPU0_UUID VGPU=8
fpga1_0<numa1 $FPGA1_0_UUID FPGA=1
fpga1_1<numa1 $FPGA1_1_UUID FPGA=1
sriov_agent<cn1 $SRIOV_AGENT_UUID +CUSTOM_VNIC_TYPE_DIRECT
esn1<sriov_agent $ESN1_UUID NET_BW_EGR_KILOBIT_PER_SEC=10000 +CUSTOM_PHYSNET1
esn2<sriov_agent $ESN2_UUID NET_BW_EGR_KILOBIT_PER_SEC=20000 +CUSTOM_PHYSNET2
ovs_agent<cn1 $OVS_AGENT_UUID +CUSTOM_VNIC_TYPE_NORMAL
br_int<ovs_agent $BR_INT_UUID NET_BW_EGR_KILOBIT_PER_SEC=1000 +CUSTOM_PHYSNET0
cn2 $CN2_UUID @AGGA_UUID VCPU=8;used=3 MEMORY_MB=2048;min=1024;step=128 DISK_GB=1000 +CUSTOM_FOO
nic1<cn2 $NIC1_UUID +CUSTOM_HW_NIC_ROOT
nic2<cn2 $NIC2_UUID +CUSTOM_HW_NIC_ROOT
nic3<cn2 $NIC3_UUID +CUSTOM_HW_NIC_ROOT
pf1_1<nic1 $PF1_1_UUID CUSTOM_VF=4 +CUSTOM_PHYSNET1
pf1_2<nic1 $PF1_2_UUID CUSTOM_VF=4 +CUSTOM_PHYSNET2
pf2_1<nic2 $PF2_1_UUID CUSTOM_VF=2 +CUSTOM_PHYSNET1
pf2_2<nic2 $PF2_2_UUID CUSTOM_VF=2 +CUSTOM_PHYSNET2
pf2_3<nic2 $PF2_3_UUID CUSTOM_VF=2 +CUSTOM_PHYSNET1
pf2_4<nic2 $PF2_4_UUID CUSTOM_VF=2 +CUSTOM_PHYSNET2
pf3_1<nic3 $PF3_1_UUID CUSTOM_VF=8 +CUSTOM_PHYSNET1
";

const NON_SHARED_STORAGE: &str = "
cn1 $CN1_UUID VCPU=24 MEMORY_MB=131072 DISK_GB=2000
cn2 $CN2_UUID VCPU=24 MEMORY_MB=131072 DISK_GB=2000
cn3 $CN3_UUID VCPU=24 MEMORY_MB=131072 DISK_GB=2000
";

const GRANULAR: &str = "
cn_left $CN_LEFT @AGGA VCPU=8 MEMORY_MB=4096 DISK_GB=500 VGPU=8 SRIOV_NET_VF=8 CUSTOM_NET_MBPS=4000 +HW_CPU_X86_AVX +HW_CPU_X86_AVX2 +HW_GPU_API_DXVA +HW_NIC_DCB_PFC +CUSTOM_FOO
cn_middle $CN_MIDDLE @AGGA @AGGB VCPU=8 MEMORY_MB=4096 SRIOV_NET_VF=8 CUSTOM_NET_MBPS=4000 +HW_CPU_X86_AVX +HW_CPU_X86_AVX2 +HW_CPU_X86_SSE +HW_NIC_ACCEL_TLS
cn_right $CN_RIGHT @AGGB @AGGC VCPU=8 MEMORY_MB=4096 DISK_GB=500 VGPU=8;max=2 +HW_CPU_X86_MMX +HW_GPU_API_DXVA +CUSTOM_DISK_SSD
shr_disk_1 $SHR_DISK_1 @AGGA DISK_GB=1000 +MISC_SHARES_VIA_AGGREGATE +CUSTOM_DISK_SSD
shr_disk_2 $SHR_DISK_2 @AGGA @AGGB DISK_GB=1000 +MISC_SHARES_VIA_AGGREGATE
shr_net $SHR_NET @AGGC SRIOV_NET_VF=16 CUSTOM_NET_MBPS=40000 +MISC_SHARES_VIA_AGGREGATE
";

const ALLOCATION: &str = "
RP $RP_UUID DISK_GB=2048;step=10;min=10;max=1000 VCPU=10;max=10
";

/// Hosts on segments of one network: the first beside it, the last on both with little bandwidth.
fn qos() -> String {
    let mut text = String::new();
    for (host, segments, rate, pf_rate) in [
        (0, &["OTHER"][..], 5000, 10000),
        (1, &["MSN_S1"], 5000, 10000),
        (2, &["MSN_S2"], 5000, 10000),
        (3, &["MSN_S1", "MSN_S2"], 1000, 1000),
    ] {
        let host = format!("compute{host}");
        let bandwidth =
            |n| format!("NET_BW_EGR_KILOBIT_PER_SEC={n} NET_BW_IGR_KILOBIT_PER_SEC={n}");
        let direct =
            "+CUSTOM_VNIC_TYPE_DIRECT +CUSTOM_VNIC_TYPE_DIRECT_PHYSICAL +CUSTOM_VNIC_TYPE_MACVTAP";
        text += &format!("{host} ${host} VCPU=8 MEMORY_MB=4096 DISK_GB=500\n");
        text += &format!(
            "{host}:ovs<{host} ${host}:ovs_agent NET_PACKET_RATE_KILOPACKET_PER_SEC=1000 +CUSTOM_VNIC_TYPE_NORMAL\n"
        );
        text += &format!("{host}:sriov<{host} ${host}:sriov_agent {direct}\n");
        for (i, segment) in segments.iter().enumerate() {
            let more = if i == 0 {
                String::new()
            } else {
                (i + 1).to_string()
            };
            text += &format!(
                "{host}:br{more}<{host}:ovs ${host}:br_ex{more} {} +CUSTOM_VNIC_TYPE_NORMAL +CUSTOM_PHYSNET_{segment}\n",
                bandwidth(rate)
            );
            text += &format!(
                "{host}:pf{i}<{host}:sriov ${host}:pf{i} {} {direct} +CUSTOM_PHYSNET_{segment}\n",
                bandwidth(pf_rate)
            );
        }
    }
    text
}

pub async fn prepare(cloud: &Cloud, names: &[&str]) -> Result<Env, String> {
    let mut env = base_env();
    match names {
        ["APIFixture"] => {}
        ["AllocationFixture"] => {
            build(cloud, &mut env, ALLOCATION, &[]).await;
            allocations(cloud, &env).await;
        }
        ["SharedStorageFixture"] => build(cloud, &mut env, SHARED_STORAGE, &[]).await,
        ["NUMAAggregateFixture"] => build(cloud, &mut env, NUMA_AGGREGATE, &[]).await,
        ["NUMANetworkFixture"] => build(cloud, &mut env, NUMA_NETWORK, &[]).await,
        ["DeepNUMANetworkFixture"] => {
            build(cloud, &mut env, ANCESTORS, &[]).await;
            let parents = [("cn1", env["p1"].clone()), ("cn2", env["p2"].clone())];
            build(cloud, &mut env, NUMA_NETWORK, &parents).await;
        }
        ["NonSharedStorageFixture"] => build(cloud, &mut env, NON_SHARED_STORAGE, &[]).await,
        ["GranularFixture"] => build(cloud, &mut env, GRANULAR, &[]).await,
        ["NeutronQoSMultiSegmentFixture"] => build(cloud, &mut env, &qos(), &[]).await,
        other => return Err(format!("no fixture {other:?}")),
    }
    Ok(env)
}

fn base_env() -> Env {
    let words = "RP_UUID RP_UUID1 RP_UUID2 ALT_RP_UUID PARENT_PROVIDER_UUID ALT_PARENT_PROVIDER_UUID \
        INSTANCE_UUID MIGRATION_UUID CONSUMER_UUID CONSUMER_ID ALT_CONSUMER_ID CONSUMER_0 PROJECT_ID \
        USER_ID PROJECT_ID_ALT USER_ID_ALT ALT_USER_ID ADMIN_PROJECT_ID SERVICE_PROJECT_ID RP_NAME \
        RP_NAME1 RP_NAME2 ALT_RP_NAME AGG_UUID AGGA AGGB AGGC AGGC_UUID";
    let mut env: Env = words
        .split_whitespace()
        .map(|n| (n.into(), base::new_id()))
        .collect();
    // Lists come sorted; the tests expect A before B.
    env.insert(
        "AGGA_UUID".into(),
        "0aaaaaaa-0000-4000-8000-000000000000".into(),
    );
    env.insert(
        "AGGB_UUID".into(),
        "0bbbbbbb-0000-4000-8000-000000000000".into(),
    );
    for (name, suffix) in [
        ("CUSTOM_RES_CLASS", ""),
        ("CUSTOM_RES_CLASS1", "1"),
        ("CUSTOM_RES_CLASS2", "2"),
    ] {
        env.insert(name.into(), format!("CUSTOM_IRON_NFV{suffix}"));
    }
    env
}

async fn build(cloud: &Cloud, env: &mut Env, layout: &str, parents: &[(&str, String)]) {
    for line in layout.lines().filter(|l| !l.is_empty()) {
        let mut words = line.split_whitespace();
        let (name, parent) = match words.next().unwrap().split_once('<') {
            Some((name, parent)) => (name, Some(env[parent].clone())),
            None => (line.split_whitespace().next().unwrap(), None),
        };
        let above = parents
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, id)| id.clone());
        let parent = parent.or(above);
        let words: Vec<&str> = words.collect();
        let var = words.iter().find_map(|w| w.strip_prefix('$'));
        let id = match name {
            "RP" => env["RP_UUID"].clone(),
            _ => base::new_id(),
        };
        let shown = if name == "RP" {
            env["RP_NAME"].clone()
        } else {
            name.to_string()
        };
        env.insert(name.to_string(), id.clone());
        if let Some(var) = var {
            env.insert(var.to_string(), id.clone());
        }
        let body = json!({"name": shown, "uuid": id, "parent_provider_uuid": parent});
        cloud.ok("POST", "/resource_providers", Some(body)).await;
        provider(cloud, env, &id, &words).await;
    }
}

async fn provider(cloud: &Cloud, env: &Env, id: &str, words: &[&str]) {
    let path = format!("/resource_providers/{id}");
    let aggregates: Vec<&String> = words
        .iter()
        .filter_map(|w| w.strip_prefix('@'))
        .map(|a| &env[a])
        .collect();
    let old = [
        ("x-auth-token", "admin"),
        ("content-type", "application/json"),
        ("openstack-api-version", "placement 1.18"),
    ];
    // Below 1.19, so that the generation stays.
    let body = Some(json!(aggregates).to_string());
    let done = cloud
        .send("PUT", &format!("{path}/aggregates"), &old, body)
        .await;
    assert_eq!(done.status, 200);
    for word in words.iter().filter(|w| w.contains('=')) {
        inventory(cloud, &path, word).await;
    }
    let traits: Vec<&str> = words.iter().filter_map(|w| w.strip_prefix('+')).collect();
    if !traits.is_empty() {
        for name in traits.iter().filter(|t| t.starts_with("CUSTOM_")) {
            cloud.ok("PUT", &format!("/traits/{name}"), None).await;
        }
        let now = cloud.ok("GET", &path, None).await["generation"].clone();
        let body = json!({"traits": traits, "resource_provider_generation": now});
        cloud.ok("PUT", &format!("{path}/traits"), Some(body)).await;
    }
    for word in words.iter().filter(|w| w.contains(";used=")) {
        let class = word.split('=').next().unwrap();
        let used: i64 = word.rsplit('=').next().unwrap().parse().unwrap();
        take(cloud, &base::new_id(), id, json!({class: used}), "p", "u").await;
    }
}

async fn inventory(cloud: &Cloud, path: &str, word: &str) {
    let mut parts = word.split(';');
    let (class, total) = parts.next().unwrap().split_once('=').unwrap();
    if class.starts_with("CUSTOM_") {
        cloud
            .ok("PUT", &format!("/resource_classes/{class}"), None)
            .await;
    }
    let total: i64 = total.parse().unwrap();
    let mut body = json!({"resource_class": class, "total": total, "max_unit": total});
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        let key = match key {
            "min" => "min_unit",
            "max" => "max_unit",
            "step" => "step_size",
            "ratio" => "allocation_ratio",
            "reserved" => "reserved",
            _ => continue,
        };
        body[key] = serde_json::from_str::<Value>(value).unwrap();
    }
    cloud
        .ok("POST", &format!("{path}/inventories"), Some(body))
        .await;
}

async fn take(
    cloud: &Cloud,
    consumer: &str,
    id: &str,
    resources: Value,
    project: &str,
    user: &str,
) {
    let body = json!({
        "allocations": {id: {"resources": resources}}, "project_id": project, "user_id": user,
    });
    // Below 1.38, so that the consumer has no type.
    let old = [
        ("x-auth-token", "admin"),
        ("content-type", "application/json"),
        ("openstack-api-version", "placement 1.12"),
    ];
    let path = format!("/allocations/{consumer}");
    let done = cloud.send("PUT", &path, &old, Some(body.to_string())).await;
    assert_eq!(done.status, 204, "{}", done.text);
}

async fn allocations(cloud: &Cloud, env: &Env) {
    let (rp, project) = (&env["RP_UUID"], &env["PROJECT_ID"]);
    let (user, other) = (&env["USER_ID"], &env["ALT_USER_ID"]);
    take(
        cloud,
        &env["CONSUMER_0"],
        rp,
        json!({"DISK_GB": 1000}),
        project,
        user,
    )
    .await;
    take(
        cloud,
        &env["CONSUMER_ID"],
        rp,
        json!({"VCPU": 6}),
        project,
        user,
    )
    .await;
    let both = json!({"DISK_GB": 20, "VCPU": 1});
    take(cloud, &env["ALT_CONSUMER_ID"], rp, both, project, other).await;
}
