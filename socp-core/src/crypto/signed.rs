//! Frames of our own: [`Unsigned`] has no text; only signing it gives one.
//!
//! `sig` covers the payload alone (§12), so the unit of signing is the payload: a [`SharedPayload`] is
//! signed once, ever, however many envelopes carry it.

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use super::{CryptoError, Signature, Signer};
use crate::dialect::{Dialect, Writing};
use crate::wire::{FrameType, Id, Payload, Recipient, Timestamp, WireText, canonicalise};

/// A canonical payload and, once made, its signature; cloning shares both.
#[derive(Clone)]
pub struct SharedPayload(Arc<Inner>);

struct Inner {
    kind: FrameType,
    canonical: Canonical,
    /// What stands beside the payload in the frame, and is signed by nobody.
    beside: Box<str>,
    writing: Writing,
    signature: OnceLock<Signature>,
    /// The same payload in other dialects, made when first asked for; `None` for those that are spared it.
    dressed: OnceLock<Box<Wardrobe>>,
}

enum Canonical {
    Written(Box<str>),
    /// Written by whoever needs it first.
    Later {
        text: LazyLock<Box<str>, Box<dyn FnOnce() -> Box<str> + Send>>,
        about_bytes: usize,
    },
}

type Wardrobe = [OnceLock<Option<SharedPayload>>; Dialect::ALL.len()];

impl SharedPayload {
    /// Writes a payload in canonical form.
    pub fn new(payload: &Payload) -> Self {
        let canonical = Canonical::Written(canonical_of(payload));
        Self::of(payload.frame_type(), canonical, String::new(), Writing::STANDARD)
    }

    /// A long payload, of about so many bytes, which whoever signs it writes: pages of a directory are half a megabyte
    /// each, take milliseconds, and would all lie in memory until they are signed.
    pub(crate) fn later(payload: Payload, about_bytes: usize) -> Self {
        let kind = payload.frame_type();
        let text = LazyLock::new(Box::new(move || canonical_of(&payload)) as Box<dyn FnOnce() -> _ + Send>);
        Self::of(kind, Canonical::Later { text, about_bytes }, String::new(), Writing::STANDARD)
    }

    fn of(kind: FrameType, canonical: Canonical, beside: String, writing: Writing) -> Self {
        Self(Arc::new(Inner {
            kind,
            canonical,
            beside: beside.into(),
            writing,
            signature: OnceLock::new(),
            dressed: OnceLock::new(),
        }))
    }

    /// The same in a dialect; made once, signed once. `None` if its speakers are spared it.
    fn dressed(&self, dialect: Dialect) -> Option<Self> {
        let profile = dialect.profile();
        if !profile.dresses() {
            return Some(self.clone());
        }
        let wardrobe = self.0.dressed.get_or_init(Default::default);
        let dressed = wardrobe[dialect as usize].get_or_init(|| {
            let (kind, canonical) = (self.0.kind.clone(), self.canonical());
            let text = profile.dress(&kind, canonical)?;
            let beside = profile.beside(&kind, &text);
            Some(Self::of(kind, Canonical::Written(text.into()), beside, profile.writing))
        });
        dressed.clone()
    }

    /// The canonical text.
    pub fn canonical(&self) -> &str {
        match &self.0.canonical {
            Canonical::Written(text) => text,
            Canonical::Later { text, .. } => text,
        }
    }

    /// Its length in bytes; about, if it is written later.
    fn about_bytes(&self) -> usize {
        match &self.0.canonical {
            Canonical::Written(text) => text.len(),
            Canonical::Later { about_bytes, .. } => *about_bytes,
        }
    }

    /// What tells it from all others that live, clones of it aside.
    pub fn place(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether the signature has been made.
    pub fn is_signed(&self) -> bool {
        self.0.signature.get().is_some()
    }

    /// Signs it, if nobody has; what carries it is then signed for nothing.
    ///
    /// # Errors
    /// If the signer fails.
    pub fn sign(&self, signer: &dyn Signer) -> Result<(), CryptoError> {
        self.signature(signer).map(drop)
    }

    fn signature(&self, signer: &dyn Signer) -> Result<&Signature, CryptoError> {
        if let Some(signature) = self.0.signature.get() {
            return Ok(signature);
        }
        let signature = signer.sign_with(self.canonical().as_bytes(), self.0.writing.salt)?;
        Ok(self.0.signature.get_or_init(|| signature))
    }
}

fn canonical_of(payload: &Payload) -> Box<str> {
    let json = payload.write().expect("payloads are plain data with string keys");
    // Our own types nest a handful of levels; what peers nested deeper was refused when it was read.
    let canonical = canonicalise(&json, usize::MAX);
    canonical.expect("a JSON writer writes JSON without duplicate keys").into()
}

impl PartialEq for SharedPayload {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.kind == other.0.kind
                && self.0.writing == other.0.writing
                && self.canonical() == other.canonical())
    }
}

impl Eq for SharedPayload {}

impl fmt::Debug for SharedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical())
    }
}

/// A frame of ours that waits for its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    from: Id,
    to: Recipient,
    ts: Timestamp,
    payload: SharedPayload,
}

impl Unsigned {
    /// A frame with this envelope.
    pub fn new(from: Id, to: Recipient, ts: Timestamp, payload: SharedPayload) -> Self {
        Self { from, to, ts, payload }
    }

    /// The frame as a dialect wants it; `None` if its speakers are better spared it.
    pub fn dressed(&self, dialect: Dialect) -> Option<Self> {
        let (from, to) = (self.from.clone(), self.to.clone());
        Some(Self { from, to, ts: self.ts, payload: self.payload.dressed(dialect)? })
    }

    /// The frame's type.
    pub fn kind(&self) -> &FrameType {
        &self.payload.0.kind
    }

    /// The envelope's `to`.
    pub fn to(&self) -> &Recipient {
        &self.to
    }

    /// The envelope's `ts`.
    pub fn ts(&self) -> Timestamp {
        self.ts
    }

    /// The payload.
    pub fn payload(&self) -> &SharedPayload {
        &self.payload
    }

    /// Length in bytes of the text that signing will give: within a few bytes, or about, if the payload is a long one
    /// that whoever signs writes.
    pub fn encoded_len(&self) -> usize {
        self.length_around(self.payload.about_bytes())
    }

    fn length_around(&self, payload_bytes: usize) -> usize {
        const ENVELOPE: usize = 80;
        const SIGNATURE: usize = 683;
        let ids = self.from.as_str().len() + self.to.as_str().len();
        ENVELOPE + SIGNATURE + ids + self.kind().as_str().len() + payload_bytes + self.payload.0.beside.len()
    }

    /// Signs, or reuses the payload's signature, and writes the text.
    ///
    /// # Errors
    /// If the signer fails.
    pub fn sign(&self, signer: &dyn Signer) -> Result<Signed, CryptoError> {
        let signature = self.payload.signature(signer)?;
        Ok(Signed(self.write(Some(signature)).into()))
    }

    /// The text of a frame that is not signed, which of our frames FILE_CHUNK alone is (decisions §1).
    pub(crate) fn without_signature(&self) -> WireText {
        self.write(None).into()
    }

    fn write(&self, signature: Option<&Signature>) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(self.length_around(self.payload.canonical().len()));
        let literal = crate::wire::string_literal;
        write!(
            text,
            "{{\"type\":{},\"from\":{},\"to\":{},\"ts\":{},\"payload\":{}",
            literal(self.kind().as_str()),
            literal(self.from.as_str()),
            literal(self.to.as_str()),
            self.ts,
            self.payload.canonical(),
        )
        .expect("writing to a string cannot fail");
        text.push_str(&self.payload.0.beside);
        if let Some(signature) = signature {
            text.push_str(",\"sig\":\"");
            text.push_str(&self.payload.0.writing.sig.encode(signature));
            text.push('"');
        }
        text.push('}');
        text
    }
}

/// The text of a frame of ours, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed(WireText);

impl Signed {
    /// The text.
    pub fn text(&self) -> &WireText {
        &self.0
    }

    /// The text, by value.
    pub fn into_text(self) -> WireText {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Directory;

    #[test]
    fn what_is_written_later_is_the_same() {
        let page = Payload::Directory(Directory { users: Vec::new(), page: Some(2), pages: Some(3) });
        let (now, later) = (SharedPayload::new(&page), SharedPayload::later(page, 1_000));
        let from: Id = "0d0e2f3a-8a0e-4b6d-9a58-0c9a1ad0e6b4".parse().unwrap();
        let frame = |payload: &SharedPayload| {
            Unsigned::new(from.clone(), Recipient::Everyone, Timestamp(1), payload.clone())
        };
        assert_eq!(frame(&later).encoded_len(), frame(&now).encoded_len() - now.canonical().len() + 1_000);
        assert_eq!(later.canonical(), r#"{"page":2,"pages":3,"users":[]}"#);
        assert_eq!(frame(&later), frame(&now));
        assert_eq!(frame(&later).without_signature(), frame(&now).without_signature());
    }
}
