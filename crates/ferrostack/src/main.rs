//! The binary: one command starts a cloud, the others look at it, explain it and take it away.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use ferrostack::boot::{self, Cloud};
use ferrostack::config::Settings;
use ferrostack::parts::{Parts, Role};
use ferrostack::{
    dead_letters, docs, doctor, explain, haproxy, join, logging, private, schema, status, trace,
};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// OpenStack in one binary: a whole cloud on one machine, or its parts on many.
///
/// Start one with `ferrostack run`, log in with the files it writes into the state directory:
///
///     export OS_CLIENT_CONFIG_FILE=STATE/clouds.yaml
///     openstack --os-cloud ferrostack server list
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the cloud and stays in the foreground until Ctrl-C or SIGTERM; guests go on running.
    Run {
        /// Everything the cloud owns lies here.
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        /// TOML; an empty or missing file gives a working cloud. See docs/reference/config.md.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Fake hypervisor, networks and volumes; needs no root.
        #[arg(long)]
        fake: bool,
        /// What this host is: controller, compute, network, storage; several with commas. Without it, all of them.
        #[arg(long, value_delimiter = ',')]
        role: Vec<String>,
        /// One service in a process of its own, by upstream's name (nova-conductor, …); several with commas.
        #[arg(long, value_delimiter = ',')]
        service: Vec<String>,
    },
    /// Shows every service and agent, up or down, and why.
    Status {
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
    },
    /// Shows what this host lacks for real guests, and what to do about it.
    Doctor,
    /// Stops the cloud and removes every guest, namespace, bridge, tap and process it made; the state stays.
    Down {
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Like `down`, and removes the state: images, volumes, databases, everything.
    Reset {
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        #[arg(long)]
        config: Option<PathBuf>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Explains a decision of the cloud.
    Explain {
        #[command(subcommand)]
        what: Explain,
    },
    /// Prints the whole path of a request, from the API to the programs on the host, with times.
    Trace {
        /// `req-…`, from a reply's x-openstack-request-id header or `openstack --debug`.
        request_id: String,
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        /// Folders with logs of other hosts; several with commas.
        #[arg(long, value_delimiter = ',')]
        logs: Vec<PathBuf>,
    },
    /// Lets other hosts join the cloud.
    Token {
        #[command(subcommand)]
        what: Token,
    },
    /// Makes this host a part of a cloud, with the ticket that `ferrostack token create` printed on a controller.
    Join {
        /// `fsj1.…`; good once.
        ticket: String,
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        /// Its name in the cloud; otherwise the machine's.
        #[arg(long)]
        host: Option<String>,
        /// Its address on the management network; otherwise the one that reaches the controller.
        #[arg(long)]
        management_ip: Option<IpAddr>,
        /// Its address on the data network, for tunnels between guests; otherwise the management address.
        #[arg(long)]
        data_ip: Option<IpAddr>,
        /// Of a network host: its interface on the external network.
        #[arg(long)]
        external_interface: Option<String>,
    },
    /// Makes the staged token key primary and stages a new one, as `keystone-manage fernet_rotate`, for all controllers;
    /// run it on one, running or not, once in a token's lifetime at most. Nobody is logged out.
    FernetRotate {
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// The services' databases.
    Db {
        #[command(subcommand)]
        what: DbCommand,
    },
    /// Shows the messages that no server gets any more, because they cannot be read, or because servers panicked or died with
    /// them; fails if there are any.
    DeadLetters {
        /// The controller's configuration, which names the broker.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Send them to the queues that they were taken from.
        #[arg(long, conflicts_with = "purge")]
        requeue: bool,
        /// With --requeue: those of this queue only.
        #[arg(long, requires = "requeue")]
        queue: Option<String>,
        /// Throw all of them away.
        #[arg(long)]
        purge: bool,
    },
    /// Prints HAProxy's configuration for the controllers of `[cluster]`.
    Haproxy {
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Prints keepalived's configuration, which moves `[api] public_host` to another controller when one dies.
    Keepalived {
        #[arg(long)]
        config: Option<PathBuf>,
        /// Which of `[cluster] controllers` this host is, from 1.
        #[arg(long)]
        controller: usize,
        /// The interface of that address.
        #[arg(long)]
        interface: String,
    },
    /// Writes the reference pages (configuration, routes) into a directory.
    Docs { dir: PathBuf },
}

#[derive(Subcommand)]
enum Explain {
    /// Every host with the filter that refused it, or the weights it got.
    Server {
        /// The server's id.
        id: String,
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        /// The cloud's configuration, if its database is not below the state directory.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum DbCommand {
    /// Creates the databases that are missing and brings their tables up to date; services do the same when they start.
    Sync {
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Prints the newest migration of each database and what is missing; fails if anything is.
    Version {
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum Token {
    /// Prints a command for a new host; it is good once, and for an hour.
    Create {
        /// What the host will be: controller, compute, network, storage; several with commas.
        #[arg(long, required = true, value_delimiter = ',')]
        role: Vec<String>,
        /// How many minutes the ticket is good.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Print the ticket only.
        #[arg(long)]
        quiet: bool,
        #[arg(long, env = "FERROSTACK_STATE", default_value = "/var/lib/ferrostack")]
        state: PathBuf,
        /// The controller's configuration.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("ferrostack: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli.command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("ferrostack: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> Result<bool> {
    match command {
        Command::Run {
            state,
            config,
            fake,
            role,
            service,
        } => {
            let mut role = role;
            if role.is_empty() && service.is_empty() {
                role = Settings::load(config.as_deref())
                    .map_err(words)?
                    .cluster
                    .roles;
            }
            let parts = Parts::parse(&role, &service).map_err(words)?;
            let name = match service.is_empty() {
                true => status::WHOLE.to_string(),
                false => service.join("+"),
            };
            run(&state, config.as_deref(), fake, parts, &name)
                .await
                .map(|()| true)
        }
        Command::Token {
            what:
                Token::Create {
                    role,
                    minutes,
                    quiet,
                    state,
                    config,
                },
        } => {
            let settings = settings(&state, config.as_deref())?;
            let settings = settings.derive().map_err(words)?;
            let roles = Role::parse_all(&role).map_err(words)?;
            let lasts = Duration::from_secs(60 * minutes);
            let ticket = join::ticket(&settings, roles, lasts).map_err(words)?;
            match quiet {
                true => println!("{ticket}"),
                false => println!("ferrostack join {ticket}"),
            }
            Ok(true)
        }
        Command::Join {
            ticket,
            state,
            host,
            management_ip,
            data_ip,
            external_interface,
        } => {
            let wish = join::Wish {
                host: host.unwrap_or_else(ferrostack::config::hostname),
                management_ip,
                data_ip,
                external_interface,
            };
            let (roles, config) = join::join(&state, &ticket, wish).await.map_err(words)?;
            let roles: Vec<&str> = roles.iter().map(|r| r.as_str()).collect();
            println!("joined as {}; start it with\n", roles.join(", "));
            let (state, config) = (state.display(), config.display());
            println!("    ferrostack run --state {state} --config {config}");
            Ok(true)
        }
        Command::FernetRotate { state, config } => {
            let settings = settings(&state, config.as_deref())?;
            boot::rotate_keys(settings).await.map_err(words)?;
            Ok(true)
        }
        Command::Db {
            what: DbCommand::Sync { state, config },
        } => {
            let settings = settings(&state, config.as_deref())?;
            for (service, applied) in schema::sync(settings).await.map_err(words)? {
                match applied.is_empty() {
                    true => println!("{service}: up to date"),
                    false => println!("{service}: applied {}", applied.join(", ")),
                }
            }
            Ok(true)
        }
        Command::Db {
            what: DbCommand::Version { state, config },
        } => {
            let settings = settings(&state, config.as_deref())?;
            let versions = schema::versions(settings).await.map_err(words)?;
            for version in &versions {
                let newest = version.newest.as_deref().unwrap_or("no tables");
                match version.pending.is_empty() {
                    true => println!("{}: {newest}", version.service),
                    false => {
                        let missing = version.pending.join(", ");
                        println!("{}: {newest}; missing: {missing}", version.service);
                    }
                }
            }
            Ok(versions.iter().all(|v| v.pending.is_empty()))
        }
        Command::DeadLetters {
            config,
            requeue,
            queue,
            purge,
        } => {
            let settings = Settings::load(config.as_deref()).map_err(words)?;
            let letters = dead_letters::open(&settings).await.map_err(words)?;
            let done = match (requeue, purge) {
                (true, _) => dead_letters::requeue(&letters, queue.as_deref()).await,
                (_, true) => dead_letters::purge(&letters).await,
                _ => dead_letters::show(&letters).await,
            };
            done.map_err(words)
        }
        Command::Haproxy { config } => {
            let settings = Settings::load(config.as_deref()).map_err(words)?;
            print!("{}", haproxy::haproxy(&settings).map_err(words)?);
            Ok(true)
        }
        Command::Keepalived {
            config,
            controller,
            interface,
        } => {
            let settings = Settings::load(config.as_deref()).map_err(words)?;
            let of = controller.saturating_sub(1);
            let text = haproxy::keepalived(&settings, of, &interface).map_err(words)?;
            print!("{text}");
            Ok(true)
        }
        Command::Status { state } => status::run(&state).await,
        Command::Doctor => doctor::run().await.map_err(words),
        Command::Down { state, config } => down(&state, config.as_deref()).await.map(|()| true),
        Command::Reset { state, config, yes } => {
            reset(&state, config.as_deref(), yes).await.map(|()| true)
        }
        Command::Explain {
            what: Explain::Server { id, state, config },
        } => {
            let settings = settings(&state, config.as_deref())?;
            explain::server(&settings, &id).await.map(|()| true)
        }
        Command::Trace {
            request_id,
            state,
            logs,
        } => trace::run(&state, &logs, &request_id).map(|()| true),
        Command::Docs { dir } => write_docs(&dir).await.map(|()| true),
    }
}

fn words(e: base::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "{}",
        if e.kind() == base::Kind::Internal {
            e.log_message()
        } else {
            e.message()
        }
    )
}

fn settings(state: &Path, config: Option<&Path>) -> Result<Settings> {
    let mut settings = Settings::load(config).map_err(words)?;
    // Absolute, because libvirt and QEMU are told paths and live elsewhere.
    settings.default.state_path = std::path::absolute(state)?;
    Ok(settings)
}

async fn run(
    state: &Path,
    config: Option<&Path>,
    fake: bool,
    parts: Parts,
    name: &str,
) -> Result<()> {
    let mut settings = settings(state, config)?;
    settings.default.fake |= fake;
    anyhow::ensure!(
        settings.default.fake || doctor::root(),
        "real guests and networks need root; run as root, or start with --fake"
    );
    if let Ok(other) = status::running(state, name) {
        anyhow::bail!(
            "a cloud already runs on {} (process {}); stop it, or choose another --state",
            state.display(),
            other.pid
        );
    }
    let (path, filter) = (&settings.default.state_path, &settings.default.log_filter);
    logging::start(path, name, filter).map_err(words)?;
    let cloud = boot::start_parts(settings, parts).await.map_err(words)?;
    cloud.let_hosts_join(config).map_err(words)?;
    write_files(&cloud, name)?;
    let ready =
        serde_json::json!({"ready": true, "urls": cloud.urls, "metrics": cloud.metrics_url});
    println!("{ready}");
    std::io::stdout().flush()?;
    wait_for_signal().await?;
    tracing::info!("stopping");
    let state = cloud.settings.default.state_path.clone();
    cloud.stop().await;
    let _ = std::fs::remove_file(status::file(&state, name));
    let _ = std::fs::remove_file(state.join(format!("{name}.pid")));
    Ok(())
}

async fn wait_for_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => {}
        r = tokio::signal::ctrl_c() => r?,
    }
    Ok(())
}

/// What people and other commands need to reach the cloud.
fn write_files(cloud: &Cloud, name: &str) -> Result<()> {
    let state = &cloud.settings.default.state_path;
    if cloud.keystone.is_some() {
        write_credentials(cloud, state)?;
    }
    let pid = std::process::id();
    let urls = cloud
        .urls
        .iter()
        .map(|(k, v)| (k.to_string(), v.clone()))
        .collect();
    let cafile = cloud.settings.authorities().map(Path::to_path_buf);
    let running = status::Running { pid, urls, cafile };
    private::write(
        &status::file(state, name),
        &serde_json::to_string(&running)?,
    )?;
    private::write(&state.join(format!("{name}.pid")), &format!("{pid}\n"))?;
    Ok(())
}

/// `openrc` and `clouds.yaml`.
fn write_credentials(cloud: &Cloud, state: &Path) -> Result<()> {
    let admin = cloud.openrc("admin", "admin", &cloud.secrets.admin_password);
    let mut openrc = String::new();
    for (name, value) in &admin {
        let _ = writeln!(openrc, "export {name}='{value}'");
    }
    private::write(&state.join("openrc"), &openrc)?;
    let region = &cloud.settings.default.region;
    let cacert = match &cloud.settings.api.cafile {
        Some(file) => format!("    cacert: {}\n", file.display()),
        None => String::new(),
    };
    let entry = |name: &str, user: &str, project: &str, password: &base::Secret| {
        format!(
            "  {name}:\n    auth:\n      auth_url: {}/v3\n      username: {user}\n      password: {}\n      project_name: {project}\n      user_domain_name: Default\n      project_domain_name: Default\n    region_name: {region}\n    identity_api_version: 3\n{cacert}",
            cloud.urls["identity"],
            password.expose(),
        )
    };
    let clouds = format!(
        "clouds:\n{}{}",
        entry(
            "ferrostack",
            "admin",
            "admin",
            &cloud.secrets.admin_password
        ),
        entry(
            "ferrostack-demo",
            "demo",
            "demo",
            &cloud.secrets.demo_password
        ),
    );
    private::write(&state.join("clouds.yaml"), &clouds)?;
    Ok(())
}

async fn down(state: &Path, config: Option<&Path>) -> Result<()> {
    if let Ok(cloud) = status::running(state, status::WHOLE) {
        println!("stopping process {}", cloud.pid);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(cloud.pid)?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let gone = tokio::time::timeout(Duration::from_secs(30), async {
            while status::alive(cloud.pid) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        gone.await.with_context(|| {
            format!(
                "process {} does not end; look at {}",
                cloud.pid,
                state.join("logs/ferrostack.log").display()
            )
        })?;
    }
    if !state.exists() {
        return Ok(());
    }
    let settings = settings(state, config)?.derive().map_err(words)?;
    if doctor::root() {
        println!("removing guests");
        nova_compute::teardown(&settings.compute)
            .await
            .map_err(words)?;
        cinder_volume::teardown(&settings.volume)
            .await
            .map_err(words)?;
        println!("removing networks");
        neutron_agents::teardown(&settings.agents)
            .await
            .map_err(words)?;
    }
    println!("down; the state stays in {}", state.display());
    Ok(())
}

async fn reset(state: &Path, config: Option<&Path>, yes: bool) -> Result<()> {
    anyhow::ensure!(
        yes,
        "this removes every image, volume and database below {}; say --yes if you mean it",
        state.display()
    );
    anyhow::ensure!(
        !state.exists() || state.join("secrets.json").exists(),
        "{} is not the state of a cloud",
        state.display()
    );
    down(state, config).await?;
    if state.exists() {
        std::fs::remove_dir_all(state).with_context(|| state.display().to_string())?;
    }
    println!("nothing is left of {}", state.display());
    Ok(())
}

async fn write_docs(dir: &Path) -> Result<()> {
    docs::config(dir)?;
    let scratch = std::env::temp_dir().join(format!("ferrostack-docs-{}", std::process::id()));
    let text = "[DEFAULT]\nfake = true\n[api]\nidentity_port = 0\nimage_port = 0\nplacement_port = 0\nnetwork_port = 0\ncompute_port = 0\nmetadata_port = 0\nvolume_port = 0\nnovnc_port = 0\n";
    let mut settings = Settings::parse(text).map_err(words)?;
    settings.default.state_path = scratch.clone();
    let cloud = boot::start(settings).await.map_err(words)?;
    let page = docs::routes(&cloud.endpoints);
    let unexplained = docs::unexplained(&cloud.endpoints);
    cloud.stop().await;
    let _ = std::fs::remove_dir_all(&scratch);
    anyhow::ensure!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    std::fs::write(dir.join("routes.md"), page)?;
    println!("wrote {}", dir.display());
    Ok(())
}
