//! At servers of the seed's dialect.

use super::*;
use crate::wire::{
    Binary, DirectoryEntry, FileChunk, FileEnd, FileStart, Payload, UserHelloAck, UserRegistered, UserRemoved,
};

/// Somebody who is called alice there, and has a password if nothing else is said.
fn person(dialect: Option<Dialect>, password: bool) -> Scene {
    let seed_id = Some(user("alice"));
    Scene::with(Config { dialect, seed_id, password, ..config("alice-id") }, Snapshot::default())
}

fn ack() -> Payload {
    Payload::UserHelloAck(UserHelloAck { status: "ok".into() })
}

fn list(users: &[&str]) -> Payload {
    let entry = |id: &&str| entry(id, None);
    Payload::ListResponse(Directory { users: users.iter().map(entry).collect(), page: None, pages: None })
}

fn connect(scene: &mut Scene) -> Vec<Action> {
    let mut actions = scene.wake();
    actions.extend(scene.handle(Event::LinkOpened));
    actions
}

/// A session with these users there besides us.
fn at_seed(users: &[&str]) -> Scene {
    let mut scene = person(Some(Dialect::Seed), true);
    log_in(&mut scene, users);
    scene
}

fn log_in(scene: &mut Scene, users: &[&str]) -> Vec<Action> {
    connect(scene);
    let [Action::Password(frame)] = &scene.receive(&ack())[..] else { panic!("a login") };
    assert!(!frame.registers());
    let asked = scene.receive(&scene.logged_in());
    assert_eq!(sent_types(&asked), [&FrameType::ListRequest], "at once");
    let actions = scene.receive(&list(users));
    assert!(scene.client.is_ready());
    actions
}

fn told(actions: &[Action]) -> Vec<&PasswordNotice> {
    let told = notices(actions).into_iter().filter_map(|notice| match notice {
        Notice::Password(told) => Some(told),
        _ => None,
    });
    told.collect()
}

// ── Login ──

#[test]
fn it_says_hello_as_the_seeds_clients_do_and_registers_who_is_new() {
    let mut scene = person(Some(Dialect::Seed), true);
    let actions = connect(&mut scene);
    let [Action::Dial(_), Action::Send(hello)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((hello.kind(), hello.to().as_str()), (&FrameType::UserHello, ""));
    let said = hello.payload().canonical();
    assert!(said.starts_with(r#"{"client":"test","enc_pubkey":"#) && !said.contains("auth"), "{said}");
    let signed = hello.sign(&scene.own).expect("fake keys do not fail");
    let frame = Frame::parse(signed.text().as_str(), usize::MAX).expect("our own frames are read");
    assert_eq!(frame.from().map(|from| from.as_str()), Some("alice"));
    let sig = frame.sig().expect("signed").bytes();
    assert!(Fake.verify(&public("alice-id"), frame.payload_canonical().as_bytes(), sig, SaltLength::Max));

    assert_eq!(scene.receive(&ack()).len(), 1);
    let unknown = scene.receive(&error(ErrorCode::UserNotFound, "no such user", None));
    let [Action::Password(registration)] = &unknown[..] else { panic!("{unknown:?}") };
    assert!(registration.registers());
    let text = registration.registration(Registration { privkey_store: "s", pake_password: "p" });
    assert!(text.as_str().contains(r#""pake_password":"p","privkey_store":"s","pubkey":"#));
    assert!(!text.as_str().contains(r#""sig""#));

    let registered = scene.receive(&Payload::UserRegistered(UserRegistered { user_id: user("alice") }));
    assert_eq!(told(&registered), [&PasswordNotice::Registered { user_id: user("alice") }]);
    let Some(Action::Password(login)) = registered.last() else { panic!("{registered:?}") };
    let text = login.login("pässword");
    assert!(text.as_str().ends_with(r#""payload":{"password":"pässword","user_id":"alice"}}"#), "{text:?}");

    // Not for ever.
    let again = scene.receive(&error(ErrorCode::UserNotFound, "no such user", None));
    assert!(matches!(&again[0], Action::Notify(Notice::LoginRefused { retrying: true, .. })), "{again:?}");
}

#[test]
fn a_seed_is_found_out_by_its_answer_to_our_hello() {
    let mut scene = person(None, true);
    connect(&mut scene);
    let found = scene.receive(&ack());
    assert_eq!(told(&found), [&PasswordNotice::Found { user_id: user("alice") }]);
    assert_eq!(sent_types(&found), [&FrameType::UserHello]);
    assert_eq!(scene.client.user_id(), &user("alice"));
    assert!(matches!(scene.receive(&ack())[..], [Action::Password(_)]));
    scene.receive(&scene.logged_in());
    assert_eq!(scene.receive(&list(&["alice"])), [ready(&scene, false)]);

    // The next time it is tried anew, and told no more.
    scene.lose_link();
    connect(&mut scene);
    assert_eq!(scene.client.user_id(), &user("alice-id"));
    let found = scene.receive(&ack());
    assert_eq!((told(&found), sent_types(&found)), (vec![], vec![&FrameType::UserHello]));
}

#[test]
fn a_server_that_refuses_our_hello_or_says_nothing_is_tried_as_a_seed() {
    let mut scene = person(None, true);
    connect(&mut scene);
    let actions = scene.receive(&error(ErrorCode::UnknownType, "auth?", None));
    assert_eq!(sent_types(&actions), [&FrameType::UserHello]);

    let mut scene = person(None, true);
    connect(&mut scene);
    scene.pass(Duration::from_millis(7_500));
    assert_eq!(sent_types(&scene.handle(Event::Wakeup)), [&FrameType::UserHello]);
    let given_up = scene.wake();
    assert_eq!(given_up[0], Action::Close { code: close_code::NORMAL, reason: "the login took too long" });
}

#[test]
fn a_server_that_wants_another_user_id_is_no_seed_and_is_not_tried_again() {
    let hello = FrameRef { kind: "USER_HELLO".into(), to: None, ts: None };
    for reference in [Some(hello), None] {
        let mut scene = person(None, true);
        connect(&mut scene);
        let refused = error(ErrorCode::UnknownType, "from is not a UUID v4", reference);
        let detail =
            "this server wants a UUID v4 as user id; the one that is made of your key is such an id".into();
        let expected = [
            Action::Notify(Notice::LoginRefused { code: ErrorCode::UnknownType, detail, retrying: false }),
            Action::Close { code: close_code::NORMAL, reason: "the login was refused" },
            Action::Notify(Notice::Stopped),
        ];
        assert_eq!(scene.receive(&refused), expected);
        assert_eq!(scene.client.poll_timeout(), None);
    }
}

#[test]
fn a_server_that_showed_a_key_is_never_taken_for_a_seed() {
    let mut scene = person(None, true);
    scene.log_in(vec![]);
    scene.lose_link();
    connect(&mut scene);
    let unsigned = r#"{"type":"USER_HELLO_ACK","from":"srv","payload":{"status":"ok"}}"#;
    assert_eq!(scene.receive_text(unsigned), [told_dropped("a bad frame", "INVALID_SIG: not signed")]);
    scene.pass(secs(8));
    assert_eq!(sent_types(&scene.handle(Event::Wakeup)), [&FrameType::UserHello; 0]);
    // Nor is any, if the user says so.
    let mut scene = person(Some(Dialect::Standard), true);
    connect(&mut scene);
    assert_eq!(scene.receive(&ack()), []);
}

#[test]
fn with_its_key_a_seed_is_believed_only_what_it_signed() {
    let server_key = Some(public("server"));
    let config = Config { seed_id: Some(user("alice")), password: true, server_key, ..config("alice-id") };
    let mut scene = Scene::with(config.clone(), Snapshot::default());
    connect(&mut scene);
    let unsigned = r#"{"type":"USER_HELLO_ACK","from":"srv","payload":{"status":"ok"}}"#;
    assert_eq!(scene.receive_text(unsigned), [told_dropped("a bad frame", "INVALID_SIG: not signed")]);
    scene.receive(&ack());
    scene.receive(&ack());
    let pin = ServerPin {
        address: config.address.clone(),
        server_id: scene.server_id.clone(),
        key: scene.server_key(),
        echoes: false,
    };
    assert_eq!(scene.receive(&scene.logged_in())[0], Action::Persist(Record::ServerPin(pin.clone())));
    assert_eq!(scene.receive(&list(&["alice"])), [ready(&scene, true)]);
    // Its own words about people lack what natives add.
    assert_eq!(scene.receive(&Payload::UserAdded(entry("bob", None))).len(), 2);

    // From then on it is known, and found out all the same.
    let snapshot = Snapshot { servers: vec![pin], ..Snapshot::default() };
    let mut scene = Scene::with(Config { server_key: None, ..config.clone() }, snapshot);
    connect(&mut scene);
    assert_eq!(told(&scene.receive(&ack())).len(), 1);

    // A native server that shows another key is not the one that is meant.
    let mut scene = Scene::with(Config { server_key: Some(public("other")), ..config }, Snapshot::default());
    connect(&mut scene);
    let refused = scene.receive(&scene.challenge());
    assert!(
        matches!(&refused[0], Action::Notify(Notice::LoginRefused { retrying: false, .. })),
        "{refused:?}"
    );
}

#[test]
fn without_a_password_or_with_a_wrong_one_nothing_is_tried_until_there_is_another() {
    let mut scene = person(Some(Dialect::Seed), false);
    let needed = |refused: Option<&str>| {
        let refused = refused.map(Into::into);
        Action::Notify(Notice::Password(PasswordNotice::Needed { user_id: user("alice"), refused }))
    };
    let close = Action::Close { code: close_code::NORMAL, reason: "the server wants a password" };
    connect(&mut scene);
    assert_eq!(scene.receive(&ack()), [close.clone(), needed(None)]);
    assert_eq!(scene.client.poll_timeout(), None);
    assert_eq!(scene.handle(Event::Password), []);
    connect(&mut scene);
    assert!(matches!(scene.receive(&ack())[..], [Action::Password(_)]));
    let refused = scene.receive(&error(ErrorCode::BadKey, "password invalid", None));
    assert_eq!(refused, [close, needed(Some("password invalid"))]);
    assert_eq!(scene.client.poll_timeout(), None);
    assert_eq!(
        scene.handle(Event::Shutdown),
        [Action::Notify(Notice::Stopped)],
        "who has no password may leave"
    );
}

// ── Who is there ──

#[test]
fn its_list_is_asked_for_and_is_the_whole_truth() {
    let mut scene = at_seed(&["alice", "bob", "carol"]);
    let remote = Payload::UserAdded(DirectoryEntry { online_local: Some(false), ..entry("dave", None) });
    assert_eq!(scene.receive(&remote), [pinned_now(&scene, "dave"), user_added("dave", "dave")]);
    let gone = Payload::UserRemoved(UserRemoved { user_id: user("dave"), event: None });
    assert_eq!(scene.receive(&gone), [user_removed("dave")]);

    let asked = scene.wake();
    assert_eq!((&asked[0], sent_types(&asked)), (&Action::Ping, vec![&FrameType::ListRequest]));
    scene.handle(Event::LinkAlive);
    let told = scene.receive(&list(&["alice", "carol", "erin"]));
    assert_eq!(told, [pinned_now(&scene, "erin"), user_added("erin", "erin"), user_removed("bob")]);
    // Nobody is told of a list that nobody typed.
    scene.pass(secs(15));
    assert_eq!(sent_types(&scene.handle(Event::Wakeup)), [&FrameType::ListRequest]);
    let actions = scene.command(1, Command::List);
    assert_eq!(actions, [], "one is under way");
    let listed = scene.receive(&list(&["alice", "carol", "erin"]));
    assert!(
        matches!(&listed[..], [Action::Notify(Notice::List { reference: 1, users })] if users.len() == 3)
    );
    // One that never comes holds nothing up.
    scene.pass(secs(15));
    scene.handle(Event::Wakeup);
    let actions = scene.handle(Event::Shutdown);
    assert_eq!(actions.last(), Some(&Action::Notify(Notice::Stopped)));
    assert_eq!(sent_types(&actions), [&FrameType::CtrlClose; 0], "it knows none");
}

fn pinned_now(scene: &Scene, id: &str) -> Action {
    Action::Persist(Record::UserPin(UserPin::new(&user(id), &public(id), Timestamp(scene.now.unix_ms))))
}

#[test]
fn a_message_of_somebody_unknown_waits_for_the_list() {
    let mut scene = at_seed(&["alice"]);
    let draft = |scene: &Scene, text: &str| {
        let draft = scene.draft_from("bob", MessageKind::Direct, text, START);
        Payload::UserDeliver(scene.deliver(&draft, &fake_key("bob")))
    };
    assert_eq!(scene.receive(&draft(&scene, "hi")), []);
    assert_eq!(scene.receive(&draft(&scene, "are you there?")), []);
    // It was asked a moment ago.
    scene.pass(secs(1));
    assert_eq!(sent_types(&scene.handle(Event::Wakeup)), [&FrameType::ListRequest]);
    let actions = scene.receive(&list(&["alice", "bob"]));
    let texts: Vec<_> = scene.open(&actions).into_iter().filter_map(shown).collect();
    assert_eq!(texts, [("hi".to_owned(), Ok(())), ("are you there?".to_owned(), Ok(()))]);

    // If the list knows nobody of that name, that is what it is.
    let stranger = scene.draft_from("mallory", MessageKind::Public, "psst", START);
    let stranger = Payload::MsgPublicChannel(scene.deliver(&stranger, &fake_key("mallory")));
    scene.receive(&stranger);
    scene.pass(secs(1));
    scene.handle(Event::Wakeup);
    let actions = scene.receive(&list(&["alice", "bob"]));
    let texts: Vec<_> = scene.open(&actions).into_iter().filter_map(shown).collect();
    assert_eq!(texts, [("psst".to_owned(), Err(Doubt::UnknownSender))]);
}

fn shown(action: Action) -> Option<(String, Result<(), Doubt>)> {
    match action {
        Action::Notify(Notice::Message { text, verified, .. }) => Some((text.to_string(), verified)),
        _ => None,
    }
}

// ── What is said ──

#[test]
fn messages_are_signed_with_the_longest_salt() {
    let mut scene = at_seed(&["alice", "bob"]);
    let actions = scene.tell(1, "bob", "hi");
    let signed = drafts(&actions)[0].seal(&Fake, &scene.own).expect("fake keys do not fail");
    let frame = Frame::parse(signed.text().as_str(), usize::MAX).expect("our own frames are read");
    let Payload::MsgDirect(message) = frame.payload() else { panic!("{frame:?}") };
    let own = public("alice-id");
    let holds = |message: &[u8], sig: &Binary, salt| Fake.verify(&own, message, sig.bytes(), salt);
    let sig = frame.sig().expect("signed");
    assert!(holds(frame.payload_canonical().as_bytes(), sig, SaltLength::Max));
    let content =
        [message.ciphertext.bytes(), format!("alicebob{}", drafts(&actions)[0].ts()).as_bytes()].concat();
    assert!(holds(&content, message.content_sig.as_ref().expect("signed"), SaltLength::Max));
}

#[test]
fn a_file_goes_without_waiting_for_words_that_cannot_come() {
    let mut scene = at_seed(&["alice", "bob"]);
    let path = "/x".into();
    let read = scene.command(1, Command::File(FileCommand::Send { to: "bob".into(), path }));
    let [Action::File(FileAction::Read { source, .. })] = &read[..] else { panic!("{read:?}") };
    let result = Ok(FileInfo { size: 1_000, sha256: [0; 32] });
    let offered = scene.handle(Event::File(FileEvent::Read { source: *source, result }));
    let Some(Action::File(FileAction::Offer(offer))) = offered.first() else { panic!("{offered:?}") };
    let sealing = scene.handle(Event::File(FileEvent::OfferWritten(offer.transfer())));
    let Some(Action::File(FileAction::Seal(run))) = sealing.last() else { panic!("{sealing:?}") };
    assert_eq!(run.chunks(), 3);
    let written = FileEvent::Written { transfer: run.transfer(), chunks: 3 };
    let done = scene.handle(Event::File(written));
    assert_eq!(sent_types(&done), [&FrameType::FileEnd]);
    assert!(notices(&done).iter().any(|notice| notice.ends() == Some(1)));
}

#[test]
fn a_file_of_nobody_in_particular_is_offered_as_that_and_never_taken_unasked() {
    let mut scene = person(Some(Dialect::Seed), true);
    scene.client.config.files = OfferPolicy::Accept;
    log_in(&mut scene, &["alice", "bob"]);
    let file_id: Box<str> = "file-1".into();
    let start = FileStart {
        file_id: file_id.clone(),
        name: "x".into(),
        size: 3,
        sha256: "00".repeat(32).into(),
        mode: "dm".into(),
        to: Some("alice".into()),
        sender: None,
        ts: None,
        sender_pub: None,
        content_sig: None,
    };
    let offered = scene.receive(&Payload::FileStartDeliver(start));
    let [
        Action::Persist(Record::Doubtful(_)),
        Action::File(FileAction::Expect(_)),
        Action::Notify(Notice::File(offer)),
    ] = &offered[..]
    else {
        panic!("{offered:?}")
    };
    let FileNotice::Offered { transfer, verified, accepted, .. } = offer else { panic!("{offer:?}") };
    assert_eq!((&*transfer.label, *accepted), ("somebody at srv", false));
    assert_eq!(*verified, Err(Doubt::UnknownSender));
    let ciphertext = Binary::new(vec![0; 512]);
    let (to, sender, ts) = (Some("alice".into()), None, None);
    let chunk = FileChunk { file_id: file_id.clone(), index: 0, ciphertext, to: to.clone(), sender, ts };
    let kept = scene.receive(&Payload::FileChunkDeliver(chunk));
    assert!(matches!(kept[..], [Action::File(FileAction::Keep { .. })]));
    let end = FileEnd { file_id, to, sender: None, ts: None };
    let ended = scene.receive(&Payload::FileEndDeliver(end));
    assert!(matches!(ended[..], [Action::File(FileAction::End(_))]));
    let taken = scene.command(1, Command::File(FileCommand::Accept(None)));
    assert_eq!(sent_types(&taken), [&FrameType::Ack; 0], "it knows none");
}
