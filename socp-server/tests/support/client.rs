//! `socp-client --json`, another package's binary, and its events.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, Process, ServerProcess, fixture};

/// The client beside our own binary, built first if nobody has.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let server = Path::new(env!("CARGO_BIN_EXE_socp-server"));
        let folder = server.parent().unwrap();
        let client = folder.join(format!("socp-client{}", std::env::consts::EXE_SUFFIX));
        if !client.exists() {
            let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
                "debug" => "dev",
                other => other,
            };
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
            let mut build = Command::new(cargo);
            build.args(["build", "--package", "socp-client", "--profile", profile, "--target-dir"]);
            let built = build.arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR")).status();
            assert!(built.unwrap().success() && client.exists(), "{} cannot be built", client.display());
        }
        client
    })
}

/// A running client.
pub(crate) struct ClientProcess {
    pub(crate) process: Process,
    pub(crate) name: &'static str,
    /// Events that nobody has asked for yet.
    unread: Vec<Value>,
}

impl ClientProcess {
    /// Starts the client of a person with a fixture's key; its data is kept in `home`, and it trusts the
    /// authority in `ca.pem` there, if there is one. Does not wait.
    pub(crate) fn start(name: &'static str, server: &ServerProcess, home: &Path) -> Self {
        Self::start_with(name, server, home, &[])
    }

    /// The same with further arguments. Files of others go to `downloads` in the person's data.
    pub(crate) fn start_with(
        name: &'static str,
        server: &ServerProcess,
        home: &Path,
        arguments: &[&str],
    ) -> Self {
        Self::start_at(name, &format!("{}://{}", server.scheme, server.address), home, arguments)
    }

    /// The same at a server that need not be ours.
    pub(crate) fn start_at(name: &'static str, url: &str, home: &Path, arguments: &[&str]) -> Self {
        let (data, password) = (home.join(name), home.join("password"));
        std::fs::write(&password, "correct horse\n").unwrap();
        let mut command = Command::new(binary());
        command.args(["--server", url]);
        command.args(["--user", name, "--json"]);
        let authority = home.join("ca.pem");
        if authority.exists() {
            command.arg("--ca").arg(authority);
        }
        if !data.exists() {
            command.arg("--import-key").arg(fixture(name));
        }
        command.arg("--downloads").arg(data.join("downloads")).args(arguments);
        command.arg("--data-dir").arg(data).arg("--password-file").arg(password);
        Self { process: Process::start(command), name, unread: Vec::new() }
    }

    /// Starts the client and waits until it is logged in.
    pub(crate) fn log_in(name: &'static str, server: &ServerProcess, home: &Path) -> Self {
        Self::start(name, server, home).ready(server)
    }

    /// Waits until it is logged in.
    pub(crate) fn ready(mut self, server: &ServerProcess) -> Self {
        let ready = self.event("ready");
        assert_eq!(ready["server_id"], server.id);
        self
    }

    /// The next event that was not asked for yet and is as wanted.
    pub(crate) fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_until(Instant::now() + PATIENCE, &wanted).unwrap_or_else(|| {
            let (name, unread, log) = (self.name, &self.unread, self.process.log());
            panic!("{name} sees no {what}, but {unread:#?}; stderr:\n{log}")
        })
    }

    /// The next event of a kind.
    pub(crate) fn event(&mut self, kind: &str) -> Value {
        self.wait(kind, |event| event["event"] == kind)
    }

    /// The next event of a kind about somebody.
    pub(crate) fn about(&mut self, kind: &str, label: &str) -> Value {
        self.wait(&format!("{kind} of {label}"), |event| event["event"] == kind && event["label"] == label)
    }

    /// A message, and that it is verified.
    pub(crate) fn reads(&mut self, kind: &str, from: &str, text: &str) {
        let message = self.wait(&format!("{kind} of {from}: {text}"), |event| {
            event["event"] == kind && event["label"] == from && event["text"] == text
        });
        assert_eq!(message["verified"], true, "{message}");
    }

    /// What is not to have happened so far.
    pub(crate) fn has_not_seen(&mut self, kind: &str) {
        let seen: Vec<_> = self.unread.iter().filter(|event| event["event"] == kind).collect();
        assert!(seen.is_empty(), "{}: {seen:?}", self.name);
    }

    /// Whether something has happened while other events were waited for.
    pub(crate) fn has_seen(&self, kind: &str) -> bool {
        self.unread.iter().any(|event| event["event"] == kind)
    }

    /// Reads on until nobody of that label was told to be gone without having been told to be back. Forgets
    /// these events.
    pub(crate) fn knows(&mut self, label: &str) {
        let is = |event: &Value, kind: &str| event["event"] == kind && event["label"] == *label;
        let told = |event: &Value| is(event, "user_added") || is(event, "user_removed");
        let last = self.unread.iter().rfind(|event| told(event)).cloned();
        self.unread.retain(|event| !told(event));
        if last.is_some_and(|last| is(&last, "user_removed")) {
            self.about("user_added", label);
        }
    }

    /// Types `/tell` until the text arrives: links heal when they do.
    pub(crate) fn tells_at_last(&mut self, to: &mut Self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        for attempt in 1.. {
            assert!(Instant::now() < deadline, "{} does not reach {}", self.name, to.name);
            let text = format!("{text} {attempt}");
            self.types(&format!("/tell {} {text}", to.name));
            let soon = Instant::now() + Duration::from_secs(2);
            if to.wait_until(soon, &|event| event["event"] == "dm" && event["text"] == *text).is_some() {
                return;
            }
        }
    }

    /// Types `/list` until it shows these people, by label.
    pub(crate) fn lists_at_last(&mut self, labels: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.lists();
            if seen == labels {
                return;
            }
            assert!(Instant::now() < deadline, "{} lists {seen:?}, not {labels:?}", self.name);
            // Asking is cheap, but not free.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Types `/list`; the labels of the answer.
    pub(crate) fn lists(&mut self) -> Vec<String> {
        self.types("/list");
        let list = self.wait("list", |event| {
            event["event"] == "list" || event["event"] == "error" && event["ref"].is_u64()
        });
        let users = list["users"].as_array().cloned().unwrap_or_default();
        let known = |user: &Value| user["user_id"].is_string() && user["server_id"].is_string();
        assert!(users.iter().all(known), "{list}");
        users.iter().filter_map(|user| user["label"].as_str().map(Into::into)).collect()
    }

    pub(crate) fn types(&mut self, line: &str) {
        self.process.type_line(line);
    }

    /// `/quit`; it must end well. A command that came to nothing shows in the status; who cannot go on says why.
    pub(crate) fn quit(mut self) {
        self.types("/quit");
        let (status, log) = (self.process.exit(), self.process.log_at_end());
        let gave_up = log.lines().any(|line| line.starts_with("socp-client: "));
        assert!(matches!(status.code(), Some(0 | 1)) && !gave_up, "{}: {status} {log}", self.name);
    }

    fn wait_until(&mut self, deadline: Instant, wanted: &dyn Fn(&Value) -> bool) -> Option<Value> {
        if let Some(at) = self.unread.iter().position(wanted) {
            return Some(self.unread.remove(at));
        }
        loop {
            let line = self.process.line_until(deadline)?;
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if wanted(&event) {
                return Some(event);
            }
            self.unread.push(event);
        }
    }
}
