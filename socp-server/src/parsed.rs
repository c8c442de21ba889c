//! Settings as text: on the command line, in the configuration file, in the bootstrap list.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use socp_core::dialect::Dialect;
use socp_core::server::{DialPolicy, PasswordLogins};
use socp_core::wire::{HostPort, KeyForm, PublicKey};
use socp_transport::ServerUrl;

/// A value of a file that is written as text.
#[derive(Clone, Debug)]
pub(crate) struct Parsed<T>(pub(crate) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The check is made inside the visitor: that is where readers know the line.
        struct Text<T>(PhantomData<T>);

        impl<T: FromStr<Err: Display>> de::Visitor<'_> for Text<T> {
            type Value = Parsed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Parsed<T>, E> {
                text.parse().map(Parsed).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// A TCP port to dial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port(pub(crate) u16);

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.parse().ok().filter(|port| *port != 0);
        port.map(Self).ok_or("expected a port from 1 to 65535")
    }
}

/// A host to dial.
#[derive(Clone, Debug)]
pub(crate) struct Host(pub(crate) Box<str>);

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Any port does: it is the host that is checked.
        let checked =
            HostPort::new(text, 1).map_err(|_| "expected a host name or an IP address, and nothing else")?;
        Ok(Self(checked.host().into()))
    }
}

/// A public key in any form that payload fields may have, or PEM text. Long keys may be broken into lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyText(pub(crate) PublicKey);

/// A key of another server, and how its dialect writes keys, as far as that shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerKey {
    pub(crate) key: PublicKey,
    pub(crate) dialect: Option<Dialect>,
}

impl FromStr for PeerKey {
    type Err = socp_core::wire::KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let KeyText(key) = text.parse()?;
        let form = KeyForm::of(text.split_ascii_whitespace().collect::<String>().as_str());
        Ok(Self { key, dialect: Dialect::by_key(form) })
    }
}

impl Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_field())
    }
}

impl FromStr for KeyText {
    type Err = socp_core::wire::KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim_start().starts_with("-----BEGIN") {
            PublicKey::from_pem(text).map(Self)
        } else {
            let base64: String = text.split_ascii_whitespace().collect();
            PublicKey::from_field(&base64).map(Self)
        }
    }
}

/// A trusted introducer as `HOST:PORT#PUBKEY`, with `ws://` or `wss://` in front or without.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IntroducerText {
    pub(crate) server: ServerUrl,
    pub(crate) key: PeerKey,
}

impl FromStr for IntroducerText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (server, key) = text.split_once('#').ok_or("expected HOST:PORT#PUBKEY")?;
        let server =
            server.parse().map_err(|_| "the part before '#': expected HOST:PORT or wss://HOST:PORT")?;
        let key = key.parse().map_err(|error| format!("the part behind '#': {error}"))?;
        Ok(Self { server, key })
    }
}

impl Display for IntroducerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeerKey { key, dialect } = &self.key;
        let form = dialect.map_or(KeyForm::Der, |dialect| dialect.profile().keys);
        write!(f, "{}#{}", self.server, key.to_field_in(form))
    }
}

/// A server to probe: how it is dialled, where, and at which path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeUrl {
    pub(crate) server: ServerUrl,
    /// Begins with `/`.
    pub(crate) path: Box<str>,
}

impl FromStr for ProbeUrl {
    type Err = socp_transport::ServerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = text.find("://").map_or(0, |at| at + "://".len());
        let path = text[authority..].find('/').map_or(text.len(), |at| authority + at);
        let (server, path) = text.split_at(path);
        let path = if path.is_empty() { "/" } else { path };
        // It becomes part of a request line.
        if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(socp_transport::ServerUrlError);
        }
        Ok(Self { server: server.parse()?, path: path.into() })
    }
}

impl Display for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.server)?;
        if &*self.path == "/" { Ok(()) } else { f.write_str(&self.path) }
    }
}

/// Which addresses learnt from peers are dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dial(pub(crate) DialPolicy);

impl FromStr for Dial {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [DialPolicy::Reachable, DialPolicy::All, DialPolicy::None].map(Self);
        let dial = known.into_iter().find(|dial| dial.to_string() == text);
        dial.ok_or("expected \"reachable\", \"all\" or \"none\"")
    }
}

impl Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            DialPolicy::Reachable => "reachable",
            DialPolicy::All => "all",
            DialPolicy::None => "none",
        })
    }
}

/// Where passwords are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passwords(pub(crate) PasswordLogins);

impl FromStr for Passwords {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [PasswordLogins::Private, PasswordLogins::Anywhere, PasswordLogins::Never].map(Self);
        let passwords = known.into_iter().find(|passwords| passwords.to_string() == text);
        passwords.ok_or("expected \"private\", \"anywhere\" or \"never\"")
    }
}

impl Display for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            PasswordLogins::Private => "private",
            PasswordLogins::Anywhere => "anywhere",
            PasswordLogins::Never => "never",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use socp_core::crypto::aws_lc::PrivateKey;
    use socp_transport::Scheme;

    use super::*;

    pub(crate) fn key(name: &str) -> PublicKey {
        let path = format!("{}/../socp-core/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        let pem = std::fs::read_to_string(path).unwrap();
        PrivateKey::from_pem(&pem).unwrap().public_key().clone()
    }

    #[test]
    fn a_url_to_probe_may_have_a_path() {
        let url: ProbeUrl = "ws://127.0.0.1:8765/chat".parse().unwrap();
        assert_eq!((url.server.to_string().as_str(), &*url.path), ("ws://127.0.0.1:8765", "/chat"));
        assert_eq!(url.to_string(), "ws://127.0.0.1:8765/chat");
        let plain: ProbeUrl = "wss://[::1]:8765".parse().unwrap();
        assert_eq!((&*plain.path, plain.to_string().as_str()), ("/", "wss://[::1]:8765"));
        for bad in ["ws://", "http://127.0.0.1:1", "ws://h:1/a b", "ws://h:1/\r\nX: y"] {
            assert!(bad.parse::<ProbeUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn introducers_name_what_is_wrong() {
        let key = key("server-a");
        for (scheme, said) in [("", None), ("ws://", Some(Scheme::Ws)), ("wss://", Some(Scheme::Wss))] {
            let text = format!("{scheme}example.org:8765#{}", key.to_field());
            let read: IntroducerText = text.parse().unwrap();
            assert_eq!((read.server.scheme, &read.key.key, read.to_string()), (said, &key, text));
        }
        for (form, dialect) in
            [(KeyForm::Der, None), (KeyForm::Pem, Some(Dialect::F)), (KeyForm::PemPadded, Some(Dialect::R))]
        {
            let text = format!("example.org:8765#{}", key.to_field_in(form));
            let read: IntroducerText = text.parse().unwrap();
            assert_eq!((read.key.dialect, read.to_string()), (dialect, text));
        }
        for (text, wrong) in
            [("a:1", "HOST:PORT#PUBKEY"), ("a#AAAA", "before '#'"), ("a:1#AAAA", "behind '#'")]
        {
            let error = text.parse::<IntroducerText>().unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
