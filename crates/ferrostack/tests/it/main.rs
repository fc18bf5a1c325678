//! What the binary promises: its configuration, and what its commands tell.

mod numbers;
mod operator;

use ferrostack::config::Settings;
use std::path::Path;

#[test]
fn an_empty_file_is_a_working_cloud() {
    let settings = Settings::parse("").unwrap().derive().unwrap();
    assert_eq!(settings.api.identity_port, 5000);
    assert_eq!(settings.api.bind_host, "127.0.0.1");
    assert!(
        settings
            .compute
            .instances_path
            .starts_with(&settings.default.state_path)
    );
    assert!(!settings.compute.host.is_empty());
}

#[test]
fn unknown_names_are_errors_that_help() {
    let error = Settings::parse("[nova]\ncpu_alocation_ratio = 2.0\n").unwrap_err();
    assert!(
        error.to_string().contains("cpu_allocation_ratio"),
        "{error}"
    );
    assert!(Settings::parse("[novva]\nx = 1\n").is_err());
    assert!(Settings::parse("[nova]\nmax_attempts = \"many\"\n").is_err());
}

#[test]
fn fake_means_fake_everywhere() {
    let settings = Settings::parse("[DEFAULT]\nfake = true\n")
        .unwrap()
        .derive()
        .unwrap();
    assert_eq!(settings.compute.compute_driver, "fake.FakeDriver");
    assert_eq!(settings.agents.l2_driver, "fake");
    assert_eq!(settings.volume.driver, cinder_volume::DriverKind::Fake);
}

#[test]
fn the_reference_is_fresh() {
    let scratch = std::env::temp_dir().join(format!("ferrostack-reference-{}", std::process::id()));
    ferrostack::docs::config(&scratch).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for name in ["config.md", "cloud.example.toml"] {
        let fresh = std::fs::read_to_string(scratch.join(name)).unwrap();
        let old = std::fs::read_to_string(kept.join(name)).unwrap_or_default();
        assert!(
            fresh == old,
            "docs/reference/{name} is stale: run `cargo run -p ferrostack -- docs docs/reference`"
        );
    }
    let _ = std::fs::remove_dir_all(&scratch);
}

#[test]
fn the_example_is_a_working_configuration() {
    let text = include_str!("../../../../docs/reference/cloud.example.toml");
    Settings::parse(text).unwrap();
}
