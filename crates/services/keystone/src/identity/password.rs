//! Passwords: hashed on threads of their own, a few at a time, and as slow for users who do not exist.

use crate::config::IdentityConf;
use crate::identity::hashes::{self, Recipe};
use base::{Error, Result, Secret};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Hashes and compares.
pub(crate) struct Passwords {
    recipe: Recipe,
    /// A slow hash protects what people choose; the cloud's own passwords are long random strings that nobody guesses at
    /// any speed, and each start of the cloud compares all of them.
    random: Recipe,
    max_length: usize,
    /// What nobody's password hashes to, at the usual cost.
    nobody: String,
    /// The same at the cost of those that the cloud makes up.
    nobody_random: String,
    workers: Arc<Semaphore>,
    /// For what takes minutes: one at a time, so that it keeps nobody else from logging in.
    slow: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(conf: &IdentityConf) -> Result<Passwords> {
        let (recipe, random) = (Recipe::of(conf)?, Recipe::least());
        Ok(Passwords {
            max_length: usize::try_from(conf.max_password_length).unwrap_or(usize::MAX),
            nobody: recipe.nobody(),
            nobody_random: random.nobody(),
            recipe,
            random,
            slow: Arc::new(Semaphore::new(1)),
            workers: Arc::new(Semaphore::new(
                usize::try_from(conf.password_hash_workers.max(1)).unwrap_or(1),
            )),
        })
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(Error::internal)
    }

    /// On a thread that nobody waits for when the process ends.
    async fn run_apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.slow).acquire_owned();
        let permit = permit.await.map_err(Error::internal)?;
        let (done, result) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("slow-password".into());
        thread.spawn(move || {
            let _permit = permit;
            // Who asked may be gone by now.
            let _ = done.send(work());
        })?;
        result.await.map_err(Error::internal)
    }

    /// The hash to keep.
    pub(crate) async fn hash(&self, password: &Secret) -> Result<String> {
        self.hash_by(password, &self.recipe).await
    }

    /// The hash to keep of a password that the cloud made up itself.
    pub(crate) async fn hash_random(&self, password: &Secret) -> Result<String> {
        self.hash_by(password, &self.random).await
    }

    async fn hash_by(&self, password: &Secret, recipe: &Recipe) -> Result<String> {
        if password.expose().len() > self.max_length {
            return Err(Error::forbidden(format!(
                "The password length must be less than or equal to {}. The server could not comply with the request because the password is invalid.",
                self.max_length
            )));
        }
        let (text, recipe) = (password.clone(), recipe.clone());
        self.run(move || recipe.hash(text.expose().as_bytes()))
            .await?
    }

    /// Whether the password is the one behind `hash`. Without a hash the answer is no, after the usual time.
    pub(crate) async fn matches(&self, password: &Secret, hash: Option<&str>) -> Result<bool> {
        self.compare(password, hash, &self.nobody).await
    }

    /// The same for secrets that the cloud made up, or most of them.
    pub(crate) async fn matches_random(&self, secret: &Secret, hash: Option<&str>) -> Result<bool> {
        self.compare(secret, hash, &self.nobody_random).await
    }

    async fn compare(&self, password: &Secret, hash: Option<&str>, nobody: &str) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(nobody).to_string();
        let text = password.clone();
        let too_long = text.expose().len() > self.max_length;
        let slow = hashes::is_slow(&hash);
        let verify = move || hashes::verify(text.expose().as_bytes(), &hash);
        let same = match slow {
            true => self.run_apart(verify).await?,
            false => self.run(verify).await?,
        };
        if same.is_none() {
            tracing::warn!(
                "a stored password is of an unknown kind, or asks for too much work to compare with: nobody logs in with it"
            );
        }
        Ok(same == Some(true) && known && !too_long)
    }
}
