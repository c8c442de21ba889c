//! Public keys (§4): RSA-4096 with exponent 65537, and nothing else.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::base64::{Base64Form, decode, encode, push_pem_lines};

/// Length in bytes of a DER SubjectPublicKeyInfo of an RSA-4096 key with e = 65537.
pub const SPKI_BYTES: usize = 550;

/// DER up to the modulus: SEQUENCE, AlgorithmIdentifier rsaEncryption, BIT STRING, SEQUENCE, INTEGER of
/// 513 bytes with a leading zero.
pub(crate) const SPKI_PREFIX: [u8; 33] = [
    0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x02, 0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a, 0x02, 0x82, 0x02, 0x01, 0x00,
];
/// Where the PKCS#1 RSAPublicKey starts in the SPKI.
const PKCS1_AT: usize = 24;
/// INTEGER 65537.
pub(crate) const SPKI_SUFFIX: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// A checked RSA-4096 public key, shared by reference.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    spki: [u8; SPKI_BYTES],
    id: KeyId,
}

/// SHA-256 of a key's SPKI: what pins compare, and what people compare as a fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

/// Why a key is refused (`BAD_KEY`, §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64, not PEM, not DER of an RSA public key.
    #[error("not an RSA public key in DER SubjectPublicKeyInfo form")]
    Encoding,
    /// RSA, but not exactly 4096 bits with exponent 65537 (§4, §16).
    #[error("not RSA-4096 with exponent 65537")]
    Weak,
    /// `enc_pubkey` differs from `pubkey` (decisions §1).
    #[error("enc_pubkey differs from pubkey")]
    SeparateEncryptionKey,
}

impl PublicKey {
    /// Reads the text of a payload field: base64 of DER SPKI (the standard's), of PEM text, or of
    /// PKCS#1 DER.
    pub fn from_field(text: &str) -> Result<Self, KeyError> {
        let bytes = decode(text).map_err(|_| KeyError::Encoding)?;
        if bytes.starts_with(b"-----BEGIN") {
            let pem = std::str::from_utf8(&bytes).map_err(|_| KeyError::Encoding)?;
            Self::from_pem(pem)
        } else {
            Self::from_der(&bytes)
        }
    }

    /// Reads PEM text, `PUBLIC KEY` or `RSA PUBLIC KEY`.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let mut lines = pem.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().ok_or(KeyError::Encoding)?;
        if !matches!(first, "-----BEGIN PUBLIC KEY-----" | "-----BEGIN RSA PUBLIC KEY-----") {
            return Err(KeyError::Encoding);
        }
        let body: String = lines.take_while(|line| !line.starts_with("-----END")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).map_err(|_| KeyError::Encoding)?;
        Self::from_der(&der)
    }

    /// Reads DER, SubjectPublicKeyInfo or PKCS#1. Only the one encoding that an RSA-4096 key with
    /// e = 65537 has in DER passes, so no parser sees a hostile key.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let mut spki = [0; SPKI_BYTES];
        if der.len() == SPKI_BYTES {
            spki.copy_from_slice(der);
        } else if der.len() == SPKI_BYTES - PKCS1_AT && der.starts_with(&SPKI_PREFIX[PKCS1_AT..]) {
            spki[..PKCS1_AT].copy_from_slice(&SPKI_PREFIX[..PKCS1_AT]);
            spki[PKCS1_AT..].copy_from_slice(der);
        } else if der.first() == Some(&0x30) {
            return Err(KeyError::Weak);
        } else {
            return Err(KeyError::Encoding);
        }
        let modulus = &spki[SPKI_PREFIX.len()..SPKI_BYTES - SPKI_SUFFIX.len()];
        let four_thousand_ninety_six_bits = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
        let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
        if !spki.starts_with(&SPKI_PREFIX)
            || !spki.ends_with(&SPKI_SUFFIX)
            || !four_thousand_ninety_six_bits
            || !odd
        {
            return Err(KeyError::Weak);
        }
        let id = KeyId(Sha256::digest(spki).into());
        Ok(Self(Arc::new(Inner { spki, id })))
    }

    /// The key as DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// SHA-256 of the SPKI.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The key as a payload field: base64url of the SPKI.
    pub fn to_field(&self) -> String {
        encode(self.spki())
    }

    /// The key as a payload field of a dialect.
    pub fn to_field_in(&self, form: KeyForm) -> String {
        match form {
            KeyForm::Der => self.to_field(),
            KeyForm::Pem => Base64Form::Url.encode(self.to_pem().as_bytes()),
            KeyForm::PemPadded => Base64Form::UrlPadded.encode(self.to_pem().as_bytes()),
        }
    }

    /// The key as PEM text (`PUBLIC KEY`), with a line break at its end.
    pub fn to_pem(&self) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(self.spki());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        push_pem_lines(&mut pem, &body);
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.0.id)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_field())
    }
}

impl KeyId {
    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash in hex, in groups of four digits: for people to compare.
    pub fn fingerprint(&self) -> String {
        let hex: Vec<char> = self.to_string().chars().collect();
        hex.chunks(4).map(String::from_iter).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How a dialect writes public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Base64url of DER SubjectPublicKeyInfo: the standard's, and ours.
    Der,
    /// Base64 of PEM text, without padding.
    Pem,
    /// Base64 of PEM text, with padding.
    PemPadded,
}

impl KeyForm {
    /// The form of a field's text, whatever key it holds.
    pub fn of(text: &str) -> Self {
        const DASHES: &str = "LS0tLS1";
        match (text.starts_with(DASHES), text.ends_with('=')) {
            (false, _) => Self::Der,
            (true, false) => Self::Pem,
            (true, true) => Self::PemPadded,
        }
    }
}

/// A key field of a received payload: checked once when it is read; a bad key is answered with
/// `BAD_KEY`, not as a malformed frame, so the verdict travels with the payload.
#[derive(Clone, Debug)]
pub struct KeyField {
    key: Result<PublicKey, KeyError>,
    form: KeyForm,
}

impl KeyField {
    /// The key, or why it is refused.
    pub fn key(&self) -> Result<&PublicKey, KeyError> {
        self.key.as_ref().map_err(|error| *error)
    }

    /// How the key was written.
    pub fn form(&self) -> KeyForm {
        self.form
    }
}

/// The same key, however it is written.
impl PartialEq for KeyField {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for KeyField {}

impl From<PublicKey> for KeyField {
    fn from(key: PublicKey) -> Self {
        Self { key: Ok(key), form: KeyForm::Der }
    }
}

impl Serialize for KeyField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.key {
            Ok(key) => key.serialize(serializer),
            Err(_) => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for KeyField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self { key: PublicKey::from_field(&text), form: KeyForm::of(&text) })
    }
}
