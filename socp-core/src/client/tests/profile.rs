//! What others see of us, and whom we know by which key.

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
    };
    assert_eq!(bob, expected);
    assert!(person(&scene.command(2, whois("carol"))).derived);
    let own = person(&scene.command(3, whois("alice")));
    assert_eq!((own.user_id, own.key, own.online), (user("alice-id"), public("alice-id").id(), true));
    // Who has gone is known by id.
    scene.receive(&removed("bob-id"));
    let nobody = failed(4, ErrorCode::UserNotFound, "nobody online is called bob");
    assert_eq!(scene.command(4, whois("bob")), [nobody]);
    assert!(!person(&scene.command(5, whois("bob-id"))).online);
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
    assert!(actions.contains(&pinned(derived, "real")), "without the mark");
    assert_eq!(person(&scene.command(2, whois("carol"))).verified, None);

    scene.command(3, verify("carol", true));
    assert_eq!(person(&scene.command(4, verify("carol", false))).verified, None);
    let oneself = failed(5, ErrorCode::UserNotFound, "that is you");
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
    let other = failed(2, ErrorCode::UnknownType, "another change is under way");
    assert_eq!(scene.command(2, name("x")), [other]);
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
        (MetaField::DisplayName, "a\nb", "there are no control characters in it"),
        (MetaField::Age, "old", "an age is a number of years"),
        (MetaField::Age, "-1", "an age is a number of years"),
        (MetaField::AvatarUrl, "javascript:x", "a picture's address starts with https:// or http://"),
        (MetaField::Extras, "[1]", "extras are a JSON object"),
        (MetaField::Extras, r#"{"a":1,"a":2}"#, "extras are a JSON object"),
    ] {
        let refused = failed(1, ErrorCode::UnknownType, why);
        assert_eq!(scene.command(1, change(field, Some(value))), [refused]);
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(4_096));
    let refused = failed(1, ErrorCode::UnknownType, "what others see of you has at most 4096 bytes");
    assert_eq!(scene.command(1, change(MetaField::Extras, Some(&long))), [refused]);
    let long = failed(1, ErrorCode::UnknownType, "a name has at most 256 bytes");
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
    assert_eq!(scene.receive(&added(entry("bob-id", Some("robert")))), [renamed("bob", "robert")]);
    assert_eq!(scene.receive(&added(entry("bob-id", Some("robert")))), []);
    // Who takes somebody's name does not pass for that somebody.
    assert_eq!(scene.receive(&added(entry("bob-id", Some("alice")))), [renamed("robert", "alice~bob-")]);
    scene.lose_link();
    let actions = scene.log_in(vec![entry("bob-id", Some("bob"))]);
    assert!(actions.contains(&renamed("alice~bob-", "bob")), "also what happened meanwhile");
}
