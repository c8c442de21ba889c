//! Frames of a file on their way to the border, where manifests are signed and blocks encrypted.

use std::fmt;

use crate::crypto::{
    CryptoError, MAX_PLAINTEXT_BYTES, Sealer, SharedPayload, Signed, Signer, Unsigned, sign_manifest,
};
use crate::dialect::Dialect;
use crate::wire::{Binary, FileChunk, FileStart, Payload, PublicKey, Recipient, Timestamp, UserId, WireText};

use super::api::{SourceId, TransferId};

/// Bytes of a file in one chunk: what one RSA block holds (decisions §6).
pub(super) const BLOCK: u64 = MAX_PLAINTEXT_BYTES as u64;

/// Chunks that are read and sealed at a time: a millisecond of work.
pub(super) const RUN: u64 = 16;

/// A FILE_START that waits to be signed (§9.4, decisions §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub(super) transfer: TransferId,
    pub(super) from: UserId,
    /// Our own key: the signer must hold it.
    pub(super) own_key: PublicKey,
    pub(super) to: UserId,
    pub(super) ts: Timestamp,
    /// What our server speaks.
    pub(super) dialect: Dialect,
    pub(super) start: FileStart,
}

impl Offer {
    /// The transfer to report it by.
    pub fn transfer(&self) -> TransferId {
        self.transfer
    }

    /// Signs the manifest, then the frame: two private-key operations.
    ///
    /// # Errors
    /// If the provider fails or the signer holds another key than the client's.
    pub fn seal(&self, signer: &dyn Signer) -> Result<Signed, CryptoError> {
        if signer.public_key() != &self.own_key {
            return Err(CryptoError::BadPrivateKey);
        }
        let start = sign_manifest(self.start.clone(), signer)?;
        let payload = SharedPayload::new(&Payload::FileStart(start));
        let frame = Unsigned::new(self.from.id().clone(), Recipient::from(&self.to), self.ts, payload);
        frame.dressed(self.dialect).unwrap_or(frame).sign(signer)
    }
}

/// A run of blocks that wait to be read and encrypted to their recipient's pinned key.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkRun {
    pub(super) transfer: TransferId,
    pub(super) source: SourceId,
    pub(super) from: UserId,
    pub(super) to: UserId,
    /// The recipient's pinned key.
    pub(super) key: PublicKey,
    pub(super) file_id: Box<str>,
    pub(super) first: u64,
    /// Bytes from `first` on.
    pub(super) bytes: usize,
    pub(super) ts: Timestamp,
}

impl ChunkRun {
    /// The transfer to report it by.
    pub fn transfer(&self) -> TransferId {
        self.transfer
    }

    /// The file to read.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Where in the file the run begins.
    pub fn offset(&self) -> u64 {
        self.first * BLOCK
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many chunks they make.
    pub fn chunks(&self) -> u64 {
        self.bytes.div_ceil(MAX_PLAINTEXT_BYTES) as u64
    }

    /// Encrypts each block and writes its FILE_CHUNK: a public-key operation each, and no signature, since the
    /// manifest's hash vouches for all of them (decisions §6).
    ///
    /// # Errors
    /// If the provider fails.
    pub fn seal(&self, plaintext: &[u8], sealer: &dyn Sealer) -> Result<Vec<WireText>, CryptoError> {
        let chunks = plaintext.chunks(MAX_PLAINTEXT_BYTES).zip(self.first..);
        chunks
            .map(|(block, index)| {
                let chunk = FileChunk {
                    file_id: self.file_id.clone(),
                    index,
                    ciphertext: Binary::new(sealer.seal(&self.key, block)?),
                    to: Some(self.to.as_str().into()),
                    sender: None,
                    ts: None,
                };
                let payload = SharedPayload::new(&Payload::FileChunk(chunk));
                let frame =
                    Unsigned::new(self.from.id().clone(), Recipient::from(&self.to), self.ts, payload);
                Ok(frame.without_signature())
            })
            .collect()
    }
}

impl fmt::Debug for ChunkRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transfer, first, bytes, .. } = self;
        write!(f, "ChunkRun({transfer}, from {first}, {bytes} bytes)")
    }
}
