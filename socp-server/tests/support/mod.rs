//! Processes for tests: the real binaries, killed when a test ends, and what they say as events.
#![allow(dead_code, reason = "every test file uses its part")]

#[path = "../../../socp-transport/tests/server_support/authority.rs"]
pub(crate) mod authority;
pub(crate) mod client;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// More than anything here may take, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a process that nobody has read yet.
const UNREAD: usize = 4096;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../socp-core/tests/fixtures/keys/{name}.pem"))
}

pub(crate) fn server_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socp-server"));
    command.args(arguments);
    // Nobody's own configuration and data.
    command.env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.env("XDG_DATA_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// What a command that ends by itself said: its status, stdout, stderr.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut process = Process::start(server_command(arguments));
    let status = process.exit();
    let out: Vec<_> = process.lines.iter().collect();
    (status.code(), out.join("\n"), process.log_at_end())
}

/// Asserts that a command is refused with one line that says all of `words`.
pub(crate) fn refused(arguments: &[&str], words: &[&str]) {
    let (status, out, log) = run(arguments);
    assert_eq!((status, out.as_str()), (Some(1), ""), "{log}");
    let lines: Vec<_> = log.lines().filter(|line| line.starts_with("socp-server: ")).collect();
    assert_eq!((lines.len(), log.lines().count()), (1, 1), "{log}");
    for word in words {
        assert!(lines[0].contains(word), "{word}: {log}");
    }
}

/// Makes the data directory of a server with a fixture's key, and returns its key field.
pub(crate) fn import(data: &Path, name: &str) -> String {
    let (data, key) = (data.to_str().unwrap(), fixture(name));
    let (status, out, log) =
        run(&["identity", "--data-dir", data, "--import", key.to_str().unwrap(), "--json"]);
    assert_eq!(status, Some(0), "{log}");
    let identity: serde_json::Value = serde_json::from_str(&out).unwrap();
    identity["pubkey"].as_str().unwrap().to_owned()
}

/// Ports that nobody has at the moment.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let taken = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

/// A child process, killed when dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Arc<Mutex<String>>,
    logging: Option<thread::JoinHandle<()>>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(UNREAD);
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let log = Arc::new(Mutex::new(String::new()));
        let written = log.clone();
        let logging = thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = errors.read(&mut some) {
                written.lock().unwrap().push_str(&String::from_utf8_lossy(&some[..count]));
            }
        });
        Self { input: child.stdin.take(), child, lines, log, logging: Some(logging) }
    }

    /// The next line of stdout; none at its end.
    pub(crate) fn line(&self, deadline: Instant) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => panic!("no further line in time; stderr:\n{}", self.log()),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// The next line of stdout; none at its end, and none if there is none in time.
    pub(crate) fn line_until(&self, deadline: Instant) -> Option<String> {
        self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
    }

    /// Stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// All of stderr, once the process has ended.
    pub(crate) fn log_at_end(&mut self) -> String {
        if let Some(logging) = self.logging.take() {
            logging.join().unwrap();
        }
        self.log()
    }

    /// Waits for the end.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end; stderr:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running server.
pub(crate) struct ServerProcess {
    pub(crate) process: Process,
    /// How it is dialled.
    pub(crate) scheme: String,
    pub(crate) address: SocketAddr,
    pub(crate) id: String,
}

impl ServerProcess {
    /// Starts one and waits for the line that says that it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(server_command(arguments))
    }

    pub(crate) fn of(command: Command) -> Self {
        let process = Process::start(command);
        let Some(line) = process.line(Instant::now() + PATIENCE) else {
            panic!("it does not listen; stderr:\n{}", process.log());
        };
        let url_and_id = line.strip_prefix("listening ").and_then(|rest| rest.split_once(" server_id="));
        let (url, id) = url_and_id.unwrap_or_else(|| panic!("{line}"));
        let (scheme, address) = url.split_once("://").unwrap();
        Self { process, scheme: scheme.into(), address: address.parse().unwrap(), id: id.to_owned() }
    }

    /// SIGTERM; it must end well, and in time.
    pub(crate) fn stop(mut self) {
        self.process.signal("TERM");
        let start = Instant::now();
        let status = self.process.exit();
        assert_eq!(status.code(), Some(0), "{}", self.process.log());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
