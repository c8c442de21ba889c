//! A message of ours on its way to the border, where it is encrypted and signed.

use std::fmt;
use std::sync::Arc;

use crate::crypto::{ContentInput, CryptoError, Sealer, SharedPayload, Signed, Signer, Unsigned};
use crate::wire::{Binary, Message, Payload, PublicKey, Recipient, Timestamp, UserId};

use super::api::MessageKind;

/// Names a draft, from one client, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftId(pub(super) u64);

/// A message that waits to be encrypted to its recipient's pinned key and signed (§9.2, §9.3).
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    pub(super) id: DraftId,
    pub(super) kind: MessageKind,
    pub(super) from: UserId,
    /// Our own key: the signer must hold it.
    pub(super) own_key: PublicKey,
    pub(super) to: UserId,
    /// The recipient's pinned key.
    pub(super) key: PublicKey,
    /// The sender's time; no two drafts of a client share it, so that an ERROR finds its draft.
    pub(super) ts: Timestamp,
    pub(super) text: Arc<str>,
}

impl Draft {
    /// The name to report it by.
    pub fn id(&self) -> DraftId {
        self.id
    }

    /// The recipient.
    pub fn to(&self) -> &UserId {
        &self.to
    }

    /// Encrypts, signs the content (§12), and signs the frame: one public-key and two private-key
    /// operations.
    ///
    /// # Errors
    /// If the provider fails or the signer holds another key than the client's.
    pub fn seal(&self, sealer: &dyn Sealer, signer: &dyn Signer) -> Result<Signed, CryptoError> {
        if signer.public_key() != &self.own_key {
            return Err(CryptoError::BadPrivateKey);
        }
        let ciphertext = Binary::new(sealer.seal(&self.key, self.text.as_bytes())?);
        let to = match self.kind {
            MessageKind::Direct => Some(self.to.id().clone()),
            MessageKind::Public => None,
        };
        let input = ContentInput { ciphertext, from: self.from.id().clone(), to, ts: self.ts };
        let content_sig = Binary::new(signer.sign(&input.message())?);
        let message = Message {
            user_id: None,
            to: Some(self.to.as_str().into()),
            ciphertext: input.ciphertext,
            sender: Some(self.from.clone()),
            sender_pub: Some(self.own_key.clone().into()),
            content_sig: Some(content_sig),
            ts: Some(self.ts),
            original_ts: None,
            part: None,
            parts_sig: None,
        };
        let payload = match self.kind {
            MessageKind::Direct => Payload::MsgDirect(message),
            MessageKind::Public => Payload::MsgPublicChannel(message),
        };
        let payload = SharedPayload::new(&payload);
        Unsigned::new(self.from.id().clone(), Recipient::from(&self.to), self.ts, payload).sign(signer)
    }
}

impl fmt::Debug for Draft {
    /// Without the text: logs hold no plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, from: _, own_key: _, to, key, ts, text } = self;
        write!(f, "Draft({}, {kind:?} to {to:?} under {key:?}, ts {ts}, {} bytes)", id.0, text.len())
    }
}

/// Cuts a text at character boundaries into pieces of at most `max_bytes`.
pub(super) fn split(text: &str, max_bytes: usize) -> Vec<Arc<str>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cut = match rest.floor_char_boundary(max_bytes) {
            // A bound below one character's length: one character a piece.
            0 => rest.chars().next().map_or(rest.len(), char::len_utf8),
            cut => cut,
        };
        let (piece, after) = rest.split_at(cut);
        pieces.push(piece.into());
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let pieces = |text: &str| split(text, 4).iter().map(|piece| piece.to_string()).collect::<Vec<_>>();
        assert_eq!(pieces("abcd"), ["abcd"]);
        assert_eq!(pieces("abcdef"), ["abcd", "ef"]);
        assert_eq!(pieces("aé€b"), ["aé", "€b"]);
        assert_eq!(pieces("🦀🦀"), ["🦀", "🦀"]);
        assert_eq!(pieces(""), [""; 0]);
    }
}
