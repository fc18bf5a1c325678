//! What the scheduler knows of each host: its report, its service, its zone and aggregates, and what its instances take.
//!
//! Kept in memory, and brought up to date before each decision by what changed in the database: hosts by their generation,
//! instances by the time of their last change, heartbeats now and then. What is old here costs a better choice at most:
//! only placement's claim gives a host away, and nobody hears that no host is left before everything was read again.

use super::{Destination, RequestSpec};
use crate::Nova;
use crate::db::aggregates;
use crate::db::compute_nodes::{COMPUTE, ComputeNodeRow};
use crate::db::generation;
use crate::db::services::ServiceRow;
use crate::instance::status::VmState;
use base::{Result, Timestamp};
use oslo_db::{Tx, eq, everything, ge, is_null, not_null};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How old heartbeats may be: a service counts as down after many times that.
const HEARTBEATS: Duration = Duration::from_secs(5);
/// After so long all instances are read again, and not what changed only.
const INSTANCES: Duration = Duration::from_secs(20);
/// Clocks of conductors differ, and transactions take their time: changes are looked for so far back.
const OVERLAP: Duration = Duration::from_secs(2);
/// A claim of which no instance's row has heard for so long led to nothing.
const CLAIM: Duration = Duration::from_secs(60);

/// A host as filters and weighers see it.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// `CONF.host`.
    pub host: String,
    /// The hypervisor's node.
    pub node: String,
    /// Its provider in placement.
    pub provider_id: String,
    /// Its zone.
    pub zone: String,
    /// Metadata of its aggregates.
    pub aggregates: Vec<BTreeMap<String, String>>,
    /// Whether its service is up.
    pub up: bool,
    /// Why it was taken out of service, if it was.
    pub disabled: Option<String>,
    /// Processors there are.
    pub vcpus: i64,
    /// Processors promised.
    pub vcpus_used: i64,
    /// MiB there are.
    pub memory_mb: i64,
    /// MiB promised.
    pub memory_mb_used: i64,
    /// GiB there are.
    pub local_gb: i64,
    /// GiB promised.
    pub local_gb_used: i64,
    /// Guests.
    pub num_instances: i64,
    /// Guests being built.
    pub num_io_ops: i64,
    /// `QEMU`…
    pub hypervisor_type: String,
    /// Version number.
    pub hypervisor_version: i64,
    /// (architecture, hypervisor, mode).
    pub supported_instances: Vec<(String, String, String)>,
    /// What the host says of its processors.
    pub cpu_info: Value,
}

impl Host {
    fn count(&mut self, t: &Taken, times: i64) {
        self.vcpus_used += times * t.vcpus;
        self.memory_mb_used += times * t.memory_mb;
        self.local_gb_used += times * t.disk_gb;
        self.num_instances += times;
        self.num_io_ops += times * i64::from(t.building);
    }
}

impl oslo_scheduling::HostState for Host {
    fn name(&self) -> &str {
        &self.host
    }
}

/// What an instance takes of its host.
#[derive(Clone, Debug)]
struct Taken {
    host: String,
    vcpus: i64,
    memory_mb: i64,
    disk_gb: i64,
    building: bool,
    /// When it was claimed here, until its row says so, too.
    claimed: Option<Instant>,
}

oslo_db::table! {
    /// An instance, as far as it takes something.
    struct TakenRow in "instances" {
        id: String,
        host: Option<String>,
        vcpus: i64,
        memory_mb: i64,
        disk_gb: i64,
        vm_state: VmState,
        deleted_at: Option<Timestamp>,
    }

    /// When a service was heard of.
    struct BeatRow in "services" { host: String, forced_down: bool, last_seen_up: Option<Timestamp> }
}

/// All hosts.
#[derive(Default)]
pub(super) struct Hosts {
    known: Mutex<Known>,
    /// When the last look at the database began; held while one is under way, so that they do not pass each other.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// How much is read.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// What is new.
    News,
    /// Everything.
    All,
}

#[derive(Default)]
struct Known {
    generation: Option<i64>,
    hosts: Vec<Host>,
    by_name: HashMap<String, usize>,
    beats: HashMap<String, Option<Timestamp>>,
    instances: HashMap<String, Taken>,
    beats_read: Option<Instant>,
    all_read: Option<Instant>,
    /// Changes of instances from here on have not been seen for sure.
    since: Option<Timestamp>,
}

/// What the database is asked for.
#[derive(Clone)]
struct Question {
    generation: Option<i64>,
    beats: bool,
    since: Option<Timestamp>,
    default_zone: String,
}

/// What it answers.
struct News {
    generation: i64,
    hosts: Option<Vec<Host>>,
    beats: Option<Vec<BeatRow>>,
    instances: Vec<TakenRow>,
}

impl Question {
    fn ask(&self, tx: &mut Tx) -> Result<News> {
        let generation = generation::current(tx)?;
        let others = self.generation != Some(generation);
        let hosts = match others {
            true => Some(load(tx, &self.default_zone)?),
            false => None,
        };
        let beats = match others || self.beats {
            true => Some(tx.select::<BeatRow>(eq("service_binary", COMPUTE))?),
            false => None,
        };
        let instances = match self.since {
            Some(since) => tx.select::<TakenRow>(ge("updated_at", since))?,
            None => {
                let living = [is_null("deleted_at"), not_null("host")];
                tx.select::<TakenRow>(oslo_db::all(living))?
            }
        };
        Ok(News {
            generation,
            hosts,
            beats,
            instances,
        })
    }
}

impl Hosts {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns what happened until now. Those who ask at the same time share a look.
    pub(super) async fn look(&self, nova: &Nova, look: Look) -> Result<()> {
        let asked = Instant::now();
        let mut looked = self.looked.lock().await;
        if look == Look::News && looked.is_some_and(|began| began >= asked) {
            return Ok(());
        }
        let (began, now) = (Instant::now(), nova.clock.now());
        let zone = nova.conf.default_availability_zone.clone();
        let question = self.known().question(look, zone);
        let (all, asking) = (question.since.is_none(), question.clone());
        let news = nova.db.read(move |tx| asking.ask(tx)).await?;
        let mut known = self.known();
        known.learn(news, all, began);
        known.since = Some(now.minus(OVERLAP));
        *looked = Some(began);
        Ok(())
    }

    /// Looks at all hosts as they are known, now. The first that `judge` names counts as claimed at once, so that decisions
    /// side by side do not all choose the same one.
    pub(super) fn judge<T>(
        &self,
        nova: &Nova,
        spec: &RequestSpec,
        judge: impl FnOnce(&[Host]) -> (T, Vec<Claimable>),
    ) -> (T, Vec<Claimable>) {
        let mut known = self.known();
        if known.is_claimed(&spec.instance_id) {
            known.put(spec.instance_id.clone(), None);
        }
        let (now, down) = (nova.clock.now(), nova.down_after());
        let Known { hosts, beats, .. } = &mut *known;
        for host in hosts.iter_mut() {
            let heard = beats.get(&host.host).copied().flatten();
            host.up = heard.is_some_and(|t| now.since(t) < down);
        }
        let (told, order) = judge(hosts);
        if let Some((_, first)) = order.first() {
            known.put(spec.instance_id.clone(), Some(taken(spec, &first.host)));
        }
        (told, order)
    }

    /// Counts a claim before the instance's row is written.
    pub(super) fn claimed(&self, spec: &RequestSpec, host: &str) {
        let taken = taken(spec, host);
        self.known().put(spec.instance_id.clone(), Some(taken));
    }

    /// There is no claim after all.
    pub(super) fn unclaimed(&self, spec: &RequestSpec) {
        self.known().put(spec.instance_id.clone(), None);
    }
}

/// A provider in placement, and the host that it is.
pub(super) type Claimable = (String, Destination);

fn taken(spec: &RequestSpec, host: &str) -> Taken {
    Taken {
        host: host.to_string(),
        vcpus: i64::from(spec.flavor.vcpus),
        memory_mb: spec.flavor.memory_mb as i64,
        disk_gb: spec.disk_gb() as i64,
        building: true,
        claimed: Some(Instant::now()),
    }
}

impl Known {
    fn question(&self, look: Look, default_zone: String) -> Question {
        let old = |read: Option<Instant>, age| {
            look == Look::All || read.is_none_or(|read: Instant| read.elapsed() >= age)
        };
        Question {
            generation: self.generation.filter(|_| look == Look::News),
            beats: old(self.beats_read, HEARTBEATS),
            since: self.since.filter(|_| !old(self.all_read, INSTANCES)),
            default_zone,
        }
    }

    fn learn(&mut self, news: News, all: bool, began: Instant) {
        self.generation = Some(news.generation);
        if let Some(beats) = news.beats {
            let heard = |b: BeatRow| (b.host, b.last_seen_up.filter(|_| !b.forced_down));
            self.beats = beats.into_iter().map(heard).collect();
            self.beats_read = Some(began);
        }
        if let Some(hosts) = news.hosts {
            let names = hosts.iter().map(|h| h.host.clone()).zip(0..);
            self.by_name = names.collect();
            self.hosts = hosts;
            for taken in self.instances.values() {
                if let Some(at) = self.by_name.get(&taken.host) {
                    self.hosts[*at].count(taken, 1);
                }
            }
        }
        if all {
            let found: std::collections::HashSet<&str> =
                news.instances.iter().map(|i| i.id.as_str()).collect();
            let fresh = |t: &Taken| t.claimed.is_some_and(|at| at.elapsed() < CLAIM);
            let gone = self
                .instances
                .iter()
                .filter(|(id, t)| !found.contains(id.as_str()) && !fresh(t));
            let gone: Vec<String> = gone.map(|(id, _)| id.clone()).collect();
            for id in gone {
                self.put(id, None);
            }
            self.all_read = Some(began);
        }
        for row in news.instances {
            self.meet(row);
        }
    }

    fn meet(&mut self, row: TakenRow) {
        let building = row.vm_state == VmState::Building;
        let living = row.deleted_at.is_none();
        let taken = match row.host.filter(|_| living) {
            Some(host) => Some(Taken {
                host,
                vcpus: row.vcpus,
                memory_mb: row.memory_mb,
                disk_gb: row.disk_gb,
                building,
                claimed: None,
            }),
            // Claimed a moment ago: the conductor has not written it yet.
            None if living && building && self.is_claimed(&row.id) => return,
            None => None,
        };
        self.put(row.id, taken);
    }

    fn is_claimed(&self, id: &str) -> bool {
        self.instances.get(id).is_some_and(|t| t.claimed.is_some())
    }

    /// What the instance takes from now on.
    fn put(&mut self, id: String, taken: Option<Taken>) {
        let before = match taken.clone() {
            Some(taken) => self.instances.insert(id, taken),
            None => self.instances.remove(&id),
        };
        for (taken, times) in [(before, -1), (taken, 1)] {
            let Some(taken) = taken else { continue };
            if let Some(at) = self.by_name.get(&taken.host) {
                self.hosts[*at].count(&taken, times);
            }
        }
    }
}

/// All hosts, in four queries however many there are; what is taken of them is counted elsewhere.
fn load(tx: &mut Tx, default_zone: &str) -> Result<Vec<Host>> {
    let nodes = tx.select::<ComputeNodeRow>(everything())?;
    let services = tx.select::<ServiceRow>(eq("service_binary", COMPUTE))?;
    let services: HashMap<&str, &ServiceRow> =
        services.iter().map(|s| (s.host.as_str(), s)).collect();
    let mut zones: HashMap<String, String> = HashMap::new();
    let mut metadata: HashMap<String, Vec<BTreeMap<String, String>>> = HashMap::new();
    for (aggregate, hosts) in aggregates::with_hosts(tx)? {
        for host in hosts {
            if let Some(zone) = aggregate.metadata.0.get("availability_zone") {
                zones.insert(host.clone(), zone.clone());
            }
            metadata
                .entry(host)
                .or_default()
                .push(aggregate.metadata.0.clone());
        }
    }
    let mut hosts = Vec::with_capacity(nodes.len());
    for node in nodes {
        let service = services.get(node.host.as_str());
        let disabled = service.filter(|s| s.disabled).map(|s| {
            s.disabled_reason
                .clone()
                .unwrap_or_else(|| "no reason given".into())
        });
        hosts.push(Host {
            zone: zones
                .remove(&node.host)
                .unwrap_or_else(|| default_zone.to_string()),
            aggregates: metadata.remove(&node.host).unwrap_or_default(),
            disabled,
            vcpus: node.vcpus,
            memory_mb: node.memory_mb,
            local_gb: node.local_gb,
            hypervisor_type: node.hypervisor_type,
            hypervisor_version: node.hypervisor_version,
            supported_instances: node.supported_instances.0,
            cpu_info: node.cpu_info.0,
            provider_id: node.id,
            node: node.hypervisor_hostname,
            host: node.host,
            ..Host::default()
        });
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> Known {
        let mut known = Known::default();
        known.learn(hosts(names), true, Instant::now());
        known
    }

    fn hosts(names: &[&str]) -> News {
        let host = |name: &&str| Host {
            host: name.to_string(),
            ..Host::default()
        };
        News {
            generation: 1,
            hosts: Some(names.iter().map(host).collect()),
            beats: None,
            instances: Vec::new(),
        }
    }

    fn row(id: &str, host: Option<&str>, vm_state: VmState) -> TakenRow {
        TakenRow {
            id: id.into(),
            host: host.map(str::to_string),
            vcpus: 2,
            memory_mb: 64,
            disk_gb: 1,
            vm_state,
            deleted_at: None,
        }
    }

    fn takes(host: &str, claimed: bool) -> Taken {
        Taken {
            host: host.into(),
            vcpus: 2,
            memory_mb: 64,
            disk_gb: 1,
            building: true,
            claimed: claimed.then(Instant::now),
        }
    }

    fn rows(instances: Vec<TakenRow>) -> News {
        News {
            generation: 1,
            hosts: None,
            beats: None,
            instances,
        }
    }

    fn used(known: &Known) -> Vec<(i64, i64, i64)> {
        let of = |h: &Host| (h.vcpus_used, h.num_instances, h.num_io_ops);
        known.hosts.iter().map(of).collect()
    }

    #[test]
    fn what_instances_take_is_counted_once_wherever_they_go() {
        let mut known = known(&["a", "b"]);
        let now = Instant::now();
        known.put("i".into(), Some(takes("a", true)));
        assert_eq!(used(&known), [(2, 1, 1), (0, 0, 0)]);
        // The conductor has not written the host yet, and later it has.
        known.learn(rows(vec![row("i", None, VmState::Building)]), false, now);
        assert_eq!(used(&known), [(2, 1, 1), (0, 0, 0)]);
        for _ in 0..2 {
            known.learn(
                rows(vec![row("i", Some("a"), VmState::Building)]),
                false,
                now,
            );
            assert_eq!(used(&known), [(2, 1, 1), (0, 0, 0)]);
        }
        known.learn(rows(vec![row("i", Some("a"), VmState::Active)]), false, now);
        assert_eq!(used(&known), [(2, 1, 0), (0, 0, 0)]);
        // It failed there and went on; what is known of hosts is read again meanwhile.
        known.learn(rows(vec![row("i", None, VmState::Building)]), false, now);
        assert_eq!(used(&known), [(0, 0, 0), (0, 0, 0)]);
        known.learn(rows(vec![row("i", Some("b"), VmState::Active)]), false, now);
        known.learn(hosts(&["b", "c"]), false, now);
        assert_eq!(used(&known), [(2, 1, 0), (0, 0, 0)]);
        let mut gone = row("i", Some("b"), VmState::Deleted);
        gone.deleted_at = Some(Timestamp(1));
        known.learn(rows(vec![gone]), false, now);
        assert_eq!(used(&known), [(0, 0, 0), (0, 0, 0)]);
    }

    #[test]
    fn all_that_is_read_forgets_what_is_not_there_but_not_fresh_claims() {
        let mut known = known(&["a"]);
        known.put("old".into(), Some(takes("a", false)));
        known.put("fresh".into(), Some(takes("a", true)));
        known.learn(
            rows(vec![row("there", Some("a"), VmState::Active)]),
            true,
            Instant::now(),
        );
        assert_eq!(used(&known), [(4, 2, 1)]);
        // Given up before any host was written.
        known.learn(
            rows(vec![row("fresh", None, VmState::Error)]),
            false,
            Instant::now(),
        );
        assert_eq!(used(&known), [(2, 1, 0)]);
    }
}
