//! People and programs talk.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::json;
use support::{World, id, key};

#[test]
fn programs_talk_in_json() {
    let world = World::new();
    let mut alice = world.json("alice");
    // Before anybody is ready.
    alice.say("/whoami");
    let ready = alice.event();
    let server = id("server-a");
    assert_eq!(ready, json!({"event": "ready", "user_id": id("alice"), "server_id": server, "proven": true}));
    let who = alice.event();
    assert_eq!(
        (&who["event"], &who["user_id"], &who["ref"]),
        (&json!("whoami"), &json!(id("alice")), &json!(1))
    );
    assert_eq!(who["server_id"], json!(server));
    assert_eq!(who["fingerprint"], json!(key("alice").public_key().id().fingerprint()));

    let mut bob = world.json("bob");
    assert_eq!(bob.event(), json!({"event": "user_added", "user_id": id("alice"), "label": "alice"}));
    assert_eq!(bob.event()["event"], "ready");
    assert_eq!(alice.event(), json!({"event": "user_added", "user_id": id("bob"), "label": "bob"}));

    alice.say("");
    alice.say("/tell bob tab\there, \u{202e}and ünïcode");
    assert_eq!(alice.event(), json!({"event": "sent", "to": "bob", "user_id": id("bob"), "ref": 3}));
    let dm = bob.event();
    assert_eq!(
        (&dm["event"], &dm["from"], &dm["label"], &dm["text"], &dm["verified"]),
        (
            &json!("dm"),
            &json!(id("alice")),
            &json!("alice"),
            &json!("tab\there, \u{202e}and ünïcode"),
            &json!(true)
        )
    );
    assert!(dm["ts"].as_u64().unwrap() > 1_700_000_000_000);

    bob.say(&format!("/tell {} by id", id("alice")));
    assert_eq!(alice.event()["text"], "by id");
    bob.say("/all hello mesh!");
    let public = alice.event();
    assert_eq!((&public["event"], &public["text"]), (&json!("public"), &json!("hello mesh!")));
    bob.event_of("sent");
    assert_eq!(bob.event(), json!({"event": "sent", "to": "*", "recipients": 1, "failed": 0, "ref": 2}));

    bob.say("/list");
    let list = bob.event();
    assert_eq!((&list["event"], &list["ref"]), (&json!("list"), &json!(3)));
    for (user, name) in list["users"].as_array().unwrap().iter().zip(["alice", "bob"]) {
        assert_eq!((&user["user_id"], &user["label"]), (&json!(id(name)), &json!(name)));
        assert_eq!(user["server_id"], json!(server));
    }
    assert_eq!(list["users"].as_array().unwrap().len(), 2);

    bob.say("/quit");
    assert_eq!(bob.end(), (0, vec![], vec![]));
    assert_eq!(alice.event(), json!({"event": "user_removed", "user_id": id("bob"), "label": "bob"}));
    assert_eq!(alice.end(), (0, vec![], vec![]));
}

#[test]
fn a_long_text_arrives_as_one() {
    let world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    let mut bob = world.plain("bob");
    bob.until("[ready]");
    alice.event_of("user_added");
    let long = "Grüße aus Übersee, ".repeat(300);
    alice.say(&format!("/tell bob {long}."));
    alice.event_of("sent");
    assert_eq!(bob.until("[dm]"), format!("[dm] alice: {long}."));
    alice.say(&format!("/all {long}!"));
    assert_eq!(bob.until("[public]"), format!("[public] alice: {long}!"));
}

#[test]
fn plain_lines_are_word_for_word() {
    let world = World::new();
    let mut alice = world.plain("alice");
    alice.until("[ready]");
    let mut bob = world.plain("bob");
    assert_eq!(bob.line(), "[user added] alice is now available for messaging");
    assert_eq!(bob.line(), format!("[ready] you are {} on server {}", id("bob"), id("server-a")));
    assert_eq!(alice.line(), "[user added] bob is now available for messaging");
    bob.say("/tell alice hello across servers!");
    assert_eq!(bob.line(), "[sent] to alice");
    assert_eq!(alice.line(), "[dm] bob: hello across servers!");
    alice.say("/all hello mesh!");
    assert_eq!(alice.line(), "[sent] to all: 1");
    assert_eq!(bob.line(), "[public] alice: hello mesh!");
    bob.say("/list");
    assert_eq!(bob.line(), "[list] 2 online");
    assert_eq!(bob.line(), format!("[list] alice {} on this server", id("alice")));
    assert_eq!(bob.line(), format!("[list] bob {} on this server (you)", id("bob")));
    bob.say("/tell carol hi");
    assert_eq!(bob.line(), "[error] USER_NOT_FOUND nobody online is called carol");
    bob.say("hello?");
    assert!(bob.line().starts_with("[error] BAD_COMMAND a line starts with a command: /tell USER TEXT"));
    bob.say("/help");
    assert_eq!(
        bob.line(),
        "[help] /tell USER TEXT  a message to one user: a name or an id; names with spaces in \"quotes\""
    );
    bob.until("[help] /quit");
    // Two commands came to nothing: scripts see it in the status.
    assert_eq!(bob.end(), (1, vec![], vec![]));
    assert_eq!(alice.line(), "[user removed] bob is no longer available");
}

#[test]
fn names_that_are_taken_get_a_tail() {
    let world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    let named = |name: &str, user: &str| {
        let mut command = std::process::Command::new(support::PROGRAM);
        command.args(["--json", "--server", &world.address, "--user", user]);
        command.arg("--data-dir").arg(world.data(name)).arg("--import-key").arg(support::fixture(name));
        support::Running::start(&mut command)
    };
    let mut carol = named("carol", "alice smith");
    carol.event_of("ready");
    assert_eq!(alice.event()["label"], "alice smith");
    alice.say("/tell \"alice smith\" hi");
    assert_eq!(alice.event()["to"], "alice smith");
    assert_eq!(carol.event()["text"], "hi");

    let mut bob = named("bob", "alice smith");
    bob.event_of("ready");
    let added = alice.event();
    let label = added["label"].as_str().unwrap();
    assert!(
        label.starts_with("alice smith~") && id("bob").starts_with(&label["alice smith~".len()..]),
        "{label}"
    );
    alice.say("/tell \"alice smith\" which?");
    let error = alice.event();
    assert_eq!((&error["code"], &error["ref"]), (&json!("USER_NOT_FOUND"), &json!(2)));
    assert!(error["detail"].as_str().unwrap().contains("may be \"alice smith~"), "{error}");
    alice.say(&format!("/tell \"{label}\" you"));
    assert_eq!(bob.event()["text"], "you");
}

#[test]
fn what_was_piped_in_is_sent_before_the_end() {
    let world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    let mut bob = world.json("bob");
    for number in 1..=300 {
        bob.say(&format!("/tell alice {number}"));
    }
    bob.say("/tell nobody hi");
    bob.say("/nonsense");
    bob.hang_up();
    for number in 1..=300 {
        assert_eq!(alice.event_of("dm")["text"], json!(number.to_string()));
    }
    let mut ends = std::collections::BTreeMap::new();
    let (status, lines, errors) = bob.end();
    for line in lines {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if let Some(number) = event["ref"].as_u64() {
            let end = event["code"].as_str().unwrap_or("sent").to_owned();
            assert_eq!(ends.insert(number, end), None, "each line ends once");
        }
    }
    assert_eq!((status, errors), (1, vec![]), "two of them failed");
    assert_eq!(ends.len(), 302);
    assert!((1..=300).all(|number| ends[&number] == "sent"));
    assert_eq!((ends[&301].as_str(), ends[&302].as_str()), ("USER_NOT_FOUND", "BAD_COMMAND"));
}

#[test]
fn a_line_is_a_line_or_an_error() {
    let world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    alice.say(&"x".repeat(100_000));
    let error = alice.event();
    assert_eq!((&error["code"], &error["ref"]), (&json!("BAD_COMMAND"), &json!(1)));
    assert_eq!(error["detail"], "the line is too long");
    alice.say("/all hi");
    let error = alice.event();
    assert_eq!(
        (&error["code"], &error["detail"]),
        (&json!("USER_NOT_FOUND"), &json!("nobody else is online"))
    );
    alice.say(&format!("/tell alice {}", "ü".repeat(10_000)));
    let error = alice.event();
    assert_eq!((&error["event"], &error["ref"]), (&json!("error"), &json!(3)));
}

#[cfg(unix)]
#[test]
fn interrupted_it_leaves_politely() {
    let world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    let mut bob = world.json("bob");
    bob.event_of("ready");
    alice.event_of("user_added");
    let killed = std::process::Command::new("kill").args(["-INT", &bob.id().to_string()]).status();
    assert!(killed.unwrap().success());
    alice.event_of("user_removed");
    assert_eq!(bob.end_with_input_open(), (0, vec![], vec![]));
}

#[test]
fn nobody_listens_and_it_leaves() {
    let world = World::new();
    let mut command = world.command("alice");
    command.arg("--json").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let stdin = child.stdin.take();
    let output = std::thread::spawn(move || child.wait_with_output().unwrap()).join().unwrap();
    drop(stdin);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
