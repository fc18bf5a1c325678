//! What the binary itself is configured with; services' sections live in their crates.

use base::{Error, Result};
use oslo_config::{Config, OptionDoc, Section};
use std::path::{Path, PathBuf};
use std::time::Duration;

oslo_config::section! {
    /// Where the cloud keeps its state and what it is called.
    pub struct DefaultConf in "DEFAULT" {
        /// Everything the cloud owns lies below this directory.
        pub state_path: PathBuf = "/var/lib/ferrostack".into(),
        /// The name of this host in the cloud; empty: the machine's name.
        pub host: String = String::new(),
        /// Fake hypervisor, networks and volumes that behave like real ones in state and time; needs no root.
        pub fake: bool = false,
        /// Region of the catalog.
        pub region: String = "RegionOne".to_string(),
        /// The bus: `rabbit://user:password@host:5672/vhost`, several hosts with commas, `rabbits://` for TLS. Empty:
        /// in process.
        pub transport_url: base::Secret = base::Secret::default(),
        /// How long a call over the bus waits for its answer, in seconds.
        pub rpc_response_timeout: u64 = 60,
        /// How much is logged: `info`, `debug`, or tracing's filter syntax.
        pub log_filter: String = "info".to_string(),
    }
}

oslo_config::section! {
    /// Addresses and ports. Everything listens on loopback unless told otherwise; port 0 takes a free one.
    pub struct ApiConf in "api" {
        /// The address to listen on.
        pub bind_host: String = "127.0.0.1".to_string(),
        /// The host name in the catalog; empty: `bind_host`.
        pub public_host: String = String::new(),
        /// Keystone.
        pub identity_port: u16 = 5000,
        /// Glance.
        pub image_port: u16 = 9292,
        /// Placement.
        pub placement_port: u16 = 8778,
        /// Neutron.
        pub network_port: u16 = 9696,
        /// Nova.
        pub compute_port: u16 = 8774,
        /// Nova's metadata, for the metadata agent only.
        pub metadata_port: u16 = 8775,
        /// Cinder.
        pub volume_port: u16 = 8776,
        /// noVNC.
        pub novnc_port: u16 = 6080,
        /// How many seconds `/healthcheck` says 503 before the APIs stop, so that load balancers go elsewhere first.
        /// Without it: 2 if there are `[cluster] controllers`, else 0.
        pub drain: Option<u64> = None,
        /// Certificate chain (PEM); with `tls_key`, every API speaks TLS.
        pub tls_certificate: Option<PathBuf> = None,
        /// Private key (PEM).
        pub tls_key: Option<PathBuf> = None,
        /// What clients write before `public_host`: `http` or `https`. Empty: `https` if the APIs or HAProxy have a
        /// certificate.
        pub public_scheme: String = String::new(),
        /// Authorities (PEM) that are trusted besides the machine's own when the cloud calls its own APIs; also told to
        /// clients in `clouds.yaml`.
        pub cafile: Option<PathBuf> = None,
    }
}

oslo_config::section! {
    /// Databases. Empty: SQLite files below the state directory.
    pub struct DatabaseConf in "database" {
        /// `mysql://user:password@host/%s`, with %s for the service's name; one database per service.
        pub connection: base::Secret = base::Secret::default(),
        /// Connections to MariaDB per service and process.
        pub max_pool_size: u32 = 5,
        /// Further ones under load; those that idle for five minutes are closed.
        pub max_overflow: u32 = 5,
        /// How many seconds a request waits for a free connection, and for a database that is away.
        pub pool_timeout: u64 = 10,
        /// Connections older than so many seconds are replaced.
        pub connection_recycle_time: u64 = 3600,
        /// Galera's `wsrep_sync_wait`: with 1, as without it, reads see what was written on other nodes; 0 does not wait for that.
        pub mysql_wsrep_sync_wait: Option<u32> = None,
    }
}

oslo_config::section! {
    /// Numbers for Prometheus, at `/metrics`.
    pub struct MetricsConf in "metrics" {
        /// The address to listen on; whoever reaches it can read.
        pub bind_host: String = "127.0.0.1".to_string(),
        /// The port; without it there is no listener. 0 takes a free one. Each process on a host needs its own.
        pub port: Option<u16> = None,
    }
}

oslo_config::section! {
    /// RabbitMQ, if `[DEFAULT] transport_url` names one.
    pub struct RabbitConf in "oslo_messaging_rabbit" {
        /// Authorities (PEM) that `rabbits://` trusts besides the machine's own.
        pub ssl_ca_file: Option<PathBuf> = None,
        /// Certificate chain (PEM) that is shown to the broker.
        pub ssl_cert_file: Option<PathBuf> = None,
        /// Its private key (PEM).
        pub ssl_key_file: Option<PathBuf> = None,
        /// Topics survive a restart of the broker. All processes that share a broker must agree.
        pub amqp_durable_queues: bool = false,
        /// How long queues of answers and fan-outs outlive their process, in seconds.
        pub rabbit_transient_queues_ttl: u64 = 1800,
        /// Topics are quorum queues, which every broker of a cluster keeps. All processes that share a broker must agree.
        pub rabbit_quorum_queue: bool = false,
        /// Queues of answers and fan-outs are quorum queues, too.
        pub rabbit_transient_quorum_queue: bool = false,
        /// How often the broker gives one message of a quorum queue to servers that die with it; 0 leaves it to the broker.
        pub rabbit_quorum_delivery_limit: u32 = 0,
        /// How many messages of a quorum queue are kept in memory; 0: all.
        pub rabbit_quorum_max_memory_length: u32 = 0,
        /// How many bytes of them; 0: all.
        pub rabbit_quorum_max_memory_bytes: u32 = 0,
        /// After so many servers died with a message in hand it is a dead letter, on queues of every kind; 0: never. Not
        /// upstream's; `ferrostack dead-letters` shows what became of it.
        pub delivery_limit: u32 = 20,
        /// A broker that says nothing for so many seconds is gone; 0: never.
        pub heartbeat_timeout_threshold: u64 = 60,
    }
}

oslo_config::section! {
    /// Several hosts.
    pub struct ClusterConf in "cluster" {
        /// Addresses of all controllers, for `ferrostack haproxy` and `keepalived`.
        pub controllers: Vec<String> = vec![],
        /// What this host is, if the command line does not say: `controller`, `compute`, `network`, `storage`.
        pub roles: Vec<String> = vec![],
        /// Nodes of Galera (`address:3306`): HAProxy then listens on 127.0.0.1:3306 of each controller and leads to one of
        /// them, so that `[database] connection` names 127.0.0.1.
        pub databases: Vec<String> = vec![],
        /// Certificate chain and private key (PEM, in one file) with which HAProxy speaks TLS to clients.
        pub tls_certificate: Option<PathBuf> = None,
        /// Where HAProxy tells keepalived that it lives, on loopback.
        pub haproxy_check_port: u16 = 8771,
        /// Where a controller listens for hosts that join, on `[api] bind_host`, once there is a broker.
        pub join_port: u16 = 8770,
    }
}

/// All sections.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `[DEFAULT]`
    pub default: DefaultConf,
    /// `[api]`
    pub api: ApiConf,
    /// `[database]`
    pub database: DatabaseConf,
    /// `[oslo_messaging_rabbit]`
    pub rabbit: RabbitConf,
    /// `[metrics]`
    pub metrics: MetricsConf,
    /// `[cache]`
    pub cache: oslo_cache::CacheConf,
    /// `[cluster]`
    pub cluster: ClusterConf,
    /// keystone's sections
    pub keystone: keystone::config::Conf,
    /// `[glance]`
    pub glance: glance::Conf,
    /// `[placement]`
    pub placement: placement::Conf,
    /// `[neutron]`
    pub neutron: neutron::Conf,
    /// `[nova]`
    pub nova: nova::config::Conf,
    /// `[cinder]`
    pub cinder: cinder::Conf,
    /// `[nova_compute]`
    pub compute: nova_compute::ComputeConf,
    /// `[neutron_agents]`
    pub agents: neutron_agents::NeutronAgentsConf,
    /// `[cinder_volume]`
    pub volume: cinder_volume::Conf,
    /// `[cinder_backup]`
    pub backup: cinder_volume::BackupConf,
}

impl Settings {
    /// Reads the file (none: all defaults) and the environment; unknown sections and options are errors.
    pub fn load(path: Option<&Path>) -> Result<Settings> {
        Settings::from_config(&Config::load(path, oslo_config::environment())?)
    }

    /// Reads text, for tests.
    pub fn parse(text: &str) -> Result<Settings> {
        Settings::from_config(&Config::parse(text, Vec::new())?)
    }

    fn from_config(config: &Config) -> Result<Settings> {
        let settings = Settings {
            default: config.section()?,
            api: config.section()?,
            database: config.section()?,
            rabbit: config.section()?,
            metrics: config.section()?,
            cache: config.section()?,
            cluster: config.section()?,
            keystone: keystone::config::Conf::take(config)?,
            glance: config.section()?,
            placement: config.section()?,
            neutron: config.section()?,
            nova: config.section()?,
            cinder: config.section()?,
            compute: config.section()?,
            agents: config.section()?,
            volume: config.section()?,
            backup: config.section()?,
        };
        config.finish()?;
        Ok(settings)
    }

    /// How databases are used.
    pub fn database_options(&self) -> oslo_db::Options {
        let database = &self.database;
        oslo_db::Options {
            pool_size: database.max_pool_size.saturating_add(database.max_overflow),
            pool_timeout: Duration::from_secs(database.pool_timeout),
            max_lifetime: Duration::from_secs(database.connection_recycle_time),
            wsrep_sync_wait: database.mysql_wsrep_sync_wait,
            ..oslo_db::Options::default()
        }
    }

    /// `http` or `https`: how clients reach the APIs.
    pub fn public_scheme(&self) -> &str {
        let tls = self.api.tls_key.is_some() || self.cluster.tls_certificate.is_some();
        match (self.api.public_scheme.as_str(), tls) {
            ("", true) => "https",
            ("", false) => "http",
            (said, _) => said,
        }
    }

    /// Who signs for the cloud's own APIs, besides the machine's authorities: without `cafile` the APIs' certificate
    /// itself, if it is here: it may have signed itself.
    pub fn authorities(&self) -> Option<&Path> {
        let api = &self.api;
        api.cafile.as_deref().or(api.tls_certificate.as_deref())
    }

    /// How long the APIs go on when load balancers were told that they end.
    pub fn drain_seconds(&self) -> u64 {
        let balanced = !self.cluster.controllers.is_empty();
        self.api.drain.unwrap_or(if balanced { 2 } else { 0 })
    }

    /// Every option of every section, for the generated reference.
    pub fn options() -> Vec<OptionDoc> {
        let mut all = DefaultConf::options();
        all.extend(ApiConf::options());
        all.extend(DatabaseConf::options());
        all.extend(RabbitConf::options());
        all.extend(MetricsConf::options());
        all.extend(oslo_cache::CacheConf::options());
        all.extend(ClusterConf::options());
        all.extend(keystone::config::Conf::options());
        all.extend(glance::Conf::options());
        all.extend(placement::Conf::options());
        all.extend(neutron::Conf::options());
        all.extend(nova::config::Conf::options());
        all.extend(cinder::Conf::options());
        all.extend(nova_compute::ComputeConf::options());
        all.extend(neutron_agents::NeutronAgentsConf::options());
        all.extend(cinder_volume::Conf::options());
        all.extend(cinder_volume::BackupConf::options());
        all
    }

    /// Whether the cloud lives in this one process: there is no broker by which others could be part of it.
    pub fn embedded(&self) -> bool {
        self.default.transport_url.expose().is_empty()
    }

    /// Fills in what follows from other options: paths below the state directory, host names, fake drivers.
    pub fn derive(mut self) -> Result<Settings> {
        let state = self.default.state_path.clone();
        let defaults = Settings::default();
        if self.default.host.is_empty() {
            self.default.host = hostname();
        }
        let host = self.default.host.clone();
        let below = |path: &mut PathBuf, default: &PathBuf, name: &str| {
            if path == default {
                *path = state.join(name);
            }
        };
        below(
            &mut self.glance.filesystem_store_datadir,
            &defaults.glance.filesystem_store_datadir,
            "images",
        );
        below(
            &mut self.compute.instances_path,
            &defaults.compute.instances_path,
            "instances",
        );
        below(
            &mut self.compute.libvirt_path,
            &defaults.compute.libvirt_path,
            "libvirt",
        );
        below(
            &mut self.agents.state_path,
            &defaults.agents.state_path,
            "neutron",
        );
        below(
            &mut self.backup.backup_posix_path,
            &defaults.backup.backup_posix_path,
            "backups",
        );
        below(
            &mut self.volume.volumes_dir,
            &defaults.volume.volumes_dir,
            "volumes",
        );
        for (file, service) in [
            (&mut self.glance.policy_file, "glance"),
            (&mut self.placement.policy_file, "placement"),
            (&mut self.cinder.policy_file, "cinder"),
        ] {
            file.get_or_insert_with(|| state.join("policy").join(format!("{service}.yaml")));
        }
        for name in [
            &mut self.compute.host,
            &mut self.agents.host,
            &mut self.volume.host,
        ] {
            if name.is_empty() || name == "localhost" {
                *name = host.clone();
            }
        }
        self.cinder.host = host;
        let scheme = self.public_scheme().to_string();
        if !["http", "https"].contains(&scheme.as_str()) {
            let words = format!("[api] public_scheme is http or https, not '{scheme}'.");
            return Err(Error::bad_request(words));
        }
        let (host, port) = (&self.api.public_host, self.api.novnc_port);
        let console = &mut self.nova.novncproxy_base_url;
        if !host.is_empty() && port != 0 && *console == defaults.nova.novncproxy_base_url {
            *console = format!("{scheme}://{host}:{port}/vnc_lite.html");
        }
        // With a real way out, the bridge is not the end of it: the host needs no address there.
        if self.agents.external_bridge_cidr.is_empty() && self.agents.external_interface.is_empty()
        {
            self.agents.external_bridge_cidr = vec!["172.24.4.1/24".into()];
        }
        if self.agents.tag == defaults.agents.tag {
            self.agents.tag = base::id::named_id(&state.to_string_lossy())[..8].to_string();
        }
        if self.default.fake {
            self.compute.compute_driver = "fake.FakeDriver".into();
            self.agents.l2_driver = "fake".into();
            self.volume.driver = cinder_volume::DriverKind::Fake;
        }
        Ok(self)
    }
}

/// The machine's name.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_string();
    if name.is_empty() {
        "localhost".into()
    } else {
        name
    }
}
