//! Reading, refusing and documenting options, through the public interface.

use base::Secret;
use oslo_config::{Config, OptionValue, Section, example_toml, reference};
use std::collections::BTreeMap;
use std::path::PathBuf;

base::str_enum! {
    /// Where tokens come from.
    pub enum Provider { Fernet = "fernet", Jws = "jws" }
}
oslo_config::choice!(Provider);

oslo_config::section! {
    /// How nova fills hosts.
    pub struct NovaConf in "nova" {
        /// How many virtual CPUs
        /// one core carries.
        pub cpu_allocation_ratio: f64 = 4.0,
        /// Hosts to leave alone.
        pub ignored_hosts: Vec<String> = vec![],
        pub workers: u16 = 2,
        pub debug: bool = false,
        pub state_path: PathBuf = "state".into(),
        pub my_ip: Option<String> = None,
        pub limit: Option<i64> = Some(-1),
        /// To sign | proxies' headers.
        pub metadata_proxy_shared_secret: Secret = Secret::default(),
        pub provider: Provider = Provider::Fernet,
        pub bridge_mappings: BTreeMap<String, String> = BTreeMap::new(),
    }
}

oslo_config::section! {
    /// Another crate's part of the same table.
    struct ComputeConf in "nova" {
        /// Name of this host.
        pub host: String = "localhost".to_string(),
    }
}

oslo_config::section! {
    /// One backend.
    struct BackendConf in "cinder.backends.NAME" {
        /// Its volume group.
        pub volume_group: String = "cinder-volumes".to_string(),
        pub san_password: Secret = "hidden-default".into(),
    }
}

oslo_config::section! {
    struct CinderConf in "cinder" {
        /// By name.
        pub backends: BTreeMap<String, BackendConf> = BTreeMap::new(),
    }
}

oslo_config::section! {
    struct Nothing in "oslo_policy" {}
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_string(), (*value).to_string()))
        .collect()
}

fn refusal(text: &str, pairs: &[(&str, &str)]) -> String {
    let config = match Config::parse(text, env(pairs)) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    let sections = config
        .section::<NovaConf>()
        .map(drop)
        .and_then(|()| config.section::<ComputeConf>().map(drop))
        .and_then(|()| config.section::<CinderConf>().map(drop));
    sections
        .and_then(|()| config.finish())
        .expect_err("it is wrong")
        .to_string()
}

#[test]
fn an_empty_file_means_defaults() {
    let config = Config::empty();
    let nova: NovaConf = config.section().unwrap();
    assert_eq!(
        (nova.cpu_allocation_ratio, nova.workers, nova.limit),
        (4.0, 2, Some(-1))
    );
    assert_eq!((nova.provider, nova.my_ip), (Provider::Fernet, None));
    let _: Nothing = config.section().unwrap();
    config.finish().unwrap();
}

#[test]
fn the_file_is_read() {
    let text = r#"
        [nova]
        cpu_allocation_ratio = 16
        ignored_hosts = ["a", "b"]
        workers = 8
        debug = true
        state_path = "/var/lib/nova"
        my_ip = "10.0.0.1"
        metadata_proxy_shared_secret = "s3cr3t"
        provider = "jws"
        bridge_mappings = { physnet = "br-ex" }
        host = "h1"

        [cinder.backends.fast]
        volume_group = "nvme"
        [cinder.backends.slow]
    "#;
    let config = Config::parse(text, env(&[])).unwrap();
    let nova: NovaConf = config.section().unwrap();
    assert_eq!(
        (nova.cpu_allocation_ratio, nova.workers, nova.debug),
        (16.0, 8, true)
    );
    assert_eq!(nova.ignored_hosts, ["a", "b"]);
    assert_eq!(nova.state_path, PathBuf::from("/var/lib/nova"));
    assert_eq!(nova.my_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(nova.metadata_proxy_shared_secret.expose(), "s3cr3t");
    assert!(!format!("{nova:?}").contains("s3cr3t"));
    assert_eq!(nova.provider, Provider::Jws);
    assert_eq!(nova.bridge_mappings["physnet"], "br-ex");
    assert_eq!(config.section::<ComputeConf>().unwrap().host, "h1");
    let cinder: CinderConf = config.section().unwrap();
    assert_eq!(cinder.backends["fast"].volume_group, "nvme");
    assert_eq!(cinder.backends["slow"].volume_group, "cinder-volumes");
    config.finish().unwrap();
}

#[test]
fn the_environment_goes_over_the_file() {
    let text = "[nova]\nworkers = 3\nmy_ip = '10.0.0.1'\nhost = 'h1'\n";
    let pairs = [
        ("FERROSTACK_NOVA__WORKERS", "5"),
        ("FERROSTACK_NOVA__IGNORED_HOSTS", "a, b,"),
        ("FERROSTACK_NOVA__MY_IP", ""),
        ("FERROSTACK_NOVA__DEBUG", "yes"),
        ("FERROSTACK_NOVA__METADATA_PROXY_SHARED_SECRET", "from-env"),
        ("FERROSTACK_NOVA__BRIDGE_MAPPINGS", "p1:br1, p2:br2"),
        (
            "FERROSTACK_CINDER__BACKENDS",
            "lvm = { volume_group = 'vg' }",
        ),
        ("FERROSTACK_CONFIG", "not an option"),
        ("PATH", "/bin"),
    ];
    let config = Config::parse(text, env(&pairs)).unwrap();
    let nova: NovaConf = config.section().unwrap();
    assert_eq!((nova.workers, nova.my_ip, nova.debug), (5, None, true));
    assert_eq!(nova.ignored_hosts, ["a", "b"]);
    assert_eq!(nova.metadata_proxy_shared_secret.expose(), "from-env");
    assert_eq!(nova.bridge_mappings.len(), 2);
    assert_eq!(config.section::<ComputeConf>().unwrap().host, "h1");
    assert_eq!(
        config.section::<CinderConf>().unwrap().backends["lvm"].volume_group,
        "vg"
    );
    config.finish().unwrap();
}

#[test]
fn mistakes_are_named() {
    let cases: &[(&str, &[(&str, &str)], &str)] = &[
        (
            "[nova]\nworker = 1",
            &[],
            "[nova] worker: there is no such option; did you mean `workers`?",
        ),
        (
            "[nova]\ncolour = 1",
            &[],
            "[nova] colour: there is no such option",
        ),
        (
            "[nowa]\nworkers = 1",
            &[],
            "[nowa]: there is no such table; did you mean `nova`?",
        ),
        (
            "workers = 1",
            &[],
            "workers is an option outside of any table",
        ),
        ("nova = 1", &[], "nova is an option outside of any table"),
        (
            "[nova]\nworkers = 'x'",
            &[],
            "[nova] workers: expected an integer, found a string",
        ),
        (
            "[nova]\nworkers = 65536",
            &[],
            "[nova] workers: expected an integer between 0 and 65535",
        ),
        (
            "[nova]\nhost = 1",
            &[],
            "[nova] host: expected a string, found an integer",
        ),
        (
            "[nova]\nprovider = 'x'",
            &[],
            "[nova] provider: expected one of fernet, jws",
        ),
        (
            "[cinder.backends.a]\nvolume_grup = ''",
            &[],
            "[a] volume_grup: there is no such option; did you mean",
        ),
        ("[nova", &[], "line 1: "),
        (
            "",
            &[("FERROSTACK_NOVA__WORKER", "1")],
            "FERROSTACK_NOVA__WORKER: there is no such option; did you",
        ),
        (
            "",
            &[("FERROSTACK_NOWA__WORKERS", "1")],
            "FERROSTACK_NOWA__WORKERS: there is no such table; did you",
        ),
        (
            "",
            &[("FERROSTACK_NOVA__WORKERS", "x")],
            "[nova] workers: expected an integer (from the environment)",
        ),
    ];
    for (text, pairs, expected) in cases {
        let message = refusal(text, pairs);
        assert!(message.contains(expected), "{text:?} {pairs:?}: {message}");
    }
    let both = refusal("[nova]\nworkers = 'x'\ndebug = 1", &[]);
    assert!(both.contains("workers") && both.contains("debug"), "{both}");
}

#[test]
fn messages_keep_secrets() {
    for text in [
        "[nova]\nmetadata_proxy_shared_secret = \"hunter2",
        "[nova]\nmetadata_proxy_shared_secret = [\"hunter2\"]",
        "[nova]\nmetadata_proxy_secret = \"hunter2\"",
    ] {
        assert!(!refusal(text, &[]).contains("hunter2"), "{text}");
    }
}

#[test]
fn options_of_absent_services_may_be_announced() {
    let config = Config::parse("[cinder]\n[nova]\nworkers = 1", env(&[])).unwrap();
    assert!(config.finish().is_err());
    config.know(&NovaConf::options());
    config.know(&CinderConf::options());
    config.finish().unwrap();
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(&PathBuf::from("absent/cloud.toml")), env(&[])).unwrap_err();
    assert!(error.to_string().contains("absent/cloud.toml"));
}

#[test]
fn the_reference_documents_every_option() {
    let mut options = NovaConf::options();
    options.extend(CinderConf::options());
    options.extend(ComputeConf::options());
    let page = reference(&options);
    for line in [
        "## [nova]",
        "| `cpu_allocation_ratio` | float | `4.0` | How many virtual CPUs one core carries. |",
        "| `metadata_proxy_shared_secret` | secret | (secret) | To sign \\| proxies' headers. |",
        "| `my_ip` | string | (not set) |  |",
        "| `provider` | one of fernet, jws | `\"fernet\"` |  |",
        "## [cinder.backends.NAME]",
        "| `volume_group` | string | `\"cinder-volumes\"` | Its volume group. |",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert_eq!(
        page.matches("## [nova]").count(),
        1,
        "two crates, one table"
    );
    assert!(!page.contains("hidden-default"));
    assert!(!example_toml(&options).contains("hidden-default"));
    assert!(example_toml(&options).contains("\n#[cinder.backends.NAME]\n"));
}

#[test]
fn the_example_is_the_defaults() {
    let example = example_toml(&NovaConf::options());
    let set: String = example
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.contains("=  #"))
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    let config = Config::parse(&set, env(&[])).unwrap();
    let nova: NovaConf = config.section().unwrap();
    config.finish().unwrap();
    assert_eq!(format!("{nova:?}"), format!("{:?}", NovaConf::default()));
    assert_eq!(nova.cpu_allocation_ratio.show().as_deref(), Some("4.0"));
}
