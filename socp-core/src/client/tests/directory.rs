//! Pins and labels.

use super::*;

#[test]
fn the_first_pin_wins_unless_the_id_derives_from_the_key() {
    let mut scene = Scene::new("alice");
    let derived = UserId::from(crate::wire::Id::derived_from(&public("real")));
    let derived = derived.as_str();
    scene.log_in(vec![entry("bob", None), entry_with_key(derived, None, "fake")]);
    let (was, now) = (public("fake").id(), public("real").id());
    assert_eq!(
        scene.receive(&added(entry_with_key(derived, None, "real"))),
        [
            pinned(derived, "real"),
            Action::Notify(Notice::KeyChanged {
                user_id: user(derived),
                label: derived.into(),
                was,
                now,
                was_verified: false,
                signed: false,
            }),
        ]
    );
    let conflict = |id: &str, pinned: &str, seen: &str| {
        let (pinned, seen) = (Some(public(pinned).id()), Some(public(seen).id()));
        Action::Notify(Notice::KeyConflict { user_id: user(id), label: id.into(), pinned, seen })
    };
    let again = added(entry_with_key(derived, None, "fake"));
    assert_eq!(scene.receive(&again), [conflict(derived, "real", "fake")]);
    assert_eq!(scene.receive(&again), [], "told once");
    assert_eq!(scene.receive(&added(entry_with_key("bob", None, "eve"))), [conflict("bob", "bob", "eve")]);
    let of_server = UserKeyConflict {
        user_id: user("bob"),
        pubkey: public("mallory").into(),
        server_id: scene.server_id.clone(),
    };
    let of_server = Payload::UserKeyConflict(of_server);
    assert_eq!(scene.receive(&of_server), [conflict("bob", "bob", "mallory")]);
    let actions = scene.tell(1, "bob", "hi");
    assert_eq!(drafts(&actions)[0].key, public("bob"));
}

#[test]
fn pins_of_earlier_runs_hold() {
    let pin = UserPin::new(&user("bob"), &public("bob"), Timestamp(1));
    let users = vec![UserPin { since: None, ..pin }];
    let mut scene = Scene::with(config("alice"), Snapshot { users, ..Snapshot::default() });
    let actions = scene.log_in(vec![entry_with_key("bob", None, "eve")]);
    assert!(notices(&actions).iter().any(|notice| matches!(notice, Notice::KeyConflict { .. })));
    let actions = scene.tell(1, "bob", "hi");
    assert_eq!(drafts(&actions)[0].key, public("bob"));
}

#[test]
fn labels_are_names_that_nobody_else_could_mean() {
    let mut scene =
        Scene::with(Config { meta: Meta::named("alice"), ..config("alice-id") }, Snapshot::default());
    scene.log_in(vec![
        entry("4567aa", Some("bob")),
        entry("4567ab", Some("bob")),
        entry("9999ff", Some("bob")),
        entry("carol-id", Some("carol")),
        entry("evil-1", Some("alice")),
        entry("evil-2", Some("carol-id")),
        entry("evil-3", Some("bob~4567aa")),
        entry("evil-4", Some("b\u{202e}ob")),
        entry("nameless", None),
    ]);
    for (id, label) in [
        ("4567aa", "bob~4567aa"),
        ("4567ab", "bob~4567ab"),
        ("9999ff", "bob~9999"),
        ("carol-id", "carol"),
        ("alice-id", "alice~alic"),
        ("evil-1", "alice~evil"),
        ("evil-2", "carol-id~evil"),
        ("evil-3", "bob~4567aa~evil"),
        ("evil-4", "b\\u{202e}ob"),
        ("nameless", "nameless"),
        ("carol", "carol~unknown"),
    ] {
        assert_eq!(&*scene.client.label_of(&user(id)), label);
    }
    let mut to = |name: &str| {
        let actions = scene.tell(1, name, "hi");
        let draft = drafts(&actions).first().map(|draft| draft.to.to_string());
        draft.inspect(|_| {
            scene.handle(Event::Written(drafts(&actions)[0].id));
        })
    };
    for (name, id) in [
        ("bob~4567aa", Some("4567aa")),
        ("bob~9999", Some("9999ff")),
        ("bob~9999f", Some("9999ff")),
        ("bob~99", Some("9999ff")),
        ("bob~4567", None),
        ("bob", None),
        ("carol", Some("carol-id")),
        ("carol-id", Some("carol-id")),
        ("carol-id~evil", Some("evil-2")),
        ("b\\u{202e}ob", Some("evil-4")),
        ("nameless", Some("nameless")),
        ("4567ab", Some("4567ab")),
        ("alice", None),
        ("nobody", None),
    ] {
        assert_eq!(to(name).as_deref(), id, "{name}");
    }
    let ambiguous = "bob may be bob~4567aa or bob~4567ab or bob~9999";
    assert_eq!(scene.tell(2, "bob", "hi"), [failed(2, ErrorCode::UserNotFound, ambiguous)]);
    scene.receive(&removed("9999ff"));
    scene.receive(&removed("4567ab"));
    assert_eq!(&*scene.client.label_of(&user("4567aa")), "bob");
}

/// `echo "/tell jim hi" | socp-client`: its author has left before the text is open.
#[test]
fn who_has_left_keeps_the_name_but_passes_for_nobody_who_is_there() {
    let mut scene = Scene::new("jim");
    let (one, two) = ("15223843-a", "15229999-a");
    scene.log_in(vec![entry(one, Some("alice"))]);
    let draft = scene.draft_from(one, MessageKind::Direct, "hi", START);
    let message = scene.deliver(&draft, &fake_key(one));
    let arrived = scene.receive(&Payload::UserDeliver(message));
    scene.receive(&removed(one));
    let shown = scene.open(&arrived);
    let label = notices(&shown).into_iter().find_map(|notice| match notice {
        Notice::Message { label, .. } => Some(&**label),
        _ => None,
    });
    assert_eq!(label, Some("alice"));

    // Somebody else who comes by that name has it alone; the other one's gets a tail.
    scene.receive(&added(entry(two, Some("alice"))));
    assert_eq!(&*scene.client.label_of(&user(two)), "alice");
    assert_eq!(&*scene.client.label_of(&user(one)), "alice~15223");
    let whois = |scene: &mut Scene, name: &str| {
        let actions = scene.command(1, Command::Whois { user: name.into() });
        match notices(&actions)[..] {
            [Notice::Whois { user, .. }] => user.user_id.to_string(),
            [Notice::Failed { detail, .. }] => detail.to_string(),
            _ => panic!("{actions:?}"),
        }
    };
    assert_eq!(whois(&mut scene, "alice"), two, "who is there comes first");
    assert_eq!(whois(&mut scene, "alice~15223"), one);
    // Once both have left, both get one.
    scene.receive(&removed(two));
    assert_eq!(whois(&mut scene, "alice"), "alice may be alice~15223 or alice~15229");
    let nobody = failed(2, ErrorCode::UserNotFound, "nobody online is called alice~15223");
    assert_eq!(scene.tell(2, "alice~15223", "hi"), [nobody]);

    // A name may look like an id, or like a label.
    scene.receive(&added(entry("eve-id", Some("alice~15223"))));
    scene.receive(&removed("eve-id"));
    assert_eq!(&*scene.client.label_of(&user("eve-id")), "alice~15223~eve-");
}

const BOB: &str = "15223843-a";

/// Bob's fingerprint was compared, and he has left: in the same run, and in a run before.
fn without_verified_bob() -> [Scene; 2] {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry(BOB, Some("bob")), entry("carol-id", Some("carol"))]);
    scene.command(1, Command::Verify { user: "bob".into(), verified: true });
    let pin = scene.client.directory.pinned(&user(BOB)).cloned();
    let snapshot = Snapshot { users: pin.into_iter().collect(), ..Snapshot::default() };
    let mut restarted = Scene::with(config("alice"), snapshot);
    restarted.log_in(vec![]);
    scene.receive(&removed(BOB));
    [scene, restarted]
}

/// Whoever comes by the name of a contact whose fingerprint was compared, or whose id is that name, gets a tail, and no
/// command finds them by the name.
#[test]
fn the_name_of_a_verified_contact_is_nobody_elses_while_that_one_is_away() {
    for (id, name, tailed) in [("66666666-a", Some("bob"), "bob~6666"), ("bob", None, "bob~bob")] {
        for mut scene in without_verified_bob() {
            let told = scene.receive(&added(entry(id, name)));
            assert!(told.contains(&user_added(id, tailed)), "{told:?}");
            let draft = scene.draft_from(id, MessageKind::Direct, "it is me", START);
            let message = scene.deliver(&draft, &fake_key(id));
            let arrived = scene.receive(&Payload::UserDeliver(message));
            let shown = scene.open(&arrived);
            let names = notices(&shown).into_iter().filter_map(|notice| match notice {
                Notice::Message { label, .. } => Some(&**label),
                _ => None,
            });
            assert_eq!(names.collect::<Vec<_>>(), [tailed]);

            let mut either = [scene.client.label_of(&user(BOB)).to_string(), tailed.to_owned()];
            either.sort();
            let which = format!("bob may be {}", either.join(" or "));
            let which = |reference| failed(reference, ErrorCode::UserNotFound, &which);
            assert_eq!(scene.tell(2, "bob", "hi"), [which(2)]);
            let verify = Command::Verify { user: "bob".into(), verified: true };
            assert_eq!(scene.command(3, verify), [which(3)]);
            let file = Command::File(FileCommand::Send { to: "bob".into(), path: "cat".into() });
            assert_eq!(scene.command(4, file), [which(4)]);
            // By the label it is clear who is meant.
            let actions = scene.tell(5, tailed, "hi");
            assert_eq!(drafts(&actions).first().map(|draft| draft.to.as_str()), Some(id));
            scene.handle(Event::Written(drafts(&actions)[0].id));
            let nobody = format!("nobody online is called {}", either[0]);
            assert_eq!(either[0], "bob~1522");
            assert_eq!(scene.tell(6, "bob~1522", "hi"), [failed(6, ErrorCode::UserNotFound, &nobody)]);
            scene.receive(&removed(id));
            // Nor does anything go to the contact who is away.
            let nobody = "nobody online is called bob";
            assert_eq!(scene.tell(7, "bob", "hi"), [failed(7, ErrorCode::UserNotFound, nobody)]);
        }
    }
}

#[test]
fn the_name_that_a_verified_contact_gives_up_is_free() {
    let evil = "66666666-a";
    for mut scene in without_verified_bob() {
        let labels = |scene: &Scene| [BOB, evil].map(|id| scene.client.label_of(&user(id)).to_string());
        scene.receive(&added(entry(evil, Some("bob"))));
        assert_eq!(labels(&scene), ["bob~1522", "bob~6666"]);
        scene.receive(&added(entry(BOB, Some("robert"))));
        assert_eq!(labels(&scene), ["robert", "bob"]);
        scene.receive(&added(entry(BOB, Some("bob"))));
        scene.receive(&removed(BOB));
        assert_eq!(labels(&scene), ["bob~1522", "bob~6666"]);
        // The mark is taken back.
        scene.command(8, Command::Verify { user: BOB.into(), verified: false });
        assert_eq!(labels(&scene), ["bob~1522", "bob"]);
    }
}

#[test]
fn names_survive_restarts_and_other_keys_give_none() {
    let pin = UserPin::new(&user("bob-id"), &public("bob-id"), Timestamp(1));
    let users = vec![UserPin { name: Some("bob".into()), ..pin }];
    let mut scene = Scene::with(config("alice"), Snapshot { users, ..Snapshot::default() });
    assert_eq!(&*scene.client.label_of(&user("bob-id")), "bob");
    scene.log_in(vec![entry_with_key("bob-id", Some("carol"), "eve")]);
    scene.receive(&removed("bob-id"));
    assert_eq!(&*scene.client.label_of(&user("bob-id")), "bob");
}

/// `/file public x` offers to everybody, so `/tell public` must not reach somebody who is called so.
#[test]
fn what_means_everybody_is_nobodys_name() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob-id", Some("public")), entry("all", None)]);
    assert_eq!(&*scene.client.label_of(&user("bob-id")), "public~bob-");
    assert_eq!(&*scene.client.label_of(&user("all")), "all~all");
    let why = "public may be public~bob-; that name means everybody: /all writes to them";
    assert_eq!(scene.tell(1, "public", "hi"), [failed(1, ErrorCode::UserNotFound, why)]);
    for (to, id) in [("public~bob-", "bob-id"), ("bob-id", "bob-id"), ("all~all", "all")] {
        let actions = scene.tell(1, to, "hi");
        assert_eq!(drafts(&actions)[0].to.as_str(), id, "{to}");
        scene.handle(Event::Written(drafts(&actions)[0].id));
    }
}

#[test]
fn gossip_relabelled_as_an_event_is_not_believed() {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    let why = "another frame relabelled as USER_REMOVED";
    let removal = Payload::UserRemoved(crate::wire::UserRemoved { user_id: user("bob"), event: None });
    assert_eq!(scene.receive(&removal), [told_dropped(why, "bob")]);
    let relabelled = Payload::UserAdded(entry("carol", None));
    assert_eq!(scene.receive(&relabelled), [told_dropped("another frame relabelled as USER_ADDED", "carol")]);
}

#[test]
fn users_over_the_bound_are_left_out() {
    let mut small = config("alice");
    small.limits.users = 2;
    let mut scene = Scene::with(small, Snapshot::default());
    let actions = scene.log_in((0..5).map(|n| entry(&format!("user-{n}"), None)).collect());
    assert!(actions.contains(&told_dropped("too many users", "3 are left out")));
    assert_eq!(scene.client.users().len(), 2);
}
