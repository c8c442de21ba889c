//! Messages that find nobody, on one hop or several (§8.3, §10, decisions §5), and what one message to many may cost.

mod support;

use socp_core::crypto::Signer;
use socp_core::server::DialPolicy;
use socp_core::wire::*;
use support::hostile::*;
use support::{World, introducer, message};

/// Three servers in a row: 0 and 2 know each other by 1 alone, and dial nobody else.
fn row() -> World {
    let mut world = World::with_servers(3);
    for node in 0..3 {
        world.nodes[node].config.dial = DialPolicy::None;
        world.nodes[node].config.bootstrap = if node == 1 { Vec::new() } else { vec![introducer(1)] };
    }
    for node in [1, 0, 2] {
        world.start(node);
    }
    world.advance(5_000);
    assert_eq!((world.linked(0), world.linked(2)), (1, 1));
    world
}

/// What a user was told of messages that came to nothing: code, type and recipient.
fn told(world: &World, user: usize) -> Vec<(String, String, String)> {
    let errors = world.users[user].inbox.iter().filter_map(|frame| match frame.payload() {
        Payload::Error(error) => {
            let about = error.reference.clone().expect("a reference");
            Some((error.code.to_string(), about.kind.into(), about.to.unwrap_or_default().into()))
        }
        _ => None,
    });
    errors.collect()
}

fn one(code: &str, kind: &str, to: &UserId) -> Vec<(String, String, String)> {
    vec![(code.into(), kind.into(), to.to_string())]
}

/// One ciphertext for whoever `to` is, or for the whole channel, signed by its author or not.
fn publish_as(world: &mut World, author: usize, to: &str, text: &str, signed: bool) {
    let (entry, ts) = (&world.users[author], Timestamp(world.unix_ms()));
    let input = format!("{text}{}{ts}", entry.id);
    let content_sig = signed.then(|| Binary::new(entry.signer.sign(input.as_bytes()).expect("fake")));
    let direct = message(&entry.id, &entry.id, text, ts, &entry.signer);
    let public = Message { to: None, sender: None, content_sig, ..direct };
    world.user_sends(author, Recipient::Named(to.into()), &Payload::MsgPublicChannel(public));
    world.run();
}

fn publish(world: &mut World, author: usize, to: &str, text: &str) {
    publish_as(world, author, to, text, true);
}

// Over several hops.

#[test]
fn a_message_that_finds_nobody_behind_another_server_is_told_to_its_author() {
    let mut world = row();
    let alice = world.login(0, "alice", 1);
    let bob = world.login(2, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.tell(alice, &bob_id, "hello");
    assert_eq!(world.messages(bob).len(), 1);
    // Bob leaves, and nobody hears of it.
    world.lose = Some(|text| text.contains("USER_REMOVE"));
    world.log_out(bob);
    world.lose = None;
    world.tell(alice, &bob_id, "still there?");
    assert_eq!(told(&world, alice), one("USER_NOT_FOUND", "MSG_DIRECT", &bob_id));
}

#[test]
fn a_message_for_a_server_that_its_neighbour_cannot_reach_is_a_timeout() {
    let mut world = row();
    let alice = world.login(0, "alice", 1);
    let bob = world.login(2, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.kill(2);
    assert!(world.location(1, &bob_id).is_some(), "in its grace");
    world.tell(alice, &bob_id, "hello?");
    assert_eq!(told(&world, alice), one("TIMEOUT", "MSG_DIRECT", &bob_id), "nobody says that bob is offline");
    assert!(world.location(0, &bob_id).is_some());
}

#[test]
fn what_a_neighbour_wrote_to_a_server_that_fell_silent_is_told_to_the_author_too() {
    let mut world = row();
    let alice = world.login(0, "alice", 1);
    let bob = world.login(2, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.advance(20_000);
    world.nodes[2].alive = false;
    world.advance(3_000);
    world.tell(alice, &bob_id, "never read");
    assert_eq!(told(&world, alice), []);
    world.advance(60_000);
    assert_eq!(told(&world, alice), one("TIMEOUT", "MSG_DIRECT", &bob_id));
}

// Who may say that a message came to nothing.

#[test]
fn no_other_server_can_say_that_a_message_failed() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    let mallory = native_server(&mut world, "evil", 66);
    world.tell(alice, &bob_id, "hello");
    let failed = |world: &World| {
        let reference = FrameRef {
            kind: "SERVER_DELIVER".into(),
            to: Some(bob_id.as_str().into()),
            ts: Some(Timestamp(world.unix_ms())),
        };
        let detail = "so sorry".into();
        Payload::Error(ErrorReport { code: ErrorCode::UserNotFound, detail, reference: Some(reference) })
    };
    let lie = failed(&world);
    let before = world.pauses;
    for _ in 0..100 {
        says(&mut world, mallory, &lie);
    }
    assert_eq!(told(&world, alice), []);
    assert!(world.location(0, &bob_id).is_some());
    assert!(world.pauses > before, "and guessing is slow");
    // Bob's own server can.
    world.lose = Some(|text| text.contains("USER_REMOVE"));
    world.log_out(bob);
    world.lose = None;
    world.tell(alice, &bob_id, "still there?");
    assert_eq!(told(&world, alice), one("USER_NOT_FOUND", "MSG_DIRECT", &bob_id));
}

#[test]
fn a_public_message_to_a_member_who_has_gone_unnoticed_is_told_to_its_author() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.lose = Some(|text| text.contains("USER_REMOVE"));
    world.log_out(bob);
    world.lose = None;
    publish(&mut world, alice, bob_id.as_str(), "all of you");
    assert_eq!(told(&world, alice), one("USER_NOT_FOUND", "MSG_PUBLIC_CHANNEL", &bob_id));
    assert_eq!(world.location(0, &bob_id), None, "that claim is dropped");
}

#[test]
fn that_many_members_have_gone_holds_neither_the_author_nor_the_link_back() {
    // ERRORs that the members' server spares for it, and how many it has to say.
    for (burst, told_of) in [(20, 20), (100, 60)] {
        let mut world = World::with_servers(2);
        world.nodes[1].config.limits.error_burst = burst;
        (0..2).for_each(|node| world.start(node));
        world.advance(5_000);
        let alice = world.login(0, "alice", 1);
        let gone: Vec<usize> = (0..60).map(|seed| world.login(1, "somebody", 100 + seed)).collect();
        world.lose = Some(|text| text.contains("USER_REMOVE"));
        gone.iter().for_each(|user| world.log_out(*user));
        world.lose = None;
        let before = world.pauses;
        for user in gone {
            let member = world.users[user].id.to_string();
            publish(&mut world, alice, &member, "all of you");
        }
        assert_eq!((world.pauses, told(&world, alice).len()), (before, told_of));
    }
}

// One message to many.

#[test]
fn one_ciphertext_for_all_reaches_everybody_but_its_author_with_its_own_text_and_once() {
    for to in ["public", "*"] {
        let mut world = World::started(2);
        let author = world.login(0, "alice", 1);
        let readers = [world.login(0, "ann", 2), world.login(1, "bob", 3), world.login(1, "carol", 4)];
        publish(&mut world, author, to, "hello everybody");
        let texts = |world: &World, user: usize| -> Vec<String> {
            let public = world.users[user].inbox.iter();
            let public = public.filter(|frame| *frame.kind() == FrameType::MsgPublicChannel);
            public.map(|frame| frame.text().as_str().to_owned()).collect()
        };
        let [text] = texts(&world, readers[0]).try_into().expect("one message");
        assert!(text.contains(&format!("\"to\":\"{to}\"")), "{text}");
        for reader in readers {
            assert_eq!(texts(&world, reader), std::slice::from_ref(&text), "{to}");
        }
        assert_eq!(texts(&world, author), [""; 0], "{to}");
        // Neither the envelope's time nor the name of the channel makes it another message.
        let now = format!("\"ts\":{}", world.unix_ms());
        for (ts, name) in [(1, to), (0, "public"), (0, "*"), (2, "public")] {
            let again = text.replacen(&now, &format!("\"ts\":{}", world.unix_ms() + ts), 1);
            let again = again.replace(&format!("\"to\":\"{to}\""), &format!("\"to\":\"{name}\""));
            world.user_sends_text(author, WireText::from(again));
            world.run();
        }
        for reader in readers {
            assert_eq!(texts(&world, reader).len(), 1, "{to}");
        }
        assert_eq!(world.errors(author), [], "repeats are no fault of anybody's");
        // Who does not sign may say the same twice.
        for _ in 0..2 {
            world.advance(1);
            publish_as(&mut world, author, to, "ok", false);
        }
        for reader in readers {
            assert_eq!(texts(&world, reader).len(), 3, "{to}");
        }
    }
}

#[test]
fn public_messages_are_no_longer_and_no_more_than_direct_ones_may_be() {
    let mut world = World::started(2);
    let mallory = world.login(0, "mallory", 1);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    let limits = world.nodes[0].config.limits.clone();
    let crossed = |world: &World| {
        world.traffic.iter().filter(|(.., text)| text.as_str().contains("MSG_PUBLIC_CHANNEL")).count()
    };
    // Completed on its way, it would be longer than anybody reads.
    let long = "x".repeat(limits.frame_in_bytes - 400);
    let long =
        format!(r#"{{"type":"MSG_PUBLIC_CHANNEL","payload":{{"ciphertext":"{long}","to":"{bob_id}"}}}}"#);
    world.user_sends_text(mallory, WireText::from(long));
    world.run();
    assert_eq!(crossed(&world), 0);
    assert_eq!(world.errors(mallory).len(), 1);
    assert_eq!(world.linked(0), 1);
    let before = world.pauses;
    for count in 0..limits.public_burst {
        publish(&mut world, mallory, bob_id.as_str(), &format!("{count}"));
    }
    assert_eq!(world.pauses, before, "a large channel is no flood");
    publish(&mut world, mallory, bob_id.as_str(), "one more");
    assert!(world.pauses > before);
    assert_eq!(
        world.received(bob, &FrameType::MsgPublicChannel),
        limits.public_burst as usize + 1,
        "slowed, not lost"
    );
}
