//! Keys that change (decisions §4): what the key that we know signed goes on, anything else is said aloud.

use super::*;
use crate::crypto::rotate;
use crate::wire::{DirectoryEntry, Id, Rotation};

/// The id that derives from that key.
fn derived(key: &str) -> String {
    Id::derived_from(&public(key)).to_string()
}

/// A chain through these keys.
fn chain(id: &str, keys: &[&str]) -> Vec<Rotation> {
    keys.windows(2).fold(Vec::new(), |chain, pair| {
        rotate(&user(id), chain, &fake_key(pair[0]), &public(pair[1])).expect("a chain")
    })
}

fn rotated(id: &str, key: &str, rotations: Vec<Rotation>) -> DirectoryEntry {
    DirectoryEntry { rotations, ..entry_with_key(id, Some("bob"), key) }
}

/// What is told of a key, and the pin as it is from then on.
fn told(scene: &mut Scene, entry: DirectoryEntry) -> (Option<Notice>, Option<UserPin>) {
    let actions = scene.receive(&added(entry));
    let notices = notices(&actions);
    assert!(notices.len() <= 1, "{notices:?}");
    let pin = actions.iter().find_map(|action| match action {
        Action::Persist(Record::UserPin(pin)) => Some(pin.clone()),
        _ => None,
    });
    (notices.first().map(|notice| (*notice).clone()), pin)
}

fn is_conflict(told: &(Option<Notice>, Option<UserPin>)) -> bool {
    matches!(told, (Some(Notice::KeyConflict { .. }), None))
}

#[test]
fn a_key_that_the_pinned_one_signed_is_told_and_written_to() {
    for id in [derived("k1"), "bob".into()] {
        let mut scene = Scene::new("alice");
        scene.log_in(vec![rotated(&id, "k1", Vec::new())]);
        scene.command(1, Command::Verify { user: "bob".into(), verified: true });
        let rotations = chain(&id, &["k1", "k2"]);
        let (notice, pin) = told(&mut scene, rotated(&id, "k2", rotations.clone()));
        let (was, now) = (public("k1").id(), public("k2").id());
        let (user_id, label) = (user(&id), "bob".into());
        let expected = Notice::KeyChanged { user_id, label, was, now, was_verified: true, signed: true };
        assert_eq!(notice, Some(expected));
        // The mark was of another key; what is left of it is that this one was vouched for.
        let since = Some(Timestamp(START));
        let pin = pin.expect("durable");
        let expected = UserPin {
            user_id: user(&id),
            key: public("k2"),
            since,
            verified: None,
            vouched: true,
            rotations,
            name: Some("bob".into()),
        };
        assert_eq!(pin, expected);
        let actions = scene.tell(2, "bob", "still you?");
        assert_eq!(drafts(&actions)[0].key, public("k2"));

        // After a restart the old key is no news, and neither is the chain.
        let mut scene = Scene::with(config("alice"), Snapshot { users: vec![pin], ..Snapshot::default() });
        let chain_of_3 = chain(&id, &["k1", "k2", "k3"]);
        let actions = scene.log_in(vec![rotated(&id, "k2", chain(&id, &["k1", "k2"]))]);
        assert!(!actions.iter().any(|action| matches!(action, Action::Persist(Record::UserPin(_)))));
        assert!(is_conflict(&told(&mut scene, rotated(&id, "k1", Vec::new()))), "{id}: the old key again");
        let (notice, pin) = told(&mut scene, rotated(&id, "k3", chain_of_3));
        assert!(matches!(notice, Some(Notice::KeyChanged { was_verified: false, signed: true, .. })));
        assert!(pin.expect("durable").vouched, "by way of one that was");
        scene.command(3, Command::Verify { user: "bob".into(), verified: true });
    }
}

#[test]
fn what_the_pinned_key_did_not_sign_is_a_conflict() {
    let id = derived("k1");
    let mut forged = chain(&id, &["k1", "eve"]);
    forged[0].sig = chain(&id, &["eve", "k2"]).remove(0).sig;
    for (what, key, rotations) in [
        ("no chain", "eve", Vec::new()),
        ("a forged one", "eve", forged),
        ("another user's", "eve", chain("carol", &["k1", "eve"])),
        ("to another key", "eve", chain(&id, &["k1", "k2"])),
        ("of other keys", "eve", chain(&id, &["k0", "eve"])),
    ] {
        let mut scene = Scene::new("alice");
        scene.log_in(vec![rotated(&id, "k1", Vec::new())]);
        assert!(is_conflict(&told(&mut scene, rotated(&id, key, rotations))), "{what}");
        let actions = scene.tell(1, "bob", "hi");
        assert_eq!(drafts(&actions)[0].key, public("k1"), "{what}");
    }
    // Servers go by the longest chain. We go by the key that we know.
    let mut scene = Scene::new("alice");
    scene.log_in(vec![rotated(&id, "k2", chain(&id, &["k1", "k2"]))]);
    assert!(is_conflict(&told(&mut scene, rotated(&id, "eve", chain(&id, &["k1", "k9", "eve"])))));
}

/// One frame brings many chains: what one step proves is no proof of another by the same key.
#[test]
fn a_chain_is_not_proven_by_another_one_in_the_same_frame() {
    let id = derived("k1");
    let mut forged = chain(&id, &["k1", "eve"]);
    forged[0].sig = chain(&id, &["k1", "k2"]).remove(0).sig;
    let mut scene = Scene::new("alice");
    scene.log_in(vec![rotated(&id, "k1", Vec::new())]);
    scene.lose_link();
    let good = rotated(&id, "k2", chain(&id, &["k1", "k2"]));
    let actions = scene.log_in(vec![rotated(&id, "eve", forged.clone()), good, rotated(&id, "eve", forged)]);
    let changes: Vec<_> = notices(&actions)
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::KeyChanged { now, .. } => Some(*now),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [public("k2").id()]);
    assert_eq!(drafts(&scene.tell(1, "bob", "hi"))[0].key, public("k2"));
}

#[test]
fn the_key_of_the_id_beats_another_with_the_chain_that_leads_from_it() {
    let id = derived("k1");
    let mut scene = Scene::new("alice");
    scene.log_in(vec![rotated(&id, "squatter", Vec::new())]);
    let (notice, pin) = told(&mut scene, rotated(&id, "k2", chain(&id, &["k1", "k2"])));
    assert!(matches!(notice, Some(Notice::KeyChanged { signed: false, .. })), "{notice:?}");
    assert_eq!(pin.expect("durable").rotations.len(), 1);
    let actions = scene.command(1, Command::Whois { user: "bob".into() });
    let [Notice::Whois { user, .. }] = notices(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!((user.derived, user.rotations), (true, 1));
}

#[test]
fn our_own_chain_goes_along_with_every_hello() {
    let rotations = chain("alice", &["alice-1", "alice"]);
    let mut scene = Scene::with(Config { rotations, ..config("alice") }, Snapshot::default());
    let actions = [scene.wake(), scene.handle(Event::LinkOpened)].concat();
    let hello = actions.iter().find_map(|action| match action {
        Action::Send(frame) if *frame.kind() == FrameType::UserHello => Some(frame),
        _ => None,
    });
    let hello: serde_json::Value =
        serde_json::from_str(hello.expect("a hello").payload().canonical()).expect("JSON");
    assert_eq!(hello["rotations"][0]["version"], 1);
}

#[test]
fn a_message_for_the_key_before_is_said_to_be_that() {
    for (rotated, signed, told) in [
        (
            true,
            true,
            "message of bob: not sealed for your key, perhaps for your previous one; ask for it again",
        ),
        (true, false, "message of bob: cannot be decrypted with this key"),
        (false, true, "message of bob: cannot be decrypted with this key"),
    ] {
        let rotations = if rotated { chain("alice", &["alice-1", "alice"]) } else { Vec::new() };
        let mut scene = Scene::with(Config { rotations, ..config("alice") }, Snapshot::default());
        scene.log_in(vec![entry("bob", None)]);
        let draft = scene.draft_from("bob", MessageKind::Direct, "hi", START);
        let draft = Draft { key: public("alice-1"), ..draft };
        let mut message = scene.deliver(&draft, &fake_key("bob"));
        message.content_sig = message.content_sig.filter(|_| signed);
        let actions = scene.receive(&Payload::UserDeliver(message));
        let actions = scene.open(&actions);
        let (reference, code) = (None, ErrorCode::InvalidSig);
        assert_eq!(notices(&actions), [&Notice::Failed { reference, code, detail: told.into() }]);
    }
}
