//! Why a server or a client stopped by itself.

use socp_core::crypto::CryptoError;

use crate::pool::PoolError;
use crate::store::StoreError;

/// Why a server or a client stopped by itself. None of it is a peer's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// State could not be made durable; rather than forget it, we stop.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signer failed.
    #[error("signing failed: {0}")]
    Signer(CryptoError),
    /// The worker pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A bug of ours.
    #[error("a task panicked")]
    Panicked,
}
