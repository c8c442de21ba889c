//! Keys, passwords, directories and the command line.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;

use serde_json::json;
use support::{PROGRAM, Running, World, fixture, key, run};

/// Its status and the one line that it says on stderr.
fn refused(command: &mut std::process::Command) -> (i32, String) {
    let (status, lines, mut errors) = run(command);
    assert!(lines.is_empty(), "{lines:?}");
    assert_eq!(errors.len(), 1, "{errors:?}");
    (status, errors.remove(0))
}

#[test]
fn usage_is_status_two() {
    for args in [
        &["--plain"][..],
        &["--user", ""],
        &["--user", "a", "--plain", "--json"],
        &["--user", "a", "--server", "wss://127.0.0.1"],
        &["--user", "a", "--server", "http://127.0.0.1:1"],
        &["--user", "a", "--user-id", "123"],
        &["--user", "a", "--nonsense"],
    ] {
        let (status, lines, errors) = run(std::process::Command::new(PROGRAM).args(args));
        assert_eq!((status, lines.len()), (2, 0), "{args:?}");
        assert!(!errors.is_empty());
    }
}

#[test]
fn a_key_is_made_at_the_first_run_and_kept() {
    let world = World::new();
    let mut first = Running::start(world.keyless("dora").arg("--json"));
    let ready = first.event_of("ready");
    let (status, _, errors) = first.end();
    assert_eq!((status, errors.len()), (0, 2), "{errors:?}");
    assert!(errors[0].contains("making your key"), "{errors:?}");
    assert!(errors[1].contains("file permissions only") && errors[1].contains("/password"), "{errors:?}");
    let (key_file, unlock) = (world.data("dora").join("key.json"), world.data("dora").join("unlock"));
    #[cfg(unix)]
    assert_eq!((support::mode(&key_file), support::mode(&unlock)), (0o600, 0o600));

    let mut second = Running::start(world.keyless("dora").arg("--json"));
    assert_eq!(second.event_of("ready"), ready);
    second.say("/password");
    assert_eq!(second.event()["code"], "BAD_COMMAND");
    second.say("/password correct horse");
    assert_eq!(second.event(), json!({"event": "password_changed", "ref": 2}));
    assert_eq!(second.end(), (1, vec![], vec![]), "one command was none");
    assert!(!unlock.exists());

    let (status, error) = refused(world.keyless("dora").arg("--json"));
    assert_eq!(status, 1);
    assert!(error.contains("key.json: has a password") && error.contains("--password-file"), "{error}");

    let password = world.data("password");
    fs::write(&password, "battery staple\n").unwrap();
    let (status, error) = refused(world.keyless("dora").arg("--json").arg("--password-file").arg(&password));
    assert_eq!(status, 1);
    assert!(error.contains("wrong password") && error.contains("key.json"), "{error}");

    fs::write(&password, "correct horse\r\n").unwrap();
    let mut third = Running::start(world.keyless("dora").arg("--json").arg("--password-file").arg(&password));
    assert_eq!(third.event_of("ready"), ready);
}

#[test]
fn keys_come_and_go() {
    let world = World::new();
    let exported = world.dir.path().join("alice-exported.pem");
    let (status, error) = refused(world.command("alice").arg("--export-key").arg(&exported));
    assert_eq!(status, 0);
    assert!(error.contains("wrote") && error.contains("alice-exported.pem"), "{error}");
    assert_eq!(fs::read_to_string(&exported).unwrap(), key("alice").to_pem().as_str());
    #[cfg(unix)]
    assert_eq!(support::mode(&exported), 0o600);
    assert!(!world.data("alice").join("unlock").exists());
    assert!(!fs::read_to_string(world.data("alice").join("key.json")).unwrap().contains("BEGIN"));

    let (status, error) = refused(world.again("alice").arg("--export-key").arg(&exported));
    assert_eq!(status, 1);
    assert!(error.contains("not overwritten"), "{error}");

    let (status, error) = refused(world.again("alice").arg("--import-key").arg(fixture("bob")));
    assert_eq!(status, 1);
    assert!(error.contains("another key already"), "{error}");
    let mut same = Running::start(world.again("alice").arg("--import-key").arg(&exported).arg("--json"));
    same.event_of("ready");

    let (status, error) = refused(world.keyless("x").arg("--import-key").arg(world.data("absent.pem")));
    assert!(status == 1 && error.contains("absent.pem"), "{error}");
}

#[test]
fn an_id_is_remembered() {
    let world = World::new();
    for command in [
        world.command("alice").args(["--json", "--user-id", "alice-of-old"]),
        world.again("alice").arg("--json"),
    ] {
        let mut alice = Running::start(command);
        assert_eq!(alice.event_of("ready")["user_id"], "alice-of-old");
        assert_eq!(alice.end().0, 0);
    }
    fs::write(world.data("alice").join("user_id"), "*").unwrap();
    let (status, error) = refused(&mut world.again("alice"));
    assert!(status == 1 && error.contains("user_id: '*' is not an id"), "{error}");
}

#[test]
fn damaged_files_are_named() {
    let world = World::new();
    let alice = world.json("alice");
    assert_eq!(alice.end().0, 0);
    let (key_file, database) = (world.data("alice").join("key.json"), world.data("alice").join("client.db"));

    let sealed = fs::read_to_string(&key_file).unwrap();
    fs::write(&key_file, &sealed[..200]).unwrap();
    let (status, error) = refused(&mut world.again("alice"));
    assert!(status == 1 && error.contains("key.json: not a key file"), "{error}");
    fs::write(&key_file, sealed).unwrap();

    fs::write(&database, "x".repeat(5000)).unwrap();
    let (status, error) = refused(&mut world.again("alice"));
    assert!(status == 1 && error.contains("client.db: not an SQLite database"), "{error}");

    let mut command = std::process::Command::new(PROGRAM);
    command.args(["--user", "a", "--data-dir"]).arg(database.join("below"));
    let (status, error) = refused(&mut command);
    assert!(status == 1 && error.contains("client.db/below"), "{error}");
}

#[test]
fn a_directory_is_for_one_process() {
    let world = World::new();
    let mut alice = world.json("alice");
    alice.event_of("ready");
    let (status, error) = refused(&mut world.command("alice"));
    assert_eq!(status, 1);
    assert!(error.contains("in use by another process") && error.contains("alice"), "{error}");
}

#[test]
fn the_default_directory_is_xdgs() {
    let world = World::new();
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["--server", &world.address, "--user", "a/b", "--json"]);
    command.arg("--import-key").arg(fixture("alice")).env("XDG_DATA_HOME", world.dir.path());
    let mut alice = Running::start(&mut command);
    alice.event_of("ready");
    assert!(world.dir.path().join("socp/client/a%2Fb/key.json").exists());
}
