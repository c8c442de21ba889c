//! Scores, and frames in words.

use std::time::Duration;

use socp_core::client::escape_text;

use super::cast::{Cast, Who};
use super::clause::Clause;
use super::stage::{Entry, Mark, What};

/// Frames of a failed clause that are shown beside those that it is about.
pub(super) const SHOWN: usize = 4;

/// Longest word of a frame that is shown whole: ids are 36 characters, what is longer is keys and signatures.
const MAX_WORD: usize = 44;

/// How a clause came out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed(String),
    Failed(String),
    NotApplicable(String),
}

impl Verdict {
    /// In JSON, and on screens.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "failed",
            Self::NotApplicable(_) => "n/a",
        }
    }

    pub(super) fn words(&self) -> &str {
        match self {
            Self::Passed(words) | Self::Failed(words) | Self::NotApplicable(words) => words,
        }
    }
}

/// A clause that was tried.
pub(super) struct Result {
    pub(super) clause: &'static Clause,
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
    /// What it is about, in the stage's record.
    pub(super) cited: Vec<Mark>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Score {
    results: Vec<(&'static Clause, Verdict)>,
    pub(super) took: Duration,
    /// Why not all was tried.
    pub(super) cut_short: Option<String>,
}

impl Score {
    pub(super) fn add(&mut self, result: Result) {
        self.results.push((result.clause, result.verdict));
    }

    fn count(&self, of: impl Fn(&Verdict) -> bool) -> usize {
        self.results.iter().filter(|(_, verdict)| of(verdict)).count()
    }

    pub(super) fn passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Passed(_)))
    }

    pub(super) fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    pub(super) fn not_applicable(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::NotApplicable(_)))
    }

    /// Clauses and why they failed.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static Clause, &str)> {
        let failed = self.results.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_)));
        failed.map(|(clause, verdict)| (*clause, verdict.words()))
    }
}

/// A text of a socket for a screen: long words cut, ids of the probe's by their names.
pub(super) fn brief(text: &str, cast: &Cast) -> String {
    let mut text = shorten(text);
    for who in Who::ALL {
        text = text.replace(cast.id(who).as_str(), &format!("‹{}›", who.name()));
    }
    escape_text(&text)
}

fn shorten(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_alphanumeric() || "-_+/=".contains(character) {
            word.push(character);
            continue;
        }
        match word.len() {
            ..=MAX_WORD => out.push_str(&word),
            length => out.push_str(&format!("{}…({length})", &word[..8])),
        }
        word.clear();
        if character != '\0' {
            out.push(character);
        }
    }
    out
}

/// Which way a frame went, between one of the cast and the target.
pub(super) fn way(entry: &Entry) -> String {
    let who = entry.who.name();
    match entry.what {
        What::Sent => format!("{who} →"),
        What::Came | What::CameBinary => format!("{who} ←"),
        What::Ended { .. } => format!("{who} ×"),
    }
}

/// The frames that a clause is about, by type alone: `ann → MSG_DIRECT, ben ← USER_DELIVER`.
pub(super) fn exchange(entries: &[&Entry]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for entry in entries {
        let what = match (&entry.frame, &entry.what) {
            (_, What::Ended { .. }) => escape_text(&entry.text),
            (Some(frame), _) => escape_text(frame.kind().as_str()),
            (None, _) => "what is no frame".to_owned(),
        };
        let part = format!("{} {what}", way(entry));
        if parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_signatures_are_cut_and_the_rest_stays() {
        let key = "A".repeat(683);
        let text = format!(r#"{{"type":"X","sig":"{key}","to":"8733a19c-2459-4381-929d-e5cd3739c74d"}}"#);
        let brief = shorten(&text);
        assert_eq!(
            brief,
            r#"{"type":"X","sig":"AAAAAAAA…(683)","to":"8733a19c-2459-4381-929d-e5cd3739c74d"}"#
        );
        assert_eq!(shorten("grüezi ✓"), "grüezi ✓");
    }

    #[test]
    fn the_score_counts_each_verdict() {
        let mut score = Score::default();
        let verdicts = [
            Verdict::Passed("a".into()),
            Verdict::Failed("b".into()),
            Verdict::NotApplicable("c".into()),
            Verdict::Failed("d".into()),
        ];
        for (clause, verdict) in super::super::clause::CLAUSES.iter().zip(verdicts) {
            score.add(Result { clause, verdict, took: Duration::ZERO, cited: Vec::new() });
        }
        assert_eq!((score.passed(), score.failed(), score.not_applicable()), (1, 2, 1));
        assert_eq!(score.failures().map(|(_, why)| why).collect::<Vec<_>>(), ["b", "d"]);
    }
}
