//! Our client in the place of the seed's, on what a seed's server said to alice in a recorded session.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use socp_core::Now;
use socp_core::client::{Action, Client, Config, Event, Notice, Snapshot};
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::dialect::Dialect;
use socp_core::wire::Frame;

fn read(file: &str) -> String {
    let path = format!("{}/tests/fixtures/transcripts/seed/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The frames that A wrote to alice's socket, in order.
fn said_to_alice() -> Vec<Frame> {
    let record = read("frames.jsonl");
    let lines = record.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let to_alice = lines.filter(|line| line["from"] == "A" && line["to"] == "alice");
    to_alice.map(|line| Frame::parse(line["text"].as_str().unwrap(), 1 << 20).unwrap()).collect()
}

fn alices_key() -> PrivateKey {
    let keys: Value = serde_json::from_str(&read("keys.json")).unwrap();
    let parties = keys["parties"].as_array().unwrap();
    let alice = parties.iter().find(|party| party["label"] == "alice").unwrap();
    PrivateKey::from_pem(alice["private_key_pem"].as_str().unwrap()).unwrap()
}

#[test]
fn what_a_seed_said_is_understood_and_verified() {
    let (key, provider) = (alices_key(), Provider::new());
    let address = "127.0.0.1:21001".parse().unwrap();
    let config = Config::new("alice".parse().unwrap(), key.public_key().clone(), address, [1; 32]);
    let mut config = Config { dialect: Some(Dialect::Seed), password: true, ..config };
    // Alice asked for her list when she was told to.
    config.timing.login = Duration::from_secs(60);
    let frames = said_to_alice();
    let start = frames[0].ts().unwrap().0;
    let at = |ts: u64| Now { instant: Duration::from_millis(ts - start + 1), unix_ms: ts };
    let mut client = Client::new(config, Snapshot::default(), at(start));
    client.handle(at(start), Event::Wakeup);
    client.handle(at(start), Event::LinkOpened);
    let (mut told, mut logins) = (Vec::new(), Vec::new());
    for frame in frames {
        let now = at(frame.ts().unwrap().0);
        let mut actions = VecDeque::from(client.receive(now, frame, &provider));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Open(sealed) => {
                    let opened = sealed.open(&key, &provider);
                    actions.extend(client.handle(now, Event::Opened(opened)));
                }
                Action::Password(frame) => logins.push(frame.login("passw0rd-a").as_str().to_owned()),
                Action::Notify(Notice::Message { kind, from, verified: Ok(()), .. }) => {
                    told.push(format!("{kind:?} {from}"));
                }
                Action::Notify(Notice::UserAdded { label, .. }) => told.push(format!("added {label}")),
                Action::Notify(Notice::Ready { server_id, .. }) => told.push(format!("ready at {server_id}")),
                Action::Notify(other) => told.push(format!("{other:?}")),
                _ => {}
            }
        }
    }
    // In between alice mistyped her password at a second login on the same socket.
    let mistyped = r#"Failed { reference: None, code: BadKey, detail: "password invalid (the server refuses a key: compare fingerprints with whom it concerns)" }"#;
    let messages = ["Direct bob", "Public bob", mistyped, "Direct bob"];
    assert_eq!(told, [&["added bob", "added carol", "ready at srv-a"], &messages[..]].concat());
    let [login] = &logins[..] else { panic!("{logins:?}") };
    let recorded = r#""payload":{"password":"passw0rd-a","user_id":"alice"}}"#;
    assert!(
        login.starts_with(r#"{"type":"USER_LOGIN","from":"alice","to":"","#) && login.ends_with(recorded)
    );
}
