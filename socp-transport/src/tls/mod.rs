//! TLS: whom we trust when we dial, what we show to who dials us, and what is wrong in words.

mod roots;
mod server;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};

pub use roots::Roots;
pub(crate) use server::server_name;
pub use server::{Doubt, ServerTls};
pub(crate) use words::handshake_failure;

/// What both sides offer and take: WebSocket's handshake is HTTP/1.1.
const ALPN: &[u8] = b"http/1.1";

/// Longest file that is read: room for every certificate of a system.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A file with certificates or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TlsFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, in words for people.
    pub why: Box<str>,
}

impl TlsFileError {
    fn new(path: &Path, why: impl ToString) -> Self {
        Self { path: path.to_owned(), why: why.to_string().into() }
    }
}

/// The provider that is in the tree anyway. Named at every use: the process may have another default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates of a PEM file, of which there is one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| not_pem(path, "certificate", &error))?;
    if certificates.is_empty() {
        return Err(not_pem(path, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, TlsFileError> {
    use std::io::Read;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let read =
        std::fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => {
            Err(TlsFileError::new(path, format_args!("longer than {MAX_FILE_BYTES} bytes")))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(TlsFileError::new(path, format_args!("cannot be read: {error}"))),
    }
}

fn not_pem(path: &Path, what: &str, error: &pem::Error) -> TlsFileError {
    match error {
        pem::Error::NoItemsFound => TlsFileError::new(
            path,
            format_args!(
                "no {what} in it; it must be PEM text, with a line -----BEGIN … {}-----",
                what.to_uppercase()
            ),
        ),
        error => TlsFileError::new(path, format_args!("not PEM text: {error}")),
    }
}
