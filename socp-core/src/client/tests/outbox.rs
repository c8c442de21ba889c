//! Commands and what becomes of them.

use super::*;

#[test]
fn commands_wait_for_the_session_and_each_ends_in_a_notice() {
    let mut scene = Scene::new("alice");
    assert_eq!(scene.tell(1, "bob", "early"), [Action::Dial(scene.client.config.address.clone())]);
    assert_eq!(scene.command(2, Command::All { text: "hello".into() }), []);
    scene.handle(Event::DialFailed { why: "refused".into() });
    let actions = scene.log_in(vec![entry("bob", None), entry("carol", None)]);
    let drafts = drafts(&actions);
    let seen: Vec<_> = drafts.iter().map(|draft| (draft.kind, draft.to.as_str(), draft.text())).collect();
    assert_eq!(
        seen,
        [
            (MessageKind::Direct, "bob", "early"),
            (MessageKind::Public, "bob", "hello"),
            (MessageKind::Public, "carol", "hello"),
        ]
    );
    assert!(drafts.is_sorted_by(|a, b| a.ts() < b.ts()), "no two share a time");
    assert_eq!(scene.handle(Event::Written(drafts[0].id)), [sent(1, "bob")]);
    assert_eq!(scene.handle(Event::Written(drafts[1].id)), []);
    let to = SentTo::Everyone { recipients: 2, failed: 0 };
    assert_eq!(
        scene.handle(Event::Written(drafts[2].id)),
        [Action::Notify(Notice::Sent { reference: 2, to })]
    );
}

fn own(code: &str) -> ErrorCode {
    ErrorCode::Other(code.into())
}

#[test]
fn commands_that_cannot_be_done_fail_at_once() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![]);
    let nobody = failed(1, ErrorCode::UserNotFound, "nobody online is called bob");
    assert_eq!(scene.tell(1, "bob", "hi"), [nobody]);
    let alone = failed(2, ErrorCode::UserNotFound, "nobody else is online");
    assert_eq!(scene.command(2, Command::All { text: "hi".into() }), [alone]);
    assert_eq!(scene.tell(3, "bob", ""), [failed(3, own("BAD_COMMAND"), "the text is empty")]);
    let long = "x".repeat(16 * 446 + 1);
    let why = "this text has 7137 bytes, and at most 7136 go as one: send it as a file";
    assert_eq!(scene.tell(4, "bob", &long), [failed(4, own("TOO_LONG"), why)]);
}

#[test]
fn a_long_text_goes_as_several_messages_of_which_the_last_signs_all() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let text = "é".repeat(300);
    let actions = scene.tell(1, "bob", &text);
    let drafts = drafts(&actions);
    // In any order: what the last part needs of the others is made once.
    let last = message_of(drafts[1], &scene.own);
    let first = message_of(drafts[0], &scene.own);
    let parts = [&first, &last].map(|message| message.part.clone().expect("a part"));
    assert_eq!((parts[0].index, parts[1].index, parts[0].total), (0, 1, 2));
    assert!(parts[0].id == parts[1].id && parts[0].id.len() == 36);
    assert_eq!(first.parts_sig, None);
    let sig = |message: &Message| message.content_sig.as_ref().expect("signed").bytes().to_vec();
    let all = [sig(&first), sig(&last)].concat();
    let signature = last.parts_sig.as_ref().expect("signed").bytes();
    let own_key = &scene.client.config.key;
    assert!(crate::crypto::Verifier::verify(&Fake, own_key, &all, signature, SaltLength::Digest));
    assert_eq!(drafts.iter().map(|draft| draft.text().len()).collect::<Vec<_>>(), [446, 154]);
    assert_eq!(scene.handle(Event::Written(drafts[0].id)), []);
    assert_eq!(scene.handle(Event::Written(drafts[1].id)), [sent(1, "bob")]);
}

#[test]
fn parts_that_a_lost_link_swallowed_are_sealed_again_and_signed_together_with_the_others() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let actions = scene.tell(1, "bob", &"x".repeat(3 * 446));
    let before: Vec<Draft> = drafts(&actions).into_iter().cloned().collect();
    let first = message_of(&before[0], &scene.own);
    scene.handle(Event::Written(before[0].id));
    scene.lose_link();
    let actions = scene.log_in(vec![entry("bob", None)]);
    let again = drafts(&actions);
    let messages: Vec<_> = again.iter().map(|draft| message_of(draft, &scene.own)).collect();
    let places = |message: &Message| message.part.clone().map(|part| (part.id, part.index));
    let id = first.part.clone().expect("a part").id;
    let expected = [Some((id.clone(), 1)), Some((id, 2))];
    assert_eq!(messages.iter().map(places).collect::<Vec<_>>(), expected);
    let all: Vec<_> = [&first, &messages[0], &messages[1]]
        .iter()
        .flat_map(|message| message.content_sig.as_ref().expect("signed").bytes().to_vec())
        .collect();
    let signature = messages[1].parts_sig.as_ref().expect("signed").bytes();
    let own_key = &scene.client.config.key;
    assert!(crate::crypto::Verifier::verify(&Fake, own_key, &all, signature, SaltLength::Digest));
    assert_eq!(scene.handle(Event::Written(again[0].id)), []);
    assert_eq!(scene.handle(Event::Written(again[1].id)), [sent(1, "bob")]);
}

#[test]
fn too_many_waiting_commands_are_refused() {
    let mut scene = Scene::new("alice");
    for reference in 0..1_000 {
        scene.tell(reference, "bob", "hi");
    }
    let full = failed(1_000, ErrorCode::Timeout, "1000 commands are waiting already");
    assert_eq!(scene.tell(1_000, "bob", "hi"), [full]);
}

#[test]
fn the_servers_error_finds_its_message() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let actions = scene.tell(1, "bob", "hi");
    let draft = drafts(&actions)[0].clone();
    let reference = FrameRef { kind: "MSG_DIRECT".into(), to: Some("bob".into()), ts: Some(draft.ts()) };
    let refusal = error(ErrorCode::Timeout, "server unreachable", Some(reference.clone()));
    assert_eq!(scene.handle(Event::Written(draft.id)), [sent(1, "bob")]);
    assert_eq!(
        scene.receive(&refusal),
        [failed(1, ErrorCode::Timeout, "bob: server unreachable (try again in a minute)")]
    );

    let actions = scene.tell(2, "bob", "hi");
    let draft = drafts(&actions)[0].clone();
    let refusal =
        error(ErrorCode::UserNotFound, "gone", Some(FrameRef { ts: Some(draft.ts()), ..reference }));
    assert_eq!(
        scene.receive(&refusal),
        [failed(2, ErrorCode::UserNotFound, "gone (see who is online, and write again)")],
        "even before `Written`"
    );
    assert_eq!(scene.handle(Event::Written(draft.id)), []);
}

#[test]
fn drafts_of_a_lost_link_are_sealed_again_but_never_doubled() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let mut ids = Vec::new();
    for reference in 1..=3 {
        let actions = scene.tell(reference, "bob", "hi");
        ids.extend(drafts(&actions).iter().map(|draft| (draft.id, draft.ts())));
    }
    assert_eq!(scene.handle(Event::Written(ids[0].0)), [sent(1, "bob")]);
    scene.lose_link();
    assert_eq!(scene.handle(Event::Written(ids[1].0)), [sent(2, "bob")], "late, but it was on the socket");
    let actions = scene.log_in(vec![entry("bob", None)]);
    let [again] = drafts(&actions)[..] else { panic!("{actions:?}") };
    assert!(again.id != ids[2].0 && again.ts() > ids[2].1, "a new time, so a new signature");
    assert_eq!(scene.handle(Event::Written(again.id)), [sent(3, "bob")]);
    assert!(scene.client.outbox.is_idle());
}

/// A server that stands still takes what we write into its buffers and loses it with the link.
#[test]
fn what_was_written_after_the_last_sign_of_life_is_in_doubt_when_the_link_breaks() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None), entry("carol", None)]);
    let write = |scene: &mut Scene, reference, command| {
        scene.pass(secs(1));
        let actions = scene.command(reference, command);
        for draft in drafts(&actions) {
            scene.handle(Event::Written(draft.id));
        }
    };
    let tell = |text: &str| Command::Tell { to: "bob".into(), text: text.into() };
    write(&mut scene, 1, tell("this arrives"));
    scene.pass(secs(1));
    scene.handle(Event::LinkAlive);
    write(&mut scene, 2, tell(&"x".repeat(1_000)));
    write(&mut scene, 3, Command::All { text: "does this?".into() });
    let in_doubt = |actions: &[Action]| -> Vec<(Option<u64>, String)> {
        let doubt = |notice: &&Notice| matches!(notice, Notice::Failed { .. });
        let failures = notices(actions).into_iter().filter(doubt).cloned();
        failures
            .filter_map(|notice| match notice {
                Notice::Failed { reference, code: ErrorCode::Timeout, detail } => {
                    Some((reference, detail.into()))
                }
                _ => None,
            })
            .collect()
    };
    let mut told = Vec::new();
    while told.is_empty() {
        told = in_doubt(&scene.wake());
    }
    let why = |whose: &str| {
        format!("{whose} may not have arrived: the link broke before the server was heard again")
    };
    assert_eq!(told, [(Some(2), why("your message to bob")), (Some(3), why("your message to all"))]);
    // A link that breaks right after a word of the server casts no doubt.
    scene.log_in(vec![entry("bob", None)]);
    write(&mut scene, 1, tell("this arrives"));
    scene.pass(secs(1));
    scene.handle(Event::LinkAlive);
    assert_eq!(in_doubt(&scene.lose_link()), []);
}

#[test]
fn what_cannot_be_sealed_fails() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None), entry("carol", None)]);
    let actions = scene.command(1, Command::All { text: "hi".into() });
    let ids: Vec<_> = drafts(&actions).iter().map(|draft| draft.id).collect();
    scene.handle(Event::DraftFailed(ids[0], CryptoError::Provider));
    let to = SentTo::Everyone { recipients: 1, failed: 1 };
    assert_eq!(scene.handle(Event::Written(ids[1])), [Action::Notify(Notice::Sent { reference: 1, to })]);
    let actions = scene.tell(2, "bob", "hi");
    let id = drafts(&actions)[0].id;
    let why = "the cryptography provider failed";
    assert_eq!(
        scene.handle(Event::DraftFailed(id, CryptoError::Provider)),
        [failed(2, ErrorCode::BadKey, why)]
    );
}

#[test]
fn the_border_is_never_flooded_with_drafts() {
    let mut scene = Scene::new("alice");
    scene.log_in((0..200).map(|n| entry(&format!("user-{n:03}"), None)).collect());
    let actions = scene.command(1, Command::All { text: "hi".into() });
    let mut open: Vec<_> = drafts(&actions).iter().map(|draft| draft.id).collect();
    assert_eq!(open.len(), 64);
    let mut written = 0;
    while let Some(id) = open.pop() {
        let actions = scene.handle(Event::Written(id));
        written += 1;
        open.extend(drafts(&actions).iter().map(|draft| draft.id));
        if open.is_empty() {
            let to = SentTo::Everyone { recipients: 200, failed: 0 };
            assert_eq!(actions, [Action::Notify(Notice::Sent { reference: 1, to })]);
        }
    }
    assert_eq!(written, 200);
}

#[test]
fn the_list_is_by_label_and_holds_ourselves() {
    let mut scene = Scene::new("mallory");
    scene.log_in(vec![entry("zoe-id", Some("anna"))]);
    assert_eq!(sent_types(&scene.command(1, Command::List)), [&FrameType::ListRequest]);
    assert_eq!(scene.command(2, Command::List), [], "one question serves both");
    let page = |page, users| Payload::ListResponse(Directory { users, page: Some(page), pages: Some(2) });
    scene.receive(&page(1, vec![entry("mallory", None), entry("zoe-id", None)]));
    let actions = scene.receive(&page(2, vec![entry("bob", None)]));
    let lists = notices(&actions).into_iter().filter_map(|notice| match notice {
        Notice::List { reference, users } => Some((reference, users)),
        _ => None,
    });
    for (number, (reference, users)) in lists.enumerate() {
        assert_eq!(*reference, number as u64 + 1);
        let labels: Vec<_> = users.iter().map(|user| &*user.label).collect();
        assert_eq!(labels, ["anna", "bob", "mallory"]);
    }
    scene.command(3, Command::List);
    scene.lose_link();
    let actions = scene.log_in(vec![]);
    assert!(sent_types(&actions).contains(&&FrameType::ListRequest), "asked again");
    let timed_out = failed(3, ErrorCode::Timeout, "the server did not answer");
    scene.pass(secs(15));
    assert!(scene.handle(Event::Wakeup).contains(&timed_out));
}
