//! A server in this process, and the real program beside it.
#![allow(clippy::unwrap_used, dead_code, reason = "tests, and every file uses its part")]

#[path = "../../../socp-transport/tests/server_support/authority.rs"]
pub(crate) mod authority;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use authority::Certificate;
use serde_json::Value;
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::server::Introducer;
use socp_core::wire::{HostPort, Id};
use socp_transport::server::{Server, ServerConfig};
use socp_transport::tls::ServerTls;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// More than anything here may take, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_socp-client");

pub(crate) fn fixture(name: &str) -> PathBuf {
    format!("{}/../socp-core/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR")).into()
}

pub(crate) fn key(name: &str) -> PrivateKey {
    PrivateKey::from_pem(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

/// The id of the user with the fixture's key of that name.
pub(crate) fn id(name: &str) -> String {
    Id::derived_from(key(name).public_key()).to_string()
}

/// A server and a place for its clients' data.
pub(crate) struct World {
    runtime: Runtime,
    server: Option<Server>,
    /// A second one, linked to the first.
    other: Option<Server>,
    tls: Option<ServerTls>,
    /// How the program is told to dial it.
    pub(crate) scheme: &'static str,
    pub(crate) address: String,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("ws", None)
    }

    /// A server that shows this certificate.
    pub(crate) fn over_tls(certificate: &Certificate) -> Self {
        Self::with("wss", Some(ServerTls::from_files(&certificate.chain, &certificate.key).unwrap()))
    }

    fn with(scheme: &'static str, tls: Option<ServerTls>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (address, dir) = ("127.0.0.1:0".into(), tempfile::tempdir().unwrap());
        let mut world = Self { runtime, server: None, other: None, tls, scheme, address, dir };
        world.start("server-a");
        world
    }

    /// A server with that key, where the last one was.
    pub(crate) fn start(&mut self, name: &str) {
        let mut config = ServerConfig::new(self.address.parse().unwrap(), Arc::new(key(name)));
        config.tls = self.tls.clone();
        let server = self.runtime.block_on(Server::start(config)).unwrap();
        self.address = server.local_addr().to_string();
        self.server = Some(server);
    }

    /// A second server with that key, linked to the first; gives its address.
    pub(crate) fn link(&mut self, name: &str) -> String {
        let mut config = ServerConfig::new("127.0.0.1:0".parse().unwrap(), Arc::new(key(name)));
        let first = self.server.as_ref().unwrap().local_addr();
        let address = HostPort::new(&first.ip().to_string(), first.port()).unwrap();
        config.bootstrap = vec![Introducer::new(address, key("server-a").public_key().clone())];
        let server = self.runtime.block_on(Server::start(config)).unwrap();
        let address = server.local_addr().to_string();
        self.other = Some(server);
        address
    }

    pub(crate) fn stop(&mut self) {
        let server = self.server.take().unwrap();
        self.runtime.block_on(server.shutdown()).unwrap();
    }

    /// The program with the fixture's key of that name, which is the user's name, too.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = self.again(name);
        command.arg("--import-key").arg(fixture(name));
        command
    }

    /// The same once it has the key.
    pub(crate) fn again(&self, name: &str) -> Command {
        let password = self.dir.path().join("password");
        std::fs::write(&password, "correct horse\n").unwrap();
        let mut command = self.keyless(name);
        command.arg("--password-file").arg(password);
        command
    }

    /// The program that has or makes its own key, and knows no password.
    pub(crate) fn keyless(&self, name: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["--server", &format!("{}://{}", self.scheme, self.address), "--user", name]);
        command.arg("--data-dir").arg(self.data(name));
        command.env_remove("RUST_LOG");
        command
    }

    /// The program at a server of its choice, with the fixture's key of that name.
    pub(crate) fn at(&self, address: &str, data: &str, name: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["--server", &format!("{}://{address}", self.scheme), "--user", name, "--json"]);
        command.arg("--data-dir").arg(self.data(data)).arg("--import-key").arg(fixture(name));
        command.env_remove("RUST_LOG");
        command
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn json(&self, name: &str) -> Running {
        Running::start(self.command(name).arg("--json"))
    }

    pub(crate) fn plain(&self, name: &str) -> Running {
        Running::start(self.command(name).arg("--plain"))
    }
}

/// A running program; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let errors = lines_of(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { child, stdin, lines, errors }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// The end of its input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// The next line on its stdout.
    pub(crate) fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                panic!("no line: {error}; stderr: {:?}", self.errors.try_iter().collect::<Vec<_>>())
            }
        }
    }

    /// The next line that starts like this; others are passed over.
    pub(crate) fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(start) {
                return line;
            }
        }
    }

    pub(crate) fn event(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// The next event of a kind; others are passed over.
    pub(crate) fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// Its exit status and all that it still had to say, on stdout and on stderr, once it has no more input.
    pub(crate) fn end(mut self) -> (i32, Vec<String>, Vec<String>) {
        self.hang_up();
        self.end_with_input_open()
    }

    /// The same of one that ends by itself.
    pub(crate) fn end_with_input_open(mut self) -> (i32, Vec<String>, Vec<String>) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => panic!("it does not end"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        (status.code().unwrap_or(-1), self.lines.iter().collect(), self.errors.iter().collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end without input.
pub(crate) fn run(command: &mut Command) -> (i32, Vec<String>, Vec<String>) {
    Running::start(command).end()
}

fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = sync_channel(10_000);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Who may do what with a file.
#[cfg(unix)]
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
