//! Passwords as the seed's dialect has them (decisions §4): verifiers, and texts that are sealed under one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use scrypt::Params;
use serde::Serialize;
use socp_core::crypto::CryptoError;
use socp_core::wire::encode_base64;
use zeroize::Zeroizing;

/// log2 of N = 16384, r, p: the seed's.
const COST: (u8, u32, u32) = (14, 8, 1);

/// Length of the salts that we make.
const SALT_BYTES: usize = 16;

/// What a password and a salt give. Takes 50 ms and 16 MiB.
pub(crate) fn derive(password: &str, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    let (log_n, r, p) = COST;
    let params = Params::new(log_n, r, p).expect("the seed's parameters are good ones");
    let mut derived = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut *derived).map_err(|_| CryptoError::Provider)?;
    Ok(derived)
}

/// `pake_password`: what a server keeps to know the password again.
///
/// # Errors
/// If the system has no randomness to give.
pub(crate) fn verifier(password: &str) -> Result<String, CryptoError> {
    let salt = random::<SALT_BYTES>()?;
    Ok(format!("{}.{}", encode_base64(&salt), encode_base64(derive(password, &salt)?.as_slice())))
}

/// `privkey_store`: a text under the password, as JSON.
///
/// # Errors
/// If the system has no randomness to give.
pub(crate) fn seal(password: &str, text: &str) -> Result<String, CryptoError> {
    let (salt, nonce) = (random::<SALT_BYTES>()?, random::<NONCE_LEN>()?);
    let key = derive(password, &salt)?;
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| CryptoError::Provider)?;
    let mut blob = text.as_bytes().to_vec();
    LessSafeKey::new(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut blob)
        .map_err(|_| CryptoError::Provider)?;
    let store =
        Store { salt: encode_base64(&salt), nonce: encode_base64(&nonce), blob: encode_base64(&blob) };
    serde_json::to_string(&store).map_err(|_| CryptoError::Provider)
}

#[derive(Serialize)]
struct Store {
    salt: String,
    nonce: String,
    blob: String,
}

fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| CryptoError::Provider)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use socp_core::wire::decode_base64;

    use super::*;

    #[test]
    fn a_verifier_and_a_store_open_with_the_password_they_were_made_of() {
        let verifier = verifier("pässword").unwrap();
        let (salt, hash) = verifier.split_once('.').unwrap();
        let salt = decode_base64(salt).unwrap();
        assert_eq!(
            (salt.len(), decode_base64(hash).unwrap()),
            (16, derive("pässword", &salt).unwrap().to_vec())
        );

        let store: serde_json::Value = serde_json::from_str(&seal("pässword", "a text").unwrap()).unwrap();
        let part = |name: &str| decode_base64(store[name].as_str().unwrap()).unwrap();
        let opened = |password: &str| {
            let key =
                UnboundKey::new(&AES_256_GCM, derive(password, &part("salt")).unwrap().as_slice()).unwrap();
            let nonce = Nonce::try_assume_unique_for_key(&part("nonce")).unwrap();
            let mut blob = part("blob");
            LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), &mut blob).ok().map(|text| text.to_vec())
        };
        assert_eq!(opened("pässword").as_deref(), Some(&b"a text"[..]));
        assert_eq!(opened("password"), None);
    }
}
