//! What a server shows to who dials it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

use super::words::date;
use super::{ALPN, TlsFileError, certificates, not_pem, provider, read};

/// A server's certificate and key. Clones are the same: [`ServerTls::reload`] changes all.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    certificate: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads a chain of certificates, the server's own first, and its private key, both PEM.
    ///
    /// # Errors
    /// If a file cannot be used, or they do not belong together.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsFileError> {
        let current = RwLock::new(load(chain, key)?);
        Ok(Self(Arc::new(Inner { chain: chain.to_owned(), key: key.to_owned(), current })))
    }

    /// Reads the files again, for the links to come. Blocks.
    ///
    /// # Errors
    /// As [`ServerTls::from_files`]; what was there before stays in use.
    pub fn reload(&self) -> Result<(), TlsFileError> {
        let current = load(&self.0.chain, &self.0.key)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// What clients will not like about the certificate, as far as can be told without knowing whom they
    /// trust; `host` is where they dial.
    pub fn doubts(&self, host: Option<&str>) -> Vec<Doubt> {
        let current = self.current();
        let Ok(certificate) = EndEntityCert::try_from(&current.certificate) else {
            return vec![Doubt::Unreadable];
        };
        let algorithms = provider().signature_verification_algorithms.all;
        let (now, usage) = (UnixTime::now(), KeyUsage::server_auth());
        // Nobody is trusted, so this always fails; what is wrong with the certificate itself comes first.
        let verified = certificate.verify_for_usage(algorithms, &[], &[], now, usage, None, None);
        let own = match verified.err() {
            Some(webpki::Error::CertExpired { not_after, .. }) => {
                Some(Doubt::Expired { on: date(not_after) })
            }
            Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
                Some(Doubt::NotValidYet { until: date(not_before) })
            }
            Some(webpki::Error::CaUsedAsEndEntity) => Some(Doubt::Authority),
            Some(webpki::Error::UnknownIssuer) | None => None,
            Some(error) => Some(Doubt::Other(error.to_string().into())),
        };
        let for_name = host.and_then(|host| {
            let name = server_name(host)?;
            certificate.verify_is_valid_for_subject_name(&name).err()?;
            Some(Doubt::NotFor { host: host.into() })
        });
        own.into_iter().chain(for_name).collect()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    fn current(&self) -> Current {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("chain", &self.0.chain).finish_non_exhaustive()
    }
}

/// Why clients that verify certificates will turn away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Its time is over.
    #[error("it expired on {on}; renew it")]
    Expired {
        /// The day.
        on: String,
    },
    /// Its time has not come.
    #[error("it counts from {until} on only")]
    NotValidYet {
        /// The day.
        until: String,
    },
    /// It is not a server's.
    #[error(
        "it is an authority's (CA:TRUE), which many clients refuse from a server; make one with \
         basicConstraints CA:FALSE"
    )]
    Authority,
    /// It names others.
    #[error("it does not name {host}, where others dial; they will refuse it")]
    NotFor {
        /// Where clients dial.
        host: Box<str>,
    },
    /// It is no X.509 certificate.
    #[error("it is not a certificate that can be read")]
    Unreadable,
    /// Something else.
    #[error("{0}")]
    Other(Box<str>),
}

/// The name that a certificate must have for this host. IPv6 zones are this machine's own business.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host.split('%').next().unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

fn load(chain_file: &Path, key_file: &Path) -> Result<Current, TlsFileError> {
    let chain = certificates(chain_file)?;
    let certificate = chain[0].clone();
    let pem = read(key_file)?;
    let key =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| not_pem(key_file, "private key", &error))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions");
    let config = builder.with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsFileError::new(
            key_file,
            format_args!("not the key of the first certificate in {}", chain_file.display()),
        ),
        rustls::Error::InvalidCertificate(error) => {
            TlsFileError::new(chain_file, format_args!("not a usable certificate: {error}"))
        }
        error => TlsFileError::new(key_file, format_args!("not a usable private key: {error}")),
    })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Current { certificate, config: Arc::new(config) })
}
