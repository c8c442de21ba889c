//! Content signatures over payloads: the manifest of a file (§9.4, decisions §6), made and checked, and key shares
//! (§12).

use super::proof::{Check, Claimed};
use super::{CryptoError, Purpose, RSA_BYTES, SharedPayload, Signer};
use crate::wire::{Binary, FileStart, Frame, Payload, PublicChannelKeyShare, PublicKey, without_member};

/// The check of a FILE_START's `content_sig`, over its canonical payload without that field. None if it
/// carries no well-formed one.
pub(crate) fn manifest_check(
    frame: &Frame,
    start: &FileStart,
    key: PublicKey,
    required: bool,
) -> Option<Check> {
    let signature = start.content_sig.as_ref().filter(|sig| sig.bytes().len() == RSA_BYTES)?;
    let canonical = without_member(frame.payload_canonical(), "content_sig");
    let claimed = Claimed::Text { canonical, signature: signature.bytes().into() };
    Some(Check { purpose: Purpose::Content, key, required, claimed })
}

/// The creator's signature over shares and key (§12): the canonical list, then the key as it is written. None if there is no
/// well-formed one.
pub(crate) fn share_check(share: &PublicChannelKeyShare, key: &PublicKey) -> Option<Check> {
    let signature = share.content_sig.as_ref().filter(|sig| sig.bytes().len() == RSA_BYTES)?;
    let claimed = Claimed::Shares { text: share.signed_text(), signature: signature.bytes().into() };
    Some(Check { purpose: Purpose::Content, key: key.clone(), required: true, claimed })
}

/// Signs a manifest: one private-key operation.
///
/// # Errors
/// If the signer fails.
pub(crate) fn sign_manifest(start: FileStart, signer: &dyn Signer) -> Result<FileStart, CryptoError> {
    let unsigned = FileStart { content_sig: None, ..start };
    let text = SharedPayload::new(&Payload::FileStart(unsigned.clone()));
    let content_sig = Some(Binary::new(signer.sign(text.canonical().as_bytes())?));
    Ok(FileStart { content_sig, ..unsigned })
}
