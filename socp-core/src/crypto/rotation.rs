//! Key rotation (decisions §4): a chain in which each key vouches for the next, from the first key on.
//!
//! A step's signature does not cover the steps before it, so anybody can put keys of their own in front of somebody
//! else's step. Hence two things count, and no more: that the pinned key itself signed, and that the first key is
//! the one from which the id derives.

use sha2::{Digest, Sha256};

use super::proof::Step;
use super::{Check, Claimed, CryptoError, Purpose, Signer, Verified};
use crate::wire::{Binary, PublicKey, Rotation, UserId};

/// Longest chain that is made or believed: 2.3 KiB a step, so that an advert stays shorter than 48 KiB and costs
/// less to verify than one private-key operation.
pub const MAX_ROTATIONS: usize = 16;

/// What a key that was seen for an id is to the pinned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// The pinned key signed for it, directly or over others.
    Signed,
    /// Both follow from the first key, this one by more steps, but the pinned key is not among them.
    Longer,
    /// The id derives from its first key, and not from that of the pinned one.
    Rightful,
    /// The pinned key follows from it: it was replaced, and does not come back.
    Superseded,
    /// None of these.
    Stranger,
}

/// The next step of a chain that leads to the signer's key.
///
/// # Errors
/// If the chain is none of this user and key, has no room for another step or holds the new key already, or signing
/// fails.
pub fn rotate(
    user: &UserId,
    mut rotations: Vec<Rotation>,
    old: &dyn Signer,
    new: &PublicKey,
) -> Result<Vec<Rotation>, CryptoError> {
    let before = old.public_key().clone();
    if !rotations.is_empty() && !is_chain(user, &rotations, &before) {
        return Err(CryptoError::NotAChain);
    }
    let (user_id, version) = (user.clone(), rotations.len() as u64 + 1);
    let (old_field, new_field) = (before.into(), new.clone().into());
    let sig = Binary::new(Vec::new());
    let mut step = Rotation { user_id, old: old_field, new: new_field, version, sig };
    step.sig = Binary::new(old.sign(step.signed_text().as_bytes())?);
    rotations.push(step);
    if is_chain(user, &rotations, new) { Ok(rotations) } else { Err(CryptoError::NotAChain) }
}

/// The steps of a chain up to a key: nothing if it does not lead there.
pub fn rotations_to(user: &UserId, mut rotations: Vec<Rotation>, key: &PublicKey) -> Vec<Rotation> {
    let steps = rotations.iter().position(|step| step.new.key() == Ok(key)).map_or(0, |last| last + 1);
    rotations.truncate(steps);
    if is_chain(user, &rotations, key) { rotations } else { Vec::new() }
}

/// Whether the steps lead from one key to the next, and to `key`, for one user. Signatures are another matter.
fn is_chain(user: &UserId, rotations: &[Rotation], key: &PublicKey) -> bool {
    if rotations.len() > MAX_ROTATIONS {
        return false;
    }
    let mut before: Option<&PublicKey> = None;
    let mut seen = Vec::with_capacity(rotations.len());
    for (rotation, version) in rotations.iter().zip(1..) {
        let (Ok(old), Ok(new)) = (rotation.old.key(), rotation.new.key()) else { return false };
        let follows = before.is_none_or(|before| before == old);
        // What was given up does not come back.
        seen.push(old.id());
        if rotation.user_id != *user || rotation.version != version || !follows || seen.contains(&new.id()) {
            return false;
        }
        before = Some(new);
    }
    before == Some(key)
}

/// One check for a whole chain, each step under its old key; none for what is no chain. What fails counts as none.
pub(crate) fn rotation_check(user: &UserId, rotations: &[Rotation], key: &PublicKey) -> Option<Check> {
    if !is_chain(user, rotations, key) {
        return None;
    }
    let step = |rotation: &Rotation| {
        let key = rotation.old.key().ok()?.clone();
        Some(Step { key, canonical: rotation.signed_text(), signature: rotation.sig.bytes().into() })
    };
    let claimed = Claimed::Chain { steps: rotations.iter().map(step).collect::<Option<_>>()? };
    Some(Check { purpose: Purpose::Rotation, key: key.clone(), required: false, claimed })
}

/// The chain, if the frame proves this very one; else nothing. A frame may bring many.
pub(crate) fn proven_rotations<'a>(
    frame: &Verified,
    user: &UserId,
    rotations: &'a [Rotation],
    key: &PublicKey,
) -> &'a [Rotation] {
    if !is_chain(user, rotations, key) {
        return &[];
    }
    let digest = chain_digest(rotations.iter().map(Rotation::signed_text));
    let proven = |proof: &super::Proof| proof.purpose == Purpose::Rotation && proof.chain == Some(digest);
    if frame.proofs().iter().any(proven) { rotations } else { &[] }
}

/// What the steps of a chain say.
pub(super) fn chain_digest<T: AsRef<str>>(texts: impl Iterator<Item = T>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_ref().as_bytes());
        // Canonical JSON holds none.
        hash.update(b"\n");
    }
    hash.finalize().into()
}

/// Whether a chain passes through a key on its way to its last one.
fn passes(rotations: &[Rotation], key: &PublicKey) -> bool {
    rotations.iter().any(|rotation| rotation.old.key() == Ok(key))
}

/// The first key of a chain that ends in `key`.
pub(crate) fn first_key<'a>(rotations: &'a [Rotation], key: &'a PublicKey) -> &'a PublicKey {
    rotations.first().and_then(|rotation| rotation.old.key().ok()).unwrap_or(key)
}

/// What a key is to another one that is pinned, each with its proven chain.
///
/// Where the id derives from the first key, the longest chain wins, wherever it is met first; chains of one length
/// do not replace each other. Elsewhere the first pin wins, and moves only where it signed.
pub(crate) fn succession(
    user: &UserId,
    (pinned, known): (&PublicKey, &[Rotation]),
    (key, rotations): (&PublicKey, &[Rotation]),
) -> Succession {
    let derived = |rotations, key| user.derives_from(first_key(rotations, key));
    let signed = passes(rotations, pinned);
    match (derived(known, pinned), derived(rotations, key)) {
        (true, true) if rotations.len() > known.len() && signed => Succession::Signed,
        (true, true) if rotations.len() > known.len() => Succession::Longer,
        (false, true) if !signed => Succession::Rightful,
        (false, _) if signed => Succession::Signed,
        _ if passes(known, key) => Succession::Superseded,
        (true, _) | (false, _) => Succession::Stranger,
    }
}

/// Whether a proven chain to the pinned key is to be kept in place of the one that is known.
pub(crate) fn tells_more(user: &UserId, key: &PublicKey, known: &[Rotation], rotations: &[Rotation]) -> bool {
    let derived = |rotations| user.derives_from(first_key(rotations, key));
    match (derived(known), derived(rotations)) {
        (true, true) => rotations.len() > known.len(),
        (false, true) => true,
        (false, false) => known.is_empty() && !rotations.is_empty(),
        (true, false) => false,
    }
}
