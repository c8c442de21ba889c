//! The inspector on frames made by hand: each oddity provoked, whose key a signature holds under, and what a server
//! would do.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::crypto::{Opener, Sealer, Signer};
use socp_core::inspect::{Does, Finding, Inspector, Keyring, KeysError, MAX_LINE_BYTES, Oddity};
use socp_core::wire::{Frame, canonicalise, encode_base64};

static PROVIDER: LazyLock<Provider> = LazyLock::new(Provider::new);
static ALICE: LazyLock<PrivateKey> = LazyLock::new(|| key("alice"));
static SERVER: LazyLock<PrivateKey> = LazyLock::new(|| key("server-a"));

const SRV: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
const USER: &str = "00010203-0405-4607-8809-0a0b0c0d0e0f";
const TS: u64 = 1_795_343_336_618;

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn key(name: &str) -> PrivateKey {
    PrivateKey::from_pem(&fixture(name)).unwrap()
}

fn open(pem: &str) -> Result<Arc<dyn Opener>, socp_core::crypto::CryptoError> {
    Ok(Arc::new(PrivateKey::from_pem(pem)?))
}

/// The file has the server and alice; alice with her private key.
fn ring() -> Keyring {
    let parties = json!({ "parties": [
        { "label": "A", "kind": "server", "id": SRV, "public_key": SERVER.public_key().to_field() },
        { "label": "alice", "id": USER, "spki": ALICE.public_key().to_field(), "private_key_pem": fixture("alice") },
    ]});
    Keyring::read(&parties.to_string(), &open).unwrap()
}

fn inspector() -> Inspector<'static> {
    Inspector::new(&*PROVIDER, ring())
}

fn look(text: &str) -> Finding {
    inspector().look(1, text.as_bytes())
}

fn sign(payload: &Value, signer: &PrivateKey) -> String {
    encode_base64(&signer.sign(canonicalise(&payload.to_string(), 32).unwrap().as_bytes()).unwrap())
}

/// A frame of the server's, signed as we sign.
fn frame(kind: &str, to: &str, payload: Value) -> Value {
    let sig = sign(&payload, &SERVER);
    json!({ "type": kind, "from": SRV, "to": to, "ts": TS, "payload": payload, "sig": sig })
}

fn with(mut frame: Value, field: &str, value: Value) -> String {
    frame[field] = value;
    frame.to_string()
}

fn without(mut frame: Value, field: &str) -> String {
    frame.as_object_mut().unwrap().remove(field);
    frame.to_string()
}

fn heartbeat() -> Value {
    frame("HEARTBEAT", SRV, json!({}))
}

fn message(kind: &str, ciphertext: &str, content_sig: &str) -> String {
    let key = ALICE.public_key().to_field();
    let payload = json!({ "ciphertext": ciphertext, "sender_pub": key, "content_sig": content_sig });
    json!({ "type": kind, "from": USER, "to": USER, "ts": TS, "payload": payload, "sig": sign(&payload, &ALICE) })
        .to_string()
}

/// What alice signs over a ciphertext to herself, in a form of some dialect.
fn content(form: impl Fn(&[u8], &str) -> Vec<u8>) -> String {
    let ciphertext = PROVIDER.seal(ALICE.public_key(), b"hello").unwrap();
    let text = encode_base64(&ciphertext);
    let sig = ALICE.sign(&form(&ciphertext, &text)).unwrap();
    message("MSG_DIRECT", &text, &encode_base64(&sig))
}

/// The line of a recorded session that has an oddity which only others' signers make.
fn recorded(name: &str, number: usize) -> Finding {
    let folder = format!("{}/tests/fixtures/transcripts/{name}", env!("CARGO_MANIFEST_DIR"));
    let keys = std::fs::read_to_string(format!("{folder}/keys.json")).unwrap();
    let record = std::fs::read_to_string(format!("{folder}/frames.jsonl")).unwrap();
    let mut inspector = Inspector::new(&*PROVIDER, Keyring::read(&keys, &open).unwrap());
    inspector.look(number, record.lines().nth(number - 1).unwrap().as_bytes())
}

/// Something that provokes each oddity.
fn provoking(oddity: Oddity) -> Finding {
    use Oddity as O;
    let key = || ALICE.public_key().to_field();
    let announce = |pubkey: &str| {
        frame("SERVER_ANNOUNCE", "*", json!({ "host": "h", "port": 1, "pubkey": pubkey })).to_string()
    };
    let hello = |enc: &str| {
        json!({ "type": "USER_HELLO", "from": USER, "to": SRV, "ts": TS,
            "payload": { "client": "x", "pubkey": key(), "enc_pubkey": enc } })
        .to_string()
    };
    let advert = |payload: Value| frame("USER_ADVERTISE", "*", payload).to_string();
    let start = |file: &str, hash: &str, mode: &str| {
        let payload = json!({ "file_id": file, "name": "n", "size": 900, "sha256": hash, "mode": mode });
        frame("FILE_START", USER, payload).to_string()
    };
    let hash = "0".repeat(64);
    let pem = ALICE.public_key().spki();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(pem));
    let text = match oddity {
        O::NotText => return inspector().look(1, b"\xff\xfe{}"),
        O::NotJson => "rubbish".to_owned(),
        O::DuplicateKey => r#"{"type":"ACK","type":"ACK"}"#.to_owned(),
        O::TooDeep => format!(r#"{{"type":"ACK","payload":{}{}}}"#, "[".repeat(40), "]".repeat(40)),
        O::TooLong => with(heartbeat(), "from", json!("x".repeat(2 << 20)))
            .replace(&format!("\"{}\"", "x".repeat(2 << 20)), &format!("{}\"x\"", " ".repeat(2 << 20))),
        O::WhiteSpace => json!({ "text": format!("{} \n", heartbeat()) }).to_string(),
        O::Envelope => with(heartbeat(), "from", json!(7)),
        O::FromMissing => without(heartbeat(), "from"),
        O::FromForeign => {
            let mut inspector = inspector();
            let line = |from: &str, text: &str| json!({ "from": from, "to": "B", "text": text }).to_string();
            inspector.look(1, line("A", &announce(&key()).replace("ANNOUNCE", "HELLO_LINK")).as_bytes());
            return inspector.look(2, line("A", &with(heartbeat(), "from", json!(USER))).as_bytes());
        }
        O::ToMissing => without(heartbeat(), "to"),
        O::ToEmpty => with(heartbeat(), "to", json!("")),
        O::ToNotEveryone => advert(json!({})).replace("\"*\"", "\"b\""),
        O::ToAddress => with(heartbeat(), "to", json!("127.0.0.1:80")),
        O::JoinTo => announce(&key()).replace("ANNOUNCE", "HELLO_JOIN").replace("\"*\"", "\"ws://h:1\""),
        O::TsMissing => without(heartbeat(), "ts"),
        O::TsSeconds => with(heartbeat(), "ts", json!(TS / 1000)),
        O::TsFraction => with(heartbeat(), "ts", json!(1_795_343_336.5)),
        O::TsText => with(heartbeat(), "ts", json!(TS.to_string())),
        O::PayloadMissing => without(heartbeat(), "payload"),
        O::ExtraField => with(heartbeat(), "version", json!(1)),
        O::UnknownType => with(heartbeat(), "type", json!("PING")),
        O::AddedType => frame("PRESENCE_REQUEST", SRV, json!({ "server_id": SRV })).to_string(),
        O::TypeAlias => message("MSG_PRIVATE", "AAAA", "AAAA"),
        O::IdNotUuid => with(heartbeat(), "from", json!("srv-b")),
        O::Misfit => frame("SERVER_WELCOME", SRV, json!({ "clients": [] })).to_string(),
        O::FieldMissing => frame("SERVER_WELCOME", SRV, json!({ "assigned_id": SRV })).to_string(),
        O::ExtraPayloadField => frame("HEARTBEAT", SRV, json!({ "at": 1 })).to_string(),
        O::Padded => announce(&URL_SAFE.encode(format!("{pem}\n"))),
        O::StandardAlphabet => announce(&STANDARD.encode(ALICE.public_key().spki())),
        O::NotBase64 => announce("no key, no base64"),
        O::KeyPem => announce(&encode_base64(pem.as_bytes())),
        O::KeyPkcs1 => announce(&encode_base64(&ALICE.public_key().spki()[24..])),
        O::KeyRefused => announce(&encode_base64(&[0x30; 100])),
        O::KeyChanged => announce(&key()),
        O::EncKeyDiffers => hello(&SERVER.public_key().to_field()),
        O::AdvertWithoutKey => advert(json!({ "user_id": USER, "server_id": SRV, "meta": {} })),
        O::KeyInMeta => advert(json!({ "user_id": USER, "server_id": SRV, "meta": { "pubkey": key() } })),
        O::SigMissing => without(heartbeat(), "sig"),
        O::SigEmpty => with(heartbeat(), "sig", json!("")),
        O::SigWrong => with(heartbeat(), "payload", json!({ "a": 1 })),
        O::SigOtherKey => with(heartbeat(), "sig", json!(sign(&json!({}), &ALICE))),
        O::FromKeyUnknown => with(heartbeat(), "from", json!("somebody")),
        O::CanonicalAscii => {
            let sig = encode_base64(&SERVER.sign(br#"{"at":"\u00fc"}"#).unwrap());
            json!({ "type": "HEARTBEAT", "from": SRV, "payload": { "at": "ü" }, "sig": sig }).to_string()
        }
        O::CanonicalReceived => {
            let payload = r#"{"b":1, "a":2}"#;
            let sig = encode_base64(&SERVER.sign(payload.as_bytes()).unwrap());
            format!(r#"{{"type":"HEARTBEAT","from":"{SRV}","payload":{payload},"sig":"{sig}"}}"#)
        }
        O::SaltMax => return recorded("seed", 19),
        O::ContentSigMissing => message("MSG_DIRECT", "AAAA", ""),
        O::ContentSigMalformed => message("MSG_DIRECT", "AAAA", "..."),
        O::ContentSigWrong => content(|_, _| b"something else".to_vec()),
        O::ContentText => content(|_, text| format!("{text}{USER}{USER}{TS}").into_bytes()),
        O::ContentDigest => return recorded("peer-m", 71),
        O::ContentSeparated => content(|_, text| format!("{text}|{USER}|{USER}|{TS}.000000").into_bytes()),
        O::ContentUnbound => content(|_, text| text.as_bytes().to_vec()),
        O::Plaintext => message("MSG_PUBLIC_CHANNEL", "hello everyone!", "AAAA"),
        O::CiphertextSize => message("MSG_DIRECT", &encode_base64(&[0xff; 100]), "AAAA"),
        O::Undecryptable => message("MSG_DIRECT", &encode_base64(&[0x7f; 512]), "AAAA"),
        O::BlockSize => {
            let mut inspector = inspector();
            inspector.look(1, start(USER, &hash, "dm").as_bytes());
            let block = encode_base64(&PROVIDER.seal(ALICE.public_key(), &[7; 190]).unwrap());
            let chunk = json!({ "file_id": USER, "index": 0, "ciphertext": block });
            return inspector.look(2, frame("FILE_CHUNK", USER, chunk).to_string().as_bytes());
        }
        O::WrapSize => {
            let wraps = json!([{ "member_id": USER, "wrapped_key": "AAAA" }]);
            frame("PUBLIC_CHANNEL_UPDATED", "*", json!({ "version": 1, "wraps": wraps })).to_string()
        }
        O::FileId => start("file-1", &hash, "dm"),
        O::FileHash => start(USER, "abc", "dm"),
        O::FileMode => start(USER, &hash, "private"),
        O::ErrorCode => frame("ERROR", USER, json!({ "code": "OH_NO", "detail": "" })).to_string(),
        O::Password => {
            json!({ "type": "USER_LOGIN", "payload": { "user_id": USER, "password": "hunter2" } }).to_string()
        }
    };
    look(&text)
}

#[test]
fn each_oddity_is_found_where_it_is() {
    for oddity in Oddity::all() {
        let finding = provoking(oddity);
        assert!(finding.is_odd(oddity), "{oddity:?}: {finding:?}");
        assert!(!format!("{finding:?}").contains("hunter2"), "no password is repeated");
    }
}

#[test]
fn a_frame_of_ours_is_not_odd() {
    let payload = json!({ "user_id": USER, "server_id": SRV });
    for text in [heartbeat(), frame("USER_REMOVE", "*", payload)] {
        let finding = look(&text.to_string());
        assert_eq!(finding.odd, [], "{text}");
        let held = finding.signature.unwrap().held.unwrap();
        assert_eq!(
            (&*held.label, held.under_from, held.canonical(), held.form.salt.bytes()),
            ("A", true, "sorted", 32)
        );
    }
}

#[test]
fn a_signature_is_tried_under_from_then_what_frames_brought_then_the_file() {
    let carol = key("carol");
    let mut inspector = inspector();
    // Nobody in the file: its own hello brings the key, which proves nothing yet.
    let hello = json!({ "host": "h", "port": 1, "pubkey": carol.public_key().to_field() });
    let sig = sign(&hello, &carol);
    let join = json!({ "type": "SERVER_HELLO_JOIN", "from": "srv-c", "to": "h:2", "ts": TS, "payload": hello, "sig": sig });
    let held = |finding: Finding| finding.signature.unwrap().held.unwrap();
    let first = held(inspector.look(1, join.to_string().as_bytes()));
    assert_eq!((&*first.label, first.under_from), ("srv-c", false));
    let beat = |from: &str, signer| json!({ "type": "HEARTBEAT", "from": from, "to": SRV, "ts": TS, "payload": {}, "sig": sign(&json!({}), signer) });
    let second = held(inspector.look(2, beat("srv-c", &carol).to_string().as_bytes()));
    assert_eq!((&*second.label, second.under_from), ("srv-c", true));
    // Somebody else signed it: brought by a frame, or of the file.
    let other = held(inspector.look(3, beat(SRV, &carol).to_string().as_bytes()));
    assert_eq!((&*other.label, other.under_from), ("srv-c", false));
    let other = held(inspector.look(4, beat("srv-c", &ALICE).to_string().as_bytes()));
    assert_eq!((&*other.label, other.under_from), ("alice", false));
    // A hello that its own signature refutes pins nothing, and a later one no other key.
    let mut forged = join.clone();
    forged["from"] = json!("srv-d");
    forged["payload"]["port"] = json!(3);
    assert!(inspector.look(5, forged.to_string().as_bytes()).is_odd(Oddity::SigWrong));
    let unknown = inspector.look(6, beat("srv-d", &carol).to_string().as_bytes());
    assert!(unknown.is_odd(Oddity::FromKeyUnknown) && !held(unknown).under_from);
}

#[test]
fn verdicts_are_those_of_a_server_and_say_what_was_assumed() {
    let mut inspector = inspector();
    let mut line = 0;
    let mut says = |from: &str, to: &str, text: &Value| {
        line += 1;
        let record = json!({ "from": from, "to": to, "text": text.to_string() });
        inspector.look(line, record.to_string().as_bytes()).verdict
    };
    // The record begins in the middle of a link.
    let advert =
        json!({ "user_id": USER, "server_id": SRV, "pubkey": ALICE.public_key().to_field(), "meta": {} });
    let verdict = says("A", "B", &frame("USER_ADVERTISE", "*", advert));
    assert_eq!(verdict.does, Does::Accepts, "{verdict:?}");
    assert!(verdict.why.contains(&format!("{USER} is online at {SRV}")), "{verdict:?}");
    assert!(verdict.assumed[0].contains(SRV), "{verdict:?}");
    let foreign = json!({ "user_id": USER, "server_id": USER });
    let verdict = says("A", "B", &frame("USER_REMOVE", "*", foreign));
    assert_eq!((verdict.does, verdict.assumed.len()), (Does::Drops, 0), "{verdict:?}");
    let mut forged = heartbeat();
    forged["payload"]["a"] = json!(1);
    let verdict = says("A", "B", &forged);
    assert_eq!((verdict.does, &*verdict.why), (Does::Refuses, "INVALID_SIG: sig does not hold"));
    let verdict = says("A", "B", &frame("SERVER_WELCOME", SRV, json!({ "clients": [] })));
    assert!(
        verdict.does == Does::Refuses && verdict.why.contains("missing field `assigned_id`"),
        "{verdict:?}"
    );
    let verdict = says("B", "bob", &frame("USER_ADDED", USER, json!({ "user_id": USER })));
    assert_eq!(verdict.does, Does::ForClient);
    // Who is turned away stays away until it says hello again.
    let hello = json!({ "type": "USER_HELLO", "from": USER, "to": SRV, "payload": { "pubkey": "AAAA" } });
    let verdict = says("alice", "B", &hello);
    assert!(verdict.why.contains("BAD_KEY") && verdict.why.contains("closes the link"), "{verdict:?}");
    let verdict = says("alice", "B", &json!({ "type": "LIST_REQUEST", "from": USER }));
    assert!(verdict.why.contains("closed this link at line 6"), "{verdict:?}");
    let hello = json!({ "type": "USER_HELLO", "from": USER, "to": SRV,
        "payload": { "pubkey": ALICE.public_key().to_field() } });
    assert_eq!(says("alice", "B", &hello).does, Does::Accepts);
}

#[test]
fn plaintext_is_found_only_when_asked_for() {
    let text = content(|ciphertext, _| [ciphertext, format!("{USER}{USER}{TS}").as_bytes()].concat());
    let opened = |finding: Finding| finding.content.unwrap().opened.unwrap();
    let hidden = look(&text);
    assert_eq!(hidden.odd, [], "{hidden:?}");
    let hidden = opened(hidden);
    assert_eq!((&*hidden.by, hidden.bytes, hidden.text), ("alice", 5, None));
    let shown = opened(inspector().showing_text().look(1, text.as_bytes()));
    assert_eq!(shown.text.as_deref(), Some("hello"));
}

#[test]
fn a_keys_file_that_cannot_be_used_says_which_party_is_wrong() {
    let read = |value: Value| Keyring::read(&value.to_string(), &open).unwrap_err();
    assert!(matches!(read(json!([])), KeysError::Form(_)));
    let error = read(json!({ "parties": [{ "label": "bob", "public_key": "AAAA" }] }));
    assert!(error.to_string().contains("\"bob\""), "{error}");
    let public_key = ALICE.public_key().to_field();
    let error = read(json!({ "parties": [{ "id": "x", "public_key": public_key, "private_key_pem": "?" }] }));
    assert!(error.to_string().contains("\"x\": private_key_pem"), "{error}");
}

#[test]
fn nothing_that_stands_in_a_line_makes_it_fall_over() {
    let mut inspector = inspector();
    let good = heartbeat().to_string();
    let mut line = 0;
    // Every beginning of a frame, and every frame with one byte changed to something nasty.
    for at in (0..good.len()).step_by(7) {
        for nasty in [b"\"".as_slice(), b"\0", b"\xf0", b"{", b"\\u", b"1e999"] {
            line += 1;
            let bytes = [&good.as_bytes()[..at], nasty, &good.as_bytes()[at + 1..]].concat();
            let finding = inspector.look(line, &bytes);
            let held = finding.signature.is_some_and(|signature| signature.held.is_some());
            // Whatever else changed, what was signed did not.
            let payload = |text: &str| Frame::parse(text, 1 << 20).unwrap().payload_canonical().to_owned();
            assert!(!held || payload(std::str::from_utf8(&bytes).unwrap()) == "{}", "{bytes:?}");
        }
        line += 1;
        assert!(inspector.look(line, &good.as_bytes()[..at]).envelope.is_none());
    }
    let finding = inspector.too_long(line, MAX_LINE_BYTES + 1);
    assert!(finding.is_odd(Oddity::TooLong) && finding.verdict.does == Does::Refuses);
}
