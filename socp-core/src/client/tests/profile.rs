//! What others see of us, and whom we know by which key.

use crate::wire::DirectoryEntry;

use super::*;

fn whois(user: &str) -> Command {
    Command::Whois { user: user.into() }
}

fn verify(user: &str, verified: bool) -> Command {
    Command::Verify { user: user.into(), verified }
}

fn change(field: MetaField, value: Option<&str>) -> Command {
    Command::Me(Some(MetaChange { field, value: value.map(Into::into) }))
}

fn name(name: &str) -> Command {
    change(MetaField::DisplayName, Some(name))
}

/// Who a notice says somebody is.
fn person(actions: &[Action]) -> UserDetails {
    match notices(actions)[..] {
        [Notice::Whois { user, .. } | Notice::Verified { user, .. }] => (**user).clone(),
        _ => panic!("{actions:?}"),
    }
}

fn alice() -> Scene {
    let own = Config { meta: Meta::named("alice"), ..config("alice-id") };
    let mut scene = Scene::with(own, Snapshot::default());
    scene.log_in(vec![entry("bob-id", Some("bob"))]);
    scene
}

/// The `meta` of the hello that is sent.
fn hello(actions: &[Action]) -> Option<String> {
    let sent = actions.iter().find_map(|action| match action {
        Action::Send(frame) if *frame.kind() == FrameType::UserHello => Some(frame),
        _ => None,
    });
    let hello: serde_json::Value = serde_json::from_str(sent?.payload().canonical()).expect("JSON");
    Some(hello["meta"].to_string())
}

#[test]
fn whois_tells_all_that_is_known_of_a_key() {
    let mut scene = alice();
    let derived = UserId::from(crate::wire::Id::derived_from(&public("carol")));
    scene.receive(&added(entry_with_key(derived.as_str(), Some("carol"), "carol")));
    let bob = person(&scene.command(1, whois("bob")));
    let expected = UserDetails {
        user_id: user("bob-id"),
        label: "bob".into(),
        online: true,
        server_id: None,
        online_local: true,
        key: public("bob-id").id(),
        derived: false,
        since: Some(Timestamp(START)),
        verified: None,
        rotations: 0,
        vouched: false,
        own: false,
        meta: None,
    };
    assert_eq!(bob, expected);
    assert!(person(&scene.command(2, whois("carol"))).derived);
    let own = person(&scene.command(3, whois("alice")));
    assert_eq!((own.user_id, own.key, own.online), (user("alice-id"), public("alice-id").id(), true));
    assert!(person(&scene.command(4, whois("alice-id"))).own);
    // Who has gone is known by the last name and by id.
    scene.receive(&removed("bob-id"));
    assert!(!person(&scene.command(5, whois("bob"))).online);
    assert!(!person(&scene.command(6, whois("bob-id"))).online);
    let nobody = failed(7, ErrorCode::UserNotFound, "nobody was ever met who is called robert");
    assert_eq!(scene.command(7, whois("robert")), [nobody]);
}

#[test]
fn whois_tells_what_others_say_of_themselves_while_there_is_room() {
    let mut own = config("alice-id");
    let told = |name: &str| -> Meta {
        let told = format!(r#"{{"display_name":"{name}","extras":{{"a":[1]}},"pronouns":"they/them"}}"#);
        serde_json::from_str(&told).expect("an object")
    };
    own.limits.metas_bytes = told("bob").as_str().len() + 10;
    let mut scene = Scene::with(own, Snapshot::default());
    let says = |id: &str, name: &str| DirectoryEntry { meta: Some(told(name)), ..entry(id, None) };
    scene.log_in(vec![says("bob-id", "bob"), entry("carol-id", Some("carol"))]);
    assert_eq!(person(&scene.command(1, whois("bob"))).meta, Some(told("bob")));
    assert_eq!(person(&scene.command(2, whois("carol"))).meta, None, "the name stands there anyway");
    scene.receive(&added(says("dave-id", "dave")));
    assert_eq!(person(&scene.command(3, whois("dave"))).meta, None, "there is no room");
    scene.receive(&removed("bob-id"));
    scene.receive(&added(says("dave-id", "dave")));
    assert_eq!(person(&scene.command(4, whois("dave"))).meta, Some(told("dave")));
}

#[test]
fn a_verified_key_stays_so_across_restarts_until_it_changes() {
    let mut scene = alice();
    let derived = UserId::from(crate::wire::Id::derived_from(&public("real")));
    let derived = derived.as_str();
    scene.receive(&added(entry_with_key(derived, Some("carol"), "fake")));
    scene.pass(secs(5));
    let actions = scene.command(1, verify("carol", true));
    let at = Some(Timestamp(START + 5_000));
    assert_eq!(person(&actions).verified, at);
    let pin = actions.iter().find_map(|action| match action {
        Action::Persist(Record::UserPin(pin)) => Some(pin.clone()),
        _ => None,
    });
    let pin = pin.expect("durable");
    assert_eq!((pin.verified, pin.since), (at, Some(Timestamp(START))));

    let users = vec![pin];
    let mut scene = Scene::with(config("alice-id"), Snapshot { users, ..Snapshot::default() });
    scene.log_in(vec![entry_with_key(derived, Some("carol"), "fake")]);
    assert_eq!(person(&scene.command(1, whois("carol"))).verified, at);
    let actions = scene.receive(&added(entry_with_key(derived, Some("carol"), "real")));
    assert!(
        matches!(notices(&actions)[..], [Notice::KeyChanged { was_verified: true, .. }]),
        "the change is said, and what was thought: {actions:?}"
    );
    let without_mark = actions
        .iter()
        .any(|action| matches!(action, Action::Persist(Record::UserPin(pin)) if pin.verified.is_none()));
    assert!(without_mark, "{actions:?}");
    assert_eq!(person(&scene.command(2, whois("carol"))).verified, None);

    scene.command(3, verify("carol", true));
    assert_eq!(person(&scene.command(4, verify("carol", false))).verified, None);
    let oneself = failed(5, ErrorCode::Other("BAD_COMMAND".into()), "that is you");
    assert_eq!(scene.command(5, verify("alice-id", true)), [oneself]);
}

#[test]
fn a_new_name_is_ours_once_the_server_has_told_everybody() {
    let mut scene = alice();
    let actions = scene.command(1, name(" Alice B. "));
    assert_eq!(hello(&actions).as_deref(), Some(r#"{"display_name":"Alice B."}"#));
    assert_eq!(notices(&actions).len(), 0);
    assert_eq!(&*scene.client.label_of(&user("alice-id")), "alice", "not yet");
    // What the server tells of somebody else, or of an older name, is no answer.
    assert_eq!(scene.receive(&added(entry("alice-id", Some("alice")))), []);
    let meta = Meta::named("Alice B.");
    assert_eq!(
        scene.receive(&added(entry("alice-id", Some("Alice B.")))),
        [
            Action::Persist(Record::Meta(meta.clone())),
            Action::Notify(Notice::Me { reference: 1, meta: meta.clone() }),
        ]
    );
    assert_eq!(&*scene.client.label_of(&user("alice-id")), "Alice B.");
    assert_eq!(
        scene.command(3, Command::Me(None)),
        [Action::Notify(Notice::Me { reference: 3, meta: meta.clone() })]
    );
    // The next login brings it, also that of another run.
    scene.lose_link();
    assert_eq!(hello(&scene.log_in(vec![])).as_deref(), Some(meta.as_str()));
    let mut again =
        Scene::with(config("alice-id"), Snapshot { meta: Some(meta.clone()), ..Snapshot::default() });
    assert_eq!(hello(&again.log_in(vec![])).as_deref(), Some(meta.as_str()));
}

#[test]
fn a_change_that_the_server_does_not_take_fails_and_one_without_a_session_waits_for_it() {
    let mut scene = alice();
    let actions = scene.command(1, name("eve"));
    let Some(ts) = actions.iter().find_map(|action| match action {
        Action::Send(frame) => Some(frame.ts()),
        _ => None,
    }) else {
        panic!("{actions:?}")
    };
    let reference = FrameRef { kind: "USER_HELLO".into(), to: None, ts: Some(ts) };
    let refusal = error(ErrorCode::Timeout, "changed too often", Some(reference));
    assert_eq!(
        scene.receive(&refusal),
        [failed(1, ErrorCode::Timeout, "changed too often (try again in a minute)")]
    );
    assert_eq!(&*scene.client.label_of(&user("alice-id")), "alice");

    scene.command(2, name("eve"));
    scene.pass(secs(15));
    let late = failed(2, ErrorCode::Timeout, "the server did not answer");
    assert!(scene.handle(Event::LinkAlive).contains(&late));

    scene.command(3, name("Alice B."));
    let actions = scene.lose_link();
    assert!(notices(&actions).iter().any(|notice| matches!(notice, Notice::Me { reference: 3, .. })));
    let actions = scene.command(4, change(MetaField::Age, Some("42")));
    assert!(notices(&actions).iter().any(|notice| matches!(notice, Notice::Me { reference: 4, .. })));
    let expected = r#"{"age":42,"display_name":"Alice B."}"#;
    assert_eq!(hello(&scene.log_in(vec![])).as_deref(), Some(expected));
}

#[test]
fn fields_are_what_the_standard_says() {
    let mut scene = alice();
    for (field, value, why) in [
        (MetaField::DisplayName, "  ", "a name is not blank"),
        (MetaField::DisplayName, "a\nb", "it may not hold control characters"),
        (MetaField::Age, "old", "an age is a number of years"),
        (MetaField::Age, "-1", "an age is a number of years"),
        (MetaField::AvatarUrl, "javascript:x", "a picture's address starts with https:// or http://"),
        (MetaField::Extras, "[1]", "extras are a JSON object"),
        (MetaField::Extras, r#"{"a":1,"a":2}"#, "extras are a JSON object"),
    ] {
        let refused = failed(1, ErrorCode::Other("BAD_COMMAND".into()), why);
        assert_eq!(scene.command(1, change(field, Some(value))), [refused]);
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(4_096));
    let refused =
        failed(1, ErrorCode::Other("BAD_COMMAND".into()), "what others see of you has at most 4096 bytes");
    assert_eq!(scene.command(1, change(MetaField::Extras, Some(&long))), [refused]);
    let long = failed(1, ErrorCode::Other("BAD_COMMAND".into()), "a name has at most 256 bytes");
    assert_eq!(scene.command(1, name(&"x".repeat(257))), [long]);

    scene.lose_link();
    let mut last = Vec::new();
    for (field, value) in [
        (MetaField::Extras, Some(r#"{ "b": [1], "a": null }"#)),
        (MetaField::Pronouns, Some("she/her")),
        (MetaField::AvatarUrl, Some("https://a.example/x.png")),
        (MetaField::DisplayName, None),
    ] {
        last = scene.command(1, change(field, value));
    }
    let [Notice::Me { meta, .. }] = notices(&last)[..] else { panic!("{last:?}") };
    let expected =
        r#"{"avatar_url":"https://a.example/x.png","extras":{"a":null,"b":[1]},"pronouns":"she/her"}"#;
    assert_eq!(meta.as_str(), expected);
}

#[test]
fn others_are_told_of_by_their_new_names() {
    let mut scene = alice();
    let renamed = |was: &str, label: &str| {
        let (was, label) = (was.into(), label.into());
        Action::Notify(Notice::UserRenamed { user_id: user("bob-id"), was, label })
    };
    let pin = |name: &str| pinned_as("bob-id", "bob-id", name);
    let robert = scene.receive(&added(entry("bob-id", Some("robert"))));
    assert_eq!(robert, [pin("robert"), renamed("bob", "robert")]);
    assert_eq!(scene.receive(&added(entry("bob-id", Some("robert")))), []);
    // Who takes somebody's name does not pass for that somebody.
    let alice = scene.receive(&added(entry("bob-id", Some("alice"))));
    assert_eq!(alice, [pin("alice"), renamed("robert", "alice~bob-")]);
    scene.lose_link();
    let actions = scene.log_in(vec![entry("bob-id", Some("bob"))]);
    assert!(actions.contains(&renamed("alice~bob-", "bob")), "also what happened meanwhile");
}

/// A script changes field after field: each command ends well, and the server hears of the rest at once.
#[test]
fn changes_that_come_meanwhile_wait_and_the_last_one_of_a_field_counts() {
    let mut scene = alice();
    scene.command(1, name("Alice B."));
    assert_eq!(scene.command(2, change(MetaField::Pronouns, Some("he/him"))), []);
    assert_eq!(scene.command(3, change(MetaField::Age, Some("7"))), []);
    assert_eq!(scene.command(4, change(MetaField::Pronouns, Some("she/her"))), []);
    let told = |text: &str| {
        let meta = Some(serde_json::from_str(text).expect("an object"));
        added(DirectoryEntry { meta, ..entry("alice-id", None) })
    };
    let actions = scene.receive(&told(r#"{"display_name":"Alice B."}"#));
    let rest = r#"{"age":7,"display_name":"Alice B.","pronouns":"she/her"}"#;
    assert_eq!(hello(&actions).as_deref(), Some(rest));
    let done = |actions: &[Action]| -> Vec<Option<u64>> {
        notices(actions).into_iter().map(|notice| notice.ends()).collect()
    };
    assert_eq!(done(&actions), [Some(1)]);
    let actions = scene.receive(&told(rest));
    assert_eq!(done(&actions), [Some(2), Some(3), Some(4)]);

    // Without a session the next one brings them.
    scene.command(5, name("A"));
    scene.command(6, name("B"));
    assert_eq!(done(&scene.lose_link())[..2], [Some(5), Some(6)]);
    let hello = hello(&scene.log_in(vec![])).expect("a hello");
    assert!(hello.contains(r#""display_name":"B""#), "{hello}");

    // They are bounded, and none is forgotten at the end.
    for reference in 10..=1_010 {
        scene.command(reference, name(&format!("name {reference}")));
    }
    let full = failed(1_011, ErrorCode::Timeout, "1000 changes are waiting already");
    assert_eq!(scene.command(1_011, name("one more")), [full]);
    scene.handle(Event::Shutdown);
    scene.pass(secs(10));
    assert_eq!(done(&scene.handle(Event::Wakeup)).into_iter().flatten().count(), 1_001);
}
