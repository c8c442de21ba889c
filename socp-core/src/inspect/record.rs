//! A line of a record: a frame, or a frame with the parties of its socket.

use serde::Deserialize;

/// A line that holds a frame's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Who wrote and who read on the socket, if the line says it.
    pub(super) parties: Option<(Box<str>, Box<str>)>,
    /// The frame.
    pub(super) text: Box<str>,
}

#[derive(Deserialize)]
struct Line {
    from: Option<Box<str>>,
    to: Option<Box<str>>,
    text: Option<Box<str>>,
    r#type: Option<serde::de::IgnoredAny>,
}

impl Record {
    /// Reads a line: an object with `text` and without `type` is a record of a frame; all else is a frame itself.
    pub(super) fn read(line: &str) -> Self {
        match serde_json::from_str(line) {
            Ok(Line { from, to, text: Some(text), r#type: None }) => Self { parties: from.zip(to), text },
            Ok(_) | Err(_) => Self { parties: None, text: line.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_frame_or_holds_one() {
        let read = |line: &str| Record::read(line);
        assert_eq!(read(r#"{"type":"ACK"}"#), Record { parties: None, text: r#"{"type":"ACK"}"#.into() });
        let parties = Some(("A".into(), "B".into()));
        assert_eq!(read(r#"{"from":"A","to":"B","text":"x"}"#), Record { parties, text: "x".into() });
        assert_eq!(read(r#"{"text":"x","at":7}"#), Record { parties: None, text: "x".into() });
        let frame = r#"{"type":"SAY","text":"x"}"#;
        assert_eq!(*read(frame).text, *frame);
        assert_eq!(&*read("rubbish").text, "rubbish");
    }
}
