//! Chores of the workspace: `cargo xtask tidy` keeps the floor plan, `cargo xtask docs` writes the generated pages.

mod docs;
mod source;
mod tidy;
mod tree;

use anyhow::{Result, bail};
use std::path::Path;
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => {
            let found = tidy::tidy(&root)?;
            for one in &found {
                eprintln!("{one}");
            }
            if found.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            eprintln!(
                "tidy: {} to mend (ARCHITECTURE.md says why these rules exist)",
                found.len()
            );
            Ok(ExitCode::FAILURE)
        }
        Some("docs") => {
            docs::docs(&root)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage: cargo xtask tidy | docs"),
    }
}
