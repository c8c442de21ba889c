//! Private keys as PEM text (RFC 7468), for both providers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::CryptoError;
use crate::wire::{PEM_LINE_BYTES, push_pem_lines};

const BEGIN_PKCS8: &str = "-----BEGIN PRIVATE KEY-----";
const END_PKCS8: &str = "-----END PRIVATE KEY-----";
const BEGIN_PKCS1: &str = "-----BEGIN RSA PRIVATE KEY-----";
const END_PKCS1: &str = "-----END RSA PRIVATE KEY-----";

/// PKCS#8 DER of the first private key in the text, which may be PKCS#1. An encrypted key is refused.
pub(super) fn decode(pem: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let mut lines = pem.lines().map(str::trim);
    let begin =
        lines.find(|line| matches!(*line, BEGIN_PKCS8 | BEGIN_PKCS1)).ok_or(CryptoError::BadPrivateKey)?;
    let end = if begin == BEGIN_PKCS8 { END_PKCS8 } else { END_PKCS1 };
    // Room for the whole from the start, so that growing leaves no copies behind.
    let mut body = Zeroizing::new(String::with_capacity(pem.len()));
    loop {
        match lines.next() {
            Some(line) if line == end => break,
            Some(line) => body.push_str(line),
            None => return Err(CryptoError::BadPrivateKey),
        }
    }
    let der = STANDARD.decode(body.as_bytes()).map_err(|_| CryptoError::BadPrivateKey)?;
    let der = Zeroizing::new(der);
    if begin == BEGIN_PKCS8 { Ok(der) } else { pkcs8_of_pkcs1(&der) }
}

/// The text of a key in PKCS#8 DER.
pub(super) fn encode(pkcs8: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(pkcs8));
    let newlines = body.len().div_ceil(PEM_LINE_BYTES) + 2;
    let mut pem =
        Zeroizing::new(String::with_capacity(BEGIN_PKCS8.len() + body.len() + END_PKCS8.len() + newlines));
    pem.push_str(BEGIN_PKCS8);
    pem.push('\n');
    push_pem_lines(&mut pem, &body);
    pem.push_str(END_PKCS8);
    pem.push('\n');
    pem
}

/// Wraps PKCS#1 as PKCS#8. The lengths are written in two bytes, as those of every RSA-4096 key are;
/// with another key the result may be no DER, and the provider refuses it.
fn pkcs8_of_pkcs1(pkcs1: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    /// Version 0 and the AlgorithmIdentifier rsaEncryption.
    const HEAD: [u8; 18] = [
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00,
    ];
    const SEQUENCE: u8 = 0x30;
    const OCTET_STRING: u8 = 0x04;
    let prefix = |tag: u8, length: usize| {
        let [high, low] = u16::try_from(length).map_err(|_| CryptoError::BadPrivateKey)?.to_be_bytes();
        Ok([tag, 0x82, high, low])
    };
    let key = prefix(OCTET_STRING, pkcs1.len())?;
    let whole = prefix(SEQUENCE, HEAD.len() + key.len() + pkcs1.len())?;
    Ok(Zeroizing::new([&whole[..], &HEAD, &key, pkcs1].concat()))
}
