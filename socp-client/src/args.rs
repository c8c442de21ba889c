//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use socp_core::dialect::Dialect;
use socp_core::wire::{PublicKey, UserId};
use socp_transport::ServerUrl;

/// Longest name, in bytes; labels show 64 characters.
const MAX_NAME_BYTES: usize = 256;

/// What scripts can rely on.
const STATUS: &str = "Exit status: 0 if all went well; 1 if it could not go on, or, with commands from a pipe, if any of \
                      them came to nothing; 2 if this command line is wrong.";

/// SOCP chat in the terminal, and for scripts.
#[derive(Debug, Parser)]
#[command(name = "socp-client", version, about, after_help = STATUS)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) task: Option<Task>,
    /// The server: wss://HOST:PORT (TLS), or ws://HOST:PORT, which beyond this machine needs --allow-plain
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8765")]
    pub(crate) server: ServerUrl,
    /// Trust the authorities in this PEM file, besides the system's, for the server's certificate; may be
    /// given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// Let a plain ws:// link leave this machine: everybody on the way then sees who writes to whom, and when, and your
    /// password, if it is a server that wants one
    #[arg(long)]
    pub(crate) allow_plain: bool,
    /// Your name, as others see it until you change it with /me
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) user: String,
    /// Your id, if it is not the key's own; remembered in the data directory. At a server of the seed's dialect it is
    /// your name, unless you give one here
    #[arg(long, value_name = "ID")]
    pub(crate) user_id: Option<UserId>,
    /// How the server speaks, if the client is not to find out: `seed` servers log you in by a password, which is
    /// asked for
    #[arg(long, value_name = "DIALECT")]
    pub(crate) dialect: Option<Spoken>,
    /// The server's key, as lists of servers have it: what is not signed with it is not believed. Servers of the
    /// standard show theirs, which is pinned; `seed` ones do not
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub(crate) server_key: Option<PublicKey>,
    /// A file whose first line is your password at this server, if it is a `seed` one: at your first login it is
    /// registered. The server sees it, so it cannot be that of your key
    #[arg(long, value_name = "FILE")]
    pub(crate) server_password_file: Option<PathBuf>,
    /// Where your key, its pins and the history are kept [default: $XDG_DATA_HOME/socp/client/NAME]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where files of others go [default: $XDG_DOWNLOAD_DIR, or ~/Downloads if there is one, or `downloads` in the
    /// data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) downloads: Option<PathBuf>,
    /// Take every file that is proven to be its sender's, without asking
    #[arg(long)]
    pub(crate) auto_accept: bool,
    /// A file whose first line is the password of your key
    #[arg(long, value_name = "FILE", global = true)]
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

/// What to do instead of chatting.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Your key, while you are not online
    #[command(subcommand)]
    Key(KeyTask),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyTask {
    /// Replace your key by a new one, under the same password and for the same id. The old key signs for the new one,
    /// so that others, who are told, know that it is yours; then it is gone. Who had compared fingerprints with you
    /// is asked to do so again
    Rotate {
        /// Take this private RSA-4096 key (PEM) instead of making one
        #[arg(long, value_name = "KEY.pem")]
        new_key: Option<PathBuf>,
    },
}

/// What servers may speak that this client can log in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spoken {
    Standard,
    Seed,
}

impl From<Spoken> for Dialect {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Standard => Self::Standard,
            Spoken::Seed => Self::Seed,
        }
    }
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

fn key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_field(text).map_err(|error| error.to_string())
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
    fn the_command_line_holds_together() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
