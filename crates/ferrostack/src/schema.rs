//! `ferrostack db sync` and `db version`: the services' tables, before any of them runs.

use crate::boot;
use crate::config::Settings;
use base::Result;
use oslo_db::{Db, Migration};

type Set = (&'static str, Vec<Migration>);

/// Every service with its sets of migrations.
fn services() -> Vec<(&'static str, Vec<Set>)> {
    let own = |name, migrations: &[Migration]| (name, vec![(name, migrations.to_vec())]);
    let neutron = neutron::MIGRATIONS.iter().map(|(n, m)| (*n, m.to_vec()));
    vec![
        own("keystone", keystone::MIGRATIONS),
        own("placement", placement::db::MIGRATIONS),
        own("glance", glance::db::MIGRATIONS),
        ("neutron", neutron.collect()),
        own("nova", &nova::migrations()),
        own("cinder", &cinder::db::migrations()),
    ]
}

/// Where a service's database stands.
pub struct Version {
    /// Whose it is.
    pub service: &'static str,
    /// The newest migration applied.
    pub newest: Option<String>,
    /// Those that are missing.
    pub pending: Vec<&'static str>,
}

/// Creates what databases are missing and applies what migrations are; several processes may do this at once.
pub async fn sync(settings: Settings) -> Result<Vec<(&'static str, Vec<&'static str>)>> {
    let settings = settings.derive()?;
    boot::prepare(&settings)?;
    let mut done = Vec::new();
    for (service, sets) in services() {
        let db = boot::database(&settings, service).await?;
        let mut applied = Vec::new();
        for (name, migrations) in sets {
            applied.extend(db.migrate(name, &migrations).await?);
        }
        db.close().await;
        done.push((service, applied));
    }
    Ok(done)
}

/// Looks, and changes nothing.
pub async fn versions(settings: Settings) -> Result<Vec<Version>> {
    let settings = settings.derive()?;
    let mut found = Vec::new();
    for (service, sets) in services() {
        let mut version = Version {
            service,
            newest: None,
            pending: Vec::new(),
        };
        let db = boot::existing_database(&settings, service).await?;
        for (name, migrations) in sets {
            let (newest, pending) = of_set(db.as_ref(), name, &migrations).await?;
            version.newest = version.newest.max(newest);
            version.pending.extend(pending);
        }
        found.push(version);
    }
    Ok(found)
}

async fn of_set(
    db: Option<&Db>,
    name: &str,
    migrations: &[Migration],
) -> Result<(Option<String>, Vec<&'static str>)> {
    let nothing = || (None, migrations.iter().map(|m| m.id).collect());
    let Some(db) = db else {
        return Ok(nothing());
    };
    match db.pending(name, migrations).await {
        Ok(pending) => Ok((db.version(name).await?, pending)),
        Err(e) if e.error_class() == Some(oslo_db::NO_DATABASE) => Ok(nothing()),
        Err(e) => Err(e),
    }
}
