//! The server, and what it takes to reach it: settled before anybody is asked for a password.

use socp_core::wire::HostPort;
use socp_transport::tls::Roots;
use socp_transport::{PlainRefused, Scheme, ServerUrl, is_loopback};

use crate::args::Args;
use crate::fatal::Fatal;
use crate::say;

/// The server that the command line names.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) scheme: Scheme,
    pub(crate) address: HostPort,
    pub(crate) roots: Roots,
    pub(crate) allow_plain: bool,
}

impl Server {
    /// # Errors
    /// If a certificate cannot be used, or the link would be plain, leave this machine, and nobody allowed it.
    pub(crate) fn of(args: &Args) -> Result<Self, Fatal> {
        let Args { server: ServerUrl { scheme, address }, ca, allow_plain, .. } = args;
        let scheme = scheme.unwrap_or(Scheme::Ws);
        let server = Self {
            scheme,
            address: address.clone(),
            roots: Roots::with_files(ca).map_err(|error| Fatal::new(format!("--ca {error}")))?,
            allow_plain: *allow_plain,
        };
        if scheme == Scheme::Ws {
            let refused = PlainRefused::unless(*allow_plain, address.host(), address);
            refused.map_err(|refused| {
                Fatal::new(format!(
                    "{refused}; use --server wss://{address} if it speaks TLS, or add --allow-plain"
                ))
            })?;
            if !is_loopback(address.host()) {
                say(&format!(
                    "socp-client: warning: the link to {server} is not encrypted: everybody on the way sees who \
                     writes to whom, and when"
                ));
            }
        }
        Ok(server)
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address)
    }
}
