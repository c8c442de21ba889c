//! `socp-server probe` against our own server, stand-ins for others, and what is no server at all.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peers/mod.rs"]
mod peers;
mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use peers::f_server::FServer;
use peers::m_server::MServer;
use peers::r_server::RServer;
use peers::seed_server::SeedServer;
use peers::{LinkId, Net, Peer, StandIn};
use serde_json::Value;
use support::{Process, ServerProcess, fixture, free_ports, run, server_command};

/// Longer than any of these takes, and as long as nobody wants to wait.
const BOUND: Duration = Duration::from_secs(60);

/// Stand-ins answer at once, or not at all.
const HASTE: [&str; 2] = ["--patience", "1s"];

/// Keys that nobody has to wait for.
fn keys(folder: &Path) -> String {
    for (ours, name) in [("server-c", "probe-1"), ("server-d", "probe-2"), ("dave", "users")] {
        std::fs::copy(fixture(ours), folder.join(format!("{name}.pem"))).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

/// A finished probe: its status, the clauses by name, and the summary.
struct Probed {
    status: Option<i32>,
    clauses: Vec<Value>,
    summary: Value,
}

impl Probed {
    fn of(url: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(folder.path());
        let began = Instant::now();
        let arguments = [&["probe", "--json", "--quick", "--keys", &keys], more, &[url]].concat();
        let (status, out, log) = run(&arguments);
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
        let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.pop().unwrap_or_else(|| panic!("{log}"));
        Self { status, clauses: lines, summary: last["summary"].clone() }
    }

    fn outcome(&self, id: &str) -> (&str, &str) {
        let clause = self.clauses.iter().find(|clause| clause["clause"] == id);
        let clause = clause.unwrap_or_else(|| panic!("no clause {id}"));
        (clause["outcome"].as_str().unwrap(), clause["why"].as_str().unwrap())
    }

    fn passes(&self, ids: &[&str]) {
        for id in ids {
            assert_eq!(self.outcome(id).0, "passed", "{id}: {}", self.outcome(id).1);
        }
    }

    fn fails(&self, id: &str, word: &str) {
        let (outcome, why) = self.outcome(id);
        assert!(outcome == "failed" && why.contains(word), "{id}: {outcome}, {why}");
    }

    fn is_of(&self, dialect: &str) {
        assert_eq!(self.summary["dialect"], dialect, "{}", self.summary);
        assert!(!self.summary["reasons"].as_array().unwrap().is_empty());
        assert_eq!(self.summary["cut_short"], Value::Null);
    }
}

#[test]
fn our_own_server_passes_and_is_left_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    support::import(home.path(), "server-a");
    let data = home.path().to_str().unwrap();
    let server =
        ServerProcess::start(&["--listen", "127.0.0.1:0", "--data-dir", data, "--log-level", "warn"]);
    let url = format!("ws://{}", server.address);
    // The second time the users are known there, and members of the channel.
    let not_tried = ["heartbeat.comes", "heartbeat.kept"];
    let joined = ["channel.add", "channel.updated"];
    for skips in [not_tried.to_vec(), [joined, not_tried].concat()] {
        let probed = Probed::of(&url, &["--patience", "2s"]);
        let failed: Vec<_> = probed.clauses.iter().filter(|clause| clause["outcome"] == "failed").collect();
        assert_eq!((probed.status, failed.len()), (Some(0), 0), "{failed:#?}");
        let skipped = probed.clauses.iter().filter(|clause| clause["outcome"] == "n/a");
        let skipped: Vec<_> = skipped.map(|clause| clause["clause"].as_str().unwrap()).collect();
        assert_eq!(skipped, skips);
        assert_eq!(probed.summary["server_id"], *server.id);
        probed.is_of("standard");
    }
    server.stop();
}

/// They wait more than they work, so they do it at the same time.
#[test]
fn dialects_are_recognised_and_their_faults_are_found() {
    std::thread::scope(|scope| {
        scope.spawn(the_seed_is_recognised_and_its_faults_are_found);
        scope.spawn(r_is_recognised_by_what_it_reads);
        scope.spawn(m_is_recognised_by_dialling_back);
        scope.spawn(f_is_recognised_by_its_keys_and_its_relays_are_signed_anew);
    });
}

fn the_seed_is_recognised_and_its_faults_are_found() {
    let [port] = free_ports();
    let _seed = SeedServer::new("srv-b", "server-b", port, &[]).start();
    let probed = Probed::of(&format!("ws://127.0.0.1:{port}"), &HASTE);
    assert_eq!(probed.status, Some(1));
    probed.is_of("seed");
    probed.passes(&["join.welcome", "join.key", "user.advertise", "gossip.advertise", "dm.local", "dm.out"]);
    probed.fails("join.id", "srv-b");
    probed.fails("user.hello", "USER_LOGIN");
    probed.fails("user.told", "Ann hears nothing of Ben");
    probed.fails("user.name-in-use", "second login is taken");
    probed.fails("dm.sender", "forged");
}

fn r_is_recognised_by_what_it_reads() {
    let [port] = free_ports();
    let r = RServer::new("f2d1bdf5-349f-49f9-9998-dffd874ebb7d", "server-b", port).start();
    let key = r.act(|r, _| r.pubkey());
    let probed = Probed::of(&format!("ws://127.0.0.1:{port}"), &[&HASTE[..], &["--pubkey", &key]].concat());
    assert_eq!(probed.status, Some(1));
    probed.is_of("r");
    probed.fails("join.welcome", "only as dialect r");
    probed.fails("frame.base64", "padded");
    probed.fails("user.hello", "no answer");
}

fn m_is_recognised_by_dialling_back() {
    let [port] = free_ports();
    let _m = MServer::new("4577640c-f770-4d64-88fb-fa6128939cef", "server-b", port).start();
    let probed = Probed::of(&format!("ws://127.0.0.1:{port}"), &HASTE);
    assert_eq!(probed.status, Some(1));
    probed.is_of("m");
    probed.fails("join.welcome", "dial back");
    probed.fails("gossip.relay", "re-signed");
}

fn f_is_recognised_by_its_keys_and_its_relays_are_signed_anew() {
    let [port] = free_ports();
    let _f = FServer::new("6ea82b95-cc76-4529-8c92-b14362fe2d63", "server-b", port).start();
    let probed = Probed::of(&format!("ws://127.0.0.1:{port}"), &HASTE);
    assert_eq!(probed.status, Some(1));
    probed.is_of("f");
    probed.fails("join.key", "PEM");
    probed.fails("gossip.relay", "re-signed");
}

/// Answers everything with what is no frame, if with anything.
struct Rubbish(Option<&'static str>);

impl Peer for Rubbish {
    fn opened(&mut self, _: &mut Net, _: LinkId, _: Option<&str>) {}

    fn heard(&mut self, net: &mut Net, link: LinkId, _: peers::frame::Received) {
        if let Some(text) = self.0 {
            net.send(link, text.to_owned());
        }
    }

    fn closed(&mut self, _: &mut Net, _: LinkId) {}
}

#[test]
fn a_server_that_says_nothing_or_rubbish_fails_in_bounded_time() {
    std::thread::scope(|scope| {
        for rubbish in [None, Some("{\"type\":7,\u{202e}\u{1b}[2J nonsense")] {
            scope.spawn(move || says_at_most(rubbish));
        }
    });
}

fn says_at_most(rubbish: Option<&'static str>) {
    let [port] = free_ports();
    let _server = StandIn::listen(port, Rubbish(rubbish));
    let probed = Probed::of(&format!("ws://127.0.0.1:{port}"), &HASTE);
    assert_eq!(probed.status, Some(1));
    assert_eq!(probed.summary["dialect"], Value::Null);
    probed.fails("join.welcome", "no WELCOME");
    if rubbish.is_some() {
        probed.fails("frame.envelope", "no frame");
    }
}

/// What a TCP port that speaks no WebSocket gets, by what it does with a connection.
fn refused_by(serve: impl Fn(std::net::TcpStream) + Send + 'static, word: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(stream);
        }
    });
    let began = Instant::now();
    let (status, out, log) = run(&["probe", &format!("ws://{address}")]);
    assert!(began.elapsed() < BOUND);
    assert_eq!((status, &*out), (Some(2), ""), "{log}");
    assert!(log.starts_with("socp-server: ") && log.contains(word) && log.lines().count() == 1, "{log}");
}

#[test]
fn what_is_no_server_is_said_in_one_line() {
    let [port] = free_ports();
    let (status, _, log) = run(&["probe", &format!("ws://127.0.0.1:{port}")]);
    assert!(status == Some(2) && log.contains("refused"), "{log}");
    // Beyond this machine only if asked for; and a mistyped URL.
    let (status, _, log) = run(&["probe", "ws://192.0.2.1:9"]);
    assert!(status == Some(2) && log.contains("--allow-plain"), "{log}");
    assert_eq!(run(&["probe", "http://127.0.0.1:9"]).0, Some(2));
    // Once it has read what we ask: before that, it is up to the system whose error comes first.
    refused_by(|mut stream| drop(stream.read(&mut [0; 1024])), "handshake");
    refused_by(
        |mut stream| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        },
        "handshake",
    );
    // Says nothing until it is closed.
    refused_by(|mut stream| drop(stream.read_to_end(&mut Vec::new())), "no answer within");
}

#[test]
fn ctrl_c_takes_everything_back_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let seed = SeedServer::new("srv-b", "server-b", port, &[]).start();
    let keys = keys(home.path());
    let url = format!("ws://127.0.0.1:{port}");
    let mut probe = Process::start(server_command(&["probe", "--json", "--keys", &keys, &url]));
    // Rob is there.
    seed.wait("an advert", |seed, _| (!seed.remote.is_empty()).then_some(()));
    probe.signal("INT");
    assert_eq!(probe.exit().code(), Some(1));
    let lines: Vec<Value> = std::iter::from_fn(|| probe.line(Instant::now() + BOUND))
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert_eq!(lines.last().unwrap()["summary"]["cut_short"], "stopped by SIGINT");
    seed.wait("nobody left", |seed, _| (seed.remote.is_empty() && seed.local.is_empty()).then_some(()));
}
