//! Servers go, come back and change.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Running, World, run};

#[test]
fn a_server_comes_back() {
    let mut world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    let mut bob = world.json("bob");
    bob.event_of("ready");
    alice.event_of("user_added");

    world.stop();
    let gone = alice.event();
    assert_eq!(gone["event"], "disconnected");
    assert!(!gone["reason"].as_str().unwrap().is_empty());
    bob.event_of("disconnected");
    alice.say("/tell bob are you there?");
    alice.say("/tell alice I am");
    alice.say("/list");
    world.start("server-a");
    bob.event_of("reconnected");
    alice.event_of("reconnected");
    alice.say("/tell bob now you are");
    alice.say("/quit");
    // Bob may come back after Alice. Then her first message has nobody to go to, and she is told.
    let arrived = bob.event_of("dm")["text"] == "are you there?";
    if arrived {
        assert_eq!(bob.event_of("dm")["text"], "now you are");
    }
    let (status, lines, _) = alice.end();
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).cloned().collect::<Vec<_>>();
    let sent: Vec<_> = of("sent").iter().map(|event| event["ref"].clone()).collect();
    assert_eq!(sent, [1, 2, 4]);
    assert_eq!((of("list").len(), of("dm").len()), (1, 1));
    assert_eq!((of("user_added"), of("user_removed")), (vec![], vec![]), "only differences are told");
    assert_eq!(status, i32::from(!of("error").is_empty()));
    match of("error").as_slice() {
        [] => assert!(arrived),
        [error] => assert_eq!((&error["code"], &error["ref"]), (&json!("USER_NOT_FOUND"), &json!(1))),
        errors => panic!("{errors:?}"),
    }
}

#[test]
fn another_server_at_the_address_is_not_trusted() {
    let mut world = World::new();
    let mut alice = world.plain("alice");
    alice.until("[ready]");
    world.stop();
    alice.until("[disconnected]");
    world.start("server-b");
    alice.until("[SERVER CHANGED] another server answers at 127.0.0.1:");
    assert!(alice.line().starts_with("[SERVER CHANGED] was "));
    assert!(alice.line().starts_with("[SERVER CHANGED] is  "));
    let (status, _, errors) = alice.end();
    assert_eq!((status, errors.len()), (1, 1), "{errors:?}");
    assert!(errors[0].contains("another server answers") && errors[0].contains("client.db"), "{errors:?}");

    // So it is the next time.
    let alice = world.json("alice");
    let (status, lines, _) = alice.end_with_input_open();
    assert_eq!(status, 1);
    assert!(lines.iter().any(|line| line.starts_with(r#"{"event":"server_changed""#)), "{lines:?}");
}

#[test]
fn who_logs_in_elsewhere_leaves_here() {
    let world = World::new();
    let mut here = world.json("alice");
    here.event_of("ready");
    let mut command = std::process::Command::new(support::PROGRAM);
    command.args(["--json", "--server", &world.address, "--user", "alice"]);
    command.arg("--data-dir").arg(world.data("elsewhere")).arg("--import-key").arg(support::fixture("alice"));
    let mut there = Running::start(&mut command);
    there.event_of("ready");
    assert_eq!(here.event_of("error")["code"], "NAME_IN_USE");
    let (status, _, errors) = here.end_with_input_open();
    assert_eq!((status, errors), (1, vec!["socp-client: this user has logged in elsewhere".to_owned()]));
}

#[test]
fn what_cannot_be_sent_is_reported() {
    let mut world = World::new();
    world.stop();
    let mut alice = world.json("alice");
    let gone = alice.event();
    assert_eq!(gone["event"], "disconnected", "{gone}");
    alice.say("/tell bob hi");
    alice.say("/quit");
    let error = alice.event_of("error");
    assert_eq!((&error["code"], &error["ref"]), (&json!("TIMEOUT"), &json!(1)));
    let (status, _, errors) = alice.end();
    assert_eq!((status, errors.len()), (1, 1), "{errors:?}");
    // With nothing to send there is nothing to wait for.
    let (status, ..) = run(world.command("bob").arg("--plain"));
    assert_eq!(status, 0);
}
