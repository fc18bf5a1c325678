//! Boot on one straight page: state, secrets, databases, bus, services, agents, listeners. Which shape the cloud has is
//! decided here; nothing below asks.

use crate::adapters::{self, Images};
use crate::config::Settings;
use crate::join::Desk;
use crate::listen::Ports;
use crate::metrics::{self, Metrics};
use crate::parts::{Part, Parts};
use crate::secrets::Secrets;
use base::{Clock, Error, Result, Secret};
use host_privsep::Privsep;
use keystone::{BootstrapSpec, EndpointSpec, bootstrap};
use oslo_auth::{Generation, TokenAuth};
use oslo_db::Db;
use oslo_http::{Authenticate, Endpoint, ServerOptions};
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::Supervisor;
use sdk::{Http, InProcess, KeystoneTokens, Sdk, ServiceCredentials};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running cloud, or this process's share of one.
pub struct Cloud {
    /// As it was started, derived values filled in.
    pub settings: Settings,
    /// Its own passwords.
    pub secrets: Secrets,
    /// Service type to URL, without path.
    pub urls: BTreeMap<&'static str, String>,
    /// The services' surfaces, by service type.
    pub endpoints: BTreeMap<&'static str, Arc<dyn Endpoint>>,
    /// What of it runs in this process.
    pub parts: Parts,
    /// Keystone's state, if it is here.
    pub keystone: Option<Arc<keystone::Keystone>>,
    /// Nova's state, if any part of it but the hosts' is here.
    pub nova: Option<Arc<nova::Nova>>,
    /// Cinder's state, if any part of it but the agent is here.
    pub cinder: Option<Arc<cinder::Cinder>>,
    /// Who runs the workers.
    pub supervisor: Arc<Supervisor>,
    /// Where Prometheus finds its numbers, if it is to.
    pub metrics_url: Option<String>,
    stop: CancellationToken,
    listeners: TaskTracker,
    _rpc: Vec<ServerHandle>,
}

/// The databases of this process, for what is common to them.
struct Databases<'a> {
    settings: &'a Settings,
    open: Mutex<BTreeMap<&'static str, Db>>,
}

impl Databases<'_> {
    async fn open(&self, service: &'static str) -> Result<Db> {
        let db = database(self.settings, service).await?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(service, db.clone());
        Ok(db)
    }
}

/// Where a service's database is, SQLite below the state directory or MariaDB.
enum Place {
    File(PathBuf),
    Server(String),
}

fn place(settings: &Settings, service: &str) -> Place {
    let template = settings.database.connection.expose();
    if template.is_empty() {
        let folder = settings.default.state_path.join("db");
        return Place::File(folder.join(format!("{service}.sqlite")));
    }
    Place::Server(template.replace("%s", service))
}

/// A service's database, made if it is missing.
pub async fn database(settings: &Settings, service: &str) -> Result<Db> {
    match place(settings, service) {
        Place::File(path) => Db::open(&format!("sqlite://{}", path.display())).await,
        Place::Server(url) => {
            oslo_db::create_database(&url).await?;
            Db::open_with(&url, settings.database_options()).await
        }
    }
}

/// A service's database, if there is one; on a server it may turn out that there is none.
pub(crate) async fn existing_database(settings: &Settings, service: &str) -> Result<Option<Db>> {
    match place(settings, service) {
        Place::File(path) if !path.exists() => Ok(None),
        Place::File(_) => database(settings, service).await.map(Some),
        Place::Server(url) => Db::open_with(&url, settings.database_options())
            .await
            .map(Some),
    }
}

pub(crate) fn prepare(settings: &Settings) -> Result<()> {
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

/// The types by which access rules know the services.
const SERVICE_TYPES: &[(&str, &[&str])] = &[
    (
        "cinder",
        &["block-storage", "volumev3", "volumev2", "volume"],
    ),
    ("glance", &["image"]),
    ("neutron", &["network"]),
    ("nova", &["compute"]),
    ("placement", &["placement"]),
];

const SERVICE_USERS: &[&str] = &["nova", "neutron", "cinder", "glance", "placement"];

/// The parts of nova that are not on compute hosts.
const NOVA: &[Part] = &[
    Part::NovaApi,
    Part::NovaConductor,
    Part::NovaScheduler,
    Part::NovaMetadata,
    Part::NovaNovncproxy,
];

/// The parts of cinder that are not on storage hosts.
const CINDER: &[Part] = &[Part::CinderApi, Part::CinderScheduler];

/// Starts a whole cloud; when this returns, every API answers.
pub async fn start(settings: Settings) -> Result<Cloud> {
    start_parts(settings, Parts::all()).await
}

/// Starts some parts of a cloud; when this returns, every API among them answers.
pub async fn start_parts(settings: Settings, parts: Parts) -> Result<Cloud> {
    let mut settings = settings.derive()?;
    prepare(&settings)?;
    let recorder = settings
        .metrics
        .port
        .map(|_| metrics::record())
        .transpose()?;
    let secrets = match parts.need_database() {
        true => Secrets::load_or_make(&settings.default.state_path)?,
        // A host of agents joined a cloud, or is of no use.
        false => Secrets::load(&settings.default.state_path)?,
    };
    let ports = Ports::bind(&settings, &parts).await?;
    let urls = ports.urls(&settings);
    let identity_uri = format!("{}/", urls["identity"]);
    settings.glance.www_authenticate_uri = identity_uri.clone();
    settings.placement.www_authenticate_uri = identity_uri.clone();
    settings.neutron.www_authenticate_uri = identity_uri.clone();
    settings.cinder.www_authenticate_uri = identity_uri.clone();
    settings.nova.metadata_proxy_shared_secret = secrets.metadata_shared_secret.clone();
    settings.agents.metadata_proxy_shared_secret = secrets.metadata_shared_secret.clone();
    if settings.agents.nova_metadata_url.is_empty() {
        settings.agents.nova_metadata_url = urls["metadata"].clone();
    }
    let authorities = settings.authorities().map(Path::to_path_buf);
    for ca in [
        &mut settings.agents.auth_ca_cert,
        &mut settings.glance.auth_ca_cert,
    ] {
        if ca.is_none() {
            ca.clone_from(&authorities);
        }
    }
    if settings.glance.endpoint_region_name.is_empty() {
        settings.glance.endpoint_region_name = settings.default.region.clone();
    }

    let clock = Clock::real();
    let supervisor = Arc::new(Supervisor::new());
    let host = settings.default.host.clone();
    let bus = bus(&settings)?;
    let policy = |service: &str| {
        let folder = settings.default.state_path.join("policy");
        Some(folder.join(format!("{service}.yaml")))
    };

    let databases = Databases {
        settings: &settings,
        open: Mutex::default(),
    };

    // Identity first: everybody else logs in there.
    let everywhere = urls.iter().map(|(s, u)| (s.to_string(), u.clone()));
    let elsewhere = Arc::new(Http::trusting(
        everywhere.collect(),
        settings.authorities(),
    )?);
    let neighbours = InProcess::starting().or(elsewhere);
    let keystone = when(parts.has(Part::Keystone), async {
        let deps = keystone::Deps {
            db: databases.open("keystone").await?,
            conf: settings.keystone.clone(),
            clock: clock.clone(),
            policy_file: policy("keystone"),
            secret: secrets.cloud_secret.clone(),
            old_keys: Some(settings.default.state_path.clone()),
        };
        let keystone = keystone::build(deps).await?;
        let told = keystone.state.join(&bus).await?;
        let spec = BootstrapSpec {
            admin_password: secrets.admin_password.clone(),
            region: settings.default.region.clone(),
            endpoints: catalog(&urls),
            service_users: SERVICE_USERS
                .iter()
                .map(|u| (u.to_string(), secrets.service_password.clone()))
                .collect(),
        };
        bootstrap(&keystone.state, spec).await?;
        Ok((keystone, told))
    })
    .await?;
    let (keystone, told) = keystone.unzip();
    let mut rpc: Vec<ServerHandle> = told.into_iter().collect();
    if let Some(keystone) = &keystone {
        neighbours.register("identity", Arc::clone(&keystone.endpoint));
    }
    let sdk = |user: &str| Sdk::new(Arc::new(neighbours.clone()), credentials(user, &secrets));
    let generation = keystone.as_ref().map(|k| k.state.generation());
    let tokens = KeystoneTokens::new(sdk("placement"), generation.unwrap_or_default());
    let heard = Generation::default();
    // Nobody brings tokens to agents.
    if parts.need_database() {
        rpc.push(KeystoneTokens::listen(&bus, heard.clone()).await?);
    }
    let auth = TokenAuth::new(Arc::new(tokens), settings.cache.expiration(), clock.clone())
        .heeding(heard)
        .knowing(SERVICE_TYPES);
    let auth: Arc<dyn Authenticate> = Arc::new(match settings.cache.open()? {
        Some(cache) => auth.sharing(cache, secrets.cloud_secret.clone()),
        None => auth,
    });

    // All at the same time: most of a cold start is waiting for files.
    let (placement, glance, neutron, nova, cinder) = tokio::try_join!(
        when(parts.has(Part::Placement), async {
            placement::build(placement::Deps {
                db: databases.open("placement").await?,
                auth: Arc::clone(&auth),
                conf: settings.placement.clone(),
                clock: clock.clone(),
            })
            .await
        }),
        when(parts.has(Part::Glance), async {
            glance::build(glance::Deps {
                db: databases.open("glance").await?,
                auth: Arc::clone(&auth),
                conf: settings.glance.clone(),
                clock: clock.clone(),
                supervisor: Arc::clone(&supervisor),
                inspectors: adapters::inspectors(),
                converter: adapters::converter(),
                sdk: sdk("glance"),
            })
            .await
        }),
        when(parts.has(Part::NeutronServer), async {
            neutron::build(neutron::Deps {
                db: databases.open("neutron").await?,
                bus: bus.clone(),
                sdk: sdk("neutron"),
                auth: Arc::clone(&auth),
                conf: settings.neutron.clone(),
                clock: clock.clone(),
                supervisor: Arc::clone(&supervisor),
                policy_file: policy("neutron"),
                server_name: host.clone(),
            })
            .await
        }),
        when(parts.any(NOVA), async {
            nova::build(nova::Deps {
                db: databases.open("nova").await?,
                bus: bus.clone(),
                sdk: sdk("nova"),
                auth: Arc::clone(&auth),
                conf: settings.nova.clone(),
                clock: clock.clone(),
                supervisor: Arc::clone(&supervisor),
                policy_file: policy("nova"),
                identity_uri: identity_uri.clone(),
                host: host.clone(),
                parts: nova::Parts {
                    conductor: parts.has(Part::NovaConductor),
                    scheduler: parts.has(Part::NovaScheduler),
                },
            })
            .await
        }),
        when(parts.any(CINDER), async {
            cinder::build(cinder::Deps {
                db: databases.open("cinder").await?,
                bus: bus.clone(),
                sdk: sdk("cinder"),
                auth: Arc::clone(&auth),
                conf: settings.cinder.clone(),
                clock: clock.clone(),
                supervisor: Arc::clone(&supervisor),
                parts: cinder::Parts {
                    api: parts.has(Part::CinderApi),
                    scheduler: parts.has(Part::CinderScheduler),
                },
            })
            .await
        }),
    )?;

    let mut endpoints: BTreeMap<&'static str, Arc<dyn Endpoint>> = BTreeMap::new();
    let (mut nova_state, mut cinder_state) = (None, None);
    endpoints.extend(keystone.as_ref().map(|k| ("identity", k.endpoint.clone())));
    endpoints.extend(placement.map(|p| ("placement", p.endpoint)));
    endpoints.extend(glance.map(|g| ("image", g.endpoint)));
    if let Some(neutron) = neutron {
        endpoints.insert("network", neutron.endpoint);
        rpc.push(neutron.rpc);
    }
    if let Some(nova) = nova {
        endpoints.insert("metadata", nova::metadata::endpoint(nova.state.clone())?);
        endpoints.insert("compute", nova.endpoint);
        rpc.extend(nova.rpc);
        if parts.has(Part::NovaNovncproxy) {
            console(&settings, &nova.state, &supervisor);
        }
        nova_state = Some(nova.state);
    }
    if let Some(cinder) = cinder {
        endpoints.insert("volumev3", cinder.endpoint);
        rpc.extend(cinder.servers);
        cinder_state = Some(cinder.state);
    }
    // What is not listened for here is not served to neighbours either.
    endpoints.retain(|service, _| ports.bound.contains_key(service));
    for (service, endpoint) in &endpoints {
        neighbours.register(service, Arc::clone(endpoint));
    }
    neighbours.completed();
    let databases = databases
        .open
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    for endpoint in endpoints.values() {
        let service = endpoint.name().trim_end_matches("-metadata");
        if let (Some(health), Some(db)) = (endpoint.health(), databases.get(service)) {
            let db = db.clone();
            health.probe(move || {
                let db = db.clone();
                async move { db.answers().await }
            });
        }
    }

    let stop = CancellationToken::new();
    let listeners = TaskTracker::new();
    let options = ServerOptions {
        tls: tls(&settings)?,
        ..ServerOptions::default()
    };
    for (service, (listener, _)) in ports.bound {
        let endpoint = Arc::clone(&endpoints[service]);
        let serve = oslo_http::serve(listener, endpoint, options.clone(), stop.clone());
        listeners.spawn(serve);
    }

    let mut metrics_url = None;
    if let (Some(recorder), Some(port)) = (recorder, settings.metrics.port) {
        let address = format!("{}:{port}", settings.metrics.bind_host);
        let (listener, address) = oslo_http::bind(&address).await?;
        metrics_url = Some(format!("http://{address}/metrics"));
        let keeper = recorder.clone();
        supervisor.spawn("metrics", move |stop| Metrics::upkeep(keeper.clone(), stop));
        let endpoint = Arc::new(Metrics::new(recorder, databases, Arc::clone(&supervisor)));
        listeners.spawn(oslo_http::serve(
            listener,
            endpoint,
            ServerOptions::default(),
            stop.clone(),
        ));
    }

    // Agents last: they report to services that answer.
    rpc.extend(agents(&settings, &parts, &bus, &supervisor, sdk("nova")).await?);
    Ok(Cloud {
        secrets,
        urls,
        endpoints,
        keystone: keystone.map(|k| k.state),
        nova: nova_state,
        cinder: cinder_state,
        parts,
        supervisor,
        metrics_url,
        stop,
        listeners,
        _rpc: rpc,
        settings,
    })
}

/// Rotates the keys of tokens. A cloud that runs notices within a second.
pub async fn rotate_keys(settings: Settings) -> Result<()> {
    let settings = settings.derive()?;
    let state = &settings.default.state_path;
    let deps = keystone::Deps {
        db: database(&settings, "keystone").await?,
        conf: settings.keystone.clone(),
        clock: Clock::real(),
        policy_file: None,
        secret: Secrets::load(state)?.cloud_secret,
        old_keys: Some(state.clone()),
    };
    keystone::build(deps).await?.state.rotate_keys().await
}

/// What `build` makes, if it is wanted.
async fn when<T>(wanted: bool, build: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    match wanted {
        true => build.await.map(Some),
        false => Ok(None),
    }
}

fn bus(settings: &Settings) -> Result<Bus> {
    let options = oslo_messaging::Options {
        call_timeout: Duration::from_secs(settings.default.rpc_response_timeout),
        ..oslo_messaging::Options::default()
    };
    match broker(settings)? {
        Some(config) => Bus::rabbit(config, options),
        None => Ok(Bus::in_process_with(options)),
    }
}

/// How to reach the message broker, if there is one.
pub fn broker(settings: &Settings) -> Result<Option<oslo_messaging::RabbitConfig>> {
    let url = settings.default.transport_url.expose();
    if url.is_empty() {
        return Ok(None);
    }
    let rabbit = &settings.rabbit;
    let mut config = oslo_messaging::RabbitConfig::parse(url)?.with_tls(
        rabbit.ssl_ca_file.as_ref(),
        rabbit.ssl_cert_file.as_ref(),
        rabbit.ssl_key_file.as_ref(),
    )?;
    config.durable = rabbit.amqp_durable_queues;
    config.transient_ttl = Duration::from_secs(rabbit.rabbit_transient_queues_ttl);
    config.heartbeat = Duration::from_secs(rabbit.heartbeat_timeout_threshold);
    config.quorum = rabbit.rabbit_quorum_queue;
    config.transient_quorum = rabbit.rabbit_transient_quorum_queue;
    config.quorum_delivery_limit = rabbit.rabbit_quorum_delivery_limit;
    config.quorum_max_memory_length = rabbit.rabbit_quorum_max_memory_length;
    config.quorum_max_memory_bytes = rabbit.rabbit_quorum_max_memory_bytes;
    config.delivery_limit = rabbit.delivery_limit;
    Ok(Some(config))
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
    parts: &Parts,
    bus: &Bus,
    supervisor: &Arc<Supervisor>,
    sdk: Sdk,
) -> Result<Vec<ServerHandle>> {
    let mut servers = Vec::new();
    let of_neutron = [
        (Part::L2Agent, "l2"),
        (Part::DhcpAgent, "dhcp"),
        (Part::L3Agent, "l3"),
        (Part::MetadataAgent, "metadata"),
    ];
    let here = of_neutron.iter().filter(|(part, _)| parts.has(*part));
    let here: Vec<&str> = here.map(|(_, agent)| *agent).collect();
    neutron_agents::start_some(bus, &settings.agents, &here, supervisor)?;
    if parts.has(Part::CinderVolume) {
        let volume = cinder_volume::build(cinder_volume::Deps {
            bus: bus.clone(),
            images: Arc::new(sdk.clone()),
            privsep: Privsep::new(),
            conf: settings.volume.clone(),
            backup: settings.backup.clone(),
            supervisor: Arc::clone(supervisor),
        })
        .await?;
        servers.extend(volume.servers);
    }
    if parts.has(Part::NovaCompute) {
        let images = Arc::new(Images(sdk));
        let (bus, conf) = (bus.clone(), settings.compute.clone());
        let keep = Arc::clone(supervisor);
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
    }
    Ok(servers)
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
    /// Serves hosts that join, if this is a controller of a cloud that others can join. `config` is its file.
    pub fn let_hosts_join(&self, config: Option<&Path>) -> Result<()> {
        if self.settings.embedded() || !self.parts.has(Part::Keystone) {
            return Ok(());
        }
        let (settings, config) = (self.settings.clone(), config.map(Path::to_path_buf));
        self.supervisor.spawn("join", move |stop| {
            let desk = Desk::new(&settings, config.as_deref());
            async move { desk?.serve(stop).await }
        });
        Ok(())
    }

    /// Tells load balancers, takes no more requests, lets running ones end, gives flows back. Guests and networks stay.
    pub async fn stop(self) {
        for endpoint in self.endpoints.values() {
            endpoint.health().inspect(|health| health.leave());
        }
        if !self.endpoints.is_empty() {
            tokio::time::sleep(Duration::from_secs(self.settings.drain_seconds())).await;
        }
        self.stop.cancel();
        self.listeners.close();
        let _ = tokio::time::timeout(Duration::from_secs(10), self.listeners.wait()).await;
        if let Some(nova) = &self.nova {
            nova.engine.stop().await;
        }
        if let Some(cinder) = &self.cinder {
            cinder.engine.stop().await;
        }
        self.supervisor.stop(Duration::from_secs(10)).await;
    }

    /// Ends as a SIGKILL would, as far as one process can do that to a part of itself; for crash tests.
    pub async fn kill(self) {
        self.stop.cancel();
        if let Some(nova) = &self.nova {
            nova.engine.kill().await;
        }
        if let Some(cinder) = &self.cinder {
            cinder.engine.kill().await;
        }
        self.supervisor.stop(Duration::ZERO).await;
    }

    /// What a client needs for user `admin`: (name, value) of environment variables.
    pub fn openrc(
        &self,
        user: &str,
        project: &str,
        password: &Secret,
    ) -> Vec<(&'static str, String)> {
        let cacert = self.settings.api.cafile.as_ref();
        let cacert = cacert.map(|file| ("OS_CACERT", file.display().to_string()));
        let mut all = vec![
            ("OS_AUTH_URL", format!("{}/v3", self.urls["identity"])),
            ("OS_IDENTITY_API_VERSION", "3".into()),
            ("OS_USERNAME", user.into()),
            ("OS_PASSWORD", password.expose().into()),
            ("OS_PROJECT_NAME", project.into()),
            ("OS_USER_DOMAIN_NAME", "Default".into()),
            ("OS_PROJECT_DOMAIN_NAME", "Default".into()),
            ("OS_REGION_NAME", self.settings.default.region.clone()),
        ];
        all.extend(cacert);
        all
    }
}
