//! Whose certificates are believed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tracing::{debug, warn};

use super::{ALPN, TlsFileError, certificates, provider};

/// Whose word counts for a server's certificate: the authorities that the system trusts, and those that were
/// added. The system is asked when the first link is dialled over TLS. Clones are the same roots.
#[derive(Clone, Default)]
pub struct Roots(Arc<Inner>);

struct Inner {
    added: RootCertStore,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { added: RootCertStore::empty(), config: OnceCell::new() }
    }
}

impl Roots {
    /// The system's authorities, and the certificates in these PEM files: private authorities', or a server's
    /// own if it is signed by itself.
    ///
    /// # Errors
    /// If a file cannot be read or holds no certificate.
    pub fn with_files(files: &[impl AsRef<Path>]) -> Result<Self, TlsFileError> {
        let mut inner = Inner::default();
        for file in files {
            let path = file.as_ref();
            for certificate in certificates(path)? {
                let refused =
                    |error| TlsFileError::new(path, format_args!("not a usable certificate: {error}"));
                inner.added.add(certificate).map_err(refused)?;
            }
        }
        Ok(Self(Arc::new(inner)))
    }

    pub(crate) async fn connector(&self) -> TlsConnector {
        let config = self.0.config.get_or_init(|| async {
            // Some hundred files, on some systems.
            let system = spawn_blocking(system).await.unwrap_or_default();
            Arc::new(client_config(self.0.added.clone(), system))
        });
        TlsConnector::from(config.await.clone())
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("added", &self.0.added.len()).finish_non_exhaustive()
    }
}

fn client_config(mut roots: RootCertStore, system: Vec<CertificateDer<'static>>) -> ClientConfig {
    let (taken, passed_over) = roots.add_parsable_certificates(system);
    debug!(taken, passed_over, "certificates of the system's authorities");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn system() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        debug!(%error, "certificates of the system's authorities");
    }
    if found.certs.is_empty() {
        warn!("this system names no authorities that it trusts; only added ones count");
    }
    found.certs
}
