//! Failed handshakes in words that say what to do.

use std::io;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{CertificateError, Error, OtherError};

/// Names of a certificate that are repeated at most.
const NAMES: usize = 5;

/// Why a handshake that we began came to nothing. `None`: what answered does not speak TLS.
pub(crate) fn handshake_failure(error: &io::Error) -> Option<String> {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return Some(format!("TLS handshake: {error}"));
    };
    match tls {
        Error::InvalidMessage(_) => None,
        Error::InvalidCertificate(doubt) => Some(certificate(doubt)),
        Error::AlertReceived(alert) => Some(format!("TLS handshake: the other side refused it: {alert:?}")),
        other => Some(format!("TLS handshake: {other}")),
    }
}

fn certificate(doubt: &CertificateError) -> String {
    match doubt {
        CertificateError::UnknownIssuer => "the server's certificate was issued by nobody who is trusted here; \
            a private one needs the certificate of its authority (--ca FILE)"
            .into(),
        CertificateError::BadSignature => "the server's certificate was not signed by the authority of that name \
            that is trusted here: it may have been made anew, then trust the new certificate (--ca FILE)"
            .into(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let shown = |name: &String| name.escape_debug().to_string();
            let mut names: Vec<_> = presented.iter().take(NAMES).map(shown).collect();
            if presented.len() > NAMES {
                names.push("…".into());
            }
            let names = if names.is_empty() { "nobody".into() } else { names.join(", ") };
            format!("the server's certificate is not for {}, but for {names}", expected.to_str())
        }
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the server's certificate expired on {}; its operator must renew it (or this machine's clock is wrong)",
            date(*not_after)
        ),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the server's certificate counts from {} on only (or this machine's clock is wrong)",
            date(*not_before)
        ),
        CertificateError::Other(OtherError(inner))
            if inner.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
        {
            "the server shows the certificate of an authority (CA:TRUE), which is none for a server; its operator \
             must make one with CA:FALSE"
                .into()
        }
        other => format!("the server's certificate is no good: {other}"),
    }
}

/// A day, as people write it to each other.
pub(super) fn date(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default();
    text.split('T').next().unwrap_or_default().to_owned()
}
