//! Seed logins (decisions §4): a password crosses the link, where that is allowed, and opens its id alone.

mod support;

use std::net::{IpAddr, Ipv4Addr};

use socp_core::server::{Action, Caller, Event, LinkOrigin, PasswordCheck, PasswordLogins, Server};
use socp_core::wire::*;
use support::hostile::*;
use support::{World, key, now, parse, password_hash};

const SALT: [u8; 16] = [7; 16];

fn caller(last: u8, private: bool) -> LinkOrigin {
    LinkOrigin::AcceptedFrom(Caller { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), private })
}

/// A client at TLS's end, who calls itself as the seed's clients do.
fn client(world: &mut World, name: &str, seed: u64) -> usize {
    let user = world.connect_from(0, seed, caller(1, true));
    world.users[user].id = user_id(name);
    user
}

/// The seed's clients send a type and a payload, and nothing else.
fn bare(world: &mut World, user: usize, payload: &Payload) {
    let frame = support::unsigned(user_id("x").id(), Recipient::Unnamed, 1, payload);
    let kind = payload.frame_type();
    let payload = parse(frame.as_str()).payload_canonical().to_owned();
    world.user_sends_text(user, format!(r#"{{"type":"{kind}","payload":{payload}}}"#).into());
    world.run();
}

fn registration(name: &str, seed: u64, password: &str) -> UserRegister {
    let (salt, hash) = (encode_base64(&SALT), encode_base64(&password_hash(password, &SALT)));
    UserRegister {
        user_id: user_id(name),
        pubkey: key(seed).into(),
        privkey_store: format!("sealed for {name}").into(),
        pake_password: format!("{salt}.{hash}").into(),
    }
}

fn register(world: &mut World, user: usize, name: &str, seed: u64) {
    bare(world, user, &Payload::UserRegister(registration(name, seed, "open sesame")));
}

fn log_in(world: &mut World, user: usize, name: &str, password: &str) {
    let login = UserLogin { user_id: user_id(name), password: password.into() };
    bare(world, user, &Payload::UserLogin(login));
}

fn kinds(world: &World, user: usize) -> Vec<String> {
    world.users[user].inbox.iter().map(|frame| frame.kind().to_string()).collect()
}

fn is_online(world: &World, name: &str) -> bool {
    world.online(0).contains(&user_id(name))
}

#[test]
fn who_registers_can_log_in_and_gets_the_key_back() {
    let mut world = World::started(2);
    world.login(1, "bob", 2);
    let alice = client(&mut world, "alice", 1);
    register(&mut world, alice, "alice", 1);
    assert!(!is_online(&world, "alice"), "no session before the login");
    log_in(&mut world, alice, "alice", "open sesame");
    assert_eq!(
        kinds(&world, alice),
        ["USER_REGISTERED", "USER_LOGGED_IN", "USER_ADDED", "PUBLIC_CHANNEL_SNAPSHOT"]
    );
    let Payload::UserLoggedIn(answer) = world.users[alice].inbox[1].payload() else { panic!("not it") };
    assert_eq!(answer.privkey_store.as_deref(), Some("sealed for alice"));
    assert_eq!(world.location(1, &user_id("alice")), Some(world.id(0)));
    // On the session's own link it is answered again.
    log_in(&mut world, alice, "alice", "open sesame");
    assert_eq!(kinds(&world, alice).last().map(String::as_str), Some("USER_LOGGED_IN"));
    // A second link does not take the session away.
    let again = client(&mut world, "alice", 1);
    log_in(&mut world, again, "alice", "open sesame");
    assert_eq!(world.errors(again)[0].0, "NAME_IN_USE");
    assert!(world.users[alice].online);
}

#[test]
fn accounts_survive_and_the_password_is_all_that_opens_them() {
    let mut world = World::started(1);
    let alice = client(&mut world, "alice", 1);
    register(&mut world, alice, "alice", 1);
    world.kill(0);
    world.start(0);
    let bare_hello = world.connect(0, 1);
    world.users[bare_hello].id = user_id("alice");
    world.hello(bare_hello, "alice", false);
    assert_eq!(
        (kinds(&world, bare_hello), is_online(&world, "alice")),
        (vec!["USER_HELLO_ACK".into()], false)
    );
    let later = client(&mut world, "alice", 1);
    log_in(&mut world, later, "alice", "Open Sesame");
    assert!(!is_online(&world, "alice"));
    log_in(&mut world, later, "alice", "open sesame");
    assert!(is_online(&world, "alice"));
}

#[test]
fn an_unknown_user_and_a_wrong_password_cost_and_say_the_same() {
    let mut world = World::started(1);
    let alice = client(&mut world, "alice", 1);
    register(&mut world, alice, "alice", 1);
    let machine = |world: &mut World, name: &str| -> (Vec<PasswordCheck>, Vec<(ErrorCode, Box<str>)>) {
        let link = world.new_link(0);
        let time = now(world.ms);
        world.nodes[0].machine.handle(time, Event::LinkOpened { link, origin: caller(2, true) });
        let login = format!(r#"{{"type":"USER_LOGIN","payload":{{"user_id":"{name}","password":"guess"}}}}"#);
        let actions = world.receive(0, link, parse(&login));
        let checks = actions.into_iter().filter_map(|action| match action {
            Action::CheckPassword(check) => Some(check),
            _ => None,
        });
        let checks: Vec<PasswordCheck> = checks.collect();
        // Even a border that says "right" lets nobody in who does not exist.
        let right = name == "nobody";
        let server: &mut Server = &mut world.nodes[0].machine;
        let answers = server.handle(time, Event::PasswordChecked { link, right });
        let errors = answers.into_iter().filter_map(|action| match action {
            Action::Send { frame: socp_core::server::Outgoing::Own(frame), .. } => {
                let text = frame.sign(&world.nodes[0].signer).expect("fake").into_text();
                match parse(text.as_str()).payload() {
                    Payload::Error(error) => Some((error.code.clone(), error.detail.clone())),
                    other => panic!("{other:?}"),
                }
            }
            _ => None,
        });
        (checks, errors.collect())
    };
    let (wrong, wrong_error) = machine(&mut world, "alice");
    let (unknown, unknown_error) = machine(&mut world, "nobody");
    assert_eq!((wrong.len(), unknown.len()), (1, 1), "each is checked");
    assert_eq!(wrong[0].salt.len(), unknown[0].salt.len());
    assert_eq!(wrong_error, unknown_error);
    assert_eq!(wrong_error.len(), 1);
    // Nothing shows a password by accident.
    assert!(!format!("{:?}", wrong[0]).contains("guess"));
    assert!(!format!("{:?}", world.nodes[0].machine).contains("sealed for"));
}

#[test]
fn wrong_passwords_are_counted_by_address_and_right_ones_are_not() {
    let mut world = World::started(1);
    let alice = client(&mut world, "alice", 1);
    register(&mut world, alice, "alice", 1);
    let details = |world: &World, user: usize| -> Vec<String> {
        world.errors(user).into_iter().map(|(code, _)| code).collect()
    };
    // Over several links: it is the address that counts.
    for attempt in 0..8 {
        let mallory = world.connect_from(0, 50 + attempt, caller(9, true));
        log_in(&mut world, mallory, "alice", "guess");
        let expected = if attempt < 5 { "BAD_KEY" } else { "TIMEOUT" };
        assert_eq!(details(&world, mallory), [expected], "attempt {attempt}");
    }
    // Elsewhere nobody notices, however often the right one is said.
    for _ in 0..20 {
        log_in(&mut world, alice, "alice", "open sesame");
    }
    assert_eq!(world.received(alice, &FrameType::UserLoggedIn), 20);
    world.advance(1_000);
    let mallory = world.connect_from(0, 60, caller(9, true));
    log_in(&mut world, mallory, "alice", "guess");
    assert_eq!(details(&world, mallory), ["BAD_KEY"]);
}

#[test]
fn who_tries_from_many_addresses_keeps_nobody_else_out_and_gets_no_more_tries() {
    let mut world = World::with_servers(1);
    world.nodes[0].config.limits.password_addresses = 4;
    world.start(0);
    let alice = client(&mut world, "alice", 1);
    register(&mut world, alice, "alice", 1);
    let guess = |world: &mut World, seed: u64, last: u8| {
        let mallory = world.connect_from(0, seed, caller(last, true));
        log_in(world, mallory, "alice", "guess");
        world.errors(mallory)[0].0.clone()
    };
    for seed in 0..20 {
        guess(&mut world, 100 + seed, 10 + (seed % 4) as u8);
    }
    assert_eq!(guess(&mut world, 200, 11), "TIMEOUT", "all four have had their five");
    // A fifth address is heard, and what the worst have tried is not forgotten for it.
    log_in(&mut world, alice, "alice", "open sesame");
    assert!(is_online(&world, "alice"));
    let again = (10..14).filter(|last| guess(&mut world, 300 + u64::from(*last), *last) == "TIMEOUT").count();
    assert!(again >= 3, "{again} of four");
}

#[test]
fn passwords_cross_no_link_that_others_can_read() {
    for (policy, private, taken) in [
        (PasswordLogins::Private, true, true),
        (PasswordLogins::Private, false, false),
        (PasswordLogins::Anywhere, false, true),
        (PasswordLogins::Never, true, false),
    ] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.password_logins = policy;
        world.start(0);
        let alice = world.connect_from(0, 1, caller(1, private));
        register(&mut world, alice, "alice", 1);
        let expected = if taken { "USER_REGISTERED" } else { "ERROR" };
        assert_eq!(kinds(&world, alice), [expected], "{policy:?}, private: {private}");
    }
    // Nor one of which nothing is known.
    let mut world = World::started(1);
    let alice = world.connect(0, 1);
    log_in(&mut world, alice, "alice", "open sesame");
    assert_eq!(world.errors(alice)[0].0, "UNKNOWN_TYPE");
}

#[test]
fn known_ids_and_bad_verifiers_are_not_registered() {
    let mut world = World::started(1);
    let bob = world.login(0, "bob", 2);
    let pinned = world.users[bob].id.to_string();
    let alice = client(&mut world, "alice", 1);
    register(&mut world, alice, "alice", 1);
    register(&mut world, alice, "alice", 3);
    register(&mut world, alice, &pinned, 3);
    assert_eq!(world.errors(alice).iter().map(|error| &*error.0).collect::<Vec<_>>(), ["NAME_IN_USE"; 2]);
    let mut bad = registration("carol", 3, "x");
    for verifier in ["", ".", "AAAA.AAAA", &format!("{}.", encode_base64(&SALT)), "plain text"] {
        bad.pake_password = verifier.into();
        bare(&mut world, alice, &Payload::UserRegister(bad.clone()));
    }
    bad = UserRegister { privkey_store: "x".repeat(9_000).into(), ..registration("carol", 3, "x") };
    bare(&mut world, alice, &Payload::UserRegister(bad));
    assert_eq!(world.received(alice, &FrameType::UserRegistered), 1);
    assert!(world.errors(alice)[2..].iter().all(|error| error.0 == "UNKNOWN_TYPE"));
    assert_eq!(world.errors(alice).len(), 8);
}

/// Anybody can register any id with its owner's public key, if they come first.
#[test]
fn a_password_that_somebody_else_set_first_opens_no_id_that_was_proven() {
    for elsewhere in [false, true] {
        let mut world = World::started(2);
        let owner = UserId::from(Id::derived_from(&key(1)));
        let mallory = client(&mut world, "mallory", 66);
        register(&mut world, mallory, owner.as_str(), 1);
        let alice = world.login(usize::from(elsewhere), "alice", 1);
        assert_eq!(world.location(0, &owner), Some(world.id(usize::from(elsewhere))));
        world.log_out(alice);
        for restarted in [false, true] {
            let mallory = client(&mut world, "mallory", 66);
            log_in(&mut world, mallory, owner.as_str(), "open sesame");
            assert_eq!(world.errors(mallory)[0].0, "BAD_KEY", "restarted: {restarted}");
            assert_eq!(world.location(0, &owner), None);
            world.kill(0);
            world.start(0);
        }
        let alice = world.login(0, "alice", 1);
        assert!(world.users[alice].online, "the key opens it, as ever");
    }
}

#[test]
fn no_more_accounts_than_there_is_room_for_and_nobody_takes_the_room_in_a_moment() {
    let mut world = World::with_servers(1);
    world.nodes[0].config.limits.accounts = 4;
    world.nodes[0].config.limits.registration_burst = 2;
    world.start(0);
    let from = |world: &mut World, address: u8, name: &str| {
        let user = world.connect_from(0, 1, caller(address, true));
        world.users[user].id = user_id(name);
        register(world, user, name, 1);
        world.errors(user).first().map_or("ok".to_owned(), |(code, detail)| {
            format!("{code} {}", detail.split(':').next().unwrap_or_default())
        })
    };
    let often = "TIMEOUT too many registrations from there";
    let answers: Vec<String> = ["a", "b", "c"].iter().map(|name| from(&mut world, 1, name)).collect();
    assert_eq!(answers, ["ok", "ok", often]);
    assert_eq!(from(&mut world, 2, "d"), "ok", "somebody else");
    let pause = world.nodes[0].config.timing.registration.as_millis() as u64;
    world.advance(pause);
    assert_eq!([from(&mut world, 1, "e"), from(&mut world, 1, "f")], ["ok", often]);
    assert_eq!(from(&mut world, 3, "g"), "TIMEOUT this server takes no more registrations");
}
