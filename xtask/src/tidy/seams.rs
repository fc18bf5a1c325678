//! Words that belong to one room, found in code (not in texts or comments).

use super::{Finding, Rust};

struct Seam {
    /// A path or the beginning of one, as it is written in code.
    word: &'static str,
    /// Folders that may say it, a `*` standing for one name.
    rooms: &'static [&'static str],
    instead: &'static str,
}

const SEAMS: &[Seam] = &[
    Seam {
        word: "rusqlite",
        rooms: &["crates/oslo/db/"],
        instead: "SQL libraries stay in oslo/db: use its Tx",
    },
    Seam {
        word: "sqlx",
        rooms: &["crates/oslo/db/"],
        instead: "SQL libraries stay in oslo/db: use its Tx",
    },
    Seam {
        word: "sea_query",
        rooms: &[
            "crates/oslo/db/",
            "crates/oslo/*/src/",
            "crates/services/*/src/db/",
        ],
        instead: "statements are built in the db/ room",
    },
    Seam {
        word: "axum",
        rooms: &["crates/oslo/http/"],
        instead: "HTTP servers stay in oslo/http: add a route row",
    },
    Seam {
        word: "hyper",
        rooms: &["crates/oslo/http/"],
        instead: "HTTP servers stay in oslo/http: add a route row",
    },
    Seam {
        word: "hyper_util",
        rooms: &["crates/oslo/http/"],
        instead: "HTTP servers stay in oslo/http",
    },
    Seam {
        word: "tower",
        rooms: &["crates/oslo/http/"],
        instead: "HTTP servers stay in oslo/http",
    },
    Seam {
        word: "lapin",
        rooms: &["crates/oslo/messaging/"],
        instead: "the AMQP client stays in oslo/messaging: use Bus",
    },
    Seam {
        word: "reqwest",
        rooms: &["crates/sdk/"],
        instead: "the HTTP client stays in sdk",
    },
    Seam {
        word: "virt",
        rooms: &["crates/host/libvirt/"],
        instead: "libvirt stays in host/libvirt",
    },
    Seam {
        word: "process::Command",
        rooms: &["crates/host/privsep/", "xtask/"],
        instead: "programs are started by host/privsep alone",
    },
    Seam {
        word: "tokio::process",
        rooms: &["crates/host/privsep/", "xtask/"],
        instead: "programs are started by host/privsep alone",
    },
    Seam {
        word: "env::var",
        rooms: &[
            "crates/oslo/config/",
            "crates/ferrostack/src/main.rs",
            "xtask/",
        ],
        instead: "the environment is read by oslo_config alone: declare an option",
    },
    Seam {
        word: "env::var_os",
        rooms: &["crates/oslo/config/", "xtask/"],
        instead: "the environment is read by oslo_config alone: declare an option",
    },
    Seam {
        word: "env::vars",
        rooms: &["crates/oslo/config/", "xtask/"],
        instead: "the environment is read by oslo_config alone: oslo_config::environment()",
    },
];

pub(super) fn look(sources: &[Rust<'_>], found: &mut Vec<Finding>) {
    for source in sources {
        let path = &source.file.path;
        let seams: Vec<&Seam> = SEAMS
            .iter()
            .filter(|seam| !seam.rooms.iter().any(|room| is_in(path, room)))
            .collect();
        for (number, line) in source.product() {
            if let Some(seam) = seams.iter().find(|seam| says(&line.code, seam.word)) {
                found.push(Finding::new(
                    path,
                    number,
                    format!("{}: {}", seam.word, seam.instead),
                ));
            }
        }
    }
}

/// Whether the path lies in the room, `*` standing for one folder.
fn is_in(path: &str, room: &str) -> bool {
    let mut folders = path.split('/');
    room.trim_end_matches('/')
        .split('/')
        .all(|part| folders.next().is_some_and(|at| part == "*" || part == at))
}

/// Whether code names the crate or path: the whole word, as the beginning of a path or in a `use`.
fn says(code: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let own_path = word.contains("::");
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return false;
        }
        // A re-export (`oslo_db::sea_query`) is a way round; a module of ours (`nova_types::virt`) is not the crate.
        let nested = before.ends_with("::");
        own_path
            || word == "sea_query"
            || (!nested && (after.starts_with("::") || after.starts_with(';')))
    })
}
