//! Users and groups of an LDAP directory: found by searches as the operator's DN, proven by binds as their own. Nothing is
//! ever written there. [`mirror`] is what the rest of keystone sees of them.

mod entry;
pub(crate) mod files;
pub(crate) mod mirror;
pub(crate) mod options;
mod pool;

pub(crate) use entry::{LdapGroup, LdapUser};
pub(crate) use options::LdapConf;

use base::{Error, Result, Secret};
use entry::{Entry, equals, filter, normalized};
use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{DerefAliases, LdapError, Scope, SearchEntry, SearchOptions, ldap_escape};
use options::{AliasDereferencing, QueryScope};
use pool::{Lease, Pool, away};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Results that are answers: found, too many to send all, and nothing there.
const SUCCESS: u32 = 0;
const SIZE_LIMIT: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;
/// What a server says to a wrong password, or to a right one that may not be used: an account that is locked or expired.
const REFUSALS: &[u32] = &[19, 34, 48, 49, 50, 53];
/// Active Directory's rule for members of groups within groups.
const NESTED: &str = ":1.2.840.113556.1.4.1941:";

/// A directory.
pub(crate) struct Directory {
    conf: Arc<LdapConf>,
    /// Whether a single domain has it for its own.
    is_of_one_domain: bool,
    lookups: Pool,
    proofs: Pool,
}

impl Directory {
    pub(crate) fn new(conf: LdapConf, is_of_one_domain: bool) -> Directory {
        let conf = Arc::new(conf);
        let pool = |size, kept, lifetime| Pool::new(Arc::clone(&conf), size, kept, lifetime);
        Directory {
            is_of_one_domain,
            lookups: pool(conf.pool_size, conf.use_pool, conf.pool_connection_lifetime),
            proofs: pool(
                conf.auth_pool_size,
                conf.use_auth_pool,
                conf.auth_pool_connection_lifetime,
            ),
            conf,
        }
    }

    fn scope(&self) -> Scope {
        match self.conf.query_scope {
            QueryScope::One => Scope::OneLevel,
            QueryScope::Sub => Scope::Subtree,
        }
    }

    fn options(&self) -> SearchOptions {
        let deref = match self.conf.alias_dereferencing {
            AliasDereferencing::Default | AliasDereferencing::Never => DerefAliases::Never,
            AliasDereferencing::Searching => DerefAliases::Searching,
            AliasDereferencing::Finding => DerefAliases::Finding,
            AliasDereferencing::Always => DerefAliases::Always,
        };
        SearchOptions::new().deref(deref)
    }

    /// A connection that speaks as the operator's DN.
    async fn reader(&self, fresh: bool) -> Result<Lease> {
        let mut lease = self.lookups.lease(fresh).await?;
        if lease.used {
            return Ok(lease);
        }
        if let Some(user) = &self.conf.user {
            let password = self.conf.password.expose();
            let timeout = pool::timeout(&self.conf);
            let bound = lease.ldap.with_timeout(timeout);
            let bound = bound.simple_bind(user, password).await;
            let bound = bound.map_err(|e| away(&self.conf, e))?;
            if bound.rc != SUCCESS {
                return Err(Error::internal(format!(
                    "[ldap] user and password are refused: {}",
                    bound.rc
                )));
            }
        }
        Ok(lease)
    }

    /// Entries that match. A base that is not there holds none.
    async fn search(
        &self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[String],
    ) -> Result<Vec<Entry>> {
        let mut attempt = 0;
        loop {
            let lease = self.reader(attempt > 0).await;
            let outcome = match lease {
                Ok(mut lease) => {
                    let found = self.ask(&mut lease, base, scope, filter, attributes).await;
                    if found.is_ok() {
                        self.lookups.give_back(lease);
                    }
                    found.map_err(|e| away(&self.conf, e))
                }
                Err(error) => Err(error),
            };
            match outcome {
                Err(_) if attempt < self.conf.pool_retry_max => {
                    attempt += 1;
                    let delay = self.conf.pool_retry_delay.clamp(0.0, 10.0);
                    tokio::time::sleep(Duration::from_secs_f64(delay)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn ask(
        &self,
        lease: &mut Lease,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[String],
    ) -> Result<Vec<Entry>, LdapError> {
        let mut adapters: Vec<Box<dyn Adapter<String, Vec<String>>>> =
            vec![Box::new(EntriesOnly::new())];
        if let Ok(size @ 1..) = i32::try_from(self.conf.page_size) {
            adapters.push(Box::new(PagedResults::new(size)));
        }
        lease.ldap.with_search_options(self.options());
        lease.ldap.with_timeout(pool::timeout(&self.conf));
        let mut stream = lease
            .ldap
            .streaming_search_with(adapters, base, scope, filter, attributes.to_vec())
            .await?;
        let mut entries = Vec::new();
        while let Some(found) = stream.next().await? {
            let found = SearchEntry::construct(found);
            let attributes = found.attrs.into_iter();
            entries.push(Entry {
                dn: found.dn,
                attributes: attributes
                    .map(|(n, v)| (n.to_ascii_lowercase(), v))
                    .collect(),
            });
        }
        let done = stream.finish().await;
        match done.rc {
            SUCCESS => Ok(entries),
            NO_SUCH_OBJECT => Ok(vec![]),
            SIZE_LIMIT => {
                tracing::warn!(
                    base,
                    "the directory sends no more than a part; set [ldap] page_size"
                );
                Ok(entries)
            }
            _ => Err(LdapError::from(done)),
        }
    }

    /// Whether this is the password of the entry. An empty one is none: servers take it for an anonymous caller.
    pub(crate) async fn proves(&self, dn: &str, password: &Secret) -> Result<bool> {
        if password.is_empty() || dn.is_empty() {
            return Ok(false);
        }
        let mut fresh = false;
        loop {
            let mut lease = self.proofs.lease(fresh).await?;
            lease.ldap.with_timeout(pool::timeout(&self.conf));
            match lease.ldap.simple_bind(dn, password.expose()).await {
                Ok(answer) if answer.rc == SUCCESS => {
                    self.proofs.give_back(lease);
                    return Ok(true);
                }
                Ok(answer) if REFUSALS.contains(&answer.rc) || answer.rc == NO_SUCH_OBJECT => {
                    self.proofs.give_back(lease);
                    return Ok(false);
                }
                Ok(answer) => return Err(away(&self.conf, format!("bind: {}", answer.rc))),
                // The server closed what was kept.
                Err(_) if lease.used => fresh = true,
                Err(error) => return Err(away(&self.conf, error)),
            }
        }
    }

    fn user_attributes(&self) -> Vec<String> {
        let c = &*self.conf;
        let mut names = vec![
            c.user_id_attribute.clone(),
            c.user_name_attribute.clone(),
            c.user_description_attribute.clone(),
            c.user_mail_attribute.clone(),
            c.user_enabled_attribute.clone(),
        ];
        names.extend(c.user_default_project_id_attribute.clone());
        names.extend(mapped(&c.user_additional_attribute_mapping));
        names
    }

    fn group_attributes(&self) -> Vec<String> {
        let c = &*self.conf;
        let mut names = vec![
            c.group_id_attribute.clone(),
            c.group_name_attribute.clone(),
            c.group_desc_attribute.clone(),
            c.group_member_attribute.clone(),
        ];
        names.extend(mapped(&c.group_additional_attribute_mapping));
        names
    }

    /// Who is enabled, where a group says so.
    async fn enabled_group(&self) -> Result<Option<HashSet<String>>> {
        let c = &*self.conf;
        if !c.user_enabled_emulation {
            return Ok(None);
        }
        let dn = c.user_enabled_emulation_dn.clone();
        let dn = dn.unwrap_or_else(|| format!("cn=enabled_users,{}", c.users_base()));
        let (attribute, ids) = match c.user_enabled_emulation_use_group_config {
            true => (c.group_member_attribute.clone(), c.group_members_are_ids),
            false => ("member".to_string(), false),
        };
        let wanted = [attribute.clone()];
        let found = self
            .search(&dn, Scope::Base, "(objectClass=*)", &wanted)
            .await?;
        let members = found.into_iter().flat_map(|mut entry| {
            let key = attribute.to_ascii_lowercase();
            entry.attributes.remove(&key).unwrap_or_default()
        });
        let members = members.map(|m| if ids { m } else { normalized(&m) });
        Ok(Some(members.collect()))
    }

    async fn users_by(&self, base: &str, scope: Scope, ours: &str) -> Result<Vec<LdapUser>> {
        let c = &*self.conf;
        let filter = filter(&c.user_objectclass, c.user_filter.as_deref(), ours);
        let found = self
            .search(base, scope, &filter, &self.user_attributes())
            .await?;
        if found.is_empty() {
            return Ok(vec![]);
        }
        let enabled = self.enabled_group().await?;
        let users = found.iter();
        Ok(users
            .filter_map(|e| entry::user(c, e, enabled.as_ref()))
            .collect())
    }

    pub(crate) async fn users(&self) -> Result<Vec<LdapUser>> {
        self.users_by(self.conf.users_base(), self.scope(), "")
            .await
    }

    /// Of several with one name none is meant.
    pub(crate) async fn user_named(&self, name: &str) -> Result<Option<LdapUser>> {
        let ours = equals(&self.conf.user_name_attribute, name);
        self.one_user(&ours).await
    }

    pub(crate) async fn user_by_id(&self, id: &str) -> Result<Option<LdapUser>> {
        self.one_user(&equals(&self.conf.user_id_attribute, id))
            .await
    }

    async fn one_user(&self, ours: &str) -> Result<Option<LdapUser>> {
        let mut found = self
            .users_by(self.conf.users_base(), self.scope(), ours)
            .await?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => {
                tracing::warn!(
                    "several entries of the directory are one user by name or id: none is"
                );
                Ok(None)
            }
        }
    }

    /// Those of these ids that are there.
    pub(crate) async fn users_with(&self, ids: &[String]) -> Result<Vec<LdapUser>> {
        let each = ids
            .iter()
            .map(|id| equals(&self.conf.user_id_attribute, id));
        let any = format!("(|{})", each.collect::<String>());
        self.users_by(self.conf.users_base(), self.scope(), &any)
            .await
    }

    async fn groups_by(&self, ours: &str) -> Result<Vec<LdapGroup>> {
        let c = &*self.conf;
        let filter = filter(&c.group_objectclass, c.group_filter.as_deref(), ours);
        let attributes = self.group_attributes();
        let found = self
            .search(c.groups_base(), self.scope(), &filter, &attributes)
            .await?;
        Ok(found.iter().filter_map(|e| entry::group(c, e)).collect())
    }

    pub(crate) async fn groups(&self) -> Result<Vec<LdapGroup>> {
        self.groups_by("").await
    }

    pub(crate) async fn group_by_id(&self, id: &str) -> Result<Option<LdapGroup>> {
        let ours = equals(&self.conf.group_id_attribute, id);
        Ok(self.groups_by(&ours).await?.pop())
    }

    /// The groups that a user is a member of.
    pub(crate) async fn groups_of(&self, user: &LdapUser) -> Result<Vec<LdapGroup>> {
        let c = &*self.conf;
        let member = match c.group_members_are_ids {
            true => &user.id,
            false => &user.dn,
        };
        let ours = match c.group_ad_nesting {
            true => format!(
                "({}{NESTED}={})",
                c.group_member_attribute,
                ldap_escape(member)
            ),
            false => equals(&c.group_member_attribute, member),
        };
        self.groups_by(&ours).await
    }

    /// Whether the directory says what users' default projects are.
    pub(crate) fn names_projects(&self) -> bool {
        self.conf.user_default_project_id_attribute.is_some()
    }

    /// Whether a group's own list of members does not say all.
    pub(crate) fn has_nested_groups(&self) -> bool {
        self.conf.group_ad_nesting
    }

    /// Whether a group's own list of members has the user.
    pub(crate) fn is_member(&self, group: &LdapGroup, user: &LdapUser) -> bool {
        match self.conf.group_members_are_ids {
            true => group.members.contains(&user.id),
            false => {
                let dn = normalized(&user.dn);
                group.members.iter().any(|member| normalized(member) == dn)
            }
        }
    }

    /// The users in a group.
    pub(crate) async fn members_of(&self, group: &LdapGroup) -> Result<Vec<LdapUser>> {
        let c = &*self.conf;
        if c.group_ad_nesting {
            let ours = format!("(memberOf{NESTED}={})", ldap_escape(group.dn.as_str()));
            return self.users_by(c.users_base(), self.scope(), &ours).await;
        }
        let mut users = Vec::new();
        if c.group_members_are_ids {
            for ids in group.members.chunks(BATCH) {
                users.extend(self.users_with(ids).await?);
            }
            return Ok(users);
        }
        let base = normalized(c.users_base());
        for dn in &group.members {
            // Groups within groups, and whom the operator does not want here.
            if normalized(dn).ends_with(&base) {
                users.extend(self.users_by(dn, Scope::Base, "").await?);
            }
        }
        Ok(users)
    }
}

/// So many ids are asked for at once.
pub(crate) const BATCH: usize = 50;

fn mapped(pairs: &[String]) -> impl Iterator<Item = String> {
    let names = pairs.iter().filter_map(|pair| pair.split_once(':'));
    names.map(|(theirs, _)| theirs.trim().to_string())
}
