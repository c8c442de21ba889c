//! Users at a server's door: challenge, proof, replaced sessions, and everything that is refused.

mod support;

use socp_core::crypto::check_payload;
use socp_core::wire::*;
use support::{START_MS, World, address, key, signed};

fn bare(world: &mut World, server: usize, seed: u64, name: &str) -> usize {
    let user = world.connect(server, seed);
    world.hello(user, name, false);
    user
}

fn kinds(world: &World, user: usize) -> Vec<String> {
    world.users[user].inbox.iter().map(|frame| frame.kind().to_string()).collect()
}

#[test]
fn a_proven_login_is_answered_in_order_and_advertised_with_its_attestation() {
    let mut world = World::started(2);
    world.traffic.clear();
    let alice = world.login(0, "alice", 1);
    assert_eq!(
        kinds(&world, alice),
        ["LOGIN_CHALLENGE", "USER_LOGGED_IN", "DIRECTORY", "PUBLIC_CHANNEL_SNAPSHOT"]
    );
    let advert = world.traffic.iter().map(|(_, _, text)| support::parse(text.as_str()));
    let advert =
        advert.into_iter().find(|frame| *frame.kind() == FrameType::UserAdvertise).expect("advertised");
    let Payload::UserAdvertise(advert) = advert.payload() else { panic!("not an advert") };
    let attestation = advert.attestation.as_ref().expect("attested");
    assert_eq!(attestation.payload.server_id, world.id(0));
    assert_eq!(attestation.payload.user_id, world.users[alice].id);
    assert!(
        world.nodes[1].snapshot.users.iter().any(|user| user.user_id == world.users[alice].id && user.proven)
    );
}

#[test]
fn a_bare_hello_is_a_login_that_gets_one_user_added_per_user_and_the_adverts_themselves() {
    let mut world = World::started(2);
    world.login(1, "bob", 2);
    let alice = bare(&mut world, 0, 1, "alice");
    assert_eq!(kinds(&world, alice), ["USER_ADDED"]);
    let carol = world.login(1, "carol", 3);
    assert_eq!(kinds(&world, alice), ["USER_ADDED", "USER_ADDED", "USER_ADVERTISE"]);
    world.log_out(carol);
    assert_eq!(kinds(&world, alice)[3..], ["USER_REMOVED", "USER_REMOVE"]);
}

#[test]
fn a_bare_hello_for_an_id_that_is_online_here_is_refused_and_the_session_lives() {
    let mut world = World::started(1);
    let first = bare(&mut world, 0, 1, "alice");
    let second = bare(&mut world, 0, 1, "alice");
    assert_eq!(world.errors(second)[0].0, "NAME_IN_USE");
    assert!(!world.users[second].online && world.users[first].online);
    assert_eq!(world.nodes[0].machine.local_users().count(), 1);
}

#[test]
fn a_proven_login_replaces_the_earlier_session_and_says_why_while_nobody_else_notices() {
    let mut world = World::started(2);
    let bob = world.login(1, "bob", 2);
    let first = world.login(0, "alice", 1);
    let second = world.login(0, "alice", 1);
    assert_eq!(world.errors(first)[0], ("NAME_IN_USE".to_owned(), "replaced by a newer login".to_owned()));
    assert!(!world.users[first].online && world.users[second].online);
    assert_eq!(world.presence_seen(bob), ["+alice"]);
    assert_eq!(world.nodes[0].machine.local_users().count(), 1);
}

#[test]
fn once_proven_always_proven_also_by_gossip() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    world.log_out(alice);
    for server in 0..2 {
        let bare = bare(&mut world, server, 1, "alice");
        assert_eq!(world.errors(bare)[0].0, "BAD_KEY", "server {server}");
        assert!(!world.users[bare].online);
    }
    world.kill(0);
    world.start(0);
    let bare = bare(&mut world, 0, 1, "alice");
    assert_eq!(world.errors(bare)[0].0, "BAD_KEY", "after a restart");
}

#[test]
fn another_key_for_a_pinned_id_is_refused() {
    let mut world = World::started(1);
    let first = bare(&mut world, 0, 1, "alice");
    let id: UserId = "alice".parse().expect("an id");
    // Free ids have no key of their own: the first pin wins.
    for (seed, accepted) in [(11, true), (12, false)] {
        let user = world.connect(0, seed);
        world.users[user].id = id.clone();
        world.hello(user, "al", true);
        assert_eq!(world.users[user].online, accepted, "seed {seed}");
        if !accepted {
            assert_eq!(world.errors(user)[0].0, "BAD_KEY");
        }
    }
    assert!(kinds(&world, first).contains(&"USER_KEY_CONFLICT".to_owned()));
}

#[test]
fn a_login_that_moves_to_another_server_ends_the_session_here() {
    let mut world = World::started(2);
    let carol = world.login(0, "carol", 3);
    let first = world.login(0, "alice", 1);
    world.advance(1_000);
    let second = world.login(1, "alice", 1);
    assert_eq!(world.errors(first)[0], ("NAME_IN_USE".to_owned(), "moved".to_owned()));
    assert!(!world.users[first].online && world.users[second].online);
    let alice = world.users[second].id.clone();
    for server in 0..2 {
        let at = world.nodes[server].machine.user_locations().find(|(user, _)| **user == alice);
        assert_eq!(at.map(|(_, server)| server.clone()), Some(world.id(1)), "server {server}");
    }
    world.tell(carol, &alice, "found you");
    assert_eq!(world.messages(second)[0].1, "found you");
}

#[test]
fn a_login_proof_with_another_nonce_host_server_or_time_opens_nothing() {
    type Spoil = fn(&mut LoginProof);
    const MINUTE: u64 = 60_000;
    let spoils: [(Spoil, Option<&str>); 9] = [
        (|_| {}, None),
        (|proof| proof.nonce = Nonce([7; 32]), Some("INVALID_SIG")),
        (|proof| proof.server_id = "other".parse().expect("an id"), Some("INVALID_SIG")),
        (|proof| proof.user_id = "other".parse().expect("an id"), Some("INVALID_SIG")),
        (|proof| proof.host = "127.0.0.1:9001".into(), Some("INVALID_SIG")),
        (|proof| proof.host = "127.0.0.1".into(), Some("INVALID_SIG")),
        (|proof| proof.issued_at -= 25 * 60 * MINUTE, Some("TIMEOUT")),
        (|proof| proof.issued_at += 9 * MINUTE, None),
        (|proof| proof.issued_at += 11 * MINUTE, Some("TIMEOUT")),
    ];
    for (spoil, code) in spoils {
        let mut world = World::with_servers(1);
        // As with `--advertise`: the host counts.
        world.nodes[0].config.address_is_binding = true;
        world.start(0);
        world.advance(5_000);
        let user = world.connect(0, 1);
        let signer = support::FakeSigner::new(key(1));
        let (id, link) = (world.users[user].id.clone(), world.users[user].link);
        let nonce = world.challenge(0, link, &id, &signer);
        let mut proof = LoginProof {
            nonce,
            user_id: id.clone(),
            server_id: world.id(0),
            host: "127.0.0.1:9000".into(),
            issued_at: START_MS + 5_000,
        };
        spoil(&mut proof);
        world.user_sends(user, Recipient::Unnamed, &Payload::LoginProof(proof));
        world.run();
        let said = world.errors(user).first().map(|(code, _)| code.clone());
        assert_eq!(said.as_deref(), code);
        assert_eq!(world.users[user].online, code.is_none());
        assert_eq!(world.nodes[0].machine.local_users().count(), usize::from(code.is_none()));
    }
}

#[test]
fn without_an_advertised_address_a_server_takes_proofs_for_whatever_address_it_was_dialled_at() {
    let mut world = World::started(1);
    world.nodes[0].listen = address(9_999);
    world.add_to_crowd(0, 1);
    assert_eq!(world.nodes[0].machine.local_users().count(), 1);
}

#[test]
fn a_stranger_who_says_nothing_is_closed_after_its_time() {
    let mut world = World::started(1);
    let user = world.connect(0, 1);
    world.advance(9_000);
    assert!(world.users[user].online);
    world.advance(2_000);
    assert!(!world.users[user].online);
    assert_eq!(world.errors(user)[0].0, "TIMEOUT");
}

#[test]
fn a_bad_frame_gets_its_error_and_costs_neither_the_link_nor_others() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(0, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    let mallory = support::FakeSigner::new(key(66));
    let own = world.users[alice].id.clone();
    let foreign =
        signed(bob_id.id(), Recipient::Unnamed, START_MS, &Payload::ListRequest(Empty {}), &mallory);
    let wrong_sig = signed(own.id(), Recipient::Unnamed, START_MS, &Payload::ListRequest(Empty {}), &mallory);
    let unknown = r#"{"type":"WHAT","payload":{}}"#.to_owned();
    let as_server =
        r#"{"type":"USER_ADVERTISE","payload":{"user_id":"x","server_id":"y","meta":{}}}"#.to_owned();
    for (text, code) in [
        (foreign.text().as_str().to_owned(), "INVALID_SIG"),
        (wrong_sig.text().as_str().to_owned(), "INVALID_SIG"),
        (unknown, "UNKNOWN_TYPE"),
        (as_server, "UNKNOWN_TYPE"),
    ] {
        let before = world.errors(alice).len();
        world.user_sends_text(alice, text.into());
        world.run();
        assert_eq!(world.errors(alice)[before].0, code);
    }
    assert!(world.users[alice].online);
    assert_eq!(world.errors(bob), []);
    world.tell(alice, &bob_id, "still here");
    assert_eq!(world.messages(bob).len(), 1);
}

#[test]
fn a_hundred_bad_frames_in_a_minute_close_the_link_and_errors_have_a_budget() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    for _ in 0..101 {
        world.user_sends_text(alice, r#"{"type":"WHAT"}"#.to_owned().into());
    }
    world.run();
    assert!(!world.users[alice].online);
    assert_eq!(world.errors(alice).len(), 20);
    assert_eq!(world.nodes[0].machine.local_users().count(), 0);
}

#[test]
fn a_user_who_floods_is_held_back_and_loses_nothing() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(0, "bob", 2);
    let (to, link) = (world.users[bob].id.clone(), world.users[alice].link);
    let mut paused = None;
    for number in 0..250 {
        let author = &world.users[alice];
        let message =
            support::message(&author.id, &to, &number.to_string(), Timestamp(START_MS), &author.signer);
        let to = Recipient::from(&to);
        let frame = signed(author.id.id(), to, START_MS, &Payload::MsgDirect(message), &author.signer);
        let actions = world.receive(0, link, frame);
        let until = actions.iter().find_map(|action| match action {
            socp_core::server::Action::Pause { link: held, until } => (*held == link).then_some(*until),
            _ => None,
        });
        paused = paused.max(until);
        assert!(
            actions.iter().any(|action| matches!(action, socp_core::server::Action::Send { .. })),
            "{number}"
        );
    }
    // 50 over the burst of 200, at 100 a second.
    assert_eq!(paused, Some(support::now(world.ms + 500).instant));
}

#[test]
fn messages_to_nobody_fail_with_a_reference_and_a_vanished_recipient_is_told() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    world.tell(alice, &"nobody".parse().expect("an id"), "hello?");
    assert_eq!(world.errors(alice)[0].0, "USER_NOT_FOUND");
    // Bob leaves, and the removal is lost: his server knows better than ours.
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.lose = Some(|text| text.contains("USER_REMOVE"));
    world.log_out(bob);
    world.lose = None;
    world.tell(alice, &bob_id, "hello?");
    let errors = world.errors(alice);
    assert_eq!(errors.last().expect("an error").0, "USER_NOT_FOUND");
    let Some(Payload::Error(error)) = world.users[alice].inbox.last().map(|frame| frame.payload()) else {
        panic!("the last frame is the error")
    };
    let about = error.reference.as_ref().expect("a reference");
    assert_eq!((&*about.kind, about.to.as_deref()), ("MSG_DIRECT", Some(bob_id.as_str())));
    assert!(world.presence_seen(alice).contains(&format!("-{bob}")), "the claim is dropped");
}

#[test]
fn every_message_that_finds_nobody_is_told_however_many_there_are() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.lose = Some(|text| text.contains("USER_REMOVE"));
    world.log_out(bob);
    world.lose = None;
    for number in 0..60 {
        let to = if number % 2 == 0 { bob_id.clone() } else { "nobody".parse().expect("an id") };
        world.tell(alice, &to, &number.to_string());
        world.advance(10);
    }
    assert_eq!(world.errors(alice).len(), 60);
}

#[test]
fn a_replayed_delivery_arrives_once_also_under_another_ts() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.traffic.clear();
    world.tell(alice, &bob_id, "once");
    let (_, to, text) = world
        .traffic
        .iter()
        .find(|(_, _, text)| text.as_str().contains("SERVER_DELIVER"))
        .cloned()
        .expect("delivered across servers");
    let support::End::Server(node, link) = to else { panic!("a server link") };
    let later =
        text.as_str().replacen(&(START_MS + world.ms).to_string(), &(START_MS + world.ms + 1).to_string(), 1);
    for replay in [text.as_str().to_owned(), later] {
        let frame = support::parse(&replay);
        let actions = world.receive(node, link, frame);
        let sent = actions.iter().any(|action| matches!(action, socp_core::server::Action::Send { .. }));
        assert!(!sent, "{replay}");
    }
    assert_eq!(world.messages(bob).len(), 1);
}

#[test]
fn a_relabelled_or_redirected_advert_changes_nothing() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    world.traffic.clear();
    let bob = world.login(1, "bob", 2);
    let (_, to, advert) = world
        .traffic
        .iter()
        .find(|(_, _, text)| text.as_str().contains("USER_ADVERTISE"))
        .cloned()
        .expect("advertised");
    let support::End::Server(node, link) = to else { panic!("a server link") };
    let before = world.nodes[node].machine.counts();
    let as_removal = advert.as_str().replace("USER_ADVERTISE", "USER_REMOVE");
    let as_presence = advert.as_str().replace("USER_ADVERTISE", "USER_ADDED");
    let own_name = advert.as_str().replacen(world.id(1).as_str(), world.id(0).as_str(), 1);
    let altered = advert.as_str().replace("bob", "bab");
    for text in [as_removal, as_presence, own_name, altered] {
        let frame = support::parse(&text);
        let actions = world.receive(node, link, frame);
        let told = actions.iter().any(|action| matches!(action, socp_core::server::Action::Send { .. }));
        assert!(!told, "{text}");
    }
    assert_eq!(world.nodes[node].machine.counts().online_users, before.online_users);
    assert_eq!(world.presence_seen(alice), ["+bob"]);
    assert!(world.users[bob].online);
}

#[test]
fn public_messages_reach_members_elsewhere_with_their_own_text() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let carol = world.login(0, "carol", 3);
    let ts = Timestamp(START_MS + world.ms);
    for member in [bob, carol] {
        let to = world.users[member].id.clone();
        let author = &world.users[alice];
        let mut input = b"hello mesh!".to_vec();
        input.extend(format!("{}{}", author.id, ts).into_bytes());
        let mut message = support::message(&author.id, &to, "hello mesh!", ts, &author.signer);
        let sig = socp_core::crypto::Signer::sign(&author.signer, &input).expect("fake");
        message.content_sig = Some(Binary::new(sig));
        world.user_sends(alice, Recipient::from(&to), &Payload::MsgPublicChannel(message));
    }
    world.run();
    for member in [bob, carol] {
        assert_eq!(world.messages(member).len(), 1, "user {member}");
        assert_eq!(
            world.users[member].inbox.last().map(|frame| frame.kind()),
            Some(&FrameType::MsgPublicChannel)
        );
    }
    assert_eq!(world.errors(alice), []);
}

#[test]
fn the_list_is_sorted_by_label_and_holds_the_asker_and_keys_are_answered() {
    let mut world = World::started(2);
    let carol = world.login(0, "carol", 3);
    world.login(1, "bob", 2);
    let alice = world.login(1, "alice", 1);
    world.user_sends(carol, Recipient::Unnamed, &Payload::ListRequest(Empty {}));
    let wanted = world.users[alice].id.clone();
    world.user_sends(carol, Recipient::Unnamed, &Payload::PubkeyRequest(PubkeyRequest { user_id: wanted }));
    world.run();
    let names = world.users[carol].inbox.iter().find_map(|frame| match frame.payload() {
        Payload::ListResponse(list) => Some(
            list.users
                .iter()
                .map(|user| user.meta.as_ref().and_then(Meta::display_name).unwrap_or_default())
                .collect::<Vec<_>>(),
        ),
        _ => None,
    });
    assert_eq!(names.expect("listed"), ["alice", "bob", "carol"]);
    let key = world.users[carol].inbox.iter().find_map(|frame| match frame.payload() {
        Payload::Pubkey(answer) => answer.pubkey.key().ok().cloned(),
        _ => None,
    });
    assert_eq!(key, Some(world.users[alice].signer.key.clone()));
    // §13: signed by the directory, and by nobody else, over all that it says.
    let answer = world.users[carol].inbox.iter().find(|frame| *frame.kind() == FrameType::Pubkey);
    let answer = answer.expect("answered");
    let holds = |key: &PublicKey, frame: &Frame| check_payload(&world.verifier, key, frame, None).is_some();
    assert!(holds(&support::key(1_000), answer) && !holds(&support::key(1_001), answer));
    for (said, forged) in [("\"version\":", "\"version\":9"), ("\"user_id\":\"", "\"user_id\":\"x")] {
        let forged = support::parse(&answer.text().as_str().replacen(said, forged, 1));
        assert!(!holds(&support::key(1_000), &forged), "{said}");
    }
}

/// §15: `users.version` bumps on change.
#[test]
fn a_users_version_bumps_with_a_change_and_with_nothing_else() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    let (key, id) = (world.users[alice].signer.key.clone(), world.users[alice].id.clone());
    let version = |world: &World| {
        let kept = world.nodes[0].snapshot.users.iter().find(|record| record.user_id == id);
        kept.expect("stored").version
    };
    let first = version(&world);
    hello_again(&mut world, alice, key.clone(), Some(Meta::named("Alice")));
    assert_eq!(version(&world), first + 1);
    hello_again(&mut world, alice, key, Some(Meta::named("Alice")));
    assert_eq!(version(&world), first + 1);
    world.user_sends(
        alice,
        Recipient::Unnamed,
        &Payload::PubkeyRequest(PubkeyRequest { user_id: id.clone() }),
    );
    world.run();
    let told = world.users[alice].inbox.iter().find_map(|frame| match frame.payload() {
        Payload::Pubkey(answer) => Some(answer.version),
        _ => None,
    });
    assert_eq!(told, Some(first + 1));
    world.log_out(alice);
    world.kill(0);
    world.start(0);
    world.login(0, "Alice", 1);
    assert_eq!(version(&world), first + 1, "the same key and name");
}

#[test]
fn a_session_renews_its_attestation_and_nobody_is_told_twice() {
    let mut world = World::started(2);
    let bob = world.login(1, "bob", 2);
    let alice = world.login(0, "alice", 1);
    let before = world.users[alice].inbox.len();
    world.traffic.clear();
    world.advance(12 * 3_600_000 + 1_000);
    let challenges = world.users[alice].inbox[before..].iter();
    assert_eq!(challenges.filter(|frame| *frame.kind() == FrameType::LoginChallenge).count(), 1);
    let adverts =
        world.traffic.iter().filter(|(_, _, text)| text.as_str().contains("\"attestation\"")).count();
    assert_eq!(adverts, 2, "one of each user");
    assert_eq!(world.presence_seen(bob), ["+alice"]);
}

/// A hello on the session's own link.
fn hello_again(world: &mut World, user: usize, key: PublicKey, meta: Option<Meta>) {
    let hello = UserHello {
        client: None,
        pubkey: Some(key.into()),
        enc_pubkey: None,
        auth: vec!["pss".into()],
        ext: Vec::new(),
        meta,
        rotations: Vec::new(),
        nonce: None,
    };
    world.user_sends(user, Recipient::Unnamed, &Payload::UserHello(hello));
    world.run();
}

#[test]
fn who_changes_its_name_is_seen_under_it_by_everybody_at_once() {
    let mut world = World::started(3);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let carol = world.login(0, "carol", 3);
    let (key, alice_id) = (world.users[alice].signer.key.clone(), world.users[alice].id.clone());
    let before = [alice, bob, carol].map(|user| world.presence_seen(user).len());
    world.traffic.clear();
    hello_again(&mut world, alice, key.clone(), Some(Meta::named("Alice in Chains")));
    for (user, before) in [alice, bob, carol].into_iter().zip(before) {
        assert_eq!(world.presence_seen(user)[before..], ["+Alice in Chains"], "user {user}");
    }
    // The advert is a fresh one, and still shows her proof.
    let adverts: Vec<_> =
        world.traffic.iter().filter(|(_, _, text)| text.as_str().contains("USER_ADVERTISE")).collect();
    assert!(!adverts.is_empty());
    assert!(adverts.iter().all(|(_, _, text)| text.as_str().contains("\"attestation\"")));
    for node in 0..3 {
        let kept = world.nodes[node].snapshot.users.iter().find(|record| record.user_id == alice_id);
        assert_eq!(kept.and_then(|record| record.meta.display_name()).as_deref(), Some("Alice in Chains"));
    }
    // Everybody agrees, so nobody asks; and who comes later learns the new name.
    world.traffic.clear();
    world.advance(130_000);
    assert!(world.traffic.iter().all(|(_, _, text)| !text.as_str().contains("PRESENCE_REQUEST")));
    let dora = world.login(2, "dora", 4);
    assert!(world.presence_seen(dora).contains(&"+Alice in Chains".to_owned()));

    // Without a `meta`, or with the same, it is answered, and nobody else hears of it.
    let before = world.received(carol, &FrameType::UserAdded);
    hello_again(&mut world, alice, key.clone(), None);
    hello_again(&mut world, alice, key, Some(Meta::named("Alice in Chains")));
    assert_eq!(world.received(carol, &FrameType::UserAdded), before);
    assert_eq!(world.errors(alice), []);
}

#[test]
fn a_hello_on_a_sessions_link_changes_nothing_but_the_meta_and_not_too_often() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(0, "bob", 2);
    let key = world.users[alice].signer.key.clone();
    hello_again(&mut world, alice, support::key(9), Some(Meta::named("eve")));
    hello_again(&mut world, alice, key.clone(), Some(Meta::named(&"x".repeat(5_000))));
    let hello = UserHello {
        client: None,
        pubkey: None,
        enc_pubkey: None,
        auth: Vec::new(),
        ext: Vec::new(),
        meta: Some(Meta::named("unsigned")),
        rotations: Vec::new(),
        nonce: None,
    };
    let from = world.users[alice].id.clone();
    let text = support::unsigned(from.id(), Recipient::Unnamed, START_MS, &Payload::UserHello(hello));
    world.user_sends_text(alice, text);
    world.run();
    for number in 0..6 {
        hello_again(&mut world, alice, key.clone(), Some(Meta::named(&format!("alice {number}"))));
    }
    let codes: Vec<_> = world.errors(alice).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["BAD_KEY", "UNKNOWN_TYPE", "INVALID_SIG", "TIMEOUT"]);
    assert_eq!(world.presence_seen(bob).last().map(String::as_str), Some("+alice 4"));
    world.advance(10_000);
    hello_again(&mut world, alice, key, Some(Meta::named("alice at last")));
    assert_eq!(world.presence_seen(bob).last().map(String::as_str), Some("+alice at last"));
    assert!(world.users[alice].online);
}

#[test]
fn strict_ids_refuse_a_name_and_close() {
    let mut world = World::with_servers(1);
    world.nodes[0].config.strict_ids = true;
    world.start(0);
    let team = world.connect(0, 1);
    world.users[team].id = "team".parse().expect("an id");
    world.hello(team, "team", true);
    assert_eq!(world.errors(team), [("UNKNOWN_TYPE".to_owned(), "from is not a UUID v4".to_owned())]);
    assert!(!world.users[team].online);
    assert_eq!(world.nodes[0].machine.counts().links, 0);
    let alice = world.login(0, "alice", 2);
    assert!(world.users[alice].online);
}

/// What the server signed for one login is no answer to the next: the client knows its own nonce again.
#[test]
fn a_challenge_carries_the_nonce_of_the_hello_and_a_renewal_needs_none() {
    let mut world = World::started(1);
    for nonce in [None, Some(Nonce([5; 32]))] {
        let alice = world.connect(0, 1);
        let hello = serde_json::json!({ "pubkey": KeyField::from(key(1)), "auth": ["pss"], "nonce": nonce });
        let hello = Payload::UserHello(serde_json::from_value(hello).expect("a hello"));
        world.user_sends(alice, Recipient::Unnamed, &hello);
        world.run();
        let echoed = |world: &World| -> Vec<Option<Nonce>> {
            let challenges = world.users[alice].inbox.iter().filter_map(|frame| match frame.payload() {
                Payload::LoginChallenge(challenge) => Some(challenge.client_nonce),
                _ => None,
            });
            challenges.collect()
        };
        assert_eq!(echoed(&world), [nonce]);
        world.advance(12 * 3_600_000 + 1_000);
        assert_eq!(echoed(&world), [nonce, None]);
        world.log_out(alice);
    }
}
