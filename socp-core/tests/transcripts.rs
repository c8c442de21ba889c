//! Frames of five independent implementations, as they crossed real sockets (`fixtures/transcripts`): all are read, every
//! signature is checked with the keys that the parties use, and nothing passes because reading was tolerant.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::crypto::{CanonicalForm, ContentForm, Opener, SaltLength, check_payload};
use socp_core::inspect::{ContentShape, Finding, Inspector, Keyring, Oddity, Summary};
use socp_core::wire::{Frame, PublicKey};

const NAMES: [&str; 5] = ["seed", "peer-r", "peer-m", "peer-f", "peer-g"];

fn read(name: &str, file: &str) -> String {
    let path = format!("{}/tests/fixtures/transcripts/{name}/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn keys(name: &str) -> Keyring {
    let open = |pem: &str| PrivateKey::from_pem(pem).map(|key| Arc::new(key) as Arc<dyn Opener>);
    Keyring::read(&read(name, "keys.json"), &open).unwrap()
}

/// The frames' own texts.
fn frames(name: &str) -> Vec<String> {
    let text = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].clone();
    read(name, "frames.jsonl").lines().map(|line| text(line).as_str().unwrap().to_owned()).collect()
}

fn findings(name: &str) -> Vec<Finding> {
    let provider = Provider::new();
    let mut inspector = Inspector::new(&provider, keys(name)).showing_text();
    let record = read(name, "frames.jsonl");
    record.lines().enumerate().map(|(index, line)| inspector.look(index + 1, line.as_bytes())).collect()
}

fn summary(findings: &[Finding]) -> Summary {
    let mut summary = Summary::default();
    findings.iter().for_each(|finding| summary.add(finding));
    summary
}

#[test]
fn every_frame_is_read_and_every_signature_holds_as_the_table_of_dialects_says() {
    // Frames, signed, under the key of `from`, under another; the canonical form and the salt of all of them.
    use CanonicalForm::{Ascii, Received, Sorted};
    let table = [
        ("seed", 167, 139, 139, 0, &[Sorted][..], SaltLength::Max),
        ("peer-r", 170, 162, 162, 0, &[Sorted, Ascii], SaltLength::Max),
        ("peer-m", 163, 121, 89, 32, &[Sorted, Ascii], SaltLength::Max),
        ("peer-f", 213, 197, 130, 67, &[Sorted, Ascii], SaltLength::Max),
        ("peer-g", 95, 41, 40, 1, &[Sorted, Received], SaltLength::Digest),
    ];
    for (name, frames, signed, under_from, under_other, forms, salt) in table {
        let findings = findings(name);
        let counted = summary(&findings);
        assert_eq!((counted.frames, counted.unreadable), (frames, 0), "{name}");
        let counts = (counted.signed, counted.under_from, counted.under_other, counted.wrong);
        assert_eq!(counts, (signed, under_from, under_other, 0), "{name}");
        for held in findings.iter().filter_map(|finding| finding.signature.as_ref()?.held.as_ref()) {
            assert!(forms.contains(&held.form.canonical) && held.form.salt == salt, "{name}: {held:?}");
        }
    }
}

#[test]
fn direct_messages_decrypt_and_their_content_signatures_are_of_the_dialect_s_form() {
    let salt = SaltLength::Max;
    let table = [
        ("seed", 12, ContentShape::Bound(ContentForm { text: false, digest: false, salt })),
        ("peer-r", 9, ContentShape::Separated(salt)),
        ("peer-m", 37, ContentShape::Bound(ContentForm { text: false, digest: true, salt })),
        ("peer-f", 11, ContentShape::Bound(ContentForm { text: true, digest: false, salt })),
        ("peer-g", 8, ContentShape::TextAlone(SaltLength::Digest)),
    ];
    for (name, messages, shape) in table {
        let mut seen = 0;
        for finding in findings(name) {
            let kind = finding.envelope.as_ref().map_or("", |envelope| &*envelope.kind).to_owned();
            let Some(content) = finding
                .content
                .filter(|_| ["MSG_DIRECT", "SERVER_DELIVER", "USER_DELIVER"].contains(&&*kind))
            else {
                continue;
            };
            let (label, found) =
                content.signature.flatten().unwrap_or_else(|| panic!("{name}: {}", finding.line));
            assert_eq!(found, shape, "{name}: {}", finding.line);
            // M relays chunks of files as SERVER_DELIVER: those need not be text.
            let opened = content.opened.unwrap_or_else(|| panic!("{name}: {}", finding.line));
            assert!(opened.bytes > 0 && !label.is_empty(), "{name}: {}", finding.line);
            seen += 1;
        }
        assert_eq!(seen, messages, "{name}");
    }
}

/// The text of a frame with one character of its payload changed, a few variants: in keys and in values. In an empty
/// payload there is none to change, so it gets a field.
fn changed(frame: &Frame) -> Vec<String> {
    let text = frame.text().as_str();
    let payload = frame.payload_received();
    let start = payload.as_ptr() as usize - text.as_ptr() as usize;
    if payload.trim_matches(['{', '}', ' ']).is_empty() {
        return vec![format!("{}{{\"a\":1}}{}", &text[..start], &text[start + payload.len()..])];
    }
    let changeable = |at: &usize| payload.as_bytes()[*at].is_ascii_alphanumeric();
    let places: Vec<usize> = (0..payload.len()).filter(changeable).collect();
    let chosen = [0, places.len() / 3, places.len() / 2, places.len() - 1].map(|index| places[index]);
    let change = |at: usize| {
        let other = match payload.as_bytes()[at] {
            byte @ (b'0'..=b'8' | b'a'..=b'y' | b'A'..=b'Y') => byte + 1,
            b'9' => b'1',
            byte => byte - 1,
        };
        let mut bytes = text.as_bytes().to_vec();
        bytes[start + at] = other;
        String::from_utf8(bytes).unwrap()
    };
    chosen.into_iter().map(change).collect()
}

#[test]
fn one_changed_character_of_any_payload_makes_its_check_fail() {
    let provider = Provider::new();
    for name in NAMES {
        let ring = keys(name);
        let all: Vec<PublicKey> = ring.parties().iter().map(|party| party.key.clone()).collect();
        // The keys of those who are in no file came with the frames.
        let by_id: BTreeMap<_, _> = all.iter().map(|key| (key.id(), key)).collect();
        let mut changes = 0;
        for (finding, text) in findings(name).iter().zip(frames(name)) {
            let Some(held) = finding.signature.as_ref().and_then(|signature| signature.held.as_ref()) else {
                continue;
            };
            let frame = Frame::parse(&text, 1 << 20).unwrap();
            let key = by_id[&held.key];
            assert_eq!(
                check_payload(&provider, key, &frame, None),
                Some(held.form),
                "{name}: {}",
                finding.line
            );
            for text in changed(&frame) {
                changes += 1;
                // What is no frame any more has failed before its signature was looked at.
                let Ok(frame) = Frame::parse(&text, 1 << 20) else { continue };
                assert_eq!(
                    check_payload(&provider, key, &frame, Some(held.form)),
                    None,
                    "{name}: {}: {text}",
                    finding.line
                );
            }
        }
        assert!(changes > 100, "{name}: {changes}");
    }
}

#[test]
fn a_changed_frame_is_refused_by_everybody_under_every_key() {
    // The whole way, as the inspector goes it, for one character in every frame of the seed.
    let provider = Provider::new();
    let record = read("seed", "frames.jsonl");
    let mut inspector = Inspector::new(&provider, keys("seed"));
    for (index, line) in record.lines().enumerate() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let frame = Frame::parse(object["text"].as_str().unwrap(), 1 << 20).unwrap();
        if frame.sig().is_none() {
            inspector.look(index + 1, line.as_bytes());
            continue;
        }
        let texts = changed(&frame);
        let text = &texts[texts.len() / 2];
        let line = serde_json::json!({"from": object["from"], "to": object["to"], "text": text}).to_string();
        let finding = inspector.look(index + 1, line.as_bytes());
        assert!(finding.is_odd(Oddity::SigWrong) || finding.envelope.is_none(), "{finding:?}");
    }
}
