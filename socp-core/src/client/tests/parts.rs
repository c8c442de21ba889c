//! Long texts that come in parts.

use crate::crypto::Signer;
use crate::wire::Binary;

use super::*;

/// Bob's long text as alice gets it, made by a client of his own.
fn long_text(text: &str) -> Vec<Message> {
    let mut bob = Scene::new("bob");
    bob.log_in(vec![entry("alice", None)]);
    let actions = bob.tell(1, "alice", text);
    drafts(&actions).into_iter().map(|draft| message_of(draft, &bob.own)).collect()
}

fn alice() -> Scene {
    let mut scene = Scene::new("alice");
    scene.log_in(vec![entry("bob", None)]);
    scene
}

/// What is shown when these messages arrive, text and doubt.
fn shown(scene: &mut Scene, messages: &[Message]) -> Vec<(String, Result<(), Doubt>)> {
    let mut actions = Vec::new();
    for message in messages {
        actions.extend(scene.receive(&Payload::UserDeliver(message.clone())));
    }
    let opened = scene.open(&actions);
    actions.extend(opened);
    texts(&actions)
}

fn texts(actions: &[Action]) -> Vec<(String, Result<(), Doubt>)> {
    let texts = notices(actions).into_iter().filter_map(|notice| match notice {
        Notice::Message { text, verified, .. } => Some((text.to_string(), *verified)),
        _ => None,
    });
    texts.collect()
}

/// Lets time pass on a link that lives.
fn wait(scene: &mut Scene, time: Duration) -> Vec<Action> {
    scene.pass(time);
    scene.handle(Event::LinkAlive)
}

fn sample(parts: usize) -> (String, Vec<Message>) {
    let text: String = (0..parts * 446).map(|at| char::from(b'a' + (at / 100 % 26) as u8)).collect();
    let messages = long_text(&text);
    assert_eq!(messages.len(), parts);
    (text, messages)
}

#[test]
fn parts_are_joined_into_one_message_and_shown_once() {
    let (text, messages) = sample(16);
    let mut scene = alice();
    assert_eq!(shown(&mut scene, &messages[..15]), []);
    assert_eq!(shown(&mut scene, &messages[15..]), [(text, Ok(()))]);
    for message in &messages {
        let repeat = scene.receive(&Payload::UserDeliver(message.clone()));
        assert_eq!(repeat, [told_dropped("message was shown before", "bob")]);
    }
    assert_eq!((scene.client.parts.len(), texts(&wait(&mut scene, secs(31)))), (0, vec![]));
}

#[test]
fn without_the_signature_over_all_of_them_they_are_shown_singly() {
    type Spoil = fn(&mut [Message]);
    let cases: [Spoil; 4] = [
        |messages| messages[2].parts_sig = None,
        |messages| messages[2].parts_sig = Some(Binary::new(vec![1; 512])),
        // Two of the text's own parts change places.
        |messages| {
            let (first, second) = (messages[0].part.clone(), messages[1].part.clone());
            messages[0].part = second;
            messages[1].part = first;
        },
        // A part of another text of bob's in place of the right one.
        |messages| {
            let part = messages[1].part.clone();
            messages[1] = Message { part, ..long_text(&"z".repeat(500))[1].clone() };
        },
    ];
    for spoil in cases {
        let (_, mut messages) = sample(3);
        spoil(&mut messages);
        let shown = shown(&mut alice(), &messages);
        assert_eq!(shown.len(), 3);
        assert!(shown.iter().all(|(_, verified)| verified.is_ok()), "each is bob's all the same");
    }
}

#[test]
fn what_is_not_its_authors_is_no_part_of_anything() {
    let (text, mut messages) = sample(3);
    let mut scene = alice();
    let mut twin = messages[1].clone();
    twin.ts = Some(Timestamp(1));
    assert_eq!(shown(&mut scene, &messages[..1]), []);
    let told = shown(&mut scene, &[twin]);
    assert_eq!((told.len(), told[0].1), (1, Err(Doubt::BadSignature)));
    assert_eq!(shown(&mut scene, &messages.split_off(1)), [(text, Ok(()))]);
}

#[test]
fn missing_parts_are_told_of_after_a_while() {
    let (text, messages) = sample(4);
    let mut scene = alice();
    assert_eq!(shown(&mut scene, &[messages[0].clone()]), []);
    wait(&mut scene, secs(20));
    assert_eq!(shown(&mut scene, &[messages[3].clone()]), []);
    assert_eq!(texts(&wait(&mut scene, secs(29))), [], "another may still come");
    let partly = format!("{} […] {}", &text[..446], &text[3 * 446..]);
    let actions = wait(&mut scene, secs(1));
    assert_eq!(texts(&actions), [(partly, Err(Doubt::PartsMissing))]);
    assert_eq!(scene.client.parts.len(), 0);
    // What was shown is not shown again; what comes too late is shown in its turn.
    let repeat = scene.receive(&Payload::UserDeliver(messages[0].clone()));
    assert_eq!(repeat, [told_dropped("message was shown before", "bob")]);
    assert_eq!(shown(&mut scene, &messages[1..3]), []);
    let late = format!("[…] {} […]", &text[446..3 * 446]);
    assert_eq!(texts(&wait(&mut scene, secs(30))), [(late, Err(Doubt::PartsMissing))]);
}

#[test]
fn who_quits_sees_what_came() {
    let (text, messages) = sample(2);
    let mut scene = alice();
    assert_eq!(shown(&mut scene, &messages[..1]), []);
    let actions = scene.handle(Event::Shutdown);
    assert_eq!(texts(&actions), [(format!("{text:.446} […]"), Err(Doubt::PartsMissing))]);
}

#[test]
fn unfinished_texts_are_bounded_and_odd_ones_are_messages() {
    let mut small = config("alice");
    small.limits.long_texts = 2;
    let mut scene = Scene::with(small, Snapshot::default());
    scene.log_in(vec![entry("bob", None)]);
    let firsts: Vec<_> = (0..3)
        .map(|n| {
            let mut message = sample(2).1.swap_remove(0);
            if let Some(part) = &mut message.part {
                part.id = format!("text {n}").into();
            }
            message
        })
        .collect();
    for first in &firsts[..2] {
        assert_eq!(shown(&mut scene, std::slice::from_ref(first)), []);
        scene.pass(secs(1));
    }
    let told = shown(&mut scene, &firsts[2..]);
    assert!(matches!(told[..], [(_, Err(Doubt::PartsMissing))]), "the oldest makes room: {told:?}");
    for (index, total) in [(0, 1), (2, 2), (0, 17), (0, 0)] {
        let mut message = sample(2).1.swap_remove(0);
        if let Some(part) = &mut message.part {
            (part.index, part.total) = (index, total);
        }
        assert_eq!(shown(&mut alice(), &[message]).len(), 1, "{index} of {total}");
    }
    // Signed under the wrong key, the last part joins nothing.
    let (_, mut messages) = sample(2);
    let sigs: Vec<u8> = messages
        .iter()
        .flat_map(|message| message.content_sig.as_ref().expect("signed").bytes().to_vec())
        .collect();
    let eve = fake_key("eve").sign(&sigs).expect("fake keys do not fail");
    messages[1].parts_sig = Some(Binary::new(eve));
    assert_eq!(shown(&mut alice(), &messages).len(), 2);
}
