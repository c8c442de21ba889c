//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use socp_core::dialect::Dialect;
use socp_core::wire::{HostPort, Id, ServerId};
use socp_transport::server::ListenAddress;

use crate::logging::LogLevel;
use crate::parsed::{IntroducerText, PeerKey, ProbeUrl};

/// A server of the SOCP v1.3 chat mesh.
#[derive(Debug, Parser)]
#[command(name = "socp-server", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do; `run` unless said.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// `run`'s, without its name.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server (what happens without a command)
    Run(RunArgs),
    /// Show who this server is, and make its identity if it has none
    Identity(IdentityArgs),
    /// List the keys that this server has pinned, of servers and users
    Pins(PinsArgs),
    /// Forget pinned keys, so that the next key that is shown for an id is pinned. The server must not run
    Forget(ForgetArgs),
    /// Check a configuration file, or print one to start from
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at recorded frames: what is odd about each, whose signature holds, what this server would do with it
    Inspect(InspectArgs),
    /// Try any SOCP server as a server and a client would, and print a scorecard: which clauses of the standard it
    /// keeps, and which dialect it speaks
    Probe(ProbeArgs),
    /// Three servers, alice and bob in one process, playing the mesh scenario
    Demo(DemoArgs),
}

/// Of `run`. What is left out comes from the configuration file, or has a default.
#[derive(Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// Where to listen, with ws:// or wss:// in front or without: then it is TLS if there is a certificate.
    /// Port 0 picks a free one; may be given several times [default: 127.0.0.1:8765]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Vec<ListenAddress>,
    /// Where identity and state are kept [default: $XDG_DATA_HOME/socp/server]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A TOML file with these settings and every limit (`socp-server config default`); the command line beats
    /// it [default: $XDG_CONFIG_HOME/socp/server.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The list of trusted introducers, one file for all servers of a mesh
    #[arg(long, value_name = "FILE.yaml")]
    pub(crate) bootstrap: Option<PathBuf>,
    /// A trusted introducer, like an entry of the list, with wss:// in front for TLS; may be given several
    /// times
    #[arg(long = "introducer", value_name = "HOST:PORT#PUBKEY")]
    pub(crate) introducers: Vec<IntroducerText>,
    /// Let plain ws:// links, listening and dialling, leave this machine: everybody on the way then sees who
    /// writes to whom, and when
    #[arg(long)]
    pub(crate) allow_plain: bool,
    /// The certificate for TLS and those between it and one that clients trust, its own first (PEM)
    #[arg(long, value_name = "CHAIN.pem")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key (PEM, without a password)
    #[arg(long, value_name = "KEY.pem")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Trust the authorities in this PEM file, besides the system's, for the certificates of other servers;
    /// may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// The address that others are to dial, if it is not the one to listen on. Binding: users and servers
    /// that dial another one are turned away
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<HostPort>,
    /// The server's id, kept from its first start on [default: derived from its key]
    #[arg(long, value_name = "ID")]
    pub(crate) server_id: Option<ServerId>,
    /// error, warn, info, debug, trace, or directives as in `info,socp_transport=debug` [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
}

/// Of `identity`.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Where identity and state are kept [default: $XDG_DATA_HOME/socp/server]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Take this private key (RSA-4096, PKCS#8 or PKCS#1 PEM without a password) as identity
    #[arg(long, value_name = "KEY.pem")]
    pub(crate) import: Option<PathBuf>,
    /// Write the key as servers of this dialect read it: standard, python, seed, r, m, f, g (docs/dialects.md)
    #[arg(long = "for", value_name = "DIALECT", default_value = "standard", hide_default_value = true)]
    pub(crate) dialect: Dialect,
    /// One line of JSON: server_id and pubkey
    #[arg(long)]
    pub(crate) json: bool,
}

/// Of `pins`.
#[derive(Debug, Args)]
pub(crate) struct PinsArgs {
    /// Only these, each a server's id or a user's
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<Id>,
    /// Where identity and state are kept [default: $XDG_DATA_HOME/socp/server]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// One object a line: kind (server or user), id, fingerprint, source, derived, and a server's address
    #[arg(long)]
    pub(crate) json: bool,
}

/// Of `forget`.
#[derive(Debug, Args)]
#[command(after_help = FORGET_HELP)]
pub(crate) struct ForgetArgs {
    /// Whose keys: server ids or user ids, as `socp-server pins` shows them
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<Id>,
    /// Where identity and state are kept [default: $XDG_DATA_HOME/socp/server]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Also of users who log in with a password: the encrypted key that they keep here is lost
    #[arg(long)]
    pub(crate) accounts: bool,
}

/// When it is of use.
const FORGET_HELP: &str = "\
When the log says that another key than the pinned one was seen, somebody has a new key, or somebody
pretends to be them. Ask the owner, not over this network, which fingerprint is right. If it is the
new one:

  stop the server
  socp-server forget ID
  start it again

A key that the bootstrap list or --introducer names is not kept here: mend it there. An id that is
made of its key (`pins` says so) belongs to that key alone, whatever is forgotten.";

/// What to do about configuration files.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Tell what is wrong with a file, the bootstrap list, certificates and keys that it names, and what to do.
    /// Status 1 says that a server would not start with it
    Check(CheckArgs),
    /// Print the whole file, commented, with every setting at its default
    Default,
}

/// Of `config check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The file [default: $XDG_CONFIG_HOME/socp/server.toml]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub(crate) struct InspectArgs {
    /// The frames, one JSON object a line: a frame, or an object with its `text` and perhaps `from` and `to`, the
    /// parties of its socket. `-` or nothing reads stdin
    #[arg(value_name = "FRAMES.jsonl")]
    pub(crate) frames: Option<PathBuf>,
    /// Keys to try: {"parties":[{"label", "id", "public_key" or "spki", "private_key_pem"}]}, each but the key
    /// optional. With private keys it is said whether contents can be decrypted
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// One object a line, a last one with the key `summary`
    #[arg(long)]
    pub(crate) json: bool,
    /// Show what was decrypted
    #[arg(long)]
    pub(crate) show_text: bool,
}

/// Where to begin, and what to expect.
const INSPECT_EXAMPLES: &str = "\
Examples:
  socp-server inspect frames.jsonl                        whatever the frames themselves tell
  socp-server inspect --keys keys.json frames.jsonl       with the parties' keys
  grep USER_ADVERTISE frames.jsonl | socp-server inspect --keys keys.json
  socp-server inspect --json frames.jsonl | jq -c 'select(.verdict == \"refused\")'

A signature is tried under the key of the frame's `from` (the keys file's, else the first that an earlier
frame brought), then under keys that frames brought, then under every key of the file.
\"other key\" says that it holds, but not under the key of `from`: somebody signed it anew.

Verdicts are those of a server with default settings in the place of whoever receives the frame. Rates and
timeouts do not apply; what else was assumed is said. Lines without parties go to one server, each `from`
on a link of its own.

Status: 0, all was looked at, whatever was found; 1, it could not be (no such file, a keys file that
cannot be read, not a single line); 2, the command line is wrong.";

/// Of `probe`.
#[derive(Debug, Args)]
#[command(after_help = PROBE_EXAMPLES)]
pub(crate) struct ProbeArgs {
    /// The server: ws://HOST:PORT or wss://HOST:PORT, with a path where it wants one
    #[arg(value_name = "URL")]
    pub(crate) url: ProbeUrl,
    /// Its key as a bootstrap list has it; without it, the first that it shows is believed
    #[arg(long, value_name = "PUBKEY")]
    pub(crate) pubkey: Option<PeerKey>,
    /// Keep the probe's keys in this folder and use them again, instead of making new ones
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// Where the probe's two servers listen, for servers that dial back: the second one at the next port
    /// [default: free ports of this machine alone]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<HostPort>,
    /// Trust the authorities in this PEM file, besides the system's; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// Let a plain ws:// link leave this machine
    #[arg(long)]
    pub(crate) allow_plain: bool,
    /// Do not wait 15 s for a heartbeat
    #[arg(long)]
    pub(crate) quick: bool,
    /// How long an answer may take. What is not to come is listened for a sixth of it
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) patience: std::time::Duration,
    /// Show every frame, whole
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// One object a clause, a last one with the key `summary`
    #[arg(long)]
    pub(crate) json: bool,
    /// Stop after that long, and say goodbye; the status is 1 then
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub(crate) timeout: std::time::Duration,
}

/// What it looks like.
const PROBE_EXAMPLES: &str = "\
Examples:
  socp-server probe ws://127.0.0.1:8765                   a server on this machine
  socp-server probe --quick --keys probe-keys ws://127.0.0.1:8765
                                                          again and again: no new keys, no wait for a heartbeat
  socp-server probe --allow-plain --listen 192.0.2.7:9000 --pubkey KEY ws://192.0.2.10:8765
                                                          another team's server, with its key from the list
  socp-server probe --json URL | jq -c 'select(.outcome == \"failed\")'

The probe is two servers and a few users, all with fresh keys and ids of their own. It touches
nobody else's users, writes some ten frames a second, takes its users back and says CTRL_CLOSE at the
end, also after Ctrl-C. What a server stores for good (pinned keys of the probe's users, accounts
where logins have passwords) stays there: with --keys it is the same few ids every time.

The score is the standard's: a dialect is spoken where later clauses would make no sense otherwise,
and what the standard asks for and does not come is failed all the same.

Status: 0, nothing failed; 1, something failed, or there was no time; 2, no such server, or the
command line is wrong.";

/// Of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Exit when the scenario is over; status 1 says that something was missing
    #[arg(long)]
    pub(crate) exit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_what_happens_without_a_command() {
        let short = Cli::try_parse_from(["socp-server", "--listen", "[::1]:0"]).unwrap();
        assert!(short.command.is_none());
        assert_eq!(short.run.listen[0].to_string(), "[::1]:0");
        let long = Cli::try_parse_from(["socp-server", "run", "--listen", "[::1]:0"]).unwrap();
        let Some(Command::Run(args)) = long.command else { panic!("{long:?}") };
        assert_eq!(args.listen[0].to_string(), "[::1]:0");
        assert!(Cli::try_parse_from(["socp-server", "--listen", "[::1]:0", "demo"]).is_err());
    }
}
