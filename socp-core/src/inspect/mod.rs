//! Looks at recorded frames as a server of ours would, and says of each what is odd about it, whether its signature
//! holds and under whose key, and what a server of ours would do with it and why.
//!
//! Text in, a [`Finding`] out. The reader, the checks and the rules are the real ones: frames are parsed by
//! [`Frame::parse`], signatures checked by [`check_payload`], and verdicts given by [`crate::server::Server`] machines
//! in the places of those who receive the frames. Those machines are set up as by default, but for rates and timeouts,
//! which do not apply; what else had to be assumed is said with each verdict.
//!
//! ```
//! # struct Nobody;
//! # impl socp_core::crypto::Verifier for Nobody {
//! #     fn verify(
//! #         &self,
//! #         _: &socp_core::wire::PublicKey,
//! #         _: &[u8],
//! #         _: &[u8],
//! #         _: socp_core::crypto::SaltLength,
//! #     ) -> bool {
//! #         false
//! #     }
//! # }
//! use socp_core::inspect::{Does, Inspector, Keyring, Oddity};
//!
//! let mut inspector = Inspector::new(&Nobody, Keyring::default());
//! let finding = inspector.look(1, br#"{"type":"HEARTBEAT","from":"srv-b","ts":1795343336}"#);
//! assert_eq!(finding.verdict.does, Does::Refuses);
//! assert!(finding.is_odd(Oddity::TsSeconds) && finding.is_odd(Oddity::SigMissing));
//! ```

mod content;
mod keyring;
mod odd;
mod record;
mod scene;
mod standard;
mod summary;

pub use content::{ContentFinding, ContentShape, MAX_FILES, MAX_OPENERS, Opened};
pub use keyring::{Keyring, KeysError, MAX_BROUGHT, MAX_PARTIES, MAX_TRIED, OpenPem, Party};
pub use odd::{Odd, Oddity};
pub use scene::{Does, MAX_SERVERS, MAX_SOCKETS, NOTHING_FOLLOWS, Verdict};
pub use summary::{MAX_REASONS, MAX_TYPES, Summary};

use serde_json::{Map, Value};

use crate::crypto::{CanonicalForm, Refusal, SaltLength, SignatureForm, Verifier, check_payload};
use crate::server::Limits;
use crate::wire::{CanonicalError, Frame, FrameError, KeyId, PublicKey, Timestamp};
use content::{Eyes, Files};
use record::Record;
use scene::{Heard, Scene};
use standard::Odds;

/// Longest line that is looked at, in bytes: frames that are too long for servers can be looked at all the same.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// What is known of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    /// Who wrote and who read on the socket, if the line says it.
    pub parties: Option<(Box<str>, Box<str>)>,
    /// The envelope, as far as it can be read.
    pub envelope: Option<Envelope>,
    /// The frame's length.
    pub bytes: usize,
    /// Its `sig`, if it has one.
    pub signature: Option<SignatureFinding>,
    /// Its content, if it carries one.
    pub content: Option<ContentFinding>,
    /// What is odd.
    pub odd: Vec<Odd>,
    /// What a server of ours would do.
    pub verdict: Verdict,
}

/// Of a frame that could be read. Text of peers: escape it before showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `type`.
    pub kind: Box<str>,
    /// `from`, empty if there is none.
    pub from: Box<str>,
    /// `to`, empty if there is none.
    pub to: Box<str>,
    /// `ts`.
    pub ts: Option<Timestamp>,
}

/// What is known of a `sig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFinding {
    /// How it holds; none if it does not.
    pub held: Option<Held>,
    /// How many keys were tried.
    pub tried: usize,
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key's label: the party's in the keys file, else the id that a frame brought the key for.
    pub label: Box<str>,
    /// The key.
    pub key: KeyId,
    /// Whether that is the key of `from`: the one in the keys file, else the one that an
    /// earlier frame was the first to bring.
    pub under_from: bool,
    /// Which form and salt matched.
    pub form: SignatureForm,
}

impl Held {
    /// The canonical form in one word.
    pub fn canonical(&self) -> &'static str {
        match self.form.canonical {
            CanonicalForm::Sorted => "sorted",
            CanonicalForm::Ascii => "ascii",
            CanonicalForm::Received => "received",
        }
    }
}

impl Finding {
    /// Whether this is odd about the frame.
    pub fn is_odd(&self, oddity: Oddity) -> bool {
        self.odd.iter().any(|odd| odd.oddity == oddity)
    }
}

/// Looks at lines in their order and remembers what they said.
pub struct Inspector<'a> {
    verifier: &'a dyn Verifier,
    ring: Keyring,
    scene: Scene,
    files: Files,
    /// The key under which the last signature of a writer held, and how.
    last: std::collections::BTreeMap<Box<str>, (PublicKey, SignatureForm)>,
    frame_bytes: usize,
    show_text: bool,
}

impl std::fmt::Debug for Inspector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector").field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl<'a> Inspector<'a> {
    /// One that has seen nothing yet.
    pub fn new(verifier: &'a dyn Verifier, ring: Keyring) -> Self {
        Self {
            verifier,
            ring,
            scene: Scene::default(),
            files: Files::default(),
            last: std::collections::BTreeMap::new(),
            frame_bytes: Limits::default().frame_in_bytes,
            show_text: false,
        }
    }

    /// Findings hold the plaintext of what can be decrypted.
    pub fn showing_text(self) -> Self {
        Self { show_text: true, ..self }
    }

    /// What is known of keys.
    pub fn keyring(&self) -> &Keyring {
        &self.ring
    }

    /// Looks at a line: a frame, or an object with its `text` and perhaps the parties of its socket, `from` and `to`.
    pub fn look(&mut self, line: usize, bytes: &[u8]) -> Finding {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return unreadable(line, None, bytes.len(), &FrameError::NotText);
        };
        let Record { parties, text } = Record::read(text.trim_end_matches(['\r', '\n']));
        match Frame::parse(&text, MAX_LINE_BYTES) {
            Ok(frame) => self.look_at_frame(line, parties, &frame),
            Err(error) => unreadable(line, parties, text.len(), &error),
        }
    }

    /// A line of more than [`MAX_LINE_BYTES`].
    pub fn too_long(&mut self, line: usize, bytes: usize) -> Finding {
        unreadable(line, None, bytes, &FrameError::TooLong { bytes, limit: MAX_LINE_BYTES })
    }

    fn look_at_frame(
        &mut self,
        line: usize,
        parties: Option<(Box<str>, Box<str>)>,
        frame: &Frame,
    ) -> Finding {
        let mut odds = Odds::default();
        let bytes = frame.text().len();
        if bytes > self.frame_bytes {
            odds.note(Oddity::TooLong, &format!("{bytes} bytes"));
        }
        let object: Map<String, Value> = serde_json::from_str(frame.text().as_str()).unwrap_or_default();
        let payload = object.get("payload").unwrap_or(&Value::Null);
        standard::compare(frame, &object, &mut odds);

        let writer = parties.as_ref().map(|(writer, _)| &**writer);
        let brought = keyring::brought_by(frame, payload);
        let signature = self.signature(frame, writer, &brought);
        // A frame's own word on whose key it brings proves nothing.
        let of_from = frame.from().and_then(|from| self.ring.key_of(from.as_str())).map(PublicKey::id);
        // What a signature refutes teaches nothing about who has which key.
        let pin = signature.as_ref().is_none_or(|signature| signature.held.is_some());
        for id in self.ring.learn(brought, pin) {
            odds.note(Oddity::KeyChanged, &id);
        }
        let signature = signature.map(|signature| self.with_owner(of_from, signature, &mut odds));
        let eyes = Eyes { verifier: self.verifier, ring: &self.ring, writer, show_text: self.show_text };
        let content = eyes.look(frame, payload, &mut self.files, &mut odds);
        let heard = Heard {
            line,
            parties: parties.as_ref().map(|(writer, reader)| (&**writer, &**reader)),
            frame,
            verifier: self.verifier,
            ring: &self.ring,
        };
        if parties.is_some() && self.scene.is_foreign(&heard) {
            odds.note(Oddity::FromForeign, frame.from().map_or("", |from| from.as_str()));
        }
        let verdict = match bytes > self.frame_bytes {
            true => too_long(bytes, self.frame_bytes),
            false => self.scene.judge(&heard),
        };
        let envelope = Envelope {
            kind: frame.kind().as_str().into(),
            from: frame.from().map_or("", |from| from.as_str()).into(),
            to: frame.to().as_str().into(),
            ts: frame.ts(),
        };
        odds.0.sort_by_key(|odd| odd.oddity);
        Finding { line, parties, envelope: Some(envelope), bytes, signature, content, odd: odds.0, verdict }
    }

    /// Tries the key of `from`, the one that held last for the same writer, those that the frames brought, this one
    /// included, and those of the file.
    fn signature(
        &mut self,
        frame: &Frame,
        writer: Option<&str>,
        brought: &[keyring::Brought],
    ) -> Option<SignatureFinding> {
        frame.sig()?;
        let from = frame.from().map_or("", |from| from.as_str());
        let writer = writer.unwrap_or(from);
        let last = self.last.get(writer);
        let hint = last.map(|(_, form)| *form);
        let own = brought.iter().filter(|brought| brought.is_for(from)).map(keyring::Brought::key);
        let likely = self.ring.key_of(from).into_iter().chain(own).chain(last.map(|(key, _)| key));
        let mut tried = 0;
        let found = self.ring.candidates(likely).find_map(|key| {
            tried += 1;
            Some((key.clone(), check_payload(self.verifier, key, frame, hint)?))
        });
        let held = found.map(|(key, form)| {
            if self.last.len() < MAX_SOCKETS || self.last.contains_key(writer) {
                self.last.insert(writer.into(), (key.clone(), form));
            }
            Held { label: "".into(), key: key.id(), under_from: false, form }
        });
        Some(SignatureFinding { held, tried })
    }

    /// Whose key it was that held, now that the frame's own keys are known.
    fn with_owner(
        &self,
        of_from: Option<KeyId>,
        found: SignatureFinding,
        odds: &mut Odds,
    ) -> SignatureFinding {
        let Some(held) = found.held else {
            let keys = if found.tried == 1 { "1 key".to_owned() } else { format!("{} keys", found.tried) };
            odds.note(Oddity::SigWrong, &format!("{keys} tried"));
            if of_from.is_none() {
                odds.note(Oddity::FromKeyUnknown, "");
            }
            return found;
        };
        let under_from = of_from == Some(held.key);
        let label = self.ring.label_of(held.key);
        match (of_from, under_from) {
            (None, _) => odds.note(Oddity::FromKeyUnknown, ""),
            (Some(_), false) => odds.note(Oddity::SigOtherKey, &label),
            (Some(_), true) => {}
        }
        match held.form.canonical {
            CanonicalForm::Sorted => {}
            CanonicalForm::Ascii => odds.note(Oddity::CanonicalAscii, ""),
            CanonicalForm::Received => odds.note(Oddity::CanonicalReceived, ""),
        }
        if held.form.salt == SaltLength::Max {
            odds.note(Oddity::SaltMax, "");
        }
        SignatureFinding { held: Some(Held { label, under_from, ..held }), ..found }
    }
}

fn too_long(bytes: usize, limit: usize) -> Verdict {
    Scene::judge_unreadable(&Refusal::from(FrameError::TooLong { bytes, limit }))
}

/// A line that holds no frame.
fn unreadable(
    line: usize,
    parties: Option<(Box<str>, Box<str>)>,
    bytes: usize,
    error: &FrameError,
) -> Finding {
    let oddity = match error {
        FrameError::TooLong { .. } => Oddity::TooLong,
        FrameError::NotText => Oddity::NotText,
        FrameError::Json(CanonicalError::Syntax { .. }) => Oddity::NotJson,
        FrameError::Json(CanonicalError::DuplicateKey(_)) => Oddity::DuplicateKey,
        FrameError::Json(CanonicalError::TooDeep(_)) => Oddity::TooDeep,
        FrameError::Envelope { .. } => Oddity::Envelope,
    };
    let mut odds = Odds::default();
    // Where and what exactly, the verdict says.
    odds.note(oddity, "");
    let verdict = Scene::judge_unreadable(&Refusal::from(error.clone()));
    Finding { line, parties, envelope: None, bytes, signature: None, content: None, odd: odds.0, verdict }
}
