//! Findings for people: a line a frame in columns, what there is to say below it, and a summary.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Result, Write};
use std::time::{Duration, SystemTime};

use socp_core::client::{escape_label, escape_text};
use socp_core::inspect::{
    ContentFinding, ContentShape, Does, Envelope, Finding, Held, Keyring, NOTHING_FOLLOWS, Oddity, Summary,
};
use socp_core::wire::Timestamp;

use super::Show;
use crate::page::{Colour, Page, WIDTH, column, short, wrapped};

/// Columns of a frame's line, in characters.
#[derive(Clone, Copy, Debug)]
struct Columns {
    route: usize,
    kind: usize,
    signature: usize,
    /// Whether the signature's column has room for whose it is; else that stands below.
    whole: bool,
}

impl Columns {
    fn of(width: usize) -> Self {
        match width {
            WIDTH.. => Self { route: 19, kind: 22, signature: 36, whole: true },
            86.. => Self { route: 19, kind: 22, signature: 9, whole: false },
            _ => Self { route: 15, kind: 19, signature: 9, whole: false },
        }
    }
}

/// Where the words below a frame's line begin.
const INDENT: usize = 21;

/// Reasons and types that the summary shows.
const SHOWN: usize = 8;

/// From here on years have five digits, which is nobody's clock.
const YEAR_10000: u64 = 253_402_300_800;

/// A screen, or a file that looks like one.
#[derive(Debug)]
pub(super) struct Screen {
    page: Page,
    has_keys: bool,
    /// Oddities that have been explained.
    explained: BTreeSet<Oddity>,
    /// The day that was shown last.
    day: String,
}

impl Screen {
    pub(super) fn new(has_keys: bool) -> Self {
        Self { page: Page::of_stdout(), has_keys, explained: BTreeSet::new(), day: String::new() }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        self.page.paint(colour, text)
    }

    fn below(&self, out: &mut dyn Write, heading: &str, colour: Option<Colour>, text: &str) -> Result<()> {
        self.page.below(out, INDENT, heading, colour, text)
    }

    fn head(&self, finding: &Finding, envelope: &Envelope) -> String {
        let (from, to) = match &finding.parties {
            Some((from, to)) => (from, to),
            None => (&envelope.from, &envelope.to),
        };
        let columns = Columns::of(self.page.width);
        let from = if from.is_empty() { "?" } else { from };
        let to = if to.is_empty() { "?" } else { to };
        let route = format!("{} → {}", column(from, 8).trim_end(), column(to, 8).trim_end());
        let mut head = format!("{:>6}  ", finding.line);
        let time = envelope.ts.map_or_else(String::new, |ts| clock(ts).1);
        let _ = write!(
            head,
            "{} {} {} ",
            self.paint(Colour::Dim, &column(&time, 12)),
            column(&escape_label(&route), columns.route),
            self.paint(Colour::Bold, &column(&escape_label(&envelope.kind), columns.kind)),
        );
        let (colour, word) = match &finding.signature {
            None => (Colour::Dim, "unsigned"),
            Some(signature) => match &signature.held {
                Some(held) if held.under_from => (Colour::Good, "good"),
                Some(_) => (Colour::Doubtful, "other key"),
                None => (Colour::Bad, "BAD"),
            },
        };
        let words = match whose(finding).filter(|_| columns.whole) {
            Some(held) => format!("{word} {}", signed(held)),
            None => word.to_owned(),
        };
        head.push_str(&self.paint(colour, &column(&words, columns.signature)));
        head.push(' ');
        head.push_str(&self.does(finding.verdict.does));
        head
    }

    fn does(&self, does: Does) -> String {
        let colour = match does {
            Does::Accepts => Colour::Good,
            Does::Refuses => Colour::Bad,
            Does::Drops | Does::Unknown => Colour::Doubtful,
            Does::Repeats | Does::ForClient => Colour::Dim,
        };
        self.paint(colour, does.as_str())
    }

    /// What is odd: in full the first time, by name after that.
    fn odd(&mut self, finding: &Finding) -> String {
        let mut parts = Vec::new();
        for odd in &finding.odd {
            let oddity = odd.oddity;
            let mut part = match self.explained.insert(oddity) {
                true => format!("{} ({}, {})", oddity.id(), oddity.words(), oddity.section()),
                false => oddity.id().to_owned(),
            };
            if !odd.detail.is_empty() {
                let _ = write!(part, ": {}", escape_text(&odd.detail));
            }
            parts.push(part);
        }
        parts.join("; ")
    }
}

impl Show for Screen {
    fn finding(&mut self, out: &mut dyn Write, finding: &Finding) -> Result<()> {
        match &finding.envelope {
            Some(envelope) => {
                if let Some((day, _)) = envelope.ts.map(clock).filter(|(day, _)| *day != self.day) {
                    writeln!(out, "{}", self.paint(Colour::Dim, &format!("{:8}{day} (UTC)", "")))?;
                    self.day = day;
                }
                writeln!(out, "{}", self.head(finding, envelope))?;
            }
            None => {
                let Columns { route, kind, signature, .. } = Columns::of(self.page.width);
                let words = format!("not a frame ({} bytes)", finding.bytes);
                // As wide as the columns that it stands for, and the time's.
                let words = column(&words, 12 + route + kind + signature + 3);
                let does = self.does(finding.verdict.does);
                writeln!(out, "{:>6}  {} {does}", finding.line, self.paint(Colour::Bad, &words))?;
            }
        }
        if let Some(held) = whose(finding).filter(|_| !Columns::of(self.page.width).whole) {
            self.below(out, "sig", None, &signed(held))?;
        }
        let verdict = &finding.verdict;
        let colour = (verdict.does == Does::Refuses).then_some(Colour::Bad);
        // What is the same for each such frame is said by its one word.
        let said =
            matches!(verdict.does, Does::ForClient | Does::Repeats) || *verdict.why == *NOTHING_FOLLOWS;
        if !said {
            self.below(out, "server", colour, &escape_text(&verdict.why))?;
        }
        if let Some(content) = &finding.content {
            self.below(out, "content", None, &content_words(content))?;
        }
        if !finding.odd.is_empty() {
            let odd = self.odd(finding);
            self.below(out, "odd", None, &odd)?;
        }
        if !verdict.assumed.is_empty() {
            self.below(out, "assumed", Some(Colour::Dim), &escape_text(&verdict.assumed.join("; ")))?;
        }
        Ok(())
    }

    fn summary(&mut self, out: &mut dyn Write, summary: &Summary, keys: &Keyring) -> Result<()> {
        writeln!(out, "\n{}", self.paint(Colour::Bold, "Summary"))?;
        let row = |name: &str, text: &str| format!("  {} {text}", column(name, 11));
        let unreadable = match summary.unreadable {
            0 => String::new(),
            count => self.paint(Colour::Bad, &format!(", and {count} lines that are none")),
        };
        let times = summary.times.map(|(first, last)| {
            let ((day, from), (last_day, to)) = (clock(first), clock(last));
            let last_day = if last_day == day { String::new() } else { format!("{last_day} ") };
            format!(", {day} {from} to {last_day}{to} UTC")
        });
        let times = times.unwrap_or_default();
        writeln!(out, "{}", row("frames", &format!("{}{unreadable}{times}", summary.frames)))?;

        let mut signatures =
            format!("{} of {} hold under the key of from", summary.under_from, summary.signed);
        if summary.under_other > 0 {
            let words = format!(", {} under another key", summary.under_other);
            signatures.push_str(&self.paint(Colour::Doubtful, &words));
        }
        if summary.wrong > 0 {
            signatures.push_str(&self.paint(Colour::Bad, &format!(", {} under none", summary.wrong)));
        }
        writeln!(out, "{}", row("signatures", &signatures))?;
        for ((label, key, canonical, salt), count) in &summary.forms {
            let label = column(&escape_label(label), 20);
            writeln!(
                out,
                "{}",
                row("", &format!("{count:>6}  {label} {} {canonical}, salt {salt}", short(*key)))
            )?;
        }
        if summary.wrong + summary.under_other > 0 && !self.has_keys {
            writeln!(out, "{}", row("", "--keys FILE would bring in keys that the frames do not tell"))?;
        }
        let (given, brought) = (keys.parties().len(), keys.brought());
        writeln!(out, "{}", row("keys", &format!("{given} in the file, {brought} in the frames")))?;
        if summary.content.0 + summary.opened > 0 {
            let (all, read) = summary.content;
            let text =
                format!("{all} content_sigs, {read} that clients of ours take; {} decrypted", summary.opened);
            writeln!(out, "{}", row("content", &text))?;
        }

        let verdicts: Vec<_> =
            summary.verdicts.iter().map(|(does, count)| format!("{count} {}", self.does(*does))).collect();
        writeln!(out, "{}", row("server", &verdicts.join(", ")))?;
        let mut reasons: Vec<_> = summary.reasons.iter().collect();
        reasons.sort_by_key(|(_, (count, first))| (std::cmp::Reverse(*count), *first));
        for ((does, why), (count, first)) in reasons.iter().take(SHOWN) {
            let at = if *count == 1 { format!("line {first}") } else { format!("first in line {first}") };
            let words = format!("{} ({at})", escape_text(why));
            let lines = wrapped(&words, self.page.width.saturating_sub(34));
            writeln!(out, "{}", row("", &format!("{count:>6}  {} {}", self.does(*does), lines[0])))?;
            for line in &lines[1..] {
                writeln!(out, "{}", row("", &format!("{:8}{line}", "")))?;
            }
        }
        if reasons.len() > SHOWN {
            writeln!(out, "{}", row("", &format!("{:8}and {} other reasons", "", reasons.len() - SHOWN)))?;
        }

        let mut odd: Vec<_> = summary.odd.iter().collect();
        odd.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (index, (oddity, count)) in odd.iter().enumerate() {
            let name = if index == 0 { "odd" } else { "" };
            let words = format!("{}, {}", oddity.words(), oddity.section());
            let lines = wrapped(&words, self.page.width.saturating_sub(46));
            writeln!(out, "{}", row(name, &format!("{count:>6}  {} {}", column(oddity.id(), 21), lines[0])))?;
            for line in &lines[1..] {
                writeln!(out, "{}", row("", &format!("{:30}{line}", "")))?;
            }
        }
        Ok(())
    }
}

/// The signature, if it holds.
fn whose(finding: &Finding) -> Option<&Held> {
    finding.signature.as_ref()?.held.as_ref()
}

/// Whose key it is, and how it was made.
fn signed(held: &Held) -> String {
    let label = column(&escape_label(&held.label), 10);
    format!("{} {} {}/{}", label.trim_end(), short(held.key), held.canonical(), held.form.salt.bytes())
}

fn content_words(content: &ContentFinding) -> String {
    let mut parts = Vec::new();
    match &content.signature {
        None => {}
        Some(None) => parts.push("content_sig holds in no form".to_owned()),
        Some(Some((label, shape))) => {
            let (over, salt) = match shape {
                ContentShape::Bound(form) => {
                    let of = if form.text { "base64 text" } else { "bytes" };
                    let of = if form.digest { format!("SHA-256 of {of}") } else { of.to_owned() };
                    (format!("{of}, sender, recipient and time"), Some(form.salt))
                }
                ContentShape::Separated(salt) => ("text joined by |".to_owned(), Some(*salt)),
                ContentShape::TextAlone(salt) => ("base64 text alone".to_owned(), Some(*salt)),
                ContentShape::Payload => ("the payload".to_owned(), None),
            };
            let salt = salt.map_or_else(String::new, |salt| format!(", salt {}", salt.bytes()));
            parts.push(format!("content_sig of {} over {over}{salt}", escape_label(label)));
        }
    }
    if let Some(opened) = &content.opened {
        parts.push(format!("{} decrypts it: {} bytes", escape_label(&opened.by), opened.bytes));
        if let Some(text) = &opened.text {
            parts.push(format!("“{}”", escape_text(text)));
        }
    }
    if parts.is_empty() { "no content_sig, and no key to decrypt it".to_owned() } else { parts.join("; ") }
}

/// A time as day and time of day, UTC.
fn clock(ts: Timestamp) -> (String, String) {
    if ts.0 / 1000 >= YEAR_10000 {
        return ("no date".to_owned(), ts.to_string());
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ts.0);
    let text = humantime::format_rfc3339_millis(time).to_string();
    let (day, time) = text.trim_end_matches('Z').split_once('T').unwrap_or_default();
    (day.to_owned(), time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_by_people_however_odd() {
        assert_eq!(clock(Timestamp(1_795_343_336_618)), ("2026-11-22".into(), "10:28:56.618".into()));
        assert_eq!(clock(Timestamp(0)), ("1970-01-01".into(), "00:00:00.000".into()));
        assert_eq!(clock(Timestamp(8_999_999_999_999_999)).1, "8999999999999999");
    }
}
