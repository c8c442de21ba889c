//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use socp_core::wire::{HostPort, UserId};

/// Longest name, in bytes; labels show 64 characters.
const MAX_NAME_BYTES: usize = 256;

/// SOCP chat in the terminal, and for scripts.
#[derive(Debug, Parser)]
#[command(name = "socp-client", version, about)]
pub(crate) struct Args {
    /// The server
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8765", value_parser = server)]
    pub(crate) server: HostPort,
    /// Your name, as others see it
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) user: String,
    /// Your id, if it is not the key's own; remembered in the data directory
    #[arg(long, value_name = "ID")]
    pub(crate) user_id: Option<UserId>,
    /// Where your key, its pins and the history are kept [default: $XDG_DATA_HOME/socp/client/NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A file whose first line is the password of your key
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Take this private RSA-4096 key (PEM) instead of making one
    #[arg(long, value_name = "KEY.pem")]
    pub(crate) import_key: Option<PathBuf>,
    /// Write your private key to a new file (PEM, without password) and exit
    #[arg(long, value_name = "FILE")]
    pub(crate) export_key: Option<PathBuf>,
    /// Plain lines: no prompt, no editing, no colour
    #[arg(long, conflicts_with = "json")]
    pub(crate) plain: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// What is logged to stderr; RUST_LOG says it in detail [default: warn]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

fn server(text: &str) -> Result<HostPort, String> {
    if text.starts_with("wss://") {
        return Err("wss:// (TLS) is not supported yet; use ws://".into());
    }
    let rest = text.strip_prefix("ws://").unwrap_or(text);
    rest.strip_suffix('/')
        .unwrap_or(rest)
        .parse()
        .ok()
        .filter(|_| !rest.contains("://") && !rest.trim_end_matches('/').contains('/'))
        .ok_or_else(|| "expected ws://HOST:PORT, for example ws://127.0.0.1:8765".into())
}

fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("a name is not blank".into())
    } else if text.len() > MAX_NAME_BYTES {
        Err(format!("a name has at most {MAX_NAME_BYTES} bytes"))
    } else if text.chars().any(char::is_control) {
        Err("a name has no control characters".into())
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_url() {
        for text in ["ws://localhost:1", "ws://localhost:1/", "localhost:1", "ws://LOCALHOST:1"] {
            assert_eq!(server(text).unwrap().to_string(), "localhost:1", "{text}");
        }
        assert_eq!(server("ws://[::1]:8765").unwrap().to_string(), "[::1]:8765");
        for text in
            ["ws://localhost", "http://localhost:1", "ws://localhost:1/chat", "ws://:1", "", "ws://a:0"]
        {
            assert!(server(text).unwrap_err().contains("ws://HOST:PORT"), "{text}");
        }
        assert!(server("wss://localhost:1").unwrap_err().contains("TLS"));
    }

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
