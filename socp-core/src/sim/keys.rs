//! Where keys and signatures of a world come from: fake ones that cost next to nothing and detect every
//! change, or a provider's.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::crypto::{
    CryptoError, MAX_PLAINTEXT_BYTES, Opener, RSA_BYTES, SaltLength, Sealer, Signature, Signer, Verifier,
};
use crate::wire::PublicKey;

/// The private halves of one key.
#[derive(Clone)]
pub struct KeyPair {
    /// Signs; its public key is the pair's.
    pub signer: Arc<dyn Signer>,
    /// Opens what was sealed to the pair's key.
    pub opener: Arc<dyn Opener>,
}

/// A source of keys, and the public-key operations.
#[derive(Clone)]
pub struct Keys {
    /// Makes the pair of a number: the same one each time, and a different one for each number.
    pub pair: Arc<dyn Fn(u64) -> KeyPair + Send + Sync>,
    /// Checks signatures.
    pub verifier: Arc<dyn Verifier>,
    /// Encrypts.
    pub sealer: Arc<dyn Sealer>,
}

impl Keys {
    /// Keys that belong to nobody and signatures that are hashes. Any change of key, message or signature
    /// is detected, as long as nobody in the world computes the hash for a key that is not its own.
    pub fn fake() -> Self {
        let pair = |number| {
            let key = fake_key(number);
            KeyPair { signer: Arc::new(FakeSigner(key.clone())), opener: Arc::new(FakeOpener(key)) }
        };
        Self { pair: Arc::new(pair), verifier: Arc::new(FakeVerifier), sealer: Arc::new(FakeSealer) }
    }
}

/// A well-formed key without a private half: any odd modulus of 4096 bits passes the checks.
pub fn fake_key(number: u64) -> PublicKey {
    const PREFIX: [u8; 33] = [
        0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
        0x05, 0x00, 0x03, 0x82, 0x02, 0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a, 0x02, 0x82, 0x02, 0x01, 0x00,
    ];
    let blocks = (0_u8..16)
        .map(|index| Sha256::new().chain_update(number.to_be_bytes()).chain_update([index]).finalize());
    let mut modulus: Vec<u8> = blocks.flatten().collect();
    modulus[0] |= 0x80;
    modulus[RSA_BYTES - 1] |= 1;
    let der = [PREFIX.as_slice(), &modulus, &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
    PublicKey::from_der(&der).expect("a well-formed key of 4096 bits")
}

/// A hash in place of a signature, as long as a real one, so that frames have their real length.
pub fn fake_signature(key: &PublicKey, message: &[u8], salt: SaltLength) -> Signature {
    let salt = salt.bytes().to_be_bytes();
    let digest =
        Sha256::new().chain_update(key.id().as_bytes()).chain_update(salt).chain_update(message).finalize();
    digest.repeat(RSA_BYTES / digest.len()).into()
}

struct FakeSigner(PublicKey);

impl Signer for FakeSigner {
    fn public_key(&self) -> &PublicKey {
        &self.0
    }

    fn sign_with(&self, message: &[u8], salt: SaltLength) -> Result<Signature, CryptoError> {
        Ok(fake_signature(&self.0, message, salt))
    }
}

struct FakeVerifier;

impl Verifier for FakeVerifier {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8], salt: SaltLength) -> bool {
        signature == &*fake_signature(key, message, salt)
    }
}

const TAG: usize = 32;

fn fake_tag(key: &PublicKey, plaintext: &[u8]) -> Vec<u8> {
    Sha256::new()
        .chain_update(b"sealed")
        .chain_update(key.id().as_bytes())
        .chain_update(plaintext)
        .finalize()
        .to_vec()
}

struct FakeSealer;

impl Sealer for FakeSealer {
    fn seal(&self, key: &PublicKey, plaintext: &[u8]) -> Result<Box<[u8]>, CryptoError> {
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(CryptoError::PlaintextTooLong(plaintext.len()));
        }
        let length = (plaintext.len() as u16).to_be_bytes();
        let mut sealed = [&fake_tag(key, plaintext), length.as_slice(), plaintext].concat();
        sealed.resize(RSA_BYTES, 0);
        Ok(sealed.into())
    }
}

struct FakeOpener(PublicKey);

impl Opener for FakeOpener {
    fn open(&self, ciphertext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let opened = ciphertext.split_at_checked(TAG).and_then(|(tag, rest)| {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let plaintext = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
            let intact = tag == fake_tag(&self.0, plaintext) && ciphertext.len() == RSA_BYTES;
            intact.then(|| plaintext.to_vec())
        });
        opened.ok_or(CryptoError::Undecryptable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fake_keys_detect_every_change() {
        let keys = Keys::fake();
        let (a, b) = ((keys.pair)(1), (keys.pair)(2));
        let (key_a, key_b) = (a.signer.public_key(), b.signer.public_key());
        let mut signature = a.signer.sign(b"message").expect("fake");
        let holds = |key, message: &[u8], signature: &[u8]| {
            keys.verifier.verify(key, message, signature, SaltLength::Digest)
        };
        assert!(holds(key_a, b"message", &signature));
        assert!(!holds(key_b, b"message", &signature) && !holds(key_a, b"massage", &signature));
        signature[400] ^= 1;
        assert!(!holds(key_a, b"message", &signature));

        let mut sealed = keys.sealer.seal(key_a, b"secret").expect("short enough");
        assert_eq!(a.opener.open(&sealed).as_deref(), Ok(b"secret".as_slice()));
        assert_eq!(b.opener.open(&sealed), Err(CryptoError::Undecryptable));
        sealed[36] ^= 1;
        assert_eq!(a.opener.open(&sealed), Err(CryptoError::Undecryptable));
        assert_eq!(sealed.len(), RSA_BYTES);
        assert_eq!(keys.sealer.seal(key_a, &[0; 447]), Err(CryptoError::PlaintextTooLong(447)));
    }
}
