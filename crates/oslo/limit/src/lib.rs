//! Quotas that cannot be overrun: usage is counted from live rows inside the transaction that adds to it, while
//! a lock row of the project keeps other reservations of the same project waiting. Nothing is ever reserved on
//! the side, so nothing can leak.

use base::{Error, Kind, Result};
use oslo_db::{Migration, Tx, all, eq};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the tables of this crate need; a service appends them to its own migrations.
pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "2026-11-23-quotas",
    sql: include_str!("../migrations/2026-11-23-quotas.sql"),
}];

/// The class whose limits hold for every project that has none of its own.
pub const DEFAULT_CLASS: &str = "default";
/// The limit that nothing exceeds.
pub const UNLIMITED: i64 = -1;

oslo_db::table! {
    struct LimitRow in "quota_limits" { project_id: String, resource: String, hard_limit: i64 }
    struct ClassRow in "quota_classes" { class: String, resource: String, hard_limit: i64 }
    struct LockRow in "quota_locks" { project_id: String, holder: i64 }
}

/// Counts a resource's live use by a project.
pub type Count = fn(&mut Tx, project: &str) -> Result<u64>;

/// Something that is limited.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    /// Upstream's name.
    pub name: &'static str,
    /// The limit where no operator set one; -1 is unlimited.
    pub default: i64,
    /// How use is counted.
    pub count: Count,
}

/// A limit that a request would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The resource.
    pub resource: &'static str,
    /// Its limit.
    pub limit: i64,
    /// What is in use.
    pub used: u64,
    /// What was asked for on top.
    pub requested: i64,
}

/// A limit and how much of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The resource.
    pub resource: &'static str,
    /// Its limit; -1 is unlimited.
    pub limit: i64,
    /// What is in use.
    pub used: u64,
}

/// The limits of one service.
#[derive(Clone)]
pub struct Limits {
    service: &'static str,
    resources: Arc<Vec<Resource>>,
}

impl Limits {
    /// The limits of a service.
    pub fn new(service: &'static str, resources: Vec<Resource>) -> Limits {
        Limits {
            service,
            resources: Arc::new(resources),
        }
    }

    /// The resources, in the order they were given.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The resource of that name; an unknown one is a 400.
    pub fn resource(&self, name: &str) -> Result<&Resource> {
        self.resources
            .iter()
            .find(|r| r.name == name)
            .ok_or_else(|| Error::bad_request(format!("Unknown quota resources ['{name}'].")))
    }

    /// Makes sure that the project may have so much more, until the transaction ends. Call it in the write
    /// transaction that inserts the rows, before it inserts them.
    pub fn reserve(&self, tx: &mut Tx, project: &str, deltas: &[(&str, i64)]) -> Result<()> {
        let exceeded = self.check(tx, project, deltas)?;
        if exceeded.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = exceeded.iter().map(|e| e.resource).collect();
        let log = format!("{}: project {project} exceeds {exceeded:?}", self.service);
        let words = format!("Quota exceeded for resources: {}.", names.join(", "));
        Err(Error::new(Kind::OverQuota, words)
            .class("OverQuota")
            .log(log))
    }

    /// Like [`Limits::reserve`], but gives the limits that would be exceeded, for services with words of their
    /// own. Empty means reserved.
    pub fn check(
        &self,
        tx: &mut Tx,
        project: &str,
        deltas: &[(&str, i64)],
    ) -> Result<Vec<Exceeded>> {
        self.lock(tx, project)?;
        let limits = self.get(tx, project)?;
        let mut exceeded = Vec::new();
        for (name, requested) in summed(deltas) {
            let resource = self.resource(name)?;
            let limit = limits
                .get(resource.name)
                .copied()
                .unwrap_or(resource.default);
            // Giving back is always allowed, also by projects whose limit was lowered below their use.
            if limit < 0 || requested <= 0 {
                continue;
            }
            let used = (resource.count)(tx, project)?;
            if i128::from(used) + i128::from(requested) > i128::from(limit) {
                exceeded.push(Exceeded {
                    resource: resource.name,
                    limit,
                    used,
                    requested,
                });
            }
        }
        Ok(exceeded)
    }

    /// Holds the project's lock row until the transaction ends. SQLite has one writer anyway, but the row costs
    /// little, and one way is easier to trust than two.
    pub fn lock(&self, tx: &mut Tx, project: &str) -> Result<()> {
        // The upsert writes, so it takes the row's lock whether the row is new or old.
        let now = base::Timestamp::now().0;
        tx.upsert(
            &LockRow {
                project_id: project.to_string(),
                holder: now,
            },
            &["project_id"],
        )
    }

    /// The limit of each resource: the project's own, else the default class's, else the built-in one.
    pub fn get(&self, tx: &mut Tx, project: &str) -> Result<BTreeMap<&'static str, i64>> {
        let mut limits = self.class(tx, DEFAULT_CLASS)?;
        limits.extend(self.overrides(tx, project)?);
        Ok(limits)
    }

    /// Only what an operator set for the project.
    pub fn overrides(&self, tx: &mut Tx, project: &str) -> Result<BTreeMap<&'static str, i64>> {
        let rows = tx.select::<LimitRow>(eq("project_id", project))?;
        Ok(self
            .known(rows.into_iter().map(|r| (r.resource, r.hard_limit)))
            .collect())
    }

    /// Limits and use of every resource.
    pub fn usages(&self, tx: &mut Tx, project: &str) -> Result<Vec<Usage>> {
        let limits = self.get(tx, project)?;
        let mut usages = Vec::with_capacity(self.resources.len());
        for r in self.resources.iter() {
            let limit = limits.get(r.name).copied().unwrap_or(r.default);
            usages.push(Usage {
                resource: r.name,
                limit,
                used: (r.count)(tx, project)?,
            });
        }
        Ok(usages)
    }

    /// Sets a limit of a project; -1 is unlimited. Whether it may lie below the use is the service's to decide.
    pub fn set(&self, tx: &mut Tx, project: &str, resource: &str, limit: i64) -> Result<()> {
        let resource = checked(self.resource(resource)?, limit)?;
        let row = LimitRow {
            project_id: project.to_string(),
            resource,
            hard_limit: limit,
        };
        tx.upsert(&row, &["project_id", "resource"])
    }

    /// Back to the defaults: one resource of a project, or all. True if there was anything to forget.
    pub fn delete(&self, tx: &mut Tx, project: &str, resource: Option<&str>) -> Result<bool> {
        let mut cond = vec![eq("project_id", project)];
        cond.extend(resource.map(|r| eq("resource", r)));
        Ok(tx.delete::<LimitRow>(all(cond))? > 0)
    }

    /// The limits of a class: what an operator set, else the built-in ones.
    pub fn class(&self, tx: &mut Tx, class: &str) -> Result<BTreeMap<&'static str, i64>> {
        let mut limits: BTreeMap<_, _> =
            self.resources.iter().map(|r| (r.name, r.default)).collect();
        let rows = tx.select::<ClassRow>(eq("class", class))?;
        limits.extend(self.known(rows.into_iter().map(|r| (r.resource, r.hard_limit))));
        Ok(limits)
    }

    /// Sets a limit of a class.
    pub fn set_class(&self, tx: &mut Tx, class: &str, resource: &str, limit: i64) -> Result<()> {
        let resource = checked(self.resource(resource)?, limit)?;
        let row = ClassRow {
            class: class.to_string(),
            resource,
            hard_limit: limit,
        };
        tx.upsert(&row, &["class", "resource"])
    }

    /// The projects with limits of their own, sorted (neutron lists them).
    pub fn projects(&self, tx: &mut Tx) -> Result<Vec<String>> {
        let rows = tx.select::<LimitRow>(oslo_db::everything())?;
        let mut projects: Vec<_> = rows.into_iter().map(|r| r.project_id).collect();
        projects.sort();
        projects.dedup();
        Ok(projects)
    }

    /// Rows of resources that the service no longer knows are passed over.
    fn known(
        &self,
        rows: impl Iterator<Item = (String, i64)>,
    ) -> impl Iterator<Item = (&'static str, i64)> {
        rows.filter_map(|(name, limit)| {
            self.resources
                .iter()
                .find(|r| r.name == name)
                .map(|r| (r.name, limit))
        })
    }
}

fn checked(resource: &Resource, limit: i64) -> Result<String> {
    if limit < UNLIMITED {
        let words = format!(
            "Quota limit {limit} for {} must be -1 or greater.",
            resource.name
        );
        return Err(Error::bad_request(words));
    }
    Ok(resource.name.to_string())
}

/// The same resource twice counts as one request.
fn summed<'a>(deltas: &[(&'a str, i64)]) -> Vec<(&'a str, i64)> {
    let mut out: Vec<(&str, i64)> = Vec::with_capacity(deltas.len());
    for (name, delta) in deltas {
        match out.iter_mut().find(|(n, _)| n == name) {
            Some((_, sum)) => *sum = sum.saturating_add(*delta),
            None => out.push((name, *delta)),
        }
    }
    out
}
