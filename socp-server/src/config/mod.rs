//! What the server is to be: the command line, the configuration file, defaults, in this order.

mod check;
mod fields;
mod file;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socp_core::server::{Introducer, JoinPolicy, Limits, Timing};
use socp_core::wire::{HostPort, ServerId};
use socp_transport::data_dir::server_config_file;
use socp_transport::server::{ListenAddress, ServerConfig};
use socp_transport::tls::{Roots, ServerTls};
use socp_transport::{LinkLimits, Scheme};

use crate::args::RunArgs;
use crate::bootstrap::{self, Trusted};
use crate::logging::LogLevel;
use crate::mistake::{Gravity, Mistake, Source};
use crate::parsed::{Dial, IntroducerText, KeyText, Passwords};
use file::Places;

pub(crate) use check::{config, is_wildcard};

/// Longest file that is read: room for a thousand introducers.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) listen: Vec<ListenAddress>,
    pub(crate) advertise: Option<HostPort>,
    pub(crate) allow_plain: bool,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) server_id: Option<ServerId>,
    pub(crate) log_level: LogLevel,
    bootstrap: Option<PathBuf>,
    introducers: Vec<IntroducerText>,
    /// Everybody may join without it.
    join_allowlist: Option<Vec<KeyText>>,
    dial: Dial,
    strict_ids: bool,
    require_proof: bool,
    password_logins: Passwords,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Vec<PathBuf>,
    limits: Limits,
    timing: Timing,
    links: LinkLimits,
    max_links: usize,
    max_handshakes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::default()],
            advertise: None,
            allow_plain: false,
            data_dir: None,
            server_id: None,
            log_level: LogLevel::default(),
            bootstrap: None,
            introducers: Vec::new(),
            join_allowlist: None,
            dial: Dial::default(),
            strict_ids: false,
            require_proof: false,
            password_logins: Passwords::default(),
            certificate: None,
            key: None,
            ca: Vec::new(),
            limits: Limits::default(),
            timing: Timing::default(),
            links: LinkLimits::default(),
            max_links: ServerConfig::MAX_LINKS,
            max_handshakes: ServerConfig::MAX_HANDSHAKES,
        }
    }
}

impl Settings {
    /// Relative paths of the file start where it is.
    fn start_paths_at(&mut self, folder: &Path) {
        let named = [&mut self.data_dir, &mut self.bootstrap, &mut self.certificate, &mut self.key];
        for path in named.into_iter().flatten().chain(&mut self.ca) {
            *path = folder.join(&*path);
        }
    }

    /// Takes what the command line says over what the file said.
    fn overrule(&mut self, args: RunArgs, places: &mut Places) {
        fn set<T>(places: &mut Places, name: &str, value: &mut T, said: Option<T>) {
            if let Some(said) = said {
                *value = said;
                places.overrule(name);
            }
        }
        fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
            (!list.is_empty()).then_some(list)
        }
        let RunArgs {
            listen,
            data_dir,
            config: _,
            bootstrap,
            introducers,
            allow_plain,
            tls_cert,
            tls_key,
            ca,
            advertise,
            server_id,
            log_level,
        } = args;
        set(places, "listen", &mut self.listen, some(listen));
        set(places, "advertise", &mut self.advertise, advertise.map(Some));
        set(places, "allow_plain", &mut self.allow_plain, allow_plain.then_some(true));
        set(places, "data_dir", &mut self.data_dir, data_dir.map(Some));
        set(places, "server_id", &mut self.server_id, server_id.map(Some));
        set(places, "log_level", &mut self.log_level, log_level);
        set(places, "bootstrap", &mut self.bootstrap, bootstrap.map(Some));
        set(places, "introducers", &mut self.introducers, some(introducers));
        set(places, "tls.certificate", &mut self.certificate, tls_cert.map(Some));
        set(places, "tls.key", &mut self.key, tls_key.map(Some));
        set(places, "tls.ca", &mut self.ca, some(ca));
    }
}

/// Settings that hold together, and what they name.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    /// The bootstrap list, then single introducers.
    pub(crate) trusted: Vec<Trusted>,
    pub(crate) tls: Option<ServerTls>,
    roots: Roots,
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) warnings: Vec<Mistake>,
    places: Places,
}

impl Configuration {
    /// Reads the files that the command line names and puts everything together.
    ///
    /// # Errors
    /// All that is wrong, warnings included; one of them is an error at least.
    pub(crate) fn gather(args: RunArgs) -> Result<Self, Vec<Mistake>> {
        let file = args.config.clone().or_else(|| server_config_file().filter(|file| file.exists()));
        let (mut settings, mut places) = (Settings::default(), Places::default());
        if let Some(file) = &file {
            let source = read(file).map_err(|mistake| vec![mistake])?;
            places = file::read(&mut settings, source)?;
        }
        settings.overrule(args, &mut places);
        check::settle(settings, places, file)
    }

    /// What the transport needs, but for identity and store.
    pub(crate) fn configure(&self, config: &mut ServerConfig) {
        let Settings {
            listen,
            advertise,
            allow_plain,
            data_dir: _,
            server_id: _,
            log_level: _,
            bootstrap: _,
            introducers: _,
            join_allowlist,
            dial,
            strict_ids,
            require_proof,
            password_logins,
            certificate: _,
            key: _,
            ca: _,
            limits,
            timing,
            links,
            max_links,
            max_handshakes,
        } = self.settings.clone();
        config.listen = listen;
        config.advertise = advertise;
        config.allow_plain = allow_plain;
        config.tls = self.tls.clone();
        config.roots = self.roots.clone();
        config.bootstrap = self.introducers();
        config.dial_as = self.said();
        config.join = match join_allowlist {
            Some(keys) => JoinPolicy::Allowlist(keys.into_iter().map(|key| key.0).collect()),
            None => JoinPolicy::Open,
        };
        config.dial = dial.0;
        config.strict_ids = strict_ids;
        config.require_proof = require_proof;
        config.password_logins = password_logins.0;
        config.limits = limits;
        config.timing = timing;
        config.links = links;
        config.max_links = max_links;
        config.max_handshakes = max_handshakes;
    }

    fn introducers(&self) -> Vec<Introducer> {
        let introducer = |trusted: &Trusted| Introducer {
            address: trusted.server.address.clone(),
            key: trusted.key.clone(),
            dialect: trusted.dialect,
        };
        self.trusted.iter().map(introducer).collect()
    }

    /// How the addresses are dialled of which it was said.
    fn said(&self) -> BTreeMap<HostPort, Scheme> {
        let said = |trusted: &Trusted| Some((trusted.server.address.clone(), trusted.server.scheme?));
        self.trusted.iter().filter_map(said).collect()
    }
}

/// Reads a file of settings.
fn read(path: &Path) -> Result<Arc<Source>, Mistake> {
    let wrong = |why: String| Mistake::error(None, format!("{}: {why}", path.display()));
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MAX_FILE_BYTES => {
            Err(wrong(format!("longer than {MAX_FILE_BYTES} bytes")))
        }
        Ok(_) => Ok(Arc::new(Source { path: path.into(), text })),
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
    }
}

fn bootstrap_list(settings: &Settings, places: &Places) -> Result<Vec<Trusted>, Mistake> {
    match &settings.bootstrap {
        Some(list) => bootstrap::read(&read(list).map_err(|mistake| mistake.at(places.of("bootstrap")))?),
        None => Ok(Vec::new()),
    }
}

/// Whether a server would not start.
fn is_fatal(mistakes: &[Mistake]) -> bool {
    mistakes.iter().any(|mistake| mistake.gravity == Gravity::Error)
}

#[cfg(test)]
mod tests {
    use socp_core::server::DialPolicy;

    use crate::parsed::tests::key;

    use super::*;

    /// The settings of a file in a folder with a bootstrap list, and what the command line says.
    fn gather(folder: &Path, text: &str, args: RunArgs) -> Result<Configuration, Vec<String>> {
        let key = key("server-a").to_field();
        let list = format!("bootstrap_servers:\n  - {{host: localhost, port: 1, pubkey: {key}}}\n");
        std::fs::write(folder.join("mesh.yaml"), list).unwrap();
        let path = folder.join("server.toml");
        std::fs::write(&path, text).unwrap();
        let gathered = Configuration::gather(RunArgs { config: Some(path), ..args });
        gathered.map_err(|mistakes| {
            let shown =
                |mistake: &Mistake| mistake.to_string().replace(&format!("{}/", folder.display()), "");
            mistakes.iter().map(shown).collect()
        })
    }

    #[test]
    fn the_command_line_beats_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let key = key("server-a").to_field();
        let text = format!(
            "listen = ['[::1]:1', 'ws://127.0.0.1:2']\ndata_dir = 'data'\nbootstrap = 'mesh.yaml'\n\
             introducers = ['wss://b:2#{key}']\nadvertise = 'c:3'\nserver_id = 'here'\nlog_level = 'debug'\n\
             strict_ids = true\nrequire_proof = true\njoin_allowlist = ['{key}']\ndial = 'none'\n\
             [limits]\nservers = 7\n[timing]\nheartbeat = '3s'\n[links]\nmax_links = 8\nopen_timeout = '9s'\n"
        );
        let by_file = gather(folder.path(), &text, RunArgs::default()).unwrap();
        let mut config = ServerConfig::new(ListenAddress::default(), signer());
        by_file.configure(&mut config);
        let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["[::1]:1", "ws://127.0.0.1:2"]);
        assert_eq!(by_file.settings.data_dir, Some(folder.path().join("data")));
        let introducers: Vec<_> = config.bootstrap.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(introducers, ["localhost:1", "b:2"]);
        assert_eq!(config.dial_as, [("b:2".parse().unwrap(), Scheme::Wss)].into());
        assert_eq!(by_file.settings.server_id, "here".parse().ok());
        assert!(config.strict_ids && config.require_proof && !config.allow_plain);
        assert!(matches!(&config.join, JoinPolicy::Allowlist(keys) if keys.len() == 1));
        assert_eq!(config.dial, DialPolicy::None);
        assert_eq!((config.limits.servers, config.max_links), (7, 8));
        assert_eq!((config.timing.heartbeat.as_secs(), config.links.open_timeout.as_secs()), (3, 9));

        let args = RunArgs {
            listen: vec!["0.0.0.0:5".parse().unwrap()],
            data_dir: Some("elsewhere".into()),
            introducers: vec![format!("d:4#{key}").parse().unwrap()],
            allow_plain: true,
            advertise: "e:6".parse().ok(),
            log_level: "warn".parse().ok(),
            ..RunArgs::default()
        };
        let by_both = gather(folder.path(), &text, args).unwrap();
        by_both.configure(&mut config);
        let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
        assert_eq!((listen, config.advertise), (vec!["0.0.0.0:5".to_owned()], "e:6".parse().ok()));
        assert_eq!(by_both.settings.data_dir, Some("elsewhere".into()));
        let introducers: Vec<_> = config.bootstrap.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(introducers, ["localhost:1", "d:4"]);
        assert!(config.allow_plain && config.dial_as.is_empty());
        assert_eq!(by_both.settings.log_level, "warn".parse().unwrap());
        assert_eq!(by_both.settings.server_id, "here".parse().ok());
    }

    fn signer() -> Arc<socp_core::crypto::aws_lc::PrivateKey> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../socp-core/tests/fixtures/keys/server-b.pem");
        let pem = std::fs::read_to_string(path).unwrap();
        Arc::new(socp_core::crypto::aws_lc::PrivateKey::from_pem(&pem).unwrap())
    }

    #[test]
    fn what_does_not_hold_together_is_said_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let key = key("server-a").to_field();
        let introducer = format!("introducers = ['192.0.2.1:1#{key}']");
        let other = crate::parsed::tests::key("server-b").to_field();
        for (text, expected) in [
            (
                "listen = '0.0.0.0:1'",
                "server.toml: line 1, column 10: 0.0.0.0:1 is beyond this machine, and plain ws:// would show \
                 everybody on the way who writes to whom; give it a certificate with --tls-cert and --tls-key (in \
                 the file: [tls]), or allow plain links with --allow-plain (in the file: allow_plain = true)",
            ),
            (
                &introducer,
                "server.toml: line 1, column 16: 192.0.2.1:1 is beyond this machine, and plain ws:// would show \
                 everybody on the way who writes to whom; if it speaks TLS, write wss://192.0.2.1:1#…; else allow \
                 plain links with --allow-plain (in the file: allow_plain = true)",
            ),
            (
                "listen = [\n  '127.0.0.1:1',\n  '0.0.0.0:2',\n]",
                "server.toml: line 3, column 3: 0.0.0.0:2 is beyond this machine, and plain ws:// would show \
                 everybody on the way who writes to whom; give it a certificate with --tls-cert and --tls-key (in \
                 the file: [tls]), or allow plain links with --allow-plain (in the file: allow_plain = true)",
            ),
            (
                "listen = 'wss://127.0.0.1:1'",
                "server.toml: line 1, column 10: to listen on wss://127.0.0.1:1 takes a certificate; give it a \
                 certificate with --tls-cert and --tls-key (in the file: [tls])",
            ),
            (
                "[tls]\ncertificate = 'a.pem'",
                "server.toml: line 2, column 15: a certificate without its private key; name it with --tls-key (in \
                 the file: key, in [tls])",
            ),
            (
                "[tls]\nkey = 'a.pem'\ncertificate = 'b.pem'",
                "server.toml: line 3, column 15: b.pem: cannot be read: No such file or directory (os error 2)",
            ),
            (
                "[tls]\nca = ['mesh.yaml']",
                "server.toml: line 2, column 6: mesh.yaml: no certificate in it; it must be PEM text, with a line \
                 -----BEGIN … CERTIFICATE-----",
            ),
            (
                "[timing]\nheartbeat = '45s'",
                "server.toml: line 2, column 13: `heartbeat` must be shorter than `silence`; make the one longer or \
                 the other shorter; `socp-server config default` shows what they are about",
            ),
            (
                "advertise = '0.0.0.0:1'",
                "server.toml: line 1, column 13: 0.0.0.0:1 is no address that others can dial: it stands for every \
                 address of a machine; name the one under which they reach this server",
            ),
            (
                &format!("bootstrap = 'mesh.yaml'\nintroducers = ['localhost:1#{other}']"),
                "server.toml: line 2, column 16: localhost:1 has another key here than in mesh.yaml, line 2: a server \
                 has one; keep the one that `socp-server identity` prints on that server",
            ),
            (
                "listen = []",
                "server.toml: line 1, column 10: no address to listen on; name one, such as \"127.0.0.1:8765\"",
            ),
            (
                "bootstrap = 'absent.yaml'",
                "server.toml: line 1, column 13: absent.yaml: cannot be read: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(gather(folder.path(), text, RunArgs::default()).unwrap_err(), [expected]);
        }
        // What the command line says stands nowhere.
        let args = RunArgs { listen: vec!["[::]:1".parse().unwrap()], ..RunArgs::default() };
        let mistakes = gather(folder.path(), "listen = '0.0.0.0:1'", args).unwrap_err();
        assert!(mistakes[0].starts_with("[::]:1 is beyond this machine"), "{mistakes:?}");
    }
}
