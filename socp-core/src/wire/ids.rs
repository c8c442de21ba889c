//! Identities (§5) and addresses.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::keys::PublicKey;

/// The longest id we read, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// An id of a server or a user: 1–128 bytes without control characters, not all digits, compared byte
/// for byte. The standard asks for UUID v4; real peers use free strings (decisions §1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than [`MAX_ID_BYTES`].
    #[error("an id has 1 to 128 bytes")]
    Length,
    /// Holds a control character.
    #[error("an id has no control characters")]
    Control,
    /// All digits: the id would run into the `ts` that follows it in a content signature's input.
    #[error("an id is not all digits")]
    AllDigits,
    /// `*` addresses everybody.
    #[error("'*' is not an id")]
    Everyone,
}

impl Id {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the id is a UUID of version 4 in lower-case hyphenated form, as §5 asks.
    pub fn is_uuid_v4(&self) -> bool {
        let bytes = self.0.as_bytes();
        bytes.len() == 36
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => *byte == b'-',
                14 => *byte == b'4',
                19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            })
    }

    /// The id that belongs to a key (decisions §4): the first 16 bytes of SHA-256(SPKI) as a UUID with
    /// the version-4 and variant bits set.
    pub fn derived_from(key: &PublicKey) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&key.id().as_bytes()[..16]);
        Self::uuid_v4(bytes)
    }

    /// A UUID v4 made of 16 random bytes.
    pub fn uuid_v4(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        Self(text.into())
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > MAX_ID_BYTES {
            Err(IdError::Length)
        } else if text.chars().any(char::is_control) {
            Err(IdError::Control)
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Err(IdError::AllDigits)
        } else if text == "*" {
            Err(IdError::Everyone)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

macro_rules! id_of {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Id);

        impl $name {
            /// The id without its role.
            pub fn id(&self) -> &Id {
                &self.0
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Whether this id is the one that derives from `key` (decisions §4).
            pub fn derives_from(&self, key: &PublicKey) -> bool {
                self.0 == Id::derived_from(key)
            }
        }

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Id {
            fn from(id: $name) -> Id {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

// Two roles, one set of rules: a function cannot make two types.
id_of!(
    /// The id of a server (§5).
    ServerId
);
id_of!(
    /// The id of a user (§5).
    UserId
);

/// The envelope's `to` (§7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Absent, null or empty: the link's other end is meant.
    Unnamed,
    /// `*`: everybody.
    Everyone,
    /// An id, or in SERVER_HELLO_JOIN the `host:port` that was dialled.
    Named(Box<str>),
}

impl Recipient {
    /// Reads the envelope's text.
    pub fn parse(text: &str) -> Self {
        match text {
            "" => Self::Unnamed,
            "*" => Self::Everyone,
            _ => Self::Named(text.into()),
        }
    }

    /// The envelope's text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unnamed => "",
            Self::Everyone => "*",
            Self::Named(text) => text,
        }
    }

    /// The id that is named, if one is.
    pub fn id(&self) -> Option<Id> {
        match self {
            Self::Named(text) => text.parse().ok(),
            Self::Unnamed | Self::Everyone => None,
        }
    }

    /// The address that is named, if one is.
    pub fn address(&self) -> Option<HostPort> {
        match self {
            Self::Named(text) => text.parse().ok(),
            Self::Unnamed | Self::Everyone => None,
        }
    }
}

impl From<&ServerId> for Recipient {
    fn from(id: &ServerId) -> Self {
        Self::Named(id.as_str().into())
    }
}

impl From<&UserId> for Recipient {
    fn from(id: &UserId) -> Self {
        Self::Named(id.as_str().into())
    }
}

/// Where a server listens: a host name or IP address, and a TCP port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: Arc<str>,
    port: u16,
}

/// The text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected host:port with a port from 1 to 65535")]
pub struct HostPortError;

impl HostPort {
    /// Checks and joins both parts. IPv6 addresses may come in brackets.
    pub fn new(host: &str, port: u16) -> Result<Self, HostPortError> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let valid = !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%'));
        if valid && port != 0 {
            Ok(Self { host: host.to_ascii_lowercase().into(), port })
        } else {
            Err(HostPortError)
        }
    }

    /// The host, without brackets, lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    /// Reads `host:port`, also as a `ws://` or `wss://` URL with any path (some peers write that).
    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://")).unwrap_or(text);
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = authority.rsplit_once(':').ok_or(HostPortError)?;
        // Unbracketed, the last group of an IPv6 address would be taken for a port.
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(HostPortError);
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostPortError);
        }
        Self::new(host, port.parse().map_err(|_| HostPortError)?)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_run_into_a_timestamp_are_refused() {
        assert_eq!("1234".parse::<Id>(), Err(IdError::AllDigits));
        assert_eq!("".parse::<Id>(), Err(IdError::Length));
        assert_eq!("*".parse::<Id>(), Err(IdError::Everyone));
        assert_eq!("a\nb".parse::<Id>(), Err(IdError::Control));
        assert_eq!("x".repeat(129).parse::<Id>(), Err(IdError::Length));
        assert!("srv-b".parse::<Id>().is_ok_and(|id| !id.is_uuid_v4()));
        assert!(Id::uuid_v4([0xff; 16]).is_uuid_v4());
    }

    #[test]
    fn addresses_are_read_from_urls_and_brackets() {
        for (text, shown) in [
            ("127.0.0.1:8765", "127.0.0.1:8765"),
            ("ws://127.0.0.1:21001", "127.0.0.1:21001"),
            ("wss://Example.org:443/chat", "example.org:443"),
            ("[::1]:8765", "[::1]:8765"),
        ] {
            assert_eq!(text.parse::<HostPort>().map(|a| a.to_string()).as_deref(), Ok(shown), "{text}");
        }
        for text in ["", "host", "host:", ":80", "host:0", "host:70000", "::1:80", "a b:80", "host:+80"] {
            assert_eq!(text.parse::<HostPort>(), Err(HostPortError), "{text}");
        }
    }
}
