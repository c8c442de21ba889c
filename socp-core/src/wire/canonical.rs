//! Canonical JSON (§12), computed on the received **text**.
//!
//! A JSON library that parses numbers changes their spelling, and a signature covers the spelling. So
//! this scanner works on the text: keys are sorted by code point, white space is dropped, strings are
//! written as raw UTF-8 with the shortest escapes, and number literals keep every character.
//! Duplicate keys in any object are refused: two readers could otherwise see two different frames
//! under one signature.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// Why a text has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// Not JSON (RFC 8259).
    #[error("not JSON: {what} at byte {at}")]
    Syntax {
        /// What was found or expected.
        what: &'static str,
        /// Offset in bytes from the start of the text.
        at: usize,
    },
    /// An object names the same key twice, escapes resolved.
    #[error("duplicate key {0:?}")]
    DuplicateKey(Box<str>),
    /// Arrays and objects nest deeper than the limit.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
}

/// The canonical form of one JSON document: keys sorted by code point, no white space, raw UTF-8.
///
/// `max_depth` counts nested arrays and objects; the outermost is level 1.
pub fn canonicalise(text: &str, max_depth: usize) -> Result<String, CanonicalError> {
    let mut scanner = Scanner::new(text, max_depth);
    let mut out = String::with_capacity(text.len());
    scanner.white_space();
    scanner.value(&mut out, 1)?;
    scanner.end()?;
    Ok(out)
}

/// The same document with everything but printable ASCII escaped as `\uXXXX`, as Python's
/// `json.dumps` writes it by default (0x7f included). `None` if that changes nothing.
pub fn ascii_form(canonical: &str) -> Option<String> {
    if canonical.bytes().all(|byte| byte < 0x7f) {
        return None;
    }
    let mut out = String::with_capacity(canonical.len() * 2);
    for character in canonical.chars() {
        // Outside strings canonical JSON is ASCII without 0x7f, so only string contents change.
        if character < '\u{7f}' {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                push_unicode_escape(&mut out, *unit);
            }
        }
    }
    Some(out)
}

/// One member of an object: its key, where its value stands in the text, and the value's canonical form.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) received: Range<usize>,
    pub(crate) canonical: String,
}

/// The members of the object that `text` is, in the order they stand there.
pub(crate) fn members(text: &str, max_depth: usize) -> Result<Vec<Member>, CanonicalError> {
    let mut scanner = Scanner::new(text, max_depth);
    scanner.white_space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.error("a frame is one JSON object"));
    }
    let mut members: Vec<Member> = Vec::new();
    scanner.object(1, |scanner, key| {
        let (start, mut canonical) = (scanner.at, String::new());
        scanner.value(&mut canonical, 2)?;
        members.push(Member { key: key.into(), received: start..scanner.at, canonical });
        Ok(())
    })?;
    scanner.end()?;
    refuse_duplicates(&members)?;
    Ok(members)
}

/// The canonical object of these fields: keys and the canonical texts of their values.
pub(crate) fn object(fields: &BTreeMap<String, String>) -> String {
    let mut out = String::from("{");
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(&mut out, key);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

/// A canonical object without one of its members: what a signature inside it covers.
pub(crate) fn without_member(canonical: &str, key: &str) -> String {
    let mut out = String::with_capacity(canonical.len());
    // It was read before: this finds nothing wrong with it.
    let members = members(canonical, usize::MAX).unwrap_or_default();
    push_object(&mut out, members.iter().filter(|member| member.key != key));
    out
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    max_depth: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, max_depth: usize) -> Self {
        Self { text, at: 0, max_depth }
    }

    fn error(&self, what: &'static str) -> CanonicalError {
        CanonicalError::Syntax { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), CanonicalError> {
        if self.peek() != Some(byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), CanonicalError> {
        self.white_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("text after the document")) }
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Result<(), CanonicalError> {
        match self.peek() {
            Some(b'{') => self.sorted_object(out, depth),
            Some(b'[') => self.array(out, depth),
            Some(b'"') => {
                let content = self.string()?;
                push_string(out, &content);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(out),
            Some(b't') => self.literal(out, "true"),
            Some(b'f') => self.literal(out, "false"),
            Some(b'n') => self.literal(out, "null"),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("unexpected end")),
        }
    }

    fn enter(&self, depth: usize) -> Result<(), CanonicalError> {
        if depth > self.max_depth { Err(CanonicalError::TooDeep(self.max_depth)) } else { Ok(()) }
    }

    /// Written as it is read, and put in order afterwards if it is not: what our own servers write mostly is, and
    /// a page of a directory is half a megabyte.
    fn sorted_object(&mut self, out: &mut String, depth: usize) -> Result<(), CanonicalError> {
        out.push('{');
        let body = out.len();
        let mut members: Vec<(Cow<str>, Range<usize>)> = Vec::new();
        self.object(depth, |scanner, key| {
            if !members.is_empty() {
                out.push(',');
            }
            let start = out.len();
            push_string(out, &key);
            out.push(':');
            scanner.value(out, depth + 1)?;
            members.push((key, start - body..out.len() - body));
            Ok(())
        })?;
        if !members.is_sorted_by(|(a, _), (b, _)| a < b) {
            members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            if let Some(pair) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(CanonicalError::DuplicateKey(pair[0].0.as_ref().into()));
            }
            let read = out.split_off(body);
            for (index, (_, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&read[member]);
            }
        }
        out.push('}');
        Ok(())
    }

    /// Reads the object that starts here; `member` is given each key and reads its value.
    fn object(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), CanonicalError>,
    ) -> Result<(), CanonicalError> {
        self.enter(depth)?;
        self.at += 1;
        self.white_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.white_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key"));
            }
            let key = self.string()?;
            self.white_space();
            self.expect(b':', "expected ':'")?;
            self.white_space();
            member(self, key)?;
            self.white_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected ',' or '}'")),
            }
        }
    }

    fn array(&mut self, out: &mut String, depth: usize) -> Result<(), CanonicalError> {
        self.enter(depth)?;
        self.at += 1;
        out.push('[');
        self.white_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            out.push(']');
            return Ok(());
        }
        loop {
            self.white_space();
            self.value(out, depth + 1)?;
            self.white_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    out.push(',');
                }
                Some(b']') => {
                    self.at += 1;
                    out.push(']');
                    return Ok(());
                }
                _ => return Err(self.error("expected ',' or ']'")),
            }
        }
    }

    /// The content of the string that starts here, escapes resolved.
    fn string(&mut self) -> Result<Cow<'a, str>, CanonicalError> {
        self.at += 1;
        let text = self.text;
        let mut content = Cow::Borrowed("");
        let mut run = self.at;
        loop {
            match self.peek() {
                None => return Err(self.error("unterminated string")),
                Some(b'"') => {
                    content += &text[run..self.at];
                    self.at += 1;
                    return Ok(content);
                }
                Some(b'\\') => {
                    content += &text[run..self.at];
                    self.at += 1;
                    let character = self.escape()?;
                    content.to_mut().push(character);
                    run = self.at;
                }
                Some(0..0x20) => return Err(self.error("control character in a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, CanonicalError> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.error("unknown escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, CanonicalError> {
        let first = self.hex4()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        // A surrogate: it must be the first of a pair, or the text has no UTF-8 form.
        let rest = &self.text.as_bytes()[self.at..];
        if (0xd800..0xdc00).contains(&first) && rest.starts_with(b"\\u") {
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let scalar = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                if let Some(character) = char::from_u32(scalar) {
                    return Ok(character);
                }
            }
        }
        Err(self.error("lone surrogate"))
    }

    fn hex4(&mut self) -> Result<u32, CanonicalError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(self.error("expected four hex digits"));
        }
        let value = digits
            .iter()
            .fold(0, |value, digit| value << 4 | char::from(*digit).to_digit(16).unwrap_or_default());
        self.at += 4;
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), CanonicalError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self, out: &mut String) -> Result<(), CanonicalError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if let Some(b'0'..=b'9') = self.peek() {
                return Err(self.error("leading zero"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        out.push_str(&self.text[start..self.at]);
        Ok(())
    }

    fn literal(&mut self, out: &mut String, word: &'static str) -> Result<(), CanonicalError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        out.push_str(word);
        Ok(())
    }
}

fn refuse_duplicates(members: &[Member]) -> Result<(), CanonicalError> {
    // Pairwise for the handful of members that a real payload has, sorted for a hostile one.
    let duplicate = if members.len() <= 16 {
        members.iter().enumerate().find_map(|(index, member)| {
            members[..index].iter().any(|earlier| earlier.key == member.key).then_some(&member.key)
        })
    } else {
        let mut keys: Vec<&String> = members.iter().map(|member| &member.key).collect();
        keys.sort_unstable();
        keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    };
    match duplicate {
        Some(key) => Err(CanonicalError::DuplicateKey(key.as_str().into())),
        None => Ok(()),
    }
}

fn push_string(out: &mut String, content: &str) {
    out.push('"');
    let mut run = 0;
    for (at, byte) in content.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&content[run..at]);
        if escape.is_empty() {
            push_unicode_escape(out, u16::from(byte));
        } else {
            out.push_str(escape);
        }
        run = at + 1;
    }
    out.push_str(&content[run..]);
    out.push('"');
}

fn push_unicode_escape(out: &mut String, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from(HEX[usize::from(unit >> shift & 0xf)]));
    }
}

/// Members in their order, which the caller has sorted.
fn push_object<'a>(out: &mut String, members: impl Iterator<Item = &'a Member>) {
    out.push('{');
    for (index, member) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, &member.key);
        out.push(':');
        out.push_str(&member.canonical);
    }
    out.push('}');
}

/// A JSON string literal of `content`, as it stands in canonical JSON.
pub(crate) fn string_literal(content: &str) -> String {
    let mut out = String::with_capacity(content.len() + 2);
    push_string(&mut out, content);
    out
}
