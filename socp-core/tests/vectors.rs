//! Both providers, the canonical scanner and the key reader against vectors made by Python's
//! `cryptography` (fixtures/README.md), and the providers against each other.
#![cfg(all(feature = "aws-lc", feature = "rsa"))]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use socp_core::crypto::{
    ContentForm, ContentInput, CryptoError, MAX_PLAINTEXT_BYTES, Opener, SaltLength, Sealer, Signer,
    Verifier, aws_lc, check_content, check_shares, rsa,
};
use socp_core::wire::{
    Binary, CanonicalError, Frame, Id, KeyError, MAX_JSON_DEPTH, PublicChannelKeyShare, PublicKey, Timestamp,
    ascii_form, canonicalise, decode_base64, encode_base64,
};

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<KeyVector>,
    pss: Vec<PssVector>,
    oaep: Vec<OaepVector>,
    canonical: Vec<CanonicalVector>,
    envelope: Vec<EnvelopeVector>,
    content: Vec<ContentVector>,
    rotation: Vec<RotationVector>,
}

#[derive(Deserialize)]
struct KeyVector {
    name: String,
    spki_b64url: String,
    pem_b64url_padded: String,
    pkcs1_b64url: String,
    key_id_sha256_hex: String,
    derived_id: String,
}

#[derive(Deserialize)]
struct PssVector {
    key: String,
    message_b64url: Option<String>,
    message_repeat: Option<Repeat>,
    salt: Option<usize>,
    signature_b64url: String,
    valid: bool,
    note: String,
}

#[derive(Deserialize)]
struct Repeat {
    b64url: String,
    times: usize,
}

#[derive(Deserialize)]
struct OaepVector {
    key: String,
    plaintext_b64url: Option<String>,
    ciphertext_b64url: String,
    note: String,
}

#[derive(Deserialize)]
struct CanonicalVector {
    input: String,
    sorted: Option<String>,
    ascii: Option<String>,
    error: Option<String>,
    note: String,
}

#[derive(Deserialize)]
struct EnvelopeVector {
    key: String,
    text: String,
    form: Option<String>,
    salt: Option<usize>,
    valid: bool,
    note: String,
}

#[derive(Deserialize)]
struct ContentVector {
    kind: String,
    signer: String,
    recipient: Option<String>,
    plaintext: Option<String>,
    ciphertext_text: String,
    from: String,
    to: Option<String>,
    ts: u64,
    content_sig_b64url: String,
    creator_pub: Option<String>,
    salt: Option<usize>,
    form: String,
    valid: bool,
    note: String,
}

#[derive(Deserialize)]
struct RotationVector {
    user_id: String,
    old: String,
    new: String,
    version: u64,
    sig: String,
    valid: bool,
    note: String,
}

static VECTORS: LazyLock<Vectors> = LazyLock::new(|| {
    serde_json::from_str(include_str!("fixtures/vectors.json")).expect("make_vectors.py checked it")
});

static AWS_LC: LazyLock<aws_lc::Provider> = LazyLock::new(aws_lc::Provider::new);
static RSA: rsa::Provider = rsa::Provider::new();

/// Both providers: what holds under one must hold under the other.
fn verifiers() -> [(&'static str, &'static dyn Verifier); 2] {
    [("aws-lc", &*AWS_LC), ("rsa", &RSA)]
}

const SALTS: [SaltLength; 2] = [SaltLength::Digest, SaltLength::Max];

fn fixture(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures", path].iter().collect()
}

fn pem_of(name: &str) -> String {
    fs::read_to_string(fixture(&format!("keys/{name}.pem"))).expect("a key file per name")
}

fn bytes(text: &str) -> Vec<u8> {
    decode_base64(text).expect("the vectors hold base64url")
}

fn public_key(name: &str) -> PublicKey {
    let vector = VECTORS.keys.iter().find(|key| key.name == name).expect("every name has a key");
    PublicKey::from_field(&vector.spki_b64url).expect("a good key")
}

/// The same private key in both providers.
fn private_keys(name: &str) -> (aws_lc::PrivateKey, rsa::PrivateKey) {
    let pem = pem_of(name);
    (
        aws_lc::PrivateKey::from_pem(&pem).expect("a good key"),
        rsa::PrivateKey::from_pem(&pem).expect("a good key"),
    )
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn every_form_of_a_key_reads_as_the_same_key() {
    assert_eq!(VECTORS.keys.len(), 8);
    for vector in &VECTORS.keys {
        let name = &vector.name;
        let key = PublicKey::from_field(&vector.spki_b64url).expect(name);
        for form in [&vector.pem_b64url_padded, &vector.pkcs1_b64url] {
            assert_eq!(PublicKey::from_field(form).as_ref(), Ok(&key), "{name}");
        }
        let pkcs1_pem = pem("RSA PUBLIC KEY", &bytes(&vector.pkcs1_b64url));
        assert_eq!(PublicKey::from_pem(&pkcs1_pem).as_ref(), Ok(&key), "{name}");
        assert_eq!(key.spki(), bytes(&vector.spki_b64url), "{name}");
        assert_eq!(key.to_field(), vector.spki_b64url, "{name}");
        assert_eq!(key.id().to_string(), vector.key_id_sha256_hex, "{name}");
        assert_eq!(Id::derived_from(&key).as_str(), vector.derived_id, "{name}");
        assert!(Id::derived_from(&key).is_uuid_v4(), "{name}");
        let (aws, pure) = private_keys(name);
        assert_eq!((aws.public_key(), pure.public_key()), (&key, &key), "{name}");
    }
}

#[test]
fn weak_keys_are_refused_in_every_form() {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(fixture("keys/weak")).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("it can be read");
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).expect("PEM holds base64");
        for refused in [
            PublicKey::from_pem(&text),
            PublicKey::from_der(&der),
            PublicKey::from_field(&encode_base64(&der)),
            PublicKey::from_field(&encode_base64(text.as_bytes())),
        ] {
            assert!(matches!(refused, Err(KeyError::Weak | KeyError::Encoding)), "{name}: {refused:?}");
        }
        seen.insert(name);
    }
    for name in
        ["ec-p256", "rsa1024", "rsa2048", "rsa3072", "rsa4096-e3", "rsa4096-even", "rsa4095-zero-byte"]
    {
        assert!(seen.contains(&format!("{name}.pub.pem")), "{name} is missing");
    }
}

#[test]
fn nothing_but_the_modulus_may_differ_from_a_good_key() {
    let good = public_key("alice");
    // Header, algorithm, lengths and the modulus' top bit; its last bit and the exponent.
    for (at, mask) in (0..33).map(|at| (at, 1)).chain([(33, 0x80)]).chain((544..550).map(|at| (at, 1))) {
        let mut der = good.spki().to_vec();
        der[at] ^= mask;
        assert_eq!(PublicKey::from_der(&der), Err(KeyError::Weak), "byte {at}");
    }
    for der in [&good.spki()[1..], &good.spki()[..549], &[good.spki(), &[0]].concat()] {
        assert!(PublicKey::from_der(der).is_err(), "{} bytes", der.len());
    }
}

#[test]
fn pss_signatures_hold_with_exactly_their_salt() {
    for vector in &VECTORS.pss {
        let key = public_key(&vector.key);
        let message = match (&vector.message_b64url, &vector.message_repeat) {
            (Some(text), None) => bytes(text),
            (None, Some(repeat)) => bytes(&repeat.b64url).repeat(repeat.times),
            (Some(_), Some(_)) | (None, None) => panic!("one of both: {}", vector.note),
        };
        let signature = bytes(&vector.signature_b64url);
        for (provider, verifier) in verifiers() {
            for salt in SALTS {
                let expected = vector.valid && vector.salt == Some(salt.bytes());
                let found = verifier.verify(&key, &message, &signature, salt);
                assert_eq!(found, expected, "{provider}, {salt:?}: {}", vector.note);
            }
        }
    }
    let valid = |salt| VECTORS.pss.iter().filter(|vector| vector.valid && vector.salt == Some(salt)).count();
    assert!(valid(32) >= 4 && valid(478) >= 4 && VECTORS.pss.iter().any(|vector| !vector.valid));
}

#[test]
fn oaep_opens_what_is_meant_for_the_key_and_nothing_else() {
    for vector in &VECTORS.oaep {
        let (aws, pure) = private_keys(&vector.key);
        let ciphertext = bytes(&vector.ciphertext_b64url);
        let expected = vector.plaintext_b64url.as_deref().map(bytes).ok_or(CryptoError::Undecryptable);
        for (provider, opener) in [("aws-lc", &aws as &dyn Opener), ("rsa", &pure)] {
            assert_eq!(opener.open(&ciphertext), expected, "{provider}: {}", vector.note);
        }
    }
    assert!(VECTORS.oaep.iter().filter(|vector| vector.plaintext_b64url.is_some()).count() >= 5);
}

#[test]
fn each_provider_verifies_and_opens_what_the_other_made() {
    let (aws, pure) = private_keys("alice");
    let key = public_key("alice");
    for signer in [&aws as &dyn Signer, &pure] {
        let message = b"from one to the other";
        let signature = signer.sign(message).expect("the system gives randomness");
        assert_eq!(signer.public_key(), &key);
        assert_ne!(signature, signer.sign(message).expect("as before"), "the salt is random");
        for (provider, verifier) in verifiers() {
            assert!(verifier.verify(&key, message, &signature, SaltLength::Digest), "{provider}");
            assert!(!verifier.verify(&key, message, &signature, SaltLength::Max), "{provider}");
            assert!(
                !verifier.verify(&key, b"from one to another", &signature, SaltLength::Digest),
                "{provider}"
            );
            assert!(
                !verifier.verify(&public_key("bob"), message, &signature, SaltLength::Digest),
                "{provider}"
            );
        }
    }
    for sealer in [&*AWS_LC as &dyn Sealer, &RSA] {
        for length in [0, 1, MAX_PLAINTEXT_BYTES] {
            let plaintext = vec![0x5a; length];
            let ciphertext = sealer.seal(&key, &plaintext).expect("it fits");
            assert_ne!(ciphertext, sealer.seal(&key, &plaintext).expect("it fits"), "the seed is random");
            for opener in [&aws as &dyn Opener, &pure] {
                assert_eq!(opener.open(&ciphertext).as_deref(), Ok(&plaintext[..]), "{length} bytes");
            }
        }
        let too_long = MAX_PLAINTEXT_BYTES + 1;
        assert_eq!(sealer.seal(&key, &vec![0; too_long]), Err(CryptoError::PlaintextTooLong(too_long)));
    }
}

#[test]
fn private_keys_survive_pem_and_der_in_both_providers() {
    for vector in &VECTORS.keys {
        let text = pem_of(&vector.name);
        let (aws, pure) = private_keys(&vector.name);
        assert_eq!(aws.to_pem().as_str(), text, "{}", vector.name);
        assert_eq!(pure.to_pem().as_str(), text, "{}", vector.name);
    }
    let text = pem_of("alice");
    let (aws, pure) = private_keys("alice");
    let der = aws.to_pkcs8_der();
    assert_eq!(der, pure.to_pkcs8_der());
    // A PKCS#8 key is 26 bytes of wrapping and the PKCS#1 key.
    let pkcs1 = pem("RSA PRIVATE KEY", &der[26..]);
    let windows = format!("Bag Attributes\r\n{}", text.replace('\n', "\r\n"));
    for form in [pkcs1, windows] {
        assert_eq!(aws_lc::PrivateKey::from_pem(&form).expect("aws-lc reads it").to_pem().as_str(), text);
        assert_eq!(rsa::PrivateKey::from_pem(&form).expect("rsa reads it").to_pem().as_str(), text);
    }
    let shown = format!("PrivateKey({})", public_key("alice").id());
    assert_eq!((format!("{aws:?}"), format!("{pure:?}")), (shown.clone(), shown));
}

#[test]
fn other_private_keys_are_refused() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    let small = KeyPair::generate(KeySize::Rsa2048).expect("the system gives randomness");
    let small: Pkcs8V1Der = small.as_der().expect("it was just made");
    let text = pem_of("alice");
    for refused in [
        pem("PRIVATE KEY", small.as_ref()),
        pem("RSA PRIVATE KEY", &small.as_ref()[26..]),
        pem("RSA PRIVATE KEY", small.as_ref()),
        pem("PUBLIC KEY", public_key("alice").spki()),
        pem("PRIVATE KEY", public_key("alice").spki()),
        text.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        text.replace("-----END PRIVATE KEY-----\n", ""),
        text.replacen("BEGIN PRIVATE", "BEGIN RSA PRIVATE", 1),
        text.replace("PRIVATE KEY-----\nMII", "PRIVATE KEY-----\nM!I"),
        String::new(),
    ] {
        assert_ne!(refused, text);
        assert_eq!(
            aws_lc::PrivateKey::from_pem(&refused).err(),
            Some(CryptoError::BadPrivateKey),
            "{refused}"
        );
        assert_eq!(rsa::PrivateKey::from_pem(&refused).err(), Some(CryptoError::BadPrivateKey), "{refused}");
    }
}

#[test]
fn a_generated_key_signs_and_opens() {
    let aws = aws_lc::PrivateKey::generate().expect("the system gives randomness");
    let pure = rsa::PrivateKey::generate().expect("the system gives randomness");
    // Each key made by one provider is used in the other.
    let aws_in_rsa = rsa::PrivateKey::from_pem(&aws.to_pem()).expect("a good key");
    let rsa_in_aws = aws_lc::PrivateKey::from_pem(&pure.to_pem()).expect("a good key");
    assert_eq!((aws.public_key(), pure.public_key()), (aws_in_rsa.public_key(), rsa_in_aws.public_key()));
    assert_ne!(aws.public_key(), pure.public_key());
    for (signer, opener) in [(&aws as &dyn Signer, &aws_in_rsa as &dyn Opener), (&pure, &rsa_in_aws)] {
        let key = signer.public_key();
        let signature = signer.sign(b"hello").expect("the system gives randomness");
        assert!(verifiers().iter().all(|(_, by)| by.verify(key, b"hello", &signature, SaltLength::Digest)));
        let sealed = RSA.seal(key, b"hello").expect("it fits");
        assert_eq!(opener.open(&sealed).as_deref(), Ok(&b"hello"[..]));
    }
}

#[test]
fn canonical_json_is_what_python_writes() {
    for vector in &VECTORS.canonical {
        let note = &vector.note;
        let found = canonicalise(&vector.input, MAX_JSON_DEPTH);
        match vector.error.as_deref() {
            None => {
                let sorted = vector.sorted.as_deref().expect("a form where there is no error");
                let ascii = vector.ascii.as_deref().expect("a form where there is no error");
                assert_eq!(found.as_deref(), Ok(sorted), "{note}");
                assert_eq!(
                    ascii_form(sorted).as_deref(),
                    Some(ascii).filter(|ascii| *ascii != sorted),
                    "{note}"
                );
                assert_eq!(canonicalise(ascii, MAX_JSON_DEPTH).as_deref(), Ok(sorted), "{note}");
                assert_eq!(canonicalise(sorted, MAX_JSON_DEPTH).as_deref(), Ok(sorted), "{note}");
            }
            Some("duplicate") => {
                assert!(matches!(found, Err(CanonicalError::DuplicateKey(_))), "{note}: {found:?}")
            }
            Some("depth") => assert_eq!(found, Err(CanonicalError::TooDeep(MAX_JSON_DEPTH)), "{note}"),
            Some(error @ ("syntax" | "surrogate")) => {
                let Err(CanonicalError::Syntax { what, .. }) = found else { panic!("{note}: {found:?}") };
                assert_eq!(what == "lone surrogate", error == "surrogate", "{note}: {what}");
            }
            Some(error) => panic!("{note}: no such error: {error}"),
        }
    }
    let count =
        |error: Option<&str>| VECTORS.canonical.iter().filter(|v| v.error.as_deref() == error).count();
    for error in [None, Some("duplicate"), Some("depth"), Some("syntax"), Some("surrogate")] {
        assert!(count(error) >= 5, "{error:?}");
    }
}

/// The first form and salt under which the frame's `sig` holds, in the order in which they are tried.
fn envelope_form(
    verifier: &dyn Verifier,
    key: &PublicKey,
    frame: &Frame,
) -> Option<(&'static str, SaltLength)> {
    let signature = frame.sig()?.bytes();
    let sorted = frame.payload_canonical();
    let ascii = ascii_form(sorted);
    let texts = [
        ("sorted", sorted),
        ("ascii", ascii.as_deref().unwrap_or(sorted)),
        ("received", frame.payload_received()),
    ];
    texts.into_iter().flat_map(|(form, text)| SALTS.map(|salt| (form, text, salt))).find_map(
        |(form, text, salt)| verifier.verify(key, text.as_bytes(), signature, salt).then_some((form, salt)),
    )
}

fn parse(text: &str) -> Result<Frame, socp_core::wire::FrameError> {
    Frame::parse(text, 1 << 20)
}

#[test]
fn envelopes_hold_in_the_form_that_was_signed() {
    for vector in &VECTORS.envelope {
        let key = public_key(&vector.key);
        let frame = parse(&vector.text);
        if vector.valid {
            assert!(frame.is_ok(), "{}: {frame:?}", vector.note);
        }
        for (provider, verifier) in verifiers() {
            let found = frame.as_ref().ok().and_then(|frame| envelope_form(verifier, &key, frame));
            let found = found.map(|(form, salt)| (form, Some(salt.bytes())));
            let expected = vector.form.as_deref().map(|form| (form, vector.salt)).filter(|_| vector.valid);
            assert_eq!(found, expected, "{provider}: {}", vector.note);
        }
    }
    for form in ["sorted", "ascii", "received"] {
        assert!(VECTORS.envelope.iter().any(|v| v.valid && v.form.as_deref() == Some(form)), "{form}");
    }
}

#[test]
fn no_character_of_a_signed_payload_can_be_changed() {
    let changed = |character: char| match character {
        '0'..='8' | 'a'..='y' | 'A'..='Y' => char::from_u32(u32::from(character) + 1).expect("still ASCII"),
        '9' => '0',
        _ => 'x',
    };
    for form in ["sorted", "ascii", "received"] {
        let of_form = |v: &&EnvelopeVector| v.valid && v.form.as_deref() == Some(form);
        // The shortest that has anything to change, and one advert.
        let shortest = VECTORS
            .envelope
            .iter()
            .filter(of_form)
            .filter(|v| parse(&v.text).is_ok_and(|frame| frame.payload_received().len() > 10));
        let shortest = shortest.min_by_key(|v| v.text.len()).expect("one of each form");
        let advert = VECTORS.envelope.iter().filter(of_form).find(|v| v.text.contains("USER_ADVERTISE"));
        for vector in [shortest, advert.expect("one of each form")] {
            let key = public_key(&vector.key);
            let frame = parse(&vector.text).expect("it is valid");
            let payload = frame.payload_received();
            let start = vector.text.find(payload).expect("the payload stands in the text");
            let mut judged = 0;
            for (at, character) in payload.char_indices() {
                let mut text = vector.text.clone();
                let at = start + at;
                text.replace_range(
                    at..at + character.len_utf8(),
                    changed(character).encode_utf8(&mut [0; 4]),
                );
                let Ok(altered) = parse(&text) else { continue };
                // `\u00e9` and `\u00E9` are one document; only the received form tells them apart.
                if form != "received" && altered.payload_canonical() == frame.payload_canonical() {
                    continue;
                }
                judged += 1;
                assert_eq!(envelope_form(&*AWS_LC, &key, &altered), None, "{} at {at}: {text}", vector.note);
            }
            assert!(judged * 4 > payload.len(), "{}: {judged} of {}", vector.note, payload.len());
        }
    }
}

/// §12: a creator signs the shares, canonical, then `creator_pub` as it is written.
#[test]
fn key_shares_hold_as_their_creator_signed_them() {
    let (mut valid, mut invalid) = (0, 0);
    for vector in VECTORS.content.iter().filter(|vector| vector.kind == "keyshare") {
        let note = &vector.note;
        let payload = format!(
            r#"{{"shares":{},"creator_pub":"{}","content_sig":"{}"}}"#,
            vector.ciphertext_text,
            vector.creator_pub.as_deref().expect(note),
            vector.content_sig_b64url
        );
        let share: PublicChannelKeyShare = serde_json::from_str(&payload).expect(note);
        let (key, signature) = (public_key(&vector.signer), share.content_sig.as_ref().expect(note));
        for (provider, verifier) in verifiers() {
            let holds = check_shares(verifier, &key, &share.signed_text(), signature.bytes());
            assert_eq!(holds, vector.valid, "{provider}: {note}");
        }
        *if vector.valid { &mut valid } else { &mut invalid } += 1;
    }
    assert_eq!((valid, invalid), (4, 3));
}

#[test]
fn content_signatures_bind_sender_recipient_and_time() {
    let (mut valid, mut invalid) = (0, 0);
    // Key shares sign another input, and are no messages.
    for vector in VECTORS.content.iter().filter(|vector| vector.kind != "keyshare") {
        let note = &vector.note;
        let key = public_key(&vector.signer);
        let signature = decode_base64(&vector.content_sig_b64url).expect(note);
        let input = ContentInput {
            ciphertext: Binary::parse(&vector.ciphertext_text).expect(note),
            from: vector.from.parse().expect(note),
            to: vector.to.as_deref().map(|to| to.parse().expect(note)),
            ts: Timestamp(vector.ts),
        };
        let salt = SALTS.into_iter().find(|salt| Some(salt.bytes()) == vector.salt);
        let expected = salt.filter(|_| vector.valid).map(|salt| ContentForm {
            text: vector.form.starts_with("text"),
            digest: vector.form.ends_with("digest"),
            salt,
        });
        for (provider, verifier) in verifiers() {
            assert_eq!(
                check_content(verifier, &key, &input, &signature, None),
                expected,
                "{provider}: {note}"
            );
        }
        if !vector.valid {
            invalid += 1;
            continue;
        }
        valid += 1;
        for hint in [expected, Some(ContentForm { text: true, digest: true, salt: SaltLength::Max })] {
            assert_eq!(check_content(&*AWS_LC, &key, &input, &signature, hint), expected, "{hint:?}: {note}");
        }
        let other: Id = "somebody-else".parse().expect("an id");
        for altered in [
            ContentInput { to: Some(other.clone()), ..input.clone() },
            ContentInput {
                to: if input.to.is_some() { None } else { Some(input.from.clone()) },
                ..input.clone()
            },
            ContentInput { from: other, ..input.clone() },
            ContentInput { ts: Timestamp(vector.ts + 1), ..input.clone() },
            ContentInput { ts: Timestamp(vector.ts / 10), ..input.clone() },
        ] {
            assert_eq!(
                check_content(&*AWS_LC, &key, &altered, &signature, expected),
                None,
                "{altered:?}: {note}"
            );
        }
        if let (Some(recipient), Some(plaintext)) = (&vector.recipient, &vector.plaintext) {
            let (key, _) = private_keys(recipient);
            assert_eq!(key.open(input.ciphertext.bytes()).as_deref(), Ok(plaintext.as_bytes()), "{note}");
        }
    }
    assert!(valid >= 20 && invalid >= 20, "{valid} valid, {invalid} invalid");
}

#[test]
fn rotations_are_signed_by_the_old_key_over_the_canonical_rest() {
    for vector in &VECTORS.rotation {
        let RotationVector { user_id, old, new, version, .. } = vector;
        let signed = serde_json::json!({ "user_id": user_id, "old": old, "new": new, "version": version });
        let canonical = canonicalise(&signed.to_string(), MAX_JSON_DEPTH).expect("a JSON writer wrote it");
        let key = PublicKey::from_field(old).expect("a good key");
        for (provider, verifier) in verifiers() {
            let found = verifier.verify(&key, canonical.as_bytes(), &bytes(&vector.sig), SaltLength::Digest);
            assert_eq!(found, vector.valid, "{provider}: {}", vector.note);
        }
    }
}
