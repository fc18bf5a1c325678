//! The few ways this crate starts programs.

use crate::Namespace;
use base::Result;
use host_privsep::{Privsep, Program};
use serde_json::Value;

/// Runs `program` with `input`, perhaps inside a namespace; its output, or an error with what it complained about.
pub(crate) async fn inside(
    namespace: Option<&Namespace>,
    program: Program,
    args: &[&str],
    input: &str,
) -> Result<String> {
    let mut command = Privsep::new()
        .command(program)
        .args(args)
        .stdin(input.as_bytes());
    if let Some(n) = namespace {
        command = command.netns(n.as_str());
    }
    Ok(command.run().await?.text())
}

/// The same in our own namespace.
pub(crate) async fn program(program: Program, args: &[&str], input: &str) -> Result<String> {
    inside(None, program, args, input).await
}

pub(crate) async fn ip(args: &[&str]) -> Result<String> {
    program(Program::Ip, args, "").await
}

/// The list that `ip -j` prints.
pub(crate) async fn ip_json(namespace: Option<&Namespace>, args: &[&str]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    if let Some(n) = namespace {
        all.extend(["-n", n.as_str()]);
    }
    all.push("-j");
    all.extend(args);
    json(Program::Ip, &all).await
}

pub(crate) async fn json(name: Program, args: &[&str]) -> Result<Vec<Value>> {
    let text = program(name, args, "").await?;
    // Nothing to list is nothing printed.
    if text.trim().is_empty() {
        Ok(Vec::new())
    } else {
        Ok(serde_json::from_str(&text)?)
    }
}
