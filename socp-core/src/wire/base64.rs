//! Binary values in JSON (§2): base64url without padding is what we write; either alphabet, padded or
//! not, is what we read.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const READ: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, READ.with_encode_padding(false));
const URL_PADDED: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, READ);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, READ);

/// Encodes as base64url without padding, the standard's form.
pub fn encode(bytes: &[u8]) -> String {
    URL.encode(bytes)
}

/// How a dialect writes base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base64Form {
    /// The url alphabet without padding: the standard's, and ours.
    Url,
    /// The url alphabet with padding.
    UrlPadded,
    /// The standard alphabet with padding.
    Standard,
}

impl Base64Form {
    /// Writes bytes in this form.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Url => URL.encode(bytes),
            Self::UrlPadded => URL_PADDED.encode(bytes),
            Self::Standard => STANDARD.encode(bytes),
        }
    }
}

/// Length of a line of PEM, without its end.
pub(crate) const PEM_LINE_BYTES: usize = 64;

/// Writes base64 as PEM has it, in lines of 64 characters, each with its end (RFC 7468).
pub(crate) fn push_pem_lines(pem: &mut String, base64: &str) {
    let mut rest = base64;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE_BYTES));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
}

/// Decodes base64 in the url or the standard alphabet, padded or not. Nothing else passes: no white
/// space, no mixture of both alphabets.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    let standard = text.bytes().any(|byte| byte == b'+' || byte == b'/');
    let engine = if standard { &STANDARD } else { &URL };
    engine.decode(text).map_err(|_| Base64Error)
}

/// The text is not base64 in any form we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64")]
pub struct Base64Error;

/// A binary field of a payload, kept as the text that stood in the frame and as the bytes it means:
/// some peers sign the one, some the other (`content_sig`, §12).
#[derive(Clone, PartialEq, Eq)]
pub struct Binary {
    text: Box<str>,
    bytes: Box<[u8]>,
}

impl Binary {
    /// Wraps bytes of ours; the text is base64url without padding.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { text: encode(&bytes).into(), bytes }
    }

    /// Reads a received text.
    pub fn parse(text: &str) -> Result<Self, Base64Error> {
        Ok(Self { bytes: decode(text)?.into(), text: text.into() })
    }

    /// The text as it stood in the frame.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes it means.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Binary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Binary({} bytes)", self.bytes.len())
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// For fields whose malformed value counts as none (`content_sig`, decisions §1).
pub(crate) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Binary>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Text(String),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Any::deserialize(deserializer)? {
        Any::Text(text) if !text.is_empty() => Binary::parse(&text).ok(),
        Any::Text(_) | Any::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_alphabets_padded_or_not_and_nothing_else() {
        let bytes = [0xfb, 0xff, 0xfe, 0x01];
        for text in ["-__-AQ", "-__-AQ==", "+//+AQ", "+//+AQ=="] {
            assert_eq!(decode(text).as_deref(), Ok(&bytes[..]), "{text}");
        }
        for text in ["-_/+AQ", " -__-AQ", "-__-AQ\n", "-__-A", "-__-AR", "=", "ä"] {
            assert_eq!(decode(text), Err(Base64Error), "{text}");
        }
        assert_eq!(encode(&bytes), "-__-AQ");
    }
}
