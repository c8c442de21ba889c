//! The AWS-LC provider: fast and hardened against timing, for every host with a C compiler.
//!
//! A signature or a decryption costs as much as some 25 verifications or encryptions, and a sixth of
//! what it costs the pure-Rust provider; a verification a third to a quarter. Reading a private key
//! costs about half a signature (do it once), making one a second or so.
//!
//! A verification under a key not used lately costs a tenth more, for Montgomery's constants. That is
//! more than all else that is done to a frame in transit, so [`Provider`] keeps keys that it has used.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaParameters, RsaPssSaltLength,
    RsaSignatureEncoding,
};
use zeroize::Zeroizing;

use super::{
    CryptoError, MAX_PLAINTEXT_BYTES, Opener, RSA_BYTES, SaltLength, Sealer, Signature, Signer, Verifier, pem,
};
use crate::wire::{KeyId, PublicKey};

static DIGEST_SALT: RsaParameters = RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Digest);
static MAX_SALT: RsaParameters = RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
static WITH_MAX_SALT: RsaSignatureEncoding = RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);

/// How many parsed keys a [`Provider`] keeps at most, of about 4 KiB each.
const PARSED_KEYS: usize = 256;

/// The operations that need no private key. Make one and share it.
pub struct Provider {
    /// A key has one place for each salt, given by its id; whoever comes next to that place takes it.
    parsed: Box<[Mutex<Option<Parsed>>]>,
}

/// The library ties a parsed key to its salt.
struct Parsed {
    id: KeyId,
    salt: SaltLength,
    key: Arc<ParsedPublicKey>,
}

impl Provider {
    /// A provider that has parsed no keys yet.
    pub fn new() -> Self {
        Self::keeping(PARSED_KEYS)
    }

    fn keeping(places: usize) -> Self {
        Self { parsed: (0..places).map(|_| Mutex::new(None)).collect() }
    }

    fn parsed(&self, key: &PublicKey, salt: SaltLength) -> Option<Arc<ParsedPublicKey>> {
        let (id, [first, ..]) = (key.id(), *key.id().as_bytes());
        let (parameters, place) = match salt {
            SaltLength::Digest => (&DIGEST_SALT, first),
            SaltLength::Max => (&MAX_SALT, first ^ 1),
        };
        let place = &self.parsed[usize::from(place) % self.parsed.len()];
        // A thread that panicked leaves a place whole: it is read and written at once.
        let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().as_ref().filter(|found| found.id == id && found.salt == salt) {
            return Some(Arc::clone(&found.key));
        }
        let parsed = Arc::new(ParsedPublicKey::new(parameters, key.spki()).ok()?);
        *lock() = Some(Parsed { id, salt, key: Arc::clone(&parsed) });
        Some(parsed)
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

impl Verifier for Provider {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8], salt: SaltLength) -> bool {
        self.parsed(key, salt).is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

impl Sealer for Provider {
    fn seal(&self, key: &PublicKey, plaintext: &[u8]) -> Result<Box<[u8]>, CryptoError> {
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(CryptoError::PlaintextTooLong(plaintext.len()));
        }
        let key = PublicEncryptingKey::from_der(key.spki()).map_err(|_| CryptoError::Provider)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| CryptoError::Provider)?;
        let mut ciphertext = Box::new([0; RSA_BYTES]);
        key.encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, ciphertext.as_mut_slice(), None)
            .map_err(|_| CryptoError::Provider)?;
        Ok(ciphertext)
    }
}

/// A private RSA-4096 key, parsed.
pub struct PrivateKey {
    signing: KeyPair,
    opening: OaepPrivateDecryptingKey,
    public: PublicKey,
}

impl PrivateKey {
    /// Reads unencrypted PKCS#8 DER.
    ///
    /// # Errors
    /// [`CryptoError::BadPrivateKey`] if it is not an RSA-4096 key with e = 65537.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, CryptoError> {
        let signing = KeyPair::from_pkcs8(der).map_err(|_| CryptoError::BadPrivateKey)?;
        let spki: PublicKeyX509Der = signing.public_key().as_der().map_err(|_| CryptoError::Provider)?;
        let public = PublicKey::from_der(spki.as_ref()).map_err(|_| CryptoError::BadPrivateKey)?;
        let opening = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| CryptoError::BadPrivateKey)?;
        let opening = OaepPrivateDecryptingKey::new(opening).map_err(|_| CryptoError::Provider)?;
        Ok(Self { signing, opening, public })
    }

    /// Reads PEM text, `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), unencrypted.
    ///
    /// # Errors
    /// [`CryptoError::BadPrivateKey`] if the text holds no RSA-4096 key with e = 65537.
    pub fn from_pem(text: &str) -> Result<Self, CryptoError> {
        Self::from_pkcs8_der(&pem::decode(text)?)
    }

    /// Makes a new key, which takes about a second, with luck less and without it several.
    ///
    /// # Errors
    /// [`CryptoError::Provider`] if the system has no randomness to give.
    pub fn generate() -> Result<Self, CryptoError> {
        let pair = KeyPair::generate(KeySize::Rsa4096).map_err(|_| CryptoError::Provider)?;
        let der: Pkcs8V1Der = pair.as_der().map_err(|_| CryptoError::Provider)?;
        Self::from_pkcs8_der(der.as_ref())
    }

    /// The key as PKCS#8 DER, unencrypted; wiped from memory when dropped.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let der: Pkcs8V1Der = self.signing.as_der().expect("a key that was parsed has a PKCS#8 form");
        Zeroizing::new(der.as_ref().to_vec())
    }

    /// The key as PEM text (`PRIVATE KEY`), unencrypted; wiped from memory when dropped.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode(&self.to_pkcs8_der())
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl Signer for PrivateKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign_with(&self, message: &[u8], salt: SaltLength) -> Result<Signature, CryptoError> {
        let encoding = match salt {
            SaltLength::Digest => &RSA_PSS_SHA256,
            SaltLength::Max => &WITH_MAX_SALT,
        };
        let mut signature = Box::new([0; RSA_BYTES]);
        // The library takes its own randomness and ignores what it is handed.
        self.signing
            .sign(encoding, &SystemRandom::new(), message, signature.as_mut_slice())
            .map_err(|_| CryptoError::Provider)?;
        Ok(signature)
    }
}

impl Opener for PrivateKey {
    fn open(&self, ciphertext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut block = Zeroizing::new([0; RSA_BYTES]);
        let plaintext = self
            .opening
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, block.as_mut_slice(), None)
            .map_err(|_| CryptoError::Undecryptable)?;
        Ok(plaintext.to_vec())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_salts_that_share_a_place_are_not_mixed_up() {
        let alice =
            PrivateKey::from_pem(include_str!("../../tests/fixtures/keys/alice.pem")).expect("a good key");
        let bob =
            PrivateKey::from_pem(include_str!("../../tests/fixtures/keys/bob.pem")).expect("a good key");
        let signature = alice.sign(b"hello").expect("the system gives randomness");
        let provider = Provider::keeping(1);
        for (key, salt, holds) in [
            (&alice, SaltLength::Digest, true),
            (&bob, SaltLength::Digest, false),
            (&alice, SaltLength::Digest, true),
            (&alice, SaltLength::Max, false),
            (&alice, SaltLength::Digest, true),
            (&alice, SaltLength::Digest, true),
        ] {
            assert_eq!(
                provider.verify(key.public_key(), b"hello", &signature, salt),
                holds,
                "{key:?}, {salt:?}"
            );
        }
    }
}
