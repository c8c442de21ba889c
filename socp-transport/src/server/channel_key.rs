//! The public channel's key (§15): 256 random bits, made at every start, never written down. It encrypts nothing
//! in v1.3; its wraps are the standard's bookkeeping.

use std::io;
use std::sync::Arc;

use socp_core::crypto::Sealer;
use socp_core::wire::{Binary, PublicKey, UserId, Wrap};
use tracing::debug;
use zeroize::Zeroizing;

/// The key, and what wraps it.
pub(super) struct ChannelKey {
    key: Zeroizing<[u8; 32]>,
    sealer: Arc<dyn Sealer>,
}

impl ChannelKey {
    /// A new key.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub(super) fn new(sealer: Arc<dyn Sealer>) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        Ok(Self { key, sealer })
    }

    /// The key under each member's key; who cannot be served is left out.
    pub(super) fn wrap(&self, members: &[(UserId, PublicKey)]) -> Vec<Wrap> {
        let wrap = |(user, key): &(UserId, PublicKey)| match self.sealer.seal(key, &*self.key) {
            Ok(sealed) => Some(Wrap { member_id: user.clone(), wrapped_key: Binary::new(sealed) }),
            Err(error) => {
                debug!(?user, %error, "no wrap of the channel's key");
                None
            }
        };
        members.iter().filter_map(wrap).collect()
    }
}
