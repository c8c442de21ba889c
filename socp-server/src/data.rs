//! The server's data directory: its key, its id, its database.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::server::{Record, Snapshot};
use socp_core::wire::{Id, PublicKey, ServerId};
use socp_transport::data_dir::{DataDir, DataDirError};
use socp_transport::store::{SqliteStore, Store};
use socp_transport::vault;
use zeroize::Zeroizing;

use crate::error::{Fatal, Result, note};

const KEY_FILE: &str = "identity.pem";
const ID_FILE: &str = "server_id";
const DATABASE_FILE: &str = "server.db";

/// The directory, ours until this is dropped.
pub(crate) struct ServerData {
    folder: DataDir,
}

/// Who a server is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) server_id: ServerId,
    pub(crate) key: PublicKey,
}

impl ServerData {
    /// Creates the directory if it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> std::result::Result<Self, DataDirError> {
        Ok(Self { folder: DataDir::open(path)? })
    }

    /// The key; makes one if there is none, which takes seconds and is told on stderr.
    pub(crate) fn key(&self) -> Result<Arc<PrivateKey>> {
        let path = self.folder.file(KEY_FILE);
        if exists(&path)? {
            return Ok(Arc::new(vault::load_or_create(&path)?));
        }
        note("making this server's identity, an RSA-4096 key; that takes a few seconds …");
        let start = Instant::now();
        let key = vault::load_or_create(&path)?;
        let (seconds, file) = (start.elapsed().as_secs_f32(), path.display());
        note(format_args!("made it in {seconds:.1} s, it is kept in {file}"));
        Ok(Arc::new(key))
    }

    /// Takes the key in `from`, unless there is another one already.
    pub(crate) fn import(&self, from: &Path) -> Result<()> {
        let path = self.folder.file(KEY_FILE);
        let named = |error: &dyn Display| format!("{}: {error}", from.display());
        let text = fs::read(from).map(Zeroizing::new).map_err(|error| named(&error))?;
        let pem = std::str::from_utf8(&text).unwrap_or_default();
        let key = PrivateKey::from_pem(pem).map_err(|error| named(&error))?;
        if exists(&path)? {
            let kept = vault::load_or_create(&path)?;
            if kept.public_key() == key.public_key() {
                return Ok(());
            }
            let (path, kept) = (path.display(), kept.public_key().id().fingerprint());
            return Err(format!(
                "{path}: there is an identity already, with fingerprint {kept}; it is not replaced: name \
                 another data directory"
            )
            .into());
        }
        // Refused for a directory that was another server's.
        read_id(&self.folder.file(ID_FILE), key.public_key())?;
        let kept = vault::write_private(&path, key.to_pem().as_bytes());
        kept.map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// The database.
    pub(crate) fn store(&self) -> Result<SqliteStore<Record>> {
        Ok(SqliteStore::open(self.folder.file(DATABASE_FILE))?)
    }

    /// The id for a run: `wanted` or the key's own, kept from the first run on. One that an introducer
    /// assigned since then is in the database and beats it.
    pub(crate) fn settle_id(
        &self,
        wanted: Option<&ServerId>,
        key: &PublicKey,
        assigned: Option<&ServerId>,
    ) -> Result<ServerId> {
        let path = self.folder.file(ID_FILE);
        match (read_id(&path, key)?, wanted) {
            (Some(kept), Some(wanted)) if *wanted != kept && Some(wanted) != assigned => {
                Err(another_id(&path, &kept, wanted))
            }
            (Some(kept), _) => Ok(kept),
            (None, wanted) => {
                let id = wanted.cloned().unwrap_or_else(|| Id::derived_from(key).into());
                let kept = vault::write_private(&path, format!("{id}\n{}\n", key.id()).as_bytes());
                kept.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(id)
            }
        }
    }

    /// Who this server is. Needs a key.
    pub(crate) fn identity(&self) -> Result<Identity> {
        identity_in(self.folder.path())
    }
}

/// The key in a directory, if there is one, without locking it.
pub(crate) fn kept_key(folder: &Path) -> Result<Option<PublicKey>> {
    let path = folder.join(KEY_FILE);
    if exists(&path)? { Ok(Some(vault::load_or_create(&path)?.public_key().clone())) } else { Ok(None) }
}

/// Whether a directory is that of a server of this id, without locking it.
pub(crate) fn judge_id(folder: &Path, wanted: &ServerId, key: &PublicKey) -> Result<()> {
    let path = folder.join(ID_FILE);
    match read_id(&path, key)? {
        Some(kept) if kept != *wanted && state_in(folder)?.own_id.as_ref() != Some(wanted) => {
            Err(another_id(&path, &kept, wanted))
        }
        Some(_) | None => Ok(()),
    }
}

fn another_id(path: &Path, kept: &ServerId, wanted: &ServerId) -> Fatal {
    format!(
        "{}: this server's id is {kept:?} since its first start, not {wanted:?}: others know it by that id; leave \
         --server-id out (in the file: server_id), or name another data directory",
        path.display()
    )
    .into()
}

/// The state in a directory, without locking it.
pub(crate) fn state_in(folder: &Path) -> Result<Snapshot> {
    let database = folder.join(DATABASE_FILE);
    if exists(&database)? {
        return Ok(SqliteStore::<Record>::open(database)?.load()?);
    }
    match exists(folder)? {
        true => Ok(Snapshot::default()),
        false => Err(format!("{}: there is no such directory", folder.display()).into()),
    }
}

/// Who the server in a directory is, without locking it: while it runs, its key is there and stays.
pub(crate) fn identity_in(folder: &Path) -> Result<Identity> {
    let Some(key) = kept_key(folder)? else {
        return Err(format!("{}: there is no identity yet", folder.join(KEY_FILE).display()).into());
    };
    let server_id = match state_in(folder)?.own_id {
        Some(assigned) => assigned,
        None => read_id(&folder.join(ID_FILE), &key)?.unwrap_or_else(|| Id::derived_from(&key).into()),
    };
    Ok(Identity { server_id, key })
}

/// Whether a key is in a directory.
pub(crate) fn has_key(folder: &Path) -> bool {
    exists(&folder.join(KEY_FILE)).unwrap_or(false)
}

/// The id that was settled, if one was. Behind it stands the key for which it was: others have pinned both
/// together.
fn read_id(path: &Path, key: &PublicKey) -> Result<Option<ServerId>> {
    let named = |error: &dyn Display| format!("{}: {error}", path.display());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(&error).into()),
    };
    let mut lines = text.lines();
    let id = lines.next().unwrap_or_default().parse().map_err(|error| named(&error))?;
    if lines.next() != Some(&key.id().to_string()) {
        return Err(named(&"this directory is that of a server with another key; name another one").into());
    }
    Ok(Some(id))
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| format!("{}: {error}", path.display()).into())
}
