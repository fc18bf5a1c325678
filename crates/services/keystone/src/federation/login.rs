//! Somebody comes from an identity provider: who they are here, what they are given, and their token.

use crate::Keystone;
use crate::api::unauthorized;
use crate::db::federation::{self, Idp, MappingRow};
use crate::db::users;
use crate::federation::front_end::Attributes;
use crate::federation::mapping::{Mapped, Mapping, User, UserKind, Version};
use crate::federation::shadow::{self, Settled, Wanted};
use crate::identity::mfa;
use crate::token::cache::Validated;
use crate::token::issue::{DomainName, Named, Proven, find_user};
use crate::token::payload::{Scope, Via};
use base::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Keystone {
    /// The unscoped token of whom the attributes mean. 401 if they mean nobody.
    pub(crate) async fn log_in_from(
        self: &Arc<Self>,
        idp_id: &str,
        protocol_id: &str,
        attributes: &Attributes,
    ) -> Result<(String, Arc<Validated>)> {
        self.catch_up().await?;
        self.end_memberships().await?;
        let (idp, mapping, remote_id_attribute) = self.find_mapping(idp_id, protocol_id).await?;
        let named_by = remote_id_attribute.or(self.conf.federation.remote_id_attribute.clone());
        check_provider(&idp, named_by.as_deref(), attributes)?;
        let gather = |mapping: &Mapping| attributes.among(mapping.attributes());
        let mapped = evaluate(&mapping, gather).await.map_err(|why| {
            tracing::info!(idp.id = idp_id, mapping.id = mapping.id, %why, "a federated login failed");
            why
        })?;
        match mapped.user.kind {
            UserKind::Local => self.local(mapped.user).await,
            UserKind::Ephemeral => {
                let wanted = wanted(&idp, protocol_id, &mapping, mapped, attributes)?;
                self.ephemeral(wanted, idp).await
            }
        }
    }

    async fn find_mapping(
        &self,
        idp_id: &str,
        protocol_id: &str,
    ) -> Result<(Idp, MappingRow, Option<String>)> {
        let (id, protocol) = (idp_id.to_string(), protocol_id.to_string());
        let (idp, protocol, mapping) = self
            .db
            .read(move |tx| {
                let idp = federation::get_idp(tx, &id)?;
                let protocol = federation::get_protocol(tx, &id, &protocol)?;
                let mapping = federation::get_mapping(tx, &protocol.mapping_id)?;
                Ok((idp, protocol, mapping))
            })
            .await?;
        if !idp.row.enabled {
            return Err(Error::forbidden(format!(
                "Identity Provider {idp_id} is disabled"
            )));
        }
        Ok((idp, mapping, protocol.remote_id_attribute))
    }

    /// The cloud's own user that the attributes name.
    async fn local(self: &Arc<Self>, user: User) -> Result<(String, Arc<Validated>)> {
        let domain = user.domain.unwrap_or_default();
        let named = match (user.id, user.name, domain.id, domain.name) {
            (Some(id), ..) => Named::Id(id),
            (None, Some(name), Some(id), _) => Named::Name(name, DomainName::Id(id)),
            (None, Some(name), None, Some(domain)) => Named::Name(name, DomainName::Name(domain)),
            _ => return Err(unauthorized()),
        };
        let found = self.db.read(move |tx| find_user(tx, &named)).await?;
        let user = found.ok_or_else(unauthorized)?;
        let methods = vec!["mapped"];
        let rules = mfa::rules(&user.options.0);
        let gone = !user.enabled || self.compliance.is_inactive(&user, self.clock.now());
        if gone || !mfa::met(&rules, &methods) {
            return Err(unauthorized());
        }
        self.note_login(&user).await?;
        let proven = self.proven_by_provider(user.id, None);
        self.grant(proven, Scope::Unscoped).await
    }

    /// Somebody who exists by the provider's word: made or brought up to date, and only if that changes anything does
    /// everybody forget what they remember.
    async fn ephemeral(
        self: &Arc<Self>,
        wanted: Wanted,
        idp: Idp,
    ) -> Result<(String, Arc<Validated>)> {
        let now = self.clock.now();
        let minutes = idp.row.authorization_ttl.map(|m| m.max(0).unsigned_abs());
        let minutes = minutes.unwrap_or(self.conf.federation.default_authorization_ttl);
        let lasts = Duration::from_secs(minutes.saturating_mul(60));
        let end = (minutes > 0).then(|| now.plus(lasts));
        let wanted = Arc::new(wanted);
        let looked = Arc::clone(&wanted);
        let keeps = end.is_some();
        let found = self
            .db
            .read(move |tx| shadow::find_settled(tx, &looked, keeps))
            .await?;
        let Settled { user_id, group_ids } = match found {
            Some(settled) => settled,
            None => {
                let wanted = Arc::clone(&wanted);
                let settled = self
                    .write(move |tx| shadow::settle(tx, &wanted, now, end))
                    .await?;
                tracing::info!(
                    user.id = settled.user_id,
                    idp.id = idp.row.id,
                    "federated user taken up"
                );
                settled
            }
        };
        if let Some(end) = end {
            // Longer than before is nothing that anybody remembers.
            let (user_id, idp_id) = (user_id.clone(), idp.row.id.clone());
            self.db
                .write(move |tx| shadow::prolong(tx, &user_id, &idp_id, end))
                .await?;
        }
        self.unless_barred(&user_id).await?;
        let via = Via {
            idp_id: idp.row.id,
            protocol_id: wanted.protocol_id.clone(),
            group_ids,
        };
        let via = Arc::new(via);
        let scope = Scope::Unscoped.vouched(&via);
        self.grant(self.proven_by_provider(user_id, Some(via)), scope)
            .await
    }

    /// 401 for a user of the cloud's own, whom an administrator linked with the provider's, if more is asked of them than a
    /// provider can say, or if they stayed away for too long.
    async fn unless_barred(&self, user_id: &str) -> Result<()> {
        let id = user_id.to_string();
        let user = self.db.read(move |tx| users::find(tx, &id)).await?;
        let user = user.ok_or_else(unauthorized)?;
        if user.display_name.is_some() {
            return Ok(());
        }
        let rules = mfa::rules(&user.options.0);
        let inactive = self.compliance.is_inactive(&user, self.clock.now());
        if inactive || !mfa::met(&rules, &["mapped"]) {
            return Err(unauthorized());
        }
        self.note_login(&user).await
    }

    fn proven_by_provider(&self, user_id: String, via: Option<Arc<Via>>) -> Proven {
        Proven {
            user_id,
            default_project_id: None,
            methods: vec!["mapped"],
            expires_at: self.token_end(),
            chain: None,
            bound: None,
            mfa_rules: vec![],
            via,
        }
    }
}

/// Whether it is this provider who speaks. Where nobody said how to tell, the front end is asked for nothing.
fn check_provider(idp: &Idp, named_by: Option<&str>, attributes: &Attributes) -> Result<()> {
    let Some(attribute) = named_by.filter(|_| !idp.remote_ids.is_empty()) else {
        return Ok(());
    };
    let given = attributes.get(attribute).ok_or_else(|| {
        Error::unauthorized("Could not find Identity Provider identifier in environment")
    })?;
    match idp.remote_ids.iter().any(|id| id == given) {
        true => Ok(()),
        false => Err(Error::forbidden(
            "Incoming identity provider identifier not included among the accepted identifiers.",
        )),
    }
}

/// Runs the engine where it may take its time.
pub(crate) async fn evaluate(
    row: &MappingRow,
    gather: impl FnOnce(&Mapping) -> BTreeMap<String, String>,
) -> Result<Mapped> {
    let version = Version::parse(&row.schema_version).ok_or_else(unauthorized)?;
    let rules = row.rules.0.clone();
    let read = move || Mapping::parse(version, &rules);
    let mapping = tokio::task::spawn_blocking(read)
        .await
        .map_err(Error::internal)?;
    let mapping = mapping.map_err(|why| Error::unauthorized(why.to_string()))?;
    let assertion = gather(&mapping);
    let evaluate = move || mapping.evaluate(&assertion);
    let mapped = tokio::task::spawn_blocking(evaluate)
        .await
        .map_err(Error::internal)?;
    mapped.map_err(|why| Error::unauthorized(why.to_string()))
}

/// What the database must say of an ephemeral user.
fn wanted(
    idp: &Idp,
    protocol_id: &str,
    mapping: &MappingRow,
    mapped: Mapped,
    attributes: &Attributes,
) -> Result<Wanted> {
    let user = mapped.user;
    let remote_user = || attributes.get("REMOTE_USER").map(str::to_string);
    let name = user.name.or_else(remote_user).or_else(|| user.id.clone());
    let Some(name) = name else {
        return Err(Error::unauthorized(
            "Could not map user while setting ephemeral user identity. Either mapping rules must specify user id/name or REMOTE_USER environment variable must be set.",
        ));
    };
    let id = user.id.unwrap_or_else(|| name.clone());
    let unique_id = quoted(&id);
    if unique_id.len() > 255 || name.chars().count() > 255 {
        return Err(Error::unauthorized("The name of the user is too long"));
    }
    Ok(Wanted {
        idp_id: idp.row.id.clone(),
        protocol_id: protocol_id.to_string(),
        mapping_id: mapping.id.clone(),
        unique_id,
        name,
        email: user.email,
        domain: user.domain,
        idp_domain_id: idp.row.domain_id.clone(),
        group_ids: mapped.group_ids,
        groups: mapped.groups,
        projects: mapped.projects,
        // Version 3.0 also takes away what the provider no longer says.
        sync: Version::parse(&mapping.schema_version) == Some(Version::V3),
    })
}

/// As Python's `quote` has it: a slash stays.
fn quoted(text: &str) -> String {
    let parts: Vec<String> = text.split('/').map(oslo_http::percent_encode).collect();
    parts.join("/")
}
