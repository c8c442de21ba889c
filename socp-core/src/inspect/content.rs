//! Content, end to end: in which form a `content_sig` binds it (§12), and whether its recipient can read it (§4).

use std::collections::BTreeMap;

use serde_json::Value;

use super::keyring::Keyring;
use super::odd::Oddity;
use super::standard::Odds;
use crate::crypto::{
    ContentForm, ContentInput, MAX_PLAINTEXT_BYTES, RSA_BYTES, SaltLength, Unverified, Verifier,
    check_content, manifest_check, share_check,
};
use crate::wire::{Binary, Frame, FrameType, Id, Payload, PublicKey, Timestamp};

/// Files whose size is remembered, to know how long their blocks should be.
pub const MAX_FILES: usize = 1024;

/// Private keys that a ciphertext is tried under if its recipient's is not known, at 1.6 ms each.
pub const MAX_OPENERS: usize = 16;

/// What a content signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentShape {
    /// Ciphertext, sender, recipient and time, in a form that is read.
    Bound(ContentForm),
    /// The same as text, joined by `|`, the time with six zeros behind its point: not read.
    Separated(SaltLength),
    /// The ciphertext's text, and nothing else: it counts as none.
    TextAlone(SaltLength),
    /// The manifest of a file, or key shares, as they stand in the payload.
    Payload,
}

/// What is known of a content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentFinding {
    /// `content_sig`, if there is one: the label of the key under which it holds, and what it covers.
    pub signature: Option<Option<(Box<str>, ContentShape)>>,
    /// Whether it was decrypted; none without the key, or without a ciphertext.
    pub opened: Option<Opened>,
}

/// A decrypted content.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whose key opened it: a label.
    pub by: Box<str>,
    /// How long it is.
    pub bytes: usize,
    /// What it says, if that was asked for and it is text. Escape it before showing.
    pub text: Option<Box<str>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({}, {} bytes)", self.by, self.bytes)
    }
}

/// Sizes of files on their way, by `file_id`.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<Box<str>, u64>);

/// What contents are looked at with.
pub(super) struct Eyes<'a> {
    pub(super) verifier: &'a dyn Verifier,
    pub(super) ring: &'a Keyring,
    /// Who wrote on the socket, if the record says it.
    pub(super) writer: Option<&'a str>,
    pub(super) show_text: bool,
}

impl Eyes<'_> {
    pub(super) fn look(
        &self,
        frame: &Frame,
        payload: &Value,
        files: &mut Files,
        odds: &mut Odds,
    ) -> Option<ContentFinding> {
        if let Payload::FileStart(start) | Payload::FileStartDeliver(start) = frame.payload()
            && files.0.len() < MAX_FILES
        {
            files.0.insert(start.file_id.clone(), start.size);
        }
        let ciphertext = payload.get("ciphertext").and_then(Value::as_str);
        let signature = payload.get("content_sig");
        if ciphertext.is_none() && signature.is_none() {
            return None;
        }
        let opened = ciphertext.and_then(|text| self.open(frame, payload, text, odds));
        if let (Payload::FileChunk(chunk) | Payload::FileChunkDeliver(chunk), Some(opened)) =
            (frame.payload(), &opened)
        {
            let end = chunk.index.saturating_add(1).saturating_mul(MAX_PLAINTEXT_BYTES as u64);
            let full = files.0.get(&chunk.file_id).is_some_and(|size| end <= *size);
            if full && opened.bytes != MAX_PLAINTEXT_BYTES {
                odds.note(Oddity::BlockSize, &format!("{} bytes", opened.bytes));
            }
        }
        let needed = matches!(
            frame.kind(),
            FrameType::MsgDirect
                | FrameType::MsgPublicChannel
                | FrameType::ServerDeliver
                | FrameType::UserDeliver
                | FrameType::PublicChannelKeyShare
        );
        // Elsewhere it only refers to a message.
        let covered = ciphertext.is_some()
            || matches!(frame.kind(), FrameType::FileStart | FrameType::PublicChannelKeyShare);
        let signature = signature.filter(|_| covered || needed).and_then(Value::as_str);
        let signature = match signature.filter(|text| !text.is_empty()) {
            Some(text) => Some(self.signature(frame, payload, ciphertext, text, odds)),
            None => {
                if needed {
                    odds.note(Oddity::ContentSigMissing, "");
                }
                None
            }
        };
        (covered || needed).then_some(ContentFinding { signature, opened })
    }

    fn signature(
        &self,
        frame: &Frame,
        payload: &Value,
        ciphertext: Option<&str>,
        signature: &str,
        odds: &mut Odds,
    ) -> Option<(Box<str>, ContentShape)> {
        let signature =
            Binary::parse(signature).ok().filter(|signature| signature.bytes().len() == RSA_BYTES);
        let Some(signature) = signature else {
            odds.note(Oddity::ContentSigMalformed, "");
            return None;
        };
        let author = self.author(frame, payload);
        let named = payload.get("sender_pub").and_then(Value::as_str);
        let named = named.and_then(|field| PublicKey::from_field(field).ok());
        let known = author.as_ref().and_then(|author| self.ring.key_of(author)).cloned();
        let keys: Vec<PublicKey> = known.into_iter().chain(named).collect();
        let found = keys.iter().find_map(|key| {
            let shape = match ciphertext {
                Some(text) => self.shape(frame, payload, text, author.as_deref()?, key, signature.bytes()),
                None => self.payload_shape(frame, key),
            };
            Some((self.ring.label_of(key.id()), shape?))
        });
        match &found {
            None => odds.note(Oddity::ContentSigWrong, ""),
            Some((_, ContentShape::Bound(form))) => {
                if form.text {
                    odds.note(Oddity::ContentText, "");
                }
                if form.digest {
                    odds.note(Oddity::ContentDigest, "");
                }
            }
            Some((_, ContentShape::Separated(_))) => odds.note(Oddity::ContentSeparated, ""),
            Some((_, ContentShape::TextAlone(_))) => odds.note(Oddity::ContentUnbound, ""),
            Some((_, ContentShape::Payload)) => {}
        }
        found
    }

    /// Every recipient and time that the frame may mean, in every form that was ever seen.
    fn shape(
        &self,
        frame: &Frame,
        payload: &Value,
        ciphertext: &str,
        author: &str,
        key: &PublicKey,
        signature: &[u8],
    ) -> Option<ContentShape> {
        let times = times(frame, payload);
        let recipient = recipient(frame, payload);
        let from: Id = author.parse().ok()?;
        let to: Option<Id> = recipient.as_deref().and_then(|to| to.parse().ok());
        let public = frame.kind().as_str().starts_with("MSG_PUBLIC_CHANNEL");
        let binary = Binary::parse(ciphertext).ok();
        for ts in &times {
            let forms = if public { vec![None, to.clone()] } else { vec![to.clone()] };
            for to in forms {
                let Some(ciphertext) = binary.clone() else { continue };
                let input = ContentInput { ciphertext, from: from.clone(), to, ts: *ts };
                if let Some(form) = check_content(self.verifier, key, &input, signature, None) {
                    return Some(ContentShape::Bound(form));
                }
            }
        }
        let holds = |message: &[u8]| {
            let salts = [SaltLength::Max, SaltLength::Digest];
            salts.into_iter().find(|salt| self.verifier.verify(key, message, signature, *salt))
        };
        let separated = times.iter().find_map(|ts| {
            let to = recipient.as_deref()?;
            holds(format!("{ciphertext}|{author}|{to}|{ts}.000000").as_bytes())
        });
        let separated = separated.map(ContentShape::Separated);
        separated.or_else(|| holds(ciphertext.as_bytes()).map(ContentShape::TextAlone))
    }

    fn payload_shape(&self, frame: &Frame, key: &PublicKey) -> Option<ContentShape> {
        let check = match frame.payload() {
            Payload::FileStart(start) => manifest_check(frame, start, key.clone(), true)?,
            Payload::PublicChannelKeyShare(share) => share_check(share, key)?,
            _ => return None,
        };
        let held = Unverified::new(frame.clone(), vec![check]).verify(self.verifier);
        held.is_ok().then_some(ContentShape::Payload)
    }

    fn author(&self, frame: &Frame, payload: &Value) -> Option<Box<str>> {
        let text = |name: &str| payload.get(name).and_then(Value::as_str).map(Box::from);
        let from = || frame.from().map(|from| from.as_str().into());
        text("sender").or_else(from).or_else(|| self.writer.map(Box::from))
    }

    fn open(&self, frame: &Frame, payload: &Value, ciphertext: &str, odds: &mut Odds) -> Option<Opened> {
        let Ok(binary) = Binary::parse(ciphertext) else {
            odds.note(Oddity::Plaintext, "");
            return None;
        };
        if binary.bytes().len() != RSA_BYTES {
            let text = std::str::from_utf8(binary.bytes()).is_ok_and(|text| !text.contains(char::is_control));
            let size = format!("{} bytes", binary.bytes().len());
            odds.note(if text { Oddity::Plaintext } else { Oddity::CiphertextSize }, &size);
            return None;
        }
        let recipient = recipient(frame, payload);
        let known = recipient.as_deref().and_then(|to| self.ring.opener_of(to));
        let all = self.ring.parties().iter().filter_map(|party| Some((party, party.opener.as_deref()?)));
        let openers: Vec<_> = match known {
            Some(known) => vec![known],
            None => all.take(MAX_OPENERS).collect(),
        };
        let opened = openers.iter().find_map(|(party, opener)| {
            let plaintext = opener.open(binary.bytes()).ok()?;
            let text = String::from_utf8(plaintext.clone()).ok().filter(|_| self.show_text);
            let text = text.map(String::into_boxed_str);
            Some(Opened { by: party.label.clone(), bytes: plaintext.len(), text })
        });
        if let (None, Some((party, _))) = (&opened, known) {
            odds.note(Oddity::Undecryptable, &party.label);
        }
        opened
    }
}

/// Whom a content is for, in all dialects: the payload's word, then the envelope's.
fn recipient(frame: &Frame, payload: &Value) -> Option<Box<str>> {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    let envelope = Some(frame.to().as_str()).filter(|to| !to.is_empty());
    text("user_id").or_else(|| text("to")).or(envelope).map(Box::from)
}

/// The times that the author may have meant.
fn times(frame: &Frame, payload: &Value) -> Vec<Timestamp> {
    let named = ["ts", "original_ts", "timestamp"].into_iter().filter_map(|name| payload.get(name));
    let named = named.filter_map(|value| serde_json::from_value::<Timestamp>(value.clone()).ok());
    let mut times: Vec<Timestamp> = named.chain(frame.ts()).collect();
    times.dedup();
    if times.is_empty() {
        times.push(Timestamp(0));
    }
    times
}
