//! What all findings together amount to.

use std::collections::BTreeMap;

use super::odd::Oddity;
use super::scene::Does;
use super::{ContentShape, Finding};
use crate::wire::{KeyId, Timestamp};

/// Types that are counted one by one; the names of others are a stranger's.
pub const MAX_TYPES: usize = 256;

/// Reasons that are counted one by one.
pub const MAX_REASONS: usize = 256;

/// Counts over findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames that could be read.
    pub frames: usize,
    /// Lines that hold no frame.
    pub unreadable: usize,
    /// The earliest and the latest `ts`.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Frames with a `sig`.
    pub signed: usize,
    /// Those that hold under the key of their `from`.
    pub under_from: usize,
    /// Those that hold under another key.
    pub under_other: usize,
    /// Those that hold under no known key.
    pub wrong: usize,
    /// Signatures that hold, by the label of the key, the key, the canonical form and the salt.
    pub forms: BTreeMap<(Box<str>, KeyId, &'static str, usize), usize>,
    /// Content signatures, and those that hold and bind sender, recipient and time in a form that is read.
    pub content: (usize, usize),
    /// Contents that were decrypted.
    pub opened: usize,
    /// Frames by type; what is beyond [`MAX_TYPES`] is counted as `…`.
    pub types: BTreeMap<Box<str>, usize>,
    /// Frames with this oddity.
    pub odd: BTreeMap<Oddity, usize>,
    /// Why lines were refused, dropped or left open: how many, and the first. At most [`MAX_REASONS`] are kept.
    pub reasons: BTreeMap<(Does, Box<str>), (usize, usize)>,
    /// Lines by verdict.
    pub verdicts: BTreeMap<Does, usize>,
}

impl Summary {
    /// Counts a finding.
    pub fn add(&mut self, finding: &Finding) {
        match &finding.envelope {
            None => self.unreadable += 1,
            Some(envelope) => {
                self.frames += 1;
                let room = self.types.len() < MAX_TYPES || self.types.contains_key(&envelope.kind);
                let kind = if room { envelope.kind.clone() } else { "…".into() };
                *self.types.entry(kind).or_default() += 1;
                if let Some(ts) = envelope.ts {
                    let (first, last) = self.times.unwrap_or((ts, ts));
                    self.times = Some((first.min(ts), last.max(ts)));
                }
            }
        }
        if let Some(signature) = &finding.signature {
            self.signed += 1;
            match &signature.held {
                None => self.wrong += 1,
                Some(held) => {
                    let count = if held.under_from { &mut self.under_from } else { &mut self.under_other };
                    *count += 1;
                    let form = (held.label.clone(), held.key, held.canonical(), held.form.salt.bytes());
                    if self.forms.len() < MAX_TYPES || self.forms.contains_key(&form) {
                        *self.forms.entry(form).or_default() += 1;
                    }
                }
            }
        }
        if let Some(content) = &finding.content {
            if let Some(signature) = &content.signature {
                self.content.0 += 1;
                let read = matches!(signature, Some((_, ContentShape::Bound(_) | ContentShape::Payload)));
                self.content.1 += usize::from(read);
            }
            self.opened += usize::from(content.opened.is_some());
        }
        for odd in &finding.odd {
            *self.odd.entry(odd.oddity).or_default() += 1;
        }
        if let does @ (Does::Refuses | Does::Drops | Does::Unknown) = finding.verdict.does {
            let reason = (does, finding.verdict.why.clone());
            if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&reason) {
                self.reasons.entry(reason).or_insert((0, finding.line)).0 += 1;
            }
        }
        *self.verdicts.entry(finding.verdict.does).or_default() += 1;
    }
}
