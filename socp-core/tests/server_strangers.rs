//! What a server that nobody vouches for can make of pins, links, tables and other people's time: nothing.

mod support;

use std::collections::BTreeSet;

use socp_core::server::{
    Action, DialPolicy, Event, JoinPolicy, LinkId, LinkOrigin, Outgoing, PinRank, Report,
};
use socp_core::wire::*;
use support::hostile::*;
use support::{FakeSigner, START_MS, World, address, introducer, key, parse, signed, unsigned};

/// Server 0 dials an address, whoever is there; what it says first.
fn dialled(world: &mut World, address: &HostPort) -> (LinkId, Frame) {
    let link = world.new_link(0);
    let origin = LinkOrigin::Dialled(address.clone());
    let actions = world.nodes[0].machine.handle(support::now(world.ms), Event::LinkOpened { link, origin });
    let said = actions.into_iter().find_map(|action| match action {
        Action::Send { frame: Outgoing::Own(frame), .. } => {
            Some(frame.sign(&world.nodes[0].signer).expect("fake").into_text())
        }
        _ => None,
    });
    (link, parse(said.expect("a greeting").as_str()))
}

/// What the peer of a link says under a name, signed by a key; what server 0 makes of it is done.
fn answers(world: &mut World, link: LinkId, from: &Id, seed: u64, payload: &Payload) {
    let frame = signed(from, Recipient::Unnamed, world.unix_ms(), payload, &FakeSigner::new(key(seed)));
    for action in world.receive(0, link, frame) {
        match action {
            Action::Persist(record) => support::persist(&mut world.nodes[0].snapshot, record),
            Action::Report(report) => world.nodes[0].reports.push(report),
            _ => {}
        }
    }
}

/// A server of the standard that says where it listens, so that it is dialled there.
fn to_be_dialled(world: &mut World, name: &str, seed: u64, port: u16) -> HostPort {
    let peer = standard_server(world, name, seed);
    let listens = nowhere(port);
    says(world, peer, &Payload::ServerAnnounce(hello(&key(seed), &listens, None)));
    world.log_out(peer);
    listens
}

// Pins.

#[test]
fn who_had_us_dial_it_is_no_introducer_and_its_word_moves_no_pin() {
    let mut world = World::started(1);
    let victim = server_id("victim");
    let peer = native_server(&mut world, "victim", 70);
    world.log_out(peer);
    let there = to_be_dialled(&mut world, "evil", 66, 5);
    let (link, _) = dialled(&mut world, &there);
    let junk = (0..300).map(|n| server_entry(&server_id(&format!("junk{n}")), n + 1, &key(8_000)));
    let servers = [server_entry(&victim, 9, &key(66))].into_iter().chain(junk).collect();
    let told = welcome(world.id(0), servers, Vec::new());
    answers(&mut world, link, server_id("evil").id(), 66, &told);
    let pin = world.pin(0, &victim).expect("a pin");
    assert_eq!((&pin.key, pin.native), (&key(70), true));
    let ranks = world.nodes[0].snapshot.servers.iter().map(|record| record.rank);
    assert!(ranks.into_iter().all(|rank| rank == PinRank::Claimed), "a stranger's word, and no more");
    let half = world.nodes[0].config.limits.servers / 2;
    assert!(world.nodes[0].machine.counts().known_servers <= half + 1, "strangers take half of the table");
}

#[test]
fn a_key_that_has_proven_itself_gives_way_to_no_proof_at_an_address_of_the_liars_choice() {
    let mut world = World::started(1);
    let victim = server_id("victim");
    let peer = native_server(&mut world, "victim", 70);
    world.log_out(peer);
    let there = to_be_dialled(&mut world, "evil", 66, 5);
    let (link, join) = dialled(&mut world, &there);
    let Payload::ServerHelloJoin(ours) = join.payload() else { panic!("{join:?}") };
    let (nonce, own_nonce) = (ours.nonce.expect("a nonce"), Nonce([9; 32]));
    let Payload::ServerWelcome(told) = welcome(world.id(0), Vec::new(), Vec::new()) else { panic!() };
    let told = Payload::ServerWelcome(ServerWelcome { nonce: Some(own_nonce), ..told });
    answers(&mut world, link, victim.id(), 66, &told);
    let (host, port) = (there.host().into(), Some(there.port()));
    let (from, to) = (victim.clone(), world.id(0));
    let proof = LinkProof { nonce, own_nonce, from, to, role: LinkRole::Accept, host, port };
    answers(&mut world, link, victim.id(), 66, &Payload::LinkProof(proof));
    assert_eq!(world.pin(0, &victim).expect("a pin").key, key(70));
    assert!(!world.is_linked_to(0, &victim));
    // The operator's word does take its place.
    world.nodes[0].config.bootstrap = vec![socp_core::server::Introducer { key: key(66), ..introducer(7) }];
    world.start(0);
    let (link, _) = dialled(&mut world, &address(9_007));
    let told = welcome(world.id(0), Vec::new(), Vec::new());
    answers(&mut world, link, victim.id(), 66, &told);
    assert_eq!(world.pin(0, &victim).map(|pin| pin.native), Some(true), "nor without a proof");
}

// Links.

#[test]
fn an_unsigned_hello_opens_no_link_where_a_list_says_who_may_join() {
    for list in [false, true] {
        let mut world = World::with_servers(1);
        if list {
            world.nodes[0].config.join = JoinPolicy::Allowlist(vec![key(70)]);
        }
        world.start(0);
        let peer = joins_unsigned(&mut world, &server_id("friend"), &key(70));
        assert_eq!(world.users[peer].online, !list);
        assert_eq!(world.received(peer, &FrameType::ServerWelcome), usize::from(!list));
        assert_eq!(world.linked(0), usize::from(!list));
    }
}

#[test]
fn an_unsigned_hello_brings_no_server_back_until_it_has_signed_something() {
    let mut world = World::started(1);
    let (friend, bob) = (server_id("friend"), user_id("bob"));
    let there = standard_server(&mut world, "friend", 70);
    says(&mut world, there, &Payload::UserAdvertise(advert(&bob, &friend, &key(2), "bob")));
    let alice = world.login(0, "alice", 1);
    assert_eq!(world.location(0, &bob), Some(friend.clone()));
    world.log_out(there);
    world.advance(2 * MINUTE);
    assert_eq!(world.location(0, &bob), None, "its grace is over");
    // Anybody knows its name and its public key.
    let impostor = joins_unsigned(&mut world, &friend, &key(70));
    assert_eq!((world.location(0, &bob), world.linked(0)), (None, 0));
    world.tell(alice, &bob, "for bob alone");
    assert_eq!(world.received(impostor, &FrameType::ServerDeliver), 0);
    // A first frame under its key shows that it is there.
    world.users[impostor].signer = FakeSigner::new(key(70));
    says(&mut world, impostor, &Payload::Heartbeat(Empty {}));
    assert_eq!((world.location(0, &bob), world.linked(0)), (Some(friend), 1));
}

#[test]
fn a_link_proof_counts_only_with_every_field_as_this_very_link_had_it() {
    let proof_of = |world: &World, nonce: Nonce| {
        let (from, to, dialled) = (server_id("srv"), world.id(0), address(9_000));
        let (host, port) = (dialled.host().into(), Some(dialled.port()));
        let own_nonce = Nonce([7; 32]);
        LinkProof { nonce, own_nonce, from, to, role: LinkRole::Dial, host, port }
    };
    type Twist = fn(LinkProof) -> LinkProof;
    let twists: [(&str, Twist); 7] = [
        ("as it should be", |proof| proof),
        ("our nonce", |proof| LinkProof { nonce: Nonce([1; 32]), ..proof }),
        ("its nonce", |proof| LinkProof { own_nonce: Nonce([1; 32]), ..proof }),
        ("from", |proof| LinkProof { from: server_id("other"), ..proof }),
        ("to", |proof| LinkProof { to: server_id("other"), ..proof }),
        ("role", |proof| LinkProof { role: LinkRole::Accept, ..proof }),
        ("port", |proof| LinkProof { port: Some(1), ..proof }),
    ];
    for (what, twist) in twists {
        let mut world = World::with_servers(1);
        world.nodes[0].config.address_is_binding = true;
        world.start(0);
        let peer = joins(&mut world, "srv", 70, Some(Nonce([7; 32])));
        let nonce = world.users[peer].inbox.iter().find_map(|frame| match frame.payload() {
            Payload::ServerWelcome(welcome) => welcome.nonce,
            _ => None,
        });
        let proof = twist(proof_of(&world, nonce.expect("a nonce")));
        says(&mut world, peer, &Payload::LinkProof(proof));
        let holds = what == "as it should be";
        assert_eq!((world.users[peer].online, world.linked(0) == 1), (holds, holds), "{what}");
    }
}

#[test]
fn our_own_entry_in_the_list_says_where_we_may_be_dialled_as_advertise_does() {
    for (advertised, listed, dialled, holds) in [
        (None, None, 9_000, true),
        (Some(9_000), None, 9_000, true),
        (Some(9_000), None, 9_001, false),
        (None, Some(9_001), 9_001, true),
        (None, Some(9_001), 9_000, false),
        (Some(9_000), Some(9_001), 9_001, true),
        (Some(9_000), Some(9_001), 9_002, false),
    ] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.address_is_binding = advertised.is_some();
        world.nodes[0].config.bootstrap.clear();
        if let Some(port) = listed {
            let own = socp_core::server::Introducer { address: address(port), ..introducer(0) };
            world.nodes[0].config.bootstrap = vec![own];
        }
        world.start(0);
        let peer = joins(&mut world, "srv", 70, Some(Nonce([7; 32])));
        let nonce = world.users[peer].inbox.iter().find_map(|frame| match frame.payload() {
            Payload::ServerWelcome(welcome) => welcome.nonce,
            _ => None,
        });
        let (from, to, dialled) = (server_id("srv"), world.id(0), address(dialled));
        let (host, port) = (dialled.host().into(), Some(dialled.port()));
        let (nonce, own_nonce) = (nonce.expect("a nonce"), Nonce([7; 32]));
        let proof = LinkProof { nonce, own_nonce, from, to, role: LinkRole::Dial, host, port };
        says(&mut world, peer, &Payload::LinkProof(proof));
        assert_eq!(world.linked(0) == 1, holds, "{advertised:?} {listed:?} {dialled}");
    }
}

#[test]
fn the_farewell_of_an_unproven_link_takes_nobody_along() {
    let mut world = World::started(1);
    let (friend, bob) = (server_id("friend"), user_id("bob"));
    let there = standard_server(&mut world, "friend", 70);
    says(&mut world, there, &Payload::UserAdvertise(advert(&bob, &friend, &key(2), "bob")));
    world.user_sends_text(there, WireText::from(r#"{"type":"CTRL_CLOSE"}"#.to_owned()));
    world.run();
    assert!(!world.users[there].online);
    assert_eq!(world.location(0, &bob), Some(friend), "its users have their grace");
    world.advance(2 * MINUTE);
    assert_eq!(world.location(0, &bob), None);
}

// What servers without `issued_at` list, and what they do not.

#[test]
fn users_that_a_seed_no_longer_lists_are_gone_and_others_stay() {
    let client = |user: &UserId| WelcomeEntry {
        user_id: Some(user.clone()),
        server_id: None,
        ..server_entry(&server_id("x"), 1, &key(2))
    };
    let (ann, bob) = (user_id("ann"), user_id("bob"));
    // Whether it is a seed, whom it lists when its link comes up again, and who is left.
    for (seed, listed, left) in [
        (true, vec![&ann], vec![&ann]),
        (true, vec![], vec![]),
        (false, vec![&bob], vec![&bob]),
        (false, vec![], vec![&ann, &bob]),
    ] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.bootstrap = vec![introducer(7)];
        if seed {
            world.nodes[0].config.bootstrap[0].dialect = Some(socp_core::dialect::Dialect::Seed);
        }
        world.start(0);
        let friend = server_id("friend");
        for clients in [vec![client(&ann), client(&bob)], listed.iter().map(|user| client(user)).collect()] {
            let (link, _) = dialled(&mut world, &address(9_007));
            let told = welcome(world.id(0), Vec::new(), clients);
            answers(&mut world, link, friend.id(), 1_007, &told);
            assert!(world.is_linked_to(0, &friend));
            assert_eq!(world.online(0), [ann.clone(), bob.clone()], "known from before, for a while");
            world.advance(40_000);
            if world.online(0).len() == 2 {
                world.handle(0, Event::LinkClosed { link, why: "gone".into() });
            }
        }
        let left: Vec<UserId> = left.into_iter().cloned().collect();
        assert_eq!(world.online(0), left, "seed: {seed}, lists {listed:?}");
    }
}

#[test]
fn an_advert_after_a_short_cut_removes_nobody_else() {
    let mut world = World::started(1);
    let (friend, ann, bob) = (server_id("friend"), user_id("ann"), user_id("bob"));
    let there = standard_server(&mut world, "friend", 70);
    says(&mut world, there, &Payload::UserAdvertise(advert(&ann, &friend, &key(1), "ann")));
    world.log_out(there);
    let there = standard_server(&mut world, "friend", 70);
    says(&mut world, there, &Payload::UserAdvertise(advert(&bob, &friend, &key(2), "bob")));
    world.advance(40_000);
    assert_eq!(world.online(0), [ann, bob], "it lists nobody, and took nobody back");
}

// Floods.

#[test]
fn a_flood_of_presences_is_cut_off_and_long_ones_go_nowhere() {
    let mut world = World::started(3);
    let mallory = native_server(&mut world, "evil", 66);
    let evil = server_id("evil");
    let relayed = |world: &World| {
        let texts = world.traffic.iter().map(|(.., text)| text.as_str());
        texts.filter(|text| text.contains("PRESENCE") && text.contains("evil")).count()
    };
    let before = relayed(&world);
    let Payload::Presence(long) = presence(&evil, world.unix_ms(), &[]) else { panic!() };
    let links = (0..250).map(|n| server_id(&format!("s{n:0>100}"))).collect();
    says(&mut world, mallory, &Payload::Presence(Presence { links, ..long }));
    assert_eq!(relayed(&world), before, "too long to be kept");
    let limits = world.nodes[0].config.limits.clone();
    for at in 1..=2_000 {
        let now = world.unix_ms();
        says(&mut world, mallory, &presence(&evil, now + at, &[]));
    }
    let told = relayed(&world) - before;
    // To two servers, who pass it on to each other at most.
    assert!(told <= 4 * limits.presence_burst as usize, "{told}");
    let kept =
        reports(&world, 0, |report| matches!(report, Report::Dropped { why: "presence over its rate", .. }));
    assert!(kept >= 1_600, "{kept}");
}

#[test]
fn an_announcement_whose_key_is_not_the_pinned_one_is_passed_on_to_nobody() {
    let mut world = World::started(3);
    let mallory = native_server(&mut world, "evil", 66);
    let carried = |world: &World| {
        let texts = world.traffic.iter().map(|(.., text)| text.as_str());
        texts.filter(|text| text.contains("SERVER_ANNOUNCE") && text.contains("\"evil\"")).count()
    };
    says(&mut world, mallory, &Payload::ServerAnnounce(hello(&key(66), &nowhere(1), None)));
    let before = carried(&world);
    for ts in 0..50 {
        let twisted = Payload::ServerAnnounce(hello(&key(67), &nowhere(2), None));
        let evil = FakeSigner::new(key(66));
        let frame = signed(server_id("evil").id(), Recipient::Everyone, START_MS + ts, &twisted, &evil);
        world.user_sends_text(mallory, frame.text().clone());
        world.run();
        // A neighbour that carries it gets it no further, either.
        let link = world.link_from(0, 1);
        let sent = world.receive(0, link, frame);
        assert!(!sent.iter().any(|action| matches!(action, Action::Send { .. } | Action::Pause { .. })));
    }
    assert_eq!(carried(&world), before);
}

#[test]
fn an_advert_is_no_longer_than_a_chain_that_holds_makes_it() {
    let mut world = World::started(1);
    let mallory = native_server(&mut world, "evil", 66);
    let (evil, ann) = (server_id("evil"), user_id("ann"));
    let step = |n: u64| Rotation {
        user_id: ann.clone(),
        old: key(100 + n).into(),
        new: key(101 + n).into(),
        version: n + 1,
        sig: Binary::new([7; 512]),
    };
    // How long the chain is, and under which key: one that is not known yet, or the pinned one.
    let mut at = world.unix_ms();
    for (steps, under, kept) in [(0, 100, true), (10, 110, false), (10, 100, false), (0, 100, true)] {
        at += 1;
        let rotations = (0..steps).map(step).collect();
        let long =
            UserAdvertise { issued_at: Some(at), rotations, ..advert(&ann, &evil, &key(under), "ann") };
        let too_long = |world: &World| {
            reports(world, 0, |report| matches!(report, Report::Dropped { why: "advert is too long", .. }))
        };
        let before = too_long(&world);
        says(&mut world, mallory, &Payload::UserAdvertise(long));
        assert_eq!(too_long(&world) == before, kept, "{steps} steps that nobody signed, under {under}");
    }
}

#[test]
fn users_frames_with_wrong_signatures_slow_the_server_that_brings_them() {
    let mut world = World::started(1);
    let mallory = native_server(&mut world, "evil", 66);
    let (evil, ann) = (server_id("evil"), user_id("ann"));
    let ad = UserAdvertise { issued_at: Some(world.unix_ms()), ..advert(&ann, &evil, &key(2), "ann") };
    says(&mut world, mallory, &Payload::UserAdvertise(ad));
    let bob = world.login(0, "bob", 3);
    let bob = world.users[bob].id.clone();
    let before = world.pauses;
    for count in 0..100 {
        let text = unvouched(None, &bob, format!("{count}").as_bytes());
        let public = Payload::MsgPublicChannel(Message { user_id: None, ..text });
        let wrong = FakeSigner::new(key(99));
        let frame = signed(ann.id(), Recipient::from(&bob), world.unix_ms(), &public, &wrong);
        world.user_sends_text(mallory, frame.text().clone());
    }
    world.run();
    assert!(world.pauses > before, "each costs several checks");
}

// Whom we dial.

#[test]
fn addresses_from_strangers_are_few_are_dialled_one_a_second_and_given_up() {
    let mut world = World::with_servers(1);
    world.nodes[0].config.bootstrap = vec![introducer(7)];
    world.start(0);
    let (link, _) = dialled(&mut world, &address(9_007));
    let servers =
        (0..20).map(|n| server_entry(&server_id(&format!("s{n}")), 100 + n, &key(8_000 + u64::from(n))));
    let told = welcome(world.id(0), servers.collect(), Vec::new());
    answers(&mut world, link, server_id("hub").id(), 1_007, &told);
    let dials = |world: &mut World, ms: u64| -> Vec<String> {
        world.nodes[0].reports.clear();
        world.advance(ms);
        let failed = world.nodes[0].reports.iter().filter_map(|report| match report {
            Report::Dropped { why: "dial failed", detail } if detail.starts_with("192.0.2.7") => {
                Some(detail.to_string())
            }
            _ => None,
        });
        failed.collect()
    };
    let limit = world.nodes[0].config.limits.learnt_addresses_per_teller;
    let mut tried = BTreeSet::new();
    for second in 1..=20 {
        let before = tried.len();
        tried.extend(dials(&mut world, 1_000));
        assert!(tried.len() <= before + 1 + usize::from(second == 1), "one more a second: {tried:?}");
    }
    assert_eq!(tried.len(), limit);
    dials(&mut world, HOUR);
    assert_eq!(dials(&mut world, HOUR), [""; 0], "given up");
}

#[test]
fn addresses_that_lead_home_are_dialled_only_by_who_is_at_home_there() {
    let own = |host: &str| HostPort::new(host, 9_000).expect("an address");
    for (policy, at, host, dialled) in [
        (DialPolicy::Reachable, "127.0.0.1", "127.0.0.1", true),
        (DialPolicy::Reachable, "192.0.2.1", "127.0.0.1", false),
        (DialPolicy::Reachable, "192.0.2.1", "localhost", false),
        (DialPolicy::Reachable, "192.0.2.1", "169.254.1.1", false),
        (DialPolicy::Reachable, "192.0.2.1", "0.0.0.0", false),
        (DialPolicy::Reachable, "192.0.2.1", "192.0.2.9", true),
        (DialPolicy::All, "192.0.2.1", "127.0.0.1", true),
        (DialPolicy::None, "192.0.2.1", "192.0.2.9", false),
    ] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.dial = policy;
        world.nodes[0].config.address = Some(own(at));
        world.nodes[0].config.bootstrap.clear();
        world.start(0);
        let listens = HostPort::new(host, 77).expect("an address");
        let peer = standard_server(&mut world, "friend", 70);
        says(&mut world, peer, &Payload::ServerAnnounce(hello(&key(70), &listens, None)));
        world.log_out(peer);
        world.advance(MINUTE);
        let failed = world.nodes[0].reports.iter().any(|report| {
            matches!(report, Report::Dropped { why: "dial failed", detail } if detail.ends_with(":77: refused"))
        });
        assert_eq!(failed, dialled, "{policy:?} at {at}: {host}");
    }
}

#[test]
fn an_allowlist_also_holds_for_one_way_servers_that_dial_back() {
    use socp_core::dialect::Dialect;
    for listed in [true, false] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.join = JoinPolicy::Open;
        world.start(0);
        let peer = standard_server(&mut world, "friend", 70);
        world.log_out(peer);
        world.nodes[0].snapshot.servers[0].dialect = Dialect::M;
        let allowed = if listed { key(70) } else { key(71) };
        world.nodes[0].config.join = JoinPolicy::Allowlist(vec![allowed]);
        world.start(0);
        let peer = world.connect(0, 70);
        world.users[peer].id = user_id("friend");
        says(&mut world, peer, &Payload::Heartbeat(Empty {}));
        assert_eq!((world.users[peer].online, world.linked(0) == 1), (listed, listed));
    }
}

#[test]
fn an_introducer_that_leaves_its_signature_out_is_not_said_to_have_another_key() {
    for signs in [false, true] {
        let mut world = World::with_servers(1);
        world.nodes[0].config.bootstrap = vec![introducer(7)];
        world.start(0);
        let (link, _) = dialled(&mut world, &address(9_007));
        let own = Payload::ServerAnnounce(hello(&key(1_007), &address(9_007), None));
        let name = server_id("hub");
        let text = match signs {
            false => unsigned(name.id(), Recipient::Everyone, START_MS, &own),
            true => signed(name.id(), Recipient::Everyone, START_MS, &own, &FakeSigner::new(key(9)))
                .text()
                .clone(),
        };
        let actions = world.receive(0, link, parse(text.as_str()));
        let conflict = |action: &Action| matches!(action, Action::Report(Report::KeyConflict(_)));
        assert!(!actions.iter().any(conflict), "the key that it shows is the listed one");
    }
}
