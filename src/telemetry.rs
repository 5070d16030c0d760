//! Logs: one line an event, on stderr, for people or as JSON. Panics are logged like everything else.
//!
//! No secret comes here: the types that hold one redact it in `Debug`. The environment variable `RUST_LOG` takes
//! precedence over the configured level, with `tracing_subscriber::EnvFilter`'s directives (`quorate=debug,openraft=info`).

use std::{backtrace::Backtrace, io, panic, panic::PanicHookInfo};

use tracing::{Level, error, info};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, prelude::*};

use crate::config::{LogFormat, LogSection};

/// The environment variable with filter directives.
pub const ENVIRONMENT: &str = "RUST_LOG";
/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The environment variable.
    #[error("{ENVIRONMENT}: {0}")]
    Filter(#[from] ParseError),
    /// Something in this process logs already.
    #[error("logging is set up already")]
    Twice,
}

/// Logs from here on, and says which version starts.
///
/// # Errors
/// [`TelemetryError`]; nothing is logged then.
pub fn init(log: &LogSection) -> Result<(), TelemetryError> {
    let filter = filter(std::env::var(ENVIRONMENT).ok().as_deref(), log.level)?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        // Colours are for terminals; a journal or a file gets plain text.
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| TelemetryError::Twice)?;
    panic::set_hook(Box::new(log_panic));
    info!(version = env!("CARGO_PKG_VERSION"), "quorate starts");
    Ok(())
}

/// The level is ours; dependencies only warn, unless the environment asks for more. openraft warns of an absent peer at every
/// heartbeat, which would bury everything else; `raft/network.rs` says it once.
fn filter(environment: Option<&str>, level: Level) -> Result<EnvFilter, ParseError> {
    match environment.filter(|directives| !directives.trim().is_empty()) {
        Some(directives) => EnvFilter::try_new(directives),
        None => EnvFilter::try_new(format!("warn,openraft=error,quorate={level}")),
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    error!(%place, message, backtrace = %Backtrace::capture(), "panic");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_and_is_checked() {
        let directives = |environment, level| filter(environment, level).map(|filter| filter.to_string());
        assert_eq!(directives(None, Level::INFO).unwrap(), "openraft=error,quorate=info,warn");
        assert_eq!(directives(Some(" "), Level::DEBUG).unwrap(), "openraft=error,quorate=debug,warn");
        assert_eq!(directives(Some("quorate=trace"), Level::INFO).unwrap(), "quorate=trace");
        assert!(directives(Some("quorate=loud"), Level::INFO).is_err());
    }
}
