//! A received message on its way to the border and back, decrypted and checked.

use std::fmt;

use crate::crypto::{ContentInput, CryptoError, Opener, SaltLength, Verifier, check_content};
use crate::wire::{Binary, KeyId, PublicKey};

use super::api::Doubt;

/// A received message that waits to be decrypted with our private key, and checked under the key that is
/// pinned to its sender, never under one that it names itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedMessage {
    pub(super) id: u64,
    pub(super) ciphertext: Binary,
    pub(super) check: Result<ContentCheck, Doubt>,
    /// With the last part of a long text.
    pub(super) parts: Option<PartsCheck>,
}

/// What is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentCheck {
    pub(super) key: PublicKey,
    pub(super) input: ContentInput,
    pub(super) signature: Binary,
}

/// The signature over the signatures of all parts of a long text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartsCheck {
    pub(super) key: PublicKey,
    pub(super) message: Vec<u8>,
    pub(super) signature: Binary,
}

/// A message after [`SealedMessage::open`], which alone makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    pub(super) id: u64,
    pub(super) text: Result<Box<str>, Unreadable>,
    /// The key under which the content signature holds.
    pub(super) verified: Result<KeyId, Doubt>,
    /// Whether the signature over all parts holds, under the same key.
    pub(super) whole: bool,
}

/// Why a message has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    #[error("not UTF-8 text")]
    NotText,
}

impl SealedMessage {
    /// Decrypts, then checks the content signature (§9.2): one private-key operation, and one public-key operation or,
    /// with a foreign form of signature, a few.
    pub fn open(self, opener: &dyn Opener, verifier: &dyn Verifier) -> Opened {
        let Self { id, ciphertext, check, parts } = self;
        let text = opener.open(ciphertext.bytes()).map_err(Unreadable::from);
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| Unreadable::NotText));
        let verified = check.and_then(|check| {
            let holds = check_content(verifier, &check.key, &check.input, check.signature.bytes(), None);
            holds.map(|_| check.key.id()).ok_or(Doubt::BadSignature)
        });
        let whole = parts.is_some_and(|PartsCheck { key, message, signature }| {
            let holds = |salt| verifier.verify(&key, &message, signature.bytes(), salt);
            holds(SaltLength::Digest) || holds(SaltLength::Max)
        });
        Opened { id, text: text.map(String::into_boxed_str), verified, whole }
    }
}

impl fmt::Debug for SealedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedMessage({}, {:?}, {:?})", self.id, self.ciphertext, self.check)
    }
}

impl fmt::Debug for Opened {
    /// Without the text: logs hold no plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.as_ref().map(|text| text.len());
        write!(f, "Opened({}, {text:?} bytes, {:?})", self.id, self.verified)
    }
}
