//! The texts of adverts, which are most of what a user elsewhere costs in memory.

use crate::wire::{PublicKey, ServerId, UserId, WireText, decode_base64, encode_base64};

// Bytes that stand for something else: JSON holds no control characters as they are, but tab and line breaks.

/// Stands for the user's key, which is kept once, with its pin.
const KEY: u8 = 1;

/// Stands in front of the bytes of a signature.
const SIGNATURE: u8 = 2;

/// Stands for the user's id, under which the advert is kept.
const USER: u8 = 3;

/// Stands for the origin's id, under which the user is.
const SERVER: u8 = 4;

/// Stands for the first of [`WORDS`]; the others follow.
const FIRST_WORD: u8 = b'\r' + 1;

/// What adverts of ours say over and over.
const WORDS: [&str; 14] = [
    "USER_ADVERTISE",
    "type",
    "from",
    "payload",
    "attestation",
    "host",
    "issued_at",
    "nonce",
    "server_id",
    "user_id",
    "sig",
    "meta",
    "display_name",
    "pubkey",
];

const _: () = assert!(FIRST_WORD as usize + WORDS.len() <= b' ' as usize);

/// Length of a signature of an RSA-4096 key.
const SIGNATURE_BYTES: usize = 512;

/// What is kept beside an advert's text anyway, and need not be in it. To be the same for packing and unpacking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub(super) user: &'a UserId,
    pub(super) server: &'a ServerId,
    pub(super) key: Option<&'a PublicKey>,
}

/// A frame's text without what is kept beside it, and with its signatures as bytes. It shares nothing with the buffer
/// that the frame was read into, which may be much longer.
#[derive(Clone, Debug)]
pub(super) struct AdvertText(Box<[u8]>);

impl AdvertText {
    pub(super) fn pack(text: &WireText, beside: Beside<'_>) -> Self {
        let mut packed = Vec::with_capacity(text.len());
        for (index, part) in text.as_str().split('"').enumerate() {
            if index > 0 {
                packed.push(b'"');
            }
            if let Some(byte) = beside.stand_in(part) {
                packed.push(byte);
                continue;
            }
            match long_base64(part) {
                Some(bytes) if beside.key.is_some_and(|key| key.spki() == bytes) => packed.push(KEY),
                Some(bytes) if bytes.len() == SIGNATURE_BYTES => {
                    packed.push(SIGNATURE);
                    packed.extend(bytes);
                }
                Some(_) | None => packed.extend(part.as_bytes()),
            }
        }
        Self(packed.into())
    }

    /// The text as it was.
    pub(super) fn unpack(&self, beside: Beside<'_>) -> WireText {
        let mut text = Vec::with_capacity(3 * SIGNATURE_BYTES + self.0.len());
        let mut rest = &*self.0;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match (*byte, beside.key) {
                (KEY, Some(key)) => text.extend(key.to_field().into_bytes()),
                (SIGNATURE, _) => {
                    let (signature, after) = rest.split_at(SIGNATURE_BYTES.min(rest.len()));
                    text.extend(encode_base64(signature).into_bytes());
                    rest = after;
                }
                (USER, _) => text.extend(beside.user.as_str().as_bytes()),
                (SERVER, _) => text.extend(beside.server.as_str().as_bytes()),
                (byte, _) => match word(byte) {
                    Some(word) => text.extend(word.as_bytes()),
                    None => text.push(byte),
                },
            }
        }
        String::from_utf8(text).expect("packed from a text").into()
    }
}

impl Beside<'_> {
    /// The byte that stands for a part of the text, if one does.
    fn stand_in(&self, part: &str) -> Option<u8> {
        if part == self.user.as_str() {
            Some(USER)
        } else if part == self.server.as_str() {
            Some(SERVER)
        } else {
            (FIRST_WORD..).zip(WORDS).find(|(_, word)| *word == part).map(|(byte, _)| byte)
        }
    }
}

fn word(byte: u8) -> Option<&'static str> {
    WORDS.get(usize::from(byte.checked_sub(FIRST_WORD)?)).copied()
}

/// The bytes of a text that is exactly what we would write for them, and worth it.
fn long_base64(part: &str) -> Option<Vec<u8>> {
    let bytes = (part.len() >= SIGNATURE_BYTES).then(|| decode_base64(part).ok())??;
    (encode_base64(&bytes) == part).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;

    const KEY_FIELD: &str = include_str!("../../tests/fixtures/server-a.pub.b64u");

    #[test]
    fn a_text_comes_back_to_the_last_byte() {
        let key = PublicKey::from_field(KEY_FIELD.trim()).expect("a key");
        let (user, server): (UserId, ServerId) = ("alice".parse().unwrap(), "type".parse().unwrap());
        let (field, signature) = (key.to_field(), encode_base64(&[7; 512]));
        let padded = format!("{signature}=");
        let long = "ü".repeat(400);
        for (text, worth_it) in [
            (format!(r#"{{"type":"A","payload":{{"pubkey":"{field}"}},"sig":"{signature}"}}"#), true),
            (format!(r#"{{ "type" : "A", "payload":{{"pubkey":"{field}","x":"\"{field}\\"}} }}"#), true),
            (format!(r#"{{"type":"A","sig":"{padded}","x":"{long}","y":""}}"#), false),
            (
                "{\t\r\n\"type\":\"\u{e9}\",\"from\":\"type\",\"to\":\"alice\",\"x\":\"\\\"nonce\\\"\"}"
                    .to_owned(),
                false,
            ),
        ] {
            let wire = Frame::parse(&text, 1 << 20).expect("a frame").text().clone();
            for key in [Some(&key), None] {
                let beside = Beside { user: &user, server: &server, key };
                let packed = AdvertText::pack(&wire, beside);
                assert_eq!(packed.unpack(beside).as_str(), text);
                assert!(packed.0.len() < text.len());
                assert!(
                    key.is_none() || (packed.0.len() + 500 < text.len()) == worth_it,
                    "{}",
                    packed.0.len()
                );
            }
        }
    }
}
