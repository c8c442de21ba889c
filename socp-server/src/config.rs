//! What the server is to be: the command line, the configuration file, defaults, in this order.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use socp_core::server::{DialPolicy, Introducer, JoinPolicy};
use socp_core::wire::{HostPort, ServerId};
use socp_transport::data_dir::DataDir;
use socp_transport::server::ListenAddress;

use crate::args::RunArgs;
use crate::bootstrap::{self, read_text};
use crate::error::{Result, one_line};
use crate::logging::LogLevel;
use crate::parsed::{IntroducerText, KeyText, Parsed};

/// Where a server listens unless told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:8765";

/// Everything that can be set.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: ListenAddress,
    pub(crate) data_dir: PathBuf,
    /// The bootstrap list, then single introducers.
    pub(crate) introducers: Vec<Introducer>,
    pub(crate) advertise: Option<HostPort>,
    pub(crate) server_id: Option<ServerId>,
    pub(crate) log_level: LogLevel,
    pub(crate) strict_ids: bool,
    pub(crate) require_proof: bool,
    pub(crate) join: JoinPolicy,
    pub(crate) dial: DialPolicy,
}

/// The file: the flags' names with `_`, and what has no flag. Unknown keys are refused: a misspelt one
/// would be ignored in silence.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    listen: Option<Parsed<ListenAddress>>,
    /// Relative paths start where the file is.
    data_dir: Option<PathBuf>,
    bootstrap: Option<PathBuf>,
    #[serde(default)]
    introducers: Vec<Parsed<IntroducerText>>,
    advertise: Option<Parsed<HostPort>>,
    server_id: Option<Parsed<ServerId>>,
    log_level: Option<Parsed<LogLevel>>,
    #[serde(default)]
    strict_ids: bool,
    #[serde(default)]
    require_proof: bool,
    /// Keys of the servers that may join; everybody may without it.
    join_allowlist: Option<Vec<Parsed<KeyText>>>,
    #[serde(default)]
    dial: Dial,
}

/// Which addresses learnt from peers are dialled.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Dial {
    #[default]
    Reachable,
    All,
    None,
}

impl Settings {
    /// Reads the files that the command line names and puts everything together.
    pub(crate) fn gather(args: RunArgs) -> Result<Self> {
        let RunArgs { listen, data_dir, config, bootstrap, introducers, advertise, server_id, log_level } =
            args;
        let file = config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        let beside = |path: PathBuf| match config.as_deref().and_then(Path::parent) {
            Some(folder) => folder.join(path),
            None => path,
        };
        let data_dir = match data_dir.or(file.data_dir.map(&beside)) {
            Some(data_dir) => data_dir,
            None => DataDir::default_for_server()?,
        };
        let mut listed = match bootstrap.or(file.bootstrap.map(&beside)) {
            Some(list) => bootstrap::read(&list)?,
            None => Vec::new(),
        };
        if introducers.is_empty() {
            listed.extend(file.introducers.into_iter().map(|introducer| introducer.0.0));
        } else {
            listed.extend(introducers);
        }
        let listen = match listen.or(file.listen.map(|listen| listen.0)) {
            Some(listen) => listen,
            None => DEFAULT_LISTEN.parse()?,
        };
        Ok(Self {
            listen,
            data_dir,
            introducers: listed,
            advertise: advertise.or(file.advertise.map(|address| address.0)),
            server_id: server_id.or(file.server_id.map(|id| id.0)),
            log_level: log_level.or(file.log_level.map(|level| level.0)).unwrap_or_default(),
            strict_ids: file.strict_ids,
            require_proof: file.require_proof,
            join: match file.join_allowlist {
                Some(keys) => JoinPolicy::Allowlist(keys.into_iter().map(|key| key.0.0).collect()),
                None => JoinPolicy::Open,
            },
            dial: match file.dial {
                Dial::Reachable => DialPolicy::Reachable,
                Dial::All => DialPolicy::All,
                Dial::None => DialPolicy::None,
            },
        })
    }
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let what = one_line(error.message());
            let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return what };
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("line {line}, column {column}: {what}")
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::parsed::tests::key;

    use super::*;

    #[test]
    fn the_command_line_beats_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        let key = key("server-a").to_field();
        let list = format!("bootstrap_servers:\n  - {{host: a, port: 1, pubkey: {key}}}\n");
        std::fs::write(folder.path().join("mesh.yaml"), list).unwrap();
        let text = format!(
            "listen = '[::1]:1'\ndata_dir = 'data'\nbootstrap = 'mesh.yaml'\nintroducers = ['b:2#{key}']\n\
             advertise = 'c:3'\nserver_id = 'here'\nlog_level = 'debug'\nstrict_ids = true\n\
             require_proof = true\njoin_allowlist = ['{key}']\ndial = 'none'\n"
        );
        std::fs::write(&path, text).unwrap();
        let args = |listen: Option<&str>| RunArgs {
            config: Some(path.clone()),
            listen: listen.map(|text| text.parse().unwrap()),
            ..RunArgs::default()
        };
        let settings = Settings::gather(args(None)).unwrap();
        assert_eq!(settings.listen.to_string(), "[::1]:1");
        assert_eq!(settings.data_dir, folder.path().join("data"));
        let introducers: Vec<_> = settings.introducers.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(introducers, ["a:1", "b:2"]);
        assert_eq!(settings.server_id, "here".parse().ok());
        assert!(settings.strict_ids && settings.require_proof);
        assert!(matches!(settings.join, JoinPolicy::Allowlist(keys) if keys.len() == 1));
        assert_eq!(settings.dial, DialPolicy::None);
        assert_eq!(Settings::gather(args(Some("[::1]:2"))).unwrap().listen.to_string(), "[::1]:2");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, place, what) in [
            ("\nlisten_on = 'a:1'", "line 2, column 1", "unknown field `listen_on`"),
            ("listen = 'a'", "line 1, column 10", "host:port"),
            ("introducers = [\n  'a:1#AAAA',\n]", "line 2, column 3", "behind '#'"),
            ("strict_ids = 1", "line 1, column 14", "boolean"),
            ("dial = 'some'", "line 1, column 8", "some"),
            ("listen = ", "line 1", ""),
        ] {
            let error = ConfigFile::parse(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(what) && !error.contains('\n'), "{error}");
        }
    }
}
