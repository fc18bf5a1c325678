//! Boot on one straight page: state, secrets, databases, bus, services, agents, listeners. Which shape the cloud has is
//! decided here; nothing below asks.

use crate::adapters::{self, Images};
use crate::config::Settings;
use crate::secrets::Secrets;
use base::{Clock, Error, Result, Secret};
use host_privsep::Privsep;
use keystone::{BootstrapSpec, EndpointSpec, bootstrap};
use oslo_auth::TokenAuth;
use oslo_db::Db;
use oslo_http::{Authenticate, Endpoint, ServerOptions};
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::Supervisor;
use sdk::{InProcess, KeystoneTokens, Sdk, ServiceCredentials};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running cloud.
pub struct Cloud {
    /// As it was started, derived values filled in.
    pub settings: Settings,
    /// Its own passwords.
    pub secrets: Secrets,
    /// Service type to URL, without path.
    pub urls: BTreeMap<&'static str, String>,
    /// The services' surfaces, by service type.
    pub endpoints: BTreeMap<&'static str, Arc<dyn Endpoint>>,
    /// Keystone's state.
    pub keystone: Arc<keystone::Keystone>,
    /// Nova's state.
    pub nova: Arc<nova::Nova>,
    /// Cinder's state.
    pub cinder: Arc<cinder::Cinder>,
    /// Neutron's state.
    pub neutron: Arc<neutron::Neutron>,
    /// Who runs the workers.
    pub supervisor: Arc<Supervisor>,
    stop: CancellationToken,
    listeners: TaskTracker,
    _rpc: Vec<ServerHandle>,
}

struct Ports {
    bound: BTreeMap<&'static str, (TcpListener, SocketAddr)>,
}

impl Ports {
    /// Every address is taken before anything else happens: a port that is in use must not leave half a cloud.
    async fn bind(settings: &Settings) -> Result<Ports> {
        let api = &settings.api;
        let mut bound = BTreeMap::new();
        for (service, port) in [
            ("identity", api.identity_port),
            ("image", api.image_port),
            ("placement", api.placement_port),
            ("network", api.network_port),
            ("compute", api.compute_port),
            ("metadata", api.metadata_port),
            ("volumev3", api.volume_port),
        ] {
            let address = format!("{}:{port}", api.bind_host);
            let listener = oslo_http::bind(&address).await.map_err(|e| {
                let words = format!(
                    "{}; is another cloud running? Choose another port under [api] or stop it.",
                    e.log_message()
                );
                Error::new(base::Kind::Conflict, words)
            })?;
            bound.insert(service, listener);
        }
        Ok(Ports { bound })
    }

    fn urls(&self, settings: &Settings) -> BTreeMap<&'static str, String> {
        let api = &settings.api;
        let host = if api.public_host.is_empty() {
            &api.bind_host
        } else {
            &api.public_host
        };
        let scheme = if api.tls_key.is_some() {
            "https"
        } else {
            "http"
        };
        self.bound
            .iter()
            .map(|(name, (_, a))| (*name, format!("{scheme}://{host}:{}", a.port())))
            .collect()
    }
}

/// A service's database, SQLite below the state directory or MariaDB.
pub async fn database(settings: &Settings, service: &str) -> Result<Db> {
    let template = settings.database.connection.expose();
    if template.is_empty() {
        let path = settings
            .default
            .state_path
            .join("db")
            .join(format!("{service}.sqlite"));
        return Db::open(&format!("sqlite://{}", path.display())).await;
    }
    let url = template.replace("%s", service);
    oslo_db::create_database(&url).await?;
    Db::open(&url).await
}

fn prepare(settings: &Settings) -> Result<()> {
    let state = &settings.default.state_path;
    for dir in [
        "",
        "db",
        "images",
        "instances",
        "volumes",
        "neutron",
        "logs",
    ] {
        let path = state.join(dir);
        std::fs::create_dir_all(&path).map_err(|e| {
            Error::new(
                base::Kind::Forbidden,
                format!(
                    "{}: {e}. Choose a state directory you may write, with --state.",
                    path.display()
                ),
            )
        })?;
    }
    Ok(())
}

fn credentials(user: &str, secrets: &Secrets) -> ServiceCredentials {
    ServiceCredentials {
        username: user.into(),
        password: secrets.service_password.clone(),
        project_name: "service".into(),
        domain_name: "Default".into(),
    }
}

fn catalog(urls: &BTreeMap<&'static str, String>) -> Vec<EndpointSpec> {
    let url = |service: &str, path: &str| {
        format!("{}{path}", urls.get(service).map_or("", String::as_str))
    };
    vec![
        EndpointSpec::same("identity", "keystone", &url("identity", "/v3")),
        EndpointSpec::same("image", "glance", &url("image", "")),
        EndpointSpec::same("placement", "placement", &url("placement", "")),
        EndpointSpec::same("network", "neutron", &url("network", "")),
        EndpointSpec::same("compute", "nova", &url("compute", "/v2.1")),
        EndpointSpec::same(
            "block-storage",
            "cinder",
            &url("volumev3", "/v3/%(project_id)s"),
        ),
        EndpointSpec::same(
            "volumev3",
            "cinderv3",
            &url("volumev3", "/v3/%(project_id)s"),
        ),
    ]
}

const SERVICE_USERS: &[&str] = &["nova", "neutron", "cinder", "glance", "placement"];

/// Starts a cloud; when this returns, every API answers.
pub async fn start(settings: Settings) -> Result<Cloud> {
    let mut settings = settings.derive()?;
    prepare(&settings)?;
    let secrets = Secrets::load_or_make(&settings.default.state_path)?;
    let ports = Ports::bind(&settings).await?;
    let urls = ports.urls(&settings);
    let identity_uri = format!("{}/", urls["identity"]);
    settings.glance.www_authenticate_uri = identity_uri.clone();
    settings.placement.www_authenticate_uri = identity_uri.clone();
    settings.neutron.www_authenticate_uri = identity_uri.clone();
    settings.cinder.www_authenticate_uri = identity_uri.clone();
    settings.nova.metadata_proxy_shared_secret = secrets.metadata_shared_secret.clone();
    settings.agents.metadata_proxy_shared_secret = secrets.metadata_shared_secret.clone();
    settings.agents.nova_metadata_url = urls["metadata"].clone();

    let clock = Clock::real();
    let supervisor = Arc::new(Supervisor::new());
    let host = settings.default.host.clone();
    let bus = bus(&settings)?;
    let policy = |service: &str| {
        Some(
            settings
                .default
                .state_path
                .join("policy")
                .join(format!("{service}.yaml")),
        )
    };

    // Identity first: everybody else logs in there.
    let neighbours = InProcess::starting();
    let keystone = keystone::build(keystone::Deps {
        db: database(&settings, "keystone").await?,
        conf: settings.keystone.clone(),
        clock: clock.clone(),
        policy_file: policy("keystone"),
    })
    .await?;
    bootstrap(
        &keystone.state,
        BootstrapSpec {
            admin_password: secrets.admin_password.clone(),
            region: settings.default.region.clone(),
            endpoints: catalog(&urls),
            service_users: SERVICE_USERS
                .iter()
                .map(|u| (u.to_string(), secrets.service_password.clone()))
                .collect(),
        },
    )
    .await?;
    neighbours.register("identity", Arc::clone(&keystone.endpoint));
    let sdk = |user: &str| Sdk::new(Arc::new(neighbours.clone()), credentials(user, &secrets));
    let tokens = Arc::new(KeystoneTokens::new(
        sdk("placement"),
        keystone.state.generation(),
    ));
    let auth: Arc<dyn Authenticate> = Arc::new(TokenAuth::new(
        tokens,
        Duration::from_secs(300),
        clock.clone(),
    ));

    // Databases open at the same time: most of a cold start is waiting for files.
    let (db_placement, db_glance, db_neutron, db_nova, db_cinder) = tokio::try_join!(
        database(&settings, "placement"),
        database(&settings, "glance"),
        database(&settings, "neutron"),
        database(&settings, "nova"),
        database(&settings, "cinder"),
    )?;
    let (placement, glance, neutron, nova, cinder) = tokio::try_join!(
        placement::build(placement::Deps {
            db: db_placement,
            auth: Arc::clone(&auth),
            conf: settings.placement.clone(),
            clock: clock.clone()
        }),
        glance::build(glance::Deps {
            db: db_glance,
            auth: Arc::clone(&auth),
            conf: settings.glance.clone(),
            clock: clock.clone(),
            supervisor: Arc::clone(&supervisor),
            inspectors: adapters::inspectors(),
        }),
        neutron::build(neutron::Deps {
            db: db_neutron,
            bus: bus.clone(),
            sdk: sdk("neutron"),
            auth: Arc::clone(&auth),
            conf: settings.neutron.clone(),
            clock: clock.clone(),
            supervisor: Arc::clone(&supervisor),
            policy_file: policy("neutron"),
            server_name: host.clone(),
        }),
        nova::build(nova::Deps {
            db: db_nova,
            bus: bus.clone(),
            sdk: sdk("nova"),
            auth: Arc::clone(&auth),
            conf: settings.nova.clone(),
            clock: clock.clone(),
            supervisor: Arc::clone(&supervisor),
            policy_file: policy("nova"),
            identity_uri: identity_uri.clone(),
            host: host.clone(),
        }),
        cinder::build(cinder::Deps {
            db: db_cinder,
            bus: bus.clone(),
            sdk: sdk("cinder"),
            auth: Arc::clone(&auth),
            conf: settings.cinder.clone(),
            clock: clock.clone(),
            supervisor: Arc::clone(&supervisor),
        }),
    )?;
    let metadata = nova::metadata::endpoint(Arc::clone(&nova.state))?;
    let endpoints: BTreeMap<&'static str, Arc<dyn Endpoint>> = [
        ("identity", keystone.endpoint),
        ("image", glance.endpoint),
        ("placement", placement.endpoint),
        ("network", neutron.endpoint),
        ("compute", nova.endpoint),
        ("volumev3", cinder.endpoint),
        ("metadata", metadata),
    ]
    .into();
    for (service, endpoint) in &endpoints {
        neighbours.register(service, Arc::clone(endpoint));
    }
    neighbours.completed();

    let stop = CancellationToken::new();
    let listeners = TaskTracker::new();
    let options = ServerOptions {
        tls: tls(&settings)?,
        ..ServerOptions::default()
    };
    for (service, (listener, _)) in ports.bound {
        let endpoint = Arc::clone(&endpoints[service]);
        listeners.spawn(oslo_http::serve(
            listener,
            endpoint,
            options.clone(),
            stop.clone(),
        ));
    }

    // Agents last: they report to services that answer.
    let volume = agents(&settings, &bus, &supervisor, sdk("nova")).await?;
    console(&settings, &nova.state, &supervisor);

    let mut rpc = vec![neutron.rpc, nova.rpc];
    rpc.extend(cinder.servers);
    rpc.extend(volume);
    Ok(Cloud {
        secrets,
        urls,
        endpoints,
        keystone: keystone.state,
        nova: nova.state,
        cinder: cinder.state,
        neutron: neutron.state,
        supervisor,
        stop,
        listeners,
        _rpc: rpc,
        settings,
    })
}

fn bus(settings: &Settings) -> Result<Bus> {
    let url = settings.default.transport_url.expose();
    let options = oslo_messaging::Options {
        call_timeout: Duration::from_secs(settings.default.rpc_response_timeout),
        ..oslo_messaging::Options::default()
    };
    if url.is_empty() {
        return Ok(Bus::in_process_with(options));
    }
    let rabbit = &settings.rabbit;
    let mut config = oslo_messaging::RabbitConfig::parse(url)?.with_tls(
        rabbit.ssl_ca_file.as_ref(),
        rabbit.ssl_cert_file.as_ref(),
        rabbit.ssl_key_file.as_ref(),
    )?;
    config.durable = rabbit.amqp_durable_queues;
    config.transient_ttl = Duration::from_secs(rabbit.rabbit_transient_queues_ttl);
    Bus::rabbit(config, options)
}

fn tls(settings: &Settings) -> Result<Option<Arc<oslo_http::TlsConfig>>> {
    match (&settings.api.tls_certificate, &settings.api.tls_key) {
        (Some(cert), Some(key)) => oslo_http::tls_config(cert, key).map(Some),
        (None, None) => Ok(None),
        _ => Err(Error::bad_request(
            "[api] tls_certificate and tls_key go together.",
        )),
    }
}

/// The host's agents start beside the APIs: libvirt's first look at a host takes seconds, and nobody waits for it.
async fn agents(
    settings: &Settings,
    bus: &Bus,
    supervisor: &Arc<Supervisor>,
    sdk: Sdk,
) -> Result<Vec<ServerHandle>> {
    neutron_agents::start(bus, &settings.agents, supervisor)?;
    let volume = cinder_volume::build(cinder_volume::Deps {
        bus: bus.clone(),
        images: Arc::new(sdk.clone()),
        privsep: Privsep::new(),
        conf: settings.volume.clone(),
        supervisor: Arc::clone(supervisor),
    })
    .await?;
    let images = Arc::new(Images(sdk));
    let (bus, conf, keep) = (
        bus.clone(),
        settings.compute.clone(),
        Arc::clone(supervisor),
    );
    supervisor.spawn("nova-compute start", move |_| {
        let (bus, conf, images, keep) = (
            bus.clone(),
            conf.clone(),
            Arc::clone(&images),
            Arc::clone(&keep),
        );
        async move {
            nova_compute::start(&bus, conf, Privsep::new(), images, &keep)
                .await
                .map(|_| ())
        }
    });
    Ok(volume.servers)
}

fn console(settings: &Settings, nova: &Arc<nova::Nova>, supervisor: &Supervisor) {
    let (nova, api) = (Arc::clone(nova), settings.api.clone());
    supervisor.spawn("nova-novncproxy", move |stop| {
        let (nova, api) = (Arc::clone(&nova), api.clone());
        async move {
            let listen = format!("{}:{}", api.bind_host, api.novnc_port);
            nova::console::serve_novnc(nova, &listen, stop)
                .await
                .map(|_| ())
        }
    });
}

impl Cloud {
    /// Takes no more requests, lets running ones end, gives flows back. Guests and networks stay.
    pub async fn stop(self) {
        self.stop.cancel();
        self.listeners.close();
        let _ = tokio::time::timeout(Duration::from_secs(10), self.listeners.wait()).await;
        self.nova.engine.stop().await;
        self.cinder.engine.stop().await;
        self.supervisor.stop(Duration::from_secs(10)).await;
    }

    /// Ends as a SIGKILL would, as far as one process can do that to a part of itself; for crash tests.
    pub async fn kill(self) {
        self.stop.cancel();
        self.nova.engine.kill().await;
        self.cinder.engine.kill().await;
        self.supervisor.stop(Duration::ZERO).await;
    }

    /// What a client needs for user `admin`: (name, value) of environment variables.
    pub fn openrc(
        &self,
        user: &str,
        project: &str,
        password: &Secret,
    ) -> Vec<(&'static str, String)> {
        vec![
            ("OS_AUTH_URL", format!("{}/v3", self.urls["identity"])),
            ("OS_IDENTITY_API_VERSION", "3".into()),
            ("OS_USERNAME", user.into()),
            ("OS_PASSWORD", password.expose().into()),
            ("OS_PROJECT_NAME", project.into()),
            ("OS_USER_DOMAIN_NAME", "Default".into()),
            ("OS_PROJECT_DOMAIN_NAME", "Default".into()),
            ("OS_REGION_NAME", self.settings.default.region.clone()),
        ]
    }
}
