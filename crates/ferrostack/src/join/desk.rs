//! The controller's side: one listener with a certificate of its own, one request: a ticket for a configuration.

use super::ticket;
use crate::config::Settings;
use crate::parts::Role;
use crate::private;
use crate::secrets::Secrets;
use base::{Error, Kind, Result, Secret};
use futures::future::BoxFuture;
use oslo_http::{Body, Endpoint, Reply, RouteInfo, ServerOptions};
use sdk::Fingerprint;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use toml::{Table, Value};

/// What a host asks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    pub id: String,
    pub secret: Secret,
    pub host: String,
}

/// What it gets.
#[derive(Serialize, Deserialize)]
pub(super) struct Given {
    pub roles: Vec<Role>,
    /// Its configuration, but for what it alone knows: its addresses.
    pub config: String,
    pub secrets: Secrets,
    /// Authorities (PEM) of the APIs, besides the machine's own.
    #[serde(default)]
    pub ca: Option<String>,
    /// For controllers: the certificate and key with which HAProxy speaks TLS.
    #[serde(default)]
    pub front: Option<Secret>,
}

/// Serves joining hosts.
pub struct Desk {
    state: PathBuf,
    settings: Settings,
    /// The controller's own file, for what other controllers must have too.
    config: Table,
}

impl Desk {
    /// The desk of a controller with this configuration file.
    pub fn new(settings: &Settings, config: Option<&Path>) -> Result<Desk> {
        let text = config.map(std::fs::read_to_string).transpose()?;
        let config = text.unwrap_or_default().parse::<Table>();
        let config = config.map_err(|e| Error::bad_request(e.message().to_string()))?;
        Ok(Desk {
            state: settings.default.state_path.clone(),
            settings: settings.clone(),
            config,
        })
    }

    /// Listens on the management address until `stop`.
    pub async fn serve(self, stop: CancellationToken) -> Result<()> {
        let (cert, key) = certificate_files(&self.state)?;
        let address = address(&self.settings);
        let (listener, _) = oslo_http::bind(&address).await?;
        let options = ServerOptions {
            tls: Some(oslo_http::tls_config(&cert, &key)?),
            ..ServerOptions::default()
        };
        oslo_http::serve(listener, Arc::new(self), options, stop).await;
        Ok(())
    }

    async fn answer(&self, request: http::Request<Body>) -> Result<Reply> {
        if request.method() != http::Method::POST || request.uri().path() != "/v1/join" {
            return Err(Error::not_found("POST /v1/join is all there is."));
        }
        let body = request.into_body().collect(4096).await?;
        let ask: Ask = serde_json::from_slice(&body)
            .map_err(|e| Error::bad_request(format!("The request makes no sense: {e}")))?;
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if ask.host.is_empty() || ask.host.len() > 63 || !ask.host.chars().all(letters) {
            return Err(Error::bad_request(
                "A host's name has 1 to 63 letters, digits, hyphens and dots.",
            ));
        }
        let (state, id, secret) = (self.state.clone(), ask.id, ask.secret);
        let redeem = move || ticket::redeem(&state, &id, &secret);
        let roles = tokio::task::spawn_blocking(redeem)
            .await
            .map_err(Error::internal)??;
        let roles = roles.ok_or_else(|| {
            let words = "This ticket is used, or its time is over, or it is not from here: make a new one with `ferrostack token create`.";
            Error::new(Kind::Unauthorized, words)
        })?;
        tracing::info!(host = ask.host, ?roles, "a host joins");
        let secrets = Secrets::load(&self.state)?.of(&roles);
        let config = self.config_of(&roles, &ask.host);
        let front = match roles.contains(&Role::Controller) {
            true => read(self.settings.cluster.tls_certificate.as_deref()).await?,
            false => None,
        };
        Reply::ok(&Given {
            roles,
            config: toml::to_string(&config).map_err(Error::internal)?,
            secrets,
            ca: read(self.settings.authorities()).await?,
            front: front.map(Secret::new),
        })
    }

    /// A controller gets this one's file; other hosts only what agents need, and nothing of the database.
    fn config_of(&self, roles: &[Role], host: &str) -> Table {
        let settings = &self.settings;
        let mut table = match roles.contains(&Role::Controller) {
            true => self.config.clone(),
            false => {
                let of_agents = ["nova_compute", "neutron_agents", "cinder_volume"];
                let shared = ["oslo_messaging_rabbit"].iter().chain(&of_agents);
                shared
                    .filter_map(|s| Some((s.to_string(), self.config.get(*s)?.clone())))
                    .collect()
            }
        };
        set(&mut table, "DEFAULT", "host", host);
        let url = settings.default.transport_url.expose();
        set(&mut table, "DEFAULT", "transport_url", url);
        set(
            &mut table,
            "DEFAULT",
            "region",
            settings.default.region.as_str(),
        );
        if settings.default.fake {
            set(&mut table, "DEFAULT", "fake", true);
        }
        let api = &settings.api;
        set(&mut table, "api", "public_host", api.public_host.as_str());
        set(&mut table, "api", "public_scheme", settings.public_scheme());
        for (name, port) in [
            ("identity_port", api.identity_port),
            ("image_port", api.image_port),
            ("placement_port", api.placement_port),
            ("network_port", api.network_port),
            ("compute_port", api.compute_port),
            ("metadata_port", api.metadata_port),
            ("volume_port", api.volume_port),
            ("novnc_port", api.novnc_port),
        ] {
            set(&mut table, "api", name, i64::from(port));
        }
        let names: Vec<Value> = roles.iter().map(|r| r.as_str().into()).collect();
        set(&mut table, "cluster", "roles", names);
        table
    }
}

impl Endpoint for Desk {
    fn call(&self, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            self.answer(request).await.unwrap_or_else(|e| {
                let (status, words) = match e.kind() {
                    Kind::NotFound => (404, e.message().to_string()),
                    Kind::BadRequest => (400, e.message().to_string()),
                    Kind::Unauthorized => (401, e.message().to_string()),
                    _ => {
                        tracing::error!("a host could not join: {}", e.log_message());
                        (500, "The controller's log says why.".into())
                    }
                };
                let body = json!({"error": {"code": status, "message": words}});
                Reply::json(status, &body).unwrap_or_else(|_| Reply::empty(status))
            })
        })
    }

    fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        "join"
    }
}

async fn read(path: Option<&Path>) -> Result<Option<String>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let text = tokio::fs::read_to_string(path).await;
    let bad = |e| Error::internal(format!("{}: {e}", path.display()));
    text.map(Some).map_err(bad)
}

pub(super) fn set(table: &mut Table, section: &str, option: &str, value: impl Into<Value>) {
    let section = table
        .entry(section)
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(option.into(), value.into());
    }
}

/// Where the desk of a controller listens.
pub(super) fn address(settings: &Settings) -> String {
    let (host, port) = (&settings.api.bind_host, settings.cluster.join_port);
    format!("{host}:{port}")
}

/// `STATE/join-{certificate,key}.pem`, made if they are not there.
fn certificate_files(state: &Path) -> Result<(PathBuf, PathBuf)> {
    let (cert, key) = (
        state.join("join-certificate.pem"),
        state.join("join-key.pem"),
    );
    if !cert.exists() || !key.exists() {
        let made = rcgen::generate_simple_self_signed(vec!["ferrostack-join".into()])
            .map_err(Error::internal)?;
        for (path, text) in [
            (&key, made.signing_key.serialize_pem()),
            (&cert, made.cert.pem()),
        ] {
            private::write(path, &text)?;
        }
    }
    Ok((cert, key))
}

/// Of this controller's certificate.
pub(super) fn fingerprint(state: &Path) -> Result<Fingerprint> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let (cert, _) = certificate_files(state)?;
    let der = CertificateDer::from_pem_file(&cert).map_err(Error::internal)?;
    Ok(Sha256::digest(der.as_ref()).into())
}
