//! The store in an SQLite file: WAL, `synchronous=NORMAL`. What was committed survives `kill -9`; a
//! power cut may cost the last moments, never the file.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use super::{Store, StoreError, Stored};

/// How long to wait for somebody else's lock, a backup's for example.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps records in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore<R: Stored> {
    file: PathBuf,
    connection: Connection,
    records: PhantomData<fn(R)>,
}

/// How a kind of records lies in tables. Not for other crates: the module is private.
pub trait Schema: Stored {
    /// `server` or `client`.
    const KIND: &'static str;
    /// SQLite's `application_id`: tells our files from others, and server from client.
    const APPLICATION_ID: i32;
    /// From the empty file to the newest schema. Entries are never changed, only added.
    const MIGRATIONS: &'static [M<'static>];

    /// Reads all tables.
    fn load(tables: &Tables<'_>) -> Result<Self::Snapshot, StoreError>;

    /// Writes one record.
    fn put(&self, connection: &Connection) -> rusqlite::Result<()>;

    /// Runs at the end of every transaction: keeps bounds.
    fn prune(connection: &Connection) -> rusqlite::Result<()>;
}

impl<R: Schema> SqliteStore<R> {
    /// Opens or creates the file, readable and writable by its owner alone, and brings its schema up to
    /// date.
    ///
    /// # Errors
    /// If the file cannot be opened, is damaged, belongs to something else or to a newer version.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let file = path.into();
        let unusable = |error: io::Error| StoreError::Open { file: file.clone(), why: error.to_string() };
        create(&file).map_err(unusable)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags)
            .and_then(|connection| connection.busy_timeout(BUSY_TIMEOUT).map(|()| connection))
            .map_err(|error| StoreError::new(&file, "opening", &error))?;
        let mut store = Self { file: file.clone(), connection, records: PhantomData };
        store.recognise()?;
        restrict(&file).map_err(unusable)?;
        store.set_up().map_err(|error| store.failed("opening", &error))?;
        store.migrate()?;
        store.check()?;
        Ok(store)
    }

    /// Refuses files that are not ours before anything is written to them.
    fn recognise(&self) -> Result<(), StoreError> {
        let number = |sql| {
            let number = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            number.map_err(|error| self.failed("opening", &error))
        };
        let application_id = number("PRAGMA application_id")?;
        let found = number("PRAGMA user_version")?;
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        let new = application_id == 0 && found == 0 && tables == 0;
        if !new && application_id != i64::from(R::APPLICATION_ID) {
            return Err(StoreError::Foreign { file: self.file.clone(), kind: R::KIND });
        }
        let known = R::MIGRATIONS.len();
        if usize::try_from(found).map_or(true, |found| found > known) {
            return Err(StoreError::NewerSchema { file: self.file.clone(), found, known });
        }
        Ok(())
    }

    fn set_up(&self) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "journal_mode", "wal")?;
        self.connection.pragma_update(None, "synchronous", "normal")?;
        self.connection.pragma_update(None, "foreign_keys", true)?;
        self.connection.pragma_update(None, "application_id", R::APPLICATION_ID)
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let migrated = Migrations::from_slice(R::MIGRATIONS).to_latest(&mut self.connection);
        migrated.map_err(|error| match error {
            rusqlite_migration::Error::RusqliteError { err, .. } => self.failed("migrating", &err),
            other => {
                let why = other.to_string().replace('\n', " ");
                StoreError::Failed { file: self.file.clone(), what: "migrating", why }
            }
        })
    }

    /// Reads every page once, so that damage is found now and not in the middle of the night.
    fn check(&self) -> Result<(), StoreError> {
        let verdict = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        let why = verdict.map_err(|error| self.failed("checking", &error))?.replace('\n', " ");
        if why == "ok" { Ok(()) } else { Err(StoreError::Corrupt { file: self.file.clone(), why }) }
    }

    fn write(&mut self, batch: &[R]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        batch.iter().try_for_each(|record| record.put(&transaction))?;
        R::prune(&transaction)?;
        transaction.commit()
    }
}

impl<R: Stored> SqliteStore<R> {
    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn failed(&self, what: &'static str, error: &rusqlite::Error) -> StoreError {
        StoreError::new(&self.file, what, error)
    }
}

impl<R: Schema> Store<R> for SqliteStore<R> {
    fn load(&mut self) -> Result<R::Snapshot, StoreError> {
        R::load(&Tables { file: &self.file, connection: &self.connection })
    }

    fn commit(&mut self, batch: &[R]) -> Result<(), StoreError> {
        self.write(batch).map_err(|error| self.failed("writing", &error))
    }

    /// Moves the log into the database file.
    fn close(&mut self) -> Result<(), StoreError> {
        let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        done.map_err(|error| self.failed("closing", &error))
    }
}

/// Reads tables; errors name the table and the row.
pub struct Tables<'a> {
    file: &'a Path,
    connection: &'a Connection,
}

/// What is wrong with a row.
pub(super) type RowError = Box<dyn Error + Send + Sync>;

impl Tables<'_> {
    /// Runs `sql`, which reads `table`, and turns each row into a value.
    pub fn read<T>(
        &self,
        table: &'static str,
        sql: &str,
        value: impl Fn(&Row<'_>) -> Result<T, RowError>,
    ) -> Result<Vec<T>, StoreError> {
        let failed = |error| StoreError::new(self.file, "reading", &error);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut values = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            values.push(value(row).map_err(|error| StoreError::BadRow {
                file: self.file.to_owned(),
                table,
                row: values.len() + 1,
                why: error.to_string().replace('\n', " "),
            })?);
        }
        Ok(values)
    }
}

/// SQLite's integers end at 2^63 − 1. Times and versions never come near; what does is cut there rather
/// than let a peer's number stop the server.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, column: &str) -> Result<u64, RowError> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| format!("{column} is negative").into())
}

/// Creates the file for its owner alone. One that exists is not opened: closing it would take away the locks
/// that SQLite holds on it in this process.
fn create(file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Takes away everybody else's rights to the file; SQLite gives its log the same ones.
fn restrict(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}
