//! Who people are, and what they call themselves.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::json;
use support::{Running, World, id, key};

#[test]
fn a_fingerprint_that_was_compared_stays_so_across_restarts() {
    let world = World::new();
    let mut alice = world.plain("alice");
    alice.until("[ready]");
    let mut bob = world.json("bob");
    bob.event_of("ready");
    alice.until("[user added]");
    let fingerprint = key("bob").public_key().id().fingerprint();
    alice.say("/whois bob");
    assert_eq!(alice.line(), "[whois] bob, online on this server");
    assert_eq!(alice.line(), format!("[whois] id {}, proven by the key", id("bob")));
    assert_eq!(alice.line(), format!("[whois] fingerprint {fingerprint}"));
    let line = alice.line();
    assert!(line.starts_with("[whois] known since 20") && line.contains(", not checked: "), "{line}");
    // What bob sees of himself is the same.
    bob.say("/whoami");
    assert_eq!(bob.event_of("whoami")["fingerprint"], fingerprint);

    alice.say("/verify bob");
    assert_eq!(alice.line(), "[verify] bob is marked as checked in person");
    assert_eq!(alice.line(), format!("[verify] fingerprint {fingerprint}"));
    assert_eq!(alice.end().0, 0);
    let mut alice = Running::start(world.again("alice").arg("--json"));
    alice.event_of("ready");
    alice.say("/whois bob");
    let whois = alice.event_of("whois");
    assert_eq!(
        (&whois["verified"], &whois["proven"], &whois["ref"]),
        (&json!(true), &json!(true), &json!(1))
    );
    assert!(whois["verified_at"].as_u64() >= whois["since"].as_u64());
    alice.say("/unverify bob");
    assert_eq!(alice.event_of("verified")["verified"], json!(false));
    alice.say("/verify alice");
    assert_eq!(alice.event_of("error")["detail"], "that is you");
}

#[test]
fn a_new_name_is_seen_at_once_and_kept() {
    let world = World::new();
    let mut alice = world.plain("alice");
    alice.until("[ready]");
    let mut bob = world.json("bob");
    bob.event_of("ready");
    alice.say("/me name Alice B.");
    assert_eq!(alice.until("[me]"), "[me] display_name Alice B.");
    assert_eq!(
        bob.event_of("user_renamed"),
        json!({"event": "user_renamed", "user_id": id("alice"), "was": "alice", "label": "Alice B."})
    );
    bob.say("/tell \"Alice B.\" hello");
    assert_eq!(alice.line(), "[dm] bob: hello");
    alice.say("/me pronouns she/her");
    assert_eq!(alice.line(), "[me] display_name Alice B.");
    assert_eq!(alice.line(), "[me] pronouns she/her");
    alice.say("/me age soon");
    assert_eq!(alice.line(), "[error] BAD_COMMAND an age is a number of years");
    bob.say("/me name bobby");
    assert_eq!(bob.event_of("me")["meta"], json!({"display_name": "bobby"}));
    assert_eq!(alice.line(), "[user renamed] bob is now bobby");

    bob.say("/whois \"Alice B.\"");
    assert_eq!(bob.event_of("whois")["meta"]["pronouns"], "she/her");
    assert_eq!(alice.end().0, 1, "an age was none");
    let mut alice = Running::start(world.again("alice").arg("--json"));
    assert_eq!(bob.event_of("user_added")["label"], "Alice B.");
    alice.event_of("ready");
    alice.say("/me");
    assert_eq!(alice.event_of("me")["meta"], json!({"display_name": "Alice B.", "pronouns": "she/her"}));
}

/// A script that speaks and leaves, changes field after field, and asks for who has left.
#[test]
fn who_speaks_and_leaves_is_shown_by_name() {
    let world = World::new();
    let mut bob = world.plain("bob");
    bob.until("[ready]");
    let mut alice = world.json("alice");
    for line in ["/me pronouns she/her", "/me age 30", "/me pronouns they/them", "/tell bob hi"] {
        alice.say(line);
    }
    let (status, lines, errors) = alice.end();
    assert_eq!((status, errors), (0, vec![]), "{lines:?}");
    // Whether she is still there when it is open or not.
    let mut wanted = ["[dm] alice: hi", "[user removed] alice is no longer available"].map(Some);
    while wanted.iter().any(Option::is_some) {
        let line = bob.line();
        assert!(line.contains("alice"), "{line}");
        for wanted in &mut wanted {
            wanted.take_if(|wanted| *wanted == line);
        }
    }
    bob.say("/whois alice");
    assert_eq!(bob.line(), "[whois] alice, not online");
    assert_eq!(bob.end().0, 0);
    // Also after a restart.
    let mut bob = Running::start(world.again("bob").arg("--plain"));
    bob.until("[ready]");
    bob.say("/verify alice");
    assert_eq!(bob.line(), "[verify] alice is marked as checked in person");
}
