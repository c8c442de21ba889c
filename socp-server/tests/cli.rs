//! The command line of `socp-server`, with the real binary: what scripts and operators rely on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{PATIENCE, Process, ServerProcess, fixture, free_ports, import, refused, run, server_command};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A data directory with a fixture's key.
fn data(name: &str) -> (TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let key = import(folder.path(), name);
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path, key)
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn without_arguments_and_files_it_starts_and_tells_how_to_join() {
    let home = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = server_command(&["--listen", "127.0.0.1:0"]);
        command.env("XDG_DATA_HOME", home.path());
        ServerProcess::of(command)
    };
    let mut server = start();
    let (address, id) = (server.address, server.id.clone());
    assert!(fs::exists(home.path().join("socp/server")).unwrap());
    // The hints come right behind the line on stdout.
    let deadline = Instant::now() + PATIENCE;
    while !server.process.log().contains("--introducer 127.0.0.1:") {
        assert!(Instant::now() < deadline, "{}", server.process.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = server.process.log();
    assert!(log.contains("RSA-4096") && !log.contains('\u{1b}'), "{log}");
    assert!(log.contains(&format!("socp-client --server ws://{address} --user NAME")), "{log}");
    assert!(log.contains(&format!("socp-server --introducer {address}#MII")), "{log}");

    server.process.kill();
    let again = start();
    assert_eq!(again.id, id, "the identity survives kill -9");
    again.stop();
}

#[test]
fn an_identity_is_made_or_imported_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let (status, made, log) = run(&["identity", "--data-dir", path, "--json"]);
    assert_eq!(status, Some(0), "{log}");
    let identity: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(identity.as_object().unwrap().keys().collect::<Vec<_>>(), ["pubkey", "server_id"]);
    assert_eq!(run(&["identity", "--data-dir", path, "--json"]).1, made);
    let (_, words, _) = run(&["identity", "--data-dir", path]);
    for field in ["server_id", "pubkey"] {
        assert!(words.contains(identity[field].as_str().unwrap()), "{words}");
    }
    assert!(words.contains("fingerprint") && words.contains("--introducer HOST:PORT#MII"), "{words}");
    for (dialect, ending) in [("r", "o="), ("f", "o")] {
        let (_, text, _) = run(&["identity", "--data-dir", path, "--json", "--for", dialect]);
        let of: Value = serde_json::from_str(&text).unwrap();
        let key = of["pubkey"].as_str().unwrap();
        assert!(key.starts_with("LS0tLS1CRUdJTiBQVUJMSUMg") && key.ends_with(ending), "{key}");
    }

    let other = fixture("server-b");
    refused(&["identity", "--data-dir", path, "--import", other.to_str().unwrap()], &[path, "not replaced"]);
    assert_eq!(run(&["identity", "--data-dir", path, "--json"]).1, made);
    let weak = fixture("weak/rsa2048.pub");
    refused(&["identity", "--data-dir", path, "--import", weak.to_str().unwrap()], &["RSA-4096"]);
}

#[test]
fn the_id_is_kept_from_the_first_start_on() {
    let (folder, path, _) = data("server-a");
    let start = |more: &[&str]| {
        ServerProcess::start(&[&["--listen", "127.0.0.1:0", "--data-dir", &path], more].concat())
    };
    let first = start(&["--server-id", "srv-a"]);
    assert_eq!(first.id, "srv-a");
    // A running server can be looked at.
    let (_, identity, log) = run(&["identity", "--data-dir", &path, "--json"]);
    assert!(identity.contains("\"srv-a\""), "{identity}{log}");
    refused(&["run", "--listen", "127.0.0.1:0", "--data-dir", &path], &[&path, "in use"]);
    first.stop();
    let second = start(&[]);
    assert_eq!(second.id, "srv-a");
    second.stop();
    refused(&["--data-dir", &path, "--server-id", "srv-b"], &["srv-a", "srv-b", &path]);
    start(&["--server-id", "srv-a"]).stop();

    // Others have pinned the id to the key: another key makes another server.
    let identity = folder.path().join("identity.pem");
    fs::remove_file(&identity).unwrap();
    let other = fixture("server-b");
    let import = ["identity", "--data-dir", &path, "--import", other.to_str().unwrap()];
    refused(&import, &[&path, "another key"]);
    assert!(!fs::exists(&identity).unwrap());
    let (elsewhere, ..) = data("server-b");
    fs::copy(elsewhere.path().join("identity.pem"), &identity).unwrap();
    refused(&["--data-dir", &path], &[&path, "another key"]);
}

#[test]
fn pins_are_listed_and_forgotten_by_the_operator_alone() {
    let (_a, path_a, key_a) = data("server-a");
    let a = ServerProcess::start(&["--listen", "127.0.0.1:0", "--data-dir", &path_a]);
    let (_b, path_b, _) = data("server-b");
    let introducer = format!("{}#{key_a}", a.address);
    let joining = ["--listen", "127.0.0.1:0", "--data-dir", &path_b, "--introducer", &introducer];
    let b = ServerProcess::start(&joining);
    let pins = |path: &str| -> Vec<Value> {
        let (status, out, log) = run(&["pins", "--data-dir", path, "--json"]);
        assert_eq!(status, Some(0), "{log}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    // Both run meanwhile.
    while pins(&path_a).is_empty() {
        assert!(Instant::now() < deadline, "{}", b.process.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let pin = pins(&path_a).remove(0);
    assert_eq!((&pin["kind"], &pin["id"], &pin["derived"]), (&json!("server"), &json!(b.id), &json!(true)));
    let (_, identity, _) = run(&["identity", "--data-dir", &path_b]);
    let fingerprint = pin["fingerprint"].as_str().unwrap();
    assert!(identity.contains(fingerprint), "{identity}");
    let (_, words, _) = run(&["pins", "--data-dir", &path_a, &b.id]);
    assert!(words.contains(&b.id) && words.contains(fingerprint), "{words}");

    let id = b.id.clone();
    b.stop();
    refused(&["forget", "--data-dir", &path_a, &id], &[&path_a, "in use"]);
    a.stop();
    refused(&["forget", "--data-dir", &path_a, &id, "nobody"], &["no key is pinned for nobody"]);
    assert_eq!(pins(&path_a).len(), 1, "all or nothing");
    let (status, out, log) = run(&["forget", "--data-dir", &path_a, &id]);
    assert_eq!((status, out), (Some(0), format!("forgotten: server {id}, {fingerprint}")), "{log}");
    assert!(pins(&path_a).is_empty());
    refused(&["pins", "--data-dir", &path_a, &id], &["no key is pinned for", &id]);
}

#[test]
fn a_server_says_why_it_cannot_join_and_when_it_has() {
    let (_a, path_a, key_a) = data("server-a");
    let (_b, path_b, key_b) = data("server-b");
    let (_c, path_c, _) = data("server-c");
    let [port] = free_ports();
    let address = format!("127.0.0.1:{port}");
    let until = |server: &ServerProcess, words: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !server.process.log().contains(words) {
            assert!(Instant::now() < deadline, "{words}: {}", server.process.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let joining = |key: &str| format!("{address}#{key}");
    let b = ServerProcess::start(&[
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &path_b,
        "--introducer",
        &joining(&key_a),
    ]);
    until(&b, "cannot be joined");
    let log = b.process.log();
    let line = log.lines().find(|line| line.contains("cannot be joined")).unwrap();
    assert!(line.contains("WARN") && line.contains(&address) && line.contains("refused"), "{line}");
    let a = ServerProcess::start(&["--listen", &address, "--data-dir", &path_a]);
    until(&b, "the trusted introducer is joined now");
    assert_eq!(b.process.log().matches("cannot be joined").count(), 1, "{}", b.process.log());

    // Another key than the list's: both fingerprints, and whose word it is.
    let c = ServerProcess::start(&[
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &path_c,
        "--introducer",
        &joining(&key_b),
    ]);
    until(&c, "not the key of the bootstrap list");
    let (_, identity, _) = run(&["identity", "--data-dir", &path_a]);
    let fingerprint = identity.lines().find_map(|line| line.strip_prefix("fingerprint  ")).unwrap();
    let log = c.process.log();
    let line = log.lines().find(|line| line.contains("not the key of the bootstrap list")).unwrap();
    assert!(line.contains("WARN") && line.contains(&format!("shown={fingerprint:?}")), "{line}");
    for server in [a, b, c] {
        server.stop();
    }
}

#[test]
fn what_cannot_be_used_is_refused_in_one_line() {
    let (folder, path, key) = data("server-a");
    let server = ServerProcess::start(&["--listen", "127.0.0.1:0", "--data-dir", &path]);
    let (_other, other, _) = data("server-b");
    let taken = server.address.to_string();
    refused(&["--listen", &taken, "--data-dir", &other], &[&taken, "in use"]);
    server.stop();

    let entry =
        |key: &str| format!("bootstrap_servers:\n  - host: 127.0.0.1\n    port: 9\n    pubkey: {key}\n");
    let list = |name: &str, text: String| write(folder.path(), name, &text);
    for (file, words) in [
        (list("weak.yaml", entry("AAAA")), ["weak.yaml", "line 4"]),
        (list("cut.yaml", "bootstrap_servers: [\n".into()), ["cut.yaml", "line "]),
        (list("type.yaml", "bootstrap_servers:\n  - 7\n".into()), ["type.yaml", "line 2"]),
        ("absent.yaml".into(), ["absent.yaml", "No such file"]),
    ] {
        refused(&["--data-dir", &path, "--bootstrap", &file], &words);
    }
    let config = write(folder.path(), "typo.toml", "listen = '127.0.0.1:0'\nbootstap = 'mesh.yaml'\n");
    refused(&["--config", &config, "--data-dir", &path], &["typo.toml", "line 2", "bootstap"]);
    let (listen, introducer) = ("0.0.0.0:0", format!("127.0.0.1:9#{key}"));
    let joining = ["--allow-plain", "--listen", listen, "--data-dir", &other, "--introducer", &introducer];
    refused(&joining, &["0.0.0.0:0", "--advertise"]);
    refused(&joining[1..], &["0.0.0.0:0", "beyond this machine", "--tls-cert", "--allow-plain"]);

    fs::write(folder.path().join("server.db"), "this is no database, whatever its name says").unwrap();
    refused(&["--listen", "127.0.0.1:0", "--data-dir", &path], &["server.db", "not an SQLite database"]);
    fs::write(folder.path().join("identity.pem"), "garbage").unwrap();
    refused(&["--listen", "127.0.0.1:0", "--data-dir", &path], &["identity.pem", "RSA-4096"]);
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [
        &["--bogus"][..],
        &["--listen", "nowhere"],
        &["--introducer", "127.0.0.1:1#AAAA"],
        &["--log-level", "loud"],
        &["--server-id", ""],
        &["serve"],
    ] {
        let (status, out, log) = run(arguments);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{arguments:?}: {log}");
    }
}

#[test]
fn the_file_configures_and_the_command_line_beats_it() {
    let (folder, _, _) = data("server-a");
    let [port] = free_ports();
    let config = write(
        folder.path(),
        "server.toml",
        &format!(
            "listen = '127.0.0.1:{port}'\ndata_dir = '.'\nserver_id = 'from-file'\nlog_level = 'error'\n"
        ),
    );
    let server = ServerProcess::start(&["--config", &config]);
    assert_eq!((server.address.port(), server.id.as_str()), (port, "from-file"));
    server.stop();
    let server = ServerProcess::start(&["run", "--config", &config, "--listen", "127.0.0.1:0"]);
    assert_ne!(server.address.port(), port);
    server.stop();
}

#[test]
fn the_demo_plays_the_scenario() {
    let mut demo = Process::start(server_command(&["demo", "--exit"]));
    let mut lines = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while let Some(line) = demo.line(deadline) {
        lines.push(line);
    }
    assert_eq!(demo.exit().code(), Some(0), "{lines:#?}\n{}", demo.log());
    for line in [
        "alice | [user added] bob is now available for messaging",
        "bob   | [user added] alice is now available for messaging",
        "bob   > /tell alice hello across servers!",
        "alice | [dm] bob: hello across servers!",
        "alice > /all hello mesh!",
        "bob   | [public] alice: hello mesh!",
        "alice > /tell bob hello",
        "bob   | [dm] alice: hello",
        "alice > /list",
        "alice | [user removed] bob is no longer available",
    ] {
        assert!(lines.iter().any(|seen| seen == line), "{line}\n{lines:#?}");
    }
}

/// A peer that says what it likes.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn connect(server: &ServerProcess) -> Self {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let opened = tokio_tungstenite::client_async("ws://127.0.0.1/", stream).await.unwrap();
        Self(opened.0)
    }

    async fn send(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    async fn frame(&mut self, kind: &str, to: &str, payload: Value) {
        let ts = 1_700_000_000_000_u64;
        let frame = json!({"type": kind, "from": "carol", "to": to, "ts": ts, "payload": payload});
        self.send(frame.to_string()).await;
    }

    /// Logs in as the standard has it, with carol's key.
    async fn log_in(&mut self, server: &ServerProcess) {
        let folder = tempfile::tempdir().unwrap();
        let key = import(folder.path(), "carol");
        let hello = json!({"client": "raw", "pubkey": key, "enc_pubkey": key});
        self.frame("USER_HELLO", &server.id, hello).await;
        self.frame("LIST_REQUEST", "", json!({})).await;
        self.until("LIST_RESPONSE").await;
    }

    async fn next(&mut self) -> Option<Message> {
        timeout(PATIENCE, self.0.next()).await.unwrap().and_then(Result::ok)
    }

    /// The next frame of a type.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("closed before {kind}"));
            let Message::Text(text) = message else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Message::Close(frame) = self.next().await? {
                return frame.map(|frame| frame.code.into());
            }
        }
    }
}

#[tokio::test]
async fn asked_to_stop_it_says_goodbye() {
    for signal in ["TERM", "INT"] {
        let (_folder, path, _) = data("server-a");
        let mut server = ServerProcess::start(&["--listen", "127.0.0.1:0", "--data-dir", &path]);
        let mut user = Peer::connect(&server).await;
        user.log_in(&server).await;
        let mut silent = Peer::connect(&server).await;
        let asked = Instant::now();
        // timeout(1) asks twice.
        server.process.signal(signal);
        server.process.signal(signal);
        assert_eq!(user.close_code().await, Some(1000));
        assert_eq!(silent.close_code().await, Some(1000));
        let status = server.process.exit();
        assert!(asked.elapsed() < Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "{}", server.process.log());
    }
}

#[tokio::test]
async fn bad_frames_disturb_nothing_else() {
    let (_folder, path, _) = data("server-a");
    let server = ServerProcess::start(&["--listen", "127.0.0.1:0", "--data-dir", &path]);
    let mut user = Peer::connect(&server).await;
    user.log_in(&server).await;
    for garbage in ["this is no JSON", "{}", "[]", r#"{"type":"NO_SUCH","payload":{}}"#, "{\"type\":"] {
        user.send(garbage).await;
        let error = user.until("ERROR").await;
        assert_eq!(error["payload"]["code"], "UNKNOWN_TYPE", "{garbage}: {error}");
    }
    let mut flood = Peer::connect(&server).await;
    flood.send("x".repeat(2 * 1024 * 1024)).await;
    assert_eq!(flood.close_code().await, Some(1009));

    user.frame("LIST_REQUEST", "", json!({})).await;
    let list = user.until("LIST_RESPONSE").await;
    assert_eq!(list["payload"]["users"].as_array().map(Vec::len), Some(1));
    server.stop();
}
