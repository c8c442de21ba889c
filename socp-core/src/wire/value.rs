//! Small values that stand in payloads: times, nonces, `meta`, error codes, how a transfer stands.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::base64::{decode, encode};
use super::keys::KeyField;

/// Below this a `ts` is read as seconds (decisions §1): as milliseconds it would be a day of 1973.
const SECONDS_BELOW: f64 = 1e11;

/// Unix time in milliseconds (§7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    fn from_number(number: f64) -> Option<Self> {
        let ms = if number < SECONDS_BELOW { number * 1000.0 } else { number };
        let whole = ms.round();
        // Seconds may have decimals, milliseconds must be integral.
        let acceptable = (0.0..9e15).contains(&whole) && (number < SECONDS_BELOW || whole == number);
        acceptable.then_some(Self(whole as u64))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Unix time in milliseconds")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Timestamp, E> {
                if number as f64 >= SECONDS_BELOW && number < 9_000_000_000_000_000 {
                    return Ok(Timestamp(number));
                }
                self.visit_f64(number as f64)
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Timestamp, E> {
                Timestamp::from_number(number).ok_or_else(|| E::custom("ts out of range or not whole"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let number = text.parse::<f64>().ok().filter(|_| decimal);
                self.visit_f64(number.ok_or_else(|| E::custom("ts is not a decimal number"))?)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A challenge: 32 random bytes, good for one link and one use (decisions §4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = decode(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| D::Error::custom("a nonce has 32 bytes"))
    }
}

/// Reads a TCP port, as a number or a decimal string.
pub(crate) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Port {
        Number(u16),
        Text(String),
        Null(()),
    }
    match Port::deserialize(deserializer).map_err(|_| D::Error::custom("port is not a number up to 65535"))? {
        Port::Number(port) => Ok(Some(port)),
        Port::Text(text) => {
            text.parse().map(Some).map_err(|_| D::Error::custom("port is not a number up to 65535"))
        }
        Port::Null(()) => Ok(None),
    }
}

/// A user's `meta` (§15.1): an object whose keys are all optional. Kept as its own text, since nothing
/// that routes or proves depends on it.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta(Arc<str>);

/// The fields of a `meta` (§15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaField {
    /// What people call the user.
    DisplayName,
    /// How people speak of the user.
    Pronouns,
    /// In years.
    Age,
    /// Where a picture is.
    AvatarUrl,
    /// Whatever else.
    Extras,
}

impl MetaField {
    /// All of them, in the standard's order.
    pub const ALL: [Self; 5] = [Self::DisplayName, Self::Pronouns, Self::Age, Self::AvatarUrl, Self::Extras];

    /// The key in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DisplayName => "display_name",
            Self::Pronouns => "pronouns",
            Self::Age => "age",
            Self::AvatarUrl => "avatar_url",
            Self::Extras => "extras",
        }
    }
}

#[derive(Deserialize)]
struct MetaFields {
    display_name: Option<serde_json::Value>,
    pubkey: Option<KeyField>,
}

impl Meta {
    /// `{}`.
    pub fn empty() -> Self {
        Self("{}".into())
    }

    /// A `meta` with just a display name.
    pub fn named(display_name: &str) -> Self {
        Self(format!("{{\"display_name\":{}}}", super::canonical::string_literal(display_name)).into())
    }

    /// The same with another value of a field, or without it.
    pub fn with(&self, field: MetaField, value: Option<serde_json::Value>) -> Self {
        // What is kept here is an object: it was read or written as one.
        let mut fields: serde_json::Map<_, _> = serde_json::from_str(&self.0).unwrap_or_default();
        match value {
            Some(value) => fields.insert(field.as_str().into(), value),
            None => fields.remove(field.as_str()),
        };
        Self(serde_json::Value::Object(fields).to_string().into())
    }

    /// A field's value, if it is there.
    pub fn field(&self, field: MetaField) -> Option<serde_json::Value> {
        let mut fields: serde_json::Map<_, _> = serde_json::from_str(&self.0).ok()?;
        fields.remove(field.as_str())
    }

    /// The object's JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `display_name` (§15.1), if it is there and a string that is not blank.
    pub fn display_name(&self) -> Option<String> {
        let fields: MetaFields = serde_json::from_str(&self.0).ok()?;
        let name = fields.display_name?.as_str()?.trim().to_owned();
        (!name.is_empty()).then_some(name)
    }

    /// `pubkey`: where some dialects carry the key of an advert (decisions §5).
    pub fn pubkey(&self) -> Option<KeyField> {
        serde_json::from_str::<MetaFields>(&self.0).ok()?.pubkey
    }
}

impl Default for Meta {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::custom("meta is not an object"));
        }
        Ok(Self(raw.get().into()))
    }
}

/// The error codes of §9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The recipient is not online anywhere we know of.
    UserNotFound,
    /// A signature or proof does not hold, or the frame speaks for somebody else.
    InvalidSig,
    /// A weak, malformed or conflicting key, or a failed login.
    BadKey,
    /// Something expired, or the server behind which a user is cannot be reached at the moment.
    Timeout,
    /// A malformed frame or a type that is not known.
    UnknownType,
    /// The user id is online here already.
    NameInUse,
    /// A code that a peer made up.
    Other(Box<str>),
}

impl ErrorCode {
    /// The code as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::UserNotFound => "USER_NOT_FOUND",
            Self::InvalidSig => "INVALID_SIG",
            Self::BadKey => "BAD_KEY",
            Self::Timeout => "TIMEOUT",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::NameInUse => "NAME_IN_USE",
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "USER_NOT_FOUND" => Self::UserNotFound,
            "INVALID_SIG" => Self::InvalidSig,
            "BAD_KEY" => Self::BadKey,
            "TIMEOUT" => Self::Timeout,
            "UNKNOWN_TYPE" => Self::UnknownType,
            "NAME_IN_USE" => Self::NameInUse,
            _ => Self::Other(text.into()),
        })
    }
}

/// How a transfer stands, by the word of one of its ends ✚.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckStatus {
    /// The offer has arrived; nobody has decided yet.
    Waiting,
    /// Chunks may come.
    Ready,
    /// The file is complete and verified.
    Done,
    /// It is not wanted.
    Refused,
    /// Nobody has decided in time.
    Expired,
    /// One of both ends has changed its mind.
    Cancelled,
    /// It went wrong.
    Failed,
    /// A status that we do not know.
    Other,
}

impl AckStatus {
    const NAMES: [(Self, &str); 7] = [
        (Self::Waiting, "waiting"),
        (Self::Ready, "ready"),
        (Self::Done, "done"),
        (Self::Refused, "refused"),
        (Self::Expired, "expired"),
        (Self::Cancelled, "cancelled"),
        (Self::Failed, "failed"),
    ];
}

impl Serialize for AckStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = Self::NAMES.iter().find(|(status, _)| status == self).map_or("", |(_, name)| *name);
        serializer.serialize_str(name)
    }
}

impl<'de> Deserialize<'de> for AckStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        Ok(known.map_or(Self::Other, |(status, _)| *status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_in_every_form_of_the_dialects() {
        for (json, ms) in [
            ("1795343336618", 1_795_343_336_618),
            ("1795343336618.0", 1_795_343_336_618),
            ("\"1795343336618\"", 1_795_343_336_618),
            ("1795343336", 1_795_343_336_000),
            ("1795343336.618", 1_795_343_336_618),
            ("\"1795343336.618\"", 1_795_343_336_618),
        ] {
            assert_eq!(serde_json::from_str::<Timestamp>(json).ok(), Some(Timestamp(ms)), "{json}");
        }
        for json in
            ["-1", "1795343336618.5", "\"soon\"", "\"1e12\"", "null", "1e300", "18446744073709551615", "true"]
        {
            assert!(serde_json::from_str::<Timestamp>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_display_name_is_optional_and_never_blank() {
        let name = |json: &str| serde_json::from_str::<Meta>(json).ok().and_then(|meta| meta.display_name());
        assert_eq!(name(r#"{"display_name":" alice "}"#).as_deref(), Some("alice"));
        assert_eq!(name(r#"{"display_name":"  "}"#), None);
        assert_eq!(name(r#"{"display_name":7}"#), None);
        assert_eq!(Meta::named("a\"b").display_name().as_deref(), Some("a\"b"));
        let meta = Meta::named("bob").with(MetaField::Age, Some(7.into()));
        assert_eq!(meta.as_str(), r#"{"age":7,"display_name":"bob"}"#);
        assert_eq!(meta.field(MetaField::Age), Some(7.into()));
        assert_eq!(meta.with(MetaField::DisplayName, None).as_str(), r#"{"age":7}"#);
    }
}
