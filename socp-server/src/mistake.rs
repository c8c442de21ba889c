//! What is wrong with a setting: where it stands, and what to do about it. One line for logs, a snippet of
//! the file for who mends it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    source: Arc<Source>,
    span: Range<usize>,
}

impl Place {
    pub(crate) fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let end = source.text.len();
        let start = source.text.floor_char_boundary(span.start.min(end));
        let end = source.text.ceil_char_boundary(span.end.clamp(start, end));
        Self { source: source.clone(), span: start..end }
    }

    /// The word at a line and a column, both counted from 1, the column in characters.
    pub(crate) fn word(source: &Arc<Source>, line: usize, column: usize) -> Self {
        let lines = source.text.split_inclusive('\n');
        let before: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
        let line = source.text.get(before..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let skipped: usize = line.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
        let rest = &line[skipped..];
        let word = rest.find(|next: char| next.is_whitespace() || ",]}".contains(next)).unwrap_or(rest.len());
        Self::new(source, before + skipped..before + skipped + word)
    }

    pub(crate) fn file(&self) -> &Path {
        &self.source.path
    }

    pub(crate) fn is_in_file_of(&self, other: &Self) -> bool {
        self.source.path == other.source.path
    }

    /// Counted from 1.
    pub(crate) fn line(&self) -> usize {
        self.line_and_column().0
    }

    /// Line and column, both counted from 1, the column in characters.
    fn line_and_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.span.start];
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gravity {
    /// The server does not start.
    Error,
    /// It does, but somebody should look at it.
    Warning,
}

/// Something wrong.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    pub(crate) gravity: Gravity,
    /// None: the command line said it, or nobody said anything.
    place: Option<Place>,
    what: String,
    /// What to do about it.
    help: Option<String>,
}

impl Mistake {
    pub(crate) fn error(place: Option<Place>, what: impl ToString) -> Self {
        Self { gravity: Gravity::Error, place, what: what.to_string(), help: None }
    }

    pub(crate) fn warning(place: Option<Place>, what: impl ToString) -> Self {
        Self { gravity: Gravity::Warning, ..Self::error(place, what) }
    }

    /// Where it was asked for what is wrong, if nothing nearer is known.
    pub(crate) fn at(self, place: Option<Place>) -> Self {
        Self { place: self.place.or(place), ..self }
    }

    pub(crate) fn help(self, help: impl ToString) -> Self {
        Self { help: Some(help.to_string()), ..self }
    }

    /// With the file's line and a caret below it, as compilers do it; no line end.
    pub(crate) fn snippet(&self, coloured: bool) -> String {
        let level = match self.gravity {
            Gravity::Error => Level::ERROR,
            Gravity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&self.what));
        if let Some(Place { source, span }) = &self.place {
            let annotation = AnnotationKind::Primary.span(span.clone());
            let snippet = Snippet::source(&source.text).path(shown(&source.path)).annotation(annotation);
            group = group.element(snippet);
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.line_and_column();
            write!(f, "{}: line {line}, column {column}: ", shown(&place.source.path))?;
        }
        f.write_str(&self.what)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Mistake {}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { path: "a.toml".into(), text: text.into() })
    }

    #[test]
    fn a_mistake_is_a_line_for_logs_and_a_snippet_for_people() {
        let source = source("one = 1\nzwö = 'drei' # vier\n");
        let at = source.text.find("'drei'").unwrap();
        let place = Place::new(&source, at..at + 6);
        let mistake = Mistake::error(Some(place), "that is no number").help("write 2");
        assert_eq!(mistake.to_string(), "a.toml: line 2, column 7: that is no number; write 2");
        let expected = "error: that is no number
 --> a.toml:2:7
  |
2 | zwö = 'drei' # vier
  |       ^^^^^^
  |
  = help: write 2";
        assert_eq!(mistake.snippet(false), expected);
        assert!(mistake.snippet(true).contains("\u{1b}["));
        assert_eq!(Mistake::warning(None, "hm").snippet(false), "warning: hm");
    }

    #[test]
    fn words_are_found_by_line_and_column() {
        let source = source("a: ü\nb: {host: wörter, port: 1}\r\nc");
        let word = |line, column| {
            let place = Place::word(&source, line, column);
            (&source.text[place.span.clone()], place.line_and_column())
        };
        assert_eq!(word(1, 4), ("ü", (1, 4)));
        assert_eq!(word(2, 11), ("wörter", (2, 11)));
        assert_eq!(word(2, 25), ("1", (2, 25)));
        assert_eq!(word(3, 1), ("c", (3, 1)));
        // Behind the end of a line or file there is nothing, and nothing to fall over.
        assert_eq!(word(1, 9).0, "");
        assert_eq!(word(9, 9).0, "");
    }
}
