//! Files, as people and scripts see them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;

use serde_json::json;
use support::{Running, World, id};

fn file(world: &World, name: &str, bytes: usize) -> String {
    let path = world.dir.path().join(name);
    fs::write(&path, vec![7; bytes]).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn plain_lines_tell_of_a_file_at_both_ends() {
    let world = World::new();
    let mut alice = world.plain("alice");
    alice.until("[ready]");
    let folder = world.dir.path().join("taken here");
    let mut bob = Running::start(world.command("bob").arg("--plain").arg("--downloads").arg(&folder));
    bob.until("[ready]");
    alice.until("[user added]");
    let path = file(&world, "cat.jpg", 1_000);

    bob.say("/accept");
    assert_eq!(bob.line(), "[error] NO_FILE no file waits to be accepted");
    alice.say(&format!("/file bob {path}"));
    assert_eq!(alice.line(), "[file 1] offering cat.jpg (1.0 kB) to bob");
    assert_eq!(bob.line(), "[file 1] alice offers cat.jpg (1.0 kB); /accept 1 or /reject 1");
    bob.say("/reject 1");
    assert_eq!(bob.line(), "[file 1] stopped cat.jpg of alice");
    assert_eq!(alice.line(), "[error] REFUSED cat.jpg (file 1): bob does not take it");
    bob.say("/reject 99");
    assert_eq!(bob.line(), "[error] NO_FILE nobody offers a file 99");
    bob.say("/cancel 99");
    assert_eq!(bob.line(), "[error] NO_FILE there is no file 99");
    alice.say(&format!("/file public \"{path}\""));
    assert_eq!(alice.line(), "[file 2] offering cat.jpg (1.0 kB) to bob");
    assert_eq!(bob.line(), "[file 2] alice offers everybody cat.jpg (1.0 kB); /accept 2 or /reject 2");
    bob.say("/accept");
    assert_eq!(bob.line(), "[file 2] receiving cat.jpg of alice");
    let saved = folder.join("cat.jpg");
    let line = bob.line();
    assert!(line.starts_with(&format!("[file 2] saved cat.jpg of alice as {}", saved.display())), "{line}");
    assert_eq!(alice.line(), "[file 2] sending cat.jpg to bob");
    let line = alice.line();
    assert!(line.starts_with("[file 2] cat.jpg has arrived at bob, complete and verified"), "{line}");
    assert_eq!(alice.line(), "[file] cat.jpg was sent to all: 1");
    assert_eq!(fs::read(saved).unwrap(), vec![7; 1_000]);

    alice.say("/file bob /nowhere/at all");
    assert!(alice.line().starts_with("[error] NO_FILE /nowhere/at all: "));
    alice.say(&format!("/file bob {path}"));
    bob.until("[file 3] alice offers");
    alice.until("[file 3] offering");
    alice.say("/cancel");
    assert_eq!(alice.line(), "[file 3] stopped cat.jpg to bob");
    assert_eq!(bob.line(), "[file 3] cat.jpg of alice failed: CANCELLED alice has cancelled it");
    alice.say("/nonsense");
    assert!(alice.line().starts_with("[error] BAD_COMMAND"), "nothing more about the file");
}

#[test]
fn twenty_files_at_once_all_arrive_or_are_told_of() {
    let world = World::new();
    let mut bob = Running::start(world.command("bob").args(["--json", "--auto-accept"]));
    bob.event_of("ready");
    let mut alice = world.plain("alice");
    for n in 1..=20 {
        let path = file(&world, &format!("f{n}"), 10_000);
        alice.say(&format!("/file bob {path}"));
    }
    let (status, lines, errors) = alice.end();
    assert_eq!((status, errors), (0, vec![]));
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("has arrived at bob, complete and verified"), count("[error]")), (20, 0), "{lines:#?}");
    assert!(count("waits for earlier files") > 0, "{lines:#?}");
    for _ in 0..20 {
        bob.event_of("file_saved");
    }
}

#[test]
fn where_a_file_could_not_be_saved_stays_on_that_machine() {
    let world = World::new();
    // A file stands where the folder should.
    let folder = file(&world, "taken", 1);
    let mut bob =
        Running::start(world.command("bob").args(["--plain", "--auto-accept", "--downloads", &folder]));
    bob.until("[ready]");
    let mut alice = world.plain("alice");
    alice.until("[ready]");
    let path = file(&world, "cat.jpg", 1);
    alice.say(&format!("/file bob {path}"));
    assert_eq!(alice.line(), "[file 1] offering cat.jpg (1 byte) to bob");
    let line = alice.until("[error]");
    assert!(line.starts_with("[error] FAILED cat.jpg (file 1): bob could not save it: "), "{line}");
    assert!(!line.contains("taken") && !line.contains('/'), "{line}");
    let line = bob.until("[file 1] cat.jpg of alice failed: NOT_SAVED");
    assert!(line.contains(&folder), "{line}");
}

#[test]
fn a_file_that_was_piped_in_is_sent_before_the_end() {
    let world = World::new();
    let mut bob =
        Running::start(world.command("bob").args(["--json", "--auto-accept"]).env("HOME", "/nowhere"));
    bob.event_of("ready");
    let mut alice = world.json("alice");
    let path = file(&world, "cat.jpg", 1_000_000);
    alice.say(&format!("/file bob {path}"));
    alice.say("/tell bob that is all");
    let (status, lines, errors) = alice.end();
    assert_eq!((status, errors), (0, vec![]));
    let sent = lines.iter().find(|line| line.contains("file_sent")).unwrap();
    let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
    assert_eq!(
        sent,
        json!({
            "event": "file_sent", "name": "cat.jpg", "to": "bob", "user_id": id("bob"), "recipients": 1,
            "failed": 0, "confirmed": true, "ref": 1
        })
    );
    // Without a place of its own it goes to the data directory.
    let saved = bob.event_of("file_saved");
    assert_eq!(saved["path"], world.data("bob").join("downloads/cat.jpg").to_str().unwrap());
}
