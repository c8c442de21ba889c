//! Any sequence of events.

use super::*;
use crate::crypto::sign_manifest;
use crate::wire::{
    Ack, AckStatus, Binary, FileChunk, FileEnd, FileStart, Part, UserHelloAck, UserRegistered,
};

/// One step of a run; numbers are reduced to what exists.
#[derive(Clone, Debug)]
enum Step {
    Wakeup,
    Pass(u32),
    LinkOpened,
    LinkClosed,
    DialFailed,
    LinkAlive,
    Shutdown,
    Challenge { impostor: bool },
    LoggedIn,
    Directory(Vec<u8>, u8),
    List(Vec<u8>, u8),
    Added(u8, u8),
    Removed(u8),
    Error(u8, bool),
    CtrlClose,
    Deliver(u8, u8, bool),
    Unsigned,
    Tell(u8, u16),
    All,
    AskList,
    Written(u8),
    DraftFailed(u8),
    Opened(u8),
    Whois(u8),
    Verify(u8, bool),
    Me(Option<bool>),
    OwnName(bool),
    SendFile(u8),
    FileRead(u8, u16),
    ChunksWritten(u8),
    Answer(u8, u8, u16),
    Offer(u8, u8, u16),
    Chunk(u8, u8, u8),
    FileEnd(u8, u8),
    Decide(u8, Option<u8>),
    Received(u8, u8),
    HelloAck,
    Registered,
    Password,
    WrongPassword,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Wakeup),
        3 => (0..20_000_u32).prop_map(Step::Pass),
        6 => Just(Step::LinkOpened),
        1 => Just(Step::LinkClosed),
        1 => Just(Step::DialFailed),
        1 => Just(Step::LinkAlive),
        6 => prop::bool::weighted(0.02).prop_map(|impostor| Step::Challenge { impostor }),
        6 => Just(Step::LoggedIn),
        6 => (prop::collection::vec(0..8_u8, 0..6), 1..3_u8).prop_map(|(users, pages)| Step::Directory(users, pages)),
        3 => (prop::collection::vec(0..8_u8, 0..6), 1..3_u8).prop_map(|(users, pages)| Step::List(users, pages)),
        3 => (0..8_u8, 0..3_u8).prop_map(|(user, key)| Step::Added(user, key)),
        2 => (0..8_u8).prop_map(Step::Removed),
        2 => (0..6_u8, any::<bool>()).prop_map(|(code, refers)| Step::Error(code, refers)),
        1 => Just(Step::CtrlClose),
        1 => Just(Step::Shutdown),
        4 => (0..8_u8, 0..8_u8, any::<bool>()).prop_map(|(from, text, public)| Step::Deliver(from, text, public)),
        1 => Just(Step::Unsigned),
        6 => (0..9_u8, 0..1500_u16).prop_map(|(to, len)| Step::Tell(to, len)),
        2 => Just(Step::All),
        2 => Just(Step::AskList),
        8 => any::<u8>().prop_map(Step::Written),
        1 => any::<u8>().prop_map(Step::DraftFailed),
        6 => any::<u8>().prop_map(Step::Opened),
        1 => (0..9_u8).prop_map(Step::Whois),
        1 => (0..9_u8, any::<bool>()).prop_map(|(user, verified)| Step::Verify(user, verified)),
        2 => prop::option::of(any::<bool>()).prop_map(Step::Me),
        2 => any::<bool>().prop_map(Step::OwnName),
        3 => (0..10_u8).prop_map(Step::SendFile),
        4 => (any::<u8>(), 0..20_000_u16).prop_map(|(which, size)| Step::FileRead(which, size)),
        6 => any::<u8>().prop_map(Step::ChunksWritten),
        5 => (any::<u8>(), 0..8_u8, 0..60_u16).prop_map(|(which, status, credit)| Step::Answer(which, status, credit)),
        4 => (0..8_u8, 0..3_u8, 0..9_000_u16).prop_map(|(from, file, size)| Step::Offer(from, file, size)),
        6 => (0..8_u8, 0..3_u8, 0..4_u8).prop_map(|(from, file, index)| Step::Chunk(from, file, index)),
        1 => (0..8_u8, 0..3_u8).prop_map(|(from, file)| Step::FileEnd(from, file)),
        4 => (0..3_u8, prop::option::of(0..6_u8)).prop_map(|(what, which)| Step::Decide(what, which)),
        4 => (0..6_u8, 0..3_u8).prop_map(|(which, what)| Step::Received(which, what)),
        4 => Just(Step::HelloAck),
        2 => Just(Step::Registered),
        2 => Just(Step::Password),
        1 => Just(Step::WrongPassword),
    ]
}

/// Single steps, and now and then a whole new session, so that runs get far.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = vec![
        Step::LinkClosed,
        Step::Pass(60_000),
        Step::LinkOpened,
        Step::Challenge { impostor: false },
        Step::LoggedIn,
        Step::Directory(vec![1, 2, 3], 1),
    ];
    let at_seed = vec![
        Step::LinkClosed,
        Step::Pass(60_000),
        Step::LinkOpened,
        Step::Password,
        Step::HelloAck,
        Step::HelloAck,
        Step::LoggedIn,
        Step::List(vec![1, 2, 3], 1),
    ];
    let some = prop_oneof![24 => step().prop_map(|step| vec![step]), 2 => Just(session), 1 => Just(at_seed)];
    prop::collection::vec(some, 1..100).prop_map(|steps| steps.concat())
}

/// The driver's side of a run: what it was asked to do and has not done.
#[derive(Default)]
struct Border {
    drafts: Vec<Draft>,
    sealed: Vec<SealedMessage>,
    commands: u64,
    reading: Vec<SourceId>,
    /// Of each: its transfer, to whom, and the `file_id`.
    offers: Vec<(TransferId, String, Box<str>)>,
    runs: Vec<ChunkRun>,
}

/// The `file_id` of a file that a user offers, and what it is.
fn manifest(from: &str, file: u8, size: u64) -> FileStart {
    let start = FileStart {
        file_id: format!("file-{file}").into(),
        name: "x".into(),
        size,
        sha256: "00".repeat(32).into(),
        mode: "dm".into(),
        to: Some("user-0".into()),
        sender: Some(user(from)),
        ts: Some(Timestamp(1)),
        sender_pub: None,
        content_sig: None,
    };
    sign_manifest(start, &fake_key(from)).expect("fake keys do not fail")
}

fn run(steps: &[Step], dialect: Option<Dialect>) -> Vec<Vec<Action>> {
    let mut small = Config { dialect, ..config("user-0") };
    small.limits = Limits {
        users: 5,
        pinned_users: 6,
        queued_commands: 4,
        drafts_in_flight: 3,
        sent_references: 4,
        opens_in_flight: 2,
        received_messages: 4,
        strangers: 2,
        shown: 5,
        doubtful: 4,
        long_texts: 2,
        files_out: 3,
        files_out_per_user: 2,
        chunks_in_flight: 40,
        file_window: 8,
        blind_chunks: 20,
        files_in: 3,
        files_in_per_user: 2,
        kept_bytes: 4_096,
        ..small.limits
    };
    let limits = small.limits.clone();
    let mut scene = Scene::with(small, Snapshot::default());
    let mut border = Border::default();
    let id = |n: u8| format!("user-{n}");
    let page = |users: &[u8], pages: u8| Directory {
        users: users.iter().map(|n| entry(&id(*n), (n % 2 == 0).then_some("same"))).collect(),
        page: Some(1),
        pages: Some(u32::from(pages)),
    };
    let mut log = Vec::new();
    for step in steps {
        let actions = match step {
            Step::Wakeup => scene.handle(Event::Wakeup),
            Step::Pass(ms) => {
                scene.pass(Duration::from_millis(u64::from(*ms)));
                scene.handle(Event::Wakeup)
            }
            Step::LinkOpened => scene.handle(Event::LinkOpened),
            Step::LinkClosed => scene.lose_link(),
            Step::DialFailed => scene.handle(Event::DialFailed { why: "refused".into() }),
            Step::LinkAlive => scene.handle(Event::LinkAlive),
            Step::Shutdown => scene.handle(Event::Shutdown),
            Step::Challenge { impostor: true } => {
                let key = entry_with_key("x", None, "impostor").pubkey.expect("has a key");
                let challenge = LoginChallenge {
                    nonce: Nonce([1; 32]),
                    server_id: scene.server_id.clone(),
                    pubkey: key,
                    after: None,
                    client_nonce: None,
                };
                scene.receive(&Payload::LoginChallenge(challenge))
            }
            Step::Challenge { impostor: false } => scene.receive(&scene.challenge()),
            Step::LoggedIn => scene.receive(&scene.logged_in()),
            Step::Directory(users, pages) => scene.receive(&Payload::Directory(page(users, *pages))),
            Step::List(users, pages) => scene.receive(&Payload::ListResponse(page(users, *pages))),
            Step::Added(n, key) => scene.receive(&added(entry_with_key(&id(*n), None, &id(*key)))),
            Step::Removed(n) => scene.receive(&removed(&id(*n))),
            Step::Error(code, refers) => {
                let codes = [
                    ErrorCode::UserNotFound,
                    ErrorCode::Timeout,
                    ErrorCode::UnknownType,
                    ErrorCode::NameInUse,
                    ErrorCode::UserNotFound,
                    ErrorCode::Other("X".into()),
                ];
                let reference = border.drafts.last().filter(|_| *refers).map(|draft| {
                    let kind =
                        if draft.kind == MessageKind::Direct { "MSG_DIRECT" } else { "MSG_PUBLIC_CHANNEL" };
                    FrameRef { kind: kind.into(), to: None, ts: Some(draft.ts()) }
                });
                scene.receive(&error(codes[usize::from(*code)].clone(), "why", reference))
            }
            Step::CtrlClose => scene.receive_text(r#"{"type":"CTRL_CLOSE"}"#),
            Step::Deliver(from, text, public) => {
                let kind = if *public { MessageKind::Public } else { MessageKind::Direct };
                let ts = 1_800_000_000_000 + u64::from(*text);
                let mut draft = scene.draft_from(&id(*from), kind, &text.to_string(), ts);
                // Some are parts of long texts.
                let place = |index| Part { id: "long".into(), index, total: 3 };
                draft.part = text.checked_sub(5).map(|index| place(u32::from(index)));
                let message = scene.deliver(&draft, &fake_key(&id(*from)));
                let payload =
                    if *public { Payload::MsgPublicChannel(message) } else { Payload::UserDeliver(message) };
                scene.receive(&payload)
            }
            Step::Unsigned => {
                scene.receive_text(r#"{"type":"USER_REMOVED","from":"srv","payload":{"user_id":"user-1"}}"#)
            }
            Step::Tell(to, len) => {
                border.commands += 1;
                scene.tell(border.commands, &id(*to), &"x".repeat(usize::from(*len)))
            }
            Step::All => {
                border.commands += 1;
                scene.command(border.commands, Command::All { text: "hello".into() })
            }
            Step::AskList => {
                border.commands += 1;
                scene.command(border.commands, Command::List)
            }
            Step::Written(n) | Step::DraftFailed(n) if border.drafts.is_empty() => {
                scene.handle(Event::Written(DraftId(u64::from(*n))))
            }
            Step::Written(n) => {
                let draft = border.drafts.remove(usize::from(*n) % border.drafts.len());
                scene.handle(Event::Written(draft.id))
            }
            Step::DraftFailed(n) => {
                let draft = border.drafts.remove(usize::from(*n) % border.drafts.len());
                scene.handle(Event::DraftFailed(draft.id, CryptoError::Provider))
            }
            Step::Opened(_) if border.sealed.is_empty() => Vec::new(),
            Step::Opened(n) => {
                let sealed = border.sealed.remove(usize::from(*n) % border.sealed.len());
                let opened = sealed.open(&scene.own, &Fake);
                scene.handle(Event::Opened(opened))
            }
            Step::Whois(user) => {
                border.commands += 1;
                scene.command(border.commands, Command::Whois { user: id(*user).into() })
            }
            Step::Verify(user, verified) => {
                border.commands += 1;
                let (user, verified) = (id(*user).into(), *verified);
                scene.command(border.commands, Command::Verify { user, verified })
            }
            Step::Me(name) => {
                border.commands += 1;
                let value = |one: bool| Some(if one { "one" } else { "two" }.into());
                let change = name.map(|one| MetaChange { field: MetaField::DisplayName, value: value(one) });
                scene.command(border.commands, Command::Me(change))
            }
            Step::OwnName(one) => {
                scene.receive(&added(entry("user-0", Some(if *one { "one" } else { "two" }))))
            }
            Step::SendFile(to) => {
                border.commands += 1;
                let to = if *to == 9 { "public".into() } else { id(*to).into() };
                let path = "/x".into();
                scene.command(border.commands, Command::File(FileCommand::Send { to, path }))
            }
            Step::FileRead(n, size) if !border.reading.is_empty() => {
                let source = border.reading.remove(usize::from(*n) % border.reading.len());
                let info = FileInfo { size: u64::from(*size), sha256: [0; 32] };
                let result = if n % 8 == 0 { Err("gone".into()) } else { Ok(info) };
                scene.handle(Event::File(FileEvent::Read { source, result }))
            }
            Step::ChunksWritten(n) if !border.runs.is_empty() => {
                let run = border.runs.remove(usize::from(*n) % border.runs.len());
                let (transfer, chunks) = (run.transfer(), run.chunks());
                scene.handle(Event::File(match n {
                    0..8 => FileEvent::SendFailed { transfer, why: "gone".into() },
                    8.. => FileEvent::Written { transfer, chunks },
                }))
            }
            Step::Answer(n, status, credit) if !border.offers.is_empty() => {
                let (transfer, from, file_id) = border.offers[usize::from(*n) % border.offers.len()].clone();
                let status = [
                    AckStatus::Waiting,
                    AckStatus::Ready,
                    AckStatus::Ready,
                    AckStatus::Done,
                    AckStatus::Refused,
                    AckStatus::Expired,
                    AckStatus::Failed,
                ]
                .get(usize::from(*status));
                match status {
                    None => scene.handle(Event::File(FileEvent::OfferWritten(transfer))),
                    Some(status) => {
                        let ack = Ack {
                            msg_ref: file_id,
                            to: Some("user-0".into()),
                            sender: Some(user(&from)),
                            ts: None,
                            status: Some(*status),
                            credit: Some(u64::from(*credit)),
                            detail: None,
                        };
                        scene.receive_from(&from, &Payload::Ack(ack))
                    }
                }
            }
            Step::FileRead(..) | Step::ChunksWritten(_) | Step::Answer(..) => Vec::new(),
            Step::Offer(from, file, size) => {
                let start = manifest(&id(*from), *file, u64::from(*size));
                scene.receive_from(&id(*from), &Payload::FileStart(start))
            }
            Step::Chunk(from, file, index) => {
                let chunk = FileChunk {
                    file_id: format!("file-{file}").into(),
                    index: u64::from(*index),
                    ciphertext: Binary::new(vec![0; 512]),
                    to: Some("user-0".into()),
                    sender: None,
                    ts: None,
                };
                scene.receive_from(&id(*from), &Payload::FileChunk(chunk))
            }
            Step::FileEnd(from, file) => {
                let file_id = format!("file-{file}").into();
                let end = FileEnd { file_id, to: None, sender: None, ts: None };
                scene.receive_from(&id(*from), &Payload::FileEnd(end))
            }
            Step::Decide(what, which) => {
                border.commands += 1;
                let which = which.map(|which| TransferId(u64::from(which)));
                let decision = match what {
                    0 => FileCommand::Accept(which),
                    1 => FileCommand::Reject(which),
                    2.. => FileCommand::Cancel(which),
                };
                scene.command(border.commands, Command::File(decision))
            }
            Step::Received(which, what) => {
                let transfer = TransferId(u64::from(*which));
                scene.handle(Event::File(match what {
                    0 => FileEvent::Opened { transfer, chunks: 1, bytes: 446 },
                    1 => FileEvent::Saved { transfer, path: "/x".into() },
                    2.. => FileEvent::ReceiveFailed { transfer, kind: FailureKind::System, why: "no".into() },
                }))
            }
            Step::HelloAck => scene.receive(&Payload::UserHelloAck(UserHelloAck { status: "ok".into() })),
            Step::Registered => {
                scene.receive(&Payload::UserRegistered(UserRegistered { user_id: user("user-0") }))
            }
            Step::Password => scene.handle(Event::Password),
            Step::WrongPassword if dialect.is_some() => scene.receive(&error(ErrorCode::BadKey, "", None)),
            Step::WrongPassword => Vec::new(),
        };
        observe(&scene, &limits, &mut border, &actions);
        log.push(actions);
        let actions = scene.handle(Event::Wakeup);
        observe(&scene, &limits, &mut border, &actions);
        log.push(actions);
        if let Some(deadline) = scene.client.poll_timeout() {
            assert!(deadline.at > scene.now.instant, "{} is due still", deadline.reason);
        }
    }
    log.push(scene.handle(Event::Shutdown));
    scene.pass(secs(10));
    let actions = scene.handle(Event::Wakeup);
    assert!(scene.client.is_stopped() && scene.client.poll_timeout().is_none());
    log.push(actions);
    log
}

fn observe(scene: &Scene, limits: &Limits, border: &mut Border, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Seal(draft) => border.drafts.push(draft.clone()),
            Action::Open(sealed) => border.sealed.push(sealed.clone()),
            Action::File(FileAction::Read { source, .. }) => border.reading.push(*source),
            Action::File(FileAction::Offer(offer)) => {
                let signed = offer.seal(&scene.own).expect("fake keys do not fail");
                let frame =
                    Frame::parse(signed.text().as_str(), usize::MAX).expect("our own frames are read");
                let Payload::FileStart(start) = frame.payload() else { panic!("{frame:?}") };
                border.offers.push((offer.transfer(), frame.to().as_str().to_owned(), start.file_id.clone()));
            }
            Action::File(FileAction::Seal(run)) => border.runs.push(run.clone()),
            _ => {}
        }
    }
    let [waiting, drafts, jobs, sent] = scene.client.outbox.sizes();
    assert!(waiting <= limits.queued_commands && drafts <= limits.drafts_in_flight);
    assert!(jobs <= limits.drafts_in_flight + 1 && sent <= limits.sent_references);
    assert!(scene.client.users().len() <= limits.users);
    assert!(scene.client.parts.len() <= limits.long_texts);
    assert!(scene.client.strangers.len() <= limits.strangers);
    let [natives, refused] = scene.client.files.memories();
    assert!(natives <= limits.users && refused <= 64);
    let [sending, out, incoming] = scene.client.files.sizes();
    assert!(sending <= limits.files_out && out <= limits.files_out);
    assert!(incoming <= limits.files_in && scene.client.files.in_flight() <= limits.chunks_in_flight);
    assert!(scene.client.inbox.len() <= limits.received_messages);
    let [shown, floors, doubtful] = scene.client.inbox.memory.sizes();
    assert!(shown <= limits.shown && floors <= limits.pinned_users + 1 && doubtful <= limits.doubtful);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events_keeps_the_contract(
        steps in steps(),
        dialect in prop::option::weighted(0.3, Just(Dialect::Seed)),
    ) {
        // Deadlines and bounds are checked on the way.
        let log = run(&steps, dialect);
        prop_assert_eq!(&log, &run(&steps, dialect), "same seed, same events, same actions");

        let mut ends = std::collections::BTreeMap::<u64, Vec<&str>>::new();
        for action in log.iter().flatten() {
            let Action::Notify(notice) = action else { continue };
            let Some(reference) = notice.ends() else { continue };
            let end = match notice {
                Notice::Sent { .. } => "sent",
                Notice::Failed { .. } => "failed",
                _ => "done",
            };
            ends.entry(reference).or_default().push(end);
        }
        let is_command = |step: &&Step| {
            let talk = matches!(step, Step::Tell(..) | Step::All | Step::AskList);
            let people = matches!(step, Step::Whois(_) | Step::Verify(..) | Step::Me(_));
            talk || people || matches!(step, Step::SendFile(_) | Step::Decide(..))
        };
        let commands = steps.iter().filter(is_command).count();
        prop_assert_eq!(ends.len(), commands, "each command ends");
        for ends in ends.values() {
            // A message that was sent may still be refused, one to everybody several times.
            let refused_later = ends[0] == "sent" && ends[1..].iter().all(|end| *end == "failed");
            prop_assert!(ends.len() == 1 || refused_later, "{:?}", ends);
        }
    }
}
