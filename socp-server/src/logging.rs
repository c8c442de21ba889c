//! Logs: on stderr, coloured on a terminal alone.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// What is logged: a level, or directives of `tracing`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogLevel(Box<str>);

impl LogLevel {
    /// A level that is known to be one.
    pub(crate) fn new(level: tracing::Level) -> Self {
        Self(level.as_str().to_ascii_lowercase().into())
    }

    fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self::new(tracing::Level::INFO)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    /// A lone word is a level: as a directive a misspelt one would name a target that nobody has.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "expected error, warn, info, debug, trace, or directives as in info,socp_transport=debug";
        let level = text.parse::<tracing::level_filters::LevelFilter>().is_ok();
        let directives = text.contains('=') && EnvFilter::builder().parse(text).is_ok();
        if !text.is_empty() && (level || directives) { Ok(Self(text.into())) } else { Err(expected.into()) }
    }
}

/// From here on logs are written. Once a process.
pub(crate) fn start(level: &LogLevel) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(level.filter())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_writer(io::stderr)
        .finish();
    // It fails only if logs are written already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for good in ["error", "WARN", "info", "debug", "trace", "off", "info,socp_transport=debug"] {
            assert!(good.parse::<LogLevel>().is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,socp_transport=loud", "=", "6"] {
            assert!(bad.parse::<LogLevel>().is_err(), "{bad}");
        }
    }
}
