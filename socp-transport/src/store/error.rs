//! What can go wrong with a store, in one line that names the file.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// A store failed. Every message names the file and says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("{}: cannot be opened: {why}", file.display())]
    Open {
        /// The database.
        file: PathBuf,
        /// The system's or SQLite's words.
        why: String,
    },
    /// The file is something else than an SQLite database.
    #[error("{}: not an SQLite database", file.display())]
    NotADatabase {
        /// The file.
        file: PathBuf,
    },
    /// The file is an SQLite database, but not one of this kind.
    #[error("{}: an SQLite database, but not that of a SOCP {kind}", file.display())]
    Foreign {
        /// The database.
        file: PathBuf,
        /// `server` or `client`.
        kind: &'static str,
    },
    /// A newer version of this program has written the file.
    #[error("{}: has schema {found}, this version knows up to {known}; use a newer version", file.display())]
    NewerSchema {
        /// The database.
        file: PathBuf,
        /// The file's schema version.
        found: i64,
        /// The newest one that we know.
        known: usize,
    },
    /// The file is damaged.
    #[error("{}: damaged: {why}; restore it from a backup", file.display())]
    Corrupt {
        /// The database.
        file: PathBuf,
        /// SQLite's words.
        why: String,
    },
    /// A row holds what no writer of ours wrote.
    #[error("{}: table {table}, row {row}: {why}", file.display())]
    BadRow {
        /// The database.
        file: PathBuf,
        /// The table.
        table: &'static str,
        /// Which row, counted from 1 in the order of the primary key.
        row: usize,
        /// What is wrong.
        why: String,
    },
    /// Reading or writing failed, for example because the disk is full.
    #[error("{}: {what} failed: {why}", file.display())]
    Failed {
        /// The database.
        file: PathBuf,
        /// `reading`, `writing`, …
        what: &'static str,
        /// SQLite's words.
        why: String,
    },
    /// The writer has stopped; nothing can be made durable any more.
    #[error("the store's writer has stopped")]
    Stopped,
}

impl StoreError {
    /// Says what SQLite's error means for the file.
    pub(super) fn new(file: &Path, what: &'static str, error: &rusqlite::Error) -> Self {
        let file = file.to_owned();
        // SQLite puts some messages on several lines.
        let why = error.to_string().replace('\n', " ");
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { file },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { file, why },
            Some(ErrorCode::CannotOpen) => Self::Open { file, why },
            _ => Self::Failed { file, what, why },
        }
    }
}
