//! Log lines on standard error.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::cli::{Global, LogFormat};

/// Sets up logging: TENURE_LOG if given, else `-v`/`-q`, else what the command likes.
pub(crate) fn start(global: &Global, usual: &str) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => usual,
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env("TENURE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let text = || fmt::layer().with_writer(std::io::stderr);
    // A second start in one process keeps the first; that is fine.
    let _ = match global.log_format {
        LogFormat::Text => {
            registry.with(text().with_ansi(global.color.on(&std::io::stderr()))).try_init()
        }
        LogFormat::Json => registry.with(text().json().flatten_event(true)).try_init(),
    };
}
