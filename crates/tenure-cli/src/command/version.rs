//! `tenure version`: what this is.

use clap::Args;
use serde_json::json;
use tenure_quorum::wire::PROTOCOL;

use crate::{
    cli::epilogue,
    error::{Exit, Outcome},
    output::{Output, json},
};

/// Print the version
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[("tenure version", ""), ("tenure version --json", "with the version of the protocol")],
    &[(Exit::Yes, "printed")],
))]
pub(crate) struct VersionArgs {}

/// Runs the command.
pub(crate) fn run(_args: &VersionArgs, output: Output) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        let line = json!({ "version": version, "protocol": PROTOCOL });
        output.data(&json::text(&line))?;
    } else {
        output.data(&format!("tenure {version} (protocol {PROTOCOL})"))?;
    }
    Ok(Exit::Yes)
}
