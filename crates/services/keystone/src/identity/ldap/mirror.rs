//! What keystone keeps of directories: a row for each user and group that somebody asked for, so that roles, tokens, trusts
//! and everything else treat them as all others. Rows are as the directory said last; logging in, being shown or listed
//! asks it again, and every `[identity] cache_time` it is asked about all who have a row: who is disabled or gone there is
//! so here, and logged out.

use super::{BATCH, Directory, LdapGroup, LdapUser};
use crate::Keystone;
use crate::api::unauthorized;
use crate::config::IdentityDriver;
use crate::db::Extra;
use crate::db::domain_configs::{self, DomainConfigRow};
use crate::db::groups::{self, GroupRow};
use crate::db::id_mappings::{self, EntityKind, IdMappingRow};
use crate::db::memberships::{self, MembershipRow};
use crate::db::projects;
use crate::db::revocations::{self, Revoke};
use crate::db::users::{self, UserRow};
use crate::token::fernet;
use crate::token::issue::{Named, find_domain_id};
use base::{Dir, Error, Json, Result, Secret, Timestamp};
use oslo_db::{Tx, all, eq, is_in, lt, set};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Ids that are longer do not fit.
const MOST_ID: usize = 64;

/// The directories in use, by domain, with the configuration that each was opened by.
pub(crate) struct Directories {
    known: Mutex<HashMap<String, (Vec<String>, Arc<Directory>)>>,
    refreshed: AtomicI64,
}

impl Directories {
    pub(crate) fn new(now: Timestamp) -> Directories {
        Directories {
            known: Mutex::default(),
            refreshed: AtomicI64::new(now.0),
        }
    }

    fn get(
        &self,
        domain_id: &str,
        fingerprint: Vec<String>,
        open: impl FnOnce() -> Result<Directory>,
    ) -> Result<Arc<Directory>> {
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((same, directory)) = known.get(domain_id)
            && *same == fingerprint
        {
            return Ok(Arc::clone(directory));
        }
        let directory = Arc::new(open()?);
        let entry = (fingerprint, Arc::clone(&directory));
        known.insert(domain_id.to_string(), entry);
        Ok(directory)
    }
}

fn read_only() -> Error {
    // COMPAT: upstream's words.
    Error::forbidden("LDAP does not support write operations")
}

/// Who is meant in a directory.
enum By {
    Id(String),
    Name(String),
}

impl Keystone {
    fn has_directories(&self) -> bool {
        let conf = &self.conf.identity;
        conf.driver == IdentityDriver::Ldap || conf.domain_specific_drivers_enabled
    }

    /// The directory of a domain's users and groups, if they are in one.
    pub(crate) async fn directory_of(&self, domain_id: &str) -> Result<Option<Arc<Directory>>> {
        if !self.has_directories() {
            return Ok(None);
        }
        let conf = &self.conf.identity;
        if !self.domain_files.is_empty() {
            let id = domain_id.to_string();
            let domain = self
                .db
                .read(move |tx| projects::find_domain(tx, &id))
                .await?;
            let file = domain.and_then(|domain| self.domain_files.get(&domain.name));
            if let Some(file) = file {
                if file.driver != IdentityDriver::Ldap {
                    return Ok(None);
                }
                let open = || Ok(Directory::new(file.ldap.clone(), true));
                return self.directories.get(domain_id, vec![], open).map(Some);
            }
        }
        if conf.domain_specific_drivers_enabled && conf.domain_configurations_from_database {
            let whole = domain_configs::cond(domain_id, None, None);
            let read = move |tx: &mut Tx| domain_configs::list(tx, whole.clone());
            let rows = self.db.read(read).await?;
            if !rows.is_empty() {
                return self.own_directory(domain_id, &rows);
            }
        }
        if conf.driver != IdentityDriver::Ldap || domain_id != conf.default_domain_id {
            return Ok(None);
        }
        let common = || Ok(Directory::new(self.conf.ldap.clone(), false));
        self.directories.get(domain_id, vec![], common).map(Some)
    }

    fn own_directory(
        &self,
        domain_id: &str,
        rows: &[DomainConfigRow],
    ) -> Result<Option<Arc<Directory>>> {
        let (mut driver, mut options) =
            (self.conf.identity.driver.as_str().to_string(), Extra::new());
        for row in rows {
            if row.section == "identity" && row.name == "driver" {
                let named: Value = serde_json::from_str(&row.stored)?;
                driver = named.as_str().unwrap_or_default().to_string();
            }
        }
        if driver != IdentityDriver::Ldap.as_str() {
            return Ok(None);
        }
        for row in rows.iter().filter(|row| row.section == "ldap") {
            let text = match row.sealed {
                false => row.stored.clone(),
                true => fernet::open(&self.credential_keys.all(), &row.stored)
                    .and_then(|(bytes, _)| String::from_utf8(bytes).ok())
                    .ok_or_else(|| {
                        Error::internal(format!("no key opens a secret of domain {domain_id}"))
                    })?,
            };
            options.insert(row.name.clone(), serde_json::from_str(&text)?);
        }
        let fingerprint = rows.iter().map(|r| format!("{} {}", r.name, r.stored));
        let open = || Ok(Directory::new(self.conf.ldap.with(&options)?, true));
        let found = self.directories.get(domain_id, fingerprint.collect(), open);
        found.map(Some)
    }

    /// Who has proven by the directory's word who they are. `None` if they are not in one, but here.
    pub(crate) async fn prove_by_directory(
        &self,
        named: &Named,
        password: &Secret,
    ) -> Result<Option<UserRow>> {
        if !self.has_directories() {
            return Ok(None);
        }
        let Some((domain_id, by)) = self.meant(named).await? else {
            return Ok(None);
        };
        let Some(directory) = self.directory_of(&domain_id).await? else {
            return Ok(None);
        };
        let found = match &by {
            By::Id(id) => directory.user_by_id(id).await?,
            By::Name(name) => directory.user_named(name).await?,
        };
        let proven = match &found {
            Some(user) => directory.proves(&user.dn, password).await?,
            None => false,
        };
        let Some(user) = found.filter(|_| proven) else {
            tracing::info!(domain.id = domain_id, "a login at a directory failed");
            return Err(unauthorized());
        };
        let groups = directory.groups_of(&user).await?;
        let row = self
            .mirror_user(&directory, &domain_id, user, groups)
            .await?;
        match row.filter(|row| row.enabled) {
            Some(row) => Ok(Some(row)),
            None => Err(unauthorized()),
        }
    }

    /// In which domain, and by what, a user would be in a directory. `None` for the cloud's own.
    async fn meant(&self, named: &Named) -> Result<Option<(String, By)>> {
        let (named, conf) = (named.clone(), &self.conf.identity);
        let common = (conf.driver == IdentityDriver::Ldap).then(|| conf.default_domain_id.clone());
        let read = move |tx: &mut Tx| match &named {
            Named::Id(id) => {
                if let Some(mapping) = id_mappings::find(tx, id)? {
                    return Ok(Some((mapping.domain_id, By::Id(mapping.local_id))));
                }
                match users::find(tx, id)? {
                    Some(_) => Ok(None),
                    None => Ok(common.clone().map(|domain| (domain, By::Id(id.clone())))),
                }
            }
            Named::Name(name, domain) => {
                let Some(domain_id) = find_domain_id(tx, domain)? else {
                    return Ok(None);
                };
                let own = match users::find_named(tx, &domain_id, name)? {
                    Some(row) => id_mappings::find(tx, &row.id)?.is_none(),
                    None => false,
                };
                Ok((!own).then(|| (domain_id, By::Name(name.clone()))))
            }
        };
        self.db.read(read).await
    }

    /// 403 if any of these came from a directory.
    pub(crate) async fn refuse_mirrored(&self, ids: &[&str]) -> Result<()> {
        if !self.has_directories() {
            return Ok(());
        }
        let ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
        let read = move |tx: &mut Tx| tx.exists::<IdMappingRow>(is_in("public_id", ids.iter()));
        match self.db.read(read).await? {
            true => Err(read_only()),
            false => Ok(()),
        }
    }

    /// 403 if users and groups of the domain are in a directory.
    pub(crate) async fn refuse_directory(&self, domain_id: &str) -> Result<()> {
        match self.directory_of(domain_id).await? {
            Some(_) => Err(read_only()),
            None => Ok(()),
        }
    }

    /// Asks the domain's directory for its users, or the one of that name, before rows are listed.
    pub(crate) async fn look_for_users(
        &self,
        domain_id: Option<&str>,
        name: Option<&str>,
    ) -> Result<()> {
        let domain_id = domain_id.unwrap_or(&self.conf.identity.default_domain_id);
        let Some(directory) = self.directory_of(domain_id).await? else {
            return Ok(());
        };
        let found = match name {
            Some(name) => directory.user_named(name).await?.into_iter().collect(),
            None => directory.users().await?,
        };
        self.mirror_users(&directory, domain_id, found)
            .await
            .map(drop)
    }

    /// The same with groups.
    pub(crate) async fn look_for_groups(&self, domain_id: Option<&str>) -> Result<()> {
        let domain_id = domain_id.unwrap_or(&self.conf.identity.default_domain_id);
        let Some(directory) = self.directory_of(domain_id).await? else {
            return Ok(());
        };
        let found = directory.groups().await?;
        self.mirror_groups(&directory, domain_id, &found)
            .await
            .map(drop)
    }

    /// Asks the directory about a user by id, if that is where they are.
    pub(crate) async fn look_for_user(&self, id: &str) -> Result<()> {
        if !self.has_directories() {
            return Ok(());
        }
        let Some((domain_id, By::Id(local))) = self.meant(&Named::Id(id.to_string())).await? else {
            return Ok(());
        };
        let Some(directory) = self.directory_of(&domain_id).await? else {
            return Ok(());
        };
        match directory.user_by_id(&local).await? {
            Some(user) => {
                let groups = directory.groups_of(&user).await?;
                self.mirror_user(&directory, &domain_id, user, groups)
                    .await
                    .map(drop)
            }
            None => self.forget_users(vec![id.to_string()]).await,
        }
    }

    /// Asks the directory about a group by id, if that is where it is; about who is in it too, if somebody wants to know.
    pub(crate) async fn look_for_group(&self, id: &str, with_members: bool) -> Result<()> {
        if !self.has_directories() {
            return Ok(());
        }
        let wanted = id.to_string();
        let found =
            move |tx: &mut Tx| Ok((id_mappings::find(tx, &wanted)?, groups::find(tx, &wanted)?));
        let (domain_id, local) = match self.db.read(found).await? {
            (Some(mapping), _) => (mapping.domain_id, mapping.local_id),
            (None, Some(_)) => return Ok(()),
            (None, None) => (self.conf.identity.default_domain_id.clone(), id.to_string()),
        };
        let Some(directory) = self.directory_of(&domain_id).await? else {
            return Ok(());
        };
        let Some(group) = directory.group_by_id(&local).await? else {
            return Ok(());
        };
        let ids = self
            .mirror_groups(&directory, &domain_id, std::slice::from_ref(&group))
            .await?;
        if !with_members {
            return Ok(());
        }
        let members = directory.members_of(&group).await?;
        let members = self.mirror_users(&directory, &domain_id, members).await?;
        let members: BTreeSet<String> = members.into_iter().map(|row| row.id).collect();
        for id in ids {
            let wanted = id.clone();
            let have = self
                .db
                .read(move |tx| memberships::users_of(tx, &wanted))
                .await?;
            let have: BTreeSet<String> = have.into_iter().collect();
            let pair = |user: &String| (user.clone(), id.clone());
            let gone = have.difference(&members).map(pair).collect();
            let new = members.difference(&have).map(pair).collect();
            self.change_memberships(gone, new).await?;
        }
        Ok(())
    }

    async fn mirror_user(
        &self,
        directory: &Directory,
        domain_id: &str,
        user: LdapUser,
        groups: Vec<LdapGroup>,
    ) -> Result<Option<UserRow>> {
        let row = self
            .mirror_users(directory, domain_id, vec![user])
            .await?
            .pop();
        let Some(row) = row else { return Ok(None) };
        let ids = self.mirror_groups(directory, domain_id, &groups).await?;
        self.mirror_memberships(&row.id, ids).await?;
        Ok(Some(row))
    }

    /// Makes rows of what a directory says, where they differ. Answers with the rows.
    async fn mirror_users(
        &self,
        directory: &Directory,
        domain_id: &str,
        found: Vec<LdapUser>,
    ) -> Result<Vec<UserRow>> {
        let now = self.clock.now();
        let mapping = |user: &LdapUser| IdMappingRow {
            public_id: directory.public_id(domain_id, EntityKind::User, &user.id),
            domain_id: domain_id.to_string(),
            local_id: user.id.clone(),
            entity_type: EntityKind::User,
            looked_at: now,
        };
        let wanted: Vec<(IdMappingRow, LdapUser)> = found
            .into_iter()
            .map(|user| (mapping(&user), user))
            .collect();
        let ids: Vec<String> = wanted.iter().map(|(m, _)| m.public_id.clone()).collect();
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let by_project = directory.names_projects();
        let these = ids.clone();
        let read = move |tx: &mut Tx| {
            let rows: Vec<UserRow> = tx.select(is_in("id", these.iter()))?;
            let mapped: Vec<IdMappingRow> = tx.select(is_in("public_id", these.iter()))?;
            Ok((rows, mapped))
        };
        let (rows, mapped) = self.db.read(read).await?;
        let rows: HashMap<&str, &UserRow> = rows.iter().map(|r| (r.id.as_str(), r)).collect();
        let mapped: BTreeSet<&str> = mapped.iter().map(|m| m.public_id.as_str()).collect();
        let is_same = |(mapping, user): &&(IdMappingRow, LdapUser)| {
            let row = rows.get(mapping.public_id.as_str());
            mapped.contains(mapping.public_id.as_str())
                && row.is_some_and(|row| same_user(row, user, by_project))
        };
        let changed: Vec<_> = wanted.iter().filter(|w| !is_same(w)).cloned().collect();
        if changed.is_empty() {
            // Nothing means anything else than before, so nobody is made to forget.
            let these = ids.clone();
            let looked = move |tx: &mut Tx| {
                let these = is_in("public_id", these.iter());
                tx.update::<IdMappingRow>(these, &[set("looked_at", now)])
            };
            self.db.write(looked).await?;
        } else {
            let (keep, batch) = (self.revocations_last(), ids.clone());
            self.write(move |tx| {
                for (mapping, user) in &changed {
                    put_user(tx, mapping, user, by_project, &batch, now, keep)?;
                }
                let these = is_in("public_id", batch.iter());
                tx.update::<IdMappingRow>(these, &[set("looked_at", now)])
            })
            .await?;
        }
        let read = move |tx: &mut Tx| tx.select::<UserRow>(is_in("id", ids.iter()));
        self.db.read(read).await
    }

    /// The same with groups. Answers with their ids.
    async fn mirror_groups(
        &self,
        directory: &Directory,
        domain_id: &str,
        found: &[LdapGroup],
    ) -> Result<Vec<String>> {
        let now = self.clock.now();
        let row = |group: &LdapGroup| {
            let id = directory.public_id(domain_id, EntityKind::Group, &group.id);
            let mapping = IdMappingRow {
                public_id: id.clone(),
                domain_id: domain_id.to_string(),
                local_id: group.id.clone(),
                entity_type: EntityKind::Group,
                looked_at: now,
            };
            let row = GroupRow {
                id,
                name: group.name.clone(),
                domain_id: domain_id.to_string(),
                description: group.description.clone(),
                extra: Json(group.extra.clone()),
            };
            (mapping, row)
        };
        let wanted: Vec<(IdMappingRow, GroupRow)> = found.iter().map(row).collect();
        let ids: Vec<String> = wanted.iter().map(|(_, row)| row.id.clone()).collect();
        if ids.is_empty() {
            return Ok(ids);
        }
        let these = ids.clone();
        let read = move |tx: &mut Tx| tx.select::<GroupRow>(is_in("id", these.iter()));
        let rows = self.db.read(read).await?;
        let is_same = |new: &GroupRow| {
            rows.iter().any(|old| {
                old.id == new.id
                    && old.name == new.name
                    && old.description == new.description
                    && old.extra.0 == new.extra.0
            })
        };
        let changed = wanted.iter().filter(|(_, row)| !is_same(row));
        let changed: Vec<_> = changed.cloned().collect();
        if !changed.is_empty() {
            self.write(move |tx| {
                for (mapping, row) in &changed {
                    put_group(tx, mapping, row)?;
                }
                Ok(())
            })
            .await?;
        }
        let read = move |tx: &mut Tx| tx.select::<GroupRow>(is_in("id", ids.iter()));
        Ok(self
            .db
            .read(read)
            .await?
            .into_iter()
            .map(|row| row.id)
            .collect())
    }

    /// The user is in these groups of the directory, and in no other of it.
    async fn mirror_memberships(&self, user_id: &str, groups: Vec<String>) -> Result<()> {
        let wanted: BTreeSet<String> = groups.into_iter().collect();
        let id = user_id.to_string();
        let read = move |tx: &mut Tx| {
            let have = memberships::groups_of(tx, &id)?;
            let mapped: Vec<IdMappingRow> = tx.select(is_in("public_id", have.iter()))?;
            Ok(mapped
                .into_iter()
                .map(|m| m.public_id)
                .collect::<BTreeSet<_>>())
        };
        let have = self.db.read(read).await?;
        let pair = |group: &String| (user_id.to_string(), group.clone());
        let gone = have.difference(&wanted).map(pair).collect();
        let new = wanted.difference(&have).map(pair).collect();
        self.change_memberships(gone, new).await
    }

    /// Pairs of a user and a group.
    async fn change_memberships(
        &self,
        gone: Vec<(String, String)>,
        new: Vec<(String, String)>,
    ) -> Result<()> {
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        self.write(move |tx| {
            for (user_id, group_id) in &gone {
                let same = all([eq("user_id", user_id), eq("group_id", group_id)]);
                tx.delete::<MembershipRow>(same)?;
            }
            for (user_id, group_id) in &new {
                let row = MembershipRow {
                    user_id: user_id.clone(),
                    group_id: group_id.clone(),
                    ..MembershipRow::default()
                };
                tx.upsert(&row, &["user_id", "group_id"])?;
            }
            Ok(())
        })
        .await
    }

    /// Who is gone from the directory is gone here, with their tokens; what they held stays, should they come back.
    async fn forget_users(&self, ids: Vec<String>) -> Result<()> {
        let these = ids.clone();
        let read = move |tx: &mut Tx| tx.exists::<IdMappingRow>(is_in("public_id", these.iter()));
        if ids.is_empty() || !self.db.read(read).await? {
            return Ok(());
        }
        tracing::info!(users = ids.len(), "users are gone from a directory");
        self.write(move |tx| {
            tx.delete::<MembershipRow>(is_in("user_id", ids.iter()))?;
            tx.delete::<UserRow>(is_in("id", ids.iter()))?;
            tx.delete::<IdMappingRow>(is_in("public_id", ids.iter()))
                .map(drop)
        })
        .await
    }

    /// Asks directories about all who have a row, if it is time. Nobody waits for it.
    pub(crate) fn refresh_directories(self: &Arc<Self>) {
        if !self.has_directories() {
            return;
        }
        let (now, last) = (
            self.clock.now(),
            self.directories.refreshed.load(Ordering::Relaxed),
        );
        let lasts = Duration::from_secs(self.conf.identity.cache_time);
        let due = Timestamp(last).plus(lasts) <= now;
        let swapped = |to: Timestamp| {
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            let refreshed = &self.directories.refreshed;
            refreshed
                .compare_exchange(last, to.0, order.0, order.1)
                .is_ok()
        };
        if due && swapped(now) {
            let keystone = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = keystone.refresh(now.minus(lasts), now).await {
                    tracing::warn!(%error, "users of directories are as they were last known");
                }
            });
        }
    }

    async fn refresh(&self, before: Timestamp, now: Timestamp) -> Result<()> {
        let mut groups: HashMap<String, Vec<LdapGroup>> = HashMap::new();
        loop {
            let read = move |tx: &mut Tx| {
                let old = all([eq("entity_type", EntityKind::User), lt("looked_at", now)]);
                let oldest = [("looked_at", Dir::Asc), ("public_id", Dir::Asc)];
                tx.select_sorted::<IdMappingRow>(old, &oldest, Some(BATCH as u64))
            };
            let mut rows = self.db.read(read).await?;
            rows.retain(|row| row.looked_at <= before);
            if rows.is_empty() {
                return Ok(());
            }
            let mut domains: BTreeMap<String, Vec<IdMappingRow>> = BTreeMap::new();
            for row in rows {
                domains.entry(row.domain_id.clone()).or_default().push(row);
            }
            for (domain_id, rows) in domains {
                self.refresh_some(&domain_id, rows, &mut groups, now)
                    .await?;
            }
        }
    }

    async fn refresh_some(
        &self,
        domain_id: &str,
        rows: Vec<IdMappingRow>,
        groups: &mut HashMap<String, Vec<LdapGroup>>,
        now: Timestamp,
    ) -> Result<()> {
        let public: Vec<String> = rows.iter().map(|row| row.public_id.clone()).collect();
        let Some(directory) = self.directory_of(domain_id).await? else {
            // Its domain has another driver now, or is gone; whoever it was cannot log in.
            return self.forget_users(public).await;
        };
        let local: Vec<String> = rows.iter().map(|row| row.local_id.clone()).collect();
        let found = directory.users_with(&local).await?;
        if !groups.contains_key(domain_id) && !directory.has_nested_groups() {
            groups.insert(domain_id.to_string(), directory.groups().await?);
        }
        let mut there = BTreeSet::new();
        for user in found {
            let theirs = match groups.get(domain_id) {
                Some(all) => all
                    .iter()
                    .filter(|g| directory.is_member(g, &user))
                    .cloned()
                    .collect(),
                None => directory.groups_of(&user).await?,
            };
            let row = self
                .mirror_user(&directory, domain_id, user, theirs)
                .await?;
            there.extend(row.map(|row| row.id));
        }
        let gone = public.iter().filter(|id| !there.contains(*id));
        self.forget_users(gone.cloned().collect()).await?;
        // Whatever happened to them, they were looked at.
        let looked = move |tx: &mut Tx| {
            let these = is_in("public_id", public.iter());
            tx.update::<IdMappingRow>(these, &[set("looked_at", now)])
        };
        self.db.write(looked).await.map(drop)
    }
}

impl Directory {
    /// Under which id an entry is known here: its own in the common directory, as upstream has it, and in a domain's own one a
    /// hash, since two directories may have the same id.
    fn public_id(&self, domain_id: &str, kind: EntityKind, local_id: &str) -> String {
        if !self.is_of_one_domain && local_id.len() <= MOST_ID {
            return local_id.to_string();
        }
        let mut hash = Sha256::new();
        for part in [domain_id, kind.as_str(), local_id] {
            hash.update(part);
        }
        format!("{:x}", hash.finalize())
    }
}

fn same_user(row: &UserRow, user: &LdapUser, by_project: bool) -> bool {
    row.name == user.name
        && row.enabled == user.enabled
        && row.extra.0 == user.extra
        && (!by_project || row.default_project_id == user.default_project_id)
}

/// Puts a user into its row. Names are unique here: an entry whose name another one has now gives it up; one of the cloud's
/// own users does not.
fn put_user(
    tx: &mut Tx,
    mapping: &IdMappingRow,
    user: &LdapUser,
    by_project: bool,
    batch: &[String],
    now: Timestamp,
    keep: Duration,
) -> Result<()> {
    let id = &mapping.public_id;
    let old = users::find(tx, id)?;
    if old.is_some() && id_mappings::find(tx, id)?.is_none() {
        tracing::warn!(
            user.id = id,
            "a directory has a user with the id of one of the cloud's own"
        );
        return Ok(());
    }
    if let Some(other) = users::find_named(tx, &mapping.domain_id, &user.name)?
        && other.id != *id
    {
        if batch.contains(&other.id) || id_mappings::find(tx, &other.id)?.is_none() {
            tracing::warn!(
                user.id = id,
                "a directory has a user with the name of another"
            );
            return Ok(());
        }
        tx.delete::<MembershipRow>(eq("user_id", &other.id))?;
        tx.delete::<UserRow>(eq("id", &other.id))?;
        tx.delete::<IdMappingRow>(eq("public_id", &other.id))?;
    }
    let was_enabled = old.as_ref().is_some_and(|row| row.enabled);
    let old = old.unwrap_or_else(|| UserRow {
        created_at: Some(now),
        ..UserRow::default()
    });
    let row = UserRow {
        id: id.clone(),
        name: user.name.clone(),
        domain_id: mapping.domain_id.clone(),
        enabled: user.enabled,
        default_project_id: match by_project {
            true => user.default_project_id.clone(),
            false => old.default_project_id.clone(),
        },
        extra: Json(user.extra.clone()),
        ..old
    };
    tx.upsert(&row, &["id"])?;
    tx.upsert(mapping, &["public_id"])?;
    if was_enabled && !row.enabled {
        tracing::info!(user.id = id, "a user is disabled in a directory");
        revocations::add(tx, Revoke::User(id), now, keep)?;
    }
    Ok(())
}

fn put_group(tx: &mut Tx, mapping: &IdMappingRow, row: &GroupRow) -> Result<()> {
    let known = groups::find(tx, &row.id)?.is_some();
    if known && id_mappings::find(tx, &row.id)?.is_none() {
        tracing::warn!(
            group.id = row.id,
            "a directory has a group with the id of one of the cloud's own"
        );
        return Ok(());
    }
    let same = all([eq("domain_id", &row.domain_id), eq("name", &row.name)]);
    if tx
        .find::<GroupRow>(same)?
        .is_some_and(|other| other.id != row.id)
    {
        tracing::warn!(
            group.id = row.id,
            "a directory has a group with the name of another"
        );
        return Ok(());
    }
    tx.upsert(row, &["id"])?;
    tx.upsert(mapping, &["public_id"])
}
