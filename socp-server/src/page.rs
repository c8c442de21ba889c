//! Text for people: colours, columns and the terminal's width.

use std::io::{IsTerminal, Result, Write, stdout};

use socp_core::wire::KeyId;

/// Where no terminal says how wide it is.
pub(crate) const WIDTH: usize = 110;

/// Narrower, lines do not fit.
const MIN_WIDTH: usize = 80;

/// What a text says by its colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Good,
    Bad,
    Doubtful,
    Dim,
    Bold,
}

/// A screen, or a file that looks like one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    coloured: bool,
    /// Characters in a line.
    pub(crate) width: usize,
}

impl Page {
    /// Whatever stdout is.
    pub(crate) fn of_stdout() -> Self {
        let terminal = stdout().is_terminal();
        let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let size = terminal.then(terminal_size::terminal_size).flatten();
        let width = size.map_or(WIDTH, |(width, _)| usize::from(width.0)).max(MIN_WIDTH);
        Self { coloured, width }
    }

    /// A text in a colour, where there are any.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Good => "32",
            Colour::Bad => "31;1",
            Colour::Doubtful => "33",
            Colour::Dim => "2",
            Colour::Bold => "1",
        };
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Words under a heading, wrapped and aligned.
    pub(crate) fn below(
        &self,
        out: &mut dyn Write,
        indent: usize,
        heading: &str,
        colour: Option<Colour>,
        text: &str,
    ) -> Result<()> {
        let width = self.width.saturating_sub(indent + 8);
        for (index, line) in wrapped(text, width).iter().enumerate() {
            let heading = if index == 0 { heading } else { "" };
            let line = colour.map_or_else(|| line.clone(), |colour| self.paint(colour, line));
            writeln!(out, "{:indent$}{} {line}", "", self.paint(Colour::Dim, &column(heading, 7)))?;
        }
        Ok(())
    }
}

/// The beginning of a key's fingerprint, as `socp-server identity` shows it.
pub(crate) fn short(key: KeyId) -> String {
    key.to_string().chars().take(8).collect()
}

/// Breaks a text at its spaces into lines of at most `width` characters. A longer word has a line of its own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split(' ') {
        let chars = word.chars().count();
        if length > 0 && length + 1 + chars > width {
            lines.push(String::new());
            length = 0;
        }
        let line = lines.last_mut().expect("there is one from the start");
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += chars;
    }
    lines
}

/// A text cut or filled up to `width` characters.
pub(crate) fn column(text: &str, width: usize) -> String {
    let chars = text.chars().count();
    if chars > width {
        let cut: String = text.chars().take(width.saturating_sub(1)).collect();
        return format!("{cut}…");
    }
    format!("{text}{}", " ".repeat(width - chars))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_at_spaces_and_cut_with_an_ellipsis() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-long-word b", 4), ["a-long-word", "b"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(column("zwölf", 6), "zwölf ");
        assert_eq!(column("zwölf", 4), "zwö…");
    }
}
