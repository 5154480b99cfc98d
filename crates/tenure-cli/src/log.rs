//! Log lines on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, prelude::*};

use crate::cli::{Global, LogFormat};

/// Sets up logging: TENURE_LOG if given, else `-v`/`-q`, else what the command likes.
pub(crate) fn start(global: &Global, usual: &str) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => usual.parse().unwrap_or(LevelFilter::WARN),
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // Levels by target, without the regular expressions of the richer filter: they would be a
    // tenth of the program.
    let wanted = std::env::var("TENURE_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(level));
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
