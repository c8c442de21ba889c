//! A private key under a password: one line of JSON.
//!
//! `{"version":1,"kdf":{"name":"argon2id","m":…,"t":…,"p":…,"salt":…},"aead":"aes-256-gcm","nonce":…,
//! "blob":…}`: `blob` is the PKCS#8 DER under AES-256-GCM, with everything else as associated data, so
//! nothing in the file can be changed unnoticed. Binary values are base64url.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use socp_core::crypto::CryptoError;
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::wire::{decode_base64, encode_base64};
use zeroize::Zeroizing;

/// The format that we write, and the only one so far.
const VERSION: u32 = 1;
const KDF: &str = "argon2id";
const AEAD: &str = "aes-256-gcm";
const SALT_BYTES: usize = 16;

/// OWASP's choice for argon2id: 19 MiB, two passes, one lane. About 18 ms.
const COST: Cost = Cost { m: 19 * 1024, t: 2, p: 1 };
/// The most that a file may ask for: 256 MiB, ten passes, four lanes. Seconds, not minutes.
const MAX_COST: Cost = Cost { m: 256 * 1024, t: 10, p: 4 };
/// Longest file that is looked at; ours have about 3.5 KiB.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Why a key cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The seal does not hold. Which of both it is cannot be told.
    #[error("wrong password, or the key file is damaged")]
    WrongPasswordOrDamaged,
    /// The text is not a key file.
    #[error("not a key file: {0}")]
    Malformed(String),
    /// A newer version has written it.
    #[error("the key file has version {0}, this program knows version 1; use a newer one")]
    Version(u32),
    /// It asks for more memory or time than any file of ours.
    #[error("the key file asks for an unreasonably costly key derivation (m={m} KiB, t={t}, p={p})")]
    TooCostly {
        /// Memory in KiB.
        m: u32,
        /// Passes.
        t: u32,
        /// Lanes.
        p: u32,
    },
    /// What was sealed is not a key that we can use, or the provider failed.
    #[error(transparent)]
    Key(#[from] CryptoError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vault {
    version: u32,
    kdf: Kdf,
    aead: String,
    nonce: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    blob: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    m: u32,
    t: u32,
    p: u32,
    salt: String,
}

#[derive(Clone, Copy)]
struct Cost {
    m: u32,
    t: u32,
    p: u32,
}

/// Seals a key under a password. Costs some 20 ms and 19 MiB, on purpose.
///
/// # Errors
/// If the system has no randomness or memory to give.
pub fn seal(key: &PrivateKey, password: &str) -> Result<String, VaultError> {
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut salt).and_then(|()| rand::fill(&mut nonce)).map_err(|_| CryptoError::Provider)?;
    let Cost { m, t, p } = COST;
    let mut vault = Vault {
        version: VERSION,
        kdf: Kdf { name: KDF.into(), m, t, p, salt: encode_base64(&salt) },
        aead: AEAD.into(),
        nonce: encode_base64(&nonce),
        blob: String::new(),
    };
    let sealing = derive(password, &salt, COST)?;
    let mut blob = key.to_pkcs8_der();
    // The key is overwritten by its ciphertext before the tag makes the buffer grow.
    let tag = sealing
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(vault.header()?),
            &mut blob,
        )
        .map_err(|_| CryptoError::Provider)?;
    blob.extend_from_slice(tag.as_ref());
    vault.blob = encode_base64(&blob);
    vault.to_json()
}

/// Opens what [`seal`] made.
///
/// # Errors
/// If the password is wrong, the text was changed or is none of ours.
pub fn open(text: &str, password: &str) -> Result<PrivateKey, VaultError> {
    let mut vault = Vault::parse(text)?;
    let blob = vault.binary(&vault.blob)?;
    let salt = vault.binary(&vault.kdf.salt)?;
    let nonce = vault.binary(&vault.nonce)?;
    let nonce =
        Nonce::try_assume_unique_for_key(&nonce).map_err(|_| malformed("nonce has another length"))?;
    let Kdf { m, t, p, .. } = vault.kdf;
    vault.blob.clear();
    let mut blob = Zeroizing::new(blob);
    let opening = derive(password, &salt, Cost { m, t, p })?;
    let der = opening
        .open_in_place(nonce, Aad::from(vault.header()?), &mut blob)
        .map_err(|_| VaultError::WrongPasswordOrDamaged)?;
    Ok(PrivateKey::from_pkcs8_der(der)?)
}

impl Vault {
    fn parse(text: &str) -> Result<Self, VaultError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(malformed("too long"));
        }
        let Versioned { version } = serde_json::from_str(text).map_err(malformed)?;
        if version != VERSION {
            return Err(VaultError::Version(version));
        }
        let vault: Self = serde_json::from_str(text).map_err(malformed)?;
        let Kdf { name, m, t, p, salt: _ } = &vault.kdf;
        if name != KDF || vault.aead != AEAD {
            return Err(malformed("unknown kdf or aead"));
        }
        if *m > MAX_COST.m || *t > MAX_COST.t || *p > MAX_COST.p {
            return Err(VaultError::TooCostly { m: *m, t: *t, p: *p });
        }
        Ok(vault)
    }

    fn binary(&self, field: &str) -> Result<Vec<u8>, VaultError> {
        decode_base64(field).map_err(malformed)
    }

    /// Everything but the blob, which must be empty: the associated data.
    fn header(&self) -> Result<String, VaultError> {
        self.to_json()
    }

    fn to_json(&self) -> Result<String, VaultError> {
        serde_json::to_string(self).map_err(malformed)
    }
}

fn malformed(why: impl ToString) -> VaultError {
    VaultError::Malformed(why.to_string())
}

fn derive(password: &str, salt: &[u8], cost: Cost) -> Result<LessSafeKey, VaultError> {
    let params = Params::new(cost.m, cost.t, cost.p, Some(AES_256_GCM.key_len())).map_err(malformed)?;
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, key.as_mut_slice()).map_err(malformed)?;
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| CryptoError::Provider)?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> PrivateKey {
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/../socp-core/tests/fixtures/keys/alice.pem");
        PrivateKey::from_pem(&std::fs::read_to_string(pem).unwrap()).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_with_its_password_alone() {
        let alice = alice();
        let text = seal(&alice, "correct horse").unwrap();
        assert_eq!(open(&text, "correct horse").unwrap().public_key(), alice.public_key());
        assert_eq!(open(&text, "battery staple").err(), Some(VaultError::WrongPasswordOrDamaged));
        assert_ne!(text, seal(&alice, "correct horse").unwrap(), "salt and nonce are fresh");
    }

    #[test]
    fn nothing_in_the_file_can_be_changed() {
        let text = seal(&alice(), "pw").unwrap();
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            open(&text.replacen(from, to, 1), "pw").err()
        };
        assert_eq!(with("\"t\":2", "\"t\":3"), Some(VaultError::WrongPasswordOrDamaged));
        assert_eq!(with("\"m\":19456", "\"m\":19464"), Some(VaultError::WrongPasswordOrDamaged));
        assert_eq!(
            with("\"m\":19456", "\"m\":4294967295"),
            Some(VaultError::TooCostly { m: u32::MAX, t: 2, p: 1 })
        );
        assert_eq!(with("\"version\":1", "\"version\":2"), Some(VaultError::Version(2)));
        assert!(matches!(with("{", "{\"hint\":\"x\","), Some(VaultError::Malformed(_))));
        assert!(matches!(with("argon2id", "argon2i"), Some(VaultError::Malformed(_))));
        for field in ["salt", "nonce", "blob"] {
            let at = text.find(&format!("\"{field}\":\"")).unwrap() + field.len() + 4;
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(open(&changed, "pw").err(), Some(VaultError::WrongPasswordOrDamaged), "{field}");
        }
        for text in ["", "{}", "not json", "[1]", &text[..text.len() - 1]] {
            assert!(matches!(open(text, "pw").err(), Some(VaultError::Malformed(_))), "{text}");
        }
    }
}
