//! Lines from stdin.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::SyncSender;
use std::thread;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::terminal::suspend_here;

/// Longest line; the longest text that can be sent has about 7 KiB.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Lines that wait for the main loop. The rest waits in the pipe.
pub(crate) const QUEUE: usize = 16;

/// What comes from the user.
#[derive(Debug)]
pub(crate) enum Input {
    /// A line, or why it is none.
    Line {
        /// From 1.
        number: u64,
        text: Result<String, &'static str>,
    },
    /// The user has typed another password, hidden.
    Password {
        /// The line of `/password`.
        number: u64,
        /// The old one, if there is one to type.
        old: Option<Zeroizing<String>>,
        new: Zeroizing<String>,
    },
    /// The user has typed a password for the server, hidden.
    ServerPassword {
        /// The line of `/login`.
        number: u64,
        password: Zeroizing<String>,
    },
    /// The editor wants to complete a name.
    Names(SyncSender<Vec<String>>),
    /// There will be no more.
    End,
}

/// Reads stdin on a thread of its own, which nobody waits for.
///
/// # Errors
/// If there is no thread to be had.
pub(crate) fn read_lines(inputs: mpsc::Sender<Input>) -> io::Result<()> {
    thread::Builder::new().name("stdin".into()).spawn(move || {
        suspend_here();
        let mut stdin = io::stdin().lock();
        let mut number = 0;
        while let Ok(Some(text)) = next_line(&mut stdin) {
            number += 1;
            if inputs.blocking_send(Input::Line { number, text }).is_err() {
                return;
            }
        }
        // The main loop may be gone.
        let _ = inputs.blocking_send(Input::End);
    })?;
    Ok(())
}

/// The next line without its end; none at the end. An error of stdin is its end.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<String, &'static str>>> {
    let mut line = Vec::new();
    if input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE_BYTES {
        input.skip_until(b'\n')?;
        return Ok(Some(Err("the line is too long")));
    }
    while line.pop_if(|last| matches!(last, b'\n' | b'\r')).is_some() {}
    Ok(Some(String::from_utf8(line).map_err(|_| "the line is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one() {
        let long = "x".repeat(usize::try_from(MAX_LINE_BYTES).unwrap() + 5);
        let text = [b"one\n\ntwo\r\n\xff\n".as_slice(), long.as_bytes(), b"\nlast"].concat();
        let mut input = text.as_slice();
        let lines: Vec<_> = std::iter::from_fn(|| next_line(&mut input).unwrap()).collect();
        let ok = |text: &str| Ok(text.to_owned());
        let (bad, too_long) = (Err("the line is not UTF-8"), Err("the line is too long"));
        assert_eq!(lines, [ok("one"), ok(""), ok("two"), bad, too_long, ok("last")]);
    }
}
