//! Our side of a mixed mesh: real servers on fixed ports, each with its list of trusted peers.

use std::path::Path;

use tempfile::TempDir;

use crate::support::client::ClientProcess;
use crate::support::{ServerProcess, import, server_command};

/// A server of ours that is to be, with a fixture's key, and the homes of its people.
pub(crate) struct Ours {
    home: TempDir,
    key: &'static str,
    pub(crate) port: u16,
    pub(crate) pubkey: String,
    list: String,
    settings: String,
}

impl Ours {
    pub(crate) fn new(key: &'static str, port: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let pubkey = import(&home.path().join(key), key);
        Self { home, key, port, pubkey, list: "bootstrap_servers:\n".to_owned(), settings: String::new() }
    }

    /// With another entry in its list, which may say what the peer speaks.
    pub(crate) fn trusting(mut self, port: u16, pubkey: &str, dialect: Option<&str>) -> Self {
        self.list += &format!("  - host: 127.0.0.1\n    port: {port}\n    pubkey: {pubkey}\n");
        if let Some(dialect) = dialect {
            self.list += &format!("    dialect: {dialect}\n");
        }
        self
    }

    /// With settings of its own, in TOML.
    pub(crate) fn set(mut self, settings: &str) -> Self {
        self.settings += settings;
        self
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts it, or starts it again.
    pub(crate) fn start(&self) -> ServerProcess {
        let list = self.home().join("mesh.yaml");
        let data = self.home().join(self.key);
        let (listen, data) = (self.address(), data.to_str().unwrap());
        let mut command = server_command(&["--listen", &listen, "--data-dir", data, "--log-level", "debug"]);
        let settings = self.home().join("server.toml");
        std::fs::write(&settings, &self.settings).unwrap();
        command.arg("--config").arg(settings);
        if self.list.contains("host") {
            std::fs::write(&list, &self.list).unwrap();
            command.arg("--bootstrap").arg(list);
        }
        ServerProcess::of(command)
    }

    pub(crate) fn log_in(&self, name: &'static str, server: &ServerProcess) -> ClientProcess {
        ClientProcess::log_in(name, server, self.home())
    }
}
