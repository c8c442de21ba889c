//! Files on their way through servers (§9.4, decisions §6): users' own frames, relayed with their own text.

mod support;

use socp_core::crypto::{SharedPayload, Signer};
use socp_core::server::{Action, Outgoing};
use socp_core::wire::*;
use support::hostile::*;
use support::{FakeSigner, START_MS, World, parse, signed, unsigned};

/// A manifest, signed over its canonical payload without `content_sig`.
fn start(from: &UserId, to: &UserId, signer: &FakeSigner) -> FileStart {
    let start = FileStart {
        file_id: "f".into(),
        name: "cat.jpg".into(),
        size: 1_000,
        sha256: "00".repeat(32).into(),
        mode: "dm".into(),
        to: Some(to.as_str().into()),
        sender: Some(from.clone()),
        ts: Some(Timestamp(START_MS)),
        sender_pub: Some(signer.key.clone().into()),
        content_sig: None,
    };
    let text = SharedPayload::new(&Payload::FileStart(start.clone()));
    let content_sig = signer.sign(text.canonical().as_bytes()).expect("fake");
    FileStart { content_sig: Some(Binary::new(content_sig)), ..start }
}

fn chunk(to: &UserId, index: u64) -> Payload {
    Payload::FileChunk(FileChunk {
        file_id: "f".into(),
        index,
        ciphertext: Binary::new(vec![7; 512]),
        to: Some(to.as_str().into()),
        sender: None,
        ts: None,
    })
}

fn end(to: &UserId) -> Payload {
    let to = Some(to.as_str().into());
    Payload::FileEnd(FileEnd { file_id: "f".into(), to, sender: None, ts: None })
}

fn ack(from: &UserId, to: &UserId) -> Payload {
    Payload::Ack(Ack {
        msg_ref: "f".into(),
        to: Some(to.as_str().into()),
        sender: Some(from.clone()),
        ts: None,
        status: Some(AckStatus::Ready),
        credit: Some(512),
        detail: None,
    })
}

impl World {
    /// Alice's manifest for bob.
    fn manifest(&self, alice: usize, bob: usize) -> FileStart {
        start(&self.users[alice].id, &self.users[bob].id, &self.users[alice].signer)
    }

    /// Has a user send a frame as our clients do: chunks are not signed.
    fn sends(&mut self, from: usize, to: &UserId, payload: &Payload) {
        match payload {
            Payload::FileChunk(_) => {
                let text = unsigned(self.users[from].id.id(), Recipient::from(to), self.unix_ms(), payload);
                self.user_sends_text(from, text);
            }
            _ => self.user_sends(from, Recipient::from(to), payload),
        }
    }

    /// The types of frames of files that a user got, in order.
    fn file_frames(&self, user: usize) -> Vec<&str> {
        let kinds = self.users[user].inbox.iter().map(|frame| frame.kind().as_str());
        kinds.filter(|kind| kind.starts_with("FILE_") || *kind == "ACK").collect()
    }
}

fn two() -> (World, usize, usize) {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    (world, alice, bob)
}

#[test]
fn a_file_crosses_servers_with_its_own_text_in_its_order_and_behind_everything_else() {
    let (mut world, alice, bob) = two();
    let (alice_id, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
    world.traffic.clear();
    let manifest = Payload::FileStart(world.manifest(alice, bob));
    for payload in [&manifest, &chunk(&bob_id, 0), &chunk(&bob_id, 1), &end(&bob_id)] {
        world.sends(alice, &bob_id, payload);
    }
    world.sends(bob, &alice_id, &ack(&bob_id, &alice_id));
    world.run();
    assert_eq!(world.file_frames(bob), ["FILE_START", "FILE_CHUNK", "FILE_CHUNK", "FILE_END"]);
    assert_eq!(world.file_frames(alice), ["ACK"]);
    for frame in world.users[bob].inbox.iter().filter(|frame| frame.kind().as_str().starts_with("FILE_")) {
        assert_eq!(frame.from(), Some(alice_id.id()));
        assert!(world.traffic.iter().any(|(_, _, text)| text == frame.text()), "its own text");
    }
    assert_eq!(world.errors(alice), []);

    // What goes last on a link is said to be so: chunks, and the end behind them.
    let link = world.users[alice].link;
    let lane = |world: &mut World, payload: &Payload| {
        let frame =
            signed(alice_id.id(), Recipient::from(&bob_id), START_MS, payload, &world.users[alice].signer);
        match &world.receive(0, link, frame)[..] {
            [Action::Send { frame: Outgoing::Bulk(_), .. }] => "bulk",
            [Action::Send { frame: Outgoing::Relay(_), .. }] => "first",
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lane(&mut world, &manifest), "first");
    assert_eq!(lane(&mut world, &ack(&alice_id, &bob_id)), "first");
    assert_eq!(lane(&mut world, &chunk(&bob_id, 2)), "bulk");
    assert_eq!(lane(&mut world, &end(&bob_id)), "bulk");
}

#[test]
fn a_manifest_is_checked_at_every_hop() {
    let (mut world, alice, bob) = two();
    let bob_id = world.users[bob].id.clone();
    let good = world.manifest(alice, bob);
    let forged = Payload::FileStart(FileStart { sha256: "11".repeat(32).into(), ..good.clone() });
    world.sends(alice, &bob_id, &forged);
    world.run();
    assert_eq!(world.errors(alice)[0], ("INVALID_SIG".to_owned(), "content_sig does not hold".to_owned()));

    // Her server, were it a liar, would not get further: bob's server checks again.
    let (alice_id, link) = (world.users[alice].id.clone(), world.link_from(1, 0));
    let text = |payload: &Payload| unsigned(alice_id.id(), Recipient::from(&bob_id), START_MS, payload);
    let taken = |world: &mut World, text: &str| {
        let actions = world.receive(1, link, parse(text));
        actions.iter().any(|action| matches!(action, Action::Send { .. }))
    };
    assert!(!taken(&mut world, text(&forged).as_str()));
    let other = FileStart { sender: Some(bob_id.clone()), ..good.clone() };
    assert!(!taken(&mut world, text(&Payload::FileStart(other)).as_str()), "in another name");
    let of_carol = text(&Payload::FileStart(good.clone())).as_str().replace(alice_id.as_str(), "carol");
    assert!(!taken(&mut world, &of_carol), "of nobody at that server");
    assert!(taken(&mut world, text(&Payload::FileStart(good)).as_str()));
    assert_eq!(world.file_frames(bob), [""; 0], "nothing of that was performed");
}

#[test]
fn who_is_offered_a_file_and_is_not_there_is_told_of_with_a_reference() {
    let (mut world, alice, bob) = two();
    let bob_id = world.users[bob].id.clone();
    let nobody = user_id("nobody");
    let about = |world: &World| {
        let Some(Payload::Error(error)) = world.users[alice].inbox.last().map(|frame| frame.payload()) else {
            panic!("no error")
        };
        let about = error.reference.clone().expect("a reference");
        (error.code.to_string(), about.kind.to_string(), about.to.map(String::from), about.ts)
    };
    let ts = Some(Timestamp(world.unix_ms()));
    let to_nobody = start(&world.users[alice].id, &nobody, &world.users[alice].signer);
    world.sends(alice, &nobody, &Payload::FileStart(to_nobody));
    world.run();
    let told = ("USER_NOT_FOUND".to_owned(), "FILE_START".to_owned());
    assert_eq!(about(&world), (told.0.clone(), told.1.clone(), Some("nobody".to_owned()), ts));

    // Bob has left, and only his server knows.
    world.lose = Some(|text| text.contains("USER_REMOVE"));
    world.log_out(bob);
    world.lose = None;
    let manifest = Payload::FileStart(world.manifest(alice, bob));
    world.sends(alice, &bob_id, &manifest);
    world.run();
    assert_eq!(about(&world), (told.0, told.1, Some(bob_id.to_string()), ts));

    // His server cannot be reached: neither can he.
    let carol = world.login(1, "carol", 3);
    let carol_id = world.users[carol].id.clone();
    world.kill(1);
    world.advance(1_000);
    let manifest = Payload::FileStart(world.manifest(alice, carol));
    world.sends(alice, &carol_id, &manifest);
    world.run();
    assert_eq!(about(&world).0, "TIMEOUT");
}

#[test]
fn chunks_for_somebody_who_has_left_cost_few_errors_and_hold_nobody_back() {
    let (mut world, alice, bob) = two();
    let bob_id = world.users[bob].id.clone();
    world.log_out(bob);
    let link = world.users[alice].link;
    let mut errors = 0;
    for index in 0..500 {
        let text = unsigned(
            world.users[alice].id.id(),
            Recipient::from(&bob_id),
            world.unix_ms(),
            &chunk(&bob_id, index),
        );
        for action in world.receive(0, link, parse(text.as_str())) {
            assert!(!matches!(action, Action::Pause { .. } | Action::Close { .. }), "{action:?}");
            errors += usize::from(matches!(action, Action::Send { .. }));
        }
    }
    assert_eq!(errors, 20, "the burst of ERRORs");
}

#[test]
fn chunks_of_somebody_who_has_just_left_are_no_fault_of_the_server_that_carries_them() {
    let (mut world, alice, bob) = two();
    let (alice_id, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
    world.log_out(alice);
    let link = world.link_from(1, 0);
    for index in 0..1_000 {
        let text = unsigned(alice_id.id(), Recipient::from(&bob_id), START_MS, &chunk(&bob_id, index));
        let actions = world.receive(1, link, parse(text.as_str()));
        assert!(actions.iter().all(|action| matches!(action, Action::Report(_))), "{actions:?}");
    }
}

#[test]
fn chunks_leave_no_trace_and_replays_of_the_rest_go_nowhere() {
    let (mut world, alice, bob) = two();
    let (alice_id, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
    let link = world.link_from(1, 0);
    let before = world.nodes[1].machine.counts().seen_entries;
    for index in 0..10_000 {
        let text = unsigned(alice_id.id(), Recipient::from(&bob_id), START_MS, &chunk(&bob_id, index));
        world.receive(1, link, parse(text.as_str()));
    }
    assert_eq!(world.nodes[1].machine.counts().seen_entries, before, "no cache is flushed by a file");
    for payload in [Payload::FileStart(world.manifest(alice, bob)), end(&bob_id), ack(&alice_id, &bob_id)] {
        let signer = FakeSigner::new(world.users[alice].signer.key.clone());
        let frame = signed(alice_id.id(), Recipient::from(&bob_id), START_MS, &payload, &signer);
        let passes = |world: &mut World| {
            let actions = world.receive(1, link, frame.clone());
            actions.iter().any(|action| matches!(action, Action::Send { .. }))
        };
        assert!(passes(&mut world) && !passes(&mut world), "{:?} once", frame.kind());
    }
}

#[test]
fn a_flood_of_chunks_is_slowed_and_loses_nothing() {
    let (mut world, alice, bob) = two();
    let (alice_id, bob_id, link) =
        (world.users[alice].id.clone(), world.users[bob].id.clone(), world.users[alice].link);
    let mut paused = None;
    for index in 0..8_096 {
        let text = unsigned(alice_id.id(), Recipient::from(&bob_id), START_MS, &chunk(&bob_id, index));
        let mut sent = false;
        for action in world.receive(0, link, parse(text.as_str())) {
            match action {
                Action::Pause { link: held, until } if held == link => paused = paused.max(Some(until)),
                Action::Send { .. } => sent = true,
                other => panic!("{other:?}"),
            }
        }
        assert!(sent, "{index}");
    }
    // 4,000 over the burst, at 4,000 a second.
    assert_eq!(paused, Some(support::now(world.ms + 1_000).instant));
}

#[test]
fn unsigned_chunks_pass_no_unproven_link_and_a_server_of_the_standard_gets_no_acknowledgement() {
    let mut world = World::started(1);
    let bob = world.login(0, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    let evil = standard_server(&mut world, "evil", 66);
    let carol = FakeSigner::new(support::key(5));
    let carol_id = user_id("carol");
    let advert = advert(&carol_id, &server_id("evil"), &carol.key, "carol");
    says(&mut world, evil, &Payload::UserAdvertise(advert));
    assert_eq!(world.location(0, &carol_id), Some(server_id("evil")));

    let manifest = Payload::FileStart(start(&carol_id, &bob_id, &carol));
    let texts = [&manifest, &chunk(&bob_id, 0), &end(&bob_id)];
    for payload in texts {
        let text = unsigned(carol_id.id(), Recipient::from(&bob_id), START_MS, payload);
        world.user_sends_text(evil, text);
    }
    let chunk = signed(carol_id.id(), Recipient::from(&bob_id), START_MS, &chunk(&bob_id, 0), &carol);
    world.user_sends_text(evil, chunk.text().clone());
    world.run();
    assert_eq!(world.file_frames(bob), ["FILE_START", "FILE_CHUNK"], "what its author has signed");
    assert!(world.users[evil].online);

    let before = world.users[evil].inbox.len();
    world.sends(bob, &carol_id, &ack(&bob_id, &carol_id));
    world.sends(bob, &carol_id, &end(&carol_id));
    world.run();
    let kinds: Vec<_> = world.users[evil].inbox[before..].iter().map(|frame| frame.kind().as_str()).collect();
    assert_eq!(kinds, ["FILE_END"]);
    assert_eq!(world.errors(bob), []);
}

#[test]
fn who_leaves_out_the_author_is_filled_in_and_who_names_no_recipient_is_refused() {
    let (mut world, alice, bob) = two();
    let bob_id = world.users[bob].id.clone();
    let manifest = Payload::FileStart(world.manifest(alice, bob));
    let text = unsigned(world.users[alice].id.id(), Recipient::from(&bob_id), START_MS, &manifest);
    let from = format!(r#""from":"{}","#, world.users[alice].id);
    let nameless = text.as_str().replace(&from, "");
    assert_ne!(nameless, text.as_str());
    world.user_sends_text(alice, nameless.into());
    let to_all = FileEnd { file_id: "f".into(), to: None, sender: None, ts: None };
    world.user_sends(alice, Recipient::Everyone, &Payload::FileEnd(to_all));
    world.run();
    let codes: Vec<_> = world.errors(alice).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["USER_NOT_FOUND"]);
    let start = world.users[bob].inbox.iter().find(|frame| *frame.kind() == FrameType::FileStart);
    assert_eq!(start.and_then(Frame::from), Some(world.users[alice].id.id()), "a server knows who sent it");
    assert!(world.users[alice].online);
}

#[test]
fn offers_are_as_many_as_messages_may_be() {
    let (mut world, alice, bob) = two();
    let (bob_id, link) = (world.users[bob].id.clone(), world.users[alice].link);
    let manifest = Payload::FileStart(world.manifest(alice, bob));
    let mut paused = None;
    for ts in 0..250 {
        let author = &world.users[alice];
        let frame =
            signed(author.id.id(), Recipient::from(&bob_id), START_MS + ts, &manifest, &author.signer);
        for action in world.receive(0, link, frame) {
            if let Action::Pause { until, .. } = action {
                paused = paused.max(Some(until));
            }
        }
    }
    // 50 over the burst of 200, at 100 a second.
    assert_eq!(paused, Some(support::now(world.ms + 500).instant));
}
