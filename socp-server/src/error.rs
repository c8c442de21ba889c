//! What the program says to people, and what ends it.

use std::error::Error;
use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// A failure that ends the program: it says what is wrong and where.
pub(crate) type Fatal = Box<dyn Error + Send + Sync>;

/// With a [`Fatal`].
pub(crate) type Result<T> = std::result::Result<T, Fatal>;

/// Writes the one line on stderr.
pub(crate) fn tell(error: &(dyn Error + Send + Sync)) {
    note(format_args!("socp-server: {}", one_line(&error.to_string())));
}

/// Writes for people, on stderr. That nobody reads it is no reason to stop.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}

/// Shows something, on stdout. That nobody reads it is no reason to stop.
pub(crate) fn show(text: impl Display) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Text of libraries and files on one line, with nothing in it that moves the cursor.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    socp_core::client::escape_text(&words.join(" "))
}
