//! The weaknesses that the standard (§16) and its implementations are known for, each attacked. SECURITY.md
//! lists them all, with the tests elsewhere.

mod support;

use socp_core::server::Action;
use socp_core::wire::*;
use support::hostile::*;
use support::{End, FakeSigner, START_MS, World, address, key, message, parse, signed, unsigned};

// Unauthenticated adverts.

#[test]
fn an_advert_without_its_servers_signature_is_not_believed() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let mallory = standard_server(&mut world, "evil", 66);
    let dora = user_id("dora");
    for home in [world.id(1), server_id("evil"), server_id("nobody-knows")] {
        let claim = Payload::UserAdvertise(advert(&dora, &home, &key(70), "dora"));
        let bare = unsigned(home.id(), Recipient::Everyone, world.unix_ms(), &claim);
        let empty = bare.as_str().replacen("{\"type\"", "{\"sig\":\"\",\"type\"", 1);
        let stranger = FakeSigner::new(key(67));
        let forged = signed(home.id(), Recipient::Everyone, world.unix_ms(), &claim, &stranger);
        for text in [bare, empty.into(), forged.text().clone()] {
            let before = refusals(&world, 0);
            world.user_sends_text(mallory, text.clone());
            world.run();
            assert_eq!(refusals(&world, 0), before + 1, "{text:?}");
            assert_eq!((world.location(0, &dora), world.location(1, &dora)), (None, None), "{text:?}");
        }
    }
    assert_eq!(world.presence_seen(alice), Vec::<String>::new());
}

#[test]
fn a_server_speaks_for_no_other_servers_users() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let (bob, home) = (world.users[bob].id.clone(), world.id(1));
    let mallory = standard_server(&mut world, "evil", 66);
    // Signed with its own key, in its own name or the other's.
    let (meta, event, issued_at) = (None, None, Some(world.unix_ms() + HOUR));
    let gone = UserRemove { user_id: bob.clone(), server_id: home.clone(), issued_at, meta, event };
    let claim = UserAdvertise { issued_at, ..advert(&bob, &home, &key(66), "mine") };
    for payload in [Payload::UserRemove(gone), Payload::UserAdvertise(claim)] {
        says(&mut world, mallory, &payload);
        let signer = FakeSigner::new(key(66));
        let forged = signed(home.id(), Recipient::Everyone, world.unix_ms(), &payload, &signer);
        world.user_sends_text(mallory, forged.text().clone());
        world.run();
        assert_eq!(world.location(0, &bob), Some(home.clone()), "{payload:?}");
    }
    assert_eq!(world.presence_seen(alice), ["+bob"]);
}

// Anyone sends as anyone.

#[test]
fn nobody_sends_as_somebody_else() {
    let mut world = World::started(1);
    let bob = world.login(0, "bob", 2);
    let carol = world.login(0, "carol", 3);
    let mallory = world.login(0, "mallory", 66);
    let (bob_id, carol_id) = (world.users[bob].id.clone(), world.users[carol].id.clone());
    let own = world.users[mallory].id.clone();
    let ts = Timestamp(world.unix_ms());
    let signer = FakeSigner::new(key(66));
    let as_carol = message(&carol_id, &bob_id, "send money", ts, &signer);
    let public = Message { to: Some("public".into()), ..as_carol.clone() };
    for payload in [Payload::MsgDirect(as_carol), Payload::MsgPublicChannel(public)] {
        for from in [&carol_id, &own] {
            let frame = signed(from.id(), Recipient::from(&bob_id), ts.0, &payload, &signer);
            let bare = unsigned(from.id(), Recipient::from(&bob_id), ts.0, &payload);
            for text in [frame.text().clone(), bare] {
                let before = world.errors(mallory).len();
                world.user_sends_text(mallory, text);
                world.run();
                assert_eq!(world.errors(mallory)[before].0, "INVALID_SIG");
            }
        }
    }
    assert_eq!(world.messages(bob), []);
}

#[test]
fn a_server_delivers_for_nobody_who_is_not_there() {
    let mut world = World::started(2);
    let bob = world.login(0, "bob", 2);
    let carol = world.login(1, "carol", 3);
    let (bob_id, carol_id) = (world.users[bob].id.clone(), world.users[carol].id.clone());
    let mallory = native_server(&mut world, "evil", 66);
    for sender in [carol_id, user_id("nobody")] {
        says(&mut world, mallory, &Payload::ServerDeliver(unvouched(Some(&sender), &bob_id, b"send money")));
    }
    assert_eq!(world.messages(bob), []);
}

// Weak keys.

#[test]
fn a_weak_key_opens_no_link() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/weak");
    let mut tried = 0;
    for entry in std::fs::read_dir(keys).expect("fixtures") {
        let path = entry.expect("an entry").path();
        let weak = encode_base64(&std::fs::read(&path).expect("a fixture"));
        for (kind, rest) in [
            ("USER_HELLO", r#""client":"x""#),
            ("USER_HELLO", r#""client":"x","auth":["pss"]"#),
            ("SERVER_HELLO_JOIN", r#""host":"192.0.2.7","port":1"#),
            ("SERVER_HELLO_LINK", r#""host":"192.0.2.7","port":1"#),
        ] {
            let mut world = World::started(1);
            let mallory = world.connect(0, 66);
            let payload = format!(r#"{{{rest},"pubkey":"{weak}"}}"#);
            let text = format!(
                r#"{{"type":"{kind}","from":"mallory","to":"x","ts":{START_MS},"payload":{payload}}}"#
            );
            world.user_sends_text(mallory, text.into());
            world.run();
            assert_eq!(world.errors(mallory)[0].0, "BAD_KEY", "{kind} {path:?}");
            assert!(!world.users[mallory].online, "{kind} {path:?}");
            tried += 1;
        }
    }
    assert!(tried >= 4 * 8, "{tried}");
}

// Replays.

/// The first text of a type that went from one server to another.
fn recorded(world: &World, from: usize, to: usize, kind: &str) -> WireText {
    let kind = format!("\"{kind}\"");
    let mut texts = world.traffic.iter().filter(|(sender, receiver, text)| {
        let route = (sender, receiver);
        matches!(route, (End::Server(a, _), End::Server(b, _)) if *a == from && *b == to)
            && text.as_str().contains(&kind)
    });
    texts.next().expect("it was sent").2.clone()
}

#[test]
fn a_delivery_replayed_on_another_link_arrives_once() {
    let mut world = World::started(3);
    let alice = world.login(1, "alice", 1);
    let bob = world.login(0, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.tell(alice, &bob_id, "once");
    let delivery = recorded(&world, 1, 0, "SERVER_DELIVER");
    let native = native_server(&mut world, "evil", 66);
    let standard = standard_server(&mut world, "worse", 67);
    for mallory in [native, standard] {
        world.user_sends_text(mallory, delivery.clone());
        let later = delivery.as_str().replacen(&world.unix_ms().to_string(), &START_MS.to_string(), 1);
        world.user_sends_text(mallory, later.into());
        world.run();
    }
    assert_eq!(world.messages(bob).len(), 1);
}

#[test]
fn an_advert_of_somebody_who_left_brings_nobody_back_even_after_a_restart() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    world.traffic.clear();
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    let here = recorded(&world, 1, 0, "USER_ADVERTISE");
    world.log_out(bob);
    assert_eq!(world.location(0, &bob_id), None);
    for restarted in [false, true] {
        if restarted {
            world.kill(0);
            world.start(0);
            world.advance(5_000);
        }
        let mallory = native_server(&mut world, "evil", 66);
        // To its own server, too, from where it came and from elsewhere.
        world.user_sends_text(mallory, here.clone());
        world.run();
        assert_eq!(world.location(0, &bob_id), None, "restarted: {restarted}");
        assert_eq!(world.location(1, &bob_id), None, "restarted: {restarted}");
        world.log_out(mallory);
    }
    assert_eq!(world.presence_seen(alice), ["+bob", &format!("-{bob}")]);
}

/// Server 0 restarts while an origin is down whose user has left: who recorded what the origin said says it again, its
/// PRESENCE too, if there was time for one, and answers what is asked.
fn replayed_while_the_origin_is_down(seen_by_presence: bool, leave: fn(&mut World, usize)) {
    let mut world = World::started(2);
    world.advance(2 * MINUTE);
    world.traffic.clear();
    let ghost = world.login(1, "ghost", 3);
    let (origin, ghost_id) = (world.id(1), world.users[ghost].id.clone());
    if seen_by_presence {
        world.advance(MINUTE);
    }
    let said: Vec<WireText> = world
        .traffic
        .iter()
        .filter(|(from, ..)| matches!(from, End::Server(1, _)))
        .map(|(.., text)| text.clone())
        .filter(|text| [FrameType::UserAdvertise, FrameType::Presence].contains(parse(text.as_str()).kind()))
        .collect();
    let (mut users, mut presence) = (Vec::new(), None);
    for text in &said {
        match parse(text.as_str()).payload() {
            Payload::UserAdvertise(advert) => {
                users.push((ghost_id.clone(), advert.issued_at.expect("its time")))
            }
            Payload::Presence(said) => presence = Some(said.issued_at),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((users.len(), presence.is_some()), (1, seen_by_presence));
    leave(&mut world, ghost);
    assert_eq!(world.location(0, &ghost_id), None);
    world.kill(1);
    world.kill(0);
    world.start(0);
    let mallory = native_server(&mut world, "evil", 66);
    for again in [false, true] {
        for text in &said {
            world.user_sends_text(mallory, text.clone());
            world.run();
            assert_eq!(world.location(0, &ghost_id), None, "{text:?}");
        }
        if let Some(issued_at) = presence.filter(|_| again) {
            let (server_id, users) = (origin.clone(), users.clone());
            says(
                &mut world,
                mallory,
                &Payload::PresenceList(PresenceList { server_id, issued_at, users, page: 1, pages: 1 }),
            );
        }
        // Time for a question.
        world.advance(5_000);
        assert_eq!(world.location(0, &ghost_id), None, "again: {again}");
    }
    // The origin is back, with others, and they count at once.
    world.start(1);
    let carol = world.login(1, "carol", 4);
    world.advance(5_000);
    assert_eq!(world.location(0, &world.users[carol].id), Some(origin));
    assert_eq!(world.location(0, &ghost_id), None);
}

#[test]
fn who_left_stays_away_after_a_restart_while_the_origin_is_down() {
    for seen_by_presence in [false, true] {
        replayed_while_the_origin_is_down(seen_by_presence, |world, ghost| world.log_out(ghost));
    }
}

#[test]
fn who_was_lost_with_a_server_stays_away_after_a_restart_of_ours() {
    for seen_by_presence in [false, true] {
        replayed_while_the_origin_is_down(seen_by_presence, |world, _| {
            world.kill(1);
            world.advance(2 * MINUTE);
        });
    }
}

#[test]
fn a_removal_replayed_after_a_new_login_removes_nobody() {
    let mut world = World::started(2);
    let bob = world.login(1, "bob", 2);
    world.log_out(bob);
    let gone = recorded(&world, 1, 0, "USER_REMOVE");
    let bob = world.login(1, "bob", 2);
    let bob = world.users[bob].id.clone();
    for restarted in [false, true] {
        if restarted {
            world.kill(0);
            world.start(0);
            world.advance(5_000);
        }
        let mallory = native_server(&mut world, "evil", 66);
        world.user_sends_text(mallory, gone.clone());
        world.advance(MINUTE);
        assert_eq!(world.location(0, &bob), Some(world.id(1)), "restarted: {restarted}");
        world.log_out(mallory);
    }
}

#[test]
fn a_recorded_login_opens_nothing_again() {
    let mut world = World::started(1);
    let alice = world.connect(0, 1);
    let (id, signer) = (world.users[alice].id.clone(), FakeSigner::new(key(1)));
    let link = world.users[alice].link;
    let nonce = world.challenge(0, link, &id, &signer);
    let (user_id, server_id, host) = (id.clone(), world.id(0), address(9_000).to_string().into());
    let proof = LoginProof { nonce, user_id, server_id, host, issued_at: world.unix_ms() };
    let proof = signed(id.id(), Recipient::Unnamed, START_MS, &Payload::LoginProof(proof), &signer);
    world.user_sends_text(alice, proof.text().clone());
    world.run();
    assert_eq!(world.received(alice, &FrameType::UserLoggedIn), 1, "the first time it is good");
    for restarted in [false, true] {
        if restarted {
            world.kill(0);
            world.start(0);
        }
        // The hello is no secret either.
        let mallory = world.connect(0, 66);
        let link = world.users[mallory].link;
        world.challenge(0, link, &id, &signer);
        world.user_sends_text(mallory, parse(proof.text().as_str()).text().clone());
        world.run();
        assert_eq!(world.errors(mallory)[0].0, "INVALID_SIG", "restarted: {restarted}");
        assert!(!world.users[mallory].online, "restarted: {restarted}");
        assert_eq!(world.users[alice].online, !restarted);
    }
}

/// What anybody recorded of a link between servers is worth nothing on another link, nor once the server that
/// delivered it was restarted; and nobody else's messages make it new again.
#[test]
fn a_recorded_message_is_delivered_to_nobody_a_second_time_after_a_restart() {
    let mut world = World::with_servers(2);
    world.nodes[1].config.limits.seen_entries = 50;
    for node in 0..2 {
        world.start(node);
    }
    world.advance(5_000);
    let alice = world.login(0, "alice", 1);
    let mallory = world.login(0, "mallory", 66);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.traffic.clear();
    world.tell(alice, &bob_id, "once");
    let recorded = world.traffic.iter().find(|(.., text)| text.as_str().contains("SERVER_DELIVER"));
    let recorded = recorded.expect("it crossed a link").2.clone();
    assert_eq!(world.messages(bob).len(), 1);
    for flooded in [false, true] {
        if flooded {
            for count in 0..100 {
                world.tell(mallory, &bob_id, &format!("{count}"));
            }
        }
        world.kill(1);
        world.advance(20 * 60_000);
        world.start(1);
        world.advance(60_000);
        let bob = world.login(1, "bob", 2);
        let link = world.link_from(1, 0);
        let actions = world.receive(1, link, support::parse(recorded.as_str()));
        let sent = actions.iter().any(|action| matches!(action, Action::Send { .. }));
        assert!(!sent, "flooded: {flooded}");
        world.tell(alice, &bob_id, &format!("news {flooded}"));
        assert_eq!(world.messages(bob).len(), 1, "what is new arrives");
    }
}
