//! A cloud's configuration as its file has it: the same text whether one process reads it or six.

use ferrostack::config::Settings;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Options by table.
#[derive(Clone, Default)]
pub struct Conf(BTreeMap<&'static str, BTreeMap<&'static str, Value>>);

impl Conf {
    /// Everything fake that touches a host, sizes and delays for tests.
    pub fn of_tests() -> Conf {
        Conf::default()
            .set("DEFAULT", "fake", true)
            .set("identity", "password_hash_rounds", 4)
            .set("nova", "shutdown_timeout", 0)
            .set("nova_compute", "fake_delay_ms", 2)
            .set("nova_compute", "report_interval", 1)
            .set("nova_compute", "power_poll_interval", 1)
            .set("cinder_volume", "fake_delay_ms", 2)
            .set("cinder_volume", "report_interval", 1)
            .set("neutron_agents", "report_interval", 1)
    }

    pub fn set(
        mut self,
        table: &'static str,
        option: &'static str,
        value: impl Into<Value>,
    ) -> Conf {
        self.0
            .entry(table)
            .or_default()
            .insert(option, value.into());
        self
    }

    /// The file. Texts, numbers, flags and lists of them are the same in JSON and in TOML.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (table, options) in &self.0 {
            let _ = writeln!(text, "[{table}]");
            for (option, value) in options {
                let _ = writeln!(text, "{option} = {value}");
            }
        }
        text
    }

    /// As the binary reads it, for a cloud in this process.
    pub fn settings(&self, state: &Path) -> Settings {
        let mut settings = Settings::parse(&self.text()).expect("a configuration");
        settings.default.state_path = state.to_path_buf();
        settings
    }
}
