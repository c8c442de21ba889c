//! How a server is set up.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use socp_core::crypto::{Sealer, Signer, Verifier, aws_lc};
use socp_core::server::{DialPolicy, Introducer, JoinPolicy, Limits, PasswordLogins, Record, Timing};
use socp_core::wire::{HostPort, ServerId};

use crate::pool::Pool;
use crate::store::{MemoryStore, Store};
use crate::tls::{Roots, ServerTls};
use crate::{LinkLimits, Scheme};

/// Where to listen: a host, and a port that may be 0 (the system picks one). In front of it `ws://` or
/// `wss://`; with neither, it is TLS if there is a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    scheme: Option<Scheme>,
    host: Box<str>,
    port: u16,
}

/// The text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected host:port, for example 127.0.0.1:8765 or [::]:8765, with ws:// or wss:// in front or without"
)]
pub struct ListenAddressError;

impl ListenAddress {
    /// The scheme, if it was said.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Default for ListenAddress {
    /// For clients on this machine: `127.0.0.1:8765`.
    fn default() -> Self {
        Self { scheme: None, host: "127.0.0.1".into(), port: 8765 }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let (scheme, text) = Scheme::split(text);
        let (host, port) = text.rsplit_once(':').ok_or(ListenAddressError)?;
        if host.contains('/') {
            return Err(ListenAddressError);
        }
        // Port 1 stands in for 0, which an address of somebody else never has.
        let checked = HostPort::from_str(&format!("{host}:1")).map_err(|_| ListenAddressError)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or(ListenAddressError)?;
        Ok(Self { scheme, host: checked.host().into(), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{scheme}://")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Everything that makes a server what it is; [`ServerConfig::new`] has defaults for all but the
/// address and the key.
pub struct ServerConfig {
    /// Where to listen: one address at least. Others are told of the first that is not every address of
    /// this machine.
    pub listen: Vec<ListenAddress>,
    /// Our certificate, for listening over TLS.
    pub tls: Option<ServerTls>,
    /// Who vouches for the certificates of servers that we dial over TLS.
    pub roots: Roots,
    /// Whether plain links, listening and dialling, may leave this machine.
    pub allow_plain: bool,
    /// Our key.
    pub signer: Arc<dyn Signer>,
    /// Checks signatures; AWS-LC unless replaced.
    pub verifier: Arc<dyn Verifier>,
    /// Wraps the public channel's key for its members; AWS-LC unless replaced.
    pub sealer: Arc<dyn Sealer>,
    /// Where the state is kept; in memory unless replaced.
    pub store: Box<dyn Store<Record>>,
    /// Threads for private-key work, shared with others if given.
    pub pool: Option<Arc<Pool>>,
    /// Our id; the key's own (decisions §4) unless given.
    pub server_id: Option<ServerId>,
    /// The address that others are told to dial, if it is not the one we listen on. Proofs that name
    /// another one are then refused.
    pub advertise: Option<HostPort>,
    /// Where others can dial us, if that is neither `advertise` nor the address we listen on: needed to join
    /// others while listening on every address. Proofs that name another one are taken all the same.
    pub reachable_at: Option<HostPort>,
    /// Trusted introducers, tried in order (§8.1).
    pub bootstrap: Vec<Introducer>,
    /// How addresses are dialled, where somebody said it; the standard's do not. Of the others, those in
    /// `bootstrap` are plain, and those learnt from peers are tried plainly if plain links may go there, else
    /// over TLS. A plain dial that was not asked for by name is repeated over TLS if the peer wants that.
    pub dial_as: BTreeMap<HostPort, Scheme>,
    /// Refuse ids that are not UUID v4.
    pub strict_ids: bool,
    /// Refuse logins without LOGIN_PROOF.
    pub require_proof: bool,
    /// Where USER_REGISTER and USER_LOGIN are taken.
    pub password_logins: PasswordLogins,
    /// Who may join through us.
    pub join: JoinPolicy,
    /// Which learnt addresses are dialled.
    pub dial: DialPolicy,
    /// The machine's bounds.
    pub limits: Limits,
    /// The machine's intervals and timeouts.
    pub timing: Timing,
    /// Bounds and timeouts of links; `frame_in_bytes` is taken from `limits`.
    pub links: LinkLimits,
    /// Sockets that are open at once, those that we dialled not counted.
    pub max_links: usize,
    /// Sockets that have not shaken hands yet; further ones wait in the listener's backlog.
    pub max_handshakes: usize,
}

impl ServerConfig {
    /// [`ServerConfig::max_links`], unless said: 10,000 users, 256 servers, 1,024 that greet, and some to
    /// spare.
    pub const MAX_LINKS: usize = 12_288;

    /// [`ServerConfig::max_handshakes`], unless said.
    pub const MAX_HANDSHAKES: usize = 512;

    /// A configuration with defaults for everything but the address and the key.
    pub fn new(listen: ListenAddress, signer: Arc<dyn Signer>) -> Self {
        Self {
            listen: vec![listen],
            tls: None,
            roots: Roots::default(),
            allow_plain: false,
            signer,
            verifier: Arc::new(aws_lc::Provider::new()),
            sealer: Arc::new(aws_lc::Provider::new()),
            store: Box::new(MemoryStore::default()),
            pool: None,
            server_id: None,
            advertise: None,
            reachable_at: None,
            bootstrap: Vec::new(),
            dial_as: BTreeMap::new(),
            strict_ids: false,
            require_proof: false,
            password_logins: PasswordLogins::default(),
            join: JoinPolicy::default(),
            dial: DialPolicy::default(),
            limits: Limits::default(),
            timing: Timing::default(),
            links: LinkLimits::default(),
            max_links: Self::MAX_LINKS,
            max_handshakes: Self::MAX_HANDSHAKES,
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("listen", &self.listen)
            .field("server_id", &self.server_id)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_may_leave_the_port_to_the_system() {
        for (text, host, port) in
            [("127.0.0.1:0", "127.0.0.1", 0), ("[::]:8765", "::", 8765), ("localhost:1", "localhost", 1)]
        {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port(), &*address.to_string()), (host, port, text));
        }
        for (text, scheme) in
            [("a:1", None), ("ws://a:1", Some(Scheme::Ws)), ("wss://[::1]:0", Some(Scheme::Wss))]
        {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!((address.scheme(), &*address.to_string()), (scheme, text));
        }
        for text in [
            "",
            "ws://",
            "wss://a",
            "http://a:1",
            "ws://ws://a:1",
            "ws://a:1/",
            ":1",
            "::1:1",
            "host",
            "host:",
            "host:+1",
            "host:65536",
            "a b:1",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(ListenAddressError), "{text}");
        }
    }
}
