//! The directory where a server or a client keeps its files, for one process at a time.

use std::env;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

/// Longest directory name made from a client's name; file systems take 255 bytes.
const MAX_NAME_BYTES: usize = 100;

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Closing it releases the lock, also when the process is killed.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{}: in use by another process; stop it, or choose another data directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be created or locked.
    #[error("{}: cannot be used as data directory: {why}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        why: io::Error,
    },
    /// There is no default place.
    #[error(
        "no place for data: neither XDG_DATA_HOME nor HOME is set to an absolute path; name a data directory"
    )]
    NoHome,
    /// A client's name is empty.
    #[error("an empty name")]
    NoName,
}

impl DataDir {
    /// Creates the directory, with its parents and for its owner alone, if it is not there, and locks it.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be created.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        let lock = create(&path).and_then(|()| {
            OpenOptions::new().write(true).create(true).truncate(false).open(path.join("lock"))
        });
        let lock = match lock {
            Ok(lock) => lock,
            Err(why) => return Err(DataDirError::Io { path, why }),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path }),
            Err(TryLockError::Error(why)) => Err(DataDirError::Io { path, why }),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where a server keeps its data unless told otherwise: `$XDG_DATA_HOME/socp/server`.
    ///
    /// # Errors
    /// If the environment names no place.
    pub fn default_for_server() -> Result<PathBuf, DataDirError> {
        Ok(data_home()?.join("server"))
    }

    /// Where the client of that name keeps its data unless told otherwise: `$XDG_DATA_HOME/socp/client/NAME`,
    /// with `NAME` made safe. Different names have different directories.
    ///
    /// # Errors
    /// If the environment names no place, or the name is empty.
    pub fn default_for_client(name: &str) -> Result<PathBuf, DataDirError> {
        if name.is_empty() {
            Err(DataDirError::NoName)
        } else {
            Ok(data_home()?.join("client").join(safe_name(name)))
        }
    }
}

fn create(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Where a server's configuration file is looked for unless told otherwise: `$XDG_CONFIG_HOME/socp/server.toml`.
/// None if the environment names no place.
pub fn server_config_file() -> Option<PathBuf> {
    let config = socp_home(env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME"), ".config");
    config.map(|config| config.join("server.toml"))
}

fn data_home() -> Result<PathBuf, DataDirError> {
    let data = socp_home(env::var_os("XDG_DATA_HOME"), env::var_os("HOME"), ".local/share");
    data.ok_or(DataDirError::NoHome)
}

/// The XDG base directory specification says that a relative path is to be ignored.
fn socp_home(xdg: Option<OsString>, home: Option<OsString>, below: &str) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let fallback = || home.and_then(absolute).map(|home| home.join(below));
    xdg.and_then(absolute).or_else(fallback).map(|base| base.join("socp"))
}

/// A file name for any name: what is not plain is written `%XX`, so is a dot in front. A long name keeps
/// its start and gets, after a `~` that no other name has, its hash.
fn safe_name(name: &str) -> String {
    let plain =
        |at: usize, byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || byte == b'.' && at > 0;
    let mut safe = String::new();
    for (at, byte) in name.bytes().enumerate() {
        if plain(at, byte) { safe.push(char::from(byte)) } else { safe.push_str(&format!("%{byte:02X}")) }
    }
    if safe.len() > MAX_NAME_BYTES {
        let hash = digest(&SHA256, name.as_bytes());
        let hash: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        // All of `safe` is ASCII: any cut is between characters.
        safe.truncate(MAX_NAME_BYTES - hash.len() - 1);
        safe = format!("{safe}~{hash}");
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(matches!(refused, DataDirError::InUse { .. }));
        assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
        drop(first);
        assert_eq!(DataDir::open(&path).unwrap().file("x"), path.join("x"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && !error.contains('\n'), "{error}");
    }

    #[test]
    fn any_name_makes_a_safe_file_name_of_its_own() {
        for (name, safe) in [
            ("alice", "alice"),
            ("a.b-c_D9", "a.b-c_D9"),
            (".", "%2E"),
            ("..", "%2E."),
            ("../x", "%2E.%2Fx"),
            ("ä\0", "%C3%A4%00"),
            ("%2E", "%252E"),
            ("~", "%7E"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
        let (long, longer) = (safe_name(&"x".repeat(101)), safe_name(&"x".repeat(102)));
        assert_eq!((long.len(), longer.len()), (MAX_NAME_BYTES, MAX_NAME_BYTES));
        assert_ne!(long, longer);
        assert_eq!(safe_name(&"x".repeat(100)), "x".repeat(100));
    }

    #[test]
    fn the_place_is_xdgs_or_under_home() {
        let home = |xdg: Option<&str>, home: Option<&str>| {
            socp_home(xdg.map(Into::into), home.map(Into::into), ".local/share")
        };
        assert_eq!(home(Some("/data"), Some("/home/a")), Some("/data/socp".into()));
        assert_eq!(home(Some("data"), Some("/home/a")), Some("/home/a/.local/share/socp".into()));
        assert_eq!(home(None, Some("/home/a")), Some("/home/a/.local/share/socp".into()));
        assert_eq!(home(Some(""), Some("")), None);
    }
}
