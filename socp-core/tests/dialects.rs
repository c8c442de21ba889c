//! Dialects (decisions §7): who is recognised by what, what peers of each get of ours, and what nobody gains by it.

mod support;

use socp_core::crypto::{SaltLength, SharedPayload, Unsigned, Verifier, check_payload};
use socp_core::dialect::{Dialect, Observed};
use socp_core::server::{Event, LinkOrigin, Report};
use socp_core::wire::*;
use support::hostile::*;
use support::{FakeSigner, START_MS, World, address, key, unsigned};

const FOREIGN: [Dialect; 4] = [Dialect::Seed, Dialect::R, Dialect::M, Dialect::F];

/// A UUID v4, which F asks of everybody.
fn uuid(tag: u8) -> Id {
    Id::uuid_v4([tag; 16])
}

/// A frame as the peer's implementation would write it.
fn speaks(world: &mut World, peer: usize, dialect: Dialect, to: Recipient, payload: &Payload) {
    let entry = &world.users[peer];
    let ts = Timestamp(START_MS + world.ms);
    let frame = Unsigned::new(entry.id.id().clone(), to, ts, SharedPayload::new(payload));
    let frame = frame.dressed(dialect).expect("a type that it knows");
    let text = frame.sign(&entry.signer).expect("fake").into_text();
    world.user_sends_text(peer, text);
    world.run();
}

/// A server of a dialect dials server 0 and greets it as its kind does.
fn greets(world: &mut World, dialect: Dialect, tag: u8) -> usize {
    let peer = world.connect(0, u64::from(tag));
    world.users[peer].id = UserId::from(uuid(tag));
    let hello = hello(&key(u64::from(tag)), &nowhere(u16::from(tag)), None);
    let ours = Recipient::from(&world.id(0));
    match dialect {
        Dialect::Seed => {
            let url = Recipient::Named(format!("ws://{}", address(9_000)).into());
            speaks(world, peer, dialect, url, &Payload::ServerHelloJoin(hello));
        }
        Dialect::R => speaks(world, peer, dialect, Recipient::Everyone, &Payload::ServerAnnounce(hello)),
        _ => speaks(world, peer, dialect, ours, &Payload::ServerHelloLink(hello)),
    }
    assert!(world.users[peer].online, "{dialect}");
    peer
}

fn received(world: &World, peer: usize, kind: &FrameType) -> Vec<Frame> {
    world.users[peer].inbox.iter().filter(|frame| frame.kind() == kind).cloned().collect()
}

#[test]
fn what_peers_send_first_shows_how_they_speak() {
    let text = |name: &str| {
        let path = format!("{}/tests/fixtures/transcripts/{name}/frames.jsonl", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a fixture")
    };
    let provider = socp_core::crypto::aws_lc::Provider::new();
    let of = |frame: &Frame| {
        let key = match frame.payload() {
            Payload::ServerHelloJoin(hello)
            | Payload::ServerHelloLink(hello)
            | Payload::ServerAnnounce(hello) => hello.pubkey.key().ok(),
            Payload::ServerWelcome(welcome) => {
                welcome.introducer.as_ref().and_then(|entry| entry.pubkey.as_ref()?.key().ok())
            }
            _ => None,
        };
        let signature = key.and_then(|key| check_payload(&provider, key, frame, None));
        Dialect::of(&Observed { frame, signature })
    };
    // Of what is not listed a peer of the standard could send the like.
    let table = [
        ("seed", &["SERVER_HELLO_JOIN", "SERVER_WELCOME"][..], Dialect::Seed),
        ("peer-r", &["SERVER_HELLO_JOIN", "SERVER_WELCOME", "SERVER_ANNOUNCE"], Dialect::R),
        ("peer-m", &["SERVER_WELCOME", "SERVER_HELLO_LINK"], Dialect::M),
        (
            "peer-f",
            &["SERVER_HELLO_JOIN", "SERVER_WELCOME", "SERVER_HELLO_LINK", "SERVER_ANNOUNCE"],
            Dialect::F,
        ),
        ("peer-g", &[], Dialect::G),
    ];
    for (name, shows, dialect) in table {
        let mut recognised = 0;
        for line in text(name).lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let frame = support::parse(line["text"].as_str().expect("a text"));
            let kind = frame.kind().as_str();
            let hello = ["SERVER_HELLO_JOIN", "SERVER_WELCOME", "SERVER_HELLO_LINK", "SERVER_ANNOUNCE"];
            if hello.contains(&kind) {
                let expected = shows.contains(&kind).then_some(dialect);
                assert_eq!(of(&frame), expected, "{name}: {kind}");
                recognised += usize::from(expected.is_some());
            }
        }
        assert!(recognised >= shows.len(), "{name}: each is recorded");
    }
}

#[test]
fn names_of_dialects_are_read_as_they_are_written() {
    for dialect in Dialect::ALL {
        assert_eq!(dialect.as_str().parse(), Ok(dialect));
        assert_eq!(dialect.profile().name, dialect.as_str());
    }
    assert!("klingon".parse::<Dialect>().is_err());
}

#[test]
fn each_gets_adverts_that_it_can_read_and_each_dialect_costs_one_signature() {
    let mut world = World::started(1);
    let mut peers = Vec::new();
    for (tag, dialect) in (10..).zip(FOREIGN.into_iter().chain(FOREIGN)) {
        peers.push((greets(&mut world, dialect, tag), dialect));
    }
    let before = world.nodes[0].signer.count();
    world.login(0, "Zoë", 1);
    // CHALLENGE, LOGGED_IN, DIRECTORY and SNAPSHOT, and the advert once for each dialect.
    assert_eq!(world.nodes[0].signer.count() - before, 4 + FOREIGN.len());
    let own = world.nodes[0].signer.key.clone();
    for (peer, dialect) in peers {
        let adverts = received(&world, peer, &FrameType::UserAdvertise);
        let [frame] = adverts.as_slice() else { panic!("{dialect}: {adverts:?}") };
        let form = check_payload(&world.verifier, &own, frame, None);
        assert_eq!(form.map(|form| form.salt), Some(SaltLength::Max), "{dialect}");
        let Payload::UserAdvertise(advert) = frame.payload() else { panic!("an advert") };
        let meta = advert.meta.clone().expect("a meta");
        let sig = frame.sig().expect("a sig").text();
        assert_eq!(sig.ends_with('='), dialect == Dialect::R, "{sig}");
        let at_top = advert.pubkey.as_ref().map(KeyField::form);
        let in_meta = meta.pubkey().map(|key| key.form());
        let key_forms = match dialect {
            Dialect::Seed => (Some(KeyForm::Der), None),
            Dialect::M => (None, Some(KeyForm::Der)),
            Dialect::F => (None, Some(KeyForm::Pem)),
            _ => (None, None),
        };
        assert_eq!((at_top, in_meta), key_forms, "{dialect}");
        assert_eq!(frame.text().as_str().is_ascii(), dialect != Dialect::Seed, "{dialect}");
        assert_eq!(meta.as_str().contains("\"username\":"), dialect == Dialect::M, "{dialect}");
        assert_eq!(meta.display_name().as_deref(), Some("Zoë"), "{dialect}");
    }
}

#[test]
fn who_asks_for_uuids_is_spared_users_of_other_ids() {
    let mut world = World::started(1);
    let (f, seed) = (greets(&mut world, Dialect::F, 10), greets(&mut world, Dialect::Seed, 11));
    let alice = world.connect(0, 1);
    world.users[alice].id = user_id("alice");
    world.hello(alice, "alice", false);
    assert_eq!(received(&world, seed, &FrameType::UserAdvertise).len(), 1);
    assert!(received(&world, f, &FrameType::UserAdvertise).is_empty());
    world.log_out(alice);
    assert_eq!(received(&world, seed, &FrameType::UserRemove).len(), 1);
    assert!(received(&world, f, &FrameType::UserRemove).is_empty());
}

#[test]
fn gossip_of_others_goes_to_those_who_take_it() {
    let mut world = World::started(2);
    let plain = standard_server(&mut world, "plain", 66);
    let foreign: Vec<usize> =
        (10..).zip(FOREIGN).map(|(tag, dialect)| greets(&mut world, dialect, tag)).collect();
    world.advance(1_000);
    let bob = world.login(1, "bob", 2);
    world.log_out(bob);
    assert_eq!(received(&world, plain, &FrameType::UserAdvertise).len(), 1);
    assert_eq!(received(&world, plain, &FrameType::UserRemove).len(), 1);
    for peer in foreign {
        assert!(received(&world, peer, &FrameType::UserAdvertise).is_empty(), "their links would close");
        assert!(received(&world, peer, &FrameType::UserRemove).is_empty());
    }
}

#[test]
fn gossip_is_a_first_frame_of_one_way_servers_alone() {
    let mut world = World::started(1);
    let m = greets(&mut world, Dialect::M, 10);
    let known = UserId::from(uuid(50));
    let server = ServerId::from(uuid(10));
    let advert =
        |user: &UserId, server: &ServerId| Payload::UserAdvertise(advert(user, server, &key(50), "bob"));
    // Under its name by somebody else; under no known name; and of a server of another dialect.
    let impostor = world.connect(0, 99);
    world.users[impostor].id = world.users[m].id.clone();
    speaks(&mut world, impostor, Dialect::M, Recipient::Everyone, &advert(&known, &server));
    let stranger = world.connect(0, 98);
    world.users[stranger].id = UserId::from(uuid(98));
    let unknown = ServerId::from(uuid(98));
    speaks(&mut world, stranger, Dialect::M, Recipient::Everyone, &advert(&known, &unknown));
    greets(&mut world, Dialect::F, 11);
    let second = world.connect(0, 11);
    world.users[second].id = UserId::from(uuid(11));
    let other = ServerId::from(uuid(11));
    speaks(&mut world, second, Dialect::F, Recipient::Everyone, &advert(&known, &other));
    assert_eq!(world.location(0, &known), None);
    // Its own, on a socket that it opened.
    let back = world.connect(0, 10);
    world.users[back].id = world.users[m].id.clone();
    speaks(&mut world, back, Dialect::M, Recipient::Everyone, &advert(&known, &server));
    assert_eq!(world.location(0, &known), Some(server));
}

#[test]
fn what_a_relayer_signs_in_others_names_is_passed_over_and_closes_nothing() {
    let mut world = World::started(1);
    let (f, other) = (greets(&mut world, Dialect::F, 10), greets(&mut world, Dialect::F, 11));
    let (user, origin) = (UserId::from(uuid(50)), ServerId::from(uuid(11)));
    let own = world.users[f].id.clone();
    world.users[f].id = world.users[other].id.clone();
    let checks = world.verifier.count();
    for number in 0..200 {
        let advert = advert(&user, &origin, &key(50), &format!("bob {number}"));
        speaks(&mut world, f, Dialect::F, Recipient::Everyone, &Payload::UserAdvertise(advert));
    }
    assert_eq!(world.location(0, &user), None);
    assert_eq!(world.verifier.count(), checks, "not worth a check");
    world.users[f].id = own;
    assert!(world.users[f].online);
}

#[test]
fn an_unproven_peer_speaks_for_itself_under_any_unpinned_name_and_for_nobody_else() {
    let mut world = World::started(2);
    let plain = standard_server(&mut world, "plain", 66);
    let (user, itself) = (user_id("bob"), server_id("plain"));
    world.users[plain].id = user_id("local");
    says(&mut world, plain, &Payload::UserAdvertise(advert(&user, &server_id("local"), &key(50), "bob")));
    assert_eq!(world.location(0, &user), Some(itself.clone()));
    // Not under another name than the frame's, and not under a name that is somebody's.
    let carol = user_id("carol");
    says(&mut world, plain, &Payload::UserAdvertise(advert(&carol, &itself, &key(51), "carol")));
    let theirs = world.id(1);
    world.users[plain].id = user_id(theirs.as_str());
    says(&mut world, plain, &Payload::UserAdvertise(advert(&carol, &theirs, &key(51), "carol")));
    assert_eq!(world.location(0, &carol), None);
    // And it takes back only its own.
    world.users[plain].id = user_id("local");
    let removal = UserRemove {
        user_id: user.clone(),
        server_id: server_id("local"),
        issued_at: None,
        meta: None,
        event: None,
    };
    says(&mut world, plain, &Payload::UserRemove(removal));
    assert_eq!(world.location(0, &user), None);
    // A proven link says nothing under other names.
    let native = native_server(&mut world, "native", 67);
    world.users[native].id = user_id("somebody");
    let alias = server_id("somebody");
    let issued_at = Some(world.unix_ms());
    let claim = UserAdvertise { issued_at, ..advert(&carol, &alias, &key(51), "carol") };
    says(&mut world, native, &Payload::UserAdvertise(claim));
    assert_eq!(world.location(0, &carol), None);
}

#[test]
fn keys_are_asked_for_where_adverts_bring_none_and_believed_of_nobody_else_s_users() {
    let mut world = World::started(1);
    let alice = world.login(0, "alice", 1);
    let (r, other) = (greets(&mut world, Dialect::R, 10), greets(&mut world, Dialect::R, 11));
    let (bob, server) = (UserId::from(uuid(50)), ServerId::from(uuid(10)));
    let keyless = UserAdvertise { pubkey: None, ..advert(&bob, &server, &key(50), "bob") };
    speaks(&mut world, r, Dialect::R, Recipient::Everyone, &Payload::UserAdvertise(keyless));
    let asked = received(&world, r, &FrameType::UserKeyRequest);
    assert_eq!(asked.len(), 1);
    assert_eq!(world.location(0, &bob), None, "nobody can write to him yet");

    let answer = |seed| {
        let (recipient_pub, recipient_uuid) = (key(seed).into(), bob.clone());
        Payload::UserKeyAnswer(UserKeyAnswer { recipient_pub, recipient_uuid })
    };
    let ours = Recipient::from(&world.id(0));
    speaks(&mut world, other, Dialect::R, ours.clone(), &answer(51));
    assert_eq!(world.location(0, &bob), None, "he is not that server's");
    speaks(&mut world, r, Dialect::R, ours.clone(), &answer(50));
    assert_eq!(world.location(0, &bob), Some(server));
    // A second key for him is nobody's.
    speaks(&mut world, r, Dialect::R, ours, &answer(52));
    assert_eq!(world.location(0, &bob), Some(ServerId::from(uuid(10))));
    let told = received(&world, alice, &FrameType::UserAdded);
    let Some(Payload::UserAdded(entry)) = told.last().map(Frame::payload) else { panic!("told of him") };
    assert_eq!(entry.pubkey.as_ref().and_then(|key| key.key().ok()), Some(&key(50)));
    assert_eq!(entry.content_form.as_deref(), Some("barred"));

    // The other way round, our user's key in their form; and of nobody nothing.
    let wants = |user: &UserId| Payload::UserKeyRequest(UserKeyRequest { recipient_uuid: user.clone() });
    let alice_id = world.users[alice].id.clone();
    let ours = Recipient::from(&world.id(0));
    speaks(&mut world, r, Dialect::R, ours.clone(), &wants(&alice_id));
    let answers = received(&world, r, &FrameType::UserKeyAnswer);
    let Some(Payload::UserKeyAnswer(answer)) = answers.last().map(Frame::payload) else {
        panic!("an answer")
    };
    assert_eq!(answer.recipient_pub.key(), Ok(&key(1)));
    assert_eq!(answer.recipient_pub.form(), KeyForm::PemPadded);
    speaks(&mut world, r, Dialect::R, ours, &wants(&user_id("nobody")));
    assert_eq!(received(&world, r, &FrameType::UserKeyAnswer).len(), answers.len());
}

#[test]
fn a_peer_is_no_dialect_s_speaker_for_longer_than_its_link() {
    let mut world = World::started(1);
    let r = greets(&mut world, Dialect::R, 10);
    world.log_out(r);
    let up = |report: &Report| matches!(report, Report::ServerUp { dialect: Dialect::R, .. });
    assert_eq!(reports(&world, 0, up), 1);
    // The same key on one of ours: its nonce says so.
    let native = native_server(&mut world, "native", 10);
    world.login(0, "alice", 1);
    let adverts = received(&world, native, &FrameType::UserAdvertise);
    let Some(Payload::UserAdvertise(advert)) = adverts.last().map(Frame::payload) else {
        panic!("an advert")
    };
    assert_eq!(advert.pubkey.as_ref().map(KeyField::form), Some(KeyForm::Der));
    let sig = adverts[0].sig().expect("signed").bytes();
    let canonical = adverts[0].payload_canonical().as_bytes();
    let own = &world.nodes[0].signer.key;
    assert!(world.verifier.verify(own, canonical, sig, SaltLength::Digest));
}

#[test]
fn an_unsigned_hello_changes_no_servers_dialect() {
    let mut world = World::started(1);
    let seed = greets(&mut world, Dialect::Seed, 10);
    let (id, key_of_it) = (ServerId::from(uuid(10)), key(10));
    let kept = |world: &World| world.pin(0, &id).map(|record| record.dialect);
    assert_eq!(kept(&world), Some(Dialect::Seed));
    // Its key as R would write it, and nobody's signature.
    let mallory = world.connect(0, 66);
    world.users[mallory].id = world.users[seed].id.clone();
    let hello = hello(&key_of_it, &nowhere(10), None);
    let text = unsigned(&uuid(10), Recipient::Everyone, world.unix_ms(), &Payload::ServerHelloLink(hello));
    let text = text.as_str().replace(&key_of_it.to_field(), &key_of_it.to_field_in(KeyForm::PemPadded));
    assert!(text.contains("LS0tLS1"), "{text}");
    world.user_sends_text(mallory, text.into());
    world.run();
    assert_eq!(kept(&world), Some(Dialect::Seed));
}

#[test]
fn one_message_to_the_whole_channel_becomes_few_and_short_ones() {
    let mut world = World::started(1);
    let seed = greets(&mut world, Dialect::Seed, 10);
    let server = ServerId::from(uuid(10));
    for number in 0..150 {
        let user = user_id(&format!("user-{number}"));
        let advert = advert(&user, &server, &key(50), "x");
        speaks(&mut world, seed, Dialect::Seed, Recipient::Everyone, &Payload::UserAdvertise(advert));
        world.advance(50);
    }
    let mallory = world.connect(0, 66);
    world.hello(mallory, "mallory", false);
    let shout = |world: &mut World, bytes: usize| {
        let sender = world.users[mallory].id.clone();
        let message =
            Message { user_id: None, to: None, ..unvouched(Some(&sender), &sender, &vec![7; bytes]) };
        world.user_sends(mallory, Recipient::Named("public".into()), &Payload::MsgPublicChannel(message));
        world.run();
    };
    let heard = |world: &World| received(world, seed, &FrameType::MsgPublicChannel).len();
    shout(&mut world, 100_000);
    assert_eq!(heard(&world), 0, "too long to be copied for everybody");
    shout(&mut world, 512);
    assert_eq!(heard(&world), 100);
}

#[test]
fn others_deliveries_are_not_passed_on_to_those_whose_links_would_close() {
    let mut world = World::started(1);
    let m = greets(&mut world, Dialect::M, 10);
    let (bob, server) = (UserId::from(uuid(50)), ServerId::from(uuid(10)));
    let theirs = Payload::UserAdvertise(advert(&bob, &server, &key(50), "bob"));
    speaks(&mut world, m, Dialect::M, Recipient::Everyone, &theirs);
    let evil = standard_server(&mut world, "evil", 66);
    let mallory = user_id("mallory");
    let own = Payload::UserAdvertise(advert(&mallory, &server_id("evil"), &key(51), "mallory"));
    says(&mut world, evil, &own);
    let delivery = unvouched(Some(&mallory), &bob, b"no inner_type");
    says(&mut world, evil, &Payload::ServerDeliver(Message { to: None, ..delivery }));
    assert!(received(&world, m, &FrameType::ServerDeliver).is_empty());
    assert_eq!(received(&world, evil, &FrameType::Error).len(), 1, "and its server is told");
}

#[test]
fn silence_where_a_native_should_be_is_no_link_to_it() {
    let mut world = World::started(2);
    let theirs = world.id(1);
    assert!(world.is_linked_to(0, &theirs));
    world.kill(1);
    // Somebody listens there who says nothing, whatever we try.
    for _ in 0..8 {
        let link = world.new_link(0);
        world.handle(0, Event::LinkOpened { link, origin: LinkOrigin::Dialled(address(9_001)) });
        for _ in 0..10 {
            world.advance(1_000);
            world.handle(0, Event::LinkAlive { link });
        }
        assert!(!world.is_linked_to(0, &theirs));
        world.handle(0, Event::LinkClosed { link, why: "gone".into() });
    }
    // And when it is back, it is linked and proven.
    world.start(1);
    world.advance(2 * MINUTE);
    assert!(world.is_linked_to(0, &theirs));
}

#[test]
fn an_address_is_worth_redialling_soon_once_somebody_has_answered_there() {
    let dialled_again = |answers: bool| {
        let mut world = World::started(1);
        greets(&mut world, Dialect::F, 10);
        let signer = FakeSigner::new(key(10));
        for _ in 0..6 {
            let link = world.new_link(0);
            world.handle(0, Event::LinkOpened { link, origin: LinkOrigin::Dialled(nowhere(10)) });
            world.advance(1_100);
            if answers {
                let ts = Timestamp(world.unix_ms());
                let payload = SharedPayload::new(&Payload::Heartbeat(Empty {}));
                let frame = Unsigned::new(uuid(10), Recipient::Everyone, ts, payload);
                let text = frame.sign(&signer).expect("fake").into_text();
                world.receive(0, link, support::parse(text.as_str()));
            }
            world.handle(0, Event::LinkClosed { link, why: "gone".into() });
        }
        let failed = |report: &Report| matches!(report, Report::Dropped { why: "dial failed", .. });
        let before = reports(&world, 0, failed);
        world.advance(2_000);
        reports(&world, 0, failed) > before
    };
    assert!(dialled_again(true));
    assert!(!dialled_again(false), "silence is a failure, and the next dial comes later");
}
