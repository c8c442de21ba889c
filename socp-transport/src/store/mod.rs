//! State that must survive: what the machines ask to persist, kept in memory or in SQLite.
//!
//! Server and client have records and snapshots of their own and share everything else: a [`Store`]
//! is generic over the record. Stores block; [`StoreWriter`] puts one on a thread of its own.

mod client;
mod error;
mod memory;
mod server;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

pub use error::StoreError;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use writer::{Committed, QUEUED_BATCHES, Slot, StoreWriter};

use std::fmt::Debug;

/// A record that a machine persists: [`socp_core::server::Record`] or [`socp_core::client::Record`].
pub trait Stored: Clone + Debug + Send + 'static {
    /// What all records together make.
    type Snapshot: Clone + Debug + Default + PartialEq + Send + 'static;

    /// Makes the change that this record stands for. Lists stay sorted by id or address.
    fn apply(self, snapshot: &mut Self::Snapshot);
}

/// Keeps records of one kind. Calls block; they belong on a thread of their own ([`StoreWriter`]).
pub trait Store<R: Stored>: Send {
    /// Reads everything. Lists come sorted by id or address, so that equal state is an equal snapshot.
    ///
    /// # Errors
    /// If the file cannot be read or holds what no writer of ours wrote.
    fn load(&mut self) -> Result<R::Snapshot, StoreError>;

    /// Makes all of `batch` durable, in order, or nothing of it.
    ///
    /// # Errors
    /// If it cannot be made durable.
    fn commit(&mut self, batch: &[R]) -> Result<(), StoreError>;

    /// The last call: leaves the file tidy. Nothing is lost without it.
    ///
    /// # Errors
    /// If tidying fails.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
