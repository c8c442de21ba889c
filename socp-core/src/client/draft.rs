//! A message of ours on its way to the border, where it is encrypted and signed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::crypto::{
    ContentCover, ContentInput, CryptoError, SaltLength, Sealer, SharedPayload, Signed, Signer, Unsigned,
};
use crate::dialect::Dialect;
use crate::wire::{Binary, Message, Part, Payload, PublicKey, Recipient, Timestamp, UserId};

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
    /// What our server speaks.
    pub(super) dialect: Dialect,
    /// What the recipient's client wants signed of a direct message.
    pub(super) cover: ContentCover,
    pub(super) content: Arc<Content>,
    /// Its place in a long text.
    pub(super) part: Option<Part>,
    /// With the last part of a long text: all of them.
    pub(super) whole: Vec<Arc<Content>>,
}

/// What a draft says, and once it is sealed, how: the last part of a long text signs the signatures of all.
pub(super) struct Content {
    text: Arc<str>,
    /// The sender's time; no two drafts of a client share it, so that an ERROR finds its draft.
    ts: Timestamp,
    sealed: OnceLock<Result<Sealed, CryptoError>>,
}

struct Sealed {
    ciphertext: Binary,
    content_sig: Binary,
}

impl Content {
    pub(super) fn new(text: Arc<str>, ts: Timestamp) -> Self {
        Self { text, ts, sealed: OnceLock::new() }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.ts == other.ts
    }
}

impl Eq for Content {}

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
    /// operations. The last part of a long text costs one more, and those of parts that are not sealed yet.
    ///
    /// # Errors
    /// If the provider fails or the signer holds another key than the client's.
    pub fn seal(&self, sealer: &dyn Sealer, signer: &dyn Signer) -> Result<Signed, CryptoError> {
        if signer.public_key() != &self.own_key {
            return Err(CryptoError::BadPrivateKey);
        }
        let Sealed { ciphertext, content_sig } = self.seal_content(&self.content, sealer, signer)?;
        let mut parts = Vec::new();
        for content in &self.whole {
            parts.extend_from_slice(self.seal_content(content, sealer, signer)?.content_sig.bytes());
        }
        let parts_sig = match parts.is_empty() {
            true => None,
            false => Some(Binary::new(signer.sign_with(&parts, self.salt())?)),
        };
        let ts = self.content.ts;
        let message = Message {
            user_id: None,
            to: Some(self.to.as_str().into()),
            ciphertext: ciphertext.clone(),
            sender: Some(self.from.clone()),
            sender_pub: Some(self.own_key.clone().into()),
            content_sig: Some(content_sig.clone()),
            ts: Some(ts),
            original_ts: None,
            part: self.part.clone(),
            parts_sig,
        };
        let payload = match self.kind {
            MessageKind::Direct => Payload::MsgDirect(message),
            MessageKind::Public => Payload::MsgPublicChannel(message),
        };
        let payload = SharedPayload::new(&payload);
        let frame = Unsigned::new(self.from.id().clone(), Recipient::from(&self.to), ts, payload);
        frame.dressed(self.dialect).unwrap_or(frame).sign(signer)
    }

    fn salt(&self) -> SaltLength {
        self.dialect.profile().writing.salt
    }

    /// Seals a part once, whoever comes first: its own draft or that of the last part.
    fn seal_content<'a>(
        &self,
        content: &'a Content,
        sealer: &dyn Sealer,
        signer: &dyn Signer,
    ) -> Result<&'a Sealed, CryptoError> {
        let seal = || {
            let ciphertext = Binary::new(sealer.seal(&self.key, content.text.as_bytes())?);
            let to = match self.kind {
                MessageKind::Direct => Some(self.to.id().clone()),
                MessageKind::Public => None,
            };
            let input = ContentInput { ciphertext, from: self.from.id().clone(), to, ts: content.ts };
            let content_sig = match (self.kind, self.cover) {
                (MessageKind::Direct, cover) if cover != ContentCover::Bytes => {
                    // Who reads another form may well read the longest salt alone.
                    signer.sign_with(&input.message_for(cover), SaltLength::Max)?
                }
                (MessageKind::Direct | MessageKind::Public, _) => {
                    signer.sign_with(&input.message(), self.salt())?
                }
            };
            let content_sig = Binary::new(content_sig);
            Ok(Sealed { ciphertext: input.ciphertext, content_sig })
        };
        content.sealed.get_or_init(seal).as_ref().map_err(|error| *error)
    }
}

impl fmt::Debug for Draft {
    /// Without the text: logs hold no plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, to, key, content, part, .. } = self;
        let Content { text, ts, .. } = &**content;
        write!(f, "Draft({}, {kind:?} to {to:?} under {key:?}, ts {ts}, {} bytes", id.0, text.len())?;
        match part {
            Some(part) => write!(f, ", part {} of {})", part.index + 1, part.total),
            None => write!(f, ")"),
        }
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
impl Draft {
    pub(super) fn text(&self) -> &str {
        &self.content.text
    }

    pub(super) fn ts(&self) -> Timestamp {
        self.content.ts
    }
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
