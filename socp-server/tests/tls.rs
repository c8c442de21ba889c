//! TLS at the real binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use support::authority::Authority;
use support::client::ClientProcess;
use support::{PATIENCE, ServerProcess, import, server_command};

/// Waits until a server's log has these words.
fn until_log(server: &ServerProcess, words: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !server.process.log().contains(words) {
        assert!(Instant::now() < deadline, "{words}: {}", server.process.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_renewed_certificate_is_taken_at_sighup() {
    let (home, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    std::fs::copy(authority.file(), home.path().join("ca.pem")).unwrap();
    let data = home.path().join("server");
    import(&data, "server-a");
    let certificate = authority.issue_expired("a", &["127.0.0.1"]);
    let mut command = server_command(&["--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data).arg("--tls-cert").arg(&certificate.chain).arg("--tls-key").arg(&certificate.key);
    let server = ServerProcess::of(command);
    assert_eq!(server.scheme, "wss");
    until_log(&server, "--introducer wss://127.0.0.1:");
    until_log(&server, "expired on 2002-02-03");
    let mut alice = ClientProcess::start("alice", &server, home.path());
    let gone = alice.event("disconnected");
    assert!(gone["reason"].as_str().unwrap().contains("expired on 2002-02-03"), "{gone}");

    // What cannot be used is told, and changes nothing.
    std::fs::write(&certificate.key, "garbage").unwrap();
    server.process.signal("HUP");
    until_log(&server, "the old certificate stays in use");
    authority.issue("a", &["127.0.0.1"]);
    server.process.signal("HUP");
    until_log(&server, "were read again");
    // She has been trying all the time.
    alice.event("ready");
    alice.quit();
    server.stop();
}

#[test]
fn a_server_says_why_a_listed_one_is_not_linked() {
    let (home, authority, other) =
        (tempfile::tempdir().unwrap(), Authority::new(), Authority::named("another"));
    let start = |name: &str, more: &[&std::ffi::OsStr]| {
        let data = home.path().join(name);
        let key = import(&data, name);
        let certificate = authority.issue(name, &["127.0.0.1"]);
        let mut command = server_command(&["--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(data).arg("--tls-cert").arg(certificate.chain).arg("--tls-key").arg(certificate.key);
        command.args(more);
        (ServerProcess::of(command), key)
    };
    let (a, key) = start("server-a", &[]);
    let introducer = format!("wss://{}#{key}", a.address);
    let ca = other.file();
    let (b, _) =
        start("server-b", &["--introducer".as_ref(), introducer.as_ref(), "--ca".as_ref(), ca.as_ref()]);
    until_log(&b, "a trusted introducer (bootstrap list, --introducer) cannot be joined");
    until_log(&b, "issued by nobody who is trusted here");
    let (c, _) = start(
        "server-c",
        &["--introducer".as_ref(), introducer.replace("wss", "ws").as_ref(), "--ca".as_ref(), ca.as_ref()],
    );
    until_log(&c, "it is to be dialled as wss://");
    for server in [a, b, c] {
        server.stop();
    }
}
