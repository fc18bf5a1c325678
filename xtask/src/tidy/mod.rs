//! The floor plan as code: ranks, seams and habits. Each message says where, what, and what to do instead.

mod conformance;
mod habits;
mod ranks;
mod seams;

use crate::source::{self, Line};
use crate::tree::{self, File};
use anyhow::Result;
use std::fmt;
use std::path::Path;

/// Something to mend.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            path: path.to_string(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A Rust file, taken apart.
pub(crate) struct Rust<'f> {
    pub(crate) file: &'f File,
    pub(crate) lines: Vec<Line>,
}

impl Rust<'_> {
    /// Lines of code that is not test code, numbered from 1.
    pub(crate) fn product(&self) -> impl Iterator<Item = (usize, &Line)> {
        let test = tree::is_test(&self.file.path);
        self.lines
            .iter()
            .enumerate()
            .filter(move |(_, line)| !test && !line.test)
            .map(|(at, line)| (at + 1, line))
    }
}

/// Everything that is to be mended in the workspace at `root`.
pub(crate) fn tidy(root: &Path) -> Result<Vec<Finding>> {
    Ok(look(&tree::texts(root)?))
}

fn look(files: &[File]) -> Vec<Finding> {
    let sources: Vec<Rust<'_>> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| Rust {
            file,
            lines: source::lines(&file.text),
        })
        .collect();
    let mut found = Vec::new();
    ranks::look(files, &mut found);
    seams::look(&sources, &mut found);
    habits::look(files, &sources, &mut found);
    conformance::look(files, &mut found);
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            text: text.into(),
        }
    }

    /// What tidy says of one file.
    fn said(path: &str, text: &str) -> String {
        look(&[file(path, text)])
            .iter()
            .map(Finding::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn ranks_are_kept() {
        let cases = [
            (
                "crates/services/nova/Cargo.toml",
                "cinder.workspace = true",
                "cinder",
            ),
            (
                "crates/services/nova/Cargo.toml",
                "host-privsep.workspace = true",
                "host-privsep",
            ),
            (
                "crates/services/nova/Cargo.toml",
                "nova-compute.workspace = true",
                "nova-compute",
            ),
            (
                "crates/agents/nova-compute/Cargo.toml",
                "oslo-db.workspace = true",
                "oslo-db",
            ),
            (
                "crates/agents/nova-compute/Cargo.toml",
                "nova = { workspace = true }",
                "nova",
            ),
            ("crates/oslo/db/Cargo.toml", "sdk.workspace = true", "sdk"),
            (
                "crates/oslo/db/Cargo.toml",
                "nova-types.workspace = true",
                "nova-types",
            ),
            (
                "crates/wire/nova-types/Cargo.toml",
                "oslo-db.workspace = true",
                "oslo-db",
            ),
            (
                "crates/host/netns/Cargo.toml",
                "sdk.workspace = true",
                "sdk",
            ),
            (
                "crates/base/Cargo.toml",
                "oslo-context.workspace = true",
                "oslo-context",
            ),
            (
                "crates/services/nova/Cargo.toml",
                "oslo-testing.workspace = true",
                "oslo-testing",
            ),
            (
                "crates/services/nova/Cargo.toml",
                "lapin.workspace = true",
                "lapin",
            ),
        ];
        for (path, line, dependency) in cases {
            let message = said(
                path,
                &format!("[package]\nname = \"x\"\n[dependencies]\n{line}\n"),
            );
            assert!(
                message.starts_with(&format!("{path}:4: {dependency} ")),
                "{path} {line}: {message}"
            );
        }
        let fine = [
            (
                "crates/services/nova/Cargo.toml",
                "[dependencies]\nsdk.workspace = true\ncinder-types.workspace = true\n",
            ),
            (
                "crates/services/nova/Cargo.toml",
                "[dev-dependencies]\noslo-testing.workspace = true\n",
            ),
            (
                "crates/wire/nova-types/Cargo.toml",
                "[dependencies]\noslo-messaging.workspace = true\n",
            ),
            (
                "crates/agents/nova-compute/Cargo.toml",
                "[dependencies]\nhost-netns.workspace = true\n",
            ),
            (
                "crates/ferrostack/Cargo.toml",
                "[dependencies]\nnova.workspace = true\nnova-compute.workspace = true\n",
            ),
            (
                "crates/oslo/db/Cargo.toml",
                "[dependencies]\nrusqlite.workspace = true\nbase.workspace = true\n",
            ),
        ];
        for (path, text) in fine {
            assert_eq!(said(path, text), "", "{path} {text}");
        }
    }

    #[test]
    fn seams_are_kept() {
        let nova = "crates/services/nova/src/server/create.rs";
        let cases = [
            (nova, "use rusqlite::Connection;"),
            (nova, "let q = oslo_db::sea_query::Query::select();"),
            (nova, "tower::service_fn(f);"),
            (nova, "let c = std::process::Command::new(x);"),
            (nova, "let v = std::env::var(x);"),
            (nova, "use reqwest::Client;"),
            (
                "crates/agents/nova-compute/src/lib.rs",
                "use virt::domain::Domain;",
            ),
            (
                "crates/agents/nova-compute/src/lib.rs",
                "use tokio::process::Command;",
            ),
        ];
        for (path, line) in cases {
            let message = said(path, &format!("//! Room.\n{line}\n"));
            assert!(
                message.starts_with(&format!("{path}:2: ")),
                "{line}: {message}"
            );
        }
        let fine = [
            ("crates/oslo/db/src/sqlite.rs", "use rusqlite::Connection;"),
            (
                "crates/services/nova/src/db/servers.rs",
                "use oslo_db::sea_query::Query;",
            ),
            (
                "crates/host/privsep/src/run.rs",
                "let c = tokio::process::Command::new(x);",
            ),
            (nova, "let s = \"rusqlite::\"; // not reqwest::"),
            (
                nova,
                "use nova_types::virt::Driver; let virt_type = 1; service.tower_height();",
            ),
            (
                "crates/services/nova/tests/it/main.rs",
                "let v = std::env::var(x);",
            ),
        ];
        for (path, line) in fine {
            assert_eq!(said(path, &format!("//! Room.\n{line}\n")), "", "{line}");
        }
    }

    #[test]
    fn habits_are_kept() {
        let path = "crates/services/nova/src/lib.rs";
        let machine_path = ["/wo", "rk/shared"].concat();
        let cases = [
            ("fn a() {}\n".to_string(), ":1: "),
            ("//! Room.\nfn a() { todo!() }\n".to_string(), ":2: "),
            (
                "//! Room.\nfn a() { unimplemented!(\"x\") }\n".to_string(),
                ":2: ",
            ),
            ("//! Room.\n// TODO later\n".to_string(), ":2: "),
            (
                "//! Room.\npub async fn list_v2(a: u8) {}\n".to_string(),
                ":2: ",
            ),
            ("//! Room.\nfn show_v2_69<T>() {}\n".to_string(), ":2: "),
            (format!("//! Room.\n// see {machine_path}\n"), ":2: "),
            (
                format!("//! Room.\nconst A: &str = \"{machine_path}\";\n"),
                ":2: ",
            ),
            (
                format!("//! Room.\n{}", "let x = 1;\n".repeat(800)),
                ":801: ",
            ),
        ];
        for (text, expected) in cases {
            let message = said(path, &text);
            assert!(
                message.starts_with(&format!("{path}{expected}")),
                "{}: {message}",
                &text[..40.min(text.len())]
            );
        }
        assert!(
            said("tests/cloud/tests/it.rs", "#[test]\n#[ignore]\nfn a() {}\n").contains(":2: ")
        );
        let fine = [
            "//! Room.\n// TODO(#12): later\nfn address_v6() {}\nfn new_v4() {}\n".to_string(),
            "//! Room.\nconst A: &str = \"todo!() fn a_v2( TODO\";\n".to_string(),
            format!(
                "//! Room.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
                "let x = 1;\n".repeat(900)
            ),
            "//! Room, under /framework/work/ and https://x/work/y.\n".to_string(),
        ];
        for text in fine {
            assert_eq!(said(path, &text), "", "{}", &text[..40.min(text.len())]);
        }
    }

    #[test]
    fn exceptions_only_shrink() {
        let long = |lines: usize| {
            file(
                "crates/base/src/long.rs",
                &format!("//! R.\n{}", "x;\n".repeat(lines - 1)),
            )
        };
        let list = |text: &str| file("xtask/tidy-exceptions.txt", text);
        let said = |files: &[File]| {
            look(files)
                .iter()
                .map(Finding::to_string)
                .collect::<String>()
        };
        assert_eq!(
            said(&[long(900), list("# why\ncrates/base/src/long.rs 900\n")]),
            ""
        );
        assert!(
            said(&[long(901), list("crates/base/src/long.rs 900\n")]).contains("long.rs:901: ")
        );
        assert!(
            said(&[long(850), list("crates/base/src/long.rs 900\n")])
                .contains("exceptions.txt:1: ")
        );
        assert!(
            said(&[long(700), list("crates/base/src/long.rs 900\n")])
                .contains("exceptions.txt:1: ")
        );
        assert!(said(&[list("crates/base/src/gone.rs 900\n")]).contains("exceptions.txt:1: "));
    }
}
