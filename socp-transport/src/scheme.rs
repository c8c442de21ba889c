//! How a link is carried, plainly or over TLS, and where a plain one is nobody else's business.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use socp_core::wire::HostPort;

/// How a link is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// WebSocket over TCP: whoever is on the way reads who writes to whom, and when.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// Takes `ws://` or `wss://` off the front of a text, if it is there.
    pub(crate) fn split(text: &str) -> (Option<Self>, &str) {
        for scheme in [Self::Ws, Self::Wss] {
            let rest = text.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_prefix("://"));
            if let Some(rest) = rest {
                return (Some(scheme), rest);
            }
        }
        (None, text)
    }

    /// As a URL has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A server to dial: `ws://HOST:PORT`, `wss://HOST:PORT`, or `HOST:PORT`, which leaves the scheme open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// The scheme, if it was said.
    pub scheme: Option<Scheme>,
    /// Where the server listens.
    pub address: HostPort,
}

/// The text is not a server's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ws://HOST:PORT or wss://HOST:PORT, for example ws://127.0.0.1:8765")]
pub struct ServerUrlError;

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let (scheme, rest) = Scheme::split(text);
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') {
            return Err(ServerUrlError);
        }
        let address = authority.parse().map_err(|_| ServerUrlError)?;
        Ok(Self { scheme, address })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Some(scheme) => write!(f, "{scheme}://{}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// A plain link would leave this machine, and nobody has allowed that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is beyond this machine, and plain ws:// would show everybody on the way who writes to whom")]
pub struct PlainRefused(Box<str>);

impl PlainRefused {
    /// Checks a plain link to, or a plain listener at, `host`.
    ///
    /// # Errors
    /// If it is beyond this machine, and plain links there are not allowed.
    pub fn unless(allow_plain: bool, host: &str, shown: impl fmt::Display) -> Result<(), Self> {
        if allow_plain || is_loopback(host) { Ok(()) } else { Err(Self(shown.to_string().into())) }
    }
}

/// Whether a host's name or address says that it is this machine itself. Names are not looked up: an answer
/// could be forged.
pub fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => {
            let host = host.to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_its_scheme_or_leaves_it_open() {
        for (text, shown) in [
            ("ws://LOCALHOST:1/", "ws://localhost:1"),
            ("wss://[::1]:8765", "wss://[::1]:8765"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), shown);
        }
        for text in ["", "ws://a", "http://a:1", "ws://a:1/chat", "ws://wss://a:1", "ws://a:0", "ws://:1"] {
            assert_eq!(text.parse::<ServerUrl>(), Err(ServerUrlError), "{text}");
        }
    }

    #[test]
    fn plain_links_stay_on_this_machine_unless_allowed() {
        for host in ["127.0.0.53", "::1", "::ffff:127.0.0.1", "localhost", "a.LOCALHOST"] {
            assert_eq!(PlainRefused::unless(false, host, host), Ok(()), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org", "fe80::1%lo"] {
            assert!(PlainRefused::unless(false, host, host).is_err(), "{host}");
            assert_eq!(PlainRefused::unless(true, host, host), Ok(()), "{host}");
        }
    }
}
