//! Scores for people: a line a clause, what failed in full, and a summary.

use std::io::{Result, Write};

use super::Show;
use super::report::{Result as Scored, Score, Verdict, brief, exchange, way};
use super::stage::{Entry, Stage};
use crate::page::{Colour, Page, column, short, wrapped};

/// Where the words below a clause's line begin.
const INDENT: usize = 8;

/// Where a clause's title begins.
const TITLE: usize = 37;

/// A screen, or a file that looks like one.
#[derive(Debug)]
pub(super) struct Screen {
    page: Page,
    verbose: bool,
    /// What the clauses of the moment are about.
    subject: &'static str,
}

impl Screen {
    pub(super) fn new(verbose: bool) -> Self {
        Self { page: Page::of_stdout(), verbose, subject: "" }
    }

    /// Wrapped words under a heading, at most so many lines of them.
    fn below(&self, out: &mut dyn Write, heading: &str, colour: Option<Colour>, text: &str) -> Result<()> {
        self.page.below(out, INDENT, heading, colour, text)
    }

    fn frame(&self, out: &mut dyn Write, entry: &Entry, stage: &Stage) -> Result<()> {
        // More of a frame than this is for --verbose.
        const MAX_CHARS: usize = 300;
        let text = match self.verbose {
            true => socp_core::client::escape_text(&entry.text),
            false => {
                let text = brief(&entry.text, &stage.cast);
                match text.char_indices().nth(MAX_CHARS) {
                    Some((at, _)) => format!("{}…", &text[..at]),
                    None => text,
                }
            }
        };
        // Frames have no spaces to break them at.
        let width = self.page.width.saturating_sub(INDENT + 11);
        let characters: Vec<char> = text.chars().collect();
        for (index, part) in characters.chunks(width.max(1)).enumerate() {
            let heading = if index == 0 { way(entry) } else { String::new() };
            let heading = self.page.paint(Colour::Dim, &column(&heading, 10));
            writeln!(out, "{:INDENT$}{heading} {}", "", part.iter().collect::<String>())?;
        }
        Ok(())
    }
}

/// The headings, by what stands before the dot of a clause's id.
fn heading(subject: &str) -> &'static str {
    match subject {
        "join" => "Joining",
        "user" | "channel" => "Users and the channel",
        "mesh" => "The mesh",
        "gossip" => "Presence",
        "dm" | "file" => "Messages and files",
        "list" | "directory" => "Directory",
        "error" => "Errors",
        "heartbeat" | "close" => "Liveness",
        "frame" => "All frames together",
        _ => "Other",
    }
}

impl Show for Screen {
    fn begin(&mut self, out: &mut dyn Write, url: &str) -> Result<()> {
        writeln!(out, "{} {url}", self.page.paint(Colour::Bold, "probing"))?;
        out.flush()
    }

    fn clause(&mut self, out: &mut dyn Write, scored: &Scored, stage: &Stage) -> Result<()> {
        let clause = scored.clause;
        let subject = heading(clause.id.split('.').next().unwrap_or_default());
        if subject != self.subject {
            self.subject = subject;
            writeln!(out, "\n{}", self.page.paint(Colour::Bold, subject))?;
        }
        let colour = match scored.verdict {
            Verdict::Passed(_) => Colour::Good,
            Verdict::Failed(_) => Colour::Bad,
            Verdict::NotApplicable(_) => Colour::Dim,
        };
        let verdict = self.page.paint(colour, &column(scored.verdict.as_str(), 6));
        let section = self.page.paint(Colour::Dim, &column(clause.section, 5));
        let title = wrapped(clause.title, self.page.width.saturating_sub(TITLE));
        writeln!(out, "{verdict}  {section} {}  {}", column(clause.id, 21), title[0])?;
        for line in &title[1..] {
            writeln!(out, "{:TITLE$}{line}", "")?;
        }
        let entries: Vec<_> = scored.cited.iter().filter_map(|place| stage.log.get(*place)).collect();
        match &scored.verdict {
            Verdict::Passed(words) => {
                let frames = exchange(&entries);
                let words = if frames.is_empty() { words.clone() } else { format!("{frames}: {words}") };
                self.below(out, "", Some(Colour::Dim), &socp_core::client::escape_text(&words))?;
            }
            Verdict::Failed(why) => {
                self.below(out, "sent", None, clause.sends)?;
                self.below(out, "wanted", None, clause.expects)?;
                self.below(out, "but", Some(Colour::Bad), &socp_core::client::escape_text(why))?;
            }
            Verdict::NotApplicable(why) => self.below(out, "", Some(Colour::Dim), why)?,
        }
        if self.verbose || matches!(scored.verdict, Verdict::Failed(_)) {
            for entry in entries {
                self.frame(out, entry, stage)?;
            }
        }
        out.flush()
    }

    fn summary(&mut self, out: &mut dyn Write, score: &Score, stage: &Stage) -> Result<()> {
        let page = &self.page;
        writeln!(out, "\n{}", page.paint(Colour::Bold, "Scorecard"))?;
        let row = |out: &mut dyn Write, name: &str, text: &str| {
            for (index, line) in wrapped(text, page.width.saturating_sub(12)).iter().enumerate() {
                writeln!(out, "  {} {line}", column(if index == 0 { name } else { "" }, 8))?;
            }
            Ok::<(), std::io::Error>(())
        };
        let target = &stage.target;
        let id = target.id.as_ref().map_or("an id that is not known", |id| id.as_str());
        let key = target.key.as_ref().map_or_else(|| "not known".to_owned(), |key| short(key.id()));
        row(out, "target", &format!("{}: {}, key {key}", stage.url, socp_core::client::escape_text(id)))?;
        let dialect =
            target.dialect.map_or("not recognised: it answers no greeting", |dialect| dialect.as_str());
        row(out, "dialect", dialect)?;
        for reason in &target.reasons {
            row(out, "", &format!("· {reason}"))?;
        }
        let failed = format!("{} failed", score.failed());
        let colour = if score.failed() == 0 { Colour::Dim } else { Colour::Bad };
        let counts = [
            page.paint(Colour::Good, &format!("{} passed", score.passed())),
            page.paint(colour, &failed),
            format!("{} not applicable", score.not_applicable()),
        ];
        writeln!(
            out,
            "  {} {}, in {:.1} s",
            column("score", 8),
            counts.join(", "),
            score.took.as_secs_f64()
        )?;
        if let Some(why) = &score.cut_short {
            writeln!(out, "  {} {}", column("", 8), page.paint(Colour::Bad, &format!("cut short: {why}")))?;
        }
        for (index, (clause, why)) in score.failures().enumerate() {
            let name = if index == 0 { "failed" } else { "" };
            let words = format!("{} {}: {}", clause.section, clause.id, socp_core::client::escape_text(why));
            row(out, name, &words)?;
        }
        if stage.forgotten > 0 {
            row(out, "", &format!("{} frames came beyond what is looked at", stage.forgotten))?;
        }
        out.flush()
    }
}
