//! Received messages.

use super::*;

fn message(from: &str, kind: MessageKind, text: &str, verified: Result<(), Doubt>, ts: u64) -> Notice {
    let label = from.into();
    Notice::Message { kind, from: user(from), label, text: text.into(), verified, ts: Timestamp(ts) }
}

/// A session with bob, whose message `change` alters on its way.
fn receive_from(
    from: &str,
    kind: MessageKind,
    change: impl FnOnce(&mut Message),
) -> (Scene, Payload, Vec<Action>) {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let draft = scene.draft_from(from, kind, "hi\u{202e}", 1_800_000_000_500);
    let mut message = scene.deliver(&draft, &fake_key(from));
    change(&mut message);
    let payload = match kind {
        MessageKind::Direct => Payload::UserDeliver(message),
        MessageKind::Public => Payload::MsgPublicChannel(message),
    };
    let actions = scene.receive(&payload);
    let actions = scene.open(&actions);
    (scene, payload, actions)
}

#[test]
fn a_message_is_shown_once_with_its_sender_proven() {
    for kind in [MessageKind::Direct, MessageKind::Public] {
        let (mut scene, payload, actions) = receive_from("bob", kind, |_| {});
        assert_eq!(notices(&actions), [&message("bob", kind, "hi\u{202e}", Ok(()), 1_800_000_000_500)]);
        let repeat = told_dropped("message was shown before", "bob");
        assert_eq!(scene.receive(&payload), *std::slice::from_ref(&repeat));
        let mut restarted = Scene::with(config("alice"), remembered(&actions));
        restarted.log_in(vec![entry("bob", None)]);
        assert_eq!(restarted.receive(&payload), [repeat], "across restarts");
    }
}

#[test]
fn what_does_not_prove_its_sender_is_shown_with_the_reason() {
    let other = public("eve");
    type Spoil = fn(&mut Message, PublicKey);
    let cases: [(&str, Spoil, Doubt); 5] = [
        ("bob", |message, _| message.content_sig = None, Doubt::NoSignature),
        ("bob", |message, _| message.ts = Some(Timestamp(1_800_000_000_501)), Doubt::BadSignature),
        ("bob", |message, eve| message.sender_pub = Some(eve.into()), Doubt::OtherKey),
        ("eve", |_, _| {}, Doubt::UnknownSender),
        // In our own name, too.
        ("eve", |message, _| message.sender = Some(user("alice")), Doubt::OtherKey),
    ];
    for (from, change, doubt) in cases {
        let (_, _, actions) =
            receive_from(from, MessageKind::Direct, |message| change(message, other.clone()));
        let shown = notices(&actions);
        assert!(
            matches!(shown[..], [Notice::Message { verified: Err(why), .. }] if *why == doubt),
            "{shown:?}"
        );
    }
    let (_, _, actions) = receive_from("eve", MessageKind::Direct, |message| {
        message.sender = Some(user("bob"));
        message.sender_pub = None;
    });
    let [Notice::Message { verified, .. }] = notices(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!(*verified, Err(Doubt::BadSignature));
}

#[test]
fn an_altered_twin_does_not_shadow_the_real_message() {
    let real = Timestamp(1_800_000_000_500);
    let (mut scene, _, actions) =
        receive_from("bob", MessageKind::Direct, |message| message.ts = Some(Timestamp(real.0 + 1)));
    assert_eq!(notices(&actions).len(), 1);
    let draft = scene.draft_from("bob", MessageKind::Direct, "hi\u{202e}", real.0);
    let payload = Payload::UserDeliver(scene.deliver(&draft, &fake_key("bob")));
    let actions = scene.receive(&payload);
    let shown = scene.open(&actions);
    assert_eq!(notices(&shown), [&message("bob", MessageKind::Direct, "hi\u{202e}", Ok(()), real.0)]);
}

/// What versions before remembered is known by its signature as well, and is never forgotten.
#[test]
fn what_older_versions_have_shown_is_not_shown_again() {
    let scene = Scene::new("alice");
    let draft = scene.draft_from("bob", MessageKind::Direct, "hi", START);
    let message = scene.deliver(&draft, &fake_key("bob"));
    let before = shown::digest_before(&user("bob"), message.ciphertext.bytes(), message.content_sig.as_ref());
    let mut scene =
        Scene::with(config("alice"), Snapshot { shown_before: vec![before], ..Snapshot::default() });
    scene.log_in(vec![entry("bob", None)]);
    let repeat = told_dropped("message was shown before", "bob");
    assert_eq!(scene.receive(&Payload::UserDeliver(message)), [repeat]);
}

impl Scene {
    /// A message of somebody's arrives and is opened.
    fn hear(&mut self, from: &str, kind: MessageKind, text: &str, ts: u64) -> (Payload, Vec<Action>) {
        let draft = self.draft_from(from, kind, text, ts);
        let message = self.deliver(&draft, &fake_key(from));
        let payload = match kind {
            MessageKind::Direct => Payload::UserDeliver(message),
            MessageKind::Public => Payload::MsgPublicChannel(message),
        };
        let mut actions = self.receive(&payload);
        actions.extend(self.open(&actions.clone()));
        (payload, actions)
    }
}

/// Anybody can send any number of messages of their own, validly signed.
#[test]
fn a_flood_makes_nobody_elses_message_new_again_across_restarts() {
    for kind in [MessageKind::Direct, MessageKind::Public] {
        let mut small = config("alice");
        small.limits.shown = 8;
        let users = || {
            let flooders = (0..20).map(|n| entry(&format!("eve-{n}"), None));
            flooders.chain([entry("bob", None), entry("eve", None)]).collect::<Vec<_>>()
        };
        let mut scene = Scene::with(small.clone(), Snapshot::default());
        scene.log_in(users());
        let (recorded, mut kept) = scene.hear("bob", kind, "pay 5", START);
        assert_eq!(notices(&kept).len(), 1);
        for n in 0..50 {
            kept.extend(scene.hear("eve", kind, "spam", START + n).1);
        }
        let repeated = |actions: &[Action]| {
            let told = notices(actions);
            matches!(told[..], [Notice::Dropped { why: "message was shown before", .. }])
        };
        assert!(repeated(&scene.receive(&recorded)), "one of them loses their own");
        // As many authors as there is room for.
        for n in 0..20 {
            kept.extend(scene.hear(&format!("eve-{n}"), kind, "spam", START + 100 + n).1);
        }
        let replay = |scene: &mut Scene| {
            let actions = scene.receive(&recorded);
            let opened = scene.open(&actions);
            [actions, opened]
                .concat()
                .into_iter()
                .filter(|action| !matches!(action, Action::Open(_)))
                .collect()
        };
        let actions: Vec<_> = replay(&mut scene);
        assert!(repeated(&actions), "{actions:?}");
        let snapshot = remembered(&kept);
        assert!(snapshot.shown.len() <= 16, "the store's is as bounded");
        let mut restarted = Scene::with(small, snapshot);
        restarted.log_in(users());
        let actions: Vec<_> = replay(&mut restarted);
        assert!(repeated(&actions), "{actions:?}");
        // What is newer is new.
        assert_eq!(notices(&restarted.hear("bob", kind, "hi", START + 1).1).len(), 1);
    }
}

#[test]
fn what_proves_nothing_is_told_once_across_restarts_whatever_its_signature() {
    type Spoil = fn(&mut Message);
    let unsigned: Spoil = |message| message.content_sig = None;
    let junk: Spoil = |message| message.content_sig = Some(crate::wire::Binary::new(vec![1; 512]));
    let unreadable: Spoil = |message| message.ciphertext = crate::wire::Binary::new(vec![1; 512]);
    let no_block: Spoil = |message| message.ciphertext = crate::wire::Binary::new(vec![1; 511]);
    for spoil in [unsigned, junk, unreadable, no_block] {
        let (mut scene, payload, mut actions) = receive_from("bob", MessageKind::Direct, spoil);
        let (Payload::UserDeliver(message) | Payload::MsgPublicChannel(message)) = &payload else { panic!() };
        if actions.is_empty() {
            // Nothing was to be opened.
            let mut other = Scene::new("alice");
            other.log_in(vec![entry("bob", None)]);
            actions = other.receive(&payload);
        }
        assert_eq!(notices(&actions).len(), 1, "{actions:?}");
        let mut restarted = Scene::with(config("alice"), remembered(&actions));
        restarted.log_in(vec![entry("bob", None)]);
        for scene in [&mut scene, &mut restarted] {
            for respoil in [|_: &mut Message| {}, unsigned, junk] {
                let mut again = message.clone();
                respoil(&mut again);
                let mut actions = scene.receive(&Payload::UserDeliver(again));
                actions.extend(scene.open(&actions.clone()));
                let told = notices(&actions);
                assert!(
                    matches!(told[..], [Notice::Dropped { why: "message was shown before", .. }]),
                    "{actions:?}"
                );
            }
        }
    }
}

#[test]
fn a_proven_message_is_not_shown_again_with_a_junk_signature() {
    let (mut scene, payload, _) = receive_from("bob", MessageKind::Direct, |_| {});
    let Payload::UserDeliver(mut message) = payload else { panic!() };
    message.content_sig = None;
    let repeat = told_dropped("message was shown before", "bob");
    assert_eq!(scene.receive(&Payload::UserDeliver(message)), [repeat]);
}

#[test]
fn messages_are_shown_in_the_order_of_their_arrival() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let mut sealed = Vec::new();
    for n in 0..20 {
        let draft = scene.draft_from("bob", MessageKind::Direct, &n.to_string(), 1_800_000_000_000 + n);
        let payload = Payload::UserDeliver(scene.deliver(&draft, &fake_key("bob")));
        sealed.extend(scene.receive(&payload));
    }
    assert_eq!(sealed.len(), 16, "no more at once");
    let mut shown = Vec::new();
    while let Some(Action::Open(one)) = sealed.pop() {
        let opened = one.open(&scene.own, &Fake);
        for action in scene.handle(Event::Opened(opened)) {
            match action {
                Action::Notify(Notice::Message { text, .. }) => shown.push(text.to_string()),
                other => sealed.push(other),
            }
        }
        sealed.retain(|action| matches!(action, Action::Open(_)));
    }
    assert_eq!(shown, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_decrypted_is_told() {
    let (_, _, actions) = receive_from("bob", MessageKind::Direct, |message| {
        message.ciphertext = crate::wire::Binary::new(vec![1; 512]);
    });
    let detail = "message of bob: cannot be decrypted with this key".into();
    assert_eq!(notices(&actions), [&Notice::Failed { reference: None, code: ErrorCode::InvalidSig, detail }]);
}

#[test]
fn a_public_message_relayed_with_its_authors_own_text_is_shown() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let draft = scene.draft_from("bob", MessageKind::Public, "hi all", 1_800_000_000_500);
    let signed = draft.seal(&Fake, &fake_key("bob")).expect("fake keys do not fail");
    let actions = scene.receive_text(signed.text().as_str());
    let shown = scene.open(&actions);
    let expected = message("bob", MessageKind::Public, "hi all", Ok(()), 1_800_000_000_500);
    assert_eq!(notices(&shown), [&expected]);
    let forged = signed.text().as_str().replacen(r#""from":"bob""#, r#""from":"eve""#, 1);
    let why = "message in another name than its frame's";
    assert_eq!(scene.receive_text(&forged), [told_dropped(why, "bob")]);
}

#[test]
fn a_flood_of_messages_is_bounded() {
    let mut small = config("alice");
    small.limits.received_messages = 4;
    small.limits.opens_in_flight = 1;
    let mut scene = Scene::with(small, Snapshot::default());
    scene.log_in(vec![entry("bob", None)]);
    for n in 0..6 {
        let draft = scene.draft_from("bob", MessageKind::Direct, &n.to_string(), 1_800_000_000_000 + n);
        let payload = Payload::UserDeliver(scene.deliver(&draft, &fake_key("bob")));
        let actions = scene.receive(&payload);
        assert_eq!(scene.client.is_congested(), n > 0);
        let lost = actions.contains(&told_dropped("too many messages at once", "bob"));
        assert_eq!(lost, n >= 4);
    }
}
