//! Frames of our own: [`Unsigned`] has no text; only signing it gives one.
//!
//! `sig` covers the payload alone (§12), so the unit of signing is the payload: a [`SharedPayload`] is
//! signed once, ever, however many envelopes carry it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{CryptoError, Signature, Signer};
use crate::dialect::{Dialect, Writing};
use crate::wire::{FrameType, Id, Payload, Recipient, Timestamp, WireText, canonicalise};

/// A canonical payload and, once made, its signature; cloning shares both.
#[derive(Clone)]
pub struct SharedPayload(Arc<Inner>);

struct Inner {
    kind: FrameType,
    canonical: Box<str>,
    /// What stands beside the payload in the frame, and is signed by nobody.
    beside: Box<str>,
    writing: Writing,
    signature: OnceLock<Signature>,
    /// The same payload in other dialects, made when first asked for; `None` for those that are spared it.
    dressed: OnceLock<Box<Wardrobe>>,
}

type Wardrobe = [OnceLock<Option<SharedPayload>>; Dialect::ALL.len()];

impl SharedPayload {
    /// Writes a payload in canonical form.
    pub fn new(payload: &Payload) -> Self {
        let json = payload.write().expect("payloads are plain data with string keys");
        // Our own types nest a handful of levels; what peers nested deeper was refused when it was read.
        let canonical =
            canonicalise(&json, usize::MAX).expect("a JSON writer writes JSON without duplicate keys");
        Self::of(payload.frame_type(), canonical, String::new(), Writing::STANDARD)
    }

    fn of(kind: FrameType, canonical: String, beside: String, writing: Writing) -> Self {
        Self(Arc::new(Inner {
            kind,
            canonical: canonical.into(),
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
            Some(Self::of(kind, text, beside, profile.writing))
        });
        dressed.clone()
    }

    /// The canonical text.
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// Whether the signature has been made.
    pub fn is_signed(&self) -> bool {
        self.0.signature.get().is_some()
    }

    fn signature(&self, signer: &dyn Signer) -> Result<&Signature, CryptoError> {
        if let Some(signature) = self.0.signature.get() {
            return Ok(signature);
        }
        let signature = signer.sign_with(self.0.canonical.as_bytes(), self.0.writing.salt)?;
        Ok(self.0.signature.get_or_init(|| signature))
    }
}

impl PartialEq for SharedPayload {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.kind == other.0.kind
                && self.0.writing == other.0.writing
                && self.0.canonical == other.0.canonical)
    }
}

impl Eq for SharedPayload {}

impl fmt::Debug for SharedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.canonical)
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

    /// Length in bytes of the text that signing will give, within a few bytes.
    pub fn encoded_len(&self) -> usize {
        const ENVELOPE: usize = 80;
        const SIGNATURE: usize = 683;
        let ids = self.from.as_str().len() + self.to.as_str().len();
        ENVELOPE
            + SIGNATURE
            + ids
            + self.kind().as_str().len()
            + self.payload.canonical().len()
            + self.payload.0.beside.len()
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
        let mut text = String::with_capacity(self.encoded_len());
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
