//! Connections to a directory: a few, kept for a while, each used by one at a time.

use super::options::{LdapConf, TlsReqCert};
use base::{Error, Kind, Result};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections for one purpose.
pub(super) struct Pool {
    conf: Arc<LdapConf>,
    timeout: Duration,
    /// How long one is kept; not at all if zero.
    lifetime: Duration,
    idle: Mutex<Vec<(Ldap, Instant)>>,
    permits: Arc<Semaphore>,
}

/// A connection in use.
pub(super) struct Lease {
    pub ldap: Ldap,
    born: Instant,
    /// Whether somebody used it before, and the server may have closed it since.
    pub used: bool,
    _permit: OwnedSemaphorePermit,
}

/// What a server that does not answer means to a caller, who need not know where it is.
pub(super) fn away(conf: &LdapConf, error: impl std::fmt::Display) -> Error {
    // COMPAT: upstream's words, and its 504.
    Error::new(
        Kind::Timeout,
        "Unable to establish a connection to LDAP Server.",
    )
    .log(format!("{}: {error}", conf.url))
}

pub(super) fn timeout(conf: &LdapConf) -> Duration {
    match u64::try_from(conf.pool_connection_timeout) {
        Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => DEFAULT_TIMEOUT,
    }
}

impl Pool {
    pub(super) fn new(conf: Arc<LdapConf>, size: u32, kept: bool, lifetime: u64) -> Pool {
        let lifetime = if kept { lifetime } else { 0 };
        Pool {
            timeout: timeout(&conf),
            conf,
            lifetime: Duration::from_secs(lifetime),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(size.max(1) as usize)),
        }
    }

    /// A connection: one that is there, unless `fresh`.
    pub(super) async fn lease(&self, fresh: bool) -> Result<Lease> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(self.timeout, permit).await;
        let permit = permit
            .map_err(|_| away(&self.conf, "all connections are busy"))?
            .map_err(Error::internal)?;
        if !fresh && let Some((ldap, born)) = self.take_idle() {
            return Ok(Lease {
                ldap,
                born,
                used: true,
                _permit: permit,
            });
        }
        Ok(Lease {
            ldap: self.connect().await?,
            born: Instant::now(),
            used: false,
            _permit: permit,
        })
    }

    fn take_idle(&self) -> Option<(Ldap, Instant)> {
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        idle.retain_mut(|(ldap, born)| born.elapsed() < self.lifetime && !ldap.is_closed());
        idle.pop()
    }

    /// Takes back one that works.
    pub(super) fn give_back(&self, lease: Lease) {
        if lease.born.elapsed() < self.lifetime {
            let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
            idle.push((lease.ldap, lease.born));
        }
    }

    /// To the first server that answers.
    async fn connect(&self) -> Result<Ldap> {
        let mut last = away(&self.conf, "[ldap] url is empty");
        for url in self
            .conf
            .url
            .split(',')
            .map(str::trim)
            .filter(|u| !u.is_empty())
        {
            match LdapConnAsync::with_settings(self.settings(url)?, url).await {
                Ok((connection, ldap)) => {
                    tokio::spawn(async move {
                        if let Err(error) = connection.drive().await {
                            tracing::debug!(%error, "a connection to a directory ended");
                        }
                    });
                    return Ok(ldap);
                }
                Err(error) => {
                    tracing::warn!(url, %error, "a directory does not answer");
                    last = away(&self.conf, error);
                }
            }
        }
        Err(last)
    }

    fn settings(&self, url: &str) -> Result<LdapConnSettings> {
        let conf = &self.conf;
        let mut settings = LdapConnSettings::new()
            .set_conn_timeout(self.timeout)
            .set_starttls(conf.use_tls && url.starts_with("ldap://"))
            .set_no_tls_verify(conf.tls_req_cert == TlsReqCert::Never);
        if let Some(file) = &conf.tls_cacertfile {
            let wrong = |e: &dyn std::fmt::Display| {
                Error::bad_request(format!("[ldap] tls_cacertfile {}: {e}", file.display()))
            };
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))? {
                let certificate = certificate.map_err(|e| wrong(&e))?;
                roots.add(certificate).map_err(|e| wrong(&e))?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|e| wrong(&e))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            settings = settings.set_config(Arc::new(config));
        }
        Ok(settings)
    }
}
