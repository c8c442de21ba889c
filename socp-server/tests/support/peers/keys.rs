//! Keys and what they do, as foreign peers have it: raw RSA by the library, salts as long as they get, and
//! every spelling of base64. Nothing here is shared with what is tested, but the fixtures.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaParameters, RsaPssSaltLength,
    RsaSignatureEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::support::fixture;

static SIGN_MAX: RsaSignatureEncoding = RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
static CHECK_MAX: RsaParameters = RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
static CHECK_DIGEST: RsaParameters = RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Digest);

/// Which salts a peer's library takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Salts {
    /// Any length: `cryptography` from 42 on.
    Any,
    /// 478 bytes and nothing else: `cryptography` before 42.
    MaxOnly,
}

/// A private key.
pub(crate) struct Key {
    signing: KeyPair,
    opening: OaepPrivateDecryptingKey,
    spki: Vec<u8>,
    pem: String,
}

impl Key {
    /// A fixture's.
    pub(crate) fn fixture(name: &str) -> Self {
        Self::from_pem(&std::fs::read_to_string(fixture(name)).unwrap())
    }

    /// Of PKCS#8 as PEM text.
    pub(crate) fn from_pem(pem: &str) -> Self {
        let der = pem_body(pem).unwrap();
        let signing = KeyPair::from_pkcs8(&der).unwrap();
        let spki: PublicKeyX509Der = signing.public_key().as_der().unwrap();
        let spki = spki.as_ref().to_vec();
        let opening = OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(&der).unwrap()).unwrap();
        Self { signing, opening, spki, pem: pem.to_owned() }
    }

    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// RSASSA-PSS with a salt of 478 bytes, as all of them sign.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.signing.public_modulus_len()];
        self.signing.sign(&SIGN_MAX, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// One OAEP block.
    pub(crate) fn open(&self, ciphertext: &[u8]) -> Option<Vec<u8>> {
        let mut block = vec![0; self.opening.min_output_size()];
        let opened = self.opening.decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut block, None);
        opened.ok().map(|plaintext| plaintext.to_vec())
    }
}

/// Whether a signature holds.
pub(crate) fn holds(spki: &[u8], salts: Salts, message: &[u8], signature: &[u8]) -> bool {
    let check = |parameters| {
        ParsedPublicKey::new(parameters, spki).is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    };
    check(&CHECK_MAX) || salts == Salts::Any && check(&CHECK_DIGEST)
}

/// One OAEP block; none if the plaintext is too long for it.
pub(crate) fn seal(spki: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki).ok()?).ok()?;
    let mut ciphertext = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut ciphertext, None).ok()?;
    Some(ciphertext)
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id of one of our people: the first bytes of the key's hash as a UUID v4 (decisions §4).
pub(crate) fn native_id(name: &str) -> String {
    let mut id = sha256(Key::fixture(name).spki())[..16].to_vec();
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let id = hex(&id);
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
}

/// URL alphabet, no padding.
pub(crate) fn b64u(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// URL alphabet, padded.
pub(crate) fn b64u_padded(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// Standard alphabet, padded.
pub(crate) fn b64_standard(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// URL alphabet, padding or not, as who adds it before decoding.
pub(crate) fn un_b64u(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// URL alphabet, padding forbidden.
pub(crate) fn un_b64u_unpadded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// URL alphabet, padding required.
pub(crate) fn un_b64u_padded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE.decode(text).ok()
}

/// Standard alphabet, padding required.
pub(crate) fn un_b64_standard(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A public key as PEM text.
pub(crate) fn pem_of(spki: &[u8]) -> String {
    let body = STANDARD.encode(spki);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// A public key of PEM text.
pub(crate) fn spki_of_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let pem = std::str::from_utf8(pem).ok()?;
    pem.starts_with("-----BEGIN PUBLIC KEY-----").then(|| pem_body(pem)).flatten()
}

fn pem_body(pem: &str) -> Option<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body.trim()).ok()
}
