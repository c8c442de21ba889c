//! A server's own key: PKCS#8 PEM without a password, since a server must restart unattended.

use std::io;
use std::path::{Path, PathBuf};

use socp_core::crypto::CryptoError;
use socp_core::crypto::aws_lc::PrivateKey;

use super::file::{read_private, write_private};

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("{}: {why}", file.display())]
    File {
        /// The key file.
        file: PathBuf,
        /// The system's words.
        why: io::Error,
    },
    /// The file holds no key of the kind that SOCP asks for.
    #[error("{}: {why}", file.display())]
    Key {
        /// The key file.
        file: PathBuf,
        /// What is wrong with it.
        why: CryptoError,
    },
}

/// Reads the key in `path`, or makes one there (mode 0600) if there is no such file. Making one takes
/// seconds. Nobody else may do the same at the same time: hold the [`DataDir`](crate::data_dir::DataDir).
///
/// # Errors
/// If the file exists and is not a private RSA-4096 key, or cannot be read or written.
pub fn load_or_create(path: &Path) -> Result<PrivateKey, IdentityError> {
    let bad_file = |why| IdentityError::File { file: path.to_owned(), why };
    let bad_key = |why| IdentityError::Key { file: path.to_owned(), why };
    match read_private(path) {
        Ok(pem) => PrivateKey::from_pem(&pem).map_err(bad_key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = PrivateKey::generate().map_err(bad_key)?;
            write_private(path, key.to_pem().as_bytes()).map_err(bad_file)?;
            Ok(key)
        }
        Err(error) => Err(bad_file(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        let made = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap().public_key(), made.public_key());

        std::fs::write(&path, "garbage").unwrap();
        let error = load_or_create(&path).map(drop).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: not a private RSA-4096 key", path.display())), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "garbage", "a bad key is never replaced");
    }
}
