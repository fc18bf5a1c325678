//! What an operator asks of passwords (`[security_compliance]`), and what users are exempt from by their options.

use crate::Keystone;
use crate::api::unauthorized;
use crate::config::ComplianceConf;
use crate::db::users::{self, UserRow};
use base::{Error, Result, Secret, Timestamp};
use fancy_regex::Regex;
use oslo_db::{eq, set};
use serde_json::Value;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const DAY_MICROS: i64 = 86_400_000_000;
/// What nobody's password hashes to.
const NO_HASH: Option<&str> = None;

/// The rules.
pub(crate) struct Compliance {
    conf: ComplianceConf,
    regex: Option<Regex>,
}

fn days(count: u64) -> Duration {
    DAY.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

fn exempt(user: &UserRow, option: &str) -> bool {
    user.options.0.get(option).and_then(Value::as_bool) == Some(true)
}

impl Compliance {
    pub(crate) fn new(conf: &ComplianceConf) -> Result<Compliance> {
        let compile = |text: &String| {
            // From the beginning, wherever it ends.
            Regex::new(&format!(r"\A(?:{text})")).map_err(|e| {
                Error::bad_request(format!("[security_compliance] password_regex: {e}"))
            })
        };
        Ok(Compliance {
            regex: conf.password_regex.as_ref().map(compile).transpose()?,
            conf: conf.clone(),
        })
    }

    /// 400 for a password that nobody may choose.
    pub(crate) fn check(&self, password: &Secret) -> Result<()> {
        let Some(regex) = &self.regex else {
            return Ok(());
        };
        // A pattern that gives up has not matched.
        if regex.is_match(password.expose()).unwrap_or(false) {
            return Ok(());
        }
        let why = self.conf.password_regex_description.as_deref();
        Err(Error::bad_request(format!(
            "The password does not match the requirements: {}.",
            why.unwrap_or_default()
        )))
    }

    /// When a password that is set now ends.
    pub(crate) fn end_of_password(
        &self,
        user: &UserRow,
        self_service: bool,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let first_use = self.conf.change_password_upon_first_use && !self_service;
        if first_use && !exempt(user, "ignore_change_password_upon_first_use") {
            return Some(now);
        }
        let lasts = self.conf.password_expires_days?;
        if exempt(user, "ignore_password_expiry") {
            return None;
        }
        Some(Timestamp::from_seconds(now.plus(days(lasts)).seconds()))
    }

    pub(crate) fn is_expired(&self, user: &UserRow, now: Timestamp) -> bool {
        user.password_expires_at.is_some_and(|end| end <= now)
            && !exempt(user, "ignore_password_expiry")
    }

    fn is_locked(&self, user: &UserRow, now: Timestamp) -> bool {
        let Some(most) = self.conf.lockout_failure_attempts.filter(|n| *n > 0) else {
            return false;
        };
        if exempt(user, "ignore_lockout_failure_attempts")
            || user.failed_auth_count.unsigned_abs() < most
        {
            return false;
        }
        self.conf.lockout_duration == 0 || !self.is_over(user, now)
    }

    /// Whether the last failure was so long ago that it no longer counts.
    fn is_over(&self, user: &UserRow, now: Timestamp) -> bool {
        let lasts = Duration::from_secs(self.conf.lockout_duration);
        let reached = self.conf.lockout_failure_attempts;
        reached.is_some_and(|most| user.failed_auth_count.unsigned_abs() >= most)
            && user.failed_auth_at.is_none_or(|at| at.plus(lasts) <= now)
    }

    /// Users who have not been seen for too long are disabled, without a row changing.
    pub(crate) fn is_inactive(&self, user: &UserRow, now: Timestamp) -> bool {
        let Some(most) = self.conf.disable_user_account_days_inactive else {
            return false;
        };
        let Some(seen) = user.last_active_at.or(user.created_at) else {
            return false;
        };
        let day = |t: Timestamp| t.0.div_euclid(DAY_MICROS);
        let away = day(now) - day(seen);
        most > 0
            && away >= i64::try_from(most).unwrap_or(i64::MAX)
            && !exempt(user, "ignore_user_inactivity")
    }

    /// How many passwords before the present one are remembered.
    pub(crate) fn kept_passwords(&self) -> u64 {
        self.conf.unique_last_password_count.saturating_sub(1)
    }

    /// 400 while the password that the user chose is too new to be changed.
    fn check_age(&self, user: &UserRow, now: Timestamp) -> Result<()> {
        let least = self.conf.minimum_password_age;
        let Some(chosen) = user.password_changed_at.filter(|_| least > 0) else {
            return Ok(());
        };
        let free = chosen.plus(days(least));
        if !user.password_self_service || free <= now {
            return Ok(());
        }
        let left = free.since(now).as_secs() / DAY.as_secs();
        Err(Error::bad_request(format!(
            "You cannot change your password at this time due to the minimum password age. Once you change your password, it must be used for {least} day(s) before it can be changed. Please try again in {left} day(s) or contact your administrator to reset your password."
        )))
    }
}

impl Keystone {
    /// The user as everybody sees them now.
    pub(crate) fn as_seen(&self, mut user: UserRow) -> UserRow {
        user.enabled = user.enabled && !self.compliance.is_inactive(&user, self.clock.now());
        user
    }

    /// Whose password this is. Everything else is the same failure, after the same time: no such user, a wrong password,
    /// an account that is locked (OSSA-2021-003) or disabled.
    pub(crate) async fn verify_password(
        &self,
        user: Option<UserRow>,
        password: &Secret,
    ) -> Result<UserRow> {
        let now = self.clock.now();
        let locked = user
            .as_ref()
            .is_some_and(|u| self.compliance.is_locked(u, now));
        let hash = match locked {
            true => NO_HASH,
            false => user.as_ref().and_then(|u| u.password_hash.as_deref()),
        };
        if !self.passwords.matches(password, hash).await? {
            let id = user.as_ref().map_or("-", |u| u.id.as_str());
            tracing::info!(user.id = id, locked, "a login failed");
            if let Some(user) = user.filter(|_| !locked) {
                self.note_failure(&user, now).await?;
            }
            return Err(unauthorized());
        }
        let user = user.ok_or_else(unauthorized)?;
        if !user.enabled || self.compliance.is_inactive(&user, now) {
            return Err(unauthorized());
        }
        if self.is_locked_by_now(&user.id, now).await? {
            return Err(unauthorized());
        }
        Ok(user)
    }

    /// Whether guesses that came at the same time locked the account while one was compared.
    pub(crate) async fn is_locked_by_now(&self, id: &str, now: Timestamp) -> Result<bool> {
        if self
            .conf
            .security_compliance
            .lockout_failure_attempts
            .is_none()
        {
            return Ok(false);
        }
        let id = id.to_string();
        let found = self.db.peek(move |tx| users::find(tx, &id)).await?;
        Ok(found.is_none_or(|user| self.compliance.is_locked(&user, now)))
    }

    /// Tokens do not depend on it, so nobody is made to forget anything.
    pub(crate) async fn note_failure(&self, user: &UserRow, now: Timestamp) -> Result<()> {
        if self
            .conf
            .security_compliance
            .lockout_failure_attempts
            .is_none()
        {
            return Ok(());
        }
        let afresh = self.compliance.is_over(user, now);
        let id = user.id.clone();
        self.db
            .write(move |tx| users::count_failure(tx, &id, afresh, now))
            .await
    }

    /// Failures are forgiven, and the user was seen today.
    pub(crate) async fn note_login(&self, user: &UserRow) -> Result<()> {
        let now = self.clock.now();
        let today = |t: Timestamp| t.0.div_euclid(DAY_MICROS) == now.0.div_euclid(DAY_MICROS);
        let watched = self
            .conf
            .security_compliance
            .disable_user_account_days_inactive;
        let seen = watched.is_none() || user.last_active_at.is_some_and(today);
        if seen && user.failed_auth_count == 0 {
            return Ok(());
        }
        let never: Option<Timestamp> = None;
        let mut values = vec![set("failed_auth_count", 0i64), set("failed_auth_at", never)];
        if !seen {
            values.push(set("last_active_at", now));
        }
        let id = user.id.clone();
        self.db
            .write(move |tx| tx.update::<UserRow>(eq("id", &id), &values).map(drop))
            .await
    }

    /// The same of a user by id, where it matters.
    pub(crate) async fn note_login_of(&self, id: &str) -> Result<()> {
        let conf = &self.conf.security_compliance;
        let watched = conf.disable_user_account_days_inactive.is_some();
        if !watched && conf.lockout_failure_attempts.is_none() {
            return Ok(());
        }
        let id = id.to_string();
        match self.db.read(move |tx| users::find(tx, &id)).await? {
            Some(user) => self.note_login(&user).await,
            None => Ok(()),
        }
    }

    /// 400 unless the user may choose this password now.
    pub(crate) async fn check_choice(&self, user: &UserRow, password: &Secret) -> Result<()> {
        if exempt(user, "lock_password") {
            return Err(Error::bad_request(
                "You cannot change your password at this time due to password policy disallowing password changes. Please contact your administrator to reset your password.",
            ));
        }
        self.compliance.check(password)?;
        self.compliance.check_age(user, self.clock.now())?;
        let count = self.conf.security_compliance.unique_last_password_count;
        if count == 0 {
            return Ok(());
        }
        let (id, most) = (user.id.clone(), self.compliance.kept_passwords());
        let former = self.db.read(move |tx| users::former(tx, &id, most)).await?;
        let hashes = user.password_hash.iter();
        for hash in hashes.chain(former.iter().map(|p| &p.password_hash)) {
            if self.passwords.matches(password, Some(hash)).await? {
                return Err(Error::bad_request(format!(
                    "The new password cannot be identical to a previous password. The total number which includes the new password must be unique is {count}."
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Clock;
    use oslo_db::Db;

    /// Whoever sends many guesses at once has no more of them than one after the other: all found the account open, and
    /// the right one is refused all the same once enough of the others were counted.
    #[tokio::test]
    async fn guesses_at_once_count() {
        let mut conf = crate::Conf::default();
        conf.identity.password_hash_rounds = Some(4);
        conf.security_compliance.lockout_failure_attempts = Some(2);
        let deps = crate::Deps {
            db: Db::open("sqlite::memory:").await.unwrap(),
            conf,
            clock: Clock::manual(Timestamp::from_seconds(1_767_323_045)),
            policy_file: None,
            secret: Secret::default(),
            old_keys: None,
        };
        let keystone = crate::build(deps).await.unwrap().state;
        let hash = keystone.passwords.hash(&Secret::new("pw")).await.unwrap();
        let user = UserRow {
            id: "ann".into(),
            name: "ann".into(),
            domain_id: "default".into(),
            enabled: true,
            password_hash: Some(hash),
            ..UserRow::default()
        };
        let row = user.clone();
        let insert = move |tx: &mut oslo_db::Tx| tx.insert(&row);
        keystone.db.write(insert).await.unwrap();
        let guess = |password: &str| {
            let (user, password) = (user.clone(), Secret::new(password));
            let keystone = &keystone;
            async move { keystone.verify_password(Some(user), &password).await }
        };
        assert!(guess("pw").await.is_ok());
        assert!(guess("wrong").await.is_err());
        assert!(guess("pw").await.is_ok());
        assert!(guess("wrong").await.is_err());
        assert!(guess("pw").await.is_err());
    }
}
