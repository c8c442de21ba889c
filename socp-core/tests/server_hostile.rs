//! What hostile peers try, and what must come of it.

mod support;

use std::collections::BTreeSet;

use socp_core::server::{Action, DialPolicy, Event, LinkOrigin, PinRank, Report};
use socp_core::wire::*;
use support::hostile::*;
use support::{End, FakeSigner, START_MS, World, address, introducer, key, parse, signed, unsigned};

// Pins and proofs of servers.

#[test]
fn an_unsigned_join_with_a_bootstrap_key_moves_no_pin() {
    for own_id in [None, Some("hub")] {
        let mut world = World::with_servers(3);
        world.nodes[0].config.bootstrap = vec![introducer(1)];
        if let Some(own_id) = own_id {
            world.nodes[2].config.server_id = server_id(own_id);
        }
        for node in 0..3 {
            world.start(node);
        }
        world.advance(5_000);
        let bob = world.login(2, "bob", 2);
        let (bob, victim) = (world.users[bob].id.clone(), world.id(2));
        let before = world.pin(0, &victim).expect("a pin").clone();
        joins_unsigned(&mut world, &victim, &key(1_001));
        for _ in 0..2 {
            let pin = world.pin(0, &victim).expect("a pin");
            assert_eq!((&pin.key, pin.rank, pin.native), (&before.key, before.rank, true), "{victim}");
            assert_eq!(world.location(0, &bob).as_ref(), Some(&victim), "{victim}");
            assert_eq!(world.linked(0), 2, "{victim}");
            world.advance(5 * MINUTE);
        }
    }
}

#[test]
fn a_derived_id_is_given_up_to_no_introducers_key() {
    let mut world = World::with_servers(3);
    world.nodes[0].config.bootstrap = vec![introducer(1)];
    world.start(0);
    world.start(2);
    world.advance(5_000);
    let bob = world.login(2, "bob", 2);
    let (bob, victim) = (world.users[bob].id.clone(), world.id(2));
    // The introducer itself turns, and signs.
    let mallory = joins(&mut world, victim.as_str(), 1_001, Some(Nonce([7; 32])));
    let assigned = world.users[mallory].inbox.iter().find_map(|frame| match frame.payload() {
        Payload::ServerWelcome(welcome) => Some(welcome.assigned_id.clone()),
        _ => None,
    });
    assert_ne!(assigned.expect("a welcome"), victim);
    assert_eq!(world.pin(0, &victim).expect("a pin").key, key(1_002));
    assert_eq!(world.location(0, &bob), Some(victim));
}

#[test]
fn a_strangers_welcome_moves_no_pin_and_lets_nobody_speak_for_the_victim() {
    let mut world = World::with_servers(2);
    world.nodes[0].config.bootstrap = Vec::new();
    world.start(0);
    world.start(1);
    world.advance(5_000);
    let carol = world.login(0, "carol", 3);
    let bob = world.login(1, "bob", 2);
    let (bob, victim) = (world.users[bob].id.clone(), world.id(1));
    let mallory = standard_server(&mut world, "evil", 66);
    let told = welcome(server_id("x"), vec![server_entry(&victim, 1, &key(66))], Vec::new());
    says_unsigned(&mut world, mallory, Recipient::Unnamed, &told);
    says(&mut world, mallory, &told);
    assert_eq!(world.pin(0, &victim).expect("a pin").key, key(1_001));
    let issued_at = Some(world.unix_ms() + HOUR);
    let forged =
        Payload::UserAdvertise(UserAdvertise { issued_at, ..advert(&bob, &victim, &key(2), "forged") });
    let forged = signed(victim.id(), Recipient::Everyone, START_MS, &forged, &FakeSigner::new(key(66)));
    world.user_sends_text(mallory, forged.text().clone());
    world.run();
    assert_eq!(world.location(0, &bob), Some(victim));
    assert_eq!(world.presence_seen(carol), ["+bob"]);
}

#[test]
fn a_join_replayed_as_it_was_or_as_a_hello_link_opens_no_link() {
    for replayed_as in ["SERVER_HELLO_JOIN", "SERVER_HELLO_LINK"] {
        let mut world = World::started(3);
        let alice = world.login(0, "alice", 1);
        let bob = world.login(2, "bob", 2);
        let bob = world.users[bob].id.clone();
        let by_victim = |from: &End| matches!(from, End::Server(2, _));
        let join = world.traffic.iter().map(|(from, _, text)| (from, text.as_str()));
        let join = join
            .filter(|(from, text)| by_victim(from) && text.contains("SERVER_HELLO_JOIN"))
            .map(|(_, text)| text.replace("SERVER_HELLO_JOIN", replayed_as))
            .next()
            .expect("server 2 joined somebody");
        world.kill(2);
        world.advance(4 * MINUTE);
        assert_eq!(world.location(0, &bob), None);
        let mallory = world.connect(0, 66);
        world.user_sends_text(mallory, join.into());
        for _ in 0..2 {
            world.run();
            assert_eq!(world.location(0, &bob), None, "{replayed_as}");
            assert_eq!(world.linked(0), 1, "{replayed_as}");
            world.tell(alice, &bob, "for bob alone");
            assert_eq!(world.received(mallory, &FrameType::ServerDeliver), 0, "{replayed_as}");
            world.advance(10 * MINUTE);
        }
        assert!(!world.users[mallory].online, "{replayed_as}: nobody proved anything");
    }
}

#[test]
fn a_replayed_welcome_gives_nobody_anothers_id() {
    let mut world = World::with_servers(3);
    let taken = Id::uuid_v4([9; 16]);
    world.nodes[0].config.server_id = ServerId::from(taken.clone());
    world.nodes[1].config.server_id = ServerId::from(taken.clone());
    world.nodes[2].config.server_id = ServerId::from(taken);
    world.nodes[0].config.bootstrap = Vec::new();
    world.nodes[1].config.bootstrap = vec![introducer(0)];
    world.nodes[2].config.bootstrap = vec![introducer(0)];
    world.start(0);
    world.start(1);
    world.advance(5_000);
    let victim = world.id(1);
    assert_ne!(victim, world.id(0), "the introducer assigned another id");
    let by_introducer = |from: &End| matches!(from, End::Server(0, _));
    let recorded: Vec<WireText> = world
        .traffic
        .iter()
        .filter(|(from, _, text)| {
            by_introducer(from)
                && ["SERVER_WELCOME", "LINK_PROOF"].iter().any(|kind| text.as_str().contains(kind))
        })
        .map(|(_, _, text)| text.clone())
        .collect();
    assert_eq!(recorded.len(), 2);
    world.kill(0);
    world.kill(1);
    world.start(2);
    let before = world.id(2);
    // Whoever answers at the introducer's address knows what it once said, and no more.
    let link = world.new_link(2);
    world.handle(2, Event::LinkOpened { link, origin: LinkOrigin::Dialled(address(9_000)) });
    for text in recorded {
        world.receive(2, link, parse(text.as_str()));
        assert_eq!(world.id(2), before);
    }
    world.advance(MINUTE);
    assert_eq!(world.id(2), before);
    assert_eq!(world.nodes[2].snapshot.own_id, None);
    assert_eq!(world.linked(2), 0);
}

#[test]
fn an_unsigned_welcome_brings_no_presence_and_no_rank() {
    let mut world = World::with_servers(2);
    world.start(0);
    world.login(0, "bob", 2);
    // The introducer is not up; an impostor answers at its address.
    let link = world.new_link(0);
    world.handle(0, Event::LinkOpened { link, origin: LinkOrigin::Dialled(address(9_001)) });
    let dora = user_id("dora");
    let host: Box<str> = "192.0.2.7".into();
    let pubkey = Some(key(70).into());
    let client = WelcomeEntry { user_id: Some(dora.clone()), server_id: None, host, port: Some(1), pubkey };
    let listed = server_entry(&server_id("listed"), 2, &key(71));
    let told = welcome(world.id(0), vec![listed], vec![client]);
    let told = unsigned(server_id("impostor").id(), Recipient::Unnamed, START_MS, &told);
    for action in world.receive(0, link, parse(told.as_str())) {
        if let Action::Persist(record) = action {
            support::persist(&mut world.nodes[0].snapshot, record);
        }
    }
    assert_eq!(world.location(0, &dora), None);
    assert!(world.nodes[0].snapshot.servers.iter().all(|record| record.rank == PinRank::Claimed));
    let listed = world.pin(0, &server_id("listed")).map(|record| record.rank);
    assert_eq!(listed, Some(PinRank::Claimed), "suggested, and no more (decisions §2)");
    // And when the introducer is there, it is believed.
    world.handle(0, Event::LinkClosed { link, why: "gone".into() });
    world.start(1);
    world.advance(2 * MINUTE);
    let introducer = world.id(1);
    assert!(world.is_linked_to(0, &introducer));
    assert_eq!(world.pin(0, &introducer).expect("a pin").rank, PinRank::Bootstrap);
}

// Who gets in, who stays linked.

#[test]
fn strangers_who_fill_the_table_of_servers_keep_no_introducer_out() {
    let mut world = World::with_servers(2);
    world.nodes[0].config.limits.servers = 8;
    world.start(0);
    let mallory = native_server(&mut world, "evil", 66);
    let listed = (0..256).map(|port| server_entry(&server_id(&format!("s{port}")), port + 1, &key(5_000)));
    let told = welcome(server_id("x"), listed.collect(), Vec::new());
    says_unsigned(&mut world, mallory, Recipient::Unnamed, &told);
    says(&mut world, mallory, &told);
    assert_eq!(world.nodes[0].machine.counts().known_servers, 1, "hearsay on a link that is up");
    for seed in 0..7 {
        let stranger = standard_server(&mut world, &format!("stranger{seed}"), 6_000 + seed);
        world.log_out(stranger);
    }
    assert!(world.nodes[0].machine.counts().known_servers <= 8);
    assert!(world.nodes[0].snapshot.servers.len() <= 8, "forgotten on disk, too");
    world.log_out(mallory);
    world.advance(5 * MINUTE);
    world.start(1);
    world.advance(2 * MINUTE);
    let introducer = world.id(1);
    assert!(world.is_linked_to(0, &introducer));
    world.kill(0);
    world.start(0);
    world.advance(2 * MINUTE);
    assert!(world.is_linked_to(0, &introducer), "after a restart");
}

#[test]
fn a_server_whose_id_is_taken_is_known_once_however_often_it_returns() {
    let mut world = World::with_servers(2);
    for node in 0..2 {
        world.nodes[node].config.server_id = server_id("srv");
    }
    world.nodes[0].config.bootstrap = Vec::new();
    world.start(1);
    // With a user it cannot take the id that it is assigned.
    world.login(1, "bob", 2);
    world.start(0);
    for _ in 0..5 {
        world.advance(HOUR);
        assert_eq!(world.nodes[0].machine.counts().known_servers, 1);
    }
}

#[test]
fn an_unsigned_hello_with_the_introducers_key_does_not_stop_the_dialling() {
    let mut world = World::with_servers(2);
    world.nodes[0].config.bootstrap = vec![introducer(1)];
    world.nodes[1].config.bootstrap = Vec::new();
    world.nodes[1].config.dial = DialPolicy::None;
    world.start(0);
    for returning in [false, true] {
        joins_unsigned(&mut world, &server_id("nobody"), &key(1_001));
        world.advance(100);
        world.start(1);
        world.advance(2 * MINUTE);
        let introducer = world.id(1);
        assert!(world.is_linked_to(0, &introducer), "returning: {returning}");
        world.kill(1);
        world.advance(1_000);
    }
}

#[test]
fn a_client_whose_frames_are_foreign_elsewhere_costs_its_server_no_link() {
    let mut world = World::started(2);
    // Server 1 knows one user by that name, and hears of another at server 0.
    let name = user_id("mallory");
    world.lose = Some(|text| text.contains("USER_ADVERTISE"));
    let namesake = world.connect(1, 67);
    world.users[namesake].id = name.clone();
    world.hello(namesake, "mallory", true);
    world.lose = None;
    let mallory = world.connect(0, 66);
    world.users[mallory].id = name.clone();
    world.hello(mallory, "mallory", true);
    assert!(world.users[mallory].online && world.users[namesake].online);
    for count in 0..150 {
        let public =
            Message { to: None, user_id: None, ..unvouched(None, &name, format!("{count}").as_bytes()) };
        world.user_sends(mallory, Recipient::Named("public".into()), &Payload::MsgPublicChannel(public));
        world.run();
    }
    assert_eq!((world.linked(0), world.linked(1)), (1, 1));
    assert_eq!(reports(&world, 1, |report| matches!(report, Report::ServerDown { .. })), 0);
    assert!(refusals(&world, 1) >= 150, "each was refused at server 1");
}

#[test]
fn a_newcomers_gossip_costs_its_carrier_no_link() {
    for policy in [DialPolicy::None, DialPolicy::Reachable] {
        let mut world = World::with_servers(3);
        for node in 0..3 {
            world.nodes[node].config.dial = policy;
            world.nodes[node].config.bootstrap = vec![introducer(0)];
        }
        world.start(2);
        for seed in 0..150 {
            world.login(2, "user", 10_000 + seed);
        }
        world.start(0);
        world.start(1);
        assert_eq!(world.linked(1), 1);
        world.advance(3_000);
        let carrier = world.id(0);
        assert!(world.is_linked_to(1, &carrier), "{policy:?}");
        assert_eq!(reports(&world, 1, |report| matches!(report, Report::ServerDown { .. })), 0, "{policy:?}");
    }
}

/// A server may be known by one key here and by another there: whoever came first under its name.
#[test]
fn what_a_neighbour_carries_of_one_whom_we_know_by_another_key_delays_nothing_else() {
    let mut world = World::started(2);
    let carrier = world.id(1);
    let linked = world.nodes[0].machine.linked_servers().find(|(server, _)| **server == carrier);
    let (_, link) = linked.expect("linked");
    let evil = server_id("evil");
    let ours = Payload::ServerAnnounce(hello(&key(66), &nowhere(1), None));
    let announced = signed(evil.id(), Recipient::Everyone, START_MS, &ours, &FakeSigner::new(key(66)));
    world.receive(0, link, announced);
    let theirs = FakeSigner::new(key(67));
    let before = world.verifier.count();
    for at in 0..500 {
        let flood = UserAdvertise {
            issued_at: Some(START_MS + at),
            ..advert(&user_id(&format!("user-{at}")), &evil, &key(68), "flood")
        };
        let flood = Payload::UserAdvertise(flood);
        let actions =
            world.receive(0, link, signed(evil.id(), Recipient::Everyone, START_MS, &flood, &theirs));
        assert!(!actions.iter().any(|action| matches!(action, Action::Pause { .. } | Action::Close { .. })));
    }
    let forms = 4;
    let checks = world.verifier.count() - before;
    assert!(checks <= 100 * forms, "{checks}: after a while nobody looks");
    assert!(world.online(0).is_empty());
    let bob = world.login(1, "bob", 2);
    assert_eq!(world.location(0, &world.users[bob].id), Some(carrier));
    // They are looked at again later: somebody may have been mistaken.
    world.advance(MINUTE);
    let right =
        UserAdvertise { issued_at: Some(START_MS), ..advert(&user_id("carol"), &evil, &key(3), "carol") };
    let right = Payload::UserAdvertise(right);
    let right = signed(evil.id(), Recipient::Everyone, START_MS, &right, &FakeSigner::new(key(66)));
    world.receive(0, link, right);
    assert_eq!(world.location(0, &user_id("carol")), Some(evil));
}

/// `sig` does not cover `from`: anybody can put another name on a server's announcement.
#[test]
fn an_announcement_under_a_newcomers_name_keeps_the_newcomer_out_nowhere() {
    let mut world = World::started(2);
    let newcomer = FakeSigner::new(key(70));
    let name = ServerId::from(Id::derived_from(&key(70)));
    let carrier = world.id(1);
    let linked = world.nodes[0].machine.linked_servers().find(|(server, _)| **server == carrier);
    let (_, link) = linked.expect("linked");
    let mut at = START_MS;
    let mut announces = |world: &mut World, key: &PublicKey, signer: &FakeSigner| {
        at += 1;
        let hello = Payload::ServerAnnounce(hello(key, &nowhere(1), None));
        let announcement = signed(name.id(), Recipient::Everyone, at, &hello, signer);
        world.receive(0, link, announcement);
    };
    let liar = FakeSigner::new(key(66));
    announces(&mut world, &key(66), &liar);
    announces(&mut world, &key(70), &newcomer);
    announces(&mut world, &key(66), &liar);
    let user = user_id("bob");
    let payload = UserAdvertise { issued_at: Some(at), ..advert(&user, &name, &key(2), "bob") };
    let payload = Payload::UserAdvertise(payload);
    world.receive(0, link, signed(name.id(), Recipient::Everyone, at, &payload, &newcomer));
    assert_eq!(world.location(0, &user), Some(name.clone()));
}

#[test]
fn nobody_passes_its_own_announcement_on_under_another_name() {
    let mut world = World::started(2);
    let mallory = native_server(&mut world, "evil", 66);
    let own = Payload::ServerAnnounce(hello(&key(1_000), &address(9_000), None));
    let name = server_id("other");
    let twisted = signed(name.id(), Recipient::Everyone, START_MS, &own, &FakeSigner::new(key(1_000)));
    world.user_sends_text(mallory, twisted.text().clone());
    world.run();
    assert!(world.pin(0, &name).is_none() && world.pin(1, &name).is_none());
}

#[test]
fn of_all_addresses_that_a_server_announced_at_most_one_is_kept() {
    let mut world = World::started(1);
    let mallory = native_server(&mut world, "evil", 66);
    for port in 1_000..1_300 {
        says(&mut world, mallory, &Payload::ServerAnnounce(hello(&key(66), &nowhere(port), None)));
    }
    world.log_out(mallory);
    world.nodes[0].reports.clear();
    world.advance(HOUR);
    let dialled = world.nodes[0].reports.iter().filter_map(|report| match report {
        Report::Dropped { why: "dial failed", detail } => Some(detail.clone()),
        _ => None,
    });
    let dialled: BTreeSet<_> = dialled.collect();
    assert!(dialled.len() <= 1, "{} addresses", dialled.len());
}

// Users: where they are, what they are called, who speaks for them.

#[test]
fn a_refused_or_outranked_claim_lets_nobody_speak_for_the_user() {
    for claimed_key in [key(66), key(1)] {
        let mut world = World::started(2);
        let alice = world.login(1, "alice", 1);
        let alice_id = world.users[alice].id.clone();
        let bob = world.login(0, "bob", 2);
        let bob_id = world.users[bob].id.clone();
        let mallory = standard_server(&mut world, "evil", 66);
        let claim = advert(&alice_id, &server_id("evil"), &claimed_key, "alice");
        says(&mut world, mallory, &Payload::UserAdvertise(claim));
        assert_eq!(world.location(0, &alice_id), Some(world.id(1)));
        let forged = Payload::ServerDeliver(unvouched(Some(&alice_id), &bob_id, b"forged"));
        says(&mut world, mallory, &forged);
        world.tell(alice, &bob_id, "mine");
        assert_eq!(world.messages(bob), [(alice_id, "mine".to_owned())]);
    }
}

#[test]
fn an_outranked_claim_renames_nobody() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    let alice = world.users[alice].id.clone();
    let mallory = standard_server(&mut world, "evil", 66);
    let claim = advert(&alice, &server_id("evil"), &key(1), "administrator");
    says(&mut world, mallory, &Payload::UserAdvertise(claim));
    let carol = world.login(0, "carol", 3);
    assert_eq!(world.presence_seen(carol), ["+alice"]);
    let kept = world.nodes[0].snapshot.users.iter().find(|record| record.user_id == alice).expect("a pin");
    assert_eq!(kept.meta.display_name().as_deref(), Some("alice"));
}

#[test]
fn a_squatter_gives_way_to_the_key_from_which_the_id_derives() {
    let mut world = World::started(1);
    let bob = world.login(0, "bob", 2);
    let alice_id = UserId::from(Id::derived_from(&key(1)));
    let mallory = native_server(&mut world, "evil", 66);
    // The squatter attests itself with a key of its own, as far ahead as it may.
    let proof = LoginProof {
        nonce: Nonce([1; 32]),
        user_id: alice_id.clone(),
        server_id: server_id("evil"),
        host: "192.0.2.7:1".into(),
        issued_at: world.unix_ms() + 590_000,
    };
    let squatter = FakeSigner::new(key(67));
    let sealed = Payload::LoginProof(proof.clone());
    let sealed = signed(alice_id.id(), Recipient::Unnamed, START_MS, &sealed, &squatter);
    let attestation = Some(Attestation { payload: proof, sig: sealed.sig().expect("signed").clone() });
    let issued_at = Some(world.unix_ms());
    let claim = advert(&alice_id, &server_id("evil"), &key(67), "alice");
    says(&mut world, mallory, &Payload::UserAdvertise(UserAdvertise { issued_at, attestation, ..claim }));
    assert_eq!(world.location(0, &alice_id), Some(server_id("evil")), "until the owner comes");
    let alice = world.login(0, "alice", 1);
    for count in 1..=2 {
        assert!(world.users[alice].online);
        assert_eq!(world.location(0, &alice_id), Some(world.id(0)));
        world.tell(bob, &alice_id, &format!("message {count}"));
        assert_eq!(world.messages(alice).len(), count);
        assert_eq!(world.received(mallory, &FrameType::ServerDeliver), 0);
        world.advance(48 * HOUR);
    }
}

#[test]
fn a_login_with_an_older_proof_is_refused_and_the_newer_one_stays_reachable() {
    let mut world = World::started(2);
    world.advance(5 * MINUTE);
    let bob = world.login(0, "bob", 2);
    let alice = world.login(1, "alice", 1);
    let alice_id = world.users[alice].id.clone();
    let late = world.connect(0, 1);
    let link = world.users[late].link;
    let nonce = world.challenge(0, link, &alice_id, &FakeSigner::new(key(1)));
    let (user_id, server_id) = (alice_id.clone(), world.id(0));
    let (host, issued_at) = (address(9_000).to_string().into(), world.unix_ms() - MINUTE);
    let proof = LoginProof { nonce, user_id, server_id, host, issued_at };
    world.user_sends(late, Recipient::Unnamed, &Payload::LoginProof(proof));
    world.run();
    assert_eq!(world.errors(late)[0].0, "NAME_IN_USE");
    assert!(!world.users[late].online && world.users[alice].online);
    assert_eq!(world.received(late, &FrameType::UserLoggedIn), 0);
    world.tell(bob, &alice_id, "to the newer one");
    assert_eq!(world.messages(alice).len(), 1);
}

#[test]
fn who_logs_out_and_in_again_within_one_ts_is_online() {
    let mut world = World::started(1);
    let standard = standard_server(&mut world, "std", 66);
    let (dora, home) = (user_id("dora"), server_id("std"));
    let here = Payload::UserAdvertise(advert(&dora, &home, &key(70), "dora"));
    let (meta, event) = (None, None);
    let gone = UserRemove { user_id: dora.clone(), server_id: home.clone(), issued_at: None, meta, event };
    for round in 0..3 {
        says(&mut world, standard, &here);
        assert_eq!(world.location(0, &dora).as_ref(), Some(&home), "round {round}");
        says(&mut world, standard, &Payload::UserRemove(gone.clone()));
        assert_eq!(world.location(0, &dora), None, "round {round}");
    }
}

#[test]
fn an_advert_of_a_megabyte_is_not_kept() {
    let mut world = World::started(1);
    let mallory = native_server(&mut world, "evil", 66);
    for (rotations, kept) in [(400, false), (2, true)] {
        let dora = user_id(&format!("dora{rotations}"));
        let (old, new, version) = (key(70).into(), key(71).into(), 1);
        let sig = Binary::new([0; 512]);
        let rotation = Rotation { user_id: dora.clone(), old, new, version, sig };
        let rotations = vec![rotation; rotations];
        let issued_at = Some(world.unix_ms());
        let claim = advert(&dora, &server_id("evil"), &key(70), "dora");
        let claim = Payload::UserAdvertise(UserAdvertise { issued_at, rotations, ..claim });
        says(&mut world, mallory, &claim);
        assert_eq!(world.location(0, &dora).is_some(), kept, "{dora}");
    }
}

#[test]
fn users_who_never_proved_a_key_keep_nobody_out() {
    let mut world = World::with_servers(1);
    world.nodes[0].config.limits.pinned_users = 3;
    world.start(0);
    for seed in 0..3 {
        let stranger = world.connect(0, 50_000 + seed);
        world.hello(stranger, "stranger", false);
        world.log_out(stranger);
    }
    for restarted in [false, true] {
        let alice = world.login(0, "alice", 1);
        assert!(world.users[alice].online, "restarted: {restarted}, {:?}", world.errors(alice));
        world.log_out(alice);
        world.kill(0);
        world.start(0);
    }
}

/// Every server that a bootstrap server ever dialled holds its JOIN, and `from` is not signed.
#[test]
fn a_bootstrap_servers_join_replayed_under_another_id_moves_no_pin() {
    let mut world = World::with_servers(2);
    world.nodes[0].config.bootstrap = vec![introducer(1)];
    world.start(0);
    world.advance(1_000);
    let victim = native_server(&mut world, "victim", 66);
    let join = hello(&key(1_001), &nowhere(1), Some(Nonce([3; 32])));
    let listed = FakeSigner::new(key(1_001));
    let to = Recipient::Named(address(9_000).to_string().into());
    let replay =
        signed(server_id("victim").id(), to, world.unix_ms(), &Payload::ServerHelloJoin(join), &listed);
    let mallory = world.connect(0, 99);
    world.user_sends_text(mallory, replay.text().clone());
    world.advance(MINUTE);
    assert_eq!(world.pin(0, &server_id("victim")).map(|pin| &pin.key), Some(&key(66)));
    assert!(world.users[victim].online);
}

#[test]
fn strangers_who_stay_keep_no_introducer_out_and_evict_nobody_who_proved_itself() {
    let mut world = World::with_servers(2);
    world.nodes[0].config.limits.servers = 8;
    world.start(0);
    let native = native_server(&mut world, "native", 66);
    world.log_out(native);
    world.advance(5 * MINUTE);
    let mut refused = 0;
    for seed in 0..20 {
        let stranger = world.connect(0, 6_000 + seed);
        world.users[stranger].id = user_id(&format!("stranger{seed}"));
        let join = Payload::ServerHelloJoin(hello(&key(6_000 + seed), &nowhere(1), None));
        says_unsigned(&mut world, stranger, Recipient::Named(address(9_000).to_string().into()), &join);
        refused += usize::from(!world.users[stranger].online);
    }
    assert_eq!(refused, 16, "half of the table is theirs");
    world.start(1);
    world.advance(2 * MINUTE);
    let introducer = world.id(1);
    assert!(world.is_linked_to(0, &introducer));
    assert!(world.pin(0, &server_id("native")).is_some_and(|pin| pin.native));
}

#[test]
fn frames_that_nobody_carries_count_as_the_peers_own() {
    let mut world = World::with_servers(1);
    world.start(0);
    let mallory = native_server(&mut world, "evil", 66);
    let signer = FakeSigner::new(key(66));
    for at in 0..101 {
        let heartbeat = Payload::Heartbeat(Empty {});
        let foreign =
            signed(server_id("other").id(), Recipient::Everyone, at + 1_000_000_000_000, &heartbeat, &signer);
        world.user_sends_text(mallory, foreign.text().clone());
    }
    world.run();
    assert!(!world.users[mallory].online);
}

#[test]
fn a_long_text_of_a_peer_is_not_repeated_at_length() {
    let mut world = World::with_servers(1);
    world.start(0);
    let alice = world.login(0, "alice", 1);
    world.user_sends_text(alice, format!("{{\"type\":\"{}\"}}", "ä".repeat(200_000)).into());
    world.run();
    let answer = world.users[alice].inbox.last().expect("an answer");
    assert!(answer.text().len() < 8 * 1024, "{} bytes", answer.text().len());
}

/// A removal is signed for ever, and `ts` is anybody's to change.
#[test]
fn replayed_removals_do_not_use_up_the_rate_of_the_server_that_signed_them() {
    let mut world = World::started(2);
    let mallory = native_server(&mut world, "evil", 66);
    let alice = world.login(1, "alice", 1);
    world.log_out(alice);
    let removal = world.traffic.iter().map(|(.., text)| text.clone());
    let removal = removal.filter(|text| text.as_str().contains("USER_REMOVE")).last().expect("told");
    let frame: serde_json::Value = serde_json::from_str(removal.as_str()).expect("JSON");
    for ts in 0..300 {
        let mut replay = frame.clone();
        replay["ts"] = (START_MS + ts).into();
        world.user_sends_text(mallory, replay.to_string().into());
        world.run();
    }
    assert_eq!(
        reports(&world, 0, |report| matches!(report, Report::Dropped { why: "stale removal", .. })),
        300
    );
    let (origin, now) = (world.id(1), world.unix_ms() + 1_000);
    let honest = world.nodes[0].machine.linked_servers().find(|(server, _)| **server == origin);
    let (_, link) = honest.map(|(server, link)| (server.clone(), link)).expect("linked");
    let user = user_id("bob");
    let advert = UserAdvertise { issued_at: Some(now), ..advert(&user, &origin, &key(2), "bob") };
    let payload = Payload::UserAdvertise(advert);
    let frame = signed(origin.id(), Recipient::Everyone, now, &payload, &world.nodes[1].signer);
    let actions = world.receive(0, link, frame);
    assert_eq!(world.location(0, &user), Some(origin));
    let paused = actions.iter().any(|action| matches!(action, Action::Pause { .. }));
    assert!(!paused, "an honest link is not read more slowly for it: {actions:?}");
}
