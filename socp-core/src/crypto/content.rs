//! Content signatures (§12): the author's, end to end.

use sha2::{Digest, Sha256};

use super::{SaltLength, Verifier};
use crate::wire::{Base64Form, Binary, Id, PublicKey, Timestamp};

/// What a content signature covers: ciphertext ‖ from ‖ \[to ‖\] ts, without separators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentInput {
    /// The ciphertext, as text and as bytes: peers sign either.
    pub ciphertext: Binary,
    /// The author.
    pub from: Id,
    /// The recipient; in the public channel nobody is named.
    pub to: Option<Id>,
    /// The author's time.
    pub ts: Timestamp,
}

/// What a message's `content_sig` covers, by dialect (§12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentCover {
    /// The ciphertext's bytes ‖ from ‖ to ‖ ts: the standard's, and ours.
    #[default]
    Bytes,
    /// The ciphertext's base64 text ‖ from ‖ to ‖ ts.
    Text,
    /// SHA-256 of the first form, signed as the message.
    Digest,
    /// Padded base64 text, from, to and ts with six decimals, with bars in between. We write it and do not read it
    /// (decisions §1).
    Barred,
}

impl ContentCover {
    const NAMES: [(Self, &str); 4] =
        [(Self::Bytes, "bytes"), (Self::Text, "text"), (Self::Digest, "digest"), (Self::Barred, "barred")];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(cover, _)| *cover == self).map_or("", |(_, name)| *name)
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(cover, _)| *cover)
    }
}

/// Which form of the input a peer signs (decisions §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentForm {
    /// Base64 text of the ciphertext instead of its bytes.
    pub text: bool,
    /// The SHA-256 of the input, signed as the message.
    pub digest: bool,
    /// The PSS salt.
    pub salt: SaltLength,
}

impl ContentInput {
    /// The message that we sign: raw ciphertext bytes, hashed once by PSS.
    pub fn message(&self) -> Vec<u8> {
        self.joined(self.ciphertext.bytes())
    }

    /// The message that a recipient of a dialect wants signed.
    pub fn message_for(&self, cover: ContentCover) -> Vec<u8> {
        let form = |text, digest| ContentForm { text, digest, salt: SaltLength::Digest };
        match cover {
            ContentCover::Bytes => self.message(),
            ContentCover::Text => self.in_form(form(true, false)),
            ContentCover::Digest => self.in_form(form(false, true)),
            ContentCover::Barred => {
                let text = Base64Form::Standard.encode(self.ciphertext.bytes());
                let to = self.to.as_ref().map(Id::as_str).unwrap_or_default();
                format!("{text}|{}|{to}|{}.000000", self.from, self.ts).into_bytes()
            }
        }
    }

    fn joined(&self, ciphertext: &[u8]) -> Vec<u8> {
        let mut message = ciphertext.to_vec();
        message.extend_from_slice(self.from.as_str().as_bytes());
        if let Some(to) = &self.to {
            message.extend_from_slice(to.as_str().as_bytes());
        }
        message.extend_from_slice(self.ts.to_string().as_bytes());
        message
    }

    fn in_form(&self, form: ContentForm) -> Vec<u8> {
        let message = match form.text {
            true => self.joined(self.ciphertext.text().as_bytes()),
            false => self.message(),
        };
        if form.digest { Sha256::digest(&message).to_vec() } else { message }
    }
}

/// Tries the accepted forms, `hint` first. `None`: the signature binds nothing, whatever it covers.
pub fn check_content(
    verifier: &dyn Verifier,
    key: &PublicKey,
    input: &ContentInput,
    signature: &[u8],
    hint: Option<ContentForm>,
) -> Option<ContentForm> {
    const FORMS: [ContentForm; 8] = {
        let mut forms = [ContentForm { text: false, digest: false, salt: SaltLength::Digest }; 8];
        let mut index = 0;
        while index < 8 {
            forms[index].text = index & 2 != 0;
            forms[index].digest = index & 4 != 0;
            if index & 1 != 0 {
                forms[index].salt = SaltLength::Max;
            }
            index += 1;
        }
        forms
    };
    let holds = |form: &ContentForm| verifier.verify(key, &input.in_form(*form), signature, form.salt);
    hint.into_iter().chain(FORMS.into_iter().filter(|form| Some(*form) != hint)).find(holds)
}
