//! Our client in the place of the seed's, on what a seed's server said to alice in a recorded session.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use serde_json::Value;
use socp_core::Now;
use socp_core::client::{Action, Client, Config, Event, MessageKind, Notice, PasswordNotice, Snapshot};
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::dialect::Dialect;
use socp_core::wire::Frame;

fn read(file: &str) -> String {
    let path = format!("{}/tests/fixtures/transcripts/seed/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The frames of A's socket to alice, in order, with the time at which each was written.
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
    let config = Config { dialect: Some(Dialect::Seed), password: true, ..config };
    let frames = said_to_alice();
    let start = frames[0].ts().unwrap().0;
    let at = |ts: u64| Now { instant: Duration::from_millis(ts - start + 1), unix_ms: ts };
    let mut client = Client::new(config, Snapshot::default(), at(start));
    client.handle(at(start), Event::Wakeup);
    client.handle(at(start), Event::LinkOpened);
    let mut notices = Vec::new();
    let mut passwords = Vec::new();
    let mut steps = 0;
    for frame in frames {
        // Our client is not the one that answered: it is told what that one was, as long as it says what that one said.
        let now = at(frame.ts().unwrap().0);
        let mut actions = client.receive(now, frame, &provider);
        while !actions.is_empty() {
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Open(sealed) => {
                        let opened = sealed.open(&key, &provider);
                        actions.extend(client.handle(now, Event::Opened(opened)));
                    }
                    Action::Password(frame) => passwords.push(frame.registers()),
                    Action::Notify(notice) => notices.push(notice),
                    _ => steps += 1,
                }
            }
        }
    }
    println!("{notices:#?} {passwords:?} {steps}");
    let messages: Vec<_> = notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Message { kind, from, verified, .. } => Some((*kind, from.as_str(), *verified)),
            _ => None,
        })
        .collect();
    assert_eq!(messages, [(MessageKind::Direct, "bob", Ok(()))]);
    let _ = PasswordNotice::Found { user_id: "alice".parse().unwrap() };
}
