//! Frames as foreign peers read and write them: a JSON writer with Python's spellings and a canonical form of
//! their own.

use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Fields in the order in which a peer writes them, which is seldom the order in which it signs them.
pub(crate) type Fields = Vec<(&'static str, Value)>;

/// How `json.dumps` was called.
#[derive(Clone, Copy)]
pub(crate) struct Dumps {
    /// `sort_keys`.
    pub(crate) sorted: bool,
    /// `ensure_ascii`.
    pub(crate) ascii: bool,
    /// `separators=(",", ":")`.
    pub(crate) compact: bool,
}

impl Dumps {
    /// Without arguments.
    pub(crate) const DEFAULT: Self = Self { sorted: false, ascii: true, compact: false };
    /// What the seed signs.
    pub(crate) const CANONICAL_RAW: Self = Self { sorted: true, ascii: false, compact: true };
    /// What the others sign.
    pub(crate) const CANONICAL_ASCII: Self = Self { sorted: true, ascii: true, compact: true };

    pub(crate) fn value(self, value: &Value) -> String {
        let mut out = String::new();
        self.put(value, &mut out);
        out
    }

    /// An object of these members, whose values are written already.
    fn object<K: AsRef<str> + Ord>(self, mut members: Vec<(K, String)>) -> String {
        if self.sorted {
            members.sort();
        }
        let (colon, comma) = if self.compact { (":", ",") } else { (": ", ", ") };
        let mut out = "{".to_owned();
        for (index, (name, value)) in members.iter().enumerate() {
            out += if index > 0 { comma } else { "" };
            self.put_text(name.as_ref(), &mut out);
            out += colon;
            out += value;
        }
        out + "}"
    }

    pub(crate) fn fields(self, fields: &Fields) -> String {
        self.object(fields.iter().map(|(name, value)| (*name, self.value(value))).collect())
    }

    fn put(self, value: &Value, out: &mut String) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => *out += &value.to_string(),
            Value::String(text) => self.put_text(text, out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    *out += match (index, self.compact) {
                        (0, _) => "",
                        (_, true) => ",",
                        (_, false) => ", ",
                    };
                    self.put(item, out);
                }
                out.push(']');
            }
            Value::Object(map) => {
                *out += &self.object(map.iter().map(|(name, value)| (name, self.value(value))).collect());
            }
        }
    }

    fn put_text(self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => *out += "\\\"",
                '\\' => *out += "\\\\",
                '\n' => *out += "\\n",
                '\r' => *out += "\\r",
                '\t' => *out += "\\t",
                '\u{8}' => *out += "\\b",
                '\u{c}' => *out += "\\f",
                ' '..='~' => out.push(c),
                _ if c >= ' ' && !self.ascii => out.push(c),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        *out += &format!("\\u{unit:04x}");
                    }
                }
            }
        }
        out.push('"');
    }
}

/// A frame to be written: the envelope around the written payload, in the seed's order of fields.
pub(crate) struct Envelope<'a> {
    pub(crate) kind: &'a str,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) ts: Value,
    /// Written with the same arguments.
    pub(crate) payload: Option<String>,
    pub(crate) sig: Option<String>,
}

impl Envelope<'_> {
    pub(crate) fn text(self, dumps: Dumps) -> String {
        let text = |text: &str| dumps.value(&json!(text));
        let members = [
            ("type", Some(text(self.kind))),
            ("from", self.from.map(text)),
            ("to", self.to.map(text)),
            ("ts", Some(dumps.value(&self.ts))),
            ("payload", self.payload),
            ("sig", self.sig.as_deref().map(text)),
        ];
        dumps.object(members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

/// A frame that was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) text: String,
    pub(crate) frame: Map<String, Value>,
}

impl Received {
    /// None of what is no JSON object.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let Ok(Value::Object(frame)) = serde_json::from_str(text) else { return None };
        Some(Self { text: text.to_owned(), frame })
    }

    /// A field of the envelope, if it is text; else "".
    pub(crate) fn field(&self, name: &str) -> &str {
        self.frame.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.field("type")
    }

    pub(crate) fn from(&self) -> &str {
        self.field("from")
    }

    pub(crate) fn to(&self) -> &str {
        self.field("to")
    }

    pub(crate) fn ts(&self) -> &Value {
        &self.frame["ts"]
    }

    /// The payload; null if there is none.
    pub(crate) fn payload(&self) -> &Value {
        self.frame.get("payload").unwrap_or(&Value::Null)
    }

    /// A field of the payload, if it is text; else "".
    pub(crate) fn payload_field(&self, name: &str) -> &str {
        self.payload()[name].as_str().unwrap_or_default()
    }

    /// Type, from, to and the payload's fields, for messages.
    pub(crate) fn brief(&self) -> String {
        shorten(&self.text)
    }
}

/// A frame for human eyes: what is long is keys and signatures.
pub(crate) fn shorten(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        match word.len() {
            0..=60 => *out += word,
            length => *out += &format!("{}…{length}", &word[..8]),
        }
        word.clear();
    };
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || "-_+/=".contains(c) {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Unix time in seconds, with a fraction.
pub(crate) fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
