//! Cryptography as the machines see it: four traits that a provider implements, and the types that
//! exist only because a check ran or a signature was made.
//!
//! Two providers come with the crate, behind features: `aws_lc` (fast, needs a C compiler) and `rsa`
//! (pure Rust). They alone take randomness from the system; everything else here is pure.

#[cfg(feature = "aws-lc")]
pub mod aws_lc;
mod content;
mod manifest;
#[cfg(any(feature = "aws-lc", feature = "rsa"))]
mod pem;
mod proof;
mod rotation;
#[cfg(feature = "rsa")]
pub mod rsa;
mod signed;

pub use content::{ContentCover, ContentForm, ContentInput, check_content};
pub use proof::{
    Admission, CanonicalForm, Proof, Purpose, Refusal, SignatureForm, Unverified, Verified, check_payload,
    check_shares,
};
pub use rotation::{MAX_ROTATIONS, rotate, rotations_to};
pub use signed::{SharedPayload, Signed, Unsigned};

pub(crate) use manifest::{manifest_check, share_check, sign_manifest};
pub(crate) use proof::{Check, Claimed};
pub(crate) use rotation::{Succession, first_key, proven_rotations, rotation_check, succession, tells_more};

use crate::wire::PublicKey;

/// Length in bytes of an RSA-4096 signature, and of one OAEP ciphertext.
pub const RSA_BYTES: usize = 512;

/// The longest plaintext that one OAEP block holds: 512 − 2·32 − 2 bytes.
pub const MAX_PLAINTEXT_BYTES: usize = 446;

/// Salt lengths of PSS signatures that we read. We write [`SaltLength::Digest`], but for peers known to read
/// nothing but the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaltLength {
    /// 32 bytes, the digest's length.
    Digest,
    /// 478 bytes, the longest that fits; what most Python peers send.
    Max,
}

impl SaltLength {
    /// The salt's length in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Digest => 32,
            Self::Max => 478,
        }
    }
}

/// An RSASSA-PSS signature (SHA-256, MGF1-SHA-256).
pub type Signature = Box<[u8]>;

/// Checks signatures. About 0.06 ms a call with `aws-lc`.
pub trait Verifier: Send + Sync {
    /// Whether `signature` is `key`'s over `message`, RSASSA-PSS with SHA-256 and exactly that salt length.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8], salt: SaltLength) -> bool;
}

/// Makes signatures with one private key. About 1.6 ms a call with `aws-lc`: keep it off the hub.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs with RSASSA-PSS, SHA-256, and a salt of that length.
    ///
    /// # Errors
    /// If the provider fails, which for a valid key means that the system has no randomness to give.
    fn sign_with(&self, message: &[u8], salt: SaltLength) -> Result<Signature, CryptoError>;

    /// The same with the salt that we write.
    ///
    /// # Errors
    /// As [`Signer::sign_with`].
    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        self.sign_with(message, SaltLength::Digest)
    }
}

/// Encrypts to a public key: RSA-OAEP, SHA-256, MGF1-SHA-256, no label (§4).
pub trait Sealer: Send + Sync {
    /// Encrypts at most [`MAX_PLAINTEXT_BYTES`].
    ///
    /// # Errors
    /// If the plaintext is too long or the provider fails.
    fn seal(&self, key: &PublicKey, plaintext: &[u8]) -> Result<Box<[u8]>, CryptoError>;
}

/// Decrypts with one private key. About 1.6 ms a call with `aws-lc`.
pub trait Opener: Send + Sync {
    /// Decrypts one OAEP block.
    ///
    /// # Errors
    /// If the ciphertext is not one under this key. Nothing more is said, on purpose.
    fn open(&self, ciphertext: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// A provider could not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The private key cannot be read, or is not RSA-4096 with e = 65537.
    #[error("not a private RSA-4096 key with exponent 65537 in PKCS#8 form")]
    BadPrivateKey,
    /// The plaintext is longer than [`MAX_PLAINTEXT_BYTES`].
    #[error("plaintext of {0} bytes; one block holds 446")]
    PlaintextTooLong(usize),
    /// The ciphertext does not decrypt under this key.
    #[error("cannot be decrypted with this key")]
    Undecryptable,
    /// No step of a rotation can follow: the chain leads elsewhere, is full, or holds the new key already.
    #[error("these rotations do not lead to this key, or no further one can follow")]
    NotAChain,
    /// The provider failed for reasons of its own.
    #[error("the cryptography provider failed")]
    Provider,
}
