//! Lines of a file of any size, each within a bound.

use std::io::{BufRead, BufReader, Read, Result};

use socp_core::inspect::MAX_LINE_BYTES;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than is looked at: how long.
    TooLong(usize),
}

/// Reads lines one by one and skips empty ones.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    number: usize,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: BufReader<R>) -> Self {
        Self { input, line: Vec::new(), number: 0 }
    }

    /// The next line and its number, from 1.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Line<'_>)>> {
        loop {
            self.line.clear();
            let Some(bytes) = self.read()? else { return Ok(None) };
            self.number += 1;
            if bytes > self.line.len() {
                return Ok(Some((self.number, Line::TooLong(bytes))));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some((self.number, Line::Whole(&self.line))));
            }
        }
    }

    /// Whether the next line has to be waited for.
    pub(super) fn is_drained(&self) -> bool {
        self.input.buffer().is_empty()
    }

    /// Reads a line, keeps as much of it as is looked at, and says how long it is. None at the end.
    fn read(&mut self) -> Result<Option<usize>> {
        let mut bytes = 0;
        loop {
            let some = self.input.fill_buf()?;
            if some.is_empty() {
                return Ok((bytes > 0).then_some(bytes));
            }
            let end = some.iter().position(|byte| *byte == b'\n');
            let part = &some[..end.unwrap_or(some.len())];
            bytes += part.len();
            if bytes <= MAX_LINE_BYTES {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_bounded_and_never_empty() {
        let long = vec![b'x'; MAX_LINE_BYTES + 7];
        let text = [b"\n\r\none\r\n  \n".as_slice(), &long, b"\nlast"].concat();
        let mut lines = Lines::new(BufReader::with_capacity(100, &text[..]));
        assert_eq!(lines.next().unwrap(), Some((3, Line::Whole(b"one\r"))));
        assert_eq!(lines.next().unwrap(), Some((5, Line::TooLong(MAX_LINE_BYTES + 7))));
        assert!(lines.line.capacity() < 2 * MAX_LINE_BYTES + 100);
        assert_eq!(lines.next().unwrap(), Some((6, Line::Whole(b"last"))));
        assert_eq!(lines.next().unwrap(), None);
    }
}
