//! The texts of adverts, which are most of what a user elsewhere costs in memory.

use crate::wire::{PublicKey, WireText, decode_base64, encode_base64};

/// Stands for the user's key, which is kept once, with its pin. JSON holds no such byte as it is.
const KEY: u8 = 1;

/// Stands in front of the bytes of a signature.
const SIGNATURE: u8 = 2;

/// Length of a signature of an RSA-4096 key.
const SIGNATURE_BYTES: usize = 512;

/// A frame's text without the key in it, and with its signatures as bytes. It shares nothing with the buffer
/// that the frame was read into, which may be much longer.
#[derive(Clone, Debug)]
pub(super) struct AdvertText(Box<[u8]>);

impl AdvertText {
    pub(super) fn pack(text: &WireText, key: Option<&PublicKey>) -> Self {
        let mut packed = Vec::with_capacity(text.len());
        for (index, part) in text.as_str().split('"').enumerate() {
            if index > 0 {
                packed.push(b'"');
            }
            match long_base64(part) {
                Some(bytes) if key.is_some_and(|key| key.spki() == bytes) => packed.push(KEY),
                Some(bytes) if bytes.len() == SIGNATURE_BYTES => {
                    packed.push(SIGNATURE);
                    packed.extend(bytes);
                }
                Some(_) | None => packed.extend(part.as_bytes()),
            }
        }
        Self(packed.into())
    }

    /// The text as it was, given the key that it was packed with.
    pub(super) fn unpack(&self, key: Option<&PublicKey>) -> WireText {
        let mut text = Vec::with_capacity(3 * SIGNATURE_BYTES + self.0.len());
        let mut rest = &*self.0;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match (*byte, key) {
                (KEY, Some(key)) => text.extend(key.to_field().into_bytes()),
                (SIGNATURE, _) => {
                    let (signature, after) = rest.split_at(SIGNATURE_BYTES.min(rest.len()));
                    text.extend(encode_base64(signature).into_bytes());
                    rest = after;
                }
                (byte, _) => text.push(byte),
            }
        }
        String::from_utf8(text).expect("packed from a text").into()
    }
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
        let (field, signature) = (key.to_field(), encode_base64(&[7; 512]));
        let padded = format!("{signature}=");
        let long = "ü".repeat(400);
        for (text, worth_it) in [
            (format!(r#"{{"type":"A","payload":{{"pubkey":"{field}"}},"sig":"{signature}"}}"#), true),
            (format!(r#"{{ "type" : "A", "payload":{{"pubkey":"{field}","x":"\"{field}\\"}} }}"#), true),
            (format!(r#"{{"type":"A","sig":"{padded}","x":"{long}","y":""}}"#), false),
        ] {
            let wire = Frame::parse(&text, 1 << 20).expect("a frame").text().clone();
            for key in [Some(&key), None] {
                let packed = AdvertText::pack(&wire, key);
                assert_eq!(packed.unpack(key).as_str(), text);
                assert!(
                    key.is_none() || (packed.0.len() + 500 < text.len()) == worth_it,
                    "{}",
                    packed.0.len()
                );
            }
        }
    }
}
