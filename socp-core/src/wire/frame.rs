//! The envelope (§7): one JSON object, read tolerantly, its text kept for relaying untouched.

use std::fmt;

use bytes::Bytes;

use super::base64::Binary;
use super::canonical::{self, CanonicalError, Member};
use super::ids::{Id, Recipient};
use super::payload::{FrameRef, FrameType, Payload};
use super::value::Timestamp;

/// JSON nesting we read, in levels (decisions §1). A constant and no setting: servers pass frames on as they came,
/// so what one of them reads, all must; and the standard's frames nest far less.
pub const MAX_JSON_DEPTH: usize = 32;

/// The text of a frame as it stands on a socket, shared by reference among links.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireText(Bytes);

impl WireText {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made from a string")
    }

    /// The UTF-8 bytes; cloning them shares the allocation.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the text is empty; a frame's never is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for WireText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A received frame: parsed, but nothing in it is proven yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    text: WireText,
    kind: FrameType,
    from: Option<Id>,
    to: Recipient,
    ts: Option<Timestamp>,
    payload: Payload,
    payload_received: std::ops::Range<usize>,
    payload_canonical: Box<str>,
    sig: Option<Binary>,
    has_empty_sig: bool,
    has_empty_to: bool,
}

/// Why a text is not a frame. All but `TooLong` are answered with `UNKNOWN_TYPE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the limit (close 1009).
    #[error("frame of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// The frame's length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A binary message that is not UTF-8.
    #[error("not UTF-8 text")]
    NotText,
    /// Not JSON, not an object, nested too deep, or with duplicate keys.
    #[error(transparent)]
    Json(#[from] CanonicalError),
    /// An envelope field is missing or mistyped.
    #[error("envelope: `{field}` {why}")]
    Envelope {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        why: Box<str>,
    },
}

impl Frame {
    /// Reads a frame of at most `max_bytes`.
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, FrameError> {
        if text.len() > max_bytes {
            return Err(FrameError::TooLong { bytes: text.len(), limit: max_bytes });
        }
        Self::parse_shared(text.to_owned().into())
    }

    /// Reads a frame whose length the transport has checked already, sharing its bytes.
    pub fn parse_bytes(bytes: Bytes) -> Result<Self, FrameError> {
        std::str::from_utf8(&bytes).map_err(|_| FrameError::NotText)?;
        Self::parse_shared(WireText(bytes))
    }

    fn parse_shared(text: WireText) -> Result<Self, FrameError> {
        let mut fields = Fields::default();
        for member in canonical::members(text.as_str(), MAX_JSON_DEPTH)? {
            fields.take(member);
        }
        let kind = match field::<String>("type", fields.kind)?.as_deref() {
            None => return Err(envelope("type", "is missing")),
            Some("MSG_PRIVATE") => FrameType::MsgDirect,
            Some(name) => FrameType::parse(name),
        };
        let (payload_canonical, payload_received) = match fields.payload {
            Some(member) if member.canonical.starts_with('{') => (member.canonical, member.received),
            None => ("{}".to_owned(), 0..0),
            Some(member) if member.canonical == "null" => ("{}".to_owned(), 0..0),
            Some(_) => return Err(envelope("payload", "is not an object")),
        };
        let payload = kind.read(&payload_canonical);
        let from = field::<String>("from", fields.from)?.filter(|from| !from.is_empty());
        let from = from.map(|from| from.parse()).transpose();
        let from = from.map_err(|error: super::ids::IdError| envelope("from", &error.to_string()))?;
        let to = field::<String>("to", fields.to)?;
        let has_empty_to = to.as_ref().is_some_and(String::is_empty);
        let to = to.map_or(Recipient::Unnamed, |to| Recipient::parse(&to));
        let sig = field::<String>("sig", fields.sig)?;
        let has_empty_sig = sig.as_ref().is_some_and(String::is_empty);
        let sig = sig.filter(|sig| !sig.is_empty());
        let sig =
            sig.map(|sig| Binary::parse(&sig)).transpose().map_err(|_| envelope("sig", "is not base64"))?;
        Ok(Self {
            kind,
            from,
            to,
            ts: field("ts", fields.ts)?,
            payload,
            payload_received,
            payload_canonical: payload_canonical.into(),
            sig,
            has_empty_sig,
            has_empty_to,
            text,
        })
    }

    /// The frame as it was received.
    pub fn text(&self) -> &WireText {
        &self.text
    }

    /// `type`.
    pub fn kind(&self) -> &FrameType {
        &self.kind
    }

    /// `from`.
    pub fn from(&self) -> Option<&Id> {
        self.from.as_ref()
    }

    /// `to`.
    pub fn to(&self) -> &Recipient {
        &self.to
    }

    /// `ts`.
    pub fn ts(&self) -> Option<Timestamp> {
        self.ts
    }

    /// The payload.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The payload in canonical form (§12).
    pub fn payload_canonical(&self) -> &str {
        &self.payload_canonical
    }

    /// The payload's text as it stood in the frame.
    pub fn payload_received(&self) -> &str {
        match self.payload_received.is_empty() {
            true => &self.payload_canonical,
            false => &self.text.as_str()[self.payload_received.clone()],
        }
    }

    /// `sig`; absent, null and `""` are none.
    pub fn sig(&self) -> Option<&Binary> {
        self.sig.as_ref()
    }

    /// Whether `sig` is there and empty: unsigned, as some dialects say it.
    pub fn has_empty_sig(&self) -> bool {
        self.has_empty_sig
    }

    /// Whether `to` is there and empty: to nobody, as the seed's hellos have it.
    pub fn has_empty_to(&self) -> bool {
        self.has_empty_to
    }

    /// The frame's text with an envelope that says whose it is and for whom: for users who leave that out.
    pub(crate) fn completed(&self, from: &Id, to: &Id, now: Timestamp) -> WireText {
        let literal = super::string_literal;
        let mut text = format!(
            "{{\"type\":{},\"from\":{},\"to\":{},\"ts\":{},\"payload\":{}",
            literal(self.kind.as_str()),
            literal(from.as_str()),
            literal(to.as_str()),
            self.ts.unwrap_or(now),
            self.payload_received(),
        );
        if let Some(sig) = &self.sig {
            text.push_str(&format!(",\"sig\":{}", literal(sig.text())));
        }
        text.push('}');
        text.into()
    }

    /// How an ERROR that answers this frame refers to it.
    pub fn reference(&self) -> FrameRef {
        let to = match &self.to {
            Recipient::Named(to) => Some(to.clone()),
            Recipient::Everyone => Some("*".into()),
            Recipient::Unnamed => self.payload.named_recipient().map(Into::into),
        };
        FrameRef { kind: self.kind.as_str().into(), to, ts: self.ts }
    }
}

#[derive(Default)]
struct Fields {
    kind: Option<Member>,
    from: Option<Member>,
    to: Option<Member>,
    ts: Option<Member>,
    payload: Option<Member>,
    sig: Option<Member>,
}

impl Fields {
    fn take(&mut self, member: Member) {
        let slot = match member.key.as_str() {
            "type" => &mut self.kind,
            "from" => &mut self.from,
            "to" => &mut self.to,
            "ts" => &mut self.ts,
            "payload" => &mut self.payload,
            "sig" => &mut self.sig,
            // Fields of other dialects: read by nobody, relayed with the frame's text.
            _ => return,
        };
        *slot = Some(member);
    }
}

fn envelope(field: &'static str, why: &str) -> FrameError {
    FrameError::Envelope { field, why: why.into() }
}

/// Reads a field; null counts as absent.
fn field<T: serde::de::DeserializeOwned>(
    name: &'static str,
    member: Option<Member>,
) -> Result<Option<T>, FrameError> {
    let Some(member) = member else { return Ok(None) };
    serde_json::from_str(&member.canonical)
        .map_err(|error| envelope(name, error.to_string().split(" at line").next().unwrap_or_default()))
}
