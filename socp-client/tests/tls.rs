//! Private links, and plain ones that leave this machine.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::authority::Authority;
use support::{Running, World, run};

const HERE: &[&str] = &["127.0.0.1"];

#[test]
fn a_server_whose_authority_is_trusted_is_reached_over_tls() {
    let authority = Authority::new();
    let world = World::over_tls(&authority.issue("a", HERE));
    let mut alice = Running::start(world.command("alice").arg("--plain").arg("--ca").arg(authority.file()));
    alice.until("[ready]");
    alice.say("/whoami");
    let server = alice.until("[whoami] server");
    assert!(server.ends_with(&format!(" at wss://{}", world.address)), "{server}");
    let (status, _, errors) = alice.end();
    assert_eq!((status, errors), (0, vec![]));
}

#[test]
fn what_is_wrong_with_a_private_link_is_said() {
    let (authority, other) = (Authority::new(), Authority::named("another"));
    let mut world = World::over_tls(&authority.issue("a", HERE));
    let first_line = |world: &World, ca: &Authority| {
        let mut alice = Running::start(world.command("alice").arg("--plain").arg("--ca").arg(ca.file()));
        alice.line()
    };
    let line = first_line(&world, &other);
    assert!(line.starts_with("[disconnected] the server's certificate was issued by nobody"), "{line}");
    assert!(line.contains("--ca FILE"), "{line}");
    world.scheme = "ws";
    assert!(first_line(&world, &authority).contains("wss://"));

    let mut plain = World::new();
    plain.scheme = "wss";
    assert!(first_line(&plain, &authority).contains("if it is meant to be plain, dial it as ws://"));

    let absent = world.dir.path().join("absent.pem");
    let (status, _, errors) = run(world.command("alice").arg("--ca").arg(&absent));
    assert_eq!((status, errors.len()), (1, 1), "{errors:?}");
    assert!(errors[0].starts_with(&format!("socp-client: --ca {}: cannot be read", absent.display())));
}

#[test]
fn nothing_leaves_this_machine_plainly_unless_asked_for() {
    let mut world = World::new();
    let here = std::mem::replace(&mut world.address, "192.0.2.1:8765".into());
    let (status, lines, errors) = run(&mut world.keyless("alice"));
    assert_eq!((status, lines, errors.len()), (1, vec![], 1), "{errors:?}");
    for word in ["192.0.2.1:8765 is beyond this machine", "wss://192.0.2.1:8765", "--allow-plain"] {
        assert!(errors[0].contains(word), "{errors:?}");
    }
    // It is refused before a key is made.
    assert!(!world.data("alice").exists());

    // No loopback address by its looks, but it leads here.
    world.address = here.replace("127.0.0.1", "0.0.0.0");
    let mut alice = Running::start(world.command("alice").args(["--plain", "--allow-plain"]));
    alice.until("[ready]");
    let (status, _, errors) = alice.end();
    assert_eq!((status, errors.len()), (0, 1), "{errors:?}");
    assert!(errors[0].contains("warning") && errors[0].contains("not encrypted"), "{errors:?}");
}
