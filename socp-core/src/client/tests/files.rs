//! Files, out and in.

use crate::crypto::{Signed, sign_manifest};
use crate::wire::{Ack, AckStatus, Binary, FileChunk, FileEnd, FileStart, KeyField};

use super::*;

const BLOCK: u64 = 446;

/// A file of so many bytes, read through.
fn read(source: SourceId, size: u64) -> Event {
    Event::File(FileEvent::Read { source, result: Ok(FileInfo { size, sha256: [7; 32] }) })
}

fn send(to: &str) -> Command {
    Command::File(FileCommand::Send { to: to.into(), path: "/tmp/../home/.cat\n.jpg".into() })
}

fn file_actions(actions: &[Action]) -> Vec<&FileAction> {
    actions
        .iter()
        .filter_map(|action| if let Action::File(action) = action { Some(action) } else { None })
        .collect()
}

fn file_notices(actions: &[Action]) -> Vec<&FileNotice> {
    notices(actions)
        .into_iter()
        .filter_map(|notice| if let Notice::File(notice) = notice { Some(notice) } else { None })
        .collect()
}

/// The runs that are to be sealed: first chunk, number of chunks.
fn runs(actions: &[Action]) -> Vec<(u64, u64)> {
    let runs = file_actions(actions).into_iter().filter_map(|action| match action {
        FileAction::Seal(run) => Some((run.offset() / BLOCK, run.chunks())),
        _ => None,
    });
    runs.collect()
}

fn offers(actions: &[Action]) -> Vec<&Offer> {
    let offers = file_actions(actions).into_iter().filter_map(|action| match action {
        FileAction::Offer(offer) => Some(offer),
        _ => None,
    });
    offers.collect()
}

fn frames(actions: &[Action], own: &FakeKey) -> Vec<Frame> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(frame) => Some(frame.sign(own).expect("fake keys do not fail")),
        _ => None,
    });
    sent.map(|signed| parsed(&signed)).collect()
}

fn parsed(signed: &Signed) -> Frame {
    Frame::parse(signed.text().as_str(), usize::MAX).expect("our own frames are read")
}

/// What we acknowledge.
fn acks(actions: &[Action], own: &FakeKey) -> Vec<(AckStatus, Option<u64>)> {
    let frames = frames(actions, own);
    let acks = frames.iter().filter_map(|frame| match frame.payload() {
        Payload::Ack(ack) => Some((ack.status.expect("a status"), ack.credit)),
        _ => None,
    });
    acks.collect()
}

/// Alice, with bob and carol online.
fn alice() -> Scene {
    scene(config("alice"))
}

fn scene(config: Config) -> Scene {
    let mut scene = Scene::with(config, Snapshot::default());
    scene.log_in(vec![entry("bob", None), entry("carol", None)]);
    scene
}

impl Scene {
    /// Has a file of that size offered to somebody; gives the offer's FILE_START.
    fn offer(&mut self, reference: u64, to: &str, size: u64) -> (TransferId, FileStart) {
        let actions = self.command(reference, send(to));
        let [FileAction::Read { source, max_bytes, .. }] = file_actions(&actions)[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(*max_bytes, 64 << 20);
        let actions = self.handle(read(*source, size));
        let [offer] = offers(&actions)[..] else { panic!("{actions:?}") };
        let frame = parsed(&offer.seal(&self.own).expect("fake keys do not fail"));
        let Payload::FileStart(start) = frame.payload() else { panic!("{frame:?}") };
        assert_eq!((frame.to().as_str(), frame.ts()), (to, start.ts));
        self.handle(Event::File(FileEvent::OfferWritten(offer.transfer())));
        (offer.transfer(), start.clone())
    }

    /// ACK of another user about one of our offers.
    fn answer(
        &mut self,
        from: &str,
        start: &FileStart,
        status: AckStatus,
        credit: Option<u64>,
    ) -> Vec<Action> {
        let ack = ack(from, "alice", &start.file_id, status, credit);
        self.receive_from(from, &Payload::Ack(ack))
    }

    /// Lets time pass on a link that lives.
    fn live(&mut self, time: Duration) -> Vec<Action> {
        let until = self.now.instant + time;
        let mut actions = Vec::new();
        while self.now.instant < until {
            self.pass(secs(10).min(until - self.now.instant));
            actions.extend(self.handle(Event::LinkAlive));
        }
        actions
    }

    fn written(&mut self, transfer: TransferId, chunks: u64) -> Vec<Action> {
        self.handle(Event::File(FileEvent::Written { transfer, chunks }))
    }

    /// A file that another user offers us, by its id.
    fn offered(&mut self, from: &str, file_id: &str, size: u64) -> Vec<Action> {
        let start = start_of(from, file_id, size);
        self.receive_from(from, &Payload::FileStart(start))
    }

    fn chunk(&mut self, from: &str, file_id: &str, index: u64) -> Vec<Action> {
        self.receive_from(from, &chunk(file_id, index, 512))
    }

    fn accept(&mut self, reference: u64) -> Vec<Action> {
        self.command(reference, Command::File(FileCommand::Accept(None)))
    }
}

fn ack(from: &str, to: &str, file_id: &str, status: AckStatus, credit: Option<u64>) -> Ack {
    Ack {
        msg_ref: file_id.into(),
        to: Some(to.into()),
        sender: Some(user(from)),
        ts: Some(Timestamp(1_800_000_000_000)),
        status: Some(status),
        credit,
        detail: None,
    }
}

/// A manifest for alice, signed.
fn start_of(from: &str, file_id: &str, size: u64) -> FileStart {
    let start = FileStart {
        file_id: file_id.into(),
        name: "../cat.jpg".into(),
        size,
        sha256: "07".repeat(32).into(),
        mode: "dm".into(),
        to: Some("alice".into()),
        sender: Some(user(from)),
        ts: Some(Timestamp(1_800_000_000_000)),
        sender_pub: Some(public(from).into()),
        content_sig: None,
    };
    sign_manifest(start, &fake_key(from)).expect("fake keys do not fail")
}

fn chunk(file_id: &str, index: u64, bytes: usize) -> Payload {
    Payload::FileChunk(FileChunk {
        file_id: file_id.into(),
        index,
        ciphertext: Binary::new(vec![index as u8; bytes]),
        to: Some("alice".into()),
        sender: None,
        ts: None,
    })
}

#[test]
fn a_file_goes_as_far_as_its_recipient_has_room_and_ends_when_it_has_arrived() {
    let mut scene = alice();
    let (id, start) = scene.offer(1, "bob", 40 * BLOCK + 10);
    assert_eq!((&*start.name, start.size, &*start.mode), ("_cat_.jpg", 40 * BLOCK + 10, "dm"));
    assert_eq!((start.sender.as_ref(), start.to.as_deref()), (Some(&user("alice")), Some("bob")));
    assert_eq!(start.sha256, "07".repeat(32).into());

    assert_eq!(scene.answer("bob", &start, AckStatus::Waiting, None), []);
    assert_eq!(file_actions(&scene.live(secs(500))).len(), 0);
    let actions = scene.answer("bob", &start, AckStatus::Ready, Some(20));
    assert_eq!(runs(&actions), [(0, 16), (16, 4)]);
    assert!(matches!(file_notices(&actions)[..], [FileNotice::Started(transfer)] if transfer.id == id));
    // Older words take nothing back.
    assert_eq!(scene.answer("bob", &start, AckStatus::Ready, Some(4)), []);
    assert_eq!(scene.written(id, 16), []);
    assert_eq!(runs(&scene.answer("bob", &start, AckStatus::Ready, Some(500))), [(20, 16), (36, 5)]);
    scene.pass(secs(2));
    let actions = scene.written(id, 20);
    let [FileNotice::Progress { done, rate, left: Some(left), transfer }] = file_notices(&actions)[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((*done, *rate, transfer.direction), (36 * BLOCK, 18 * BLOCK, Direction::Out));
    assert!((0.22..0.23).contains(&left.as_secs_f64()), "{left:?}");
    let actions = scene.written(id, 5);
    let [end] = &frames(&actions, &scene.own)[..] else { panic!("{actions:?}") };
    let Payload::FileEnd(FileEnd { file_id, .. }) = end.payload() else { panic!("{end:?}") };
    assert_eq!((file_id, end.sig().is_some()), (&start.file_id, true));
    scene.pass(secs(1));
    let actions = scene.answer("bob", &start, AckStatus::Done, None);
    let [FileAction::Close(_)] = file_actions(&actions)[..] else { panic!("{actions:?}") };
    let to = SentTo::User { user_id: user("bob"), label: "bob".into() };
    let sent = FileNotice::Sent { reference: 1, name: "_cat_.jpg".into(), to, confirmed: true };
    let [FileNotice::Arrived { transfer, confirmed: true, took }, last] = file_notices(&actions)[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((transfer.id, *took, last), (id, secs(3), &sent));
    assert_eq!(scene.client.files.sizes(), [0, 0, 0]);
}

#[test]
fn chunks_are_sealed_for_the_recipient_and_not_signed() {
    let mut scene = alice();
    let (_, start) = scene.offer(1, "bob", BLOCK + 3);
    let actions = scene.answer("bob", &start, AckStatus::Ready, Some(512));
    let [FileAction::Seal(run)] = file_actions(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!((run.offset(), run.bytes(), run.chunks()), (0, 449, 2));
    let file: Vec<u8> = (0..449).map(|at| at as u8).collect();
    let texts = run.seal(&file, &Fake).expect("fake keys do not fail");
    let mut read = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let frame = Frame::parse(text.as_str(), 2_000).expect("a short frame");
        let Payload::FileChunk(chunk) = frame.payload() else { panic!("{frame:?}") };
        assert_eq!((chunk.index, &chunk.file_id, frame.sig()), (index as u64, &start.file_id, None));
        assert_eq!((frame.from(), frame.to().as_str()), (Some(user("alice").id()), "bob"));
        read.extend(crate::crypto::Opener::open(&fake_key("bob"), chunk.ciphertext.bytes()).expect("bob's"));
    }
    assert_eq!(read, file);
}

#[test]
fn an_empty_file_is_only_announced() {
    let mut scene = alice();
    let (_, start) = scene.offer(1, "bob", 0);
    assert_eq!(scene.answer("bob", &start, AckStatus::Waiting, None), [], "not before it is accepted");
    let actions = scene.answer("bob", &start, AckStatus::Ready, Some(512));
    assert_eq!(sent_types(&actions), [&FrameType::FileEnd]);
}

#[test]
fn a_client_of_the_standard_gets_the_chunks_at_a_pace_that_it_can_follow() {
    let mut scene = alice();
    let (id, _) = scene.offer(1, "bob", 300 * BLOCK);
    scene.pass(secs(3));
    let actions = scene.handle(Event::Wakeup);
    assert_eq!(runs(&actions).iter().map(|(_, chunks)| chunks).sum::<u64>(), 256);
    scene.written(id, 256);
    let mut passed = Duration::ZERO;
    let mut last = Vec::new();
    for first in [256, 272, 288] {
        let before = scene.now.instant;
        last = scene.wake();
        passed += scene.now.instant - before;
        assert_eq!(runs(&last)[0].0, first);
    }
    // 44 chunks at 200 a second, by runs of 16.
    assert!((Duration::from_millis(220)..Duration::from_millis(260)).contains(&passed), "{passed:?}");
    assert_eq!(runs(&last), [(288, 12)]);
    let actions = scene.written(id, 44);
    assert_eq!(sent_types(&actions), [&FrameType::FileEnd]);
    let told = file_notices(&actions);
    let arrived = |notice: &FileNotice| matches!(notice, FileNotice::Arrived { confirmed: false, .. });
    assert!(
        matches!(told[..], [first, FileNotice::Sent { confirmed: false, .. }] if arrived(first)),
        "{told:?}"
    );
}

/// Numbers of the files that wait.
fn waiting(actions: &[Action]) -> Vec<u64> {
    let told = file_notices(actions).into_iter().filter_map(|notice| match notice {
        FileNotice::Waiting(transfer) => Some(transfer.id.0),
        _ => None,
    });
    told.collect()
}

#[test]
fn no_more_is_offered_to_somebody_at_a_time_than_natives_take_and_the_rest_waits_its_turn() {
    let mut scene = alice();
    let offers: Vec<_> = (1..=8).map(|n| scene.offer(n, "bob", 10)).collect();
    let mut late = Vec::new();
    for n in 9..=20 {
        let actions = scene.command(n, send("bob"));
        let [FileAction::Read { source, .. }] = file_actions(&actions)[..] else { panic!("{actions:?}") };
        late.push(scene.handle(read(*source, 10)));
    }
    for (actions, number) in late.iter().zip(9..) {
        assert_eq!((offers_of(actions), waiting(actions)), (0, vec![number]));
    }
    // Somebody else is not in this queue.
    scene.offer(21, "carol", 10);
    for (n, (_, start)) in offers.iter().enumerate() {
        let actions = scene.answer("bob", start, AckStatus::Done, None);
        assert_eq!(offers_of(&actions), 1, "one for the {n}th that is through");
    }
    // A waiting one can be stopped; it was offered to nobody.
    let actions = scene.command(22, Command::File(FileCommand::Cancel(Some(TransferId(20)))));
    assert_eq!(sent_types(&actions), [&FrameType::Ack; 0]);
    let told = file_notices(&actions);
    assert!(
        matches!(
            told[..],
            [FileNotice::Stopped { reference: 22, .. }, FileNotice::Cancelled { reference: 20, .. }]
        ),
        "{told:?}"
    );
    // Who goes away takes all of them along.
    let ended = scene.receive(&removed("bob"));
    let ended = notices(&ended).into_iter().filter_map(Notice::ends).collect::<Vec<_>>();
    assert_eq!(ended, (9..=19).collect::<Vec<_>>());
}

fn offers_of(actions: &[Action]) -> usize {
    offers(actions).len()
}

#[test]
fn silence_of_somebody_who_acknowledges_is_a_failure_and_no_client_of_the_standard() {
    let mut scene = alice();
    // The second one is offered before anybody knows, and the first one's answer tells.
    let (_, first) = scene.offer(1, "bob", 300 * BLOCK);
    let (_, _) = scene.offer(2, "bob", 300 * BLOCK);
    scene.pass(secs(2));
    scene.answer("bob", &first, AckStatus::Waiting, None);
    let (_, _) = scene.offer(3, "bob", 300 * BLOCK);
    let actions = scene.live(secs(57));
    assert_eq!((runs(&actions), notices(&actions).len()), (vec![], 0));
    let actions = scene.live(secs(3));
    let told: Vec<_> = file_notices(&actions)
        .into_iter()
        .map(|notice| match notice {
            FileNotice::Failed { reference, code, detail, .. } => (*reference, format!("{code} {detail}")),
            other => panic!("{other:?}"),
        })
        .collect();
    let why = "TIMEOUT bob does not answer".to_owned();
    assert_eq!(told, [(Some(2), why.clone()), (Some(3), why)]);
    assert_eq!(runs(&actions), []);
    // Who comes back may do so with another program.
    let (_, start) = scene.offer(5, "carol", 10);
    scene.answer("carol", &start, AckStatus::Done, None);
    scene.receive(&removed("carol"));
    scene.receive(&added(entry("carol", None)));
    scene.offer(6, "carol", 10);
    assert_eq!(runs(&scene.live(secs(4))), [(0, 1)]);
}

#[test]
fn who_refuses_is_left_alone_for_a_second() {
    let mut scene = alice();
    let offers: Vec<_> = (1..=8).map(|n| scene.offer(n, "bob", 10)).collect();
    for n in 9..=18 {
        let actions = scene.command(n, send("bob"));
        let [FileAction::Read { source, .. }] = file_actions(&actions)[..] else { panic!("{actions:?}") };
        scene.handle(read(*source, 10));
    }
    for (_, start) in &offers {
        let actions = scene.answer("bob", start, AckStatus::Refused, None);
        assert_eq!((offers_of(&actions), notices(&actions)[0].ends().is_some()), (0, true));
    }
    let before = scene.now.instant;
    let actions = scene.wake();
    assert_eq!((scene.now.instant - before, offers_of(&actions)), (secs(1), 8));
}

#[test]
fn what_the_other_end_says_no_to_ends_the_command() {
    for (status, detail, why) in [
        (AckStatus::Refused, None, "REFUSED bob does not take it"),
        (
            AckStatus::Refused,
            Some("takes at most 64 MiB"),
            "REFUSED bob does not take it: takes at most 64 MiB",
        ),
        (AckStatus::Cancelled, None, "CANCELLED bob has cancelled it"),
        (AckStatus::Failed, Some("disk\nfull"), "FAILED bob could not save it: disk⏎full"),
        (AckStatus::Expired, Some("too late"), "TIMEOUT bob has not accepted it in time"),
    ] {
        let mut scene = alice();
        let (_, start) = scene.offer(1, "bob", 10);
        let detail = detail.map(Into::into);
        let ack = Ack { detail, ..ack("bob", "alice", &start.file_id, status, None) };
        let actions = scene.receive_from("bob", &Payload::Ack(ack));
        let [FileNotice::Failed { reference: Some(1), transfer, code, detail }] = file_notices(&actions)[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!((format!("{code} {detail}").as_str(), &*transfer.name), (why, "_cat_.jpg"));
        assert!(matches!(file_actions(&actions)[..], [FileAction::Close(_)]));
    }
}

#[test]
fn only_the_recipients_own_signed_word_counts() {
    let mut scene = alice();
    let (_, start) = scene.offer(1, "bob", 10);
    let good = ack("bob", "alice", &start.file_id, AckStatus::Ready, Some(9));
    let why = "acknowledgement that proves nothing";
    for bad in [
        Ack { sender: Some(user("carol")), ..good.clone() },
        Ack { to: Some("carol".into()), ..good.clone() },
        Ack { status: None, ..good.clone() },
    ] {
        let dropped = told_dropped(why, "bob");
        assert_eq!(scene.receive_from("bob", &Payload::Ack(bad)), [dropped]);
    }
    let of_carol = Ack { sender: Some(user("carol")), ..good.clone() };
    let nothing = told_dropped("acknowledgement of nothing", "carol");
    assert_eq!(scene.receive_from("carol", &Payload::Ack(of_carol)), [nothing]);
    let signed = scene.relayed("bob", &Payload::Ack(good.clone())).text().as_str().to_owned();
    let unsigned = format!("{}}}", signed.split(",\"sig\"").next().expect("a frame"));
    let altered = signed.replace("\"credit\":9", "\"credit\":8");
    for text in [unsigned, altered] {
        assert_eq!(scene.receive_text(&text), [told_dropped(why, "bob")], "{text}");
    }
    assert_eq!(runs(&scene.receive_from("bob", &Payload::Ack(good))), [(0, 1)]);
}

#[test]
fn who_goes_away_or_falls_silent_is_named() {
    let ends = |actions: &[Action]| -> Vec<String> {
        let ended = notices(actions).into_iter().filter_map(|notice| match notice {
            Notice::File(FileNotice::Failed { reference: Some(1), code, detail, .. }) => {
                Some(format!("{code} {detail}"))
            }
            _ => None,
        });
        ended.collect()
    };
    for accepted in [false, true] {
        let running = || {
            let mut scene = alice();
            let (_, start) = scene.offer(1, "bob", 1_000 * BLOCK);
            scene.answer("bob", &start, AckStatus::Waiting, None);
            if accepted {
                scene.answer("bob", &start, AckStatus::Ready, Some(512));
            }
            (scene, start)
        };
        let (mut scene, _) = running();
        assert_eq!(ends(&scene.receive(&removed("bob"))), ["USER_NOT_FOUND bob has gone"]);
        let (mut scene, _) = running();
        assert_eq!(ends(&scene.lose_link()), ["TIMEOUT the link to the server was lost"]);

        let (mut scene, start) = running();
        let reference = FrameRef { kind: "FILE_CHUNK".into(), to: Some("bob".into()), ts: None };
        // An ERROR about another offer to bob, or about carol, is none about this one.
        let other = [
            FrameRef { kind: "FILE_START".into(), ts: Some(Timestamp(5)), ..reference.clone() },
            FrameRef { to: Some("carol".into()), ..reference.clone() },
        ];
        for reference in other {
            let refusal = error(ErrorCode::Timeout, "unreachable", Some(reference));
            assert_eq!(scene.receive(&refusal), []);
        }
        let refusal = error(ErrorCode::Timeout, "unreachable", Some(reference));
        assert_eq!(ends(&scene.receive(&refusal)), ["TIMEOUT unreachable (try again in a minute)"]);
        let over = told_dropped("acknowledgement of nothing", "bob");
        assert_eq!(scene.answer("bob", &start, AckStatus::Done, None), [over]);

        let (mut scene, _) = running();
        let (patience, why) = match accepted {
            true => (secs(60), "TIMEOUT bob answers no more"),
            false => (secs(600), "TIMEOUT bob has not accepted it in time"),
        };
        assert_eq!(ends(&scene.live(patience - secs(1))), [""; 0]);
        let actions = scene.live(secs(1));
        assert_eq!(ends(&actions), [why]);
        assert_eq!(acks(&actions, &scene.own), [(AckStatus::Cancelled, None)]);
    }
}

#[test]
fn a_file_to_everybody_is_offered_to_each_and_counted() {
    let mut scene = alice();
    let actions = scene.command(1, send("public"));
    let [FileAction::Read { source, .. }] = file_actions(&actions)[..] else { panic!("{actions:?}") };
    let actions = scene.handle(read(*source, 10));
    let starts: Vec<FileStart> = offers(&actions)
        .into_iter()
        .map(|offer| match parsed(&offer.seal(&scene.own).expect("fake")).payload() {
            Payload::FileStart(start) => start.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let to: Vec<_> = starts.iter().map(|start| (start.to.as_deref(), &*start.mode)).collect();
    assert_eq!(to, [(Some("bob"), "public"), (Some("carol"), "public")]);
    let actions = scene.answer("bob", &starts[0], AckStatus::Refused, None);
    let told = file_notices(&actions);
    assert!(
        matches!(told[..], [FileNotice::Failed { transfer, .. }] if &*transfer.label == "bob"),
        "{told:?}"
    );
    let actions = scene.answer("carol", &starts[1], AckStatus::Done, None);
    let to = SentTo::Everyone { recipients: 1, failed: 1 };
    let sent = FileNotice::Sent { reference: 1, name: "_cat_.jpg".into(), to, confirmed: true };
    let [FileNotice::Arrived { transfer, .. }, last] = file_notices(&actions)[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((&*transfer.label, last), ("carol", &sent));
}

#[test]
fn who_goes_before_a_file_to_everybody_is_read_keeps_nobody_else_from_it() {
    let mut scene = alice();
    let actions = scene.command(1, send("public"));
    let [FileAction::Read { source, .. }] = file_actions(&actions)[..] else { panic!("{actions:?}") };
    scene.receive(&removed("bob"));
    let actions = scene.handle(read(*source, 10));
    let [offer] = offers(&actions)[..] else { panic!("{actions:?}") };
    let [FileNotice::Failed { reference: None, transfer, .. }, FileNotice::Offering(_)] =
        file_notices(&actions)[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(&*transfer.name, "_cat_.jpg");
    let Payload::FileStart(start) = parsed(&offer.seal(&scene.own).expect("fake")).payload().clone() else {
        panic!("{offer:?}")
    };
    let actions = scene.answer("carol", &start, AckStatus::Done, None);
    let to = SentTo::Everyone { recipients: 1, failed: 1 };
    assert!(
        matches!(file_notices(&actions)[..], [_, FileNotice::Sent { to: sent, .. }] if *sent == to),
        "{actions:?}"
    );
}

#[test]
fn one_command_stops_a_file_for_everybody() {
    let offering = |scene: &mut Scene| {
        let actions = scene.command(1, send("public"));
        let [FileAction::Read { source, .. }] = file_actions(&actions)[..] else { panic!("{actions:?}") };
        let actions = scene.handle(read(*source, 10));
        let start = |offer: &&Offer| match parsed(&offer.seal(&scene.own).expect("fake")).payload() {
            Payload::FileStart(start) => start.clone(),
            other => panic!("{other:?}"),
        };
        offers(&actions).iter().map(start).collect::<Vec<_>>()
    };
    let ended = |actions: &[Action]| -> Vec<(u64, String)> {
        let ended = notices(actions).into_iter().map(|notice| match notice {
            Notice::File(FileNotice::Stopped { reference, transfer, others }) => {
                (*reference, format!("stopped {} and {others:?}", transfer.id))
            }
            Notice::File(FileNotice::Cancelled { reference, transfer }) => {
                (*reference, format!("cancelled {}", transfer.id))
            }
            Notice::File(FileNotice::Sent { reference, to, .. }) => (*reference, format!("{to:?}")),
            other => panic!("{other:?}"),
        });
        ended.collect()
    };
    // Without a number, and with that of any recipient.
    for (id, stopped) in [
        (None, "stopped 1 and [TransferId(2)]"),
        (Some(TransferId(1)), "stopped 1 and [TransferId(2)]"),
        (Some(TransferId(2)), "stopped 2 and [TransferId(1)]"),
    ] {
        let mut scene = alice();
        offering(&mut scene);
        let actions = scene.command(2, Command::File(FileCommand::Cancel(id)));
        assert_eq!(acks(&actions, &scene.own), [(AckStatus::Cancelled, None); 2]);
        assert_eq!(ended(&actions), [(2, stopped.to_owned()), (1, "cancelled 1".to_owned())]);
        assert_eq!(scene.client.files.sizes(), [0, 0, 0]);
    }
    // Who has it keeps it.
    let mut scene = alice();
    let starts = offering(&mut scene);
    scene.answer("bob", &starts[0], AckStatus::Done, None);
    let actions = scene.command(2, Command::File(FileCommand::Cancel(None)));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Cancelled, None)]);
    let sent = format!("{:?}", SentTo::Everyone { recipients: 1, failed: 1 });
    assert_eq!(ended(&actions), [(2, "stopped 2 and []".to_owned()), (1, sent)]);
    // Beside another file it is one of the two.
    offering(&mut scene);
    scene.offered("bob", "f", 10);
    let which = "which one: 3 (_cat_.jpg to all), 5 (cat.jpg of bob)?";
    let actions = scene.command(3, Command::File(FileCommand::Cancel(None)));
    assert_eq!(actions, [failed(3, ErrorCode::Other("NO_FILE".into()), which)]);
}

#[test]
fn what_cannot_be_sent_fails_at_once() {
    let mut scene = alice();
    let nobody = failed(1, ErrorCode::UserNotFound, "nobody online is called dora");
    assert_eq!(scene.command(1, send("dora")), [nobody]);
    assert_eq!(scene.command(2, send("alice")), [failed(2, ErrorCode::UserNotFound, "that is you")]);
    let actions = scene.command(3, send("bob"));
    let [FileAction::Read { source, .. }] = file_actions(&actions)[..] else { panic!("{actions:?}") };
    let result = Err("/tmp/cat: not a file".into());
    let actions = scene.handle(Event::File(FileEvent::Read { source: *source, result }));
    let why = failed(3, ErrorCode::Other("NO_FILE".into()), "/tmp/cat: not a file");
    assert_eq!(actions, [Action::File(FileAction::Close(*source)), why]);
}

#[test]
fn transfers_take_turns_and_the_border_is_never_flooded() {
    let mut scene = alice();
    let (bob, to_bob) = scene.offer(1, "bob", 10_000 * BLOCK);
    let (carol, to_carol) = scene.offer(2, "carol", 10_000 * BLOCK);
    let first = runs(&scene.answer("bob", &to_bob, AckStatus::Ready, Some(5_000)));
    assert_eq!(first.iter().map(|(_, chunks)| chunks).sum::<u64>(), 512);
    assert_eq!(runs(&scene.answer("carol", &to_carol, AckStatus::Ready, Some(5_000))), [], "no room");
    let actions = scene.written(bob, 512);
    let turns: Vec<_> = file_actions(&actions)
        .into_iter()
        .filter_map(|action| if let FileAction::Seal(run) = action { Some(run.transfer()) } else { None })
        .collect();
    assert_eq!(turns.len(), 32);
    assert!(turns.chunks(2).all(|turn| turn == [carol, bob]), "{turns:?}");
}

#[test]
fn a_file_that_was_asked_for_without_a_session_is_offered_in_the_next() {
    let mut scene = Scene::new("alice");
    scene.command(1, send("bob"));
    scene.handle(Event::DialFailed { why: "refused".into() });
    let actions = scene.log_in(vec![entry("bob", None)]);
    let [FileAction::Read { source, .. }] = file_actions(&actions)[..] else { panic!("{actions:?}") };
    let source = *source;
    scene.lose_link();
    assert_eq!(offers(&scene.handle(read(source, 10))).len(), 0);
    assert_eq!(offers(&scene.log_in(vec![entry("bob", None)])).len(), 1);
}

#[test]
fn an_offered_file_waits_for_its_acceptance_and_then_comes_window_by_window() {
    let mut scene = alice();
    let actions = scene.offered("bob", "f", 2_000 * BLOCK);
    let [FileAction::Expect(expected)] = file_actions(&actions)[..] else { panic!("{actions:?}") };
    let id = expected.transfer;
    assert_eq!((&*expected.name, expected.size, expected.sha256), ("cat.jpg", 2_000 * BLOCK, [7; 32]));
    let told = file_notices(&actions);
    let [FileNotice::Offered { transfer, to_all: false, verified: Ok(()), accepted: false }] = told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((transfer.id, &*transfer.label, transfer.direction), (id, "bob", Direction::In));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Waiting, None)]);

    let actions = scene.accept(1);
    assert_eq!(file_actions(&actions), [&FileAction::Open(id)]);
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Ready, Some(512))]);
    assert!(matches!(file_notices(&actions)[..], [FileNotice::Accepted { reference: 1, .. }]));
    for index in 0..200 {
        let actions = scene.chunk("bob", "f", index);
        assert!(matches!(file_actions(&actions)[..], [FileAction::Keep { transfer, .. }] if *transfer == id));
    }
    let opened = |scene: &mut Scene, chunks: u64| {
        let event = FileEvent::Opened { transfer: id, chunks, bytes: chunks * BLOCK };
        let actions = scene.handle(Event::File(event));
        acks(&actions, &scene.own)
    };
    assert_eq!(opened(&mut scene, 127), []);
    assert_eq!(
        opened(&mut scene, 1),
        [(AckStatus::Ready, Some(640))],
        "a signature for a quarter of the window"
    );
    // A second file gets its share of what we have room for.
    scene.offered("carol", "g", 2_000 * BLOCK);
    scene.accept(2);
    scene.offered("carol", "h", 2_000 * BLOCK);
    let actions = scene.accept(3);
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Ready, Some(341))]);

    let path = std::path::PathBuf::from("/downloads/cat.jpg");
    let actions = scene.handle(Event::File(FileEvent::Saved { transfer: id, path: path.clone() }));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Done, None)]);
    let told = file_notices(&actions);
    assert!(matches!(told[..], [FileNotice::Saved { path: saved, .. }] if *saved == path), "{told:?}");
    assert_eq!(scene.receive_from("bob", &end("f")), [told_dropped("end of no file", "bob")]);
}

fn end(file_id: &str) -> Payload {
    let to = Some("alice".into());
    Payload::FileEnd(FileEnd { file_id: file_id.into(), to, sender: None, ts: None })
}

#[test]
fn what_does_not_prove_whose_it_is_is_never_taken_unasked() {
    type Spoil = fn(&mut FileStart);
    let cases: [(Spoil, Doubt); 8] = [
        (|start| start.content_sig = None, Doubt::NoSignature),
        (|start| start.content_sig = Some(Binary::new(vec![1; 511])), Doubt::NoSignature),
        (|start| start.sender = None, Doubt::NoSignature),
        (|start| start.to = Some("bob".into()), Doubt::NoSignature),
        (|start| start.ts = None, Doubt::NoSignature),
        (|start| start.size = 7, Doubt::BadSignature),
        (|start| start.sha256 = "08".repeat(32).into(), Doubt::BadSignature),
        (|start| start.sender_pub = Some(KeyField::from(public("eve"))), Doubt::OtherKey),
    ];
    let trusting = || scene(Config { files: OfferPolicy::Accept, ..config("alice") });
    for (spoil, doubt) in cases {
        let mut scene = trusting();
        let mut start = start_of("bob", "f", 10);
        spoil(&mut start);
        let actions = scene.receive_from("bob", &Payload::FileStart(start));
        let told = file_notices(&actions);
        let [FileNotice::Offered { verified: Err(why), accepted: false, .. }] = told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(*why, doubt);
        assert_eq!(acks(&actions, &scene.own), [(AckStatus::Waiting, None)]);
    }
    let mut scene = trusting();
    let actions = scene.offered("eve", "f", 10);
    let told = file_notices(&actions);
    assert!(
        matches!(told[..], [FileNotice::Offered { verified: Err(Doubt::UnknownSender), .. }]),
        "{told:?}"
    );
    let actions = scene.offered("bob", "g", 10);
    assert!(matches!(
        file_notices(&actions)[..],
        [FileNotice::Offered { verified: Ok(()), accepted: true, .. }]
    ));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Ready, Some(512))]);
}

#[test]
fn an_offer_counts_once_across_restarts() {
    let junk = |start: &mut FileStart| start.content_sig = Some(Binary::new(vec![1; 512]));
    let unsigned = |start: &mut FileStart| start.content_sig = None;
    type Spoil = fn(&mut FileStart);
    let cases: [(Spoil, bool); 3] = [(|_| {}, true), (unsigned, false), (junk, false)];
    for (spoil, proven) in cases {
        let mut scene = alice();
        let mut start = start_of("bob", "f", 10);
        spoil(&mut start);
        let actions = scene.receive_from("bob", &Payload::FileStart(start.clone()));
        let [FileNotice::Offered { verified, .. }] = file_notices(&actions)[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(verified.is_ok(), proven);
        let snapshot = remembered(&actions);
        let repeat = told_dropped("file was offered before", "bob");
        let again = Payload::FileStart(start.clone());
        assert_eq!(scene.receive_from("bob", &again), *std::slice::from_ref(&repeat));
        let mut restarted = Scene::with(config("alice"), snapshot);
        restarted.log_in(vec![entry("bob", None)]);
        assert_eq!(restarted.receive_from("bob", &again), *std::slice::from_ref(&repeat));
        // Nor does another signature make it another one.
        junk(&mut start);
        assert_eq!(restarted.receive_from("bob", &Payload::FileStart(start)), [repeat]);
        // What was not proven does not shadow the real one.
        let real = restarted.offered("bob", "f", 10);
        assert_eq!(file_notices(&real).len(), usize::from(!proven));
    }
}

#[test]
fn a_flood_of_offers_makes_nobody_elses_new_again() {
    let mut small = config("alice");
    small.limits.shown = 4;
    let mut scene = scene(small);
    let mut last = scene.offered("bob", "f", 10);
    for n in 0..20 {
        last = scene.command(1, Command::File(FileCommand::Reject(None)));
        let start =
            FileStart { ts: Some(Timestamp(START + n)), ..start_of("carol", &format!("flood-{n}"), 10) };
        let start = sign_manifest(FileStart { content_sig: None, ..start }, &fake_key("carol"));
        last.extend(scene.receive_from("carol", &Payload::FileStart(start.expect("fake keys do not fail"))));
    }
    assert_eq!(file_notices(&last).len(), 2);
    scene.command(1, Command::File(FileCommand::Reject(None)));
    let repeat = |who: &str| [told_dropped("file was offered before", who)];
    assert_eq!(scene.offered("bob", "f", 10), repeat("bob"));
    assert_eq!(scene.offered("carol", "flood-0", 10), repeat("carol"), "its own, too");
}

#[test]
fn what_nobody_needs_to_be_asked_about_is_refused_as_often_as_an_honest_sender_can_ask() {
    let refused =
        |actions: &[Action], scene: &Scene| acks(actions, &scene.own) == [(AckStatus::Refused, None)];
    let mut none = scene(Config { files: OfferPolicy::Refuse, ..config("alice") });
    let actions = none.offered("bob", "f", 10);
    assert!(refused(&actions, &none));
    let mut scene = alice();
    let actions = scene.offered("bob", "big", (64 << 20) + 1);
    assert!(refused(&actions, &scene));
    let why = "cat.jpg of bob was refused: this client takes at most 64 MiB";
    let code = ErrorCode::Other("REFUSED".into());
    assert_eq!(notices(&actions), [&Notice::Failed { reference: None, code, detail: why.into() }]);
    for n in 0..8 {
        assert!(!refused(&scene.offered("bob", &n.to_string(), 64 << 20), &scene));
    }
    // Eight a second is what a client of ours comes to.
    for n in 8..23 {
        assert!(refused(&scene.offered("bob", &n.to_string(), 10), &scene), "{n}");
    }
    let dropped = told_dropped("file refused", "bob");
    assert_eq!(scene.offered("bob", "too many", 10), [dropped], "each costs us a signature");
    scene.pass(secs(1));
    assert!(refused(&scene.offered("bob", "later", 10), &scene));
    let actions = scene.offered("carol", "first", 10);
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Waiting, None)], "carol may still");
    // What is no manifest at all.
    let bad = FileStart { sha256: "xyz".into(), ..start_of("carol", "bad", 1) };
    let dropped = told_dropped("file that is none", "carol");
    assert_eq!(scene.receive_from("carol", &Payload::FileStart(bad)), [dropped]);
}

#[test]
fn chunks_come_in_order_or_the_file_fails() {
    let failure = |actions: &[Action]| -> Option<String> {
        file_notices(actions).into_iter().find_map(|notice| match notice {
            FileNotice::Failed { detail, .. } => Some(detail.to_string()),
            _ => None,
        })
    };
    let receiving = |size: u64| {
        let mut scene = alice();
        scene.offered("bob", "f", size);
        scene.accept(1);
        scene.chunk("bob", "f", 0);
        scene
    };
    let mut scene = receiving(5 * BLOCK);
    assert_eq!(scene.chunk("bob", "f", 0), [told_dropped("chunk came before", "bob")]);
    assert_eq!(scene.chunk("carol", "f", 1), [told_dropped("chunk of no file", "carol")]);
    let actions = scene.chunk("bob", "f", 2);
    assert_eq!(failure(&actions).as_deref(), Some("a part of it is missing"));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Failed, None)]);
    assert!(matches!(file_actions(&actions)[..], [FileAction::Drop(_)]));

    let mut scene = receiving(100);
    let actions = scene.chunk("bob", "f", 1);
    assert_eq!(failure(&actions).as_deref(), Some("it is longer than announced"));
    let mut scene = receiving(500);
    let actions = scene.receive_from("bob", &chunk("f", 1, 400));
    assert!(failure(&actions).is_some_and(|why| why.contains("not one RSA block")));
}

#[test]
fn who_sends_unasked_is_kept_on_disk_within_bounds() {
    let mut small = config("alice");
    small.limits.kept_bytes = 3 * 512;
    let mut scene = scene(small);
    scene.offered("bob", "f", 10 * BLOCK);
    scene.offered("carol", "g", 10 * BLOCK);
    for (from, file_id, index) in [("bob", "f", 0), ("bob", "f", 1), ("carol", "g", 0)] {
        let actions = scene.chunk(from, file_id, index);
        assert!(matches!(file_actions(&actions)[..], [FileAction::Keep { .. }]));
    }
    let actions = scene.chunk("carol", "g", 1);
    assert!(matches!(file_actions(&actions)[..], [FileAction::Drop(_)]));
    // What is accepted is no longer a stranger's.
    scene.accept(1);
    let actions = scene.chunk("bob", "f", 2);
    assert!(matches!(file_actions(&actions)[..], [FileAction::Keep { .. }]));
}

#[test]
fn a_sender_who_vanishes_leaves_a_word_and_no_debris() {
    type Vanish = fn(&mut Scene) -> Vec<Action>;
    let cases: [(Vanish, &str); 4] = [
        (|scene| scene.receive(&removed("bob")), "bob has gone"),
        (|scene| scene.lose_link(), "the link to the server was lost"),
        (
            |scene| {
                let cancelled = ack("bob", "alice", "f", AckStatus::Cancelled, None);
                scene.receive_from("bob", &Payload::Ack(cancelled))
            },
            "bob has cancelled it",
        ),
        (
            |scene| {
                let (kind, why) = (FailureKind::NoSpace, "/home/alice: disk full".into());
                let event = FileEvent::ReceiveFailed { transfer: TransferId(1), kind, why };
                let actions = scene.handle(Event::File(event));
                // Where she keeps her files is nobody else's business.
                let frames = frames(&actions, &scene.own);
                let [Payload::Ack(ack)] = frames.iter().map(Frame::payload).collect::<Vec<_>>()[..] else {
                    panic!("{frames:?}")
                };
                assert_eq!(
                    (ack.status, ack.detail.as_deref()),
                    (Some(AckStatus::Failed), Some("no space left"))
                );
                actions
            },
            "/home/alice: disk full",
        ),
    ];
    for (vanish, why) in cases {
        for accepted in [false, true] {
            let mut scene = alice();
            scene.offered("bob", "f", 10 * BLOCK);
            if accepted {
                scene.accept(1);
            }
            let actions = vanish(&mut scene);
            let told = file_notices(&actions);
            let [FileNotice::Failed { detail, transfer, .. }] = told[..] else { panic!("{told:?}") };
            assert_eq!((&**detail, transfer.id), (why, TransferId(1)));
            assert!(file_actions(&actions).contains(&&FileAction::Drop(TransferId(1))));
            assert_eq!(scene.client.files.sizes(), [0, 0, 0]);
        }
    }
}

#[test]
fn a_file_that_nobody_accepts_or_that_does_not_move_is_given_up() {
    let mut scene = alice();
    scene.offered("bob", "f", 10 * BLOCK);
    scene.offered("bob", "g", 10 * BLOCK);
    scene.command(1, Command::File(FileCommand::Accept(Some(TransferId(1)))));
    scene.live(secs(40));
    scene.chunk("bob", "f", 0);
    assert_eq!(file_notices(&scene.live(secs(59))).len(), 0);
    let failures = |actions: &[Action]| -> Vec<(u64, String)> {
        let failed = file_notices(actions).into_iter().filter_map(|notice| match notice {
            FileNotice::Failed { transfer, detail, .. } => Some((transfer.id.0, detail.to_string())),
            _ => None,
        });
        failed.collect()
    };
    let actions = scene.live(secs(1));
    assert_eq!(failures(&actions), [(1, "nothing more came".to_owned())]);
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Failed, None)]);
    let actions = scene.live(secs(500));
    assert_eq!(failures(&actions), [(2, "nobody accepted it in time".to_owned())]);
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Expired, None)]);
}

#[test]
fn the_user_decides_and_the_other_end_is_told() {
    let mut scene = alice();
    let none = failed(1, ErrorCode::Other("NO_FILE".into()), "no file waits to be accepted");
    assert_eq!(scene.accept(1), [none]);
    scene.offered("bob", "f", 10);
    scene.offered("carol", "g", 10);
    let which = "which one: 1 (cat.jpg of bob), 2 (cat.jpg of carol)?";
    assert_eq!(scene.accept(2), [failed(2, ErrorCode::Other("NO_FILE".into()), which)]);
    for (command, why) in [
        (FileCommand::Accept as fn(_) -> _, "nobody offers a file 99"),
        (FileCommand::Reject, "nobody offers a file 99"),
        (FileCommand::Cancel, "there is no file 99"),
    ] {
        let actions = scene.command(9, Command::File(command(Some(TransferId(99)))));
        assert_eq!(actions, [failed(9, ErrorCode::Other("NO_FILE".into()), why)]);
    }
    let actions = scene.command(3, Command::File(FileCommand::Reject(Some(TransferId(2)))));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Refused, None)]);
    assert!(matches!(file_notices(&actions)[..], [FileNotice::Stopped { reference: 3, .. }]));
    scene.accept(4);
    let (out, _) = scene.offer(5, "carol", 10);
    let actions = scene.command(6, Command::File(FileCommand::Cancel(Some(out))));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Cancelled, None)]);
    let told = file_notices(&actions);
    assert!(
        matches!(
            told[..],
            [FileNotice::Stopped { reference: 6, .. }, FileNotice::Cancelled { reference: 5, .. }]
        ),
        "{told:?}"
    );
    let actions = scene.command(7, Command::File(FileCommand::Cancel(None)));
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Cancelled, None)]);
    assert!(file_actions(&actions).contains(&&FileAction::Drop(TransferId(1))));
}

/// What others call themselves and their files must not pass for our own words.
#[test]
fn names_in_sentences_are_set_off() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", Some("bob) or 9 (x of carol"))]);
    let whose = r#""bob) or 9 (x of carol""#;
    let offer = |scene: &mut Scene, file_id: &str, size: u64| {
        let start = FileStart { name: "cat of bob, accepted".into(), ..start_of("bob", file_id, size) };
        scene.receive_from("bob", &Payload::FileStart(start))
    };
    offer(&mut scene, "f", 10);
    offer(&mut scene, "g", 10);
    let which = format!(
        r#"which one: 1 ("cat of bob, accepted" of {whose}), 2 ("cat of bob, accepted" of {whose})?"#
    );
    let no_file = ErrorCode::Other("NO_FILE".into());
    assert_eq!(scene.accept(2), [failed(2, no_file, &which)]);
    let actions = offer(&mut scene, "h", (64 << 20) + 1);
    let refused =
        format!(r#""cat of bob, accepted" of {whose} was refused: this client takes at most 64 MiB"#);
    assert!(
        matches!(notices(&actions)[..], [Notice::Failed { detail, .. }] if **detail == *refused),
        "{actions:?}"
    );
    let (_, start) = scene.offer(3, "bob", 10);
    let actions = scene.answer("bob", &start, AckStatus::Expired, None);
    let late = format!("{whose} has not accepted it in time");
    assert!(
        matches!(file_notices(&actions)[..], [FileNotice::Failed { detail, .. }] if **detail == *late),
        "{actions:?}"
    );
}

#[test]
fn quitting_tells_the_other_ends() {
    let mut scene = alice();
    scene.offered("bob", "f", 10);
    scene.offer(1, "carol", 10);
    scene.handle(Event::Shutdown);
    scene.pass(secs(10));
    let actions = scene.handle(Event::Wakeup);
    assert_eq!(acks(&actions, &scene.own), [(AckStatus::Cancelled, None); 2]);
    assert_eq!(sent_types(&actions).last(), Some(&&FrameType::CtrlClose));
    assert!(scene.client.is_stopped() && scene.client.files.sizes() == [0, 0, 0]);
}
