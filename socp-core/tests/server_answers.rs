//! What a server answers whom it cannot serve, or does not understand, in the standard's six codes (§7, §9, §13).

mod support;

use socp_core::server::LinkOrigin;
use socp_core::wire::*;
use support::hostile::*;
use support::{FakeSigner, START_MS, World, key, signed};

fn says_text(world: &mut World, user: usize, text: &str) {
    world.user_sends_text(user, WireText::from(text.to_owned()));
    world.run();
}

fn last_error(world: &World, user: usize) -> (String, String) {
    world.errors(user).pop().expect("an ERROR")
}

// Logins.

#[test]
fn require_proof_demands_one_of_everybody() {
    for required in [false, true] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.require_proof = required;
        world.start(0);
        let bare = world.connect(0, 1);
        world.hello(bare, "alice", false);
        assert_eq!(world.users[bare].online, !required);
        let caller = socp_core::server::Caller { address: [127, 0, 0, 1].into(), private: true };
        let seed = world.connect_from(0, 2, LinkOrigin::AcceptedFrom(caller));
        world.users[seed].id = user_id("bob");
        let (salt, hash) = (encode_base64(&[7; 16]), encode_base64(&[8; 32]));
        let registration = UserRegister {
            user_id: user_id("bob"),
            pubkey: key(2).into(),
            privkey_store: "sealed".into(),
            pake_password: format!("{salt}.{hash}").into(),
        };
        says(&mut world, seed, &Payload::UserRegister(registration));
        assert_eq!(world.received(seed, &FrameType::UserRegistered), usize::from(!required));
        if required {
            assert_eq!(last_error(&world, bare), ("BAD_KEY".into(), "this id needs a login proof".into()));
            assert_eq!(last_error(&world, seed).0, "UNKNOWN_TYPE");
        }
        let proven = world.login(0, "carol", 3);
        assert!(world.online(0).contains(&world.users[proven].id));
    }
}

#[test]
fn a_full_server_says_so_and_has_room_again_when_somebody_leaves() {
    for auth in [true, false] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.limits.local_users = 1;
        world.start(0);
        let alice = world.login(0, "alice", 1);
        let bob = world.connect(0, 2);
        world.hello(bob, "bob", auth);
        world.run();
        assert_eq!(last_error(&world, bob), ("TIMEOUT".into(), "this server is full".into()));
        assert!(!world.users[bob].online && world.users[alice].online);
        world.log_out(alice);
        let bob = world.connect(0, 2);
        world.hello(bob, "bob", auth);
        world.run();
        assert_eq!(world.online(0), [world.users[bob].id.clone()]);
    }
}

#[test]
fn a_server_that_knows_too_many_users_says_so() {
    let mut world = World::with_servers(1);
    world.nodes[0].config.limits.pinned_users = 2;
    world.start(0);
    for seed in [1, 2] {
        world.login(0, "somebody", seed);
    }
    let carol = world.login(0, "carol", 3);
    assert_eq!(last_error(&world, carol), ("TIMEOUT".into(), "this server knows too many users".into()));
    assert!(!world.users[carol].online);
    let again = world.login(0, "somebody", 1);
    assert!(world.users[again].online, "who is known is let in");
}

#[test]
fn an_unsigned_hello_is_a_login_and_a_wrongly_signed_one_is_none() {
    let mut world = World::started(1);
    let hello = serde_json::json!({ "pubkey": KeyField::from(key(1)) });
    let hello: UserHello = serde_json::from_value(hello).expect("a hello");
    for (signer, online) in [(None, true), (Some(1), true), (Some(2), false)] {
        let alice = world.connect(0, 1);
        let (id, to) = (world.users[alice].id.clone(), Recipient::Named("server".into()));
        let hello = Payload::UserHello(hello.clone());
        match signer {
            None => says_unsigned(&mut world, alice, to, &hello),
            Some(seed) => {
                let signed = signed(id.id(), to, START_MS, &hello, &FakeSigner::new(key(seed)));
                says_text(&mut world, alice, signed.text().as_str());
            }
        }
        assert_eq!(world.online(0).len(), usize::from(online), "signed by {signer:?}");
        match online {
            true => world.log_out(alice),
            false => assert_eq!(last_error(&world, alice).0, "INVALID_SIG"),
        }
    }
}

/// Decisions §1: who leaves `to` out says nothing with it; the seed's hellos say that they are no logins.
#[test]
fn a_bare_hello_to_nobody_waits_for_a_password_and_one_without_to_is_a_login() {
    for (to, online) in
        [(r#","to":"""#, false), ("", true), (r#","to":null"#, true), (r#","to":"server""#, true)]
    {
        let mut world = World::started(1);
        let alice = world.connect(0, 1);
        let pubkey = serde_json::to_string(&KeyField::from(key(1))).expect("a key");
        let id = world.users[alice].id.clone();
        let hello = format!(r#"{{"type":"USER_HELLO","from":"{id}"{to},"payload":{{"pubkey":{pubkey}}}}}"#);
        says_text(&mut world, alice, &hello);
        assert_eq!(world.online(0).len(), usize::from(online), "{to}");
        assert_eq!(world.received(alice, &FrameType::UserHelloAck), usize::from(!online), "{to}");
    }
}

// Frames.

#[test]
fn a_payload_of_another_shape_gets_its_reason_and_the_link_stays() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    for (text, why) in [
        (r#"{"type":"PUBKEY_REQUEST","payload":{}}"#, "user_id"),
        (r#"{"type":"PUBKEY_REQUEST","payload":{"user_id":7}}"#, "invalid type"),
        (r#"{"type":"PUBKEY_REQUEST","payload":[]}"#, "payload"),
        (r#"{"type":"FILE_START","payload":{"file_id":"x"}}"#, "missing field"),
        (r#"{"type":"MSG_DIRECT","payload":{"ciphertext":"+++ not base64 +++"}}"#, "base64"),
        // §7: types are case-sensitive.
        (r#"{"type":"list_request","payload":{}}"#, "unknown type"),
        (r#"{"type":"List_Request","payload":{}}"#, "unknown type"),
    ] {
        let before = world.errors(alice).len();
        match socp_core::wire::Frame::parse(text, 1024) {
            Ok(_) => says_text(&mut world, alice, text),
            // What is no frame the driver refuses in the same words.
            Err(error) => {
                assert!(error.to_string().contains(why), "{text}: {error}");
                continue;
            }
        }
        let errors = world.errors(alice);
        assert_eq!(errors.len(), before + 1, "{text}");
        let (code, detail) = &errors[before];
        assert_eq!(code, "UNKNOWN_TYPE", "{text}");
        assert!(detail.contains(why), "{text}: {detail}");
    }
    says_text(&mut world, alice, r#"{"type":"LIST_REQUEST"}"#);
    assert_eq!(world.received(alice, &FrameType::ListResponse), 1, "and the link stays");
}

#[test]
fn an_error_is_never_answered_with_an_error() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    let stranger = world.connect(0, 2);
    for user in [alice, stranger] {
        let before = world.users[user].inbox.len();
        for text in [
            r#"{"type":"ERROR","payload":{"code":"UNKNOWN_TYPE","detail":"you are wrong"}}"#,
            r#"{"type":"ERROR","payload":{}}"#,
            r#"{"type":"ERROR","from":"somebody-else","payload":{"code":"TIMEOUT"},"sig":"AAAA"}"#,
        ] {
            says_text(&mut world, user, text);
        }
        assert_eq!(world.users[user].inbox.len(), before);
        assert!(world.users[user].online);
    }
}

/// §6: CTRL_CLOSE comes bare, or whole, from whoever it likes.
#[test]
fn a_farewell_in_any_form_ends_the_link_whatever_it_was() {
    let whole = |world: &World, user: usize| {
        let entry = &world.users[user];
        let close = Payload::CtrlClose(Empty {});
        signed(entry.id.id(), Recipient::Everyone, START_MS, &close, &entry.signer).text().as_str().to_owned()
    };
    for bare in [true, false] {
        let mut world = World::started(1);
        let greeting = world.connect(0, 1);
        let user = world.login(0, "bob", 2);
        let server = standard_server(&mut world, "friend", 70);
        assert_eq!((world.online(0).len(), world.linked(0)), (1, 1));
        for peer in [greeting, user, server] {
            let text = if bare { r#"{"type":"CTRL_CLOSE"}"#.to_owned() } else { whole(&world, peer) };
            says_text(&mut world, peer, &text);
            assert!(!world.users[peer].online, "bare: {bare}");
            assert_eq!(world.errors(peer), []);
        }
        assert_eq!((world.online(0).len(), world.linked(0)), (0, 0));
    }
}
