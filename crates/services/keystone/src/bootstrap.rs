//! What a new cloud starts with. Idempotent: whatever is there already stays, and a changed address is taken up.

use crate::Keystone;
use crate::db::Extra;
use crate::db::assignments::{AssignmentKind, AssignmentRow, SYSTEM, ensure};
use crate::db::endpoints::EndpointRow;
use crate::db::implied_roles::ImpliedRoleRow;
use crate::db::projects::{self, ProjectRow, ROOT};
use crate::db::regions::{self, RegionRow};
use crate::db::roles::{self, GLOBAL, RoleRow};
use crate::db::services::ServiceRow;
use crate::db::users::{self, UserRow};
use base::{Json, Result, Secret, Timestamp, new_hex_id};
use oslo_db::{Tx, all, eq, set};
use serde_json::Value;
use std::sync::Arc;

/// Upstream's own, which cannot be deleted by mistake.
const IMMUTABLE_ROLES: &[&str] = &["admin", "manager", "member", "reader", "service"];
/// Roles that other services' rules ask for by name.
const OTHER_ROLES: &[&str] = &[
    "ResellerAdmin",
    "audit",
    "creator",
    "heat_stack_owner",
    "heat_stack_user",
    "key-manager:service-admin",
    "load-balancer_admin",
    "load-balancer_global_observer",
    "load-balancer_member",
    "load-balancer_observer",
    "load-balancer_quota_admin",
    "observer",
    "swiftoperator",
];
const IMPLIED: &[(&str, &str)] = &[
    ("admin", "manager"),
    ("manager", "member"),
    ("member", "reader"),
];

/// What to start with.
#[derive(Clone, Debug, Default)]
pub struct BootstrapSpec {
    /// The password of `admin`; set only when the user is made.
    pub admin_password: Secret,
    /// The name of the region.
    pub region: String,
    /// The catalog.
    pub endpoints: Vec<EndpointSpec>,
    /// Users of project `service` with roles `admin` and `service`: name, password. Passwords follow this list.
    pub service_users: Vec<(String, Secret)>,
}

/// A service of the catalog.
#[derive(Clone, Debug, Default)]
pub struct EndpointSpec {
    /// `compute`, `volumev3`, …
    pub service_type: String,
    /// `nova`, `cinder`, …
    pub name: String,
    /// Its address for everybody; `%(project_id)s` stands for the project of the token.
    pub public: String,
    /// Its address inside the cloud.
    pub internal: String,
    /// Its address for operators.
    pub admin: String,
}

impl EndpointSpec {
    /// One address for everybody.
    pub fn same(service_type: &str, name: &str, url: &str) -> EndpointSpec {
        EndpointSpec {
            service_type: service_type.into(),
            name: name.into(),
            public: url.into(),
            internal: url.into(),
            admin: url.into(),
        }
    }
}

/// Ids that the rest of the cloud may want.
#[derive(Clone, Debug)]
pub struct Bootstrapped {
    /// The user `admin`.
    pub admin_user_id: String,
    /// The project `admin`.
    pub admin_project_id: String,
    /// The project `service`.
    pub service_project_id: String,
}

/// Makes what is missing of `spec`.
pub async fn bootstrap(keystone: &Arc<Keystone>, spec: BootstrapSpec) -> Result<Bootstrapped> {
    // Hashing is slow, so only passwords that will be written are hashed.
    let admin = existing(keystone, "admin").await?;
    let admin_hash = match admin {
        Some(_) => None,
        None => Some(keystone.passwords.hash_random(&spec.admin_password).await?),
    };
    let mut service_hashes = Vec::new();
    for (name, password) in &spec.service_users {
        let old = existing(keystone, name)
            .await?
            .and_then(|u| u.password_hash);
        let same = old.is_some() && keystone.passwords.matches(password, old.as_deref()).await?;
        let hash = if same {
            None
        } else {
            Some(keystone.passwords.hash_random(password).await?)
        };
        service_hashes.push((name.clone(), hash));
    }
    let (region, endpoints) = (spec.region, spec.endpoints);
    let now = keystone.clock.now();
    let domain = keystone.conf.identity.default_domain_id.clone();
    keystone
        .write(move |tx| {
            ensure_domain(tx, &domain)?;
            for name in IMMUTABLE_ROLES {
                ensure_role(tx, name, true)?;
            }
            for name in OTHER_ROLES {
                ensure_role(tx, name, false)?;
            }
            for (prior, implied) in IMPLIED {
                let row = ImpliedRoleRow {
                    prior_role_id: role_id(tx, prior)?,
                    implied_role_id: role_id(tx, implied)?,
                };
                tx.upsert(&row, &["prior_role_id", "implied_role_id"])?;
            }
            let admin_project_id = ensure_project(
                tx,
                &domain,
                "admin",
                "Bootstrap project for initializing the cloud.",
            )?;
            let service_project_id =
                ensure_project(tx, &domain, "service", "The cloud's own services.")?;
            let admin_user_id = match users::find_named(tx, &domain, "admin")? {
                Some(admin) => admin.id,
                None => {
                    let hash = admin_hash.as_deref();
                    ensure_user(tx, &domain, "admin", hash, Extra::new(), now)?
                }
            };
            let admin_role = role_id(tx, "admin")?;
            let service_role = role_id(tx, "service")?;
            let grant = |kind, actor: &str, target: &str, role: &str| AssignmentRow {
                kind,
                actor_id: actor.to_string(),
                target_id: target.to_string(),
                role_id: role.to_string(),
                inherited: false,
            };
            ensure(
                tx,
                &grant(
                    AssignmentKind::UserProject,
                    &admin_user_id,
                    &admin_project_id,
                    &admin_role,
                ),
            )?;
            ensure(
                tx,
                &grant(
                    AssignmentKind::UserSystem,
                    &admin_user_id,
                    SYSTEM,
                    &admin_role,
                ),
            )?;
            for (name, hash) in &service_hashes {
                let hash = hash.as_deref();
                let id = ensure_user(tx, &domain, name, hash, of_a_service(), now)?;
                for role in [&admin_role, &service_role] {
                    ensure(
                        tx,
                        &grant(AssignmentKind::UserProject, &id, &service_project_id, role),
                    )?;
                }
            }
            ensure_region(tx, &region)?;
            for endpoint in &endpoints {
                ensure_endpoints(tx, &region, endpoint)?;
            }
            Ok(Bootstrapped {
                admin_user_id,
                admin_project_id,
                service_project_id,
            })
        })
        .await
}

async fn existing(keystone: &Keystone, name: &str) -> Result<Option<UserRow>> {
    let (domain, name) = (
        keystone.conf.identity.default_domain_id.clone(),
        name.to_string(),
    );
    keystone
        .db
        .read(move |tx| users::find_named(tx, &domain, &name))
        .await
}

fn ensure_domain(tx: &mut Tx, domain: &str) -> Result<()> {
    if projects::find(tx, domain)?.is_none() {
        tx.insert(&ProjectRow {
            id: domain.into(),
            name: "Default".into(),
            domain_id: ROOT.into(),
            parent_id: None,
            is_domain: true,
            enabled: true,
            description: Some("The default domain".into()),
            tags: Json(vec![]),
            options: Json(Extra::new()),
            extra: Json(Extra::new()),
        })?;
    }
    Ok(())
}

fn role_id(tx: &mut Tx, name: &str) -> Result<String> {
    let role = roles::find_named(tx, name)?;
    role.map(|r| r.id)
        .ok_or_else(|| crate::db::missing("role", name))
}

fn ensure_role(tx: &mut Tx, name: &str, immutable: bool) -> Result<()> {
    if roles::find_named(tx, name)?.is_none() {
        let mut options = Extra::new();
        if immutable {
            options.insert("immutable".into(), Value::Bool(true));
        }
        tx.insert(&RoleRow {
            id: new_hex_id(),
            name: name.into(),
            domain_id: GLOBAL.into(),
            description: None,
            options: Json(options),
            extra: Json(Extra::new()),
        })?;
    }
    Ok(())
}

fn ensure_project(tx: &mut Tx, domain: &str, name: &str, description: &str) -> Result<String> {
    if let Some(project) = projects::find_named(tx, domain, name)? {
        return Ok(project.id);
    }
    let id = new_hex_id();
    tx.insert(&ProjectRow {
        id: id.clone(),
        name: name.into(),
        domain_id: domain.into(),
        parent_id: Some(domain.into()),
        is_domain: false,
        enabled: true,
        description: Some(description.into()),
        tags: Json(vec![]),
        options: Json(Extra::new()),
        extra: Json(Extra::new()),
    })?;
    Ok(id)
}

fn ensure_user(
    tx: &mut Tx,
    domain: &str,
    name: &str,
    hash: Option<&str>,
    options: Extra,
    now: Timestamp,
) -> Result<String> {
    if let Some(user) = users::find_named(tx, domain, name)? {
        if let Some(hash) = hash {
            tx.update::<UserRow>(
                eq("id", &user.id),
                &[set("password_hash", hash), set("password_changed_at", now)],
            )?;
        }
        return Ok(user.id);
    }
    let id = new_hex_id();
    tx.insert(&UserRow {
        id: id.clone(),
        name: name.into(),
        domain_id: domain.into(),
        enabled: true,
        password_hash: hash.map(str::to_string),
        password_changed_at: Some(now),
        created_at: Some(now),
        options: Json(options),
        ..UserRow::default()
    })?;
    Ok(id)
}

/// Nobody answers for a service's user whose password ends or whose account somebody locks by guessing.
fn of_a_service() -> Extra {
    let exempt = [
        "ignore_change_password_upon_first_use",
        "ignore_lockout_failure_attempts",
        "ignore_password_expiry",
        "ignore_user_inactivity",
    ];
    let options = exempt.iter().map(|o| (o.to_string(), Value::Bool(true)));
    options.collect()
}

fn ensure_region(tx: &mut Tx, region: &str) -> Result<()> {
    if !region.is_empty() && regions::find(tx, region)?.is_none() {
        tx.insert(&RegionRow {
            id: region.into(),
            description: String::new(),
            parent_region_id: None,
            extra: Json(Extra::new()),
        })?;
    }
    Ok(())
}

fn ensure_endpoints(tx: &mut Tx, region: &str, spec: &EndpointSpec) -> Result<()> {
    let found = tx.find::<ServiceRow>(all([
        eq("type", &spec.service_type),
        eq("name", &spec.name),
    ]))?;
    let service_id = match found {
        Some(service) => service.id,
        None => {
            let id = new_hex_id();
            tx.insert(&ServiceRow {
                id: id.clone(),
                r#type: spec.service_type.clone(),
                name: Some(spec.name.clone()),
                enabled: true,
                extra: Json(Extra::new()),
            })?;
            id
        }
    };
    let region_id = Some(region).filter(|r| !r.is_empty());
    for (interface, url) in [
        ("public", &spec.public),
        ("internal", &spec.internal),
        ("admin", &spec.admin),
    ] {
        if url.is_empty() {
            continue;
        }
        let same = all([
            eq("service_id", &service_id),
            eq("interface", interface),
            oslo_db::eq_or_null("region_id", region_id),
        ]);
        match tx.find::<EndpointRow>(same)? {
            Some(row) if row.url == *url => {}
            Some(row) => {
                tx.update::<EndpointRow>(eq("id", &row.id), &[set("url", url)])?;
            }
            None => tx.insert(&EndpointRow {
                id: new_hex_id(),
                interface: interface.into(),
                region_id: region_id.map(str::to_string),
                service_id: service_id.clone(),
                url: url.clone(),
                enabled: true,
                extra: Json(Extra::new()),
            })?,
        }
    }
    Ok(())
}
