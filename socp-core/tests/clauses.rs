//! Sentences of the standard that no other test is about, each in its own words.

mod support;

use socp_core::server::{Action, DialPolicy, Event, LinkOrigin, Outgoing};
use socp_core::wire::*;
use support::hostile::*;
use support::{End, FakeSigner, START_MS, World, address, introducer, key, now, parse, signed};

/// The texts of a type that went from one server to another.
fn sent(world: &World, from: usize, to: usize, kind: &FrameType) -> Vec<Frame> {
    let traffic = world.traffic.iter().filter(|(sender, receiver, _)| {
        matches!((sender, receiver), (End::Server(a, _), End::Server(b, _)) if *a == from && *b == to)
    });
    traffic.map(|(_, _, text)| parse(text.as_str())).filter(|frame| frame.kind() == kind).collect()
}

/// §7: all six fields; `sig` on every server payload; §4: base64url without padding.
#[test]
fn every_frame_of_a_server_is_a_whole_envelope_and_signed() {
    let mut world = World::started(3);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let carol = world.connect(0, 3);
    world.hello(carol, "carol", false);
    world.tell(alice, &world.users[bob].id.clone(), "hi");
    world.tell(alice, &user_id("nobody"), "hi");
    world.log_out(bob);
    world.advance(60_000);
    let inboxes = world.users.iter().flat_map(|user| user.inbox.iter().map(|frame| frame.text().clone()));
    let texts: Vec<WireText> = world.traffic.iter().map(|(_, _, text)| text.clone()).chain(inboxes).collect();
    let mut kinds = std::collections::BTreeSet::new();
    for text in &texts {
        let frame = parse(text.as_str());
        kinds.insert(frame.kind().to_string());
        for field in ["\"type\":", "\"from\":", "\"to\":", "\"ts\":", "\"payload\":{", "\"sig\":\""] {
            assert!(text.as_str().contains(field), "{field} {text:?}");
        }
        let sig = frame.sig().expect("signed");
        assert!(sig.text().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert!(frame.ts().is_some_and(|ts| ts.0 >= START_MS), "milliseconds: {text:?}");
    }
    for kind in ["SERVER_HELLO_JOIN", "SERVER_WELCOME", "SERVER_ANNOUNCE", "HEARTBEAT", "USER_ADVERTISE"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    for kind in ["USER_REMOVE", "SERVER_DELIVER", "USER_DELIVER", "ERROR", "USER_ADDED", "USER_REMOVED"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
}

/// §8: who says what to whom when a server joins, in this order.
#[test]
fn a_newcomer_joins_is_welcomed_and_announces_itself() {
    let mut world = World::with_servers(2);
    world.nodes[0].config.bootstrap = Vec::new();
    world.start(0);
    let alice = world.login(0, "alice", 1);
    world.start(1);
    let join = sent(&world, 1, 0, &FrameType::ServerHelloJoin).remove(0);
    assert_eq!(join.to().as_str(), "127.0.0.1:9000", "the introducer's host:port");
    assert_eq!(join.from(), Some(world.id(1).id()));
    let Payload::ServerHelloJoin(hello) = join.payload() else { panic!("a JOIN") };
    assert_eq!((&*hello.host, hello.port), ("127.0.0.1", Some(9_001)));
    assert_eq!(hello.pubkey.key(), Ok(&key(1_001)));
    let welcome = sent(&world, 0, 1, &FrameType::ServerWelcome).remove(0);
    let Payload::ServerWelcome(welcome) = welcome.payload() else { panic!("a WELCOME") };
    assert_eq!(welcome.assigned_id, world.id(1), "its own id, as nobody else has it");
    let clients: Vec<_> = welcome.clients.iter().map(|client| client.user_id.clone()).collect();
    assert_eq!(clients, [Some(world.users[alice].id.clone())]);
    let announce = sent(&world, 1, 0, &FrameType::ServerAnnounce).remove(0);
    assert_eq!(announce.to().as_str(), "*");
    let Payload::ServerAnnounce(announce) = announce.payload() else { panic!("an ANNOUNCE") };
    assert_eq!((&*announce.host, announce.port), ("127.0.0.1", Some(9_001)));
}

/// §8.3: known elsewhere, a delivery is forwarded unchanged.
#[test]
fn a_delivery_in_transit_keeps_every_byte() {
    let mut world = World::with_servers(3);
    for node in 0..3 {
        world.nodes[node].config.dial = DialPolicy::None;
        world.nodes[node].config.bootstrap = vec![introducer(1)];
        world.start(node);
    }
    world.advance(5_000);
    assert_eq!(world.linked(0), 1, "no link but to the one in the middle");
    let alice = world.login(0, "alice", 1);
    let bob = world.login(2, "bob", 2);
    world.tell(alice, &world.users[bob].id.clone(), "by a detour");
    let (first, second) =
        (sent(&world, 0, 1, &FrameType::ServerDeliver), sent(&world, 1, 2, &FrameType::ServerDeliver));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(first[0].text(), second[0].text());
    assert_eq!(world.messages(bob).len(), 1);
}

/// §8.4: HEARTBEAT every 15 s; not heard from for 45 s, a server is dead.
#[test]
fn a_server_gets_a_heartbeat_every_15_s_and_is_dead_after_45_s_of_silence() {
    let mut world = World::with_servers(1);
    world.start(0);
    let link = world.new_link(0);
    world.nodes[0].machine.handle(now(0), Event::LinkOpened { link, origin: LinkOrigin::Accepted });
    let signer = FakeSigner::new(key(66));
    let join = Payload::ServerHelloJoin(hello(&signer.key, &nowhere(1), None));
    let to = Recipient::Named(address(9_000).to_string().into());
    world.receive(0, link, signed(&Id::derived_from(&signer.key), to, START_MS, &join, &signer));
    assert_eq!(world.linked(0), 1);
    let (mut beats, mut dead) = (Vec::new(), None);
    while let Some(deadline) = world.nodes[0].machine.poll_timeout() {
        let ms = deadline.at.as_nanos().div_ceil(1_000_000) as u64;
        if ms > 60_000 {
            break;
        }
        for action in world.nodes[0].machine.handle(now(ms), Event::Wakeup) {
            match action {
                Action::Send { to, frame: Outgoing::Own(frame) }
                    if to.contains(&link) && *frame.kind() == FrameType::Heartbeat =>
                {
                    beats.push(ms / 1_000);
                }
                Action::Close { link: closed, .. } if closed == link => dead = Some(ms / 1_000),
                _ => {}
            }
        }
    }
    assert_eq!(beats, [15, 30, 45]);
    assert_eq!(dead, Some(45));
    assert_eq!(world.linked(0), 0);
}

/// A hello of a user, with what it brings besides its key.
fn hello_of(world: &World, user: usize, enc_pubkey: Option<PublicKey>, meta: Option<Meta>) -> Payload {
    Payload::UserHello(UserHello {
        client: None,
        pubkey: Some(world.users[user].signer.key.clone().into()),
        enc_pubkey: enc_pubkey.map(KeyField::from),
        auth: vec!["pss".into()],
        ext: Vec::new(),
        meta,
        rotations: Vec::new(),
        nonce: None,
    })
}

/// §5: ids are case-sensitive.
#[test]
fn ids_that_differ_in_case_are_two_users() {
    let mut world = World::started(2);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    let users = [("dora", 90), ("Dora", 91)].map(|(id, seed)| {
        let user = world.connect(0, seed);
        world.users[user].id = user_id(id);
        world.hello(user, id, true);
        user
    });
    for user in users {
        let id = world.users[user].id.clone();
        world.tell(bob, &id, id.as_str());
        assert_eq!(world.messages(user), [(bob_id.clone(), id.to_string())]);
        assert_eq!(world.errors(user), []);
    }
}

/// §5: ids are UUID v4, where the operator insists.
#[test]
fn strict_ids_refuse_the_hellos_of_users_and_servers_under_other_ids() {
    let mut world = World::with_servers(1);
    world.nodes[0].config.strict_ids = true;
    world.start(0);
    for (id, seed) in [("dora", 90), ("00000000-0000-1000-8000-000000000000", 91)] {
        let user = world.connect(0, seed);
        world.users[user].id = user_id(id);
        world.hello(user, "dora", true);
        assert_eq!(world.errors(user)[0].0, "UNKNOWN_TYPE", "{id}");
        assert!(!world.users[user].online, "{id}");
    }
    let evil = world.connect(0, 66);
    world.users[evil].id = user_id("evil");
    let join = Payload::ServerHelloJoin(hello(&key(66), &nowhere(1), None));
    world.user_sends(evil, Recipient::Unnamed, &join);
    world.run();
    assert!(!world.users[evil].online);
    assert_eq!((world.linked(0), world.online(0).len()), (0, 0));
    let alice = world.login(0, "alice", 1);
    assert_eq!(world.online(0), [world.users[alice].id.clone()]);
}

/// §8, §8.2, §8.3: the fields that the standard asks for, by their names.
#[test]
fn adverts_and_deliveries_carry_the_fields_of_the_standard() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let (alice, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
    world.tell(0, &bob_id, "hi");
    let fields = |kind: &FrameType| {
        let frame = sent(&world, 0, 1, kind).remove(0);
        let payload: serde_json::Value = serde_json::from_str(frame.payload_canonical()).expect("an object");
        (frame.to().as_str().to_owned(), payload)
    };
    let (to, advert) = fields(&FrameType::UserAdvertise);
    assert_eq!((to.as_str(), &advert["user_id"]), ("*", &alice.as_str().into()));
    assert_eq!(advert["server_id"], world.id(0).as_str());
    assert_eq!(advert["meta"]["display_name"], "alice");
    let (to, delivery) = fields(&FrameType::ServerDeliver);
    assert_eq!((to.as_str(), &delivery["user_id"]), (world.id(1).as_str(), &bob_id.as_str().into()));
    assert_eq!((&delivery["sender"], &delivery["ciphertext"]), (&alice.as_str().into(), &"aGk".into()));
    assert_eq!(delivery["sender_pub"], serde_json::to_value(KeyField::from(key(1))).expect("a key"));
    assert!(delivery["content_sig"].as_str().is_some_and(|sig| !sig.is_empty()));
    world.log_out(0);
    let frame = sent(&world, 0, 1, &FrameType::UserRemove).remove(0);
    let removal: serde_json::Value = serde_json::from_str(frame.payload_canonical()).expect("an object");
    assert_eq!(frame.to().as_str(), "*");
    assert_eq!(
        (&removal["user_id"], &removal["server_id"]),
        (&alice.as_str().into(), &world.id(0).as_str().into())
    );
}

/// §9: what a user gets of a message, and who signed that.
#[test]
fn a_delivery_to_a_user_carries_the_fields_and_the_servers_signature() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let (alice_id, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
    world.tell(alice, &bob_id, "hi");
    let mut inbox = world.users[bob].inbox.iter();
    let frame = inbox.find(|frame| *frame.kind() == FrameType::UserDeliver).expect("delivered");
    let payload: serde_json::Value = serde_json::from_str(frame.payload_canonical()).expect("an object");
    assert_eq!((&payload["sender"], &payload["ciphertext"]), (&alice_id.as_str().into(), &"aGk".into()));
    assert_eq!(payload["sender_pub"], serde_json::to_value(KeyField::from(key(1))).expect("a key"));
    assert!(payload["content_sig"].as_str().is_some_and(|sig| !sig.is_empty()));
    assert_eq!((&payload["ts"], frame.ts()), (&world.unix_ms().into(), Some(Timestamp(world.unix_ms()))));
    assert_eq!(frame.from(), Some(world.id(1).id()));
    let signer = &world.nodes[1].signer.key;
    assert!(socp_core::crypto::check_payload(&world.verifier, signer, frame, None).is_some());
}

/// §8: HEARTBEAT says nothing.
#[test]
fn a_heartbeat_is_an_empty_object() {
    let mut world = World::started(2);
    world.advance(20_000);
    let beats = sent(&world, 0, 1, &FrameType::Heartbeat);
    assert!(!beats.is_empty());
    assert!(beats.iter().all(|beat| beat.payload_canonical() == "{}"));
}

/// §17: SERVER_HELLO_LINK as a first frame opens a link, and is not answered by a WELCOME.
#[test]
fn a_hello_link_as_a_first_frame_opens_a_link_without_a_welcome() {
    use support::hostile::{hello, nowhere, says, user_id};
    let mut world = World::started(1);
    world.login(0, "alice", 1);
    let peer = world.connect(0, 70);
    world.users[peer].id = user_id("friend");
    says(&mut world, peer, &Payload::ServerHelloLink(hello(&key(70), &nowhere(1), None)));
    assert_eq!((world.users[peer].online, world.linked(0)), (true, 1));
    let got = |kind: FrameType| world.received(peer, &kind);
    assert_eq!((got(FrameType::ServerWelcome), got(FrameType::ServerAnnounce)), (0, 1));
    assert_eq!(got(FrameType::UserAdvertise), 1);
}

/// §8: WELCOME names our own users, at most 500 of them; the others follow as adverts.
#[test]
fn a_welcome_names_no_more_clients_than_it_may_and_the_newcomer_knows_everybody_all_the_same() {
    let mut world = World::with_servers(2);
    assert_eq!(world.nodes[0].config.limits.welcome_clients, 500);
    world.nodes[0].config.limits.welcome_clients = 20;
    world.nodes[0].config.bootstrap = Vec::new();
    world.start(0);
    for seed in 0..22 {
        world.add_to_crowd(0, 10_000 + seed);
    }
    world.start(1);
    let welcome = sent(&world, 0, 1, &FrameType::ServerWelcome).remove(0);
    let Payload::ServerWelcome(welcome) = welcome.payload() else { panic!("a WELCOME") };
    let clients: std::collections::BTreeSet<_> =
        welcome.clients.iter().filter_map(|client| client.user_id.clone()).collect();
    assert_eq!(clients.len(), 20);
    world.advance(20_000);
    assert_eq!(world.online(1).len(), 22);
}

/// §9: `enc_pubkey` is a copy of `pubkey`; keys that serve one purpose alone are not taken.
#[test]
fn an_enc_pubkey_that_is_not_the_pubkey_is_refused() {
    for (enc_pubkey, taken) in [(None, true), (Some(key(1)), true), (Some(key(2)), false)] {
        let mut world = World::started(1);
        let alice = world.connect(0, 1);
        let hello = hello_of(&world, alice, enc_pubkey, None);
        world.user_sends(alice, Recipient::Unnamed, &hello);
        world.run();
        assert_eq!(world.users[alice].online, taken);
        assert_eq!(world.online(0).len(), usize::from(taken));
        let codes: Vec<String> = world.errors(alice).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, if taken { vec![] } else { vec!["BAD_KEY"] });
    }
}

/// §15.1: routing and cryptography never depend on `meta`, whatever it says of ids, servers and keys.
#[test]
fn nobodys_meta_moves_a_message_or_a_key() {
    let mut world = World::started(2);
    let bob = world.login(1, "bob", 2);
    let (bob_id, home) = (world.users[bob].id.clone(), world.id(1));
    let bobs = serde_json::to_string(&KeyField::from(key(2))).expect("a key");
    let meta =
        format!(r#"{{"display_name":"{bob_id}","user_id":"{bob_id}","server_id":"{home}","pubkey":{bobs}}}"#);
    let mallory = world.connect(0, 66);
    let hello = hello_of(&world, mallory, None, Some(serde_json::from_str(&meta).expect("an object")));
    world.user_sends(mallory, Recipient::Unnamed, &hello);
    world.run();
    let alice = world.login(0, "alice", 1);
    let (alice_id, mallory_id) = (world.users[alice].id.clone(), world.users[mallory].id.clone());
    world.tell(alice, &bob_id, "for bob");
    world.tell(alice, &mallory_id, "for mallory");
    assert_eq!(world.messages(bob), [(alice_id.clone(), "for bob".to_owned())]);
    assert_eq!(world.messages(mallory), [(alice_id, "for mallory".to_owned())]);
    for (asker, node) in [(alice, 0), (bob, 1)] {
        assert_eq!(world.location(node, &mallory_id), Some(world.id(0)));
        let request = PubkeyRequest { user_id: mallory_id.clone() };
        world.user_sends(asker, Recipient::Unnamed, &Payload::PubkeyRequest(request));
        world.run();
        let key_of = world.users[asker].inbox.iter().find_map(|frame| match frame.payload() {
            Payload::Pubkey(answer) => answer.pubkey.key().ok().cloned(),
            _ => None,
        });
        assert_eq!(key_of, Some(key(66)), "at server {node}");
    }
}
