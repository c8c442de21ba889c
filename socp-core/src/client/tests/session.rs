//! Login, loss and return, and quitting.

use super::*;

// ── Login ──

#[test]
fn the_first_login_pins_the_server_and_learns_who_is_online() {
    let mut scene = Scene::new("alice");
    let address = scene.client.config.address.clone();
    assert_eq!(scene.wake(), [Action::Dial(address.clone())]);

    let [Action::Send(hello)] = &scene.handle(Event::LinkOpened)[..] else { panic!("a hello") };
    assert_eq!((hello.kind(), hello.to().as_str()), (&FrameType::UserHello, "127.0.0.1:9000"));
    assert!(hello.payload().canonical().contains(r#""auth":["pss"]"#));

    let (server_id, key) = (scene.server_id.clone(), scene.server_key());
    let server = ServerPin { address, server_id, key, echoes: false };
    let answer = scene.receive(&scene.challenge());
    let [Action::Persist(Record::ServerPin(pin)), Action::Send(proof)] = &answer[..] else {
        panic!("{answer:?}")
    };
    assert_eq!(*pin, server);
    assert_eq!((proof.kind(), proof.to().as_str()), (&FrameType::LoginProof, "srv"));
    assert!(
        proof
            .payload()
            .canonical()
            .starts_with(r#"{"host":"127.0.0.1:9000","issued_at":1800000000000,"nonce":"#)
    );

    assert_eq!(scene.receive(&scene.logged_in()), []);
    let page = |page, users| Payload::Directory(Directory { users, page: Some(page), pages: Some(2) });
    assert_eq!(
        scene.receive(&page(1, vec![entry("bob-id", Some("bob"))])),
        [pinned_as("bob-id", "bob-id", "bob"), user_added("bob-id", "bob")]
    );
    assert!(!scene.client.is_ready());
    let ready = ready(&scene, true);
    assert_eq!(
        scene.receive(&page(2, vec![entry("carol", None)])),
        [pinned("carol", "carol"), user_added("carol", "carol"), ready]
    );
    assert_eq!(scene.client.server(), Some((&server.server_id, &server.key)));
    let labels: Vec<_> = scene.client.users().into_iter().map(|user| user.label).collect();
    assert_eq!(labels, ["bob".into(), "carol".into()]);
}

#[test]
fn another_server_at_a_pinned_address_ends_it_for_good() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![]);
    scene.lose_link();
    scene.wake();
    scene.handle(Event::LinkOpened);
    let was = ServerPin {
        address: scene.client.config.address.clone(),
        server_id: scene.server_id.clone(),
        key: scene.server_key(),
        echoes: false,
    };
    scene.server = fake_key("impostor");
    let now = ServerPin { key: scene.server_key(), ..was.clone() };
    assert_eq!(
        scene.receive(&scene.challenge()),
        [
            Action::Notify(Notice::ServerChanged { was, now }),
            Action::Close { code: close_code::NORMAL, reason: "another server answers at this address" },
            Action::Notify(Notice::Stopped),
        ]
    );
    assert_eq!(scene.client.poll_timeout(), None);
}

impl Scene {
    /// From the next dial to our hello; gives its nonce.
    fn dial(&mut self) -> String {
        self.wake();
        let [Action::Send(hello)] = &self.handle(Event::LinkOpened)[..] else { panic!("a hello") };
        let hello: serde_json::Value = serde_json::from_str(hello.payload().canonical()).expect("JSON");
        hello["nonce"].as_str().expect("a nonce").into()
    }
}

/// What a server signed once can be played back by anybody who recorded it.
#[test]
fn a_server_that_has_shown_to_be_no_recording_must_show_it_each_time() {
    let mut scene = Scene::new("alice");
    let nonce = scene.dial();
    let pin = ServerPin {
        address: scene.client.config.address.clone(),
        server_id: scene.server_id.clone(),
        key: scene.server_key(),
        echoes: true,
    };
    let recorded = scene.fresh_challenge();
    let answer = scene.receive(&recorded);
    assert_eq!(answer[0], Action::Persist(Record::ServerPin(pin.clone())));
    assert_eq!(sent_types(&answer), [&FrameType::LoginProof]);
    scene.receive(&scene.logged_in());
    scene.receive(&directory(vec![]));
    assert!(scene.client.is_ready());
    // One that renews our attestation follows on a fresh one.
    scene.pass(secs(20));
    assert_eq!(sent_types(&scene.receive(&scene.challenge())), [&FrameType::LoginProof]);

    scene.lose_link();
    assert_ne!(scene.dial(), nonce, "each link has its own");
    assert_eq!(sent_types(&scene.receive(&scene.fresh_challenge())), [&FrameType::LoginProof]);
    scene.receive(&scene.logged_in());

    let refused = [
        Action::Notify(Notice::ServerNotFresh { server: pin.clone() }),
        Action::Close { code: close_code::NORMAL, reason: "the server's answer is not fresh" },
        Action::Notify(Notice::Stopped),
    ];
    let snapshot = Snapshot { servers: vec![pin], ..Snapshot::default() };
    let played_back = [
        recorded,
        scene.challenge(),
        scene.logged_in(),
        Payload::UserHelloAck(crate::wire::UserHelloAck { status: "ok".into() }),
    ];
    for payload in played_back {
        // With other chance than in the recorded run.
        let mut restarted = Scene::with(Config { seed: [8; 32], ..config("alice") }, snapshot.clone());
        restarted.dial();
        assert_eq!(restarted.receive(&payload), refused);
        assert_eq!(restarted.client.poll_timeout(), None);
    }
}

#[test]
fn a_challenge_for_another_hello_pins_nothing() {
    let mut scene = Scene::new("alice");
    scene.dial();
    let Payload::LoginChallenge(challenge) = scene.challenge() else { panic!("it is one") };
    let other = LoginChallenge { client_nonce: Some(Nonce([1; 32])), ..challenge };
    let actions = scene.receive(&Payload::LoginChallenge(other));
    assert!(matches!(actions[0], Action::Notify(Notice::ServerNotFresh { .. })), "{actions:?}");
    assert_eq!(scene.client.server(), None);
}

/// A server that was pinned before it knew of nonces.
#[test]
fn a_server_that_begins_to_show_it_is_remembered_for_it() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![]);
    scene.lose_link();
    scene.dial();
    let answer = scene.receive(&scene.fresh_challenge());
    assert!(matches!(&answer[0], Action::Persist(Record::ServerPin(pin)) if pin.echoes), "{answer:?}");
}

#[test]
fn a_challenge_signed_by_another_key_than_it_names_is_dropped() {
    let mut scene = Scene::new("alice");
    scene.wake();
    scene.handle(Event::LinkOpened);
    let honest = scene.challenge();
    scene.server = fake_key("impostor");
    let detail = "INVALID_SIG: sig does not hold";
    assert_eq!(scene.receive(&honest), [told_dropped("a bad frame", detail)]);
}

#[test]
fn a_server_without_challenge_and_directory_is_asked_for_its_list() {
    let mut scene = Scene::new("alice");
    scene.wake();
    scene.handle(Event::LinkOpened);
    assert_eq!(scene.receive(&scene.logged_in()), []);
    let bare = Payload::UserAdded(entry("bob", None));
    assert_eq!(scene.receive(&bare), [pinned("bob", "bob"), user_added("bob", "bob")]);
    assert_eq!(scene.client.poll_timeout().map(|deadline| deadline.at - scene.now.instant), Some(secs(2)));
    assert_eq!(sent_types(&scene.wake()), [&FrameType::ListRequest]);
    let list = Directory { users: vec![entry("alice", None), entry("bob", None)], page: None, pages: None };
    let ready = ready(&scene, false);
    assert_eq!(scene.receive(&Payload::ListResponse(list)), [ready]);
}

#[test]
fn once_a_key_is_pinned_an_unsigned_server_is_not_believed() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![]);
    scene.lose_link();
    scene.wake();
    scene.handle(Event::LinkOpened);
    let text = r#"{"type":"USER_LOGGED_IN","from":"srv","to":"alice","ts":1800000000000,"payload":{"user_id":"alice"}}"#;
    assert_eq!(scene.receive_text(text), [told_dropped("a bad frame", "INVALID_SIG: not signed")]);
    let text = r#"{"type":"ERROR","from":"srv","ts":1800000000000,"payload":{"code":"BAD_KEY"}}"#;
    assert_eq!(scene.receive_text(text), [told_dropped("a bad frame", "INVALID_SIG: not signed")]);
    let actions = scene.wake();
    assert_eq!(actions, [Action::Close { code: close_code::NORMAL, reason: "the login took too long" }]);
}

#[test]
fn a_refused_login_is_tried_again_unless_the_key_is_bad() {
    let mut scene = Scene::new("alice");
    scene.wake();
    scene.handle(Event::LinkOpened);
    let refusal = error(ErrorCode::NameInUse, "already here", None);
    let refused = |code, detail: &str, retrying| {
        Action::Notify(Notice::LoginRefused { code, detail: detail.into(), retrying })
    };
    let close = Action::Close { code: close_code::NORMAL, reason: "the login was refused" };
    assert_eq!(scene.receive(&refusal), [refused(ErrorCode::NameInUse, "already here", true), close.clone()]);
    scene.wake();
    scene.handle(Event::LinkOpened);
    assert_eq!(scene.receive(&refusal), std::slice::from_ref(&close), "told once");
    scene.wake();
    scene.handle(Event::LinkOpened);
    let refusal = error(ErrorCode::BadKey, "another key is pinned\u{1b}", None);
    assert_eq!(
        scene.receive(&refusal),
        [
            refused(ErrorCode::BadKey, "another key is pinned\\u{1b}", false),
            close,
            Action::Notify(Notice::Stopped)
        ]
    );
}

#[test]
fn a_login_that_takes_too_long_is_given_up() {
    let mut scene = Scene::new("alice");
    scene.wake();
    scene.handle(Event::LinkOpened);
    scene.receive(&scene.challenge());
    scene.pass(secs(15));
    let actions = scene.handle(Event::Wakeup);
    assert_eq!(actions[0], Action::Close { code: close_code::NORMAL, reason: "the login took too long" });
}

#[test]
fn a_renewed_challenge_is_answered_but_not_one_after_the_other() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![]);
    assert_eq!(scene.receive(&scene.challenge()), [told_dropped("a challenge too soon after the last", "")]);
    scene.pass(secs(5));
    assert_eq!(sent_types(&scene.receive(&scene.challenge())), [&FrameType::LoginProof]);
    assert_eq!(scene.receive(&scene.logged_in()), []);
    assert!(scene.client.is_ready());
}

#[test]
fn a_login_elsewhere_ends_the_session_for_good() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![]);
    let actions = scene.receive(&error(ErrorCode::NameInUse, "moved", None));
    assert_eq!(
        actions,
        [
            Action::Notify(Notice::Replaced { detail: "moved".into() }),
            Action::Close { code: close_code::NORMAL, reason: "logged in elsewhere" },
            Action::Notify(Notice::Stopped),
        ]
    );
    assert_eq!(scene.tell(1, "bob", "hi"), [failed(1, ErrorCode::Timeout, "the client has stopped")]);
}

// ── Loss and return ──

#[test]
fn it_comes_back_by_itself_and_tells_only_what_changed() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None), entry("carol", None)]);
    let lost = Action::Notify(Notice::Disconnected { reason: "reset".into() });
    assert_eq!(scene.lose_link(), [lost]);
    let mut slowest = Duration::ZERO;
    for attempt in 0..10 {
        let wait =
            scene.client.poll_timeout().map(|deadline| deadline.at - scene.now.instant).expect("a redial");
        assert!(attempt > 0 || wait <= secs(1), "the first is quick");
        assert!((Duration::from_millis(500)..=secs(60)).contains(&wait));
        slowest = slowest.max(wait);
        assert_eq!(scene.wake(), [Action::Dial(scene.client.config.address.clone())]);
        assert_eq!(scene.handle(Event::DialFailed { why: "refused".into() }), [], "told once");
    }
    assert!(slowest >= secs(30));

    let told = scene.log_in(vec![entry("carol", None), entry("dave", None)]);
    let told: Vec<_> = told.into_iter().filter(|action| matches!(action, Action::Notify(_))).collect();
    assert_eq!(told, [user_added("dave", "dave"), Action::Notify(Notice::Reconnected)]);
    assert!(scene.client.label_of(&user("bob")).as_ref() == "bob" && scene.client.users().len() == 3);

    scene.pass(secs(29));
    assert_eq!(scene.receive(&Payload::Heartbeat(Empty {})), [Action::Ping]);
    scene.pass(secs(1));
    assert_eq!(scene.handle(Event::Wakeup), [user_removed("bob")]);
}

#[test]
fn who_returns_within_the_grace_time_was_never_away() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    scene.lose_link();
    scene.log_in(vec![]);
    scene.pass(secs(10));
    assert_eq!(scene.receive(&added(entry("bob", None))), []);
    scene.pass(secs(20));
    assert_eq!(scene.handle(Event::Wakeup), [Action::Ping]);
    assert_eq!(scene.client.users().len(), 1);
}

#[test]
fn silence_ends_a_link_and_pongs_keep_it() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![]);
    for _ in 0..10 {
        assert_eq!(scene.wake(), [Action::Ping]);
        assert_eq!(scene.handle(Event::LinkAlive), []);
    }
    assert_eq!(scene.wake(), [Action::Ping]);
    assert_eq!(scene.wake(), [Action::Ping]);
    let actions = scene.wake();
    assert_eq!(actions[0], Action::Close { code: close_code::NORMAL, reason: "the server has gone silent" });
    assert_eq!(scene.wake(), [Action::Dial(scene.client.config.address.clone())]);
}

// ── Quitting ──

#[test]
fn quitting_writes_what_is_under_way_and_says_goodbye() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let actions = scene.tell(1, "bob", "bye");
    let id = drafts(&actions)[0].id;
    assert_eq!(scene.handle(Event::Shutdown), []);
    assert_eq!(scene.tell(2, "bob", "hi"), [failed(2, ErrorCode::Timeout, "the client is quitting")]);
    let actions = scene.handle(Event::Written(id));
    let [first, Action::Send(goodbye), close, stopped] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*first, sent(1, "bob"));
    assert_eq!(*goodbye.kind(), FrameType::CtrlClose);
    assert_eq!(*close, Action::Close { code: close_code::NORMAL, reason: "the user quits" });
    assert_eq!(*stopped, Action::Notify(Notice::Stopped));
}

#[test]
fn quitting_offline_fails_what_is_queued() {
    let mut scene = Scene::new("alice");
    scene.tell(1, "bob", "hi");
    scene.handle(Event::DialFailed { why: "refused".into() });
    let stopped = Action::Notify(Notice::Stopped);
    assert_eq!(scene.handle(Event::Shutdown), [failed(1, ErrorCode::Timeout, "not connected"), stopped]);
    assert_eq!(scene.client.poll_timeout(), None);
}

#[test]
fn quitting_during_the_login_waits_for_it_a_while() {
    let mut scene = Scene::new("alice");
    scene.tell(1, "bob", "hi");
    assert_eq!(scene.handle(Event::Shutdown), []);
    scene.handle(Event::LinkOpened);
    scene.receive(&scene.challenge());
    scene.pass(secs(10));
    let actions = scene.handle(Event::Wakeup);
    assert_eq!(
        actions[1..],
        [failed(1, ErrorCode::Timeout, "the user quits"), Action::Notify(Notice::Stopped)]
    );
}
