//! A key is replaced, and people go on talking.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Running, World, fixture, id, key, run};

/// `key rotate`, to the fixture's key of that name: making one takes seconds.
fn rotate(world: &World, name: &str, to: &str) -> Command {
    let mut command = world.again(name);
    command.args(["key", "rotate", "--new-key"]).arg(fixture(to));
    command
}

fn fingerprint(name: &str) -> String {
    key(name).public_key().id().fingerprint()
}

#[test]
fn a_key_that_the_old_one_signed_is_told_across_servers_and_talk_goes_on() {
    let mut world = World::new();
    let second = world.link("server-b");
    let mut alice = world.json("alice");
    alice.event_of("ready");
    let mut bob = Running::start(&mut world.at(&second, "bob", "bob"));
    bob.event_of("ready");
    alice.event_of("user_added");
    bob.say("/tell alice before");
    assert_eq!(alice.event_of("dm")["text"], "before");
    bob.say("/verify alice");
    bob.event_of("verified");

    // Not while she is online: the directory is hers.
    let (code, _, errors) = run(&mut rotate(&world, "alice", "carol"));
    assert_eq!(code, 1, "{errors:?}");
    assert_eq!(alice.end().0, 0);
    bob.event_of("user_removed");
    let (code, lines, errors) = run(&mut rotate(&world, "alice", "carol"));
    assert_eq!(code, 0, "{errors:?}");
    assert_eq!(
        lines[..3],
        [
            format!("old key {}", fingerprint("alice")),
            format!("new key {}", fingerprint("carol")),
            format!("your id stays {}; others learn of the new key when you log in", id("alice")),
        ]
    );

    let mut alice = Running::start(world.again("alice").arg("--json"));
    assert_eq!(alice.event_of("ready")["user_id"], json!(id("alice")));
    let changed = bob.event_of("key_changed");
    let key_id = |name: &str| json!(key(name).public_key().id().to_string());
    assert_eq!((&changed["was"], &changed["now"]), (&key_id("alice"), &key_id("carol")));
    let (yes, no) = (json!(true), json!(false));
    assert_eq!((&changed["signed"], &changed["was_verified"]), (&yes, &yes));
    bob.say("/whois alice");
    let whois: Value = bob.event_of("whois");
    assert_eq!((&whois["verified"], &whois["vouched"], &whois["proven"]), (&no, &yes, &yes));
    bob.say("/tell alice after");
    let dm = alice.event_of("dm");
    assert_eq!((&dm["text"], &dm["verified"]), (&json!("after"), &yes));
    alice.say("/tell bob it is me");
    let dm = bob.event_of("dm");
    assert_eq!((&dm["text"], &dm["verified"], &dm["from"]), (&json!("it is me"), &yes, &json!(id("alice"))));
    assert_eq!(alice.end().0, 0);

    // Who finds the old key gets in nowhere with it, and nobody is alarmed.
    for address in [&world.address.clone(), &second] {
        let mut thief = Running::start(&mut world.at(address, "thief", "alice"));
        thief.say("/tell bob it is me");
        let (code, lines, errors) = thief.end();
        assert_eq!(code, 1, "{lines:?} {errors:?}");
        let why = "this key was replaced by a newer one, which it signed for: log in with that";
        assert!(errors.iter().chain(&lines).any(|line| line.contains(why)), "{lines:?} {errors:?}");
    }
    let (_, lines, _) = bob.end();
    assert!(!lines.iter().any(|line| line.contains("key_conflict")), "{lines:?}");
}

/// Wherever a rotation is cut off, there is one key, and it opens.
#[test]
fn a_rotation_that_stops_half_way_leaves_the_old_key() {
    let world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    assert_eq!(alice.end().0, 0);
    let old = std::fs::read(world.data("alice").join("key.json")).unwrap();
    assert_eq!(run(&mut rotate(&world, "alice", "carol")).0, 0);
    // The chain is written before the key.
    std::fs::write(world.data("alice").join("key.json"), old).unwrap();
    let mut alice = Running::start(world.again("alice").arg("--json"));
    assert_eq!(alice.event_of("ready")["user_id"], json!(id("alice")));
    alice.say("/whoami");
    assert_eq!(alice.event_of("whoami")["fingerprint"], fingerprint("alice"));
    assert_eq!(alice.end().0, 0);
    // And the next one begins where that began.
    let (code, lines, errors) = run(&mut rotate(&world, "alice", "dave"));
    assert_eq!((code, &lines[0]), (0, &format!("old key {}", fingerprint("alice"))), "{errors:?}");
    let (code, lines, _) = run(&mut rotate(&world, "alice", "carol"));
    assert_eq!((code, &lines[0]), (0, &format!("old key {}", fingerprint("dave"))));
    let mut alice = Running::start(world.again("alice").arg("--json"));
    assert_eq!(alice.event_of("ready")["user_id"], json!(id("alice")));
    assert_eq!(alice.end().0, 0);
    // What was given up does not come back, and a key of our own is told from a stranger's id.
    let (code, _, errors) = run(&mut rotate(&world, "alice", "dave"));
    assert!(code == 1 && errors.concat().contains("no further one can follow"), "{errors:?}");
    let (code, _, errors) = run(world.again("alice").args(["--user-id", "somebody-else"]));
    assert!(code == 1 && errors.concat().contains("your keys are those of the id"), "{errors:?}");
}
