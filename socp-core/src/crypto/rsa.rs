//! The pure-Rust provider, on the `rsa` crate: for wasm, for hosts without a C compiler, and as an
//! independent oracle in tests. Elsewhere use the AWS-LC provider.
//!
//! A signature or a decryption costs as much as some 40 verifications or encryptions, and more than
//! five times what it costs AWS-LC; a verification three to four times. Making a key takes a second or
//! two in an optimised build, much longer in another. Public keys are parsed at each use, which is a
//! seventh of a verification.
//!
//! # Security
//! RUSTSEC-2023-0071 (the Marvin attack: the private key leaks through the time that operations take)
//! is listed against the `rsa` crate without a patched version. Release 0.10 replaced the arithmetic by a
//! constant-time one and blinds every private-key operation, and its authors consider the known leaks
//! closed; we know of no independent confirmation. Keep keys that matter away from peers who can time
//! many operations.
//!
//! # wasm
//! Randomness comes from the `getrandom` crate. For `wasm32-unknown-unknown` it does not build until
//! somebody chooses a source, which is the final binary's business: the feature `getrandom/wasm_js`
//! for browsers and Node, or `--cfg getrandom_backend="custom"` in RUSTFLAGS. To check this crate:
//! `cargo check -p socp-core --features rsa,getrandom/wasm_js --target wasm32-unknown-unknown`.

use std::fmt;

use ::rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ::rsa::{Oaep, Pss};
use getrandom::SysRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    CryptoError, MAX_PLAINTEXT_BYTES, Opener, RSA_BYTES, SaltLength, Sealer, Signature, Signer, Verifier, pem,
};
use crate::wire::PublicKey;

/// The operations that need no private key.
#[derive(Debug, Default)]
pub struct Provider(());

impl Provider {
    /// The provider; it holds no state.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Verifier for Provider {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8], salt: SaltLength) -> bool {
        let scheme = Pss::<Sha256>::new_with_salt(salt.bytes());
        parse(key).is_ok_and(|key| key.verify(scheme, &Sha256::digest(message), signature).is_ok())
    }
}

impl Sealer for Provider {
    fn seal(&self, key: &PublicKey, plaintext: &[u8]) -> Result<Box<[u8]>, CryptoError> {
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(CryptoError::PlaintextTooLong(plaintext.len()));
        }
        let ciphertext = parse(key)?.encrypt(&mut SysRng, Oaep::<Sha256>::new(), plaintext);
        Ok(ciphertext.map_err(|_| CryptoError::Provider)?.into())
    }
}

fn parse(key: &PublicKey) -> Result<::rsa::PublicKey, CryptoError> {
    ::rsa::PublicKey::from_public_key_der(key.spki()).map_err(|_| CryptoError::Provider)
}

/// A private RSA-4096 key, parsed.
pub struct PrivateKey {
    private: ::rsa::PrivateKey,
    public: PublicKey,
}

impl PrivateKey {
    /// Reads unencrypted PKCS#8 DER.
    ///
    /// # Errors
    /// [`CryptoError::BadPrivateKey`] if it is not an RSA-4096 key with e = 65537.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, CryptoError> {
        Self::new(::rsa::PrivateKey::from_pkcs8_der(der).map_err(|_| CryptoError::BadPrivateKey)?)
    }

    /// Reads PEM text, `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), unencrypted.
    ///
    /// # Errors
    /// [`CryptoError::BadPrivateKey`] if the text holds no RSA-4096 key with e = 65537.
    pub fn from_pem(text: &str) -> Result<Self, CryptoError> {
        Self::from_pkcs8_der(&pem::decode(text)?)
    }

    /// Makes a new key, which takes a second or two, with luck less and without it several.
    ///
    /// # Errors
    /// [`CryptoError::Provider`] if the system has no randomness to give.
    pub fn generate() -> Result<Self, CryptoError> {
        Self::new(::rsa::PrivateKey::new(&mut SysRng, RSA_BYTES * 8).map_err(|_| CryptoError::Provider)?)
    }

    fn new(private: ::rsa::PrivateKey) -> Result<Self, CryptoError> {
        let spki = private.as_public_key().to_public_key_der().map_err(|_| CryptoError::BadPrivateKey)?;
        let public = PublicKey::from_der(spki.as_bytes()).map_err(|_| CryptoError::BadPrivateKey)?;
        Ok(Self { private, public })
    }

    /// The key as PKCS#8 DER, unencrypted; wiped from memory when dropped.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.private.to_pkcs8_der().expect("a key of two primes has a PKCS#8 form").to_bytes()
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
        let scheme = Pss::<Sha256>::new_blinded_with_salt(salt.bytes());
        let signature = self.private.sign_with_rng(&mut SysRng, scheme, &Sha256::digest(message));
        Ok(signature.map_err(|_| CryptoError::Provider)?.into())
    }
}

impl Opener for PrivateKey {
    fn open(&self, ciphertext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.private.decrypt_blinded(&mut SysRng, Oaep::<Sha256>::new(), ciphertext).map_err(|error| {
            match error {
                ::rsa::Error::Rng => CryptoError::Provider,
                _ => CryptoError::Undecryptable,
            }
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.id())
    }
}
