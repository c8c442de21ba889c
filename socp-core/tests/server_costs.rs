//! What a peer can make a server do: signatures, requests, and bytes are bounded whoever asks.

mod support;

use std::collections::BTreeSet;

use socp_core::wire::*;
use support::hostile::*;
use support::{End, START_MS, World, parse, unsigned};

/// How many signatures server 0 makes meanwhile.
fn signatures(world: &mut World, meanwhile: impl FnOnce(&mut World)) -> usize {
    let before = world.nodes[0].signer.count();
    meanwhile(world);
    world.nodes[0].signer.count() - before
}

#[test]
fn a_second_bare_login_signs_no_directory_again() {
    let mut world = World::started(1);
    for seed in 0..200 {
        world.add_to_crowd(0, 10_000 + seed);
    }
    let first = world.connect(0, 20_000);
    world.hello(first, "first", false);
    let cost = signatures(&mut world, |world| {
        let second = world.connect(0, 20_001);
        world.hello(second, "second", false);
        assert_eq!(world.received(second, &FrameType::UserAdded), 201);
    });
    assert!(cost <= 3, "{cost} signatures");
}

#[test]
fn a_thousand_hellos_as_the_seed_has_them_cost_one_signature() {
    let mut world = World::started(1);
    let cost = signatures(&mut world, |world| {
        let stranger = world.connect(0, 30_000);
        let hello = unsigned(user_id("stranger").id(), Recipient::Unnamed, START_MS, &seed_hello());
        for _ in 0..1_000 {
            world.user_sends_text(stranger, hello.clone());
        }
        world.run();
        assert!(world.received(stranger, &FrameType::UserHelloAck) > 0);
    });
    assert!(cost <= 1, "{cost} signatures");
}

/// No key and no `auth`: the login follows with USER_LOGIN.
fn seed_hello() -> Payload {
    let (client, pubkey, enc_pubkey, meta) = (None, None, None, None);
    Payload::UserHello(UserHello {
        client,
        pubkey,
        enc_pubkey,
        auth: Vec::new(),
        ext: Vec::new(),
        meta,
        rotations: Vec::new(),
        nonce: None,
    })
}

#[test]
fn a_thousand_replays_of_our_own_advert_cost_one_removal() {
    let mut world = World::started(2);
    let mallory = standard_server(&mut world, "evil", 66);
    let alice = world.login(0, "alice", 1);
    world.log_out(alice);
    let mut heard = world.users[mallory].inbox.iter();
    let advert = heard.find(|frame| *frame.kind() == FrameType::UserAdvertise).expect("advertised").clone();
    // The signature does not cover `ts`: each replay is a frame that nobody has seen.
    let at = |ts: u64| format!(r#""ts":{ts},"payload""#);
    let original = at(advert.ts().expect("a time").0);
    world.traffic.clear();
    let cost = signatures(&mut world, |world| {
        for later in 1..=1_000 {
            let replay = advert.text().as_str().replace(&original, &at(START_MS + MINUTE + later));
            assert_ne!(replay, advert.text().as_str());
            world.user_sends_text(mallory, replay.into());
        }
        world.run();
    });
    assert!(cost <= 1, "{cost} signatures");
    assert!(world.traffic.len() <= 1, "{} frames to the other server", world.traffic.len());
}

#[test]
fn wrong_keys_cost_an_error_each_and_few_warnings() {
    let mut world = World::started(1);
    for seed in 0..100 {
        world.login(0, "user", 10_000 + seed);
    }
    let victim = world.users[0].id.clone();
    let warnings = world.nodes[0].config.limits.error_burst as usize;
    let cost = signatures(&mut world, |world| {
        for seed in 0..50 {
            let stranger = world.connect(0, 40_000 + seed);
            world.users[stranger].id = victim.clone();
            world.hello(stranger, "stranger", false);
            assert_eq!(world.errors(stranger)[0].0, "BAD_KEY");
        }
    });
    assert!(cost <= 50 + warnings, "{cost} signatures");
    for user in 0..100 {
        assert!(world.received(user, &FrameType::UserKeyConflict) <= warnings, "user {user}");
    }
}

#[test]
fn a_message_that_would_grow_too_long_on_its_way_is_refused() {
    const LONGEST_BUILT: usize = 512 * 1024;
    for (bytes, arrives) in [(300_000, true), (392_900, false), (780_000, false)] {
        let mut world = World::started(2);
        let alice = world.login(0, "alice", 1);
        let elsewhere = world.login(1, "bob", 2);
        let here = world.login(0, "carol", 3);
        let sender = world.users[alice].id.clone();
        for recipient in [elsewhere, here] {
            let to = world.users[recipient].id.clone();
            let message = Payload::MsgDirect(unvouched(None, &to, &vec![0; bytes]));
            let message = unsigned(sender.id(), Recipient::from(&to), world.unix_ms(), &message);
            assert!(message.as_str().len() < 1 << 20, "it comes in");
            world.user_sends_text(alice, message);
            world.run();
            assert_eq!(world.messages(recipient).len(), usize::from(arrives), "{bytes} bytes");
        }
        assert_eq!(world.errors(alice).len(), if arrives { 0 } else { 2 }, "{bytes} bytes");
        let inboxes = world.users.iter().flat_map(|user| &user.inbox).map(|frame| frame.text());
        let crossed = world.traffic.iter().map(|(_, _, text)| text);
        assert!(inboxes.chain(crossed).all(|text| text.as_str().len() <= LONGEST_BUILT));
        assert!(world.users[alice].online);
        assert_eq!((world.linked(0), world.linked(1)), (1, 1));
    }
}

#[test]
fn lists_are_cut_into_frames_that_every_peer_can_read() {
    const LONGEST: usize = 16 * 1024;
    let mut world = World::with_servers(2);
    world.nodes[0].config.bootstrap = Vec::new();
    world.nodes[0].config.limits.frame_out_bytes = LONGEST;
    world.start(0);
    for seed in 0..150 {
        world.add_to_crowd(0, 10_000 + seed);
    }
    let alice = world.login(0, "alice", 1);
    let bare = world.connect(0, 2);
    world.hello(bare, "bob", false);
    for user in [alice, bare] {
        world.user_sends(user, Recipient::Unnamed, &Payload::ListRequest(Empty {}));
    }
    world.start(1);
    world.advance(20_000);
    // Each list in its pages, from the first to the last, and everybody once.
    let lists_of = |user: usize, kind: FrameType| -> Vec<&Directory> {
        let frames = world.users[user].inbox.iter().filter(|frame| *frame.kind() == kind);
        let lists = frames.filter_map(|frame| match frame.payload() {
            Payload::Directory(list) | Payload::ListResponse(list) => Some(list),
            _ => None,
        });
        lists.collect()
    };
    let named = |lists: &[&Directory]| {
        lists.iter().flat_map(|list| &list.users).map(|user| &user.user_id).collect::<BTreeSet<_>>().len()
    };
    for (kind, everybody) in [(FrameType::Directory, 150), (FrameType::ListResponse, 152)] {
        let lists = lists_of(alice, kind);
        let count = lists.len() as u32;
        assert!(count > 1);
        let numbers = lists.iter().map(|list| (list.page, list.pages));
        assert!(numbers.eq((1..=count).map(|page| (Some(page), Some(count)))));
        assert_eq!(named(&lists), everybody);
    }
    let cut = lists_of(bare, FrameType::ListResponse);
    assert_eq!((cut.len(), cut[0].page, cut[0].pages), (1, None, None), "who knows no pages gets what fits");
    assert!((5..150).contains(&named(&cut)), "{}", named(&cut));
    let crossed = |kind: FrameType| {
        let frames = world.traffic.iter().map(|(_, _, text)| parse(text.as_str()));
        frames.filter(|frame| *frame.kind() == kind).collect::<Vec<Frame>>()
    };
    let welcome = &crossed(FrameType::ServerWelcome)[0];
    let Payload::ServerWelcome(welcomed) = welcome.payload() else { panic!("a WELCOME") };
    assert!((5..150).contains(&welcomed.clients.len()), "{}", welcomed.clients.len());
    let lists = crossed(FrameType::PresenceList);
    assert!(lists.len() > 1);
    assert_eq!(world.online(1).len(), 152, "and nobody is lost");
    let told = world.users.iter().flat_map(|user| user.inbox.iter().cloned());
    let listed = told.filter(|frame| [FrameType::Directory, FrameType::ListResponse].contains(frame.kind()));
    for frame in listed.chain(lists).chain([welcome.clone()]) {
        assert!(frame.text().as_str().len() <= LONGEST, "{}: {}", frame.kind(), frame.text().as_str().len());
    }
}

/// A hostile origin's answer to PRESENCE_REQUEST: PRESENCE, after `gap_ms` the advert and the list.
fn answers(world: &mut World, origin: usize, user: &UserId, since: u64, gap_ms: u64) {
    let evil = server_id("evil");
    let (issued_at, users) = (world.unix_ms() + 1, vec![(user.clone(), since)]);
    says(world, origin, &presence(&evil, issued_at, &users));
    world.advance(gap_ms);
    let claim = advert(user, &evil, &support::key(70), "dora");
    says(world, origin, &Payload::UserAdvertise(UserAdvertise { issued_at: Some(since), ..claim }));
    let list = PresenceList { server_id: evil, issued_at, users, page: 1, pages: 1 };
    says(world, origin, &Payload::PresenceList(list));
}

#[test]
fn an_answer_that_takes_its_time_is_waited_for_also_after_our_restart() {
    for gap_ms in [0, 1_000, 3_000, 20_000] {
        let mut world = World::started(1);
        let (dora, since) = (user_id("dora"), world.unix_ms());
        let users = [(dora.clone(), since)];
        let origin = native_server(&mut world, "evil", 66);
        says(&mut world, origin, &presence(&server_id("evil"), since, &users));
        assert_eq!(world.received(origin, &FrameType::PresenceRequest), 1, "a new link's difference");
        answers(&mut world, origin, &dora, since, 0);
        assert_eq!(world.location(0, &dora), Some(server_id("evil")));
        world.kill(0);
        world.start(0);
        world.advance(1_000);
        let origin = native_server(&mut world, "evil", 66);
        let mut answered = 0;
        for _ in 0..10 {
            let issued_at = world.unix_ms();
            says(&mut world, origin, &presence(&server_id("evil"), issued_at, &users));
            for _ in 0..10 {
                world.advance(500);
                while world.received(origin, &FrameType::PresenceRequest) > answered {
                    answered += 1;
                    answers(&mut world, origin, &dora, since, gap_ms);
                }
            }
            world.advance(55_000);
        }
        assert_eq!(world.location(0, &dora), Some(server_id("evil")), "gap of {gap_ms} ms");
        assert!(answered <= 3, "gap of {gap_ms} ms: {answered} requests");
    }
}

#[test]
fn a_difference_that_lasts_costs_about_one_request_an_interval() {
    // The origin never answers, or at once with a list that does not give its digest.
    for (every_ms, wrong_list) in [(1_500, false), (10_000, false), (MINUTE, false), (1_500, true)] {
        let mut world = World::started(1);
        let origin = native_server(&mut world, "evil", 66);
        let users = [(user_id("dora"), 5)];
        for _ in 0..(20 * MINUTE / every_ms) {
            let (server_id, issued_at) = (server_id("evil"), world.unix_ms());
            says(&mut world, origin, &presence(&server_id, issued_at, &users));
            if wrong_list {
                let list = PresenceList { server_id, issued_at, users: Vec::new(), page: 1, pages: 1 };
                says(&mut world, origin, &Payload::PresenceList(list));
            }
            world.advance(every_ms);
        }
        let requests = world.received(origin, &FrameType::PresenceRequest);
        assert!((10..=21).contains(&requests), "every {every_ms} ms, {wrong_list}: {requests} requests");
    }
}

#[test]
fn a_user_whom_strict_ids_refuse_is_not_asked_for_again_and_again() {
    let mut world = World::with_servers(2);
    world.nodes[1].config.strict_ids = true;
    world.start(0);
    world.start(1);
    world.advance(5_000);
    let dora = world.connect(0, 90);
    world.users[dora].id = user_id("dora");
    world.hello(dora, "dora", true);
    let alice = world.login(0, "alice", 1);
    world.traffic.clear();
    world.advance(HOUR);
    let by_strict = world.traffic.iter().filter(|(from, ..)| matches!(from, End::Server(1, _)));
    let requests =
        by_strict.filter(|(_, _, text)| *parse(text.as_str()).kind() == FrameType::PresenceRequest);
    assert_eq!(requests.count(), 0);
    assert_eq!(world.location(0, &user_id("dora")), Some(world.id(0)));
    assert_eq!(world.online(1), [world.users[alice].id.clone()]);
}
