//! `/v3/domains/{domain_id}/config`: options for single domains. They are kept, and secrets among them sealed; as with
//! upstream, nobody acts on them while `domain_configurations_from_database` is off.

use crate::Keystone;
use crate::api::credentials::seal;
use crate::api::one;
use crate::db::Extra;
use crate::db::domain_configs::{self, DomainConfigRow, cond};
use crate::db::projects;
use crate::policy::{Target, enforce};
use base::{Error, Result};
use oslo_db::Tx;
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// Options that a domain may have, with upstream's defaults.
static DEFAULTS: LazyLock<Extra> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../domain-config.json")).unwrap_or_default()
});

/// Secrets: never shown.
fn is_secret(section: &str, name: &str) -> bool {
    section == "ldap" && name == "password"
}

fn invalid(reason: &str) -> Error {
    Error::forbidden(format!("Invalid domain specific configuration: {reason}."))
}

fn check_name(section: &str, name: Option<&str>) -> Result<()> {
    let Some(options) = DEFAULTS.get(section) else {
        return Err(invalid(&format!(
            "Group {section} is not supported for domain specific configurations"
        )));
    };
    match name {
        Some(name) if options.get(name).is_none() && !is_secret(section, name) => {
            Err(invalid(&format!(
                "Option {name} in group {section} is not supported for domain specific configurations"
            )))
        }
        _ => Ok(()),
    }
}

/// What the path names.
#[derive(Clone)]
struct Path {
    domain_id: String,
    section: Option<String>,
    name: Option<String>,
}

impl Path {
    fn of(req: &Req) -> Path {
        let given = |name: &str| Some(req.param(name).to_string()).filter(|v| !v.is_empty());
        Path {
            domain_id: req.param("domain_id").to_string(),
            section: given("group"),
            name: given("option"),
        }
    }

    fn check(&self) -> Result<()> {
        match &self.section {
            Some(section) => check_name(section, self.name.as_deref()),
            None => Ok(()),
        }
    }

    fn rows(&self, tx: &mut Tx) -> Result<Vec<DomainConfigRow>> {
        let (section, name) = (self.section.as_deref(), self.name.as_deref());
        domain_configs::list(tx, cond(&self.domain_id, section, name))
    }

    fn missing(&self) -> Error {
        let what = match (&self.section, &self.name) {
            (Some(section), Some(name)) => format!("option {name} in group {section}"),
            (Some(section), None) => format!("group {section}"),
            (None, _) => "any options".to_string(),
        };
        Error::not_found(format!(
            "Could not find {what} in domain configuration for domain {}.",
            self.domain_id
        ))
    }

    /// What may be shown of rows, as the path asks for it.
    fn shown(&self, rows: &[DomainConfigRow]) -> Result<Value> {
        let mut config = Extra::new();
        for row in rows.iter().filter(|row| !row.sealed) {
            let value: Value = serde_json::from_str(&row.stored)?;
            if self.name.is_some() {
                config.insert(row.name.clone(), value);
                continue;
            }
            let section = config
                .entry(row.section.clone())
                .or_insert_with(|| json!({}));
            section[row.name.as_str()] = value;
        }
        match config.is_empty() {
            true => Err(self.missing()),
            false => Ok(Value::Object(config)),
        }
    }
}

/// The options of the body. `{"config": {"ldap": {"url": …}}}`, or without the group where the path names the option.
fn parse(keystone: &Keystone, req: &Req, path: &Path) -> Result<Vec<DomainConfigRow>> {
    let config = req
        .json
        .as_ref()
        .and_then(|body| body["config"].as_object());
    let mut config = config.cloned().unwrap_or_default();
    if let (Some(section), Some(_)) = (&path.section, &path.name) {
        config = Extra::from_iter([(section.clone(), Value::Object(config))]);
    }
    if config.is_empty() {
        return Err(invalid("No options specified"));
    }
    let mut rows = Vec::new();
    for (section, options) in &config {
        let options = options.as_object().filter(|o| !o.is_empty());
        let options = options.ok_or_else(|| {
            invalid(&format!(
                "The value of group {section} specified in the config should be a dictionary of options"
            ))
        })?;
        for (name, value) in options {
            check_name(section, Some(name))?;
            let sealed = is_secret(section, name);
            let stored = value.to_string();
            rows.push(DomainConfigRow {
                domain_id: path.domain_id.clone(),
                section: section.clone(),
                name: name.clone(),
                stored: if sealed {
                    seal(keystone, &stored)?
                } else {
                    stored
                },
                sealed,
            });
        }
    }
    Ok(rows)
}

/// `PUT …/config`: in the place of what there was.
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_domain_config", Target::new())?;
    let path = Path::of(&req);
    let id = path.domain_id.clone();
    keystone
        .db
        .read(move |tx| projects::get_domain(tx, &id))
        .await?;
    let rows = parse(&keystone, &req, &path)?;
    let (existed, shown) = keystone
        .write(move |tx| {
            projects::get_domain(tx, &path.domain_id)?;
            let whole = cond(&path.domain_id, None, None);
            let existed = tx.delete::<DomainConfigRow>(whole)? > 0;
            tx.insert_all(&rows)?;
            Ok((existed, visible(&path, &rows)?))
        })
        .await?;
    one(if existed { 200 } else { 201 }, "config", shown)
}

/// A config of secrets alone looks empty.
fn visible(path: &Path, rows: &[DomainConfigRow]) -> Result<Value> {
    match path.shown(rows) {
        Err(e) if e.is_not_found() => Ok(json!({})),
        other => other,
    }
}

/// `GET …/config`, `…/config/{group}`, `…/config/{group}/{option}`. What is asked of passwords everybody may know.
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let path = Path::of(&req);
    let compliance = path.section.as_deref() == Some("security_compliance");
    let rule = match compliance {
        true => "identity:get_security_compliance_domain_config",
        false => "identity:get_domain_config",
    };
    enforce(&req, rule, Target::new())?;
    if compliance {
        return one(200, "config", security_compliance(&keystone, &path)?);
    }
    path.check()?;
    let shown = keystone
        .db
        .read(move |tx| {
            projects::get_domain(tx, &path.domain_id)?;
            let rows = path.rows(tx)?;
            path.shown(&rows)
        })
        .await?;
    one(200, "config", shown)
}

fn security_compliance(keystone: &Keystone, path: &Path) -> Result<Value> {
    if path.domain_id != keystone.conf.identity.default_domain_id {
        return Err(invalid(
            "Reading security compliance information for any domain other than the default domain is not allowed or supported",
        ));
    }
    let conf = &keystone.conf.security_compliance;
    let regex = json!(conf.password_regex);
    let description = json!(conf.password_regex_description);
    match path.name.as_deref() {
        None => Ok(json!({"security_compliance": {
            "password_regex": regex, "password_regex_description": description,
        }})),
        Some("password_regex") => Ok(json!({"password_regex": regex})),
        Some("password_regex_description") => {
            Ok(json!({"password_regex_description": description}))
        }
        Some(_) => Err(invalid(
            "Reading security compliance values other than password_regex and password_regex_description is not allowed",
        )),
    }
}

/// `PATCH …/config`, `…/config/{group}`, `…/config/{group}/{option}`: what a path names must be there, and nothing else sent.
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_domain_config", Target::new())?;
    let path = Path::of(&req);
    let id = path.domain_id.clone();
    keystone
        .db
        .read(move |tx| projects::get_domain(tx, &id))
        .await?;
    let rows = parse(&keystone, &req, &path)?;
    path.check()?;
    if let Some(section) = &path.section
        && rows.iter().any(|row| row.section != *section)
    {
        return Err(invalid(&format!(
            "Trying to update group {section}, so that, and only that, group must be specified in the config"
        )));
    }
    if let Some(name) = &path.name
        && rows.iter().any(|row| row.name != *name)
    {
        return Err(invalid(&format!(
            "Trying to update option {name} in group {}, so that, and only that, option must be specified  in the config",
            path.section.as_deref().unwrap_or_default()
        )));
    }
    let shown = keystone
        .write(move |tx| {
            projects::get_domain(tx, &path.domain_id)?;
            if path.section.is_some() && path.rows(tx)?.is_empty() {
                return Err(path.missing());
            }
            for row in &rows {
                tx.upsert(row, &["domain_id", "section", "name"])?;
            }
            let whole = Path {
                section: None,
                name: None,
                ..path.clone()
            };
            let rows = whole.rows(tx)?;
            visible(&whole, &rows)
        })
        .await?;
    one(200, "config", shown)
}

/// `DELETE …/config`, `…/config/{group}`, `…/config/{group}/{option}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_domain_config", Target::new())?;
    let path = Path::of(&req);
    keystone
        .write(move |tx| {
            projects::get_domain(tx, &path.domain_id)?;
            path.check()?;
            let these = cond(
                &path.domain_id,
                path.section.as_deref(),
                path.name.as_deref(),
            );
            match tx.delete::<DomainConfigRow>(these)? {
                0 if path.section.is_some() => Err(path.missing()),
                _ => Ok(()),
            }
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `GET /v3/domains/config/default`, `…/{group}/default`, `…/{group}/{option}/default`
pub(crate) async fn show_defaults(_: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_domain_config_default", Target::new())?;
    let path = Path::of(&req);
    path.check()?;
    let of = |section: &str| DEFAULTS.get(section).cloned().unwrap_or_default();
    let shown = match (&path.section, &path.name) {
        (None, _) => Value::Object(DEFAULTS.clone()),
        (Some(section), None) => json!({section.clone(): of(section)}),
        (Some(section), Some(name)) if is_secret(section, name) => {
            return Err(invalid(&format!(
                "Reading the default for option {name} in group {section} is not supported"
            )));
        }
        (Some(section), Some(name)) => json!({name.clone(): of(section)[name.as_str()]}),
    };
    one(200, "config", shown)
}
